//! Where shows stream to, and which of them would be one stream to whoever takes it.

use super::ids::ShowId;
use super::sealed::Sealed;
use super::show::{Phase, Show};
use super::state::State;
use super::studio::{StreamService, names_server};

/// Two that are equal are one stream to an ingest, and two publishers of it.
#[derive(Debug, Clone, Copy)]
pub struct Destination<'a> {
    /// `None` where a service that OBS knows by its name decides.
    pub server: Option<&'a str>,
    pub key: &'a Sealed,
}

impl PartialEq for Destination<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key && self.server.map(canonical) == other.server.map(canonical)
    }
}

impl Eq for Destination<'_> {}

/// A server's address as whoever connects to it understands it, however it is written: a scheme and a host have no case, the
/// port of a protocol need not be named (1935 of RTMP, by its specification; 443 of RTMPS), and nothing between two slashes
/// is no part of a path.
fn canonical(server: &str) -> String {
    let server = server.trim();
    let Some((scheme, rest)) = server.split_once("://") else {
        return server.to_owned();
    };
    let scheme = scheme.to_ascii_lowercase();
    let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let is_port = |text: &&str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let named = authority.rsplit_once(':').filter(|(_, port)| is_port(port));
    let (host, port) = match (named, scheme.as_str()) {
        (Some((host, port)), _) => (host, port.trim_start_matches('0')),
        (None, "rtmp") => (authority, "1935"),
        (None, "rtmps") => (authority, "443"),
        (None, _) => (authority, ""),
    };
    let host = host.trim_end_matches(':').to_ascii_lowercase();
    let path: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    format!("{scheme}://{host}:{port}/{}?{query}", path.join("/"))
}

impl Show {
    /// It is known where it streams to: by the studio captured, else by the configuration.
    #[must_use]
    pub fn has_destination(&self) -> bool {
        match (&self.studio, &self.configuration) {
            (Some(captured), _) => captured
                .stream
                .as_ref()
                .is_some_and(StreamService::has_destination),
            (None, Some(configuration)) => names_server(configuration.stream_server.as_deref()),
            (None, None) => false,
        }
    }

    /// Where its stream goes, as [`has_destination`](Self::has_destination) knows it. `None` without a stream key, too: whose
    /// stream that is, nobody can say.
    #[must_use]
    pub fn destination(&self) -> Option<Destination<'_>> {
        let (server, key) = match (&self.studio, &self.configuration) {
            (Some(captured), _) => {
                let stream = captured.stream.as_ref()?;
                (stream.server.as_deref(), stream.key.as_ref())
            }
            (None, Some(configuration)) => (
                configuration.stream_server.as_deref(),
                configuration.stream_key.as_ref(),
            ),
            (None, None) => return None,
        };
        Some(Destination { server, key: key? })
    }

    /// It is on air, is meant to be, or is not known to have stopped.
    fn is_to_be_on_air(&self) -> bool {
        match &self.phase {
            Phase::OnAir => true,
            Phase::OffAir => self.stream_wanted || self.may_publish,
            // Also one whose stream was started by hand.
            Phase::FailingOver(failover) => self.stream_wanted || self.may_publish || failover.publish,
            Phase::Releasing { .. } => self.may_publish,
            Phase::Idle => false,
        }
    }
}

impl State {
    /// Another show that is on air, or is meant to be, with the server and the stream key of this one.
    #[must_use]
    pub fn same_stream(&self, show: &Show) -> Option<&ShowId> {
        let destination = show.destination()?;
        self.placed_shows()
            .find(|other| {
                other.id != show.id && other.is_to_be_on_air() && other.destination() == Some(destination)
            })
            .map(|other| &other.id)
    }

    /// Its stream is to begin, and another show has it.
    pub(super) fn would_double(&self, show: &Show) -> bool {
        let may_begin = matches!(show.phase, Phase::OffAir | Phase::FailingOver(_));
        may_begin && !show.is_to_be_on_air() && self.same_stream(show).is_some()
    }
}

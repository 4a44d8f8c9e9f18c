//! Where shows stream to, and which of them would be one stream to whoever takes it.

use super::ids::ShowId;
use super::sealed::Sealed;
use super::show::{Phase, Show};
use super::state::State;
use super::studio::StreamService;

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
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    // Who publishes a stream does not make it another one.
    let (_, authority) = authority.rsplit_once('@').unwrap_or(("", authority));
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

/// What is known of where a show streams to.
#[derive(Debug, Clone, Copy, Default)]
pub struct StreamTarget<'a> {
    /// `None`, or empty, where none is set, or where a service that OBS knows by its name decides.
    pub server: Option<&'a str>,
    pub key: Option<&'a Sealed>,
    /// OBS knows the service by its name: that takes none without a key, and is what OBS has before anybody has set it up.
    is_named: bool,
}

impl StreamTarget<'_> {
    /// There is something to send a stream to.
    fn is_set(&self) -> bool {
        if self.is_named {
            self.key.is_some()
        } else {
            self.server.is_some_and(|server| !server.is_empty())
        }
    }
}

impl<'a> From<&'a StreamService> for StreamTarget<'a> {
    fn from(stream: &'a StreamService) -> Self {
        Self {
            server: stream.server.as_deref(),
            key: stream.key.as_ref(),
            is_named: stream.kind == "rtmp_common",
        }
    }
}

impl Show {
    /// By the studio captured, else by the configuration. `None`: there is neither.
    #[must_use]
    pub fn stream_target(&self) -> Option<StreamTarget<'_>> {
        match (&self.studio, &self.configuration) {
            (Some(captured), _) => Some(
                captured
                    .stream
                    .as_ref()
                    .map(StreamTarget::from)
                    .unwrap_or_default(),
            ),
            (None, Some(configuration)) => Some(StreamTarget {
                server: configuration.stream_server.as_deref(),
                key: configuration.stream_key.as_ref(),
                is_named: false,
            }),
            (None, None) => None,
        }
    }

    /// It is known where it streams to.
    #[must_use]
    pub fn has_destination(&self) -> bool {
        self.stream_target().is_some_and(|target| target.is_set())
    }

    /// Where its stream goes. `None` also without a stream key: whose stream that is, nobody can say.
    #[must_use]
    pub fn destination(&self) -> Option<Destination<'_>> {
        let StreamTarget { server, key, .. } = self.stream_target()?;
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

//! The studio's connection to the ingest.
//!
//! One task per connection that the model's output wants. It connects from the machine's own address, says
//! which key it publishes, and sends a small chunk regularly for as long as bytes leave the studio. It reports
//! to the model what came of it; it decides nothing.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::time::timeout;

use super::gate::GatedStream;
use super::machine::Shared;
use crate::sim::model::machine::Service;
use crate::sim::model::studio;

/// Limit on connecting and being accepted: what OBS's RTMP library waits.
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);
/// Stands for a moment's worth of video.
const CHUNK: [u8; 32] = [0x47; 32];

/// Where a studio's stream settings lead.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    server: SocketAddr,
    /// `app/key`.
    path: String,
}

impl Target {
    /// Reads `rtmp://host:port/app` and the key. `None` for what no simulated machine can reach: a named
    /// service, a host that is not on loopback, no key.
    pub(super) fn of(service: &studio::Service) -> Option<Self> {
        let key = service.published_key()?;
        let (host, app) = service.server()?.strip_prefix("rtmp://")?.split_once('/')?;
        let (host, port) = match host.split_once(':') {
            Some((host, port)) => (host, port.parse().ok()?),
            None => (host, 1935),
        };
        let address = if host == "localhost" {
            Ipv4Addr::LOCALHOST
        } else {
            host.parse().ok()?
        };
        let path = format!("{}/{key}", app.trim_end_matches('/'));
        (address.is_loopback() && !path.contains(char::is_control)).then(|| Self {
            server: SocketAddr::from((address, port)),
            path,
        })
    }
}

/// Publishes until the connection is lost or the task is aborted.
pub(super) async fn publish(machine: Arc<Shared>, attempt: u64, from: Ipv4Addr, target: Option<Target>) {
    let stream = match &target {
        Some(target) => match timeout(CONNECT_DEADLINE, connect(&machine, from, target)).await {
            Ok(Ok(stream)) => Some(stream),
            Ok(Err(_)) | Err(_) => None,
        },
        None => None,
    };
    if let Some(stream) = stream {
        machine.change(|model, now| model.studio_mut().publish_accepted(attempt, now));
        // Whatever the reason: the publisher is gone.
        let _ = send(&machine, stream).await;
    }
    machine.change(|model, now| model.studio_mut().publish_lost(attempt, now));
}

async fn connect(machine: &Arc<Shared>, from: Ipv4Addr, target: &Target) -> io::Result<GatedStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(SocketAddr::from((from, 0)))?;
    let stream = socket.connect(target.server).await?;
    stream.set_nodelay(true)?;
    let mut stream = GatedStream::new(stream, machine.register(Service::Studio));
    stream
        .write_all(format!("PUBLISH {}\n", target.path).as_bytes())
        .await?;
    let mut answer = [0_u8; 3];
    stream.read_exact(&mut answer).await?;
    if &answer == b"OK\n" {
        Ok(stream)
    } else {
        Err(io::ErrorKind::InvalidData.into())
    }
}

async fn send(machine: &Arc<Shared>, mut stream: GatedStream) -> io::Result<()> {
    let mut scratch = [0_u8; 64];
    loop {
        let now = machine.now();
        let sends_since = machine.inspect(|model, _| model.studio().output().sends_since());
        let wake_at = match sends_since {
            Some(since) if since <= now => {
                stream.write_all(&CHUNK).await?;
                now + machine.config().chunk_interval
            }
            Some(since) => since,
            None => now + machine.config().chunk_interval,
        };
        tokio::select! {
            () = tokio::time::sleep_until(machine.clock().instant(wake_at)) => {}
            // The ingest says nothing; reading notices when it is gone.
            read = stream.read(&mut scratch) => if read? == 0 {
                return Ok(());
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::model::studio::Service;

    #[test]
    fn only_loopback_targets_with_a_key_are_reachable() {
        let of = |server: &str, key: &str| Target::of(&Service::custom(server, key));
        let target = of("rtmp://127.77.255.1:1936/live", "k").unwrap();
        assert_eq!(target.server.to_string(), "127.77.255.1:1936");
        assert_eq!(target.path, "live/k");
        assert_eq!(of("rtmp://localhost/live", "k").unwrap().server.port(), 1935);
        assert_eq!(of("rtmp://192.0.2.1/live", "k"), None);
        assert_eq!(of("rtmp://127.0.0.1/live", ""), None);
        assert_eq!(of("auto", "k"), None);
    }
}

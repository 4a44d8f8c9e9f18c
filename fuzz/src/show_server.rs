//! The answer of a VM's show server to `GET /api/status`, from the first byte of HTTP on.

use std::net::SocketAddr;
use std::sync::LazyLock;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use understudy::infra::probe::{ANSWER_BYTES_MAX, Error, HttpProbe, Probe as _, ServerStatus};

use super::RUNTIME;

/// Longer than an answer on loopback takes, short enough that one which never ends is no hang.
const DEADLINE: Duration = Duration::from_millis(300);
/// A head of HTTP around the largest answer.
const HEAD_BYTES_MAX: usize = 64 * 1024;

static SERVER: LazyLock<(TcpListener, SocketAddr)> = LazyLock::new(|| {
    let listener = RUNTIME
        .block_on(TcpListener::bind("127.0.0.1:0"))
        .expect("a port");
    let address = listener.local_addr().expect("its address");
    (listener, address)
});

static PROBE: LazyLock<HttpProbe> = LazyLock::new(|| HttpProbe::new().expect("an HTTP client"));

/// Answers whoever connects, until it is dropped. The connection ends with the answer: waiting for more of one that is
/// cut short would be most of the time.
async fn serve(listener: &TcpListener, answer: &[u8]) {
    while let Ok((mut connection, _)) = listener.accept().await {
        let mut request = [0; 1024];
        // Whatever becomes of it, the next connection is served.
        if connection.read(&mut request).await.is_ok() {
            let _ = connection.write_all(answer).await;
        }
    }
}

/// # Errors
/// Why it is refused.
pub fn run(answer: &[u8]) -> Result<ServerStatus, Error> {
    let (listener, address) = &*SERVER;
    let probe = &*PROBE;
    let status = RUNTIME.block_on(async {
        tokio::select! {
            status = probe.status(*address, DEADLINE, None) => status,
            () = serve(listener, answer) => unreachable!("a listener of ours ends"),
        }
    });
    match &status {
        Ok(status) => {
            assert!(answer.len() <= ANSWER_BYTES_MAX + HEAD_BYTES_MAX);
            assert!(status.uptime_s.is_none_or(|seconds| seconds >= 0.0));
        }
        Err(error) => assert!(!error.to_string().is_empty(), "refused without a word"),
    }
    status
}

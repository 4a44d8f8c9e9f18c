//! The HTTP probe against servers that fail in every way a show server can.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use understudy::domain::ids::ShowId;
use understudy::infra::probe::{ANSWER_BYTES_MAX, Error, HttpProbe, Probe};

const PLENTY: Duration = Duration::from_secs(60);
const BRIEF: Duration = Duration::from_millis(150);
/// When the next probe follows, of a machine on air.
const SOON: Option<Duration> = Some(Duration::from_secs(1));

/// A server that does `behave` with every connection, and what it counts.
struct Server {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

async fn serve<F, B>(behave: B) -> Server
where
    F: Future<Output = std::io::Result<()>> + Send + 'static,
    B: Fn(TcpStream) -> F + Send + 'static,
{
    let listener = TcpListener::bind("127.44.8.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let connections = Arc::new(AtomicUsize::new(0));
    let counter = connections.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            counter.fetch_add(1, Ordering::SeqCst);
            let _ = stream.set_nodelay(true);
            tokio::spawn(behave(stream));
        }
    });
    Server { address, connections }
}

/// Reads one request's head and returns it; `None` once the client is gone.
async fn request(stream: &mut TcpStream) -> std::io::Result<Option<String>> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if stream.read(&mut byte).await? == 0 {
            return Ok(None);
        }
        head.push(byte[0]);
    }
    Ok(Some(String::from_utf8_lossy(&head).into_owned()))
}

/// Answers every request on every connection with `status` and `body`.
async fn answering(status: &'static str, body: impl Into<String>) -> Server {
    let body = Arc::new(body.into());
    serve(move |mut stream| {
        let body = body.clone();
        async move {
            while request(&mut stream).await?.is_some() {
                let head = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n", body.len());
                stream.write_all(head.as_bytes()).await?;
                stream.write_all(body.as_bytes()).await?;
            }
            Ok(())
        }
    })
    .await
}

fn probe() -> HttpProbe {
    HttpProbe::new().unwrap()
}

#[tokio::test]
async fn a_status_is_read_field_by_field() {
    let server = answering(
        "200 OK",
        r#"{"obsConnected":true,"obsIsStreaming":false,"obsCurrentScene":"Start","uptime":12.5,
            "version":"1.4.0","isPlaying":true,"connectedClients":[{"name":"vMix"}]}"#,
    )
    .await;
    let status = probe().status(server.address, PLENTY, SOON).await.unwrap();
    assert_eq!(status.obs_connected, Some(true));
    assert_eq!(status.obs_streaming, Some(false));
    assert_eq!(status.obs_recording, None);
    assert_eq!(status.obs_scene.as_deref(), Some("Start"));
    assert_eq!(status.uptime_s, Some(12.5));
    assert_eq!(status.version.as_deref(), Some("1.4.0"));
    assert!(status.response_time > Duration::ZERO);
}

#[tokio::test]
async fn a_refused_connection_is_told_from_a_timeout() {
    let closed = {
        let listener = TcpListener::bind("127.44.8.2:0").await.unwrap();
        listener.local_addr().unwrap()
    };
    assert_eq!(probe().status(closed, PLENTY, SOON).await, Err(Error::Refused));

    let silent = serve(|mut stream| async move {
        let mut sink = Vec::new();
        stream.read_to_end(&mut sink).await.map(drop)
    })
    .await;
    assert_eq!(
        probe().status(silent.address, BRIEF, SOON).await,
        Err(Error::TimedOut(BRIEF))
    );
}

#[tokio::test]
async fn an_answer_that_drips_does_not_outlast_the_deadline() {
    let server = serve(|mut stream| async move {
        request(&mut stream).await?;
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 60000\r\n\r\n{")
            .await?;
        let mut drip = tokio::time::interval(Duration::from_millis(10));
        loop {
            drip.tick().await;
            stream.write_all(b" ").await?;
        }
    })
    .await;
    let asked = Instant::now();
    assert_eq!(
        probe().status(server.address, BRIEF, SOON).await,
        Err(Error::TimedOut(BRIEF))
    );
    assert!(asked.elapsed() < PLENTY / 4, "took {:?}", asked.elapsed());
}

#[tokio::test]
async fn a_huge_answer_is_refused_by_its_announced_length() {
    let server = answering("200 OK", " ".repeat(ANSWER_BYTES_MAX + 1)).await;
    assert_eq!(
        probe().status(server.address, PLENTY, SOON).await,
        Err(Error::TooLarge(ANSWER_BYTES_MAX))
    );
}

#[tokio::test]
async fn an_endless_answer_is_cut_off_at_the_limit() {
    let (written, mut total) = mpsc::unbounded_channel();
    let server = serve(move |mut stream| {
        let written = written.clone();
        async move {
            request(&mut stream).await?;
            stream
                .write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n")
                .await?;
            let chunk = format!("1000\r\n{}\r\n", " ".repeat(0x1000));
            let mut sent = 0_usize;
            while stream.write_all(chunk.as_bytes()).await.is_ok() {
                sent += chunk.len();
            }
            let _ = written.send(sent);
            Ok(())
        }
    })
    .await;
    assert_eq!(
        probe().status(server.address, PLENTY, SOON).await,
        Err(Error::TooLarge(ANSWER_BYTES_MAX))
    );
    // The connection is closed, so the server's writing ends: nobody goes on reading.
    tokio::time::timeout(PLENTY, total.recv())
        .await
        .expect("the connection is closed")
        .unwrap();
}

#[tokio::test]
async fn an_answer_of_exactly_the_limit_is_read() {
    let mut body = String::from("{");
    body.push_str(&" ".repeat(ANSWER_BYTES_MAX - 2));
    body.push('}');
    let server = answering("200 OK", body).await;
    assert!(probe().status(server.address, PLENTY, SOON).await.is_ok());
}

#[tokio::test]
async fn what_is_not_a_json_object_is_said_to_be_none() {
    for body in ["", "hello", "<html>", "[1]", "\"ok\"", "null", "{\"a\":"] {
        let server = answering("200 OK", body).await;
        assert_eq!(
            probe().status(server.address, PLENTY, SOON).await,
            Err(Error::NotJson),
            "{body:?}"
        );
    }
    let not_http = serve(|mut stream| async move {
        request(&mut stream).await?;
        stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n").await
    })
    .await;
    assert_eq!(
        probe().status(not_http.address, PLENTY, SOON).await,
        Err(Error::NotJson)
    );
}

#[tokio::test]
async fn a_status_code_is_reported_and_a_redirect_is_not_followed() {
    for (status, code) in [
        ("500 Oops", 500),
        ("404 Not Found", 404),
        ("302 Found\r\nlocation: /api/other", 302),
    ] {
        let server = answering(status, r#"{"obsConnected":true}"#).await;
        assert_eq!(
            probe().status(server.address, PLENTY, SOON).await,
            Err(Error::Http(code)),
            "{status}"
        );
        assert_eq!(server.connections.load(Ordering::SeqCst), 1);
    }
}

#[tokio::test]
async fn a_connection_that_breaks_is_unreachable_and_tried_once_more() {
    let server = serve(|mut stream| async move { request(&mut stream).await.map(drop) }).await;
    assert!(matches!(
        probe().status(server.address, PLENTY, SOON).await,
        Err(Error::Unreachable(_))
    ));
    assert_eq!(server.connections.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn a_kept_connection_that_the_server_closes_costs_no_failed_probe() {
    // Closes after one answer without saying so beforehand, as servers do when a keep-alive time runs out.
    let server = serve(|mut stream| async move {
        request(&mut stream).await?;
        stream
            .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
            .await
    })
    .await;
    let probe = probe();
    for _ in 0..20 {
        probe.status(server.address, PLENTY, SOON).await.unwrap();
    }
}

#[tokio::test]
async fn connections_are_kept_between_probes_but_only_one() {
    let server = answering("200 OK", "{}").await;
    let probe = probe();
    for _ in 0..10 {
        probe.status(server.address, PLENTY, SOON).await.unwrap();
    }
    assert_eq!(server.connections.load(Ordering::SeqCst), 1);

    let at_once = (0..10).map(|_| probe.status(server.address, PLENTY, SOON));
    for status in futures_util::future::join_all(at_once).await {
        status.unwrap();
    }
    let after_burst = server.connections.load(Ordering::SeqCst);
    for _ in 0..10 {
        probe.status(server.address, PLENTY, SOON).await.unwrap();
    }
    assert_eq!(server.connections.load(Ordering::SeqCst), after_burst);
}

#[tokio::test]
async fn a_connection_does_not_wait_for_a_probe_that_is_far_away() {
    let (asked, mut heads) = mpsc::unbounded_channel();
    let server = serve(move |mut stream| {
        let asked = asked.clone();
        async move {
            while let Some(head) = request(&mut stream).await? {
                stream
                    .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
                    .await?;
                asked.send(Some(head)).map_err(std::io::Error::other)?;
            }
            asked.send(None).map_err(std::io::Error::other)
        }
    })
    .await;
    let probe = probe();
    let mut next = async || {
        let next = tokio::time::timeout(PLENTY, heads.recv()).await;
        next.expect("the connection ends").unwrap()
    };
    for again in [Some(Duration::from_secs(5)), None] {
        probe.status(server.address, PLENTY, again).await.unwrap();
        let head = next().await.unwrap();
        assert!(head.contains("connection: close"), "{head}");
        assert_eq!(next().await, None);
    }
    probe.status(server.address, PLENTY, SOON).await.unwrap();
    let head = next().await.unwrap();
    assert!(!head.contains("connection:"), "{head}");
    assert_eq!(server.connections.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn a_show_is_activated_and_deactivated_by_name() {
    let (lines, mut seen) = mpsc::unbounded_channel();
    let server = serve(move |mut stream| {
        let lines = lines.clone();
        async move {
            while let Some(head) = request(&mut stream).await? {
                let _ = lines.send(head.lines().next().unwrap_or_default().to_owned());
                stream
                    .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 16\r\n\r\n{\"success\":true}")
                    .await?;
            }
            Ok(())
        }
    })
    .await;
    let show = ShowId::new("Finale 2026?x=1").unwrap();
    probe()
        .activate(server.address, Some(&show), PLENTY)
        .await
        .unwrap();
    probe().activate(server.address, None, PLENTY).await.unwrap();
    assert_eq!(
        seen.recv().await.unwrap(),
        "POST /api/competitions/Finale%202026%3Fx=1/activate HTTP/1.1"
    );
    assert_eq!(
        seen.recv().await.unwrap(),
        "POST /api/competitions/deactivate HTTP/1.1"
    );
}

#[tokio::test]
async fn a_show_server_that_refuses_an_activation_says_so() {
    let server = answering("409 Conflict", r#"{"error":"busy"}"#).await;
    let show = ShowId::new("show").unwrap();
    assert_eq!(
        probe().activate(server.address, Some(&show), PLENTY).await,
        Err(Error::Http(409))
    );
}

//! An HTTP server that misbehaves to order, for what no real server does on request.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What the server does with one request.
#[derive(Debug, Clone)]
pub enum Answer {
    /// A whole answer.
    Whole { status: u16, body: String },
    /// Everything but the last byte, and then nothing more.
    Stalled { body: String },
    /// Nothing, with the connection kept open.
    Silence,
}

/// One request as it came.
#[derive(Debug, Clone)]
pub struct Request {
    pub at: Instant,
    pub body: String,
}

/// Gives the answers of a script in order, and the last one for ever.
pub struct Script {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
    server: JoinHandle<()>,
}

impl Script {
    pub async fn start(answers: Vec<Answer>) -> Self {
        assert!(!answers.is_empty());
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&requests);
        let server = tokio::spawn(async move {
            let answers: Arc<[Answer]> = answers.into();
            while let Ok((connection, _)) = listener.accept().await {
                tokio::spawn(serve(connection, Arc::clone(&answers), Arc::clone(&seen)));
            }
        });
        Self {
            address,
            requests,
            server,
        }
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Every request until now.
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// The time from each request to the next.
    pub fn pauses(&self) -> Vec<Duration> {
        self.requests()
            .windows(2)
            .map(|pair| pair[1].at - pair[0].at)
            .collect()
    }
}

impl Drop for Script {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn serve(mut connection: TcpStream, answers: Arc<[Answer]>, seen: Arc<Mutex<Vec<Request>>>) {
    while let Some(body) = read_request(&mut connection).await {
        let number = {
            let mut seen = seen.lock().unwrap();
            seen.push(Request {
                at: Instant::now(),
                body,
            });
            seen.len()
        };
        let written = match &answers[number.min(answers.len()) - 1] {
            Answer::Whole { status, body } => connection.write_all(answer(*status, body).as_bytes()).await,
            Answer::Stalled { body } => {
                let whole = answer(200, body);
                let written = connection.write_all(&whole.as_bytes()[..whole.len() - 1]).await;
                until_closed(&mut connection).await;
                written
            }
            Answer::Silence => {
                until_closed(&mut connection).await;
                Ok(())
            }
        };
        if written.is_err() {
            return;
        }
    }
}

fn answer(status: u16, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status} X\r\ncontent-type: text/xml\r\ncontent-length: {length}\r\n\r\n{body}")
}

/// The body of the next request; `None` when the client has gone.
async fn read_request(connection: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(connection.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
    let length = head
        .lines()
        .find_map(|line| line.strip_prefix("content-length:"))
        .map_or(0, |length| length.trim().parse().unwrap());
    let mut body = vec![0; length];
    connection.read_exact(&mut body).await.ok()?;
    Some(String::from_utf8(body).unwrap())
}

async fn until_closed(connection: &mut TcpStream) {
    let mut rest = [0; 64];
    while connection.read(&mut rest).await.is_ok_and(|count| count > 0) {}
}

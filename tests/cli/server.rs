//! A raw HTTP server that answers by a script, in the contract's words or in none.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Far from now, so that the program reckons ages by it.
pub const DATE: &str = "Wed, 01 Jan 2020 12:00:00 GMT";

/// What one request gets.
#[derive(Debug, Clone)]
pub enum Say {
    Json(u16, Value),
    /// JSON with further headers.
    With(u16, &'static [(&'static str, &'static str)], Value),
    /// These bytes instead of an answer.
    Raw(&'static [u8]),
    /// Hangs up without an answer.
    HangUp,
    /// Never answers, and keeps the connection.
    Silence,
}

/// One request as it came.
#[derive(Debug, Clone)]
pub struct Request {
    /// Method and target: `POST /api/x?y`.
    pub line: String,
    /// Names in lower case.
    pub headers: HashMap<String, String>,
    pub body: String,
}

impl Request {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

#[derive(Default)]
struct Script {
    /// What is said to each request line, in order; the last for ever.
    answers: HashMap<String, Vec<Say>>,
    seen: Vec<Request>,
}

impl Script {
    fn next(&mut self, line: &str) -> Say {
        match self.answers.get_mut(line) {
            Some(says) if says.len() > 1 => says.remove(0),
            Some(says) => says[0].clone(),
            None => Say::Json(
                404,
                json!({"error": "there is nothing at this path", "code": "NOT_FOUND"}),
            ),
        }
    }
}

pub struct Server {
    address: SocketAddr,
    script: Arc<Mutex<Script>>,
    task: JoinHandle<()>,
}

impl Server {
    /// Starts a server that knows these requests and answers 404 to all others.
    pub async fn start<const N: usize>(answers: [(&str, Vec<Say>); N]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let answers = answers.map(|(line, says)| (line.to_owned(), says)).into();
        let script = Arc::new(Mutex::new(Script {
            answers,
            seen: Vec::new(),
        }));
        let shared = Arc::clone(&script);
        let task = tokio::spawn(async move {
            while let Ok((connection, _)) = listener.accept().await {
                tokio::spawn(serve(connection, Arc::clone(&shared)));
            }
        });
        Self {
            address,
            script,
            task,
        }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From now on this request gets these answers.
    pub fn say(&self, line: &str, says: Vec<Say>) {
        self.script.lock().unwrap().answers.insert(line.to_owned(), says);
    }

    /// Every request of this line until now.
    pub fn seen(&self, line: &str) -> Vec<Request> {
        let script = self.script.lock().unwrap();
        script
            .seen
            .iter()
            .filter(|request| request.line == line)
            .cloned()
            .collect()
    }

    /// The only request of this line.
    pub fn only(&self, line: &str) -> Request {
        let mut seen = self.seen(line);
        assert_eq!(seen.len(), 1, "{line}: {:?}", self.script.lock().unwrap().seen);
        seen.remove(0)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One request a connection: the simplest that is HTTP.
async fn serve(mut connection: TcpStream, script: Arc<Mutex<Script>>) {
    let Some(request) = read(&mut connection).await else {
        return;
    };
    let say = {
        let mut script = script.lock().unwrap();
        let say = script.next(&request.line);
        script.seen.push(request);
        say
    };
    let answer = match say {
        Say::Json(status, body) => whole(status, &[], &body),
        Say::With(status, headers, body) => whole(status, headers, &body),
        Say::Raw(bytes) => bytes.to_vec(),
        Say::HangUp => Vec::new(),
        Say::Silence => {
            // Until the other side gives up.
            let _ = connection.read(&mut [0]).await;
            return;
        }
    };
    // A client that went away is what some tests are about.
    let _ = connection.write_all(&answer).await;
    let _ = connection.shutdown().await;
}

fn whole(status: u16, headers: &[(&str, &str)], body: &Value) -> Vec<u8> {
    let body = body.to_string();
    let extra: String = headers
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .collect();
    format!(
        "HTTP/1.1 {status} X\r\ncontent-type: application/json; charset=utf-8\r\ndate: {DATE}\r\n\
         connection: close\r\ncontent-length: {}\r\n{extra}\r\n{body}",
        body.len()
    )
    .into_bytes()
}

async fn read(connection: &mut TcpStream) -> Option<Request> {
    let mut bytes = Vec::new();
    let head_end = loop {
        if let Some(at) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            break at;
        }
        if connection.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8(bytes[..head_end].to_vec()).ok()?;
    let mut lines = head.split("\r\n");
    let line = lines.next()?.trim_end_matches(" HTTP/1.1").to_owned();
    let headers: HashMap<String, String> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()))
        .collect();
    let length = headers
        .get("content-length")
        .map_or(0, |length| length.parse().unwrap());
    let mut body = bytes.split_off(head_end + 4);
    while body.len() < length {
        if connection.read_buf(&mut body).await.ok()? == 0 {
            return None;
        }
    }
    Some(Request {
        line,
        headers,
        body: String::from_utf8(body).ok()?,
    })
}

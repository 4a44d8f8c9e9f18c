//! A bucket of moto's S3, behind a gate that counts what comes through, and can spoil it.
//!
//! Facts about moto 5.2: it keeps no checksum of a part and compares none with what came, but says of an object what
//! its parts really have; parts below 5 MiB, the last excepted, are refused when they are put together, as by S3. Putting
//! together an upload that is gone fails in it (500); the gate says what S3 does then
//! (<https://docs.aws.amazon.com/AmazonS3/latest/API/API_CompleteMultipartUpload.html>).

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use http::{Method, StatusCode};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::moto::Moto;

/// moto's word for what S3 calls `ListPartsResult`, and clients look for.
const MISNAMED: &str = "ListPartsResponse";
/// The largest request: a part.
const BODY_BYTES_MAX: usize = 80 << 20;

/// What the gate does to what comes through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Spoil {
    Nothing,
    /// Changes one byte of the part of this number.
    Part(u32),
    /// Holds parts after this number back until something else is set.
    HoldAfter(u32),
    /// Answers everything with this status and S3 error code.
    Refuse(u16, &'static str),
    /// Says nothing of checksums.
    NoChecksums,
}

struct Gate {
    endpoint: String,
    http: reqwest::Client,
    spoil: watch::Sender<Spoil>,
    /// Method, path and query of what came.
    seen: Mutex<Vec<(Method, String)>>,
    /// Numbers of the parts that moto took.
    arrived: Mutex<Vec<u32>>,
    /// Who waits to be let through.
    held: AtomicUsize,
}

/// One who waits, until they are let through or gone.
struct Held<'a>(&'a AtomicUsize);

impl<'a> Held<'a> {
    fn at(gate: &'a Gate) -> Self {
        gate.held.fetch_add(1, Ordering::SeqCst);
        Self(&gate.held)
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

pub struct Bucket {
    name: String,
    gate: Arc<Gate>,
    moto: Arc<Moto>,
    address: String,
    server: JoinHandle<()>,
}

impl Bucket {
    /// Makes the bucket.
    pub async fn create(moto: Arc<Moto>) -> Self {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let gate = Arc::new(Gate {
            endpoint: moto.endpoint().to_owned(),
            http,
            spoil: watch::Sender::new(Spoil::Nothing),
            seen: Mutex::default(),
            arrived: Mutex::default(),
            held: AtomicUsize::new(0),
        });
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let app = axum::Router::new().fallback(pass).with_state(Arc::clone(&gate));
        let server = tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
        // The name is known to all regions.
        let name = format!("shows-{}", moto.region());
        let bucket = Self {
            name,
            gate,
            moto,
            address,
            server,
        };
        let made = bucket.call(Method::PUT, "").await;
        assert!(made.status().is_success(), "{made:?}");
        bucket
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where the gate listens.
    pub fn endpoint(&self) -> &str {
        &self.address
    }

    pub fn spoil(&self, spoil: Spoil) {
        self.gate.spoil.send_replace(spoil);
    }

    /// The numbers of the parts that were sent so far, in their order.
    pub fn parts_sent(&self) -> Vec<u32> {
        let seen = self.gate.seen.lock().unwrap();
        seen.iter()
            .filter_map(|(method, path)| part(method, path))
            .collect()
    }

    /// The numbers of the parts that moto has taken so far, in that order.
    pub fn parts_arrived(&self) -> Vec<u32> {
        self.gate.arrived.lock().unwrap().clone()
    }

    /// Requests that are held back now.
    pub fn held(&self) -> usize {
        self.gate.held.load(Ordering::SeqCst)
    }

    /// Method, path and query of what was asked so far.
    pub fn asked(&self, method: &Method) -> usize {
        let seen = self.gate.seen.lock().unwrap();
        seen.iter().filter(|(asked, _)| asked == method).count()
    }

    /// What is kept under a key.
    pub async fn object(&self, key: &str) -> Option<Bytes> {
        let answer = self.call(Method::GET, key).await;
        if answer.status() == StatusCode::NOT_FOUND {
            return None;
        }
        assert!(answer.status().is_success(), "{answer:?}");
        Some(answer.bytes().await.unwrap())
    }

    /// Keys of everything that is kept.
    pub async fn keys(&self) -> Vec<String> {
        let answer = self.call(Method::GET, "?list-type=2").await;
        all_between(&answer.text().await.unwrap(), "<Key>", "</Key>")
    }

    /// Uploads that were begun and neither finished nor aborted.
    pub async fn open_uploads(&self) -> usize {
        let answer = self.call(Method::GET, "?uploads").await;
        all_between(&answer.text().await.unwrap(), "<UploadId>", "</UploadId>").len()
    }

    /// Past the gate.
    async fn call(&self, method: Method, rest: &str) -> reqwest::Response {
        let region = self.moto.region();
        let separator = if rest.starts_with('?') { "" } else { "/" };
        let path = format!("/{}{separator}{rest}", self.name);
        let mut request = self.moto.request(method.clone(), "s3", &path);
        if method == Method::PUT && region != "us-east-1" {
            request = request.body(format!(
                "<CreateBucketConfiguration><LocationConstraint>{region}</LocationConstraint></CreateBucketConfiguration>"
            ));
        }
        request.send().await.unwrap()
    }
}

impl Drop for Bucket {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn all_between(text: &str, begin: &str, end: &str) -> Vec<String> {
    let pieces = text.split(begin).skip(1);
    pieces
        .filter_map(|piece| piece.split(end).next().map(str::to_owned))
        .collect()
}

fn part(method: &Method, path: &str) -> Option<u32> {
    let (_, number) = path.split_once("partNumber=")?;
    let number = number.split('&').next()?.parse().ok()?;
    (method == Method::PUT).then_some(number)
}

async fn pass(State(gate): State<Arc<Gate>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path_and_query().unwrap().to_string();
    let mut body = to_bytes(body, BODY_BYTES_MAX).await.unwrap_or_default();
    gate.seen
        .lock()
        .unwrap()
        .push((parts.method.clone(), path.clone()));
    let number = part(&parts.method, &path);
    let mut spoil = gate.spoil.subscribe();
    let is_let_through =
        |spoil: &Spoil| !matches!((spoil, number), (Spoil::HoldAfter(last), Some(number)) if number > *last);
    let held = (!is_let_through(&spoil.borrow())).then(|| Held::at(&gate));
    let now = spoil.wait_for(is_let_through).await.unwrap().clone();
    drop(held);
    match (&now, number) {
        (Spoil::Refuse(status, code), _) => {
            let text = format!("<Error><Code>{code}</Code><Message>no</Message></Error>");
            return (StatusCode::from_u16(*status).unwrap(), text).into_response();
        }
        (Spoil::Part(spoilt), Some(number)) if *spoilt == number => {
            let mut bytes = body.to_vec();
            bytes[0] ^= 1;
            body = bytes.into();
        }
        _ => {}
    }
    let method = parts.method.clone();
    let mut onward = gate
        .http
        .request(parts.method, format!("{}{path}", gate.endpoint))
        .body(body);
    for (name, value) in &parts.headers {
        if name != http::header::HOST && name != http::header::CONTENT_LENGTH {
            onward = onward.header(name, value);
        }
    }
    let answer = onward.send().await.unwrap();
    if let Some(number) = number.filter(|_| answer.status().is_success()) {
        gate.arrived.lock().unwrap().push(number);
    }
    if method == Method::POST && path.contains("uploadId=") && answer.status().is_server_error() {
        let text = "<Error><Code>NoSuchUpload</Code><Message>gone</Message></Error>";
        return (StatusCode::NOT_FOUND, text).into_response();
    }
    let mut response = Response::builder().status(answer.status());
    for (name, value) in answer.headers() {
        let is_checksum = name.as_str().starts_with("x-amz-checksum");
        let is_hop = name == http::header::TRANSFER_ENCODING
            || name == http::header::CONNECTION
            || (name == http::header::CONTENT_LENGTH && method != Method::HEAD);
        let is_withheld = is_hop || (is_checksum && now == Spoil::NoChecksums);
        if !is_withheld {
            response = response.header(name, value);
        }
    }
    let mut body = answer.bytes().await.unwrap();
    if let Ok(text) = std::str::from_utf8(&body)
        && text.contains(MISNAMED)
    {
        body = text.replace(MISNAMED, "ListPartsResult").into();
    }
    response.body(Body::from(body)).unwrap()
}

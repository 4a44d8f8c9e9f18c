//! The simulated cloud's API: JSON over HTTP.
//!
//! The interface that [`crate::infra::cloud::rest`] speaks; its routes are documented there. The API's faults
//! are the model's ([`crate::sim::model::cloud::Faults`]): down closes the port, the others answer as a cloud does.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::{Notify, Semaphore, watch};

use crate::domain::ids::InstanceId;
use crate::domain::instance::{Launch, PowerChange};
use crate::domain::time::Timestamp;
use crate::sim::clock::Clock;
use crate::sim::model::cloud::{Cloud, Effect, LaunchRequest, Refusal};
use crate::sim::model::fault::CloudFault;

/// Largest page of instances.
const PAGE_MAX: usize = 1_000;
const BODY_BYTES_MAX: usize = 256 * 1_024;
/// Connections served at once; further ones wait.
const CONNECTIONS_MAX: usize = 256;
const HEADER_DEADLINE: Duration = Duration::from_secs(10);

/// Does to machines what the cloud decides. Must not block.
pub type Apply = Box<dyn Fn(Effect) + Send + Sync>;

struct Shared {
    clock: Clock,
    address: SocketAddr,
    cloud: Mutex<Cloud>,
    apply: Apply,
    wake: Notify,
    /// False while the API is down, and at the end.
    up: watch::Sender<bool>,
    closed: watch::Sender<bool>,
}

impl Shared {
    /// Lets the cloud act, after everything that was due. Effects happen in order: the lock is held until they
    /// have.
    fn act<T>(&self, act: impl FnOnce(&mut Cloud, Timestamp) -> T) -> T {
        let now = self.clock.now();
        let mut cloud = self.cloud();
        let mut effects = cloud.advance(now);
        let result = act(&mut cloud, now);
        effects.extend(cloud.advance(now));
        for effect in effects {
            (self.apply)(effect);
        }
        drop(cloud);
        self.wake.notify_one();
        result
    }

    /// Makes what is due happen.
    fn act_quietly(&self) {
        let now = self.clock.now();
        let mut cloud = self.cloud();
        for effect in cloud.advance(now) {
            (self.apply)(effect);
        }
    }

    fn cloud(&self) -> MutexGuard<'_, Cloud> {
        self.cloud.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A cloud whose API is served. It ends when this is dropped.
pub struct CloudServer {
    shared: Arc<Shared>,
}

impl CloudServer {
    /// Serves `cloud` at `address`; port 0 picks a free one. What it does to machines goes to `apply`.
    /// Must be called within a runtime.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub fn start(address: SocketAddr, clock: Clock, cloud: Cloud, apply: Apply) -> io::Result<Self> {
        let listener = listen(address)?;
        let shared = Arc::new(Shared {
            clock,
            address: listener.local_addr()?,
            cloud: Mutex::new(cloud),
            apply,
            wake: Notify::new(),
            up: watch::Sender::new(true),
            closed: watch::Sender::new(false),
        });
        tokio::spawn(pass_time(Arc::downgrade(&shared), shared.closed.subscribe()));
        tokio::spawn(listen_while_up(
            Arc::clone(&shared),
            listener,
            shared.closed.subscribe(),
        ));
        Ok(Self { shared })
    }

    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.shared.address
    }

    /// Acts on the cloud behind the API's back.
    pub fn act<T>(&self, act: impl FnOnce(&mut Cloud, Timestamp) -> T) -> T {
        self.shared.act(act)
    }

    /// Looks at the cloud.
    pub fn inspect<T>(&self, look: impl FnOnce(&Cloud) -> T) -> T {
        look(&self.shared.cloud())
    }

    pub fn fault(&self, fault: CloudFault) {
        self.act(|cloud, _| cloud.fault(fault));
        self.follow_faults();
    }

    /// Mends everything that is wrong with the API.
    pub fn heal(&self) {
        self.act(|cloud, _| cloud.heal());
        self.follow_faults();
    }

    fn follow_faults(&self) {
        let down = self.inspect(|cloud| cloud.faults().down);
        self.shared.up.send_replace(!down);
    }
}

impl Drop for CloudServer {
    fn drop(&mut self) {
        self.shared.closed.send_replace(true);
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(1_024)
}

/// Makes happen what is due without anybody asking.
async fn pass_time(shared: Weak<Shared>, mut closed: watch::Receiver<bool>) {
    loop {
        let Some(strong) = shared.upgrade() else { return };
        strong.act_quietly();
        let deadline = strong.cloud().next_deadline().map(|at| strong.clock.instant(at));
        let woken = async {
            match deadline {
                Some(deadline) => {
                    let _ = tokio::time::timeout_at(deadline, strong.wake.notified()).await;
                }
                None => strong.wake.notified().await,
            }
        };
        tokio::select! {
            () = woken => {}
            _ = closed.wait_for(|closed| *closed) => return,
        }
    }
}

/// Listens while the API is up, closes the port while it is down.
async fn listen_while_up(shared: Arc<Shared>, first: TcpListener, mut closed: watch::Receiver<bool>) {
    let mut up = shared.up.subscribe();
    let mut listener = Some(first);
    loop {
        if let Some(listener) = listener.take() {
            tokio::select! {
                () = serve_all(&shared, listener) => {}
                _ = up.wait_for(|up| !up) => {}
                _ = closed.wait_for(|closed| *closed) => return,
            }
        }
        tokio::select! {
            _ = up.wait_for(|up| *up) => {}
            _ = closed.wait_for(|closed| *closed) => return,
        }
        match listen(shared.address) {
            Ok(again) => listener = Some(again),
            Err(error) => {
                tracing::warn!(%error, "the simulated cloud cannot listen");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn serve_all(shared: &Arc<Shared>, listener: TcpListener) {
    let permits = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else {
            return;
        };
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let shared = Arc::clone(shared);
        tokio::spawn(async move {
            let _permit = permit;
            let (mut up, mut closed) = (shared.up.subscribe(), shared.closed.subscribe());
            let service = service_fn(move |request| {
                let shared = Arc::clone(&shared);
                async move { answer(&shared, request).await }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEADER_DEADLINE)
                .max_buf_size(64 * 1_024)
                .serve_connection(TokioIo::new(stream), service);
            tokio::select! {
                // The client went away or spoke nonsense: nothing to tell anybody.
                _ = connection => {}
                _ = up.wait_for(|up| !up) => {}
                _ = closed.wait_for(|closed| *closed) => {}
            }
        });
    }
}

/// An answer that is not a success.
struct Complaint {
    status: StatusCode,
    code: &'static str,
    message: String,
}

impl Complaint {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self {
            status,
            code,
            message: message.into(),
        }
    }

    fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "InvalidParameterValue", message)
    }
}

impl From<Refusal> for Complaint {
    fn from(refusal: Refusal) -> Self {
        let (status, code) = match &refusal {
            Refusal::NotFound(_) => (StatusCode::NOT_FOUND, "InvalidInstanceID.NotFound"),
            Refusal::WrongState { .. } => (StatusCode::CONFLICT, "IncorrectInstanceState"),
            Refusal::NoCapacity => (StatusCode::SERVICE_UNAVAILABLE, "InsufficientInstanceCapacity"),
            Refusal::NoAddress => (
                StatusCode::SERVICE_UNAVAILABLE,
                "InsufficientFreeAddressesInSubnet",
            ),
        };
        Self::new(status, code, refusal.to_string())
    }
}

/// What was asked for is done, and nobody is told; the connection ends.
#[derive(Debug, thiserror::Error)]
#[error("the answer is lost")]
struct AnswerLost;

async fn answer(
    shared: &Arc<Shared>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, AnswerLost> {
    let faults = shared.cloud().faults();
    let is_change = request.method() != Method::GET;
    if !faults.delay.is_zero() {
        tokio::time::sleep(faults.delay).await;
    }
    let outcome = if faults.throttled {
        Err(Complaint::new(
            StatusCode::TOO_MANY_REQUESTS,
            "RequestLimitExceeded",
            "request limit exceeded",
        ))
    } else if faults.denied && is_change {
        Err(Complaint::new(
            StatusCode::FORBIDDEN,
            "UnauthorizedOperation",
            "you are not authorized to perform this operation",
        ))
    } else {
        route(shared, request).await
    };
    if faults.answers_lost && is_change {
        return Err(AnswerLost);
    }
    let (status, body) = match outcome {
        Ok((status, body)) => (status, body),
        Err(Complaint {
            status,
            code,
            message,
        }) => (status, json!({"error": {"code": code, "message": message}})),
    };
    let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
    *response.status_mut() = status;
    let json = header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    Ok(response)
}

type Outcome = Result<(StatusCode, Value), Complaint>;

async fn route(shared: &Arc<Shared>, request: Request<Incoming>) -> Outcome {
    let uri = request.uri().clone();
    let path: Vec<&str> = uri.path().trim_matches('/').split('/').collect();
    match (request.method().clone(), path.as_slice()) {
        (Method::GET, ["v1", "instances"]) => list(shared, uri.query().unwrap_or_default()),
        (Method::POST, ["v1", "instances"]) => launch(shared, &body(request).await?),
        (Method::GET, ["v1", "instances", id]) => {
            let id = instance_id(id)?;
            let cloud = shared.cloud();
            let found = cloud.describe(&id).filter(|_| !cloud.faults().mislaid).cloned();
            let instance = found.ok_or(Refusal::NotFound(id))?;
            Ok((StatusCode::OK, to_value(&instance)?))
        }
        (Method::POST, ["v1", "instances", id, "power"]) => {
            let id = instance_id(id)?;
            let change = body(request).await?.get("change").cloned().unwrap_or_default();
            let change: PowerChange =
                serde_json::from_value(change).map_err(|e| Complaint::invalid(e.to_string()))?;
            let (previous, current) = shared.act(|cloud, now| cloud.change(&id, change, now))?;
            Ok((
                StatusCode::ACCEPTED,
                json!({"previous": previous, "current": current}),
            ))
        }
        (Method::PATCH, ["v1", "instances", id, "tags"]) => {
            let id = instance_id(id)?;
            let tags: BTreeMap<String, String> = serde_json::from_value(body(request).await?)
                .map_err(|error| Complaint::invalid(error.to_string()))?;
            shared.act(|cloud, _| cloud.tag(&id, tags))?;
            Ok((StatusCode::OK, json!({})))
        }
        _ => Err(Complaint::new(
            StatusCode::NOT_FOUND,
            "InvalidAction",
            "no such route",
        )),
    }
}

async fn body(request: Request<Incoming>) -> Result<Value, Complaint> {
    let body = Limited::new(request.into_body(), BODY_BYTES_MAX).collect().await;
    let bytes = body
        .map_err(|error| Complaint::invalid(error.to_string()))?
        .to_bytes();
    serde_json::from_slice(&bytes).map_err(|error| Complaint::invalid(error.to_string()))
}

fn instance_id(text: &str) -> Result<InstanceId, Complaint> {
    InstanceId::new(text).map_err(|error| {
        Complaint::new(
            StatusCode::BAD_REQUEST,
            "InvalidInstanceID.Malformed",
            error.to_string(),
        )
    })
}

fn to_value(value: &impl serde::Serialize) -> Result<Value, Complaint> {
    serde_json::to_value(value).map_err(|error| {
        Complaint::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "InternalError",
            error.to_string(),
        )
    })
}

fn list(shared: &Shared, query: &str) -> Outcome {
    let mut tags = BTreeMap::new();
    let (mut after, mut limit) = (None, PAGE_MAX);
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
        let value = unescape(value).ok_or_else(|| Complaint::invalid("the query is not percent-encoded"))?;
        match key {
            "tag" => {
                let (name, value) = value
                    .split_once('=')
                    .ok_or_else(|| Complaint::invalid("tag must be NAME=VALUE"))?;
                tags.insert(name.to_owned(), value.to_owned());
            }
            "after" => after = Some(instance_id(&value)?),
            "limit" => {
                let wanted: usize = value
                    .parse()
                    .map_err(|_| Complaint::invalid("limit must be a number"))?;
                limit = wanted.clamp(1, PAGE_MAX);
            }
            other => return Err(Complaint::invalid(format!("unknown parameter {other}"))),
        }
    }
    let page = shared.cloud().list(&tags, after.as_ref(), limit);
    let next = page
        .last()
        .filter(|_| page.len() == limit)
        .map(|last| last.instance_id.clone());
    Ok((
        StatusCode::OK,
        json!({"instances": to_value(&page)?, "next": next}),
    ))
}

fn launch(shared: &Shared, body: &Value) -> Outcome {
    let launch: Launch =
        serde_json::from_value(body.clone()).map_err(|error| Complaint::invalid(error.to_string()))?;
    let mut tags = launch.tags;
    tags.insert("Name".to_owned(), launch.name);
    let request = LaunchRequest {
        token: (!launch.token.is_empty()).then_some(launch.token),
        instance_type: launch.instance_type,
        tags,
    };
    let instance = shared.act(|cloud, now| cloud.launch(request, now))?;
    Ok((StatusCode::CREATED, to_value(&instance)?))
}

/// A percent-encoded query value, with `+` for a blank.
fn unescape(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        match byte {
            b'%' => {
                let mut digit = || rest.next().and_then(|b| char::from(b).to_digit(16));
                bytes.push(u8::try_from(digit()? * 16 + digit()?).ok()?);
            }
            b'+' => bytes.push(b' '),
            plain => bytes.push(plain),
        }
    }
    String::from_utf8(bytes).ok()
}

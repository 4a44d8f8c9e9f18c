//! The client of a running server: HTTP, with a deadline on everything, and errors that say what happened.
//!
//! A request that is safe to repeat (a read, or one with an `Idempotency-Key`) is repeated once if the
//! connection was lost before its answer came. Nothing else is repeated, no redirection is followed, and the
//! token appears in one header and nowhere else.

mod call;

use std::io::{self, Write as _};
use std::time::Duration;

use jiff::Timestamp;
use reqwest::header::{
    ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, DATE, HeaderMap, HeaderValue, LOCATION, RETRY_AFTER,
};
use reqwest::{StatusCode, Url};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

pub use call::Call;

use super::advice;
use super::connection::{Connection, is_loopback};
use super::failure::{Exit, Failure};
use super::lines::Lines;
use super::span;
use crate::infra::causes::with_causes;
use call::READ_LIMIT;

/// Limit on getting a connection: a server on the same planet takes less.
const CONNECT_LIMIT: Duration = Duration::from_secs(3);
/// Before the one repetition: a restarting server needs a moment.
const REPEAT_PAUSE: Duration = Duration::from_millis(300);
/// Largest answer read. A pool of ten thousand VMs is about a tenth of it.
const ANSWER_BYTES_MAX: usize = 128 << 20;

/// A successful answer.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer {
    pub status: u16,
    /// A JSON object.
    pub body: Value,
    /// The server's clock, if it told it.
    pub date: Option<Timestamp>,
}

impl Answer {
    /// The answer as what it should be.
    ///
    /// # Errors
    /// [`Exit::Unreachable`]: it is not, so whoever answers is no understudy, or a very different one.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        serde_json::from_value(self.body.clone()).map_err(|error| {
            advice::foreign(format!("the answer is not what an understudy answers: {error}"))
        })
    }
}

/// What the server said no with.
#[derive(Debug, Clone, PartialEq)]
pub struct Refusal {
    pub status: u16,
    /// The server's own sentence.
    pub error: String,
    pub code: Option<String>,
    /// The other fields of the answer.
    pub fields: Map<String, Value>,
    pub retry_after_s: Option<u64>,
}

impl Refusal {
    /// A field of the answer that is text.
    #[must_use]
    pub fn text(&self, field: &str) -> Option<&str> {
        self.fields.get(field)?.as_str()
    }
}

/// Why there is no successful answer.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum CallError {
    #[error("{}", .0.error)]
    Refused(Refusal),
    /// No connection came about, so nothing was carried out.
    #[error("no server answers at {url}: {reason}")]
    Unreachable { url: String, reason: String },
    /// The request was sent and the connection ended: it may have been carried out.
    #[error("the connection was lost before the answer came: {reason}")]
    Lost { reason: String },
    /// It may have been carried out.
    #[error("no answer within {}", span::step(crate::domain::time::millis(*limit)))]
    TimedOut { limit: Duration },
    /// Something answered that is not this server's API.
    #[error("what answers at {url} is not an understudy: {reason}")]
    Foreign {
        url: String,
        status: u16,
        reason: String,
    },
    #[error("the server sends us elsewhere, to {to}")]
    Redirected { to: String },
}

/// The client. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    /// Marked as sensitive, so that nothing prints it.
    bearer: Option<HeaderValue>,
    timeout: Option<Duration>,
    /// Tell each request and its id on standard error.
    verbose: bool,
}

impl Client {
    /// Checks the options; nothing is sent yet.
    ///
    /// # Errors
    /// [`Exit::Usage`] for a URL or token that cannot be one.
    pub fn new(connection: &Connection) -> Result<Self, Failure> {
        let base = connection.base()?;
        let bearer = connection.bearer()?;
        let mut builder = reqwest::Client::builder()
            .connect_timeout(CONNECT_LIMIT)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(concat!("understudy/", env!("CARGO_PKG_VERSION")));
        if is_loopback(&base) {
            // A proxy for the outside world cannot reach this machine's own loopback.
            builder = builder.no_proxy();
        }
        let http = builder.build().map_err(|error| {
            Failure::new(Exit::Failed, format!("no HTTP client: {}", with_causes(&error)))
        })?;
        Ok(Self {
            http,
            base,
            bearer,
            timeout: connection.timeout,
            verbose: connection.verbose,
        })
    }

    /// The same with a shorter limit on every answer, unless one was given on the command line.
    #[must_use]
    pub fn impatient(&self, limit: Duration) -> Self {
        Self {
            timeout: self.timeout.or(Some(limit)),
            ..self.clone()
        }
    }

    /// Where the server is, as people write it.
    #[must_use]
    pub fn url(&self) -> String {
        self.base.as_str().trim_end_matches('/').to_owned()
    }

    /// Whether the server is on this machine.
    #[must_use]
    pub fn is_local(&self) -> bool {
        is_loopback(&self.base)
    }

    #[must_use]
    pub fn has_token(&self) -> bool {
        self.bearer.is_some()
    }

    /// Sends a request and explains what went wrong, if so: with the server's words and what to do.
    ///
    /// # Errors
    /// Every [`CallError`], as it concerns people.
    pub async fn ask(&self, call: Call<'_>) -> Result<Answer, Failure> {
        match self.send(&call).await {
            Ok(answer) => Ok(answer),
            Err(error) => Err(advice::explain(self, error, &call).await),
        }
    }

    /// Sends a request; repeats it once if that is safe and the connection was lost.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn send(&self, call: &Call<'_>) -> Result<Answer, CallError> {
        match self.send_once(call).await {
            Err(CallError::Lost { .. }) if call.is_repeatable() => {
                tokio::time::sleep(REPEAT_PAUSE).await;
                self.send_once(call).await.map_err(|error| match error {
                    // The first one was sent, so what matters is that its fate is unknown.
                    CallError::Unreachable { reason, .. } => CallError::Lost { reason },
                    other @ (CallError::Refused(_)
                    | CallError::Lost { .. }
                    | CallError::TimedOut { .. }
                    | CallError::Foreign { .. }
                    | CallError::Redirected { .. }) => other,
                })
            }
            result => result,
        }
    }

    /// The answer's body whatever its status; `None` if there is none that is an object. For answers that are
    /// nice to have.
    pub async fn glance(&self, path: &[&str]) -> Option<Value> {
        let limit = self.timeout.unwrap_or(READ_LIMIT);
        let response = self.request(&Call::get(path), limit).send().await.ok()?;
        let bytes = read(response).await.ok()??;
        serde_json::from_slice(&bytes).ok().filter(Value::is_object)
    }

    /// Sends a request whose answer comes line by line, for at most `limit`.
    ///
    /// # Errors
    /// As [`Client::ask`], for an answer that does not begin.
    pub async fn lines(&self, call: Call<'_>, limit: Duration) -> Result<Lines, Failure> {
        let failed = |error: reqwest::Error| self.failed(&error, limit);
        let request = self.request(&call, limit).header(ACCEPT, "application/x-ndjson");
        let answered = match request.send().await.map_err(failed) {
            Ok(response) if response.status().is_success() => return Ok(Lines::new(response)),
            Ok(response) => self.read_answer(response, limit).await,
            Err(error) => Err(error),
        };
        match answered {
            Ok(_) => Err(advice::foreign("the answer does not come line by line")),
            Err(error) => Err(advice::explain(self, error, &call).await),
        }
    }

    /// Sends a request whose answer is a file, for at most `limit` all in all.
    ///
    /// # Errors
    /// As [`Client::ask`], for an answer that does not begin.
    pub async fn file(&self, call: Call<'_>, limit: Duration) -> Result<reqwest::Response, Failure> {
        let failed = |error: reqwest::Error| self.failed(&error, limit);
        let answered = match self.request(&call, limit).send().await.map_err(failed) {
            Ok(response) if response.status().is_success() => return Ok(response),
            Ok(response) => self.read_answer(response, limit).await,
            Err(error) => Err(error),
        };
        match answered {
            Ok(_) => Err(advice::foreign("the answer is no file")),
            Err(error) => Err(advice::explain(self, error, &call).await),
        }
    }

    /// Sends a request with a body of so many bytes, for at most `limit` all in all. It is not repeated.
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub async fn send_file(
        &self,
        call: Call<'_>,
        body: reqwest::Body,
        bytes: u64,
        limit: Duration,
    ) -> Result<Answer, Failure> {
        let failed = |error: reqwest::Error| self.failed(&error, limit);
        let request = self.request(&call, limit);
        let request = request
            .header(CONTENT_TYPE, "application/octet-stream")
            .header(CONTENT_LENGTH, bytes)
            .body(body);
        let answered = match request.send().await.map_err(failed) {
            Ok(response) => self.read_answer(response, limit).await,
            Err(error) => Err(error),
        };
        match answered {
            Ok(answer) => Ok(answer),
            Err(error) => Err(advice::explain(self, error, &call).await),
        }
    }

    async fn send_once(&self, call: &Call<'_>) -> Result<Answer, CallError> {
        let limit = self.timeout.unwrap_or_else(|| call.limit()) + call.wait;
        let failed = |error: reqwest::Error| self.failed(&error, limit);
        let response = self.request(call, limit).send().await.map_err(failed)?;
        self.read_answer(response, limit).await
    }

    async fn read_answer(&self, response: reqwest::Response, limit: Duration) -> Result<Answer, CallError> {
        let failed = |error: reqwest::Error| self.failed(&error, limit);
        let (status, headers) = (response.status(), response.headers().clone());
        if status.is_redirection() {
            let to = headers
                .get(LOCATION)
                .and_then(|to| to.to_str().ok())
                .unwrap_or("an unknown place");
            return Err(CallError::Redirected { to: to.to_owned() });
        }
        let foreign = |reason: String| CallError::Foreign {
            url: self.url(),
            status: status.as_u16(),
            reason,
        };
        let Some(bytes) = read(response).await.map_err(failed)? else {
            return Err(foreign(format!(
                "the answer is larger than {ANSWER_BYTES_MAX} bytes"
            )));
        };
        match (serde_json::from_slice(&bytes), status.is_success()) {
            (Ok(body @ Value::Object(_)), true) => Ok(Answer {
                status: status.as_u16(),
                body,
                date: date(&headers),
            }),
            (Ok(Value::Object(body)), false) => refusal(status, &headers, body)
                .map(|refusal| Err(CallError::Refused(refusal)))
                .unwrap_or_else(|| Err(foreign(format!("it answers {status} without saying why")))),
            (Ok(_), _) => Err(foreign("the answer is JSON, but not an object".to_owned())),
            (Err(_), true) => Err(foreign("the answer is not JSON".to_owned())),
            (Err(_), false) => Err(foreign(format!("it answers {status}, and not in JSON"))),
        }
    }

    fn request(&self, call: &Call<'_>, limit: Duration) -> reqwest::RequestBuilder {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(call.path);
        }
        for (name, value) in &call.query {
            url.query_pairs_mut().append_pair(name, value);
        }
        let mut request = self.http.request(call.method.clone(), url).timeout(limit);
        if let Some(value) = &self.bearer {
            request = request.header(AUTHORIZATION, value);
        }
        if self.verbose {
            // Nothing depends on it arriving.
            let (id, method, path) = (&call.id, &call.method, call.path.join("/"));
            let _ = writeln!(io::stderr().lock(), "request {id}: {method} /{path}");
        }
        request = request.header("X-Request-Id", &call.id);
        if let Some(key) = &call.key {
            request = request.header("Idempotency-Key", key);
        }
        match &call.body {
            Some(body) => request
                .header(CONTENT_TYPE, "application/json")
                .body(body.to_string()),
            None => request,
        }
    }

    fn failed(&self, error: &reqwest::Error, limit: Duration) -> CallError {
        if error.is_connect() {
            return CallError::Unreachable {
                url: self.url(),
                reason: reason(error),
            };
        }
        if error.is_timeout() {
            return CallError::TimedOut { limit };
        }
        CallError::Lost {
            reason: reason(error),
        }
    }
}

/// The whole body, or `None` if it is too large.
async fn read(mut response: reqwest::Response) -> Result<Option<Vec<u8>>, reqwest::Error> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        if bytes.len() + chunk.len() > ANSWER_BYTES_MAX {
            return Ok(None);
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(Some(bytes))
}

/// `None` if the body does not say what is wrong, which every understudy does.
fn refusal(status: StatusCode, headers: &HeaderMap, mut body: Map<String, Value>) -> Option<Refusal> {
    let text = |value: Value| value.as_str().map(str::to_owned);
    let error = body.remove("error").and_then(text)?;
    let code = body.remove("code").and_then(text);
    let retry_after_s = headers
        .get(RETRY_AFTER)
        .and_then(|value| value.to_str().ok()?.trim().parse().ok());
    Some(Refusal {
        status: status.as_u16(),
        error,
        code,
        fields: body,
        retry_after_s,
    })
}

fn date(headers: &HeaderMap) -> Option<Timestamp> {
    let text = headers.get(DATE)?.to_str().ok()?;
    jiff::fmt::rfc2822::DateTimeParser::new()
        .parse_timestamp(text)
        .ok()
}

/// The innermost cause, which is the one that says something; what a machine says of itself is said plainly.
fn reason(error: &reqwest::Error) -> String {
    let mut innermost: &dyn std::error::Error = error;
    let mut io = None;
    loop {
        io = innermost.downcast_ref::<std::io::Error>().or(io);
        match innermost.source() {
            Some(source) => innermost = source,
            None => break,
        }
    }
    if error.is_timeout() {
        return format!("no connection within {} s", CONNECT_LIMIT.as_secs());
    }
    match io.map(std::io::Error::kind) {
        Some(std::io::ErrorKind::ConnectionRefused) => "connection refused".to_owned(),
        Some(std::io::ErrorKind::ConnectionReset) => "the server closed the connection".to_owned(),
        _ => innermost.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_cannot_leave_their_place_in_the_path() {
        let client = Client::new(&Connection {
            server: "https://shows.example.org/understudy/".to_owned(),
            token: None,
            timeout: None,
            verbose: false,
        })
        .unwrap();
        assert_eq!(client.url(), "https://shows.example.org/understudy");
        let path = ["api", "competitions", "État / 1", "vm"];
        let call = Call::get(&path).wait(Duration::from_millis(1500));
        let request = client.request(&call, READ_LIMIT).build().unwrap();
        assert_eq!(
            request.url().as_str(),
            "https://shows.example.org/understudy/api/competitions/%C3%89tat%20%2F%201/vm?wait=2"
        );
    }
}

//! A plain JSON cloud API over HTTP, spoken by the simulator and small enough for anyone's own provisioning
//! service.
//!
//! | request | body | answer |
//! |---|---|---|
//! | `GET /v1/instances?tag=NAME%3DVALUE&…&after=ID&limit=N` | | `200 {"instances": [Instance, …], "next": ID or null}`, in order of ids, those that carry every `tag` |
//! | `GET /v1/instances/{id}` | | `200 Instance` |
//! | `POST /v1/instances` | [`Launch`] | `201 Instance`; a repeated `token` answers the first one's instance |
//! | `POST /v1/instances/{id}/power` | `{"change": "start", "stop", "force_stop", "reboot" or "terminate"}` | `202 {"previous": STATE, "current": STATE}` |
//! | `PATCH /v1/instances/{id}/tags` | `{"NAME": "VALUE", …}` | `200 {}` |
//!
//! `Instance` and the states are [`Instance`] and [`InstanceState`] as
//! serde writes them. What fails is answered with `{"error": {"code": "…", "message": "…"}}` and a status: 400
//! invalid, 401 no credentials, 403 denied, 404 unknown instance, 409 wrong state, 429 throttled, 503 no capacity
//! (where the code begins with `Insufficient`) or out of order, any other 5xx an internal error. With a token
//! configured, requests carry it as `Authorization: Bearer`.
//!
//! Every request here can be repeated without harm, so all of them are, with back-off, when a repetition can
//! help. Deliberately absent: images, networks, volumes, prices.

use std::time::Duration;

use async_trait::async_trait;
use backon::{ExponentialBuilder, Retryable};
use reqwest::{Client, Method, Request, StatusCode, Url};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Cloud, Error, ErrorKind, MANAGED_BY, StateChange, TAG_MANAGED_BY, TAG_PROJECT};
use crate::domain::ids::InstanceId;
use crate::domain::instance::{Instance, InstanceState, Launch, PowerChange};
use crate::domain::studio::Secret;

/// Instances asked for at once.
const PAGE: usize = 500;
/// Largest answer read. A page of instances is a few hundred kilobytes.
const ANSWER_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Pages read of one listing, which bounds what a server that never ends can cost.
const PAGES_MAX: usize = 1_000;

/// Where the API is and how patient to be with it.
#[derive(Debug, Clone)]
pub struct Config {
    /// `http://host:port`, with or without a path before `/v1`.
    pub base_url: String,
    /// Sent as bearer token.
    pub token: Option<Secret>,
    /// Value of the tag [`TAG_PROJECT`] on the pool's instances.
    pub project: String,
    pub connect_timeout: Duration,
    /// Limit between two pieces of an answer.
    pub read_timeout: Duration,
    /// Limit on one request altogether.
    pub request_timeout: Duration,
    /// Repetitions of a request that failed in a way a repetition can mend.
    pub retries: usize,
    /// Pause before the first repetition; each further one is twice as long, with jitter.
    pub retry_delay: Duration,
}

impl Config {
    /// Patience that suits an API a few milliseconds away.
    #[must_use]
    pub fn new(base_url: impl Into<String>, project: impl Into<String>) -> Self {
        Self {
            base_url: base_url.into(),
            token: None,
            project: project.into(),
            connect_timeout: Duration::from_secs(2),
            read_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(10),
            retries: 2,
            retry_delay: Duration::from_millis(100),
        }
    }
}

/// The cloud behind such an API.
#[derive(Debug, Clone)]
pub struct RestCloud {
    client: Client,
    base: Url,
    config: Config,
}

#[derive(Deserialize)]
struct Page {
    instances: Vec<Instance>,
    next: Option<InstanceId>,
}

#[derive(Deserialize)]
struct Change {
    previous: InstanceState,
    current: InstanceState,
}

#[derive(Deserialize)]
struct Acknowledged {}

#[derive(Deserialize)]
struct ErrorBody {
    error: ErrorDetail,
}

#[derive(Deserialize)]
struct ErrorDetail {
    code: String,
    message: String,
}

impl RestCloud {
    /// Prepares a client; connects to nothing yet.
    ///
    /// # Errors
    /// [`ErrorKind::Invalid`] if the address is not a usable URL.
    pub fn new(config: Config) -> Result<Self, Error> {
        let invalid = |detail: String| Error {
            call: "Configure",
            kind: ErrorKind::Invalid,
            code: None,
            detail: Some(detail),
        };
        let base = Url::parse(&config.base_url).map_err(|error| invalid(error.to_string()))?;
        if base.cannot_be_a_base() || !matches!(base.scheme(), "http" | "https") {
            return Err(invalid(format!("{base} is not an http address")));
        }
        let mut builder = Client::builder()
            .connect_timeout(config.connect_timeout)
            .read_timeout(config.read_timeout)
            .timeout(config.request_timeout)
            .tcp_nodelay(true)
            .redirect(reqwest::redirect::Policy::none());
        if base.host_str().is_some_and(is_loopback) {
            // A proxy from the environment cannot reach this machine's loopback.
            builder = builder.no_proxy();
        }
        let client = builder.build().map_err(|error| invalid(error.to_string()))?;
        Ok(Self { client, base, config })
    }

    fn url(&self, path: &[&str], query: &[(&str, String)]) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(path);
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        url
    }

    /// Sends a request, again if that can help, and reads the answer.
    async fn call<T: DeserializeOwned>(
        &self,
        call: &'static str,
        method: Method,
        url: Url,
        body: Option<&(impl Serialize + Sync)>,
    ) -> Result<T, Error> {
        let mut request = Request::new(method, url);
        if let Some(body) = body {
            let json = serde_json::to_vec(body).map_err(|error| invalid(call, error.to_string()))?;
            let content_type = reqwest::header::HeaderValue::from_static("application/json");
            request
                .headers_mut()
                .insert(reqwest::header::CONTENT_TYPE, content_type);
            *request.body_mut() = Some(json.into());
        }
        if let Some(token) = &self.config.token {
            let mut value = reqwest::header::HeaderValue::try_from(format!("Bearer {}", token.expose()))
                .map_err(|_| invalid(call, "the token cannot be sent in a header".to_owned()))?;
            value.set_sensitive(true);
            request
                .headers_mut()
                .insert(reqwest::header::AUTHORIZATION, value);
        }
        let attempt = || async {
            // Bodies are bytes, which can always be cloned.
            let request = request
                .try_clone()
                .ok_or_else(|| invalid(call, "body".to_owned()))?;
            self.attempt(call, request).await
        };
        let backoff = ExponentialBuilder::default()
            .with_min_delay(self.config.retry_delay)
            .with_max_delay(Duration::from_secs(5))
            .with_max_times(self.config.retries)
            .with_jitter();
        attempt.retry(backoff).when(helps_to_repeat).await
    }

    async fn attempt<T: DeserializeOwned>(&self, call: &'static str, request: Request) -> Result<T, Error> {
        let mut response = self
            .client
            .execute(request)
            .await
            .map_err(|error| transport(call, &error))?;
        let status = response.status();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| transport(call, &error))? {
            if body.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(internal(
                    call,
                    format!("the answer is larger than {ANSWER_BYTES_MAX} bytes"),
                ));
            }
            body.extend_from_slice(&chunk);
        }
        if !status.is_success() {
            return Err(refused(call, status, &body));
        }
        serde_json::from_slice(&body).map_err(|error| internal(call, error.to_string()))
    }
}

/// Only errors after which nothing is different but time. Missing capacity does not come back within seconds.
fn helps_to_repeat(error: &Error) -> bool {
    error.kind.is_retryable() && error.kind != ErrorKind::NoCapacity
}

fn is_loopback(host: &str) -> bool {
    host == "localhost"
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

fn invalid(call: &'static str, detail: String) -> Error {
    Error {
        call,
        kind: ErrorKind::Invalid,
        code: None,
        detail: Some(detail),
    }
}

fn internal(call: &'static str, detail: String) -> Error {
    Error {
        call,
        kind: ErrorKind::Internal,
        code: None,
        detail: Some(detail),
    }
}

fn transport(call: &'static str, error: &reqwest::Error) -> Error {
    let kind = if error.is_timeout() {
        ErrorKind::TimedOut
    } else {
        ErrorKind::Unreachable
    };
    // reqwest puts the URL in its text and the reason into the innermost source.
    let mut source: &dyn std::error::Error = error;
    while let Some(inner) = source.source() {
        source = inner;
    }
    Error {
        call,
        kind,
        code: None,
        detail: Some(source.to_string()),
    }
}

fn refused(call: &'static str, status: StatusCode, body: &[u8]) -> Error {
    let detail = serde_json::from_slice::<ErrorBody>(body)
        .ok()
        .map(|body| body.error);
    let code = detail
        .as_ref()
        .map(|detail| detail.code.as_str())
        .unwrap_or_default();
    let kind = match status {
        StatusCode::UNAUTHORIZED => ErrorKind::NoCredentials,
        StatusCode::FORBIDDEN => ErrorKind::Denied,
        // Of the cloud's own, in its own words: a gateway that has lost the way to it says 404 as well.
        StatusCode::NOT_FOUND if detail.is_some() => ErrorKind::NotFound,
        StatusCode::NOT_FOUND => ErrorKind::Internal,
        StatusCode::CONFLICT => ErrorKind::WrongState,
        StatusCode::TOO_MANY_REQUESTS => ErrorKind::Throttled,
        StatusCode::SERVICE_UNAVAILABLE if code.starts_with("Insufficient") => ErrorKind::NoCapacity,
        status if status.is_server_error() => ErrorKind::Internal,
        _ => ErrorKind::Invalid,
    };
    let (code, message) = match detail {
        Some(detail) => (Some(detail.code), detail.message),
        None => (None, format!("HTTP {status}")),
    };
    Error {
        call,
        kind,
        code,
        detail: Some(message),
    }
}

/// For requests without a body.
const NOTHING: Option<&()> = None;

#[async_trait]
impl Cloud for RestCloud {
    async fn list(&self) -> Result<Vec<Instance>, Error> {
        let call = "ListInstances";
        let mut instances: Vec<Instance> = Vec::new();
        let mut after: Option<InstanceId> = None;
        for _ in 0..PAGES_MAX {
            let mut query = vec![
                ("tag", format!("{TAG_PROJECT}={}", self.config.project)),
                ("tag", format!("{TAG_MANAGED_BY}={MANAGED_BY}")),
                ("limit", PAGE.to_string()),
            ];
            query.extend(after.take().map(|id| ("after", id.to_string())));
            let url = self.url(&["v1", "instances"], &query);
            let page: Page = self.call(call, Method::GET, url, NOTHING).await?;
            instances.extend(page.instances);
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(instances),
            }
        }
        Err(internal(
            call,
            format!("the listing has more than {PAGES_MAX} pages"),
        ))
    }

    async fn describe(&self, instance: &InstanceId) -> Result<Option<Instance>, Error> {
        let url = self.url(&["v1", "instances", instance.as_str()], &[]);
        match self.call("DescribeInstance", Method::GET, url, NOTHING).await {
            Ok(instance) => Ok(Some(instance)),
            Err(error) if error.kind == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn launch(&self, launch: &Launch) -> Result<Instance, Error> {
        let mut launch = launch.clone();
        launch.tags.insert("Name".to_owned(), launch.name.clone());
        launch
            .tags
            .insert(TAG_PROJECT.to_owned(), self.config.project.clone());
        launch
            .tags
            .insert(TAG_MANAGED_BY.to_owned(), MANAGED_BY.to_owned());
        self.call(
            "LaunchInstance",
            Method::POST,
            self.url(&["v1", "instances"], &[]),
            Some(&launch),
        )
        .await
    }

    async fn change(&self, instance: &InstanceId, change: PowerChange) -> Result<StateChange, Error> {
        let call = match change {
            PowerChange::Start => "StartInstance",
            PowerChange::Stop | PowerChange::ForceStop => "StopInstance",
            PowerChange::Reboot => "RebootInstance",
            PowerChange::Terminate => "TerminateInstance",
        };
        let url = self.url(&["v1", "instances", instance.as_str(), "power"], &[]);
        let body = json!({"change": change});
        let Change { previous, current } = self.call(call, Method::POST, url, Some(&body)).await?;
        Ok(StateChange { previous, current })
    }

    async fn tag(&self, instance: &InstanceId, tags: &[(String, String)]) -> Result<(), Error> {
        let tags: std::collections::BTreeMap<&str, &str> = tags
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let url = self.url(&["v1", "instances", instance.as_str(), "tags"], &[]);
        let Acknowledged {} = self.call("TagInstance", Method::PATCH, url, Some(&tags)).await?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_told_apart_by_status_and_code() {
        let kind = |status: u16, body: &str| {
            refused("X", StatusCode::from_u16(status).unwrap(), body.as_bytes()).kind
        };
        let insufficient = r#"{"error":{"code":"InsufficientInstanceCapacity","message":"none"}}"#;
        assert_eq!(kind(503, insufficient), ErrorKind::NoCapacity);
        assert_eq!(kind(503, "busy"), ErrorKind::Internal);
        assert_eq!(kind(429, ""), ErrorKind::Throttled);
        assert_eq!(kind(409, ""), ErrorKind::WrongState);
        assert_eq!(kind(418, ""), ErrorKind::Invalid);
    }

    #[test]
    fn an_id_is_escaped_in_the_path() {
        let cloud = RestCloud::new(Config::new("http://127.0.0.1:9/base", "p")).unwrap();
        let url = cloud.url(&["v1", "instances", "a b?c"], &[("tag", "k=v&w".to_owned())]);
        assert_eq!(
            url.as_str(),
            "http://127.0.0.1:9/base/v1/instances/a%20b%3Fc?tag=k%3Dv%26w"
        );
    }

    #[test]
    fn the_token_is_not_printed() {
        let config = Config {
            token: Some(Secret::new("hush")),
            ..Config::new("http://127.0.0.1:9", "p")
        };
        assert!(!format!("{:?}", RestCloud::new(config).unwrap()).contains("hush"));
        assert!(RestCloud::new(Config::new("nonsense", "p")).is_err());
    }
}

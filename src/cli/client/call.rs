//! One request: what is asked for, and how long its answer may take.

use std::time::Duration;

use reqwest::Method;
use serde_json::Value;

/// Limit on a read: the server answers these from memory.
pub(super) const READ_LIMIT: Duration = Duration::from_secs(10);
/// Limit on a command: longer than the server's own, so that its answer comes first.
const COMMAND_LIMIT: Duration = Duration::from_secs(75);
/// One request.
#[derive(Debug, Clone)]
pub struct Call<'a> {
    pub(super) method: Method,
    pub(super) path: &'a [&'a str],
    pub(super) query: Vec<(&'static str, String)>,
    pub(super) body: Option<Value>,
    pub(super) key: Option<String>,
    /// Sent along, so that the server's log has the command under it. A repetition has the same.
    pub(super) id: String,
    /// What the server was asked to take, on top of the usual limit.
    pub(super) wait: Duration,
    /// What it may take beyond that, without being asked to.
    patience: Duration,
    /// The server does not answer from memory.
    is_slow: bool,
}

impl<'a> Call<'a> {
    #[must_use]
    pub fn new(method: Method, path: &'a [&'a str]) -> Self {
        Self {
            method,
            path,
            query: Vec::new(),
            is_slow: false,
            patience: Duration::ZERO,
            body: None,
            key: None,
            id: format!("{:016x}", rand::random::<u64>()),
            wait: Duration::ZERO,
        }
    }

    #[must_use]
    pub fn get(path: &'a [&'a str]) -> Self {
        Self::new(Method::GET, path)
    }

    #[must_use]
    pub fn post(path: &'a [&'a str], body: Value) -> Self {
        let mut call = Self::new(Method::POST, path);
        call.body = Some(body);
        call
    }

    #[must_use]
    pub fn put(path: &'a [&'a str], body: Value) -> Self {
        let mut call = Self::new(Method::PUT, path);
        call.body = Some(body);
        call
    }

    #[must_use]
    pub fn delete(path: &'a [&'a str]) -> Self {
        Self::new(Method::DELETE, path)
    }

    /// Makes a repetition safe: the server answers it as the first time.
    #[must_use]
    pub fn key(mut self, key: impl Into<String>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Asks the server to answer only when it is done, for at most this long.
    #[must_use]
    pub fn wait(mut self, wait: Duration) -> Self {
        // The server counts in seconds; a part of one is one.
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        self.query.push(("wait", seconds.to_string()));
        self.wait = Duration::from_secs(seconds);
        self
    }

    /// Waits so much longer for the answer than for other commands.
    #[must_use]
    pub fn patient(mut self, patience: Duration) -> Self {
        self.patience = patience;
        self
    }

    /// Adds to the query.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.query.push((name, value.into()));
        self
    }

    /// Gives a read the time of a command: the server asks somebody else.
    #[must_use]
    pub fn slow(mut self) -> Self {
        self.is_slow = true;
        self
    }

    /// Its `Idempotency-Key`.
    pub(in crate::cli) fn idempotency_key(&self) -> Option<&str> {
        self.key.as_deref()
    }

    /// Its `X-Request-Id`.
    pub(in crate::cli) fn id(&self) -> &str {
        &self.id
    }

    pub(super) fn is_repeatable(&self) -> bool {
        self.method == Method::GET || self.key.is_some()
    }

    pub(super) fn limit(&self) -> Duration {
        if self.method == Method::GET && !self.is_slow {
            READ_LIMIT
        } else {
            COMMAND_LIMIT + self.patience
        }
    }
}

//! What the EC2 adapter must be told: where EC2 is, what a new machine is made of, how long to wait.

use std::time::Duration;

use crate::infra::aws::AccessKey;

/// Settings of [`Ec2Cloud`](super::Ec2Cloud). [`Config::new`] gives every field but the first two a default.
#[derive(Debug, Clone)]
pub struct Config {
    /// `us-east-1`.
    pub region: String,
    /// Value of the `Project` tag that the pool's instances carry.
    pub project: String,
    /// Where to send requests instead of the region's public endpoint. It outranks `AWS_ENDPOINT_URL` and the
    /// profile file.
    pub endpoint_url: Option<String>,
    /// `None`: what the SDK's own chain finds.
    pub access_key: Option<AccessKey>,
    /// Image to launch from. A pool that never launches needs none.
    pub ami_id: Option<String>,
    /// The VPC's default group if `None`.
    pub security_group_id: Option<String>,
    /// The default VPC's default subnet if `None`.
    pub subnet_id: Option<String>,
    pub key_pair_name: Option<String>,
    /// Type of a launched instance whose request names none.
    pub instance_type: String,
    pub timeouts: Timeouts,
    /// Tries per call, the first included; zero counts as one.
    pub attempts: u32,
    pub backoff: Backoff,
    /// Reservations asked for per page of a listing; EC2 takes 5 to 1000 and other values are moved into that
    /// range. 500 keeps a page of a busy account under a second.
    pub page_size: u16,
}

impl Config {
    #[must_use]
    pub fn new(region: impl Into<String>, project: impl Into<String>) -> Self {
        Self {
            region: region.into(),
            project: project.into(),
            endpoint_url: None,
            access_key: None,
            ami_id: None,
            security_group_id: None,
            subnet_id: None,
            key_pair_name: None,
            instance_type: "t3.large".to_owned(),
            timeouts: Timeouts::default(),
            attempts: 3,
            backoff: Backoff::default(),
            page_size: 500,
        }
    }
}

/// A setting that no request could be made with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    #[error("region: {0:?} is not the name of a region, like us-east-1")]
    Region(String),
    #[error("endpoint_url: {0:?} is not a URL with http or https and a host, like http://127.0.0.1:5000")]
    EndpointUrl(String),
}

impl Config {
    /// Finds what would make every call fail. The SDK would notice only then, and report it like a network
    /// that is down, which is worth waiting for; this is not.
    ///
    /// # Errors
    /// The first setting found wrong.
    pub fn check(&self) -> Result<(), ConfigError> {
        // The name becomes a label of the endpoint's host name.
        let is_label = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        if self.region.is_empty() || !self.region.chars().all(is_label) {
            return Err(ConfigError::Region(self.region.clone()));
        }
        match &self.endpoint_url {
            Some(url) if !is_http_url(url) => Err(ConfigError::EndpointUrl(url.clone())),
            Some(_) | None => Ok(()),
        }
    }
}

fn is_http_url(text: &str) -> bool {
    text.parse::<http::Uri>().is_ok_and(|url| {
        matches!(url.scheme_str(), Some("http" | "https")) && url.host().is_some_and(|host| !host.is_empty())
    })
}

/// Longest waits. The SDK bounds only the connecting by itself; everything else would wait for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// Until the connection stands, TLS included.
    pub connect: Duration,
    /// From the request sent to the first byte of the answer.
    pub read: Duration,
    /// One try, credentials and the body of the answer included.
    pub attempt: Duration,
    /// One call with all its tries and the pauses between them.
    pub operation: Duration,
    /// A whole listing, all pages.
    pub sweep: Duration,
}

impl Default for Timeouts {
    /// EC2 answers within a second or two, `RunInstances` within about five; a try is given up at some multiple
    /// of that, so that a dead connection costs one try and not the call.
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(3),
            read: Duration::from_secs(10),
            attempt: Duration::from_secs(12),
            operation: Duration::from_secs(30),
            sweep: Duration::from_secs(60),
        }
    }
}

/// Pause before the n-th repetition: a random part of `initial` x 2^(n-1), at most `max`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    pub initial: Duration,
    pub max: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            initial: Duration::from_secs(1),
            max: Duration::from_secs(10),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_or_an_endpoint_that_cannot_be_one_is_found_before_any_call() {
        let with = |region: &str, url: Option<&str>| {
            let endpoint_url = url.map(str::to_owned);
            Config {
                endpoint_url,
                ..Config::new(region, "show")
            }
            .check()
        };
        assert_eq!(with("eu-central-1", None), Ok(()));
        assert_eq!(with("us-east-1", Some("http://127.0.0.1:5000")), Ok(()));
        assert_eq!(with("us-east-1", Some("https://ec2.example.org/path")), Ok(()));
        for region in ["", "US East", "us-east-1.evil.example", "us-east-1/"] {
            assert_eq!(with(region, None), Err(ConfigError::Region(region.to_owned())));
        }
        for url in [
            "",
            "localhost:5000",
            "127.0.0.1",
            "ftp://127.0.0.1",
            "http://",
            "not a url",
        ] {
            assert_eq!(
                with("us-east-1", Some(url)),
                Err(ConfigError::EndpointUrl(url.to_owned()))
            );
        }
    }

    #[test]
    fn a_call_has_room_for_more_than_one_try() {
        let timeouts = Timeouts::default();
        assert!(timeouts.connect < timeouts.attempt && timeouts.read < timeouts.attempt);
        assert!(timeouts.attempt * 2 + Backoff::default().initial < timeouts.operation);
        assert!(timeouts.operation < timeouts.sweep);
    }
}

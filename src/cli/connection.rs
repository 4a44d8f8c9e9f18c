//! Where a server is and how to prove who asks: the options of every command that asks one.
//!
//! Neither the token nor a password in a URL is ever repeated in what is printed.

use std::time::Duration;

use reqwest::Url;
use reqwest::header::HeaderValue;

use super::failure::{Exit, Failure};
use super::span;
use crate::domain::studio::Secret;

/// Where a server on this machine answers unless told otherwise.
pub(super) const DEFAULT_URL: &str = "http://127.0.0.1:3003";

/// Where the server is and how to talk to it.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Server")]
pub struct Connection {
    /// Where the server answers
    #[arg(
        long,
        env = "UNDERSTUDY_URL",
        value_name = "URL",
        default_value = DEFAULT_URL
    )]
    pub server: String,
    /// The server's admin token, if it wants one; the variable does not show in the list of processes
    #[arg(long, env = "UNDERSTUDY_TOKEN", value_name = "TOKEN", hide_env_values = true, value_parser = secret)]
    pub token: Option<Secret>,
    /// How long to wait for an answer [default: 10s for questions, 75s for commands]
    #[arg(long, value_name = "TIME", value_parser = span::parse_positive)]
    pub timeout: Option<Duration>,
    /// Tell every request with the id under which the server's log has it
    #[arg(long, short)]
    pub verbose: bool,
}

impl Connection {
    /// A server that wants no token, at this address.
    #[must_use]
    pub fn to(server: String) -> Self {
        Self {
            server,
            token: None,
            timeout: None,
            verbose: false,
        }
    }

    /// The server's address. Without a scheme it is http.
    ///
    /// # Errors
    /// [`Exit::Usage`]; the text is not repeated, as a password may stand in it.
    pub(super) fn base(&self) -> Result<Url, Failure> {
        base(&self.server)
    }

    /// The token, if there is one.
    ///
    /// # Errors
    /// [`Exit::Usage`] for one that no header can carry.
    pub(super) fn bearer(&self) -> Result<Option<HeaderValue>, Failure> {
        let Some(token) = self.token.as_ref().filter(|token| !token.is_empty()) else {
            return Ok(None);
        };
        match bearer(token) {
            Some(value) => Ok(Some(value)),
            None => Err(Failure::new(
                Exit::Usage,
                "the token has characters that cannot be in an HTTP header",
            )
            .advice("look for a line end or a blank in UNDERSTUDY_TOKEN or --token")),
        }
    }
}

#[expect(clippy::unnecessary_wraps, reason = "clap wants a parser that may fail")]
fn secret(text: &str) -> Result<Secret, String> {
    Ok(Secret::new(text))
}

/// The value of the `Authorization` header, marked so that nothing prints it.
fn bearer(token: &Secret) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(&format!("Bearer {}", token.expose())).ok()?;
    value.set_sensitive(true);
    Some(value)
}

fn base(text: &str) -> Result<Url, Failure> {
    let wrong = |message: &str| {
        Failure::new(Exit::Usage, format!("--server or UNDERSTUDY_URL: {message}"))
            .advice("it looks like http://127.0.0.1:3003 or https://shows.example.org")
    };
    let text = text.trim();
    let url = if text.contains("://") {
        text.to_owned()
    } else {
        format!("http://{text}")
    };
    let mut url: Url = url.parse().map_err(|_| wrong("this is not a URL"))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(str::is_empty) {
        return Err(wrong("this is not an http or https URL"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(wrong(
            "a user or password in the URL is not used; put the token into UNDERSTUDY_TOKEN",
        ));
    }
    url.set_query(None);
    url.set_fragment(None);
    Ok(url)
}

/// Whether the server is on this machine, where no proxy is of use.
pub(super) fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let ip = host
        .trim_start_matches('[')
        .trim_end_matches(']')
        .parse::<std::net::IpAddr>();
    host == "localhost" || ip.is_ok_and(|ip| ip.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection(server: &str, token: &str) -> Connection {
        Connection {
            server: server.to_owned(),
            token: Some(Secret::new(token)),
            timeout: None,
            verbose: false,
        }
    }

    #[test]
    fn a_server_may_be_named_without_a_scheme_and_with_a_path() {
        for (given, url) in [
            ("http://127.0.0.1:3003", "http://127.0.0.1:3003/"),
            ("127.0.0.1:3003", "http://127.0.0.1:3003/"),
            (
                "https://shows.example.org/understudy/",
                "https://shows.example.org/understudy/",
            ),
            ("http://[::1]:3003/?a=b#c", "http://[::1]:3003/"),
        ] {
            assert_eq!(connection(given, "").base().unwrap().as_str(), url);
        }
    }

    #[test]
    fn what_is_no_server_is_refused_without_repeating_a_password() {
        for given in [
            "",
            "ftp://x",
            "http://",
            "http://a b",
            "http://user:sesame@host",
            "mailto:x",
        ] {
            let failure = connection(given, "").base().unwrap_err();
            assert_eq!(failure.exit, Exit::Usage, "{given}");
            assert!(!format!("{failure:?}").contains("sesame"));
        }
    }

    #[test]
    fn a_token_is_sent_and_never_printed() {
        let connection = connection("localhost", "hush-hush");
        let value = connection.bearer().unwrap().unwrap();
        assert_eq!(value, "Bearer hush-hush");
        assert!(!format!("{connection:?} {value:?}").contains("hush-hush"));
    }

    #[test]
    fn an_empty_token_is_none_and_one_that_cannot_be_sent_is_refused() {
        assert_eq!(connection("localhost", "").bearer().unwrap(), None);
        let failure = connection("localhost", "hush\n").bearer().unwrap_err();
        assert_eq!(failure.exit, Exit::Usage);
    }

    #[test]
    fn loopback_is_known_in_all_its_spellings() {
        for (text, local) in [
            ("localhost:1", true),
            ("127.77.0.1", true),
            ("http://[::1]:3003", true),
            ("http://[::ffff:127.0.0.1]", true),
            ("shows.example.org", false),
            ("10.0.0.1", false),
        ] {
            assert_eq!(
                is_loopback(&connection(text, "").base().unwrap()),
                local,
                "{text}"
            );
        }
    }
}

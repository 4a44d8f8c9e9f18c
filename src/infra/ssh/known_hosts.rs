//! OpenSSH's `known_hosts` file, read and never written.
//!
//! Format: the section "SSH_KNOWN_HOSTS FILE FORMAT" of sshd(8). Plain, wildcard, negated and hashed names,
//! `@cert-authority` and `@revoked` are understood.

use std::path::PathBuf;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use hmac::{Hmac, KeyInit, Mac};
use russh::keys::PublicKey;
use sha1::Sha1;

use super::{Endpoint, Error};

/// Port whose servers are listed by address alone.
const DEFAULT_PORT: u16 = 22;

#[derive(Debug)]
pub(super) struct KnownHosts {
    path: PathBuf,
}

/// What the file says about one server.
#[derive(Debug, Default)]
pub(super) struct Known {
    pub trusted: Vec<PublicKey>,
    /// Whose certificates are believed.
    pub authorities: Vec<PublicKey>,
    pub revoked: Vec<PublicKey>,
}

impl KnownHosts {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// Read anew each time: the file belongs to someone else and is small.
    pub(super) fn keys_of(&self, endpoint: &Endpoint) -> Result<Known, Error> {
        let text = std::fs::read_to_string(&self.path)
            .map_err(|e| Error::HostKeyStore(format!("{}: {e}", self.path.display())))?;
        Ok(find(&text, &names(endpoint)))
    }
}

/// The names under which a server may be listed.
fn names(endpoint: &Endpoint) -> [String; 2] {
    let (ip, port) = (endpoint.address.ip(), endpoint.address.port());
    let address = if port == DEFAULT_PORT {
        ip.to_string()
    } else {
        format!("[{ip}]:{port}")
    };
    [endpoint.host.clone(), address]
}

/// A line that is not a key of a kind we know cannot be what a server shows us, so it is passed over.
fn find(text: &str, names: &[String]) -> Known {
    let mut known = Known::default();
    for line in text.lines() {
        let mut fields = line.split_ascii_whitespace().peekable();
        let marker = fields.next_if(|field| field.starts_with('@'));
        let (Some(patterns), Some(algorithm), Some(blob)) = (fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        if patterns.starts_with('#') || !names.iter().any(|name| matches(patterns, name)) {
            continue;
        }
        let Ok(key) = PublicKey::from_openssh(&format!("{algorithm} {blob}")) else {
            continue;
        };
        match marker {
            None => known.trusted.push(key),
            Some("@cert-authority") => known.authorities.push(key),
            Some("@revoked") => known.revoked.push(key),
            Some(_) => {}
        }
    }
    known
}

/// Whether a comma-separated list of patterns names this host. A negated pattern that fits rules it out.
fn matches(patterns: &str, name: &str) -> bool {
    let mut found = false;
    for pattern in patterns.split(',') {
        if let Some(hashed) = pattern.strip_prefix("|1|") {
            found |= hash_fits(hashed, name);
        } else if let Some(negated) = pattern.strip_prefix('!') {
            if wildcard_fits(negated.as_bytes(), name.as_bytes()) {
                return false;
            }
        } else {
            found |= wildcard_fits(pattern.as_bytes(), name.as_bytes());
        }
    }
    found
}

/// `salt|hash`, both base64: the hash is the name's HMAC-SHA1 with the salt as its key.
fn hash_fits(hashed: &str, name: &str) -> bool {
    let Some((salt, hash)) = hashed.split_once('|') else {
        return false;
    };
    let (Ok(salt), Ok(hash)) = (BASE64.decode(salt), BASE64.decode(hash)) else {
        return false;
    };
    Hmac::<Sha1>::new_from_slice(&salt)
        .is_ok_and(|mac| mac.chain_update(name.as_bytes()).verify_slice(&hash).is_ok())
}

/// `*` is any text, `?` any one byte; letters in either case. Takes time in proportion to the two lengths'
/// product at worst: after a mismatch only the last `*` is tried again.
pub(super) fn wildcard_fits(pattern: &[u8], name: &[u8]) -> bool {
    let (mut p, mut n) = (0, 0);
    let mut last_star = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                last_star = Some((p, n));
                p += 1;
            }
            Some(byte) if *byte == b'?' || byte.eq_ignore_ascii_case(&name[n]) => {
                p += 1;
                n += 1;
            }
            Some(_) | None => {
                let Some((star, from)) = last_star else {
                    return false;
                };
                last_star = Some((star, from + 1));
                p = star + 1;
                n = from + 1;
            }
        }
    }
    pattern[p..].iter().all(|byte| *byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAILKgMaEqDHtIje/RYMlpYOeu8AUSIzuKhRrUOcUWAVvU";

    fn trusted(file: &str, name: &str) -> usize {
        find(file, &[name.to_owned()]).trusted.len()
    }

    #[test]
    fn a_server_is_found_by_name_address_and_port() {
        let at = |address: &str| {
            names(&Endpoint {
                address: address.parse().unwrap(),
                host: "i-1".to_owned(),
                connect_deadline: std::time::Duration::from_secs(1),
            })
        };
        assert_eq!(at("10.0.0.1:22"), ["i-1", "10.0.0.1"]);
        assert_eq!(at("10.0.0.1:2200"), ["i-1", "[10.0.0.1]:2200"]);
        assert_eq!(at("[::1]:2200"), ["i-1", "[::1]:2200"]);
    }

    #[test]
    fn patterns_fit_as_openssh_documents_them() {
        let fits = [
            ("i-1", "i-1"),
            ("I-1", "i-1"),
            ("other,i-1", "i-1"),
            ("10.0.*", "10.0.3.4"),
            ("10.0.0.?", "10.0.0.7"),
            ("*", ""),
            ("a*b*c", "aXbYbZc"),
            ("[127.0.0.1]:2200", "[127.0.0.1]:2200"),
            ("*,!i-2", "i-1"),
        ];
        for (patterns, name) in fits {
            assert!(matches(patterns, name), "{patterns} {name}");
        }
        let misses = [
            ("i-1", "i-10"),
            ("10.0.0.?", "10.0.0.77"),
            ("*,!i-1", "i-1"),
            ("!i-1", "i-2"),
            ("a*b*c", "aXbYbZ"),
            ("", "i-1"),
            ("|1|nonsense", "i-1"),
        ];
        for (patterns, name) in misses {
            assert!(!matches(patterns, name), "{patterns} {name}");
        }
    }

    #[test]
    fn a_hashed_name_is_found() {
        // Made by `ssh-keygen -H` from the name example.com.
        let line = format!("|1|UnsHk/d0Ti14D6vSc96NkZBOSrQ=|4+dMwRt6Ff8JIZ5RCAiMeOKCgMw= {KEY}");
        assert_eq!(trusted(&line, "example.com"), 1);
        assert_eq!(trusted(&line, "example.org"), 0);
    }

    #[test]
    fn comments_blank_lines_and_unknown_keys_are_passed_over() {
        let file = format!("# a comment\n\n#i-1 {KEY}\ni-1 ssh-new AAAA\ni-1\ni-1\t{KEY} comment\n");
        assert_eq!(trusted(&file, "i-1"), 1);
    }

    #[test]
    fn markers_are_not_trust() {
        let file = format!("@revoked i-1 {KEY}\n@cert-authority i-1 {KEY}\n");
        let known = find(&file, &["i-1".to_owned()]);
        let counts = (known.trusted.len(), known.authorities.len(), known.revoked.len());
        assert_eq!(counts, (0, 1, 1));
        assert_eq!(find(&file, &["i-2".to_owned()]).authorities.len(), 0);
    }
}

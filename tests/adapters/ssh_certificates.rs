//! Host certificates, made by OpenSSH's ssh-keygen and shown by its sshd: which are believed, and why others are not.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;

use understudy::infra::ssh::{Error, HostKeyPolicy, Session};

use crate::support::sshd::{Sshd, generate, generate_key, refusal};

const INSTANCE: &str = "i-0123456789abcdef0";

/// A server whose host key an authority may sign.
struct Certified {
    server: Sshd,
}

impl Certified {
    async fn start() -> Self {
        let mut server = Sshd::start().await;
        server.configure(&format!(
            "HostCertificate {}",
            server.path("host_key-cert.pub").display()
        ));
        generate_key(&server.path("ca"), "ed25519");
        Self { server }
    }

    /// Has a key in the server's folder sign the host key, as `ssh-keygen -s` does with these arguments.
    async fn sign(&mut self, authority: &str, arguments: &[&str]) {
        let output = Command::new("ssh-keygen")
            .args(["-q", "-I", "test"])
            .arg("-s")
            .arg(self.server.path(authority))
            .args(arguments)
            .arg(self.server.path("host_key.pub"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        self.server.restart().await;
    }

    fn public_key(&self, name: &str) -> String {
        std::fs::read_to_string(self.server.path(name).with_extension("pub")).unwrap()
    }

    fn authorities(&self, content: &str) -> PathBuf {
        let path = self.server.path("authorities");
        std::fs::write(&path, content).unwrap();
        path
    }

    async fn trusting(&self, content: &str) -> Result<Arc<dyn Session>, Error> {
        let path = self.authorities(content);
        let policy = HostKeyPolicy::Authority { path };
        self.server.connect_with(|config| config.host_keys = policy).await
    }

    async fn knowing(&self, content: &str) -> Result<Arc<dyn Session>, Error> {
        let path = self.authorities(content);
        let policy = HostKeyPolicy::KnownHosts { path };
        self.server.connect_with(|config| config.host_keys = policy).await
    }
}

fn why(answer: Result<Arc<dyn Session>, Error>) -> String {
    match refusal(answer) {
        Error::HostCertificate { host, why } => {
            assert_eq!(host, INSTANCE);
            why
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_certificate_for_the_instance_or_its_address_is_believed() {
    let mut certified = Certified::start().await;
    let address = certified.server.address().ip().to_string();
    for principals in [INSTANCE, &address, "elsewhere,i-*"] {
        certified
            .sign("ca", &["-h", "-n", principals, "-V", "-1h:+1h"])
            .await;
        let authority = certified.public_key("ca");
        let session = certified.trusting(&format!("# ours\n\n{authority}")).await;
        assert!(session.is_ok(), "{principals}: {:?}", session.err());
        let line = format!("@cert-authority * {authority}");
        let session = certified.knowing(&line).await;
        assert!(session.is_ok(), "{principals}: {:?}", session.err());
    }
}

#[tokio::test]
async fn authorities_and_host_keys_may_be_of_every_kind() {
    for (host, authority) in [
        ("ecdsa", &["-t", "ecdsa", "-N", ""][..]),
        ("ed25519", &["-t", "ecdsa", "-b", "521", "-N", ""]),
        ("ed25519", &["-t", "rsa", "-b", "2048", "-N", ""]),
        ("ecdsa", &["-t", "rsa", "-b", "3072", "-N", ""]),
    ] {
        let mut certified = Certified::start().await;
        certified.server.replace_host_key(host);
        generate(&certified.server.path("other"), authority);
        certified.sign("other", &["-h", "-n", INSTANCE]).await;
        let session = certified.trusting(&certified.public_key("other")).await;
        assert!(session.is_ok(), "{host}, {authority:?}: {:?}", session.err());
    }
}

#[tokio::test]
async fn a_certificate_that_is_not_for_this_machine_now_is_refused_with_why() {
    let mut certified = Certified::start().await;
    for (arguments, expected) in [
        (
            &["-h", "-n", "i-0fedcba9876543210"][..],
            "it is for i-0fedcba9876543210, and the machine is i-0",
        ),
        (&["-h"], "it names no machine"),
        (
            &["-h", "-n", INSTANCE, "-V", "-2h:-1h"],
            "it was valid only until 20",
        ),
        (
            &["-h", "-n", INSTANCE, "-V", "+1h:+2h"],
            "it is valid only from 20",
        ),
        (&["-n", INSTANCE], "it is a user's certificate"),
        (
            &["-h", "-n", INSTANCE, "-O", "critical:moon-phase=full"],
            "the critical option moon-phase",
        ),
    ] {
        certified.sign("ca", arguments).await;
        let why = why(certified.trusting(&certified.public_key("ca")).await);
        assert!(why.contains(expected), "{arguments:?}: {why}");
    }
}

#[tokio::test]
async fn a_certificate_of_another_authority_or_a_revoked_one_is_refused() {
    let mut certified = Certified::start().await;
    generate_key(&certified.server.path("other"), "ed25519");
    certified.sign("ca", &["-h", "-n", INSTANCE]).await;
    let (ours, other) = (certified.public_key("ca"), certified.public_key("other"));
    let host = certified.server.host_key();

    let stranger = why(certified.trusting(&other).await);
    assert!(
        stranger.contains("not among the trusted authorities"),
        "{stranger}"
    );
    for (content, revoked) in [
        (format!("{ours}\n@revoked {ours}"), "authority"),
        (format!("{ours}\n@revoked {host}"), "key"),
    ] {
        let why = why(certified.trusting(&content).await);
        assert!(why.contains("is revoked"), "{revoked}: {why}");
    }
    let line = format!("@cert-authority * {ours}\n@revoked * {ours}\n");
    assert!(why(certified.knowing(&line).await).contains("is revoked"));
    // An authority for other machines is none for this one, and the bare key is not known.
    let elsewhere = refusal(certified.knowing(&format!("@cert-authority i-9* {ours}")).await);
    assert!(matches!(elsewhere, Error::HostKeyUnknown { .. }), "{elsewhere:?}");
}

#[tokio::test]
async fn a_bare_key_is_refused_where_a_certificate_is_asked_for_unless_it_is_known_itself() {
    let bare = Sshd::start().await;
    let certified = Certified { server: bare };
    generate_key(&certified.server.path("ca"), "ed25519");
    let (authority, host) = (certified.public_key("ca"), certified.server.host_key());
    let why = why(certified.trusting(&authority).await);
    assert!(
        why.contains("it has none, but shows the bare key ssh-ed25519 SHA256:"),
        "{why}"
    );

    let both = format!("@cert-authority * {authority}\n{INSTANCE} {host}\n");
    certified.knowing(&both).await.unwrap();
}

#[tokio::test]
async fn a_known_key_in_a_certificate_of_a_stranger_is_still_known() {
    let mut certified = Certified::start().await;
    generate_key(&certified.server.path("other"), "ed25519");
    certified.sign("ca", &["-h", "-n", INSTANCE]).await;
    let (other, host) = (certified.public_key("other"), certified.server.host_key());
    let both = format!("@cert-authority * {other}\n{INSTANCE} {host}\n");
    certified.knowing(&both).await.unwrap();
    // Pinned machines go on being known by their keys; no certificate is asked for.
    certified.server.connect().await.unwrap();
}

#[tokio::test]
async fn a_file_of_authorities_that_cannot_be_read_or_names_none_is_refused() {
    let certified = Certified::start().await;
    for (content, expected) in [
        ("", "it names no authority"),
        ("# none\n", "it names no authority"),
        ("ssh-ed25519 AAAA", "line 1 is no public key"),
    ] {
        match refusal(certified.trusting(content).await) {
            Error::HostKeyStore(why) => assert!(why.contains(expected), "{why}"),
            other => panic!("{other:?}"),
        }
    }
    let path = certified.server.path("missing");
    let policy = HostKeyPolicy::Authority { path };
    let missing = certified
        .server
        .connect_with(|config| config.host_keys = policy)
        .await;
    assert!(matches!(refusal(missing), Error::HostKeyStore(_)));
}

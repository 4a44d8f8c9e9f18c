//! The SSH adapter against real OpenSSH servers: who is let in, and who is believed.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;

use understudy::domain::studio::Secret;
use understudy::infra::ssh::{
    Config, Connector, Endpoint, Error, HostKeyPolicy, KeySource, RusshConnector, Session,
};

use crate::support::sshd::{Sshd, generate, generate_key, refusal};

#[tokio::test]
async fn a_key_that_the_server_does_not_know_is_refused() {
    let server = Sshd::start().await;
    let stranger = server.path("stranger");
    generate_key(&stranger, "ed25519");
    let expected = Error::AuthFailed { user: server.user() };
    let answer = server
        .connect_with(|config| config.key = KeySource::File(stranger.clone()))
        .await;
    assert_eq!(refusal(answer), expected);

    // The same when the server says so by hanging up after one attempt.
    let strict = Sshd::start_with(&["MaxAuthTries 1"]).await;
    let answer = strict
        .connect_with(|config| config.key = KeySource::File(stranger))
        .await;
    assert_eq!(refusal(answer), expected);
}

/// Keys as `ssh-keygen` makes them, and how the server calls what they are signed with.
const KINDS: [(&str, &[&str]); 9] = [
    ("ed25519", &["-t", "ed25519"]),
    ("ecdsa", &["-t", "ecdsa", "-b", "256"]),
    ("ecdsa384", &["-t", "ecdsa", "-b", "384"]),
    ("ecdsa-pkcs8", &["-t", "ecdsa", "-m", "PKCS8"]),
    ("ecdsa-pem", &["-t", "ecdsa", "-m", "PEM"]),
    ("rsa", &["-t", "rsa", "-b", "3072"]),
    // What EC2 hands out.
    ("rsa-pem", &["-t", "rsa", "-b", "2048", "-m", "PEM"]),
    ("rsa-pkcs8", &["-t", "rsa", "-b", "2048", "-m", "PKCS8"]),
    ("rsa4096", &["-t", "rsa", "-b", "4096", "-m", "PEM"]),
];

#[tokio::test]
async fn keys_of_every_supported_kind_and_format_log_in() {
    let server = Sshd::start().await;
    for (name, arguments) in KINDS {
        let key = server.path(name);
        generate(&key, &[arguments, &["-N", ""]].concat());
        server.authorize(&key.with_extension("pub"));
        let session = server
            .connect_with(|config| config.key = KeySource::File(key))
            .await;
        assert!(session.is_ok(), "{name}: {:?}", session.err());
    }
}

#[tokio::test]
async fn a_key_from_the_environment_logs_in_as_it_is_and_in_base64() {
    let server = Sshd::start().await;
    for (name, arguments) in [KINDS[0], KINDS[6]] {
        let key = server.path(name);
        generate(&key, &[arguments, &["-N", ""]].concat());
        server.authorize(&key.with_extension("pub"));
        let plain = std::fs::read_to_string(&key).unwrap();
        // In one line, and broken into several as base64(1) does.
        let packed = BASE64.encode(&plain);
        let broken = packed
            .as_bytes()
            .chunks(76)
            .map(|line| std::str::from_utf8(line).unwrap());
        let broken = broken.collect::<Vec<_>>().join("\n");
        let crlf = plain.replace('\n', "\r\n");
        for given in [&plain, &packed, &broken, &crlf] {
            let given = KeySource::Given(Secret::new(given.as_str()));
            let session = server.connect_with(|config| config.key = given).await;
            assert!(session.is_ok(), "{name}: {:?}", session.err());
        }
    }
    for (given, expected) in [
        ("not base64!", "not a private key"),
        ("bm90IGEga2V5", "not a private key"),
        ("{\"privateKey\": \"...\"}", "JSON"),
    ] {
        let given = KeySource::Given(Secret::new(given));
        let why = bad_key(server.connect_with(|config| config.key = given).await);
        assert!(why.contains("ssh.key_base64") && why.contains(expected), "{why}");
    }
}

fn bad_key(answer: Result<Arc<dyn Session>, Error>) -> String {
    match refusal(answer) {
        Error::BadKey(why) => why,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn rsa_keys_are_never_signed_with_by_sha_1() {
    for (taken, is_let_in) in [
        ("PubkeyAcceptedAlgorithms rsa-sha2-512", true),
        ("PubkeyAcceptedAlgorithms ssh-rsa", false),
    ] {
        let server = Sshd::start_with(&[taken]).await;
        let key = server.path("rsa");
        generate(&key, &["-t", "rsa", "-b", "2048", "-m", "PEM", "-N", ""]);
        server.authorize(&key.with_extension("pub"));
        let answer = server
            .connect_with(|config| config.key = KeySource::File(key))
            .await;
        assert_eq!(answer.is_ok(), is_let_in, "{taken}: {:?}", answer.err());
    }
}

#[tokio::test]
async fn a_protected_key_logs_in_with_its_passphrase() {
    let server = Sshd::start().await;
    let passphrase = server.path("passphrase");
    write_private(&passphrase, "secret phrase\n");
    for (name, arguments) in KINDS.iter().filter(|(_, arguments)| !arguments.contains(&"PEM")) {
        let key = server.path(name);
        generate(&key, &[*arguments, &["-N", "secret phrase"]].concat());
        server.authorize(&key.with_extension("pub"));
        let with = async |passphrase: Option<PathBuf>| {
            let key = KeySource::File(key.clone());
            let change = |config: &mut Config| (config.key, config.key_passphrase) = (key, passphrase);
            server.connect_with(change).await
        };
        let session = with(Some(passphrase.clone())).await;
        assert!(session.is_ok(), "{name}: {:?}", session.err());

        let why = bad_key(with(None).await);
        assert!(
            why.contains("ssh.key_passphrase_path") && why.contains(name),
            "{why}"
        );
        let wrong = server.path("wrong");
        write_private(&wrong, "another");
        let why = bad_key(with(Some(wrong)).await);
        assert!(why.contains("its passphrase is not the one"), "{name}: {why}");
    }
}

#[tokio::test]
async fn a_passphrase_that_others_can_read_or_that_is_missing_is_refused() {
    let server = Sshd::start().await;
    let key = server.path("locked");
    generate(&key, &["-t", "ed25519", "-N", "secret phrase"]);
    let passphrase = server.path("passphrase");
    let with = async || {
        let source = KeySource::File(key.clone());
        let path = Some(passphrase.clone());
        let change = |config: &mut Config| (config.key, config.key_passphrase) = (source, path);
        bad_key(server.connect_with(change).await)
    };
    assert!(with().await.contains("No such file"));
    write_private(&passphrase, "\n");
    assert!(with().await.contains("no passphrase"));
    write_private(&passphrase, "secret phrase");
    std::fs::set_permissions(&passphrase, Permissions::from_mode(0o644)).unwrap();
    let why = with().await;
    assert!(why.contains("0644") && why.contains("chmod 600"), "{why}");
    assert!(!why.contains("secret phrase"), "{why}");
}

fn write_private(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
}

#[tokio::test]
async fn a_key_that_cannot_be_used_is_explained() {
    let server = Sshd::start().await;
    let refused_key = async |path: &Path| {
        let path = path.to_owned();
        bad_key(
            server
                .connect_with(|config| config.key = KeySource::File(path))
                .await,
        )
    };
    for (name, arguments, expected) in [
        (
            "locked-pem",
            &["-t", "ecdsa", "-m", "PEM", "-N", "secret phrase"][..],
            "ssh-keygen -p",
        ),
        (
            "locked-rsa-pem",
            &["-t", "rsa", "-m", "PEM", "-N", "secret phrase"],
            "ssh-keygen -p",
        ),
        ("rsa", &["-t", "rsa", "-b", "1024", "-N", ""], "2048"),
        (
            "rsa-pem",
            &["-t", "rsa", "-b", "1024", "-m", "PEM", "-N", ""],
            "2048",
        ),
        (
            "rsa-pkcs8",
            &["-t", "rsa", "-b", "1024", "-m", "PKCS8", "-N", ""],
            "2048",
        ),
    ] {
        let key = server.path(name);
        generate(&key, arguments);
        let why = refused_key(&key).await;
        assert!(why.contains(expected) && why.contains(name), "{name}: {why}");
    }
    let garbage = server.path("garbage");
    std::fs::write(&garbage, "not a key").unwrap();
    assert!(refused_key(&garbage).await.contains("garbage"));
    assert!(
        refused_key(&server.path("missing"))
            .await
            .contains("No such file")
    );
    assert!(
        refused_key(&server.path("client_key.pub"))
            .await
            .contains("client_key.pub")
    );
}

#[tokio::test]
async fn keys_are_in_no_debug_output() {
    let server = Sshd::start().await;
    let key = server.path("rsa");
    generate(&key, &["-t", "rsa", "-b", "2048", "-m", "PEM", "-N", ""]);
    server.authorize(&key.with_extension("pub"));
    let text = std::fs::read_to_string(&key).unwrap();
    let mut config = server.config();
    config.key = KeySource::Given(Secret::new(BASE64.encode(&text)));
    let shown_before = format!("{config:?}");
    let connector = RusshConnector::new(config);
    connector.connect(&server.endpoint()).await.unwrap();
    // It holds the key now, decoded.
    for shown in [shown_before, format!("{connector:?}")] {
        for line in text.lines().filter(|line| line.len() > 40) {
            assert!(
                !shown.contains(line) && !shown.contains(&BASE64.encode(line)),
                "{shown}"
            );
        }
        assert!(shown.contains("(secret)"), "{shown}");
    }
}

#[tokio::test]
async fn a_key_that_is_replaced_on_disk_is_read_again() {
    let server = Sshd::start().await;
    let connector = server.connector();
    connector.connect(&server.endpoint()).await.unwrap();

    let fresh = server.path("fresh");
    generate(&fresh, &["-t", "ecdsa", "-N", ""]);
    server.authorize(&fresh.with_extension("pub"));
    let old = connector.connect(&server.endpoint()).await;
    assert_eq!(refusal(old), Error::AuthFailed { user: server.user() });
    std::fs::rename(&fresh, server.client_key()).unwrap();
    connector.connect(&server.endpoint()).await.unwrap();
}

#[tokio::test]
async fn a_changed_host_key_is_refused_also_by_a_new_process() {
    let mut server = Sshd::start().await;
    server.connect().await.unwrap();
    let first = server.host_key();
    // Everything that connects here is new: only the file remembers.
    server.connect().await.unwrap();
    let pins = std::fs::read_to_string(server.path("pins")).unwrap();
    assert!(pins.contains(&format!("{first} i-0123456789abcdef0")), "{pins}");

    for kind in ["ed25519", "ecdsa"] {
        server.replace_host_key(kind);
        server.restart().await;
        match refusal(server.connect().await) {
            Error::HostKeyChanged { host, expected, got } => {
                assert_eq!(host, "i-0123456789abcdef0");
                assert!(expected.starts_with("ssh-ed25519 SHA256:"), "{expected}");
                assert_ne!(expected, got);
            }
            other => panic!("{other:?}"),
        }
        assert_eq!(std::fs::read_to_string(server.path("pins")).unwrap(), pins);
    }
}

#[tokio::test]
async fn a_host_that_gets_a_second_key_is_still_known_by_its_first() {
    let mut server = Sshd::start().await;
    server.replace_host_key("ecdsa");
    server.restart().await;
    server.connect().await.unwrap();
    // An Ed25519 key beside the old one: it would be preferred if nothing were known.
    let second = server.path("second_host_key");
    generate_key(&second, "ed25519");
    let config_line = format!("HostKey {}", second.display());
    let mut both = server;
    both.configure(&config_line);
    both.restart().await;
    both.connect().await.unwrap();
}

#[tokio::test]
async fn a_server_that_does_not_let_us_in_is_not_pinned() {
    let mut server = Sshd::start().await;
    let stranger = server.path("stranger");
    generate_key(&stranger, "ed25519");
    let answer = server
        .connect_with(|config| config.key = KeySource::File(stranger))
        .await;
    assert!(matches!(refusal(answer), Error::AuthFailed { .. }));
    server.replace_host_key("ed25519");
    server.restart().await;
    server.connect().await.unwrap();
}

#[tokio::test]
async fn pins_belong_to_instances_and_not_to_addresses() {
    let mut server = Sshd::start().await;
    let connector = server.connector();
    connector.connect(&server.endpoint()).await.unwrap();
    server.replace_host_key("ed25519");
    server.restart().await;
    let another = Endpoint {
        host: "i-another".to_owned(),
        ..server.endpoint()
    };
    connector.connect(&another).await.unwrap();
    assert!(matches!(
        refusal(connector.connect(&server.endpoint()).await),
        Error::HostKeyChanged { .. }
    ));
}

#[tokio::test]
async fn many_first_connections_at_once_are_all_pinned() {
    let server = Sshd::start_with(&["MaxStartups 100"]).await;
    let connector = Arc::new(server.connector());
    let at_once = (0..12).map(|n| {
        let (connector, endpoint) = (
            connector.clone(),
            Endpoint {
                host: format!("i-{n}"),
                ..server.endpoint()
            },
        );
        async move { connector.connect(&endpoint).await.map(drop) }
    });
    for answer in futures_util::future::join_all(at_once).await {
        answer.unwrap();
    }
    let pins = std::fs::read_to_string(server.path("pins")).unwrap();
    assert_eq!(
        pins.lines()
            .filter(|line| line.contains(&server.host_key()))
            .count(),
        12
    );
}

#[tokio::test]
async fn a_pin_file_that_cannot_be_written_is_an_error_of_ours() {
    let server = Sshd::start().await;
    let answer = server
        .connect_with(|config| {
            config.host_keys = HostKeyPolicy::PinOnFirstUse {
                store: "/proc/self/nowhere/pins".into(),
            };
        })
        .await;
    assert!(matches!(refusal(answer), Error::HostKeyStore(_)));
}

#[tokio::test]
async fn known_hosts_decides_where_it_is_asked_to() {
    let server = Sshd::start().await;
    let known_hosts = server.path("known_hosts");
    let connect = async |content: &str| {
        std::fs::write(&known_hosts, content).unwrap();
        server
            .connect_with(|config| {
                config.host_keys = HostKeyPolicy::KnownHosts {
                    path: known_hosts.clone(),
                };
            })
            .await
    };
    let (address, key) = (server.address(), server.host_key());
    let by_address = format!("[{}]:{} {key}\n", address.ip(), address.port());
    let by_name = format!("i-0123456789abcdef0 {key} a comment\n");
    for trusted in [&by_address, &by_name, &format!("# first\n{by_address}")] {
        connect(trusted).await.unwrap();
    }

    let unknown = refusal(connect(&format!("elsewhere {key}\n")).await);
    assert!(matches!(unknown, Error::HostKeyUnknown { .. }), "{unknown:?}");

    generate_key(&server.path("other"), "ed25519");
    let other = std::fs::read_to_string(server.path("other.pub")).unwrap();
    let changed = refusal(connect(&format!("i-0123456789abcdef0 {other}")).await);
    assert!(matches!(changed, Error::HostKeyChanged { .. }), "{changed:?}");

    let revoked = refusal(connect(&format!("{by_name}@revoked * {key}\n")).await);
    assert!(matches!(revoked, Error::HostKeyChanged { .. }), "{revoked:?}");

    // As `ssh-keygen -H` leaves it.
    std::fs::write(&known_hosts, &by_address).unwrap();
    generate(&known_hosts, &["-H"]);
    let hashed = std::fs::read_to_string(&known_hosts).unwrap();
    assert!(hashed.starts_with("|1|"), "{hashed}");
    connect(&hashed).await.unwrap();

    std::fs::remove_file(&known_hosts).unwrap();
    let missing = server
        .connect_with(|config| {
            config.host_keys = HostKeyPolicy::KnownHosts {
                path: known_hosts.clone(),
            };
        })
        .await;
    assert!(matches!(refusal(missing), Error::HostKeyStore(_)));
}

//! The SSH adapter against real OpenSSH servers: who is let in, and who is believed.

mod support;

use std::path::Path;
use std::sync::Arc;

use support::sshd::{Sshd, generate, generate_key, refusal};

use understudy::infra::ssh::{Connector, Endpoint, Error, HostKeyPolicy};

#[tokio::test]
async fn a_key_that_the_server_does_not_know_is_refused() {
    let server = Sshd::start().await;
    let stranger = server.path("stranger");
    generate_key(&stranger, "ed25519");
    let expected = Error::AuthFailed { user: server.user() };
    let answer = server.connect_with(|config| config.key = stranger.clone()).await;
    assert_eq!(refusal(answer), expected);

    // The same when the server says so by hanging up after one attempt.
    let strict = Sshd::start_with(&["MaxAuthTries 1"]).await;
    let answer = strict.connect_with(|config| config.key = stranger).await;
    assert_eq!(refusal(answer), expected);
}

#[tokio::test]
async fn keys_of_every_supported_kind_and_format_log_in() {
    let server = Sshd::start().await;
    for (name, arguments) in [
        ("ed25519", &["-t", "ed25519", "-N", ""][..]),
        ("ecdsa", &["-t", "ecdsa", "-b", "256", "-N", ""]),
        ("ecdsa384", &["-t", "ecdsa", "-b", "384", "-N", ""]),
        ("pkcs8", &["-t", "ecdsa", "-m", "PKCS8", "-N", ""]),
        ("pem", &["-t", "ecdsa", "-m", "PEM", "-N", ""]),
    ] {
        let key = server.path(name);
        generate(&key, arguments);
        server.authorize(&key.with_extension("pub"));
        let session = server.connect_with(|config| config.key = key).await;
        assert!(session.is_ok(), "{name}: {:?}", session.err());
    }
}

#[tokio::test]
async fn a_key_that_cannot_be_used_is_explained() {
    let server = Sshd::start().await;
    let refused_key = async |path: &Path| {
        let answer = server.connect_with(|config| config.key = path.to_owned()).await;
        match refusal(answer) {
            Error::BadKey(why) => why,
            other => panic!("{other:?}"),
        }
    };
    for (name, arguments) in [
        ("locked", &["-t", "ed25519", "-N", "secret phrase"][..]),
        ("locked-pem", &["-t", "ecdsa", "-m", "PEM", "-N", "secret phrase"]),
        (
            "locked-pkcs8",
            &["-t", "ecdsa", "-m", "PKCS8", "-N", "secret phrase"],
        ),
    ] {
        let key = server.path(name);
        generate(&key, arguments);
        let why = refused_key(&key).await;
        assert!(why.contains("passphrase") && why.contains(name), "{why}");
    }
    for (name, arguments) in [
        ("rsa", &["-t", "rsa", "-b", "1024", "-N", ""][..]),
        ("rsa-pem", &["-t", "rsa", "-b", "1024", "-m", "PEM", "-N", ""]),
        ("rsa-pkcs8", &["-t", "rsa", "-b", "1024", "-m", "PKCS8", "-N", ""]),
    ] {
        let key = server.path(name);
        generate(&key, arguments);
        let why = refused_key(&key).await;
        assert!(why.contains("RSA keys are not supported"), "{name}: {why}");
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
    let answer = server.connect_with(|config| config.key = stranger).await;
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

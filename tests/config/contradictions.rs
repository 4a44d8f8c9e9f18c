//! Values that are fine alone and wrong together.

use understudy::config::{Auth, Warning};

use super::{TOKEN, complaint, loaded};

#[test]
fn contradictions_are_named_with_both_places() {
    let complaint = complaint("[pool]\nwarm_count = 7", &[("VM_POOL_MAX_TOTAL", "6")]);
    assert_eq!(
        complaint,
        "pool.warm_count = 7 is more than pool.max_instances = 6: the warm target could never be met \
         (pool.warm_count: test.toml:2; pool.max_instances: environment VM_POOL_MAX_TOTAL)"
    );
}

#[test]
fn each_contradiction_is_refused() {
    for (file, expected) in [
        ("[pool]\nmax_concurrent = 6", "every show needs an instance"),
        (
            "[server]\nsockets_max = 5000",
            "every Socket.IO client holds a connection",
        ),
        ("[ledger]\nbatch_max = 5000", "a batch is taken from the queue"),
        (
            "[ledger]\ncommit_deadline = \"31s\"",
            "a request waits for its commit",
        ),
        (
            "[pool]\nwarmup_time = \"301s\"",
            "every start would be estimated to fail",
        ),
        (
            "[probe]\ndeadline = \"31s\"",
            "a probe would run into the next one",
        ),
        (
            "[probe]\ndeadline_on_air = \"2s\"",
            "a probe would run into the next one",
        ),
        (
            "[probe]\ninterval_on_air = \"31s\"",
            "a VM on air is watched at least as closely",
        ),
        (
            "[cloud]\nconnect_timeout = \"16s\"",
            "connecting is part of an attempt",
        ),
        ("[cloud]\nread_timeout = \"16s\"", "reading is part of an attempt"),
        (
            "[cloud]\nattempt_timeout = \"46s\"",
            "an attempt is part of an operation",
        ),
        ("[cloud]\nbackoff_initial = \"11s\"", "back-off grows"),
        (
            "[obs]\npoll = \"100ms\"",
            "a studio on air is watched at least as closely",
        ),
        ("[obs]\nreconnect_initial = \"6s\"", "back-off grows"),
        (
            "[obs]\ncapture_interval = \"100ms\"",
            "a capture would never be allowed to start",
        ),
        (
            "[ssh]\nkeepalive = \"500ms\"",
            "a VM on air is watched at least as closely",
        ),
        (
            "[failover]\nsilence_limit = \"400ms\"",
            "silence is two looks at the output",
        ),
        (
            "[failover]\nfence_deadline = \"1500ms\"",
            "it is a part of the fence",
        ),
        ("[supervision]\nbackoff_initial = \"6s\"", "back-off grows"),
        ("[cloud]\nprovider = \"rest\"", "needs cloud.endpoint_url"),
        ("[vm]\nobs_port = 3003", "cannot share a port"),
        ("[ssh]\nenabled = true", "needs ssh.key_path"),
        ("[archive]\nbucket = \"shows\"", "needs an SSH connection"),
        (
            "[ssh]\nkey_path = \"k\"\nhost_keys = \"known_hosts\"",
            "needs ssh.known_hosts_path",
        ),
        (
            "[server]\nlisten = \"0.0.0.0:3003\"\nauth = \"open\"",
            "is refused on 0.0.0.0:3003",
        ),
        ("[server]\nlisten = \"0.0.0.0:3003\"", "would refuse everybody"),
    ] {
        let complaint = complaint(file, &[]);
        assert!(complaint.contains(expected), "{complaint}");
        assert!(complaint.contains("test.toml:"), "{complaint}");
    }
}

#[test]
fn outside_loopback_a_token_is_required_and_no_page_is_trusted() {
    let file = "[server]\nlisten = \"0.0.0.0:3003\"";
    let server = loaded(file, &[("COORDINATOR_ADMIN_TOKEN", TOKEN)]).config.server;
    assert_eq!(server.auth, Auth::Required);
    assert!(server.cors_origins.is_empty());

    let any = format!("{file}\ncors_origins = [\"*\"]");
    let refused = complaint(&any, &[("COORDINATOR_ADMIN_TOKEN", TOKEN)]);
    assert!(
        refused.contains("server.cors_origins must list origins by name"),
        "{refused}"
    );

    let compat = loaded(file, &[("COORDINATOR_AUTH", "compat")]);
    assert_eq!(compat.config.server.cors_origins, ["*"]);
    assert!(
        compat.warnings.contains(&Warning::NoAdminToken),
        "{:?}",
        compat.warnings
    );
}

#[test]
fn two_sources_of_the_private_key_are_refused_by_name() {
    let complaint = complaint("[ssh]\nkey_path = \"k\"", &[("VM_SSH_KEY_BASE64", "aGVsbG8=")]);
    assert!(
        complaint.contains("ssh.key_path and ssh.key_base64 each give a private key"),
        "{complaint}"
    );
    assert!(!complaint.contains("aGVsbG8="), "{complaint}");
}

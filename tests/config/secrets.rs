//! Secrets come from elsewhere and are printed nowhere.

use understudy::domain::studio::Secret;

use super::{complaint, loaded, source_of};

#[test]
fn a_secret_in_the_file_is_refused_without_being_shown() {
    let complaint = complaint("[obs]\npassword = \"hush\"", &[]);
    assert_eq!(
        complaint,
        "test.toml:2: obs.password is a secret and must not stand in a configuration file; \
         set OBS_WEBSOCKET_PASSWORD, or name a file that holds it in obs.password_file"
    );
}

#[test]
fn a_secret_comes_from_a_file_of_its_own_without_the_line_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("password");
    std::fs::write(&path, " hush \n").unwrap();
    let file = format!("[obs]\npassword_file = {:?}", path.display().to_string());

    let of_file = loaded(&file, &[]);
    assert_eq!(of_file.config.obs.password, Some(Secret::new(" hush ")));
    assert_eq!(source_of(&of_file, "obs.password"), path.display().to_string());

    let of_variable = loaded(&file, &[("OBS_WEBSOCKET_PASSWORD", "louder")]);
    assert_eq!(of_variable.config.obs.password, Some(Secret::new("louder")));
}

#[test]
fn a_secret_file_that_is_missing_empty_or_huge_is_named() {
    let folder = tempfile::tempdir().unwrap();
    for (name, content, reason) in [
        ("missing", None, "No such file"),
        ("empty", Some(String::from("\n")), "it is empty"),
        ("huge", Some("x".repeat(5000)), "it has more than 4096 bytes"),
    ] {
        let path = folder.path().join(name);
        if let Some(content) = content {
            std::fs::write(&path, content).unwrap();
        }
        let file = format!("[obs]\npassword_file = {:?}", path.display().to_string());
        let complaint = complaint(&file, &[]);
        assert!(
            complaint.starts_with("test.toml:2: the secret named by obs.password_file"),
            "{complaint}"
        );
        assert!(
            complaint.contains(&path.display().to_string()) && complaint.contains(reason),
            "{complaint}"
        );
    }
}

#[test]
fn a_token_too_short_to_be_safe_is_refused_without_being_shown() {
    let complaint = complaint("", &[("COORDINATOR_ADMIN_TOKEN", "letmein")]);
    assert!(
        complaint.starts_with("environment COORDINATOR_ADMIN_TOKEN: server.admin_token = (secret)"),
        "{complaint}"
    );
}

#[test]
fn no_secret_is_printed_anywhere() {
    let both = [
        ("COORDINATOR_ADMIN_TOKEN", "hushhushhushhush"),
        ("OBS_WEBSOCKET_PASSWORD", "hush"),
    ];
    let loaded = loaded("", &both);
    assert!(!format!("{loaded:?}").contains("hush"));
    let shown = |key: &str| {
        loaded
            .settings
            .iter()
            .find(|setting| setting.key == key)
            .unwrap()
            .value
            .clone()
    };
    assert_eq!(
        (shown("server.admin_token"), shown("obs.password")),
        ("(secret)".into(), "(secret)".into())
    );

    let url = complaint("[cloud]\nendpoint_url = \"http://me:hush@127.0.0.1\"", &[]);
    assert!(
        url.contains("(hidden)@127.0.0.1") && !url.contains("hush"),
        "{url}"
    );
}

#[test]
fn a_private_key_comes_from_the_environment_alone_and_turns_ssh_on() {
    let ssh = loaded("", &[("VM_SSH_KEY_BASE64", "aGVs\nbG8=")]).config.ssh;
    assert!(ssh.enabled);
    assert_eq!(ssh.key_base64, Some(Secret::new("aGVs\nbG8=")));

    let in_file = complaint("[ssh]\nkey_base64 = \"aGVsbG8=\"", &[]);
    assert!(
        in_file.contains("set VM_SSH_KEY_BASE64") && !in_file.contains("aGVs"),
        "{in_file}"
    );
    let wrong = complaint("", &[("VM_SSH_KEY_BASE64", "-----BEGIN hush")]);
    assert!(wrong.contains("base64") && !wrong.contains("hush"), "{wrong}");
}

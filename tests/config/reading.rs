//! Which value wins, and how each kind is written.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use understudy::config::{
    Address, Auth, Cloud, Config, HostKeys, Loaded, LogFormat, Obs, Provider, Server, Source, Warning,
};
use understudy::domain::studio::Secret;

use super::{TOKEN, complaint, loaded, source_of};

#[test]
fn a_file_sets_every_kind_of_value() {
    let file = r#"
        [server]
        listen = "[::1]:8080"
        cors_origins = ["https://shows.example.org", "http://127.0.0.1:5173"]
        static_dir = "web/dist"
        public_ip = "192.0.2.7"
        body_bytes_max = 0x10000
        [pool]
        idle_timeout_minutes = 1.5
        start_timeout = "1h"
        [cloud]
        provider = "rest"
        endpoint_url = "http://127.0.0.1:5555/"
        address = "private"
        [ssh]
        key_path = "key.pem"
        host_keys = "known_hosts"
        known_hosts_path = "known_hosts"
        [log]
        format = "json"
    "#;
    let Loaded { config, settings, .. } = loaded(file, &[]);
    assert_eq!(config.server.listen, "[::1]:8080".parse::<SocketAddr>().unwrap());
    assert_eq!(
        config.server.cors_origins,
        ["https://shows.example.org", "http://127.0.0.1:5173"]
    );
    assert_eq!(config.server.static_dir.as_deref(), Some(Path::new("web/dist")));
    assert_eq!(config.server.public_ip, Some("192.0.2.7".parse().unwrap()));
    assert_eq!(config.server.body_bytes_max, 65_536);
    assert_eq!(config.pool.start_timeout, Duration::from_secs(3600));
    assert_eq!(
        (config.cloud.provider, config.cloud.address),
        (Provider::Rest, Address::Private)
    );
    assert_eq!(
        config.cloud.endpoint_url.as_deref(),
        Some("http://127.0.0.1:5555")
    );
    assert!(config.ssh.enabled, "a key enables SSH");
    assert_eq!(config.ssh.host_keys, HostKeys::KnownHosts);
    assert_eq!(config.log.format, LogFormat::Json);
    let listen = settings
        .iter()
        .find(|setting| setting.key == "server.listen")
        .unwrap();
    assert_eq!(
        (listen.value.as_str(), listen.source.to_string()),
        ("\"[::1]:8080\"", "test.toml:3".to_owned())
    );
}

#[test]
fn every_key_can_be_overridden_by_a_variable() {
    let defaults = loaded("", &[]);
    let secrets = ["server.admin_token", "obs.password"];
    let mut environment = Vec::new();
    for setting in &defaults.settings {
        let variable = format!("UNDERSTUDY__{}", setting.key.to_uppercase().replace('.', "__"));
        let value = match setting.value.as_str() {
            "(none)" if secrets.contains(&setting.key.as_str()) => TOKEN.to_owned(),
            "(none)" => String::new(),
            list if list.starts_with('[') => list.trim_matches(['[', ']']).replace('"', ""),
            shown => shown.trim_matches('"').to_owned(),
        };
        environment.push((variable, value));
    }
    let again = Config::parse(Path::new("test.toml"), "", environment).unwrap();
    for setting in &again.settings {
        let variable = format!("UNDERSTUDY__{}", setting.key.to_uppercase().replace('.', "__"));
        assert_eq!(
            setting.source,
            Source::Environment { variable },
            "{}",
            setting.key
        );
    }
    let token = Some(Secret::new(TOKEN));
    let expected = Config {
        server: Server {
            admin_token: token.clone(),
            ..Server::default()
        },
        obs: Obs {
            password: token,
            ..Obs::default()
        },
        ..Config::default()
    };
    assert_eq!(again.config, expected);
}

#[test]
fn a_variable_wins_over_the_file_and_an_older_name_over_the_file_only() {
    let file = "[cloud]\nregion = \"eu-west-1\"";
    let of_file = loaded(file, &[]);
    assert_eq!(of_file.config.cloud.region, "eu-west-1");
    assert_eq!(source_of(&of_file, "cloud.region"), "test.toml:2");

    let of_alias = loaded(file, &[("AWS_REGION", "eu-north-1")]);
    assert_eq!(of_alias.config.cloud.region, "eu-north-1");
    assert_eq!(source_of(&of_alias, "cloud.region"), "environment AWS_REGION");

    let both = [
        ("AWS_REGION", "eu-north-1"),
        ("UNDERSTUDY__CLOUD__REGION", "us-west-2"),
    ];
    let of_variable = loaded(file, &both);
    assert_eq!(of_variable.config.cloud.region, "us-west-2");
    assert_eq!(
        source_of(&of_variable, "cloud.region"),
        "environment UNDERSTUDY__CLOUD__REGION"
    );
    assert_eq!(source_of(&of_variable, "cloud.provider"), "default");
}

#[test]
fn the_variables_of_older_deployments_are_understood() {
    let Loaded { config, warnings, .. } = loaded(
        "",
        &[
            ("PORT", "3001"),
            ("COORDINATOR_AUTH", "compat"),
            ("COORDINATOR_ADMIN_TOKEN", TOKEN),
            ("STATIC_DIR", "dist"),
            ("PUBLIC_IP", "192.0.2.7"),
            ("PROJECT_TAG", "gymnastics"),
            ("VM_POOL_MIN_AVAILABLE", "3"),
            ("VM_POOL_MAX_TOTAL", "10"),
            ("VM_POOL_HEALTH_CHECK_INTERVAL_MS", "15000"),
            ("AWS_INSTANCE_TYPE", "c5.xlarge"),
            ("AWS_REGION", "us-west-2"),
            ("AWS_ENDPOINT_URL", "http://127.0.0.1:5555"),
            ("VM_AMI_ID", "ami-second"),
            ("AWS_AMI_ID", "ami-first"),
            ("VM_SECURITY_GROUP_ID", "sg-second"),
            ("AWS_SUBNET_ID", "subnet-1"),
            ("AWS_KEY_PAIR_NAME", ""),
            ("VM_KEY_PAIR_NAME", "pair-second"),
            ("OBS_WEBSOCKET_PASSWORD", "0042"),
            ("VM_SSH_KEY_PATH", "vm.pem"),
            ("VM_SSH_USERNAME", "admin"),
            ("FIREBASE_DATABASE_URL", "https://shows.example.org"),
            ("COORDINATOR_MODE", "true"),
            ("HOME", "/root"),
        ],
    );
    assert_eq!(
        config.server.listen,
        "127.0.0.1:3001".parse::<SocketAddr>().unwrap()
    );
    assert_eq!(config.server.auth, Auth::Compat);
    assert_eq!(config.server.admin_token, Some(Secret::new(TOKEN)));
    assert_eq!(config.server.static_dir.as_deref(), Some(Path::new("dist")));
    assert_eq!(config.server.public_ip, Some("192.0.2.7".parse().unwrap()));
    assert_eq!(config.pool.project, "gymnastics");
    assert_eq!((config.pool.warm_count, config.pool.max_instances), (3, 10));
    assert_eq!(config.pool.health_check_interval, Duration::from_secs(15));
    assert_eq!(config.pool.default_instance_type, "c5.xlarge");
    let expected = Cloud {
        region: "us-west-2".into(),
        endpoint_url: Some("http://127.0.0.1:5555".into()),
        ami_id: Some("ami-first".into()),
        security_group_id: Some("sg-second".into()),
        subnet_id: Some("subnet-1".into()),
        key_pair_name: Some("pair-second".into()),
        ..Cloud::default()
    };
    assert_eq!(config.cloud, expected);
    assert_eq!(
        config.obs.password,
        Some(Secret::new("0042")),
        "digits stay a text"
    );
    assert_eq!(config.ssh.key_path.as_deref(), Some(Path::new("vm.pem")));
    assert_eq!(config.ssh.user, "admin");
    let unused = |variable| warnings.contains(&Warning::Unused { variable });
    assert!(
        unused("FIREBASE_DATABASE_URL") && unused("COORDINATOR_MODE"),
        "{warnings:?}"
    );
}

#[test]
fn a_port_alone_keeps_the_address() {
    let file = "[server]\nlisten = \"127.0.0.9:3003\"";
    assert_eq!(
        loaded(file, &[("PORT", "80")]).config.server.listen,
        "127.0.0.9:80".parse().unwrap()
    );
    let complaint = complaint(file, &[("PORT", "http")]);
    assert!(
        complaint.starts_with("environment PORT: server.listen = \"http\" is not allowed"),
        "{complaint}"
    );
}

#[test]
fn an_empty_variable_unsets_an_optional_key() {
    let file = "[cloud]\nami_id = \"ami-1\"";
    assert_eq!(
        loaded(file, &[("UNDERSTUDY__CLOUD__AMI_ID", "")])
            .config
            .cloud
            .ami_id,
        None
    );
    assert_eq!(
        loaded(file, &[("AWS_AMI_ID", "")]).config.cloud.ami_id.as_deref(),
        Some("ami-1")
    );
}

#[test]
fn files_are_moved_where_nothing_is_run_and_no_key_is_kept_unless_a_folder_is_named() {
    let roots = |file: &str| -> Vec<String> {
        let roots = loaded(file, &[]).config.file_roots();
        roots.iter().map(ToString::to_string).collect()
    };
    let vm = "[vm]\nrecordings_path = \"/srv/recordings\"\nobs_config_path = \"/home/obs/.config/obs-studio\"\n\
              checkout_path = \"/srv/{project}\"\nobs_template_path = \"/srv/template\"\n[pool]\nproject = \"shows\"\n";
    assert_eq!(
        roots(vm),
        ["/srv/recordings", "/home/obs/.config/obs-studio/logs", "/tmp"]
    );
    let named = "[ssh]\nfile_roots = [\"{checkout_path}/server\", \"{obs_template_path}\", \"{obs_config_path}\", \"/var/log\"]";
    assert_eq!(
        roots(&format!("{vm}{named}")),
        [
            "/srv/shows/server",
            "/srv/template",
            "/home/obs/.config/obs-studio",
            "/var/log"
        ]
    );
}

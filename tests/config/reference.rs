//! `config/understudy.toml` tells the truth about every key.

use std::collections::BTreeMap;

use understudy::config::{self, Config, Source};

use super::loaded;

/// The reference with every `# key = value` made a live line, and per key the comment above it.
fn reference() -> (String, BTreeMap<String, String>) {
    let mut live = String::new();
    let mut comments = BTreeMap::new();
    let (mut section, mut comment) = (String::new(), String::new());
    for line in config::REFERENCE.lines() {
        let is_key = |text: &str| {
            text.split_once(" = ").is_some_and(|(key, _)| {
                !key.is_empty()
                    && key
                        .bytes()
                        .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
            })
        };
        let body = line.strip_prefix("# ").unwrap_or(line);
        if let Some(name) = line.strip_prefix('[') {
            section = name.trim_end_matches(']').to_owned();
            live.push_str(line);
        } else if is_key(body) && !section.is_empty() {
            let key = format!("{section}.{}", body.split(' ').next().unwrap());
            assert!(
                comments
                    .insert(key.clone(), std::mem::take(&mut comment))
                    .is_none(),
                "{key} stands twice"
            );
            live.push_str(body);
        } else if line.is_empty() {
            comment.clear();
        } else {
            comment.push_str(line);
            comment.push(' ');
        }
        live.push('\n');
    }
    (live, comments)
}

#[test]
fn the_reference_documents_every_key_with_exactly_its_default() {
    let (live, comments) = reference();
    let from_reference = loaded(&live, &[]);
    assert_eq!(from_reference.config, Config::default());

    let secrets = [
        "server.admin_token",
        "obs.password",
        "ssh.key_base64",
        "otlp.headers",
    ];
    for setting in &from_reference.settings {
        let key = setting.key.as_str();
        if secrets.contains(&key) {
            let variable = format!("UNDERSTUDY__{}", key.to_uppercase().replace('.', "__"));
            assert!(
                config::REFERENCE.contains(&variable),
                "{variable} is not mentioned"
            );
            assert!(
                !comments.contains_key(key),
                "{key} is a secret and must not be offered as a line"
            );
        } else {
            assert!(
                matches!(setting.source, Source::File { line: Some(_), .. }),
                "{key} is missing from the reference"
            );
        }
    }
}

#[test]
fn the_reference_gives_each_key_a_reason() {
    let (_, comments) = reference();
    for (key, comment) in comments {
        assert!(
            comment.trim_start_matches('#').trim().len() >= 10,
            "{key} has no reason above it: {comment:?}"
        );
    }
}

#[test]
fn the_reference_as_shipped_changes_nothing() {
    let shipped = loaded(config::REFERENCE, &[]);
    assert_eq!(shipped.config, Config::default());
    assert!(
        shipped
            .settings
            .iter()
            .all(|setting| setting.source == Source::Default)
    );
}

#[test]
fn the_reference_names_each_older_variable_beside_its_key() {
    let (_, comments) = reference();
    for (variable, key) in config::aliases() {
        let secret_file = format!("{key}_file");
        // A secret that has no file is mentioned where the key is that stands for it.
        let explicit = format!("UNDERSTUDY__{}", key.to_uppercase().replace('.', "__"));
        let mentions = || comments.values().find(|comment| comment.contains(&explicit));
        let comment = comments
            .get(key)
            .or_else(|| comments.get(&secret_file))
            .or_else(mentions);
        let comment = comment.unwrap_or_else(|| panic!("{key} is not in the reference"));
        assert!(
            comment.contains(variable),
            "{variable} is not mentioned at {key}: {comment}"
        );
    }
}

#[test]
fn the_demo_configuration_is_valid_and_keeps_to_loopback() {
    let demo = loaded(config::DEMO, &[]).config;
    assert!(demo.server.listen.ip().is_loopback());
    assert_eq!(
        (
            demo.pool.warm_count,
            demo.pool.cold_count,
            demo.pool.max_instances
        ),
        (2, 3, 5)
    );
    assert_ne!(demo.ledger.path, Config::default().ledger.path);
    assert_eq!(demo.failover, Config::default().failover);
}

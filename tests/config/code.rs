//! The default, and configurations built in code.

use std::time::Duration;

use understudy::config::{Auth, Config, Pool, Probe};

use super::loaded;

#[test]
fn the_default_is_valid_and_reachable_from_this_machine_only() {
    let config = Config::default();
    assert!(config.validate().is_ok());
    assert_eq!(config.server.listen, "127.0.0.1:3003".parse().unwrap());
    assert_eq!(config.server.auth, Auth::Open);
    assert_eq!(config.key_pair_name(), "understudy-key-pair");
    assert_eq!(config.pool.idle_timeout(), Some(Duration::from_secs(7200)));
    assert_eq!(loaded("", &[]).config, config);
}

#[test]
fn a_configuration_built_in_code_is_checked_for_contradictions() {
    let config = Config {
        pool: Pool {
            warm_count: 9,
            ..Pool::default()
        },
        ..Config::default()
    };
    let error = config.validate().unwrap_err().to_string();
    assert!(
        error.contains("pool.warm_count = 9 is more than pool.max_instances = 5"),
        "{error}"
    );

    let fast = Config {
        pool: Pool {
            health_check_interval: Duration::from_millis(20),
            ..Pool::default()
        },
        probe: Probe {
            interval_on_air: Duration::from_millis(10),
            deadline: Duration::from_millis(10),
            deadline_on_air: Duration::from_millis(10),
            ..Probe::default()
        },
        ..Config::default()
    };
    assert!(
        fast.validate().is_ok(),
        "a rehearsal may run faster than the file's ranges allow"
    );
}

#[test]
fn no_idle_timeout_is_never() {
    assert_eq!(
        loaded("[pool]\nidle_timeout_minutes = 0", &[])
            .config
            .pool
            .idle_timeout(),
        None
    );
    let half = loaded("[pool]\nidle_timeout_minutes = 0.5", &[]).config.pool;
    assert_eq!(half.idle_timeout(), Some(Duration::from_secs(30)));
}

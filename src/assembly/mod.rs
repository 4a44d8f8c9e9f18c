//! From configuration to a running tree: the one place that knows every part.

pub mod inspect;
mod reseal;

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;

use crate::actors::cleaning::CleaningOptions;
use crate::actors::clock::Clock;
use crate::actors::context::{
    AddressKind, ArchiveOptions, FailoverOptions, LoadOptions, ObsOptions, ObsRestore, ObsVia, Options,
    ProbeOptions, SshOptions, World,
};
use crate::actors::coordinator::Coordinator;
use crate::actors::executions::ExecutionOptions;
use crate::actors::root::Node;
use crate::actors::supervisor::Spec;
use crate::config::{self, Config};
use crate::domain::cleaning::Policy;
use crate::domain::failover::{Cap, verdict};
use crate::domain::health::Thresholds;
use crate::domain::operation::Catalogue;
use crate::domain::pool::Settings;
use crate::domain::restart;
use crate::domain::service::Units;
use crate::infra::archive::Store;
use crate::infra::cloud::guarded::Guarded;
use crate::infra::cloud::traced::Traced;
use crate::infra::cloud::{Cloud, rest};
use crate::infra::ledger::{self, Ledger};
use crate::infra::secrets::SecretStore;
use crate::infra::template::Templates;
use crate::infra::vault::Vault;
use crate::infra::{obs, probe, ssh};

const WITHOUT_EC2: &str = "this understudy was built without EC2; build it with `cargo build --features ec2`, or set \
                           cloud.provider = \"rest\"";
const WITHOUT_S3: &str = "archive.bucket is set, and this understudy was built without S3; build it with \
                          `cargo build --features s3`, or unset archive.bucket (ARCHIVE_S3_BUCKET)";
const WITHOUT_SECRETS_MANAGER: &str = "this understudy was built without AWS Secrets Manager; build it with \
                                       `cargo build --features secrets-manager`, or set ssh.key_path instead of \
                                       ssh.key_secret_arn";

/// Opens the ledger, connects the outside world and starts the tree.
///
/// # Errors
/// What could not be opened and what to do about it.
pub async fn node(
    config: &Config,
    gateway: impl FnOnce(Coordinator) -> Option<Spec>,
) -> anyhow::Result<Node> {
    let ledger = open_ledger(&config.ledger).await?;
    let vault = open_vault(&config.ledger).await?;
    // Every adapter is in there: whoever starts a coordinator need not carry that.
    let world = Box::pin(world(config, vault)).await?;
    let operations = operations(config).await?;
    // Ages, deadlines and the order of things are told from times in the ledger.
    let (clock, lag) = Clock::system_from(ledger.state().at);
    if !lag.is_zero() {
        tracing::warn!(
            lag_ms = lag.as_millis(),
            "the wall clock is behind the ledger; going on from the time of its last event"
        );
    }
    reseal::all(&ledger, &world.vault, clock.now()).await?;
    Ok(Node::start(clock, ledger, options(config, operations), world, gateway).await?)
}

/// Like the ledger, on a thread of its own; after it, since the ledger's lock lets one process at it.
async fn open_vault(config: &config::Ledger) -> anyhow::Result<Arc<Vault>> {
    let path = config.secrets_key();
    let opened = tokio::task::spawn_blocking(move || Vault::open(&path)).await;
    Ok(Arc::new(opened.context("opening the key for secrets")??))
}

/// Replaying a long journal blocks, so it has a thread of its own.
async fn open_ledger(config: &config::Ledger) -> anyhow::Result<Ledger> {
    let options = ledger::Options {
        queue_max: config.queue_max,
        batch_max: config.batch_max,
        snapshot_every: config.snapshot_every,
        commit_deadline: config.commit_deadline,
        ..ledger::Options::new(config.path.clone())
    };
    let opened = tokio::task::spawn_blocking(move || Ledger::open(options)).await;
    Ok(opened.context("opening the ledger")??)
}

/// The catalogue is read from a file.
async fn operations(config: &Config) -> anyhow::Result<Catalogue> {
    let config = config.clone();
    let loaded = tokio::task::spawn_blocking(move || config::operations::load(&config)).await;
    Ok(loaded.context("reading the operations")??)
}

/// The adapters that the configuration asks for.
async fn world(config: &Config, vault: Arc<Vault>) -> anyhow::Result<World> {
    let obs: Option<Arc<dyn obs::Connector>> = config
        .obs
        .enabled
        .then(|| Arc::new(obs::ObwsConnector::new(Arc::clone(&vault))) as Arc<dyn obs::Connector>);
    Ok(World {
        cloud: Arc::new(Traced::new(Arc::new(Guarded::new(
            cloud(config).await?,
            cloud_limit(config),
        )))),
        probe: Arc::new(probe::HttpProbe::new()?),
        obs,
        ssh: shell(&config.ssh).await?,
        archive: archive(config).await?,
        vault,
        templates: templates(config).await?,
    })
}

/// Reads files, so it has a thread of its own.
async fn templates(config: &Config) -> anyhow::Result<Arc<Templates>> {
    let folder = config.shows.templates_path.clone();
    let loaded = tokio::task::spawn_blocking(move || Templates::load(folder.as_deref())).await;
    Ok(Arc::new(loaded.context("reading the show templates")??))
}

/// Longer than the longest call by its own deadline: a sweep, which has the time of two.
fn cloud_limit(config: &Config) -> Duration {
    config.cloud.operation_timeout * 2 + Duration::from_secs(15)
}

async fn cloud(config: &Config) -> anyhow::Result<Arc<dyn Cloud>> {
    match config.cloud.provider {
        config::Provider::Rest => {
            let url = config.cloud.endpoint_url.clone().context(
                "cloud.provider = \"rest\" needs cloud.endpoint_url: the address of the cloud's API",
            )?;
            Ok(Arc::new(rest::RestCloud::new(rest_config(config, url))?))
        }
        // The SDK's own futures are large; whoever starts a coordinator need not carry them.
        config::Provider::Ec2 => Box::pin(ec2(config)).await,
    }
}

#[cfg(feature = "ec2")]
async fn ec2(config: &Config) -> anyhow::Result<Arc<dyn Cloud>> {
    Ok(Arc::new(ec2_cloud(config).await?))
}

#[cfg(feature = "ec2")]
async fn ec2_cloud(config: &Config) -> anyhow::Result<crate::infra::cloud::ec2::Ec2Cloud> {
    use crate::infra::cloud::ec2::{Backoff, Config as Ec2, Ec2Cloud, Timeouts};
    let cloud = &config.cloud;
    let ec2 = Ec2 {
        endpoint_url: cloud.endpoint_url.clone(),
        ami_id: cloud.ami_id.clone(),
        security_group_id: cloud.security_group_id.clone(),
        subnet_id: cloud.subnet_id.clone(),
        key_pair_name: Some(config.key_pair_name()),
        instance_type: config.pool.default_instance_type.clone(),
        timeouts: Timeouts {
            connect: cloud.connect_timeout,
            read: cloud.read_timeout,
            attempt: cloud.attempt_timeout,
            operation: cloud.operation_timeout,
            // A call for each page, and all but a huge account's instances fit on one.
            sweep: cloud.operation_timeout * 2,
        },
        attempts: cloud.attempts,
        backoff: Backoff {
            initial: cloud.backoff_initial,
            max: cloud.backoff_max,
        },
        ..Ec2::new(cloud.region.clone(), config.pool.project.clone())
    };
    Ok(Ec2Cloud::new(ec2).await?)
}

#[cfg(not(feature = "ec2"))]
#[expect(clippy::unused_async, reason = "with the adapter it does wait")]
async fn ec2(_: &Config) -> anyhow::Result<Arc<dyn Cloud>> {
    anyhow::bail!(WITHOUT_EC2)
}

#[cfg(feature = "s3")]
async fn archive(config: &Config) -> anyhow::Result<Option<Arc<dyn Store>>> {
    use crate::infra::archive::s3::{Config as S3, S3Store};
    let archive = &config.archive;
    if archive.bucket.is_none() {
        return Ok(None);
    }
    let s3 = S3 {
        region: archive
            .region
            .clone()
            .unwrap_or_else(|| config.cloud.region.clone()),
        endpoint_url: archive.endpoint_url.clone(),
        path_style: archive.path_style,
        storage_class: archive.storage_class.clone(),
        access_key: None,
    };
    // As with EC2, the SDK's own futures are large.
    Ok(Some(Arc::new(Box::pin(S3Store::new(s3)).await)))
}

#[cfg(not(feature = "s3"))]
#[expect(clippy::unused_async, reason = "with the adapter it does wait")]
async fn archive(config: &Config) -> anyhow::Result<Option<Arc<dyn Store>>> {
    if config.archive.bucket.is_some() {
        anyhow::bail!(WITHOUT_S3);
    }
    Ok(None)
}

/// What the actors are configured with.
#[must_use]
pub fn options(config: &Config, operations: Catalogue) -> Options {
    Options {
        operations: Arc::new(operations),
        executions: ExecutionOptions {
            per_vm_max: config.ssh.executions_per_vm_max,
            total_max: config.ssh.executions_max,
            terminals_max: config.ssh.terminals_max,
            output_bytes_max: config.ssh.output_bytes_max,
            terminal_idle: config.ssh.terminal_idle,
            allow_free_commands: config.ssh.allow_free_commands,
            file_roots: config.file_roots(),
            upload_bytes_max: config.ssh.upload_bytes_max,
            transfer_stall: config.ssh.transfer_stall,
        },
        cleaning: cleaning(config),
        archive: archive_options(config),
        units: Units {
            display: config.vm.display_unit.clone(),
            obs: config.vm.obs_unit.clone(),
            show_server: config.vm.show_server_unit.clone(),
            nimble: config.vm.nimble_unit.clone(),
            pm2_process: config.vm.pm2_process.clone(),
        },
        settings: settings(config),
        address: match config.cloud.address {
            config::Address::Public => AddressKind::Public,
            config::Address::Private => AddressKind::Private,
        },
        obs_port: config.vm.obs_port,
        ssh_port: config.vm.ssh_port,
        notify_show_server: config.vm.notify_show_server,
        start_timeout: config.pool.start_timeout,
        ready_timeout: config.pool.ready_timeout,
        stop_timeout: config.pool.stop_timeout,
        sweep_interval: config.cloud.sweep_interval,
        probe: ProbeOptions {
            interval_on_air: config.probe.interval_on_air,
            deadline: config.probe.deadline,
            deadline_on_air: config.probe.deadline_on_air,
            thresholds: Thresholds {
                fail: config.probe.fail_threshold,
                recover: config.probe.recover_threshold,
            },
        },
        obs: obs_options(config),
        ssh: SshOptions {
            connect_deadline: config.ssh.connect_deadline,
            keepalive: config.ssh.keepalive,
            keepalive_on_air: config.ssh.keepalive_on_air,
            keepalive_deadline: config.ssh.keepalive_deadline,
        },
        failover: failover(&config.failover),
        restart: restart::Policy {
            restarts_max: config.supervision.restarts_max,
            window: config.supervision.window,
            backoff_initial: config.supervision.backoff_initial,
            backoff_max: config.supervision.backoff_max,
            cooldown: config.supervision.cooldown,
        },
        load: LoadOptions {
            interval: config.metrics.vm_load.then_some(config.metrics.vm_interval),
            at_once: config.metrics.vm_at_once,
        },
    }
}

fn archive_options(config: &Config) -> ArchiveOptions {
    ArchiveOptions {
        bucket: config.archive.bucket.clone(),
        prefix: config.archive.prefix.clone(),
        part_bytes: config.archive.part_bytes,
        deadline: config.archive.deadline,
        recordings_path: config.vm.recordings_path.clone(),
    }
}

fn obs_options(config: &Config) -> ObsOptions {
    ObsOptions {
        via: match (config.obs.via, config.ssh.enabled) {
            (config::ObsVia::Direct, _) | (config::ObsVia::Auto, false) => ObsVia::Direct,
            (config::ObsVia::Ssh, _) | (config::ObsVia::Auto, true) => ObsVia::Ssh {
                tunnel_ip: config.obs.tunnel_address,
            },
        },
        password: config.obs.password.clone(),
        connect_deadline: config.obs.connect_deadline,
        call_deadline: config.obs.call_deadline,
        poll: config.obs.poll,
        poll_on_air: config.obs.poll_on_air,
        reconnect_initial: config.obs.reconnect_initial,
        reconnect_max: config.obs.reconnect_max,
        capture_debounce: config.obs.capture_debounce,
        capture_interval: config.obs.capture_interval,
        restore: match config.obs.restore {
            config::ObsRestore::Auto => ObsRestore::Auto,
            config::ObsRestore::Requests => ObsRestore::Requests,
            config::ObsRestore::File => ObsRestore::File,
        },
        config_path: config.vm.obs_config_path.clone(),
    }
}

fn failover(config: &config::Failover) -> FailoverOptions {
    FailoverOptions {
        enabled: config.enabled,
        verdict: verdict::Policy {
            silence_limit: config.silence_limit,
            studio_grace: config.studio_grace,
        },
        cap: Cap {
            moves_max: config.cap,
            window: config.cap_window,
        },
        fence_obs_deadline: config.fence_obs_deadline,
        fence_ssh_deadline: config.fence_ssh_deadline,
        fence_deadline: config.fence_deadline,
        restore_deadline: config.restore_deadline,
        verify_deadline: config.verify_deadline,
        ingest_check_deadline: config.ingest_check_deadline,
    }
}

fn cleaning(config: &Config) -> CleaningOptions {
    CleaningOptions {
        policy: match config.shows.cleanup {
            config::Cleanup::Strict => Policy::Strict,
            config::Cleanup::BestEffort => Policy::BestEffort,
        },
        deadline: config.shows.cleanup_deadline,
        config_path: config.vm.obs_config_path.clone(),
        template_path: config.vm.obs_template_path.clone(),
        recordings_path: config.vm.recordings_path.clone(),
    }
}

fn settings(config: &Config) -> Settings {
    let pool = &config.pool;
    Settings {
        warm_count: pool.warm_count,
        cold_count: pool.cold_count,
        max_instances: pool.max_instances,
        max_concurrent: pool.max_concurrent,
        health_check_interval: pool.health_check_interval,
        idle_timeout: pool.idle_timeout(),
        warmup_time: pool.warmup_time,
        service_port: config.vm.service_port,
        region: config.cloud.region.clone(),
        ami_id: config.cloud.ami_id.clone(),
        default_instance_type: pool.default_instance_type.clone(),
    }
}

async fn shell(config: &config::Ssh) -> anyhow::Result<Option<Arc<dyn ssh::Connector>>> {
    let connector = connector(config).await?;
    Ok(connector.map(|connector| Arc::new(connector) as Arc<dyn ssh::Connector>))
}

async fn connector(config: &config::Ssh) -> anyhow::Result<Option<ssh::RusshConnector>> {
    if !config.enabled {
        return Ok(None);
    }
    let key = key_source(config).await?;
    let host_keys = match config.host_keys {
        config::HostKeys::Pin => ssh::HostKeyPolicy::PinOnFirstUse {
            store: config.pins_path.clone(),
        },
        config::HostKeys::KnownHosts => {
            let path = config.known_hosts_path.clone();
            let path = path.context("ssh.host_keys = \"known_hosts\" needs ssh.known_hosts_path")?;
            ssh::HostKeyPolicy::KnownHosts { path }
        }
        config::HostKeys::Authority => {
            let path = config.host_ca_path.clone();
            let path = path.context("ssh.host_keys = \"ca\" needs ssh.host_ca_path")?;
            ssh::HostKeyPolicy::Authority { path }
        }
    };
    let connector = ssh::RusshConnector::new(ssh::Config {
        user: config.user.clone(),
        key,
        key_passphrase: config.key_passphrase_path.clone(),
        host_keys,
        keep_alive_interval: config.keepalive,
        keep_alive_max: KEEP_ALIVE_MAX,
    });
    Ok(Some(connector))
}

/// The configuration was checked: there is one source at most.
async fn key_source(config: &config::Ssh) -> anyhow::Result<ssh::KeySource> {
    if let Some(path) = &config.key_path {
        Ok(ssh::KeySource::File(path.clone()))
    } else if let Some(given) = &config.key_base64 {
        Ok(ssh::KeySource::Given(given.clone()))
    } else if let Some(arn) = &config.key_secret_arn {
        Ok(ssh::KeySource::Stored {
            store: Box::pin(secret_store(arn.clone())).await?,
            refresh: config.key_refresh,
        })
    } else {
        anyhow::bail!("ssh.enabled = true needs ssh.key_path: the private key's file")
    }
}

#[cfg(feature = "secrets-manager")]
async fn secret_store(arn: String) -> anyhow::Result<Arc<dyn SecretStore>> {
    use crate::infra::secrets::aws::{Config, StoredSecret};
    let config = Config {
        arn,
        endpoint_url: None,
        access_key: None,
    };
    Ok(Arc::new(StoredSecret::new(config).await))
}

#[cfg(not(feature = "secrets-manager"))]
#[expect(clippy::unused_async, reason = "with the adapter it does wait")]
async fn secret_store(_: String) -> anyhow::Result<Arc<dyn SecretStore>> {
    anyhow::bail!(WITHOUT_SECRETS_MANAGER)
}

/// Unanswered keep-alives after which a connection is given up; OpenSSH's own `ServerAliveCountMax`.
const KEEP_ALIVE_MAX: usize = 3;

fn rest_config(config: &Config, url: String) -> rest::Config {
    let cloud = &config.cloud;
    rest::Config {
        connect_timeout: cloud.connect_timeout,
        read_timeout: cloud.read_timeout,
        request_timeout: cloud.attempt_timeout,
        retries: cloud.attempts.saturating_sub(1) as usize,
        retry_delay: cloud.backoff_initial,
        ..rest::Config::new(url, config.pool.project.clone())
    }
}

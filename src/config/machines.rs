//! The far side: the cloud, the machines in it, and what happens when one of them fails.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::domain::studio::Secret;
use crate::domain::unix::{AbsolutePath, UnitName};

use super::reader::{Choice, Reader, Section};
use super::server::{any, section};
use super::span::{mins, ms, secs};

/// The cloud that owns the instances.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cloud {
    pub provider: Provider,
    pub region: String,
    /// Another endpoint than the region's own.
    pub endpoint_url: Option<String>,
    /// Which of a VM's addresses the coordinator talks to.
    pub address: Address,
    /// Between two listings of all instances.
    pub sweep_interval: Duration,
    /// Image to launch; without one nothing is launched.
    pub ami_id: Option<String>,
    pub security_group_id: Option<String>,
    pub subnet_id: Option<String>,
    /// See [`super::Config::key_pair_name`] for its default.
    pub key_pair_name: Option<String>,
    pub connect_timeout: Duration,
    pub read_timeout: Duration,
    /// Limit on one attempt of a call.
    pub attempt_timeout: Duration,
    /// Limit on a call, all attempts together.
    pub operation_timeout: Duration,
    /// Attempts of a call, the first included.
    pub attempts: u32,
    pub backoff_initial: Duration,
    pub backoff_max: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Provider {
    /// Amazon EC2, or what speaks its API at `endpoint_url`.
    Ec2,
    /// The simulator's cloud over HTTP, at `endpoint_url`.
    Rest,
}

impl Choice for Provider {
    const ALL: &'static [(&'static str, Self)] = &[("ec2", Self::Ec2), ("rest", Self::Rest)];
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Address {
    Public,
    Private,
}

impl Choice for Address {
    const ALL: &'static [(&'static str, Self)] = &[("public", Self::Public), ("private", Self::Private)];
}

section!("cloud" => Cloud {
    provider: choice(Provider::Ec2),
    region: text("us-east-1", any),
    endpoint_url: url_opt(),
    address: choice(Address::Public),
    sweep_interval: span(secs(5), ms(100)..=mins(10)),
    ami_id: text_opt(),
    security_group_id: text_opt(),
    subnet_id: text_opt(),
    key_pair_name: text_opt(),
    connect_timeout: span(secs(3), ms(100)..=mins(1)),
    read_timeout: span(secs(10), ms(100)..=mins(5)),
    attempt_timeout: span(secs(15), ms(100)..=mins(5)),
    operation_timeout: span(secs(45), ms(100)..=mins(15)),
    attempts: whole(3, 1..=10),
    backoff_initial: span(secs(1), ms(10)..=mins(1)),
    backoff_max: span(secs(10), ms(10)..=mins(5)),
});

/// What listens on a VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vm {
    /// TCP port of the show server.
    pub service_port: u16,
    /// TCP port of obs-websocket.
    pub obs_port: u16,
    pub ssh_port: u16,
    /// Tell the show server which show it serves.
    pub notify_show_server: bool,
    /// The systemd unit of the virtual display.
    pub display_unit: UnitName,
    /// The systemd unit of OBS.
    pub obs_unit: UnitName,
    /// The systemd unit of the show server.
    pub show_server_unit: UnitName,
    /// The systemd unit of the Nimble streamer.
    pub nimble_unit: UnitName,
    /// Name of the show server's process where it runs under PM2 instead of its unit.
    pub pm2_process: String,
    /// The show server's checkout; `{project}` stands for [`super::Pool::project`].
    pub checkout_path: String,
    /// OBS's own configuration folder.
    pub obs_config_path: String,
    /// What OBS's configuration is reset to.
    pub obs_template_path: String,
    /// Where OBS puts its recordings.
    pub recordings_path: String,
}

section!("vm" => Vm {
    service_port: whole(3003, 1..=65_535),
    obs_port: whole(4455, 1..=65_535),
    ssh_port: whole(22, 1..=65_535),
    notify_show_server: flag(true),
    display_unit: unit("xvfb"),
    obs_unit: unit("obs-headless"),
    show_server_unit: unit("show-server"),
    nimble_unit: unit("nimble"),
    pm2_process: text("obs-vm-server", process),
    checkout_path: text("/home/ubuntu/{project}", remote_path),
    obs_config_path: text("/home/ubuntu/.config/obs-studio", remote_path),
    obs_template_path: text("/home/ubuntu/obs-config-template", remote_path),
    recordings_path: text("/home/ubuntu/recordings", remote_path),
});

impl Vm {
    /// A folder of [`Ssh::file_roots`] with the key in braces that it may begin with filled in.
    pub(super) fn filled_in(&self, root: &str) -> String {
        let folders = [
            ("{recordings_path}", &self.recordings_path),
            ("{obs_template_path}", &self.obs_template_path),
            ("{obs_config_path}", &self.obs_config_path),
            ("{checkout_path}", &self.checkout_path),
        ];
        let named = folders.into_iter().find_map(|(name, folder)| {
            let below = root.strip_prefix(name)?;
            let is_whole = below.is_empty() || below.starts_with('/');
            is_whole.then(|| format!("{folder}{below}"))
        });
        named.unwrap_or_else(|| root.to_owned())
    }
}

/// It ends up in commands on a VM, so it is held to the same characters.
fn process(text: &str) -> Result<(), String> {
    UnitName::new(text)
        .map(drop)
        .map_err(|error| format!("a process's name with the characters of a unit's: {error}"))
}

fn remote_path(text: &str) -> Result<(), String> {
    AbsolutePath::new(text)
        .map(drop)
        .map_err(|error| format!("an absolute path on the VM: {error}"))
}

/// Asking a VM's show server how it is. The interval of a VM that is not on air is
/// [`super::Pool::health_check_interval`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Probe {
    pub interval_on_air: Duration,
    pub deadline: Duration,
    pub deadline_on_air: Duration,
    /// Failures in a row until a VM counts as unhealthy.
    pub fail_threshold: u32,
    /// Successes in a row until it counts as healthy again.
    pub recover_threshold: u32,
}

section!("probe" => Probe {
    interval_on_air: span(secs(1), ms(50)..=mins(1)),
    deadline: span(secs(5), ms(50)..=mins(1)),
    deadline_on_air: span(secs(1), ms(50)..=mins(1)),
    fail_threshold: whole(3, 1..=100),
    recover_threshold: whole(2, 1..=100),
});

/// The link to a VM's OBS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Obs {
    pub enabled: bool,
    pub password: Option<Secret>,
    /// File the password was or would be read from.
    pub password_file: Option<PathBuf>,
    pub via: ObsVia,
    /// Where a VM's SSH server finds its studio; `None` is the VM's own address.
    pub tunnel_address: Option<IpAddr>,
    /// Limit on connecting and identifying.
    pub connect_deadline: Duration,
    /// Limit on each request.
    pub call_deadline: Duration,
    /// Between two looks at the stream output.
    pub poll: Duration,
    pub poll_on_air: Duration,
    pub reconnect_initial: Duration,
    pub reconnect_max: Duration,
    /// Quiet time after a change before the studio is captured.
    pub capture_debounce: Duration,
    /// Between two captures of a studio that reports no change.
    pub capture_interval: Duration,
    pub restore: ObsRestore,
}

impl Obs {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let enabled = section.flag("enabled", true);
        let (password, password_file) = section.secret(
            "password",
            "OBS_WEBSOCKET_PASSWORD",
            "text without control characters",
            |text| !text.chars().any(char::is_control),
        );
        Self {
            enabled,
            password,
            password_file,
            via: section.choice("via", ObsVia::Auto),
            tunnel_address: tunnel_address(section),
            connect_deadline: section.span("connect_deadline", secs(5), ms(50)..=mins(1)),
            call_deadline: section.span("call_deadline", secs(2), ms(50)..=mins(1)),
            poll: section.span("poll", secs(5), ms(50)..=mins(10)),
            poll_on_air: section.span("poll_on_air", ms(250), ms(20)..=mins(1)),
            reconnect_initial: section.span("reconnect_initial", ms(100), ms(10)..=mins(1)),
            reconnect_max: section.span("reconnect_max", secs(5), ms(10)..=mins(10)),
            capture_debounce: section.span("capture_debounce", ms(500), ms(10)..=mins(1)),
            capture_interval: section.span("capture_interval", secs(30), ms(100)..=mins(60)),
            restore: section.choice("restore", ObsRestore::Auto),
        }
    }
}

impl Default for Obs {
    fn default() -> Self {
        Self::read(&mut Reader::default().section("obs"))
    }
}

/// How a studio is reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ObsVia {
    /// Over SSH where there is SSH, else directly.
    Auto,
    /// Through the VM's SSH server: its studio listens on localhost alone.
    Ssh,
    /// At the VM's address, for private networks.
    Direct,
}

impl Choice for ObsVia {
    const ALL: &'static [(&'static str, Self)] =
        &[("auto", Self::Auto), ("ssh", Self::Ssh), ("direct", Self::Direct)];
}

/// How a studio is made equal to a captured one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ObsRestore {
    /// From a scene collection's file where that is needed or faster, else by requests.
    Auto,
    /// Request by request.
    Requests,
    /// From a scene collection's file.
    File,
}

impl Choice for ObsRestore {
    const ALL: &'static [(&'static str, Self)] = &[
        ("auto", Self::Auto),
        ("requests", Self::Requests),
        ("file", Self::File),
    ];
}

/// The VM's own address in [`Obs::tunnel_address`].
const THE_VM: &str = "vm";

fn tunnel_address(section: &mut Section<'_>) -> Option<IpAddr> {
    let text = section.text("tunnel_address", "127.0.0.1", |text| {
        if text == THE_VM || text.parse::<IpAddr>().is_ok() {
            Ok(())
        } else {
            Err(format!("an IP address, or {THE_VM:?}"))
        }
    });
    text.parse().ok()
}

/// The SSH link to a VM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ssh {
    /// Defaults to whether there is a key.
    pub enabled: bool,
    pub user: String,
    /// File of the private key.
    pub key_path: Option<PathBuf>,
    /// The private key itself in base64, from the environment.
    pub key_base64: Option<Secret>,
    /// The secret in AWS Secrets Manager that holds the private key.
    pub key_secret_arn: Option<String>,
    /// Between two readings of that secret.
    pub key_refresh: Duration,
    /// File of the passphrase that protects the key.
    pub key_passphrase_path: Option<PathBuf>,
    pub host_keys: HostKeys,
    /// File of pinned host keys.
    pub pins_path: PathBuf,
    /// In OpenSSH's format; needed for [`HostKeys::KnownHosts`].
    pub known_hosts_path: Option<PathBuf>,
    /// Public keys of authorities; needed for [`HostKeys::Authority`].
    pub host_ca_path: Option<PathBuf>,
    /// Limit on connecting and authenticating.
    pub connect_deadline: Duration,
    /// Between two round trips on an idle connection.
    pub keepalive: Duration,
    pub keepalive_on_air: Duration,
    /// Limit on one such round trip.
    pub keepalive_deadline: Duration,
    /// A file of operations over the built-in ones.
    pub operations_path: Option<PathBuf>,
    /// Let administrators run command lines of their own.
    pub allow_free_commands: bool,
    /// Executions at once on one VM.
    pub executions_per_vm_max: usize,
    /// Executions at once on all VMs.
    pub executions_max: usize,
    /// Terminals among them.
    pub terminals_max: usize,
    /// Bytes of each output stream of an execution that are passed on.
    pub output_bytes_max: usize,
    /// Until a terminal in which nothing is typed is closed.
    pub terminal_idle: Duration,
    /// Folders on a VM below which files may be moved: recordings and OBS's logs from it, uploads to `/tmp`. A folder
    /// whose files are run (the checkout) or hold stream keys (OBS's configuration) is among them only if it is named.
    /// See [`super::Config::file_roots`] for what stands in braces.
    pub file_roots: Vec<String>,
    /// Most bytes of a file that is put on a VM.
    pub upload_bytes_max: u64,
    /// Until a transfer in which nothing moves is given up.
    pub transfer_stall: Duration,
}

/// Whether a server is the one it says it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostKeys {
    /// Trust an instance's first key, refuse another one later.
    Pin,
    /// Trust only what is listed.
    KnownHosts,
    /// Trust only what an authority vouches for.
    Authority,
}

impl Choice for HostKeys {
    const ALL: &'static [(&'static str, Self)] = &[
        ("pin", Self::Pin),
        ("known_hosts", Self::KnownHosts),
        ("ca", Self::Authority),
    ];
}

impl Ssh {
    pub(super) fn read(section: &mut Section<'_>) -> Self {
        let key_path = section.path_opt("key_path");
        let key_base64 = section.secret_variable("key_base64", "VM_SSH_KEY_BASE64", "base64", is_base64);
        let key_secret_arn = section.secret_arn_opt("key_secret_arn");
        let key_refresh = section.span("key_refresh", mins(5), secs(1)..=mins(60 * 24));
        let key_passphrase_path = section.path_opt("key_passphrase_path");
        let has_key = key_path.is_some() || key_base64.is_some() || key_secret_arn.is_some();
        Self {
            enabled: section.flag("enabled", has_key),
            key_path,
            key_base64,
            key_secret_arn,
            key_refresh,
            key_passphrase_path,
            user: section.text("user", "ubuntu", any),
            host_keys: section.choice("host_keys", HostKeys::Pin),
            pins_path: section.path("pins_path", "var/host_keys"),
            known_hosts_path: section.path_opt("known_hosts_path"),
            host_ca_path: section.path_opt("host_ca_path"),
            connect_deadline: section.span("connect_deadline", secs(10), ms(50)..=mins(2)),
            keepalive: section.span("keepalive", secs(15), ms(100)..=mins(10)),
            keepalive_on_air: section.span("keepalive_on_air", secs(1), ms(50)..=mins(1)),
            keepalive_deadline: section.span("keepalive_deadline", secs(1), ms(50)..=mins(1)),
            operations_path: section.path_opt("operations_path"),
            allow_free_commands: section.flag("allow_free_commands", false),
            executions_per_vm_max: section.whole("executions_per_vm_max", 3, 1..=3),
            executions_max: section.whole("executions_max", 64, 1..=1_000),
            terminals_max: section.whole("terminals_max", 8, 0..=100),
            output_bytes_max: section.whole("output_bytes_max", 1 << 20, 1_024..=16 << 20),
            terminal_idle: section.span("terminal_idle", mins(15), secs(1)..=mins(60 * 12)),
            file_roots: section.texts(
                "file_roots",
                &FILE_ROOTS,
                "a list of absolute paths on the VM; one may begin with {recordings_path}, {obs_template_path}, \
                 {obs_config_path} or {checkout_path}",
                file_root,
            ),
            upload_bytes_max: section.whole("upload_bytes_max", 1 << 30, 1_024..=1 << 40),
            transfer_stall: section.span("transfer_stall", secs(30), ms(100)..=mins(10)),
        }
    }
}

/// Nothing that a VM runs or that holds a secret: OBS's configuration has the stream key in clear and scripts that OBS
/// runs, the template becomes that configuration, and whoever writes to the checkout writes the show server.
const FILE_ROOTS: [&str; 3] = ["{recordings_path}", "{obs_config_path}/logs", "/tmp"];

/// Whether it is a path, once what stands in braces is filled in.
fn file_root(root: &str) -> bool {
    remote_path(&Vm::default().filled_in(root)).is_ok()
}

/// Whether it can be one; what it holds is for whoever reads the key.
fn is_base64(text: &str) -> bool {
    text.chars()
        .all(|c| c.is_ascii_alphanumeric() || c.is_ascii_whitespace() || matches!(c, '+' | '/' | '='))
}

impl Ssh {
    /// The keys that say where the private key comes from, of those that are set.
    #[must_use]
    pub fn key_sources(&self) -> Vec<&'static str> {
        let sources = [
            ("ssh.key_path", self.key_path.is_some()),
            ("ssh.key_base64", self.key_base64.is_some()),
            ("ssh.key_secret_arn", self.key_secret_arn.is_some()),
        ];
        let set = sources.into_iter().filter(|(_, is_set)| *is_set);
        set.map(|(key, _)| key).collect()
    }
}

impl Default for Ssh {
    fn default() -> Self {
        Self::read(&mut Reader::default().section("ssh"))
    }
}

/// Putting another VM on air.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failover {
    pub enabled: bool,
    /// Time without rising output bytes, on air, until the output counts as silent.
    pub silence_limit: Duration,
    /// Time a lost studio link has to come back before the studio counts as lost.
    pub studio_grace: Duration,
    /// Limit on fencing the old VM, by whatever means.
    pub fence_deadline: Duration,
    /// Of that, for stopping its stream over OBS.
    pub fence_obs_deadline: Duration,
    /// Of that, for stopping OBS over SSH.
    pub fence_ssh_deadline: Duration,
    pub restore_deadline: Duration,
    /// Limit on output bytes rising on the new VM.
    pub verify_deadline: Duration,
    /// VMs that one show may be moved to within `cap_window`; after that it is held for an operator.
    pub cap: u32,
    pub cap_window: Duration,
    /// Limit on asking whether the ingest is there at all.
    pub ingest_check_deadline: Duration,
}

section!("failover" => Failover {
    enabled: flag(true),
    silence_limit: span(secs(3), ms(100)..=mins(5)),
    studio_grace: span(ms(200), Duration::ZERO..=mins(1)),
    fence_deadline: span(secs(60), ms(100)..=mins(10)),
    fence_obs_deadline: span(secs(1), ms(50)..=mins(1)),
    fence_ssh_deadline: span(secs(2), ms(50)..=mins(1)),
    restore_deadline: span(secs(10), ms(100)..=mins(5)),
    verify_deadline: span(secs(10), ms(100)..=mins(5)),
    cap: whole(3, 1..=1000),
    cap_window: span(mins(10), secs(1)..=mins(1440)),
    ingest_check_deadline: span(secs(2), ms(50)..=mins(1)),
});

//! What a show does to machines. Each is idempotent, bounded, and runs in a task; none decides anything.

use std::sync::Arc;
use std::time::Duration;

use super::release::Quiet;
use crate::actors::context::{Context, FailoverOptions, ObsVia};
use crate::actors::task::{self, Unended};
use crate::domain::configuration::Configuration;
use crate::domain::destination::StreamTarget;
use crate::domain::failover::Fence;
use crate::domain::failover::verdict::{CloudSign, Sign};
use crate::domain::ids::{ShowId, VmId};
use crate::domain::show::Show;
use crate::domain::studio::{MadeBy, Studio, without_secrets};
use crate::domain::time::Timestamp;
use crate::domain::vm::{Power, Status};
use crate::infra::obs;
use crate::infra::ssh::{Exec, Exit, Session as Shell};
use crate::infra::template::Stream;

/// How often output bytes are read while waiting for them to rise.
const OUTPUT_POLL: Duration = Duration::from_millis(40);
/// Output kept of commands whose exit status is all that counts.
const OUTPUT_BYTES_MAX: usize = 4 * 1024;
/// Limit on stopping the stream of a VM that is being released.
const CLEAN: Duration = Duration::from_secs(15);
/// RTMP's registered port.
const RTMP_PORT: u16 = 1935;

/// A session with a VM's studio: the link's, else one of our own.
async fn studio(ctx: &Context, vm: &VmId) -> Result<Arc<dyn obs::Session>, String> {
    if let Some(session) = ctx.machines.studio(vm).await {
        return Ok(session);
    }
    let connector = ctx
        .world
        .obs
        .as_ref()
        .ok_or("there is no connection to studios configured")?;
    let state = ctx.state();
    let machine = state.vm(vm).ok_or("the VM has left the pool")?;
    let ip = ctx.ip_of(&machine.instance).ok_or("the VM has no address")?;
    let shell = match ctx.options.obs.via {
        ObsVia::Direct => None,
        ObsVia::Ssh { .. } => shell(ctx, vm).await,
    };
    match connector.connect(&ctx.obs_endpoint(ip, shell)).await {
        Ok((session, _)) => Ok(session),
        Err(error) => Err(format!("its studio cannot be reached: {error}")),
    }
}

/// The SSH session of a VM. One that is being opened is waited for, in the time that the caller has: just after this
/// coordinator has started, or a connection has broken, that there is none says nothing of the machine. Ends with
/// the first word on it, good or bad.
pub(super) async fn shell(ctx: &Context, vm: &VmId) -> Option<Arc<dyn Shell>> {
    let mut shells = ctx.machines.shells(vm).await?;
    let now = shells.borrow_and_update().clone();
    if now.is_some() || !is_shell_to_come(ctx, vm) {
        return now;
    }
    shells.changed().await.ok()?;
    let then = shells.borrow();
    then.clone()
}

/// Whether an SSH session may be there in a moment: the machine runs, as far as is known, and has not refused one, and
/// nothing here keeps it from being opened.
fn is_shell_to_come(ctx: &Context, vm: &VmId) -> bool {
    let state = ctx.state();
    let runs = state
        .vm(vm)
        .is_some_and(|vm| matches!(vm.power, Power::Booting | Power::Ready));
    let seen = ctx.board.latest(vm);
    let is_lost = matches!(seen.signals.ssh, Sign::Bad { .. })
        || matches!(seen.signals.cloud, CloudSign::Down { .. })
        || seen.ssh_fails_here;
    ctx.world.ssh.is_some() && runs && !is_lost
}

pub async fn stop_stream(ctx: &Context, vm: &VmId) -> Result<(), String> {
    let studio = studio(ctx, vm).await?;
    studio
        .stop_stream()
        .await
        .map_err(|error| format!("its stream could not be stopped: {error}"))
}

/// Stops the stream of a VM and starts it, without waiting for bytes.
pub async fn restart_stream(ctx: &Context, vm: &VmId) -> Result<(), String> {
    stop_stream(ctx, vm).await?;
    let started = studio(ctx, vm).await?.start_stream().await;
    started.map_err(|error| format!("its stream could not be started: {error}"))
}

/// Makes certain that a VM publishes nothing: asks its studio to stop; if that does not answer, kills it; if
/// the machine does not answer, has the cloud switch it off and waits until it is. A channel that is known to be
/// silent is not waited for again.
pub async fn fence(ctx: &Context, vm: &VmId) -> Result<Fence, String> {
    let state = ctx.state();
    let Some(machine) = state.vm(vm) else {
        return Ok(Fence::MachineOff);
    };
    let options = &ctx.options.failover;
    if machine.power == Power::Stopped {
        // The ledger has it from the cloud, by this machine's id, that it is off. Somebody may have started it
        // since, so the cloud is asked once more; if it does not answer, its last word stands.
        let asked = ctx.world.cloud.describe(machine.instance_id());
        match tokio::time::timeout(options.fence_obs_deadline, asked).await {
            Ok(Ok(Some(seen))) if !seen.state.is_off() => {
                tracing::warn!(%vm, state = seen.state.as_str(), "it was off and is not any more");
            }
            Ok(Ok(Some(_) | None) | Err(_)) | Err(_) => return Ok(Fence::MachineOff),
        }
    }
    let signals = ctx.board.latest(vm).signals;
    if !signals.obs.is_silent() {
        let limit = options.fence_obs_deadline;
        let stop = || within(limit, "stopping its stream", stop_stream(ctx, vm));
        match ctx.unstalled(stop).await {
            Ok(()) => return Ok(Fence::StreamStopped),
            Err(error) => tracing::info!(%vm, error, "not fenced through its studio; killing the studio"),
        }
    }
    if !signals.ssh.is_silent() {
        let limit = options.fence_ssh_deadline;
        let kill = || within(limit, "killing its studio", kill_studio(ctx, vm));
        match ctx.unstalled(kill).await {
            Ok(()) => return Ok(Fence::StudioKilled),
            Err(error) => tracing::info!(%vm, error, "not fenced over SSH; cutting the machine's power"),
        }
    }
    match ctx
        .unstalled(|| ctx.machines.cut_power(vm, cut_limit(options)))
        .await
    {
        Ok(()) => Ok(Fence::MachineOff),
        Err(error) => Err(format!("{vm} could not be fenced: {error}")),
    }
}

/// The longest that [`silence`] takes: its studio's time, then every way of [`fence`], after the cloud was asked.
pub fn silence_limit(options: &FailoverOptions) -> Duration {
    CLEAN + 2 * options.fence_obs_deadline + options.fence_ssh_deadline + cut_limit(options)
}

/// Limit on cutting a machine's power, the cloud's word on it included.
fn cut_limit(options: &FailoverOptions) -> Duration {
    options.fence_deadline + Duration::from_secs(1)
}

/// Ends whatever a released VM still sends. One that answers is given the time that OBS needs to end a stream;
/// one that does not and may be publishing is fenced, and is not fit for the next show as it is.
///
/// # Errors
/// Why it may still be publishing.
pub async fn silence(ctx: &Context, vm: &VmId, may_publish: bool) -> Result<Quiet, String> {
    let state = ctx.state();
    let machine = state.vm(vm);
    let usable = machine.is_some_and(|vm| vm.power == Power::Ready && vm.fault.is_none());
    let output = ctx.board.latest(vm).output;
    if !may_publish && !output.is_some_and(|output| output.active) {
        let (how, unfit) = (None, None);
        return Ok(Quiet { how, unfit });
    }
    let mut unfit = None;
    if usable {
        let stop = || within(CLEAN, "stopping its stream", stop_stream(ctx, vm));
        match ctx.unstalled(stop).await {
            Ok(()) => {
                let (how, unfit) = (may_publish.then_some(Fence::StreamStopped), None);
                return Ok(Quiet { how, unfit });
            }
            Err(why) => unfit = Some(why),
        }
    }
    let how = if may_publish {
        Some(fence(ctx, vm).await?)
    } else {
        None
    };
    Ok(Quiet { how, unfit })
}

pub(super) async fn within<T>(
    limit: Duration,
    what: &str,
    work: impl Future<Output = Result<T, String>>,
) -> Result<T, String> {
    match task::ended(limit, work).await {
        Ok(result) => result,
        Err(Unended::TooLong(limit)) => Err(format!("{what} took longer than {limit:?}")),
        Err(why @ Unended::Panicked) => Err(format!("{what}: {why}")),
    }
}

/// Kills every OBS process there is. `pkill` answers 0 if it killed some (pkill(1)): none that ran before is
/// left then, and one started after does not stream by itself. Its 1, for none found, is also sudo's word for
/// having run nothing (sudo(8)); whether there is one, `pgrep` tells without sudo.
async fn kill_studio(ctx: &Context, vm: &VmId) -> Result<(), String> {
    let shell = shell(ctx, vm).await.ok_or("there is no SSH session")?;
    let limit = ctx.options.failover.fence_ssh_deadline;
    let kill = ["sudo", "-n", "pkill", "-KILL", "-x", "obs"];
    let killed = run(shell.as_ref(), &kill, limit).await?;
    if killed == Exit::Status(0) {
        return Ok(());
    }
    match find_studio(shell.as_ref(), limit).await? {
        Exit::Status(1) => Ok(()),
        found @ (Exit::Status(_) | Exit::Signal(_) | Exit::Unknown) => {
            Err(format!("pkill ended with {killed:?}, pgrep with {found:?}"))
        }
    }
}

/// 0: it runs, answering or not; 1: it does not (pgrep(1)).
pub(super) async fn find_studio(shell: &dyn Shell, limit: Duration) -> Result<Exit, String> {
    run(shell, &["pgrep", "-x", "obs"], limit).await
}

async fn run(shell: &dyn Shell, words: &[&str], deadline: Duration) -> Result<Exit, String> {
    let exec = Exec {
        argv: words.iter().map(|word| (*word).to_owned()).collect(),
        deadline,
        output_bytes_max: OUTPUT_BYTES_MAX,
    };
    shell
        .exec(&exec)
        .await
        .map(|finished| finished.exit)
        .map_err(|error| error.to_string())
}

/// Makes a VM's studio equal to the capture, or makes it from the configuration, and says how, and what could not be
/// made equal.
pub async fn restore(ctx: &Context, vm: &VmId, show: &Show) -> Result<Restoring, String> {
    let Some(want) = wanted(ctx, show)? else {
        return Ok(Restoring {
            by: None,
            differences: vec!["nothing had been captured: the studio is as it was".to_owned()],
        });
    };
    let studio = studio(ctx, vm).await?;
    let means = ctx.obs_means(ctx.machines.shell(vm).await);
    let restored = studio.restore(&want, &means).await;
    let restored = restored.map_err(|error| error.to_string())?;
    Ok(Restoring {
        by: Some(restored.by),
        differences: restored.differences,
    })
}

/// How a studio was made.
pub struct Restoring {
    /// `None`: there was nothing to make it from.
    pub by: Option<MadeBy>,
    /// What could not be made equal, one sentence each.
    pub differences: Vec<String>,
}

/// The studio that a show is to have: the one captured, else the one that its configuration describes, if any.
///
/// # Errors
/// Why it cannot be had, on whatever VM: the template is gone, or the stream key cannot be read. Without its key a show
/// must not stream: the studio that is to take it over may still have another's.
pub fn wanted(ctx: &Context, show: &Show) -> Result<Option<Arc<Studio>>, String> {
    let studio = match (&show.studio, &show.configuration) {
        (Some(captured), _) => Arc::clone(captured),
        (None, Some(configuration)) => Arc::new(configured(ctx, &show.id, configuration)?),
        (None, None) => return Ok(None),
    };
    let key = studio.stream.as_ref().and_then(|stream| stream.key.as_ref());
    match key.map(|key| ctx.world.vault.unseal(key)) {
        None | Some(Ok(_)) => Ok(Some(studio)),
        Some(Err(locked)) => Err(format!("its stream key cannot be read: {locked}")),
    }
}

/// The studio that a configuration describes.
fn configured(ctx: &Context, show: &ShowId, configuration: &Configuration) -> Result<Studio, String> {
    let name = &configuration.template;
    let template = ctx.world.templates.get(name);
    let template = template.ok_or_else(|| format!("there is no template {name:?} any more"))?;
    let rendered = template.render_text(show.as_str(), &configuration.variables, stream_of(configuration));
    rendered.map_err(|error| format!("its configuration does not fit the template any more: {error}"))
}

/// Where a configuration streams to.
pub fn stream_of(configuration: &Configuration) -> Stream {
    Stream {
        server: configuration.stream_server.clone(),
        key: configuration.stream_key.clone(),
    }
}

/// Starts the stream and returns when its output bytes rise.
///
/// # Errors
/// Why they do not, and where they were to go: that is what there is to be mended most often.
pub async fn publish(ctx: &Context, vm: &VmId, show: &Show) -> Result<Timestamp, String> {
    let limit = ctx.options.failover.verify_deadline;
    let rising = ctx
        .unstalled(|| within(limit, "seeing output rise", output_rises(ctx, vm)))
        .await;
    rising.map_err(|why| match destination(show) {
        Some(destination) => format!("{why}; {destination}"),
        None => why,
    })
}

/// Where a show streams to, and what is missing of that, in a sentence. `None`: nothing is known of it.
fn destination(show: &Show) -> Option<String> {
    let StreamTarget { server, key, .. } = show.stream_target()?;
    let server = server.filter(|server| !server.is_empty());
    Some(match (server.map(without_secrets), key.is_some()) {
        (Some(server), true) => format!("it streams to {server}"),
        (Some(server), false) => format!("it streams to {server}, and no stream key is set"),
        (None, true) => "no stream server is set".to_owned(),
        (None, false) => "neither a stream server nor a stream key is set".to_owned(),
    })
}

/// Starts the stream and returns when its output bytes rise. OBS goes on showing the last stream's figure
/// until the new one is connected, so the figure counts from its lowest.
async fn output_rises(ctx: &Context, vm: &VmId) -> Result<Timestamp, String> {
    let studio = studio(ctx, vm).await?;
    studio
        .start_stream()
        .await
        .map_err(|error| format!("the stream could not be started: {error}"))?;
    let mut lowest: Option<u64> = None;
    let mut was_active = false;
    loop {
        let output = studio.output().await.map_err(|error| error.to_string())?;
        if was_active && !output.active {
            return Err("the stream ended before anything was sent; does the ingest refuse it?".to_owned());
        }
        was_active |= output.active;
        if output.active && !output.reconnecting && lowest.is_some_and(|lowest| output.bytes > lowest) {
            return Ok(ctx.now());
        }
        lowest = Some(lowest.map_or(output.bytes, |lowest| lowest.min(output.bytes)));
        tokio::time::sleep(OUTPUT_POLL).await;
    }
}

pub async fn capture(ctx: &Context, vm: &VmId) -> Result<Studio, String> {
    let studio = ctx
        .machines
        .studio(vm)
        .await
        .ok_or("its studio is not connected")?;
    studio.capture().await.map_err(|error| error.to_string())
}

/// Whether another VM can open a connection to the show's ingest. `None`: nobody could be asked.
pub async fn ingest_is_reachable(ctx: &Context, show: &ShowId) -> Option<bool> {
    let state = ctx.state();
    let this = state.show(show)?;
    let captured = this.studio.as_ref().and_then(|studio| studio.stream.as_ref());
    let configured = this
        .configuration
        .as_ref()
        .and_then(|asked| asked.stream_server.clone());
    let server = captured.and_then(|stream| stream.server.clone()).or(configured)?;
    let (host, port) = ingest_address(&server)?;
    let idle = state.with_status(Status::Available);
    let busy = state
        .with_status(Status::Assigned)
        .chain(state.with_status(Status::InUse));
    let others = idle.chain(busy).filter(|vm| Some(&vm.id) != this.vm.as_ref());
    for vm in others {
        let Some(shell) = ctx.machines.shell(&vm.id).await else {
            continue;
        };
        let limit = ctx.options.failover.ingest_check_deadline;
        let seconds = limit.as_secs().max(1).to_string();
        let script = "exec 3<>/dev/tcp/\"$0\"/\"$1\"";
        let port = port.to_string();
        let words = ["timeout", &seconds, "bash", "-c", script, &host, &port];
        match run(shell.as_ref(), &words, limit + Duration::from_secs(1)).await {
            Ok(Exit::Status(0)) => return Some(true),
            // 1: bash could not connect; 124: timeout(1) ended it.
            Ok(Exit::Status(1 | 124)) => return Some(false),
            Ok(Exit::Status(_) | Exit::Signal(_) | Exit::Unknown) | Err(_) => {}
        }
    }
    None
}

/// Host and port of `rtmp://host[:port]/app`. Only what a host name or address can consist of is let through.
fn ingest_address(server: &str) -> Option<(String, u16)> {
    let rest = server.split_once("://").map_or(server, |(_, rest)| rest);
    let authority = rest.split(['/', '?']).next()?;
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) => (host, port.parse().ok()?),
        None => (authority, RTMP_PORT),
    };
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    (!host.is_empty() && host.chars().all(legal)).then(|| (host.to_owned(), port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ingests_address_is_read_from_the_stream_settings() {
        let table = [
            ("rtmp://ingest.example/live", Some(("ingest.example", 1935))),
            ("rtmp://127.0.0.1:19350/live/x?y", Some(("127.0.0.1", 19350))),
            ("rtmps://a-b.example:443/app", Some(("a-b.example", 443))),
            ("ingest.example", Some(("ingest.example", 1935))),
            ("rtmp://", None),
            ("rtmp://$(reboot)/live", None),
            ("rtmp://host:port/live", None),
        ];
        for (server, expected) in table {
            let expected = expected.map(|(host, port)| (host.to_owned(), port));
            assert_eq!(ingest_address(server), expected, "{server}");
        }
    }
}

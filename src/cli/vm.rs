//! `understudy vm`: looking at machines and working on them.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::answers::{self, Archives, Checks, Cleaning, Maintenance, Pool, Power, Services, Unarchived, Vm};
use super::archiving;
use super::client::{Call, Client};
use super::connection::Connection;
use super::failure::{Exit, Failure, Outcome};
use super::files;
use super::show::{tell, tell_lines};
use super::span;
use super::status::board;
use super::style::{self, Tone};
use super::table::{Cell, Column, Table};
use super::terminal::Terminal;
use super::work;
use crate::domain::ids::VmId;
use crate::domain::vm::Status;

#[derive(Debug, clap::Subcommand)]
pub enum VmCommand {
    /// Every VM of the pool
    List(ListArgs),
    /// Everything known about one VM
    Show(VmArgs),
    /// Start a stopped VM
    Start(VmArgs),
    /// Stop a VM that no show has
    Stop(VmArgs),
    /// Restart a VM's machine
    Reboot(RebootArgs),
    /// Terminate a VM's machine for good
    Terminate(VmArgs),
    /// Launch a new VM from the configured image
    Launch(LaunchArgs),
    /// Take a VM out of use, or give it back with --off
    Maintenance(MaintenanceArgs),
    /// Archive recordings on a VM that could not be archived when their shows were released
    Archive(VmArgs),
    /// Look at the services of a VM now, or of all; exit status 1 if one is not healthy
    Check(CheckArgs),
    /// Run an operation on a VM, or a command line of your own; its exit status becomes this one's
    Exec(work::ExecArgs),
    /// The latest lines of a log on a VM
    Logs(work::LogsArgs),
    /// How a VM's machine is: uptime, memory, disk, processor
    Info(VmArgs),
    /// How a VM's services are
    Services(VmArgs),
    /// Restart a service of a VM
    RestartService(work::RestartArgs),
    /// What is in a folder of a VM
    Files(files::FilesArgs),
    /// Put a file on a VM
    Upload(files::UploadArgs),
    /// Get a file from a VM
    Download(files::DownloadArgs),
    /// The operations that can be run on a VM
    Operations(work::OperationsArgs),
    /// What was run on VMs, by whom, and how it ended
    Executions(work::ExecutionsArgs),
}

#[derive(Debug, clap::Args)]
pub struct VmArgs {
    /// The VM
    pub vm: VmId,
    #[command(flatten)]
    pub connection: Connection,
}

#[derive(Debug, clap::Args)]
pub struct ListArgs {
    /// Only those with this status; may be given several times
    #[arg(long, value_parser = statuses())]
    pub status: Vec<String>,
    #[command(flatten)]
    pub connection: Connection,
}

#[derive(Debug, clap::Args)]
pub struct RebootArgs {
    /// The VM
    pub vm: VmId,
    /// Even while a show is on air from it
    #[arg(long)]
    pub force: bool,
    #[command(flatten)]
    pub connection: Connection,
}

#[derive(Debug, clap::Args)]
pub struct LaunchArgs {
    /// Its name in the cloud
    #[arg(long)]
    pub name: Option<String>,
    /// Another instance type than the configured one
    #[arg(long = "type", value_name = "TYPE")]
    pub instance_type: Option<String>,
    /// A tag of the instance; may be given several times
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = tag)]
    pub tags: Vec<(String, String)>,
    #[command(flatten)]
    pub connection: Connection,
}

#[derive(Debug, clap::Args)]
pub struct MaintenanceArgs {
    /// The VM
    pub vm: VmId,
    /// Give it back to the pool
    #[arg(long)]
    pub off: bool,
    /// Why, for those who look at the status
    #[arg(long, conflicts_with = "off")]
    pub reason: Option<String>,
    #[command(flatten)]
    pub connection: Connection,
}

#[derive(Debug, clap::Args)]
pub struct CheckArgs {
    /// The VM; else all of them
    pub vm: Option<VmId>,
    /// Compare the pool with the cloud first
    #[arg(long)]
    pub reconcile: bool,
    #[command(flatten)]
    pub connection: Connection,
}

fn statuses() -> clap::builder::PossibleValuesParser {
    Status::ALL.map(Status::as_str).into()
}

fn tag(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("a tag is KEY=VALUE".to_owned()),
    }
}

/// # Errors
/// What the client says.
pub async fn run(command: VmCommand, terminal: &Terminal) -> Outcome {
    match command {
        VmCommand::List(args) => list(args, terminal).await,
        VmCommand::Show(args) => show(args, terminal).await,
        VmCommand::Start(args) => power(&args, "start", json!({}), terminal).await,
        VmCommand::Stop(args) => power(&args, "stop", json!({}), terminal).await,
        VmCommand::Reboot(args) => {
            let force = json!({"force": args.force});
            let args = VmArgs {
                vm: args.vm,
                connection: args.connection,
            };
            power(&args, "reboot", force, terminal).await
        }
        VmCommand::Terminate(args) => terminate(args, terminal).await,
        VmCommand::Launch(args) => launch(args, terminal).await,
        VmCommand::Maintenance(args) => maintenance(args, terminal).await,
        VmCommand::Archive(args) => archive(args, terminal).await,
        VmCommand::Check(args) => check(args, terminal).await,
        VmCommand::Exec(args) => work::exec(args, terminal).await,
        VmCommand::Logs(args) => work::logs(args, terminal).await,
        VmCommand::Info(args) => work::info(args, terminal).await,
        VmCommand::Services(args) => work::services(args, terminal).await,
        VmCommand::RestartService(args) => work::restart_service(args, terminal).await,
        VmCommand::Files(args) => files::list(args, terminal).await,
        VmCommand::Upload(args) => files::upload(args, terminal).await,
        VmCommand::Download(args) => files::download(args, terminal).await,
        VmCommand::Operations(args) => work::operations(args, terminal).await,
        VmCommand::Executions(args) => work::executions(args, terminal).await,
    }
}

async fn list(args: ListArgs, terminal: &Terminal) -> Outcome {
    let client = Client::new(&args.connection)?;
    let answer = client.ask(Call::get(&["api", "admin", "vm-pool"])).await?;
    let wanted = |status: &str| args.status.is_empty() || args.status.iter().any(|wanted| wanted == status);
    if terminal.json {
        let mut vms = answer.body.get("vms").cloned().unwrap_or_else(|| json!([]));
        if let Value::Array(vms) = &mut vms {
            vms.retain(|vm| wanted(vm["status"].as_str().unwrap_or_default()));
        }
        terminal.print_json(&vms)?;
        return Ok(Exit::Done);
    }
    let mut pool: Pool = answer.read()?;
    pool.vms.retain(|vm| wanted(&vm.status));
    if pool.vms.is_empty() {
        terminal.note("no such VM in the pool");
        return Ok(Exit::Done);
    }
    let now = answer.date.unwrap_or_else(Timestamp::now);
    terminal.print(&board::vms(&pool, Some(now), terminal))?;
    Ok(Exit::Done)
}

async fn show(args: VmArgs, terminal: &Terminal) -> Outcome {
    let client = Client::new(&args.connection)?;
    let answer = client
        .ask(Call::get(&["api", "admin", "vm-pool", args.vm.as_str()]))
        .await?;
    if terminal.json {
        terminal.print_json(&answer.body)?;
        return Ok(Exit::Done);
    }
    let vm: Vm = answer.read()?;
    let now = answer.date.unwrap_or_else(Timestamp::now);
    terminal.print(&facts(&vm, &answer.body, now).render(terminal))?;
    Ok(Exit::Done)
}

/// What was found when it was cleaned last.
fn cleaning_in_words(cleaning: &Cleaning) -> Cell {
    let seconds = Duration::from_millis(cleaning.took).as_secs_f64();
    let mut lines = vec![format!("after show {}, {seconds:.1} s", cleaning.competition_id)];
    for finding in &cleaning.findings {
        let mark = if finding.clean { "" } else { "NOT CLEAN: " };
        lines.push(format!("{mark}{}", finding.found));
    }
    match cleaning.recordings {
        None | Some(0) => {}
        Some(1) => lines.push("1 recording stays on it".to_owned()),
        Some(recordings) => lines.push(format!("{recordings} recordings stay on it")),
    }
    Cell::lines(&lines).tone(if cleaning.clean { Tone::Plain } else { Tone::Bad })
}

/// Name and value of everything known.
fn facts(vm: &Vm, answer: &Value, now: Timestamp) -> Table {
    let mut table = Table::new([Column::new("VM"), Column::new("").flexible()]).wrapping();
    let mut fact = |name: &str, value: Option<Cell>| {
        if let Some(value) = value {
            table.row([Cell::new(name), value]);
        }
    };
    let text = |text: &Option<String>| text.as_ref().map(Cell::new);
    let when = |at: Option<Timestamp>| {
        at.map(|at| Cell::new(format!("{} ({})", span::date(at), span::ago(at, now))))
    };
    let health = vm.health_status.as_deref().unwrap_or("unknown");
    fact("id", Some(Cell::new(&vm.vm_id).tone(Tone::Strong)));
    fact(
        "status",
        Some(Cell::look(style::of_status(&vm.status), &vm.status)),
    );
    fact(
        "reason",
        text(&vm.error_reason).map(|reason| reason.tone(Tone::Bad)),
    );
    fact("show", text(&vm.assigned_to));
    fact("epoch", vm.epoch.map(|epoch| Cell::new(epoch.to_string())));
    fact("assigned by", text(&vm.assigned_by));
    fact(
        "assignments",
        vm.total_assignments.map(|count| Cell::new(count.to_string())),
    );
    fact("health", Some(Cell::new(health).tone(style::of_health(health))));
    if let Some(services) = &vm.services {
        let uptime = services
            .uptime
            .and_then(|uptime| Duration::try_from_secs_f64(uptime).ok());
        fact("services", services_in_words(services));
        fact("last error", text(&services.error));
        fact("server version", text(&services.version));
        fact("server up", uptime.map(|uptime| Cell::new(span::coarse(uptime))));
    }
    fact("checked", when(vm.last_health_check));
    fact("address", text(&vm.vm_address));
    fact("public address", vm.public_ip.map(|ip| Cell::new(ip.to_string())));
    fact(
        "private address",
        vm.private_ip.map(|ip| Cell::new(ip.to_string())),
    );
    fact("name", text(&vm.name));
    fact("instance", Some(Cell::new(&vm.instance_id)));
    fact("in the cloud", text(&vm.ec2_state));
    fact("type", text(&vm.instance_type));
    fact("zone", text(&vm.availability_zone));
    fact("launched", when(vm.launch_time));
    fact("last change", when(vm.last_state_change));
    fact(
        "not clean after",
        text(&vm.not_clean_after).map(|show| show.tone(Tone::Busy)),
    );
    fact("cleaned", vm.cleaning.as_ref().map(cleaning_in_words));
    fact("not archived", left_in_words(&vm.unarchived));
    fact("tags", tags_in_words(&answer["tags"]));
    table
}

fn left_in_words(unarchived: &[Unarchived]) -> Option<Cell> {
    let sentences: Vec<String> = unarchived.iter().map(archiving::left_in_words).collect();
    (!sentences.is_empty()).then(|| Cell::lines(&sentences).tone(Tone::Bad))
}

/// Those of which anything is known.
fn services_in_words(services: &Services) -> Option<Cell> {
    let known = [
        ("server", services.node),
        ("OBS", services.obs),
        ("NoMachine", services.nomachine),
    ];
    let word = |up| if up { "up" } else { "down" };
    let words: Vec<String> = known
        .into_iter()
        .filter_map(|(name, up)| Some(format!("{} {name} {}", style::dot(up).0, word(up?))))
        .collect();
    (!words.is_empty()).then(|| Cell::new(words.join("   ")))
}

fn tags_in_words(tags: &Value) -> Option<Cell> {
    let tag = |(key, value): (&String, &Value)| match value {
        Value::String(text) => format!("{key}={text}"),
        other => format!("{key}={other}"),
    };
    let words: Vec<String> = tags.as_object()?.iter().map(tag).collect();
    (!words.is_empty()).then(|| Cell::new(words.join(", ")))
}

async fn power(args: &VmArgs, verb: &str, body: Value, terminal: &Terminal) -> Outcome {
    let client = Client::new(&args.connection)?;
    let path = ["api", "admin", "vm-pool", args.vm.as_str(), verb];
    let answer = client.ask(Call::post(&path, body)).await?;
    let power: Power = answer.read()?;
    let mut text = of_vm(&power);
    if let Some(at) = power.estimated_ready_time.and_then(answers::instant) {
        text.push_str(&format!("; ready at about {}", span::clock(at)));
    }
    tell(terminal, &answer, &text)
}

async fn archive(args: VmArgs, terminal: &Terminal) -> Outcome {
    let client = Client::new(&args.connection)?;
    let path = ["api", "admin", "vm-pool", args.vm.as_str(), "archive"];
    let answer = client.ask(Call::post(&path, json!({}))).await?;
    let archives: Archives = answer.read()?;
    let sentences: Vec<String> = archives.unarchived.iter().map(archiving::left_in_words).collect();
    let line = |sentence: &str| format!("{}: {sentence}", archives.vm_id);
    let lines: Vec<String> = match sentences.as_slice() {
        [] => vec![line("all is archived")],
        sentences => sentences.iter().map(|sentence| line(sentence)).collect(),
    };
    terminal.note(&format!("understudy vm show {} says how it ends", archives.vm_id));
    tell_lines(terminal, &answer, &lines)
}

async fn terminate(args: VmArgs, terminal: &Terminal) -> Outcome {
    let client = Client::new(&args.connection)?;
    let path = ["api", "admin", "vm-pool", args.vm.as_str()];
    let answer = client.ask(Call::delete(&path)).await?;
    let power: Power = answer.read()?;
    tell(terminal, &answer, &of_vm(&power))
}

/// What the server says, which need not name the VM.
fn of_vm(power: &Power) -> String {
    if power.message.contains(&power.vm_id) {
        power.message.clone()
    } else {
        format!("{}: {}", power.vm_id, power.message)
    }
}

async fn launch(args: LaunchArgs, terminal: &Terminal) -> Outcome {
    let client = Client::new(&args.connection)?;
    let mut body = json!({});
    if let Some(name) = &args.name {
        body["name"] = json!(name);
    }
    if let Some(instance_type) = &args.instance_type {
        body["instanceType"] = json!(instance_type);
    }
    if !args.tags.is_empty() {
        let tags: Map<String, Value> = args
            .tags
            .iter()
            .map(|(key, value)| (key.clone(), json!(value)))
            .collect();
        body["tags"] = Value::Object(tags);
    }
    let path = ["api", "admin", "vm-pool", "launch"];
    let answer = client.ask(Call::post(&path, body)).await?;
    let power: Power = answer.read()?;
    tell(terminal, &answer, &of_vm(&power))
}

async fn maintenance(args: MaintenanceArgs, terminal: &Terminal) -> Outcome {
    let client = Client::new(&args.connection)?;
    let path = ["api", "admin", "vm-pool", args.vm.as_str(), "maintenance"];
    let mut body = json!({"enabled": !args.off});
    if let Some(reason) = &args.reason {
        body["reason"] = json!(reason);
    }
    let answer = client.ask(Call::post(&path, body)).await?;
    let now: Maintenance = answer.read()?;
    let text = format!("{} is {} now", now.vm_id, now.status.replace('_', " "));
    tell(terminal, &answer, &text)
}

async fn check(args: CheckArgs, terminal: &Terminal) -> Outcome {
    let client = Client::new(&args.connection)?;
    let mut body = json!({"reconcile": args.reconcile});
    if let Some(vm) = &args.vm {
        body["vmId"] = json!(vm);
    }
    let path = ["api", "admin", "vm-pool", "health-check"];
    let answer = client.ask(Call::post(&path, body)).await?;
    let checks: Checks = answer.read()?;
    let exit = if checks.healthy == checks.total {
        Exit::Done
    } else {
        Exit::Failed
    };
    if terminal.json {
        terminal.print_json(&answer.body)?;
        return Ok(exit);
    }
    if checks.results.is_empty() {
        return Err(Failure::new(Exit::Unknown, "there is no VM to check")
            .advice("`understudy vm launch` starts one")
            .into());
    }
    terminal.print(&results(&checks).render(terminal))?;
    terminal.note(&format!("{} of {} healthy", checks.healthy, checks.total));
    Ok(exit)
}

fn results(checks: &Checks) -> Table {
    let mut table = Table::new([
        Column::new("VM"),
        Column::new("HEALTH"),
        Column::new("SRV"),
        Column::new("OBS"),
        Column::new("NX").rank(2).optional(),
        Column::new("TOOK").right().rank(1),
        Column::new("ERROR").flexible().optional(),
    ]);
    for result in &checks.results {
        let word = if result.healthy { "healthy" } else { "unhealthy" };
        let health = result.health_status.as_deref().unwrap_or(word);
        table.row([
            Cell::new(&result.vm_id).tone(Tone::Strong),
            Cell::new(health).tone(style::of_health(health)),
            Cell::dot(result.services.node),
            Cell::dot(result.services.obs),
            result
                .services
                .nomachine
                .map_or_else(Cell::empty, |up| Cell::dot(Some(up))),
            Cell::maybe(result.response_time.map(span::step)),
            Cell::maybe(result.error.as_ref()).tone(Tone::Bad),
        ]);
    }
    table
}

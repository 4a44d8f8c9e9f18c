//! `understudy vm exec` and its like: working on a VM over SSH, through the server.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Value, json};

use super::answers::{Execution, Executions, Log, Operations, Standings};
use super::client::{Call, Client};
use super::connection::Connection;
use super::failure::{Exit, Failure, Outcome};
use super::show::tell;
use super::span;
use super::style::{self, Tone};
use super::table::{Cell, Column, Table};
use super::terminal::Terminal;
use super::vm::VmArgs;
use crate::domain::ids::VmId;

/// Longest time that a command may take, and the server's own on top.
const EXEC_LIMIT: Duration = Duration::from_secs(660);

#[derive(Debug, clap::Args)]
pub struct ExecArgs {
    /// The VM
    pub vm: VmId,
    /// An operation, such as CHECK_SERVICES (see `understudy vm operations`)
    #[arg(required_unless_present = "command", conflicts_with = "command")]
    pub operation: Option<String>,
    /// What a blank of the operation is filled in with; may be given several times
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = setting, requires = "operation")]
    pub parameters: Vec<(String, String)>,
    /// A command line for the VM's shell, where the server allows it
    #[arg(long, short = 'c', value_name = "LINE")]
    pub command: Option<String>,
    /// Folder on the VM to run the command line in
    #[arg(long, value_name = "PATH", requires = "command")]
    pub cwd: Option<String>,
    /// Run the command line as root
    #[arg(long, requires = "command")]
    pub sudo: bool,
    /// End it after this long (at most 600s)
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=600))]
    pub limit: Option<u64>,
    #[command(flatten)]
    pub connection: Connection,
}

#[derive(Debug, clap::Args)]
pub struct LogsArgs {
    /// The VM
    pub vm: VmId,
    /// A systemd unit
    #[arg(long, default_value = "show-server")]
    pub unit: String,
    /// So many of the latest lines
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub lines: u32,
    #[command(flatten)]
    pub connection: Connection,
}

#[derive(Debug, clap::Args)]
pub struct RestartArgs {
    /// The VM
    pub vm: VmId,
    /// xvfb, obs-headless, show-server or nimble
    pub service: String,
    #[command(flatten)]
    pub connection: Connection,
}

#[derive(Debug, clap::Args)]
pub struct OperationsArgs {
    #[command(flatten)]
    pub connection: Connection,
}

#[derive(Debug, clap::Args)]
pub struct ExecutionsArgs {
    /// Only those on this VM
    pub vm: Option<VmId>,
    /// So many of the latest
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=500))]
    pub limit: u32,
    #[command(flatten)]
    pub connection: Connection,
}

fn setting(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("it must be NAME=VALUE".to_owned()),
    }
}

/// A line of a streamed answer.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Said {
    execution_id: String,
    stream: Option<String>,
    data: String,
    notice: Option<String>,
    done: bool,
    code: Option<i64>,
    signal: Option<String>,
    error: Option<String>,
}

/// # Errors
/// What the client says.
pub async fn exec(args: ExecArgs, terminal: &Terminal) -> Outcome {
    let client = Client::new(&args.connection)?;
    let path = ["api", "admin", "vm-pool", args.vm.as_str(), "ssh", "exec"];
    let call = Call::post(&path, exec_body(&args));
    let mut lines = client.lines(call, EXEC_LIMIT).await?;
    let mut execution: Option<String> = None;
    let mut is_interrupted = false;
    loop {
        let line = tokio::select! {
            line = lines.next() => line?,
            Ok(()) = tokio::signal::ctrl_c() => {
                interrupt(&client, execution.as_deref(), is_interrupted, terminal).await?;
                is_interrupted = true;
                continue;
            }
        };
        let Some(line) = line else {
            return Err(
                Failure::new(Exit::Unreachable, "the answer ended before the command did")
                    .advice("it may go on: see `understudy vm executions`")
                    .into(),
            );
        };
        if terminal.json {
            terminal.print_json_line(&line)?;
        }
        let said: Said = serde_json::from_value(line).map_err(|error| {
            Failure::new(
                Exit::Unreachable,
                format!("a line of the answer cannot be understood: {error}"),
            )
            .advice("what runs there may go on: see `understudy vm executions`")
        })?;
        if !terminal.json {
            show(&said, terminal)?;
        }
        if said.done {
            return end(&said, terminal);
        }
        execution.get_or_insert(said.execution_id);
    }
}

fn exec_body(args: &ExecArgs) -> Value {
    let mut body = json!({});
    if let Some(operation) = &args.operation {
        let parameters: BTreeMap<&str, &str> = args
            .parameters
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        body["operation"] = json!(operation);
        body["parameters"] = json!(parameters);
    }
    if let Some(command) = &args.command {
        body["command"] = json!(command);
        body["sudo"] = json!(args.sudo);
        if let Some(cwd) = &args.cwd {
            body["cwd"] = json!(cwd);
        }
    }
    if let Some(limit) = args.limit {
        body["timeout"] = json!(limit * 1_000);
    }
    body
}

/// Asks the server to end it; a second time gives up waiting for that.
async fn interrupt(
    client: &Client,
    execution: Option<&str>,
    is_interrupted: bool,
    terminal: &Terminal,
) -> Result<(), Failure> {
    let (Some(execution), false) = (execution, is_interrupted) else {
        return Err(Failure::new(Exit::Failed, "interrupted")
            .advice("what was begun may go on: see `understudy vm executions`"));
    };
    terminal.note("ending it on the VM; once more leaves it to itself");
    let path = ["api", "admin", "executions", execution, "cancel"];
    // It may have ended in the meantime, and then that is what is told.
    if let Err(error) = client.send(&Call::post(&path, json!({}))).await {
        terminal.note(&format!("it could not be ended: {error}"));
    }
    Ok(())
}

/// What was printed, on the stream that it was printed to, as it is.
fn show(said: &Said, terminal: &Terminal) -> std::io::Result<()> {
    match said.stream.as_deref() {
        Some("stderr") => std::io::stderr().lock().write_all(said.data.as_bytes())?,
        Some(_) => {
            terminal.print(&said.data)?;
        }
        None => {}
    }
    if let Some(notice) = &said.notice {
        terminal.note(&format!("[{notice}]"));
    }
    Ok(())
}

fn end(said: &Said, terminal: &Terminal) -> Outcome {
    if let Some(error) = &said.error
        && !terminal.json
    {
        terminal.note(error);
    }
    if let (Some(signal), false) = (&said.signal, terminal.json) {
        terminal.note(&format!("it was ended by SIG{signal}"));
    }
    Ok(match said.code {
        Some(0) => Exit::Done,
        // A status has eight bits (wait(2)).
        Some(code) => u8::try_from(code).map_or(Exit::Failed, Exit::Remote),
        None => Exit::Failed,
    })
}

/// # Errors
/// What the client says.
pub async fn logs(args: LogsArgs, terminal: &Terminal) -> Outcome {
    let client = Client::new(&args.connection)?;
    let path = ["api", "admin", "vm-pool", args.vm.as_str(), "ssh", "logs"];
    let call = Call::get(&path)
        .with("unit", args.unit)
        .with("lines", args.lines.to_string())
        .slow();
    let answer = client.ask(call).await?;
    let log: Log = answer.read()?;
    if terminal.json {
        terminal.print_json(&answer.body)?;
    } else {
        terminal.print(&log.stdout)?;
    }
    Ok(Exit::Done)
}

/// # Errors
/// What the client says.
pub async fn info(args: VmArgs, terminal: &Terminal) -> Outcome {
    let client = Client::new(&args.connection)?;
    let path = ["api", "admin", "vm-pool", args.vm.as_str(), "system-info"];
    let answer = client.ask(Call::get(&path).slow()).await?;
    if terminal.json {
        terminal.print_json(&answer.body)?;
        return Ok(Exit::Done);
    }
    let body = &answer.body;
    let mut table = Table::new([Column::new("VM"), Column::new("").flexible()]).wrapping();
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let usage = |value: &Value, percent: &Value| {
        let (used, total, free) = (
            text(&value["used"])?,
            text(&value["total"])?,
            text(&value["free"])?,
        );
        let percent = percent
            .as_f64()
            .map(|percent| format!(" ({percent} %)"))
            .unwrap_or_default();
        Some(format!("{used} of {total} used{percent}, {free} free"))
    };
    let numbers = &body["numbers"];
    let load = numbers["load"].as_array().map(|load| {
        let words: Vec<String> = load.iter().map(ToString::to_string).collect();
        words.join(" ")
    });
    let cpu = text(&body["cpu"]).map(|busy| match numbers["cpus"].as_u64() {
        Some(cpus) => format!("{busy} of {cpus} busy"),
        None => format!("{busy} busy"),
    });
    for (name, value) in [
        ("id", text(&body["vmId"])),
        ("host name", text(&body["hostname"])),
        ("uptime", text(&body["uptime"])),
        (
            "memory",
            usage(&body["memory"], &numbers["memory"]["usedPercent"]),
        ),
        ("disk", usage(&body["disk"], &numbers["disk"]["usedPercent"])),
        ("processors", cpu),
        ("load", load),
    ] {
        table.row([Cell::new(name), Cell::new(value.as_deref().unwrap_or("unknown"))]);
    }
    terminal.print(&table.render(terminal))?;
    Ok(Exit::Done)
}

/// # Errors
/// What the client says.
pub async fn services(args: VmArgs, terminal: &Terminal) -> Outcome {
    let client = Client::new(&args.connection)?;
    let path = ["api", "admin", "vm-pool", args.vm.as_str(), "ssh", "services"];
    let answer = client.ask(Call::get(&path).slow()).await?;
    let Standings { services } = answer.read()?;
    let all_active = services.iter().all(|service| service.active);
    let exit = if all_active { Exit::Done } else { Exit::Failed };
    if terminal.json {
        terminal.print_json(&answer.body)?;
        return Ok(exit);
    }
    let mut table = Table::new([
        Column::new("SERVICE"),
        Column::new("STATUS"),
        Column::new("PID").right(),
    ]);
    for service in services {
        let tone = if service.active { Tone::Good } else { Tone::Bad };
        table.row([
            Cell::new(service.service).tone(Tone::Strong),
            Cell::new(service.status).tone(tone),
            Cell::maybe(service.pid.map(|pid| pid.to_string())),
        ]);
    }
    terminal.print(&table.render(terminal))?;
    Ok(exit)
}

/// # Errors
/// What the client says.
pub async fn restart_service(args: RestartArgs, terminal: &Terminal) -> Outcome {
    let client = Client::new(&args.connection)?;
    let path = [
        "api",
        "admin",
        "vm-pool",
        args.vm.as_str(),
        "ssh",
        "restart-service",
    ];
    let answer = client
        .ask(Call::post(&path, json!({"service": args.service})))
        .await?;
    let body = &answer.body;
    let mut status = body["status"].as_str().unwrap_or("unknown").to_owned();
    if let Some(error) = body["statusError"].as_str() {
        status = format!("{status}, since {error}");
    }
    if body["success"] == true {
        let text = format!("{} on {} was restarted: {status}", args.service, args.vm);
        return tell(terminal, &answer, &text);
    }
    let why = body["stderr"]
        .as_str()
        .and_then(|text| text.lines().last())
        .unwrap_or_default();
    let message = format!(
        "{} on {} was not restarted ({status}): {why}",
        args.service, args.vm
    );
    Err(Failure::new(Exit::Failed, style::tame(&message)).into())
}

/// # Errors
/// What the client says.
pub async fn operations(args: OperationsArgs, terminal: &Terminal) -> Outcome {
    let client = Client::new(&args.connection)?;
    let path = ["api", "admin", "vm-pool", "ssh", "operations"];
    let answer = client.ask(Call::get(&path)).await?;
    let Operations { operations } = answer.read()?;
    if terminal.json {
        terminal.print_json(&answer.body)?;
        return Ok(Exit::Done);
    }
    let mut table = Table::new([
        Column::new("OPERATION"),
        Column::new("LIMIT").right(),
        Column::new("ROOT"),
        Column::new("SET"),
        Column::new("WHAT").flexible(),
    ])
    .wrapping();
    for operation in operations {
        let names: Vec<&str> = operation.parameters.keys().map(String::as_str).collect();
        table.row([
            Cell::new(operation.id).tone(Tone::Strong),
            Cell::maybe(operation.timeout.map(span::step)),
            Cell::new(if operation.sudo { "root" } else { "" }),
            Cell::new(names.join(" ")),
            Cell::maybe(operation.description),
        ]);
    }
    terminal.print(&table.render(terminal))?;
    Ok(Exit::Done)
}

/// # Errors
/// What the client says.
pub async fn executions(args: ExecutionsArgs, terminal: &Terminal) -> Outcome {
    let client = Client::new(&args.connection)?;
    let mut call = Call::get(&["api", "admin", "executions"]).with("limit", args.limit.to_string());
    if let Some(vm) = &args.vm {
        call = call.with("vmId", vm.to_string());
    }
    let answer = client.ask(call).await?;
    let Executions { executions } = answer.read()?;
    if terminal.json {
        terminal.print_json(&answer.body)?;
        return Ok(Exit::Done);
    }
    let mut table = Table::new([
        Column::new("EXECUTION"),
        Column::new("VM"),
        Column::new("BY"),
        Column::new("BEGAN"),
        Column::new("STATE"),
        Column::new("WHAT").flexible(),
    ]);
    for execution in executions {
        let what = what(&execution);
        let (state, tone) = match execution.code {
            Some(0) => (format!("{} 0", execution.state), Tone::Good),
            Some(code) => (format!("{} {code}", execution.state), Tone::Bad),
            None => (execution.state, Tone::Plain),
        };
        table.row([
            Cell::new(execution.execution_id).tone(Tone::Strong),
            Cell::new(execution.vm_id),
            Cell::new(execution.by),
            Cell::new(execution.began_at),
            Cell::new(state).tone(tone),
            Cell::new(what),
        ]);
    }
    if table.is_empty() {
        terminal.note("nothing was run");
        return Ok(Exit::Done);
    }
    terminal.print(&table.render(terminal))?;
    Ok(Exit::Done)
}

/// An operation's id, the words of a command, or the kind and path of anything else.
fn what(execution: &Execution) -> String {
    let first = execution.commands.first();
    match (&execution.operation, first, &execution.path) {
        (Some(operation), _, _) => operation.clone(),
        (None, Some(words), _) => words.join(" "),
        (None, None, Some(path)) => format!("{} {path}", execution.kind),
        (None, None, None) => execution.kind.clone(),
    }
}

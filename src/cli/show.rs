//! What is done to a show: giving it a VM and taking it back, moving it, holding it, its stream.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::answers::{self, Assigned, Configured, Held, Moving, Released, Stream};
use super::archiving;
use super::client::{Answer, Call, Client};
use super::connection::Connection;
use super::failure::{Exit, Failure, Outcome};
use super::span;
use super::style::{self, Tone};
use super::terminal::Terminal;
use crate::domain::ids::{RequestKey, ShowId, VmId};

/// Longest time the server holds a request open.
const WAIT_MAX: Duration = Duration::from_secs(300);
/// The longest that a server can be configured to take for a release (`archive.deadline`).
const RELEASE_MAX: Duration = Duration::from_secs(24 * 60 * 60);
/// Before it is asked for again; the server waits, too.
const RELEASE_PAUSE: Duration = Duration::from_millis(500);
/// HTTP's status for what is not over.
const ACCEPTED: u16 = 202;

#[derive(Debug, clap::Args)]
pub struct AssignArgs {
    /// The show that gets a VM
    pub show: ShowId,
    /// This VM and no other
    #[arg(long, value_name = "ID")]
    pub vm: Option<VmId>,
    /// Take another if that VM is busy
    #[arg(long, requires = "vm")]
    pub fallback: bool,
    /// A VM of this region: its tag, or the beginning of its availability zone
    #[arg(long)]
    pub region: Option<String>,
    /// A VM that has this capability; may be given several times
    #[arg(long = "capability", value_name = "CAPABILITY")]
    pub capabilities: Vec<String>,
    /// Come back when the VM is ready, or after this long (at most 300s)
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "300", value_parser = wait)]
    pub wait: Option<Duration>,
    #[command(flatten)]
    pub key: Key,
    #[command(flatten)]
    pub connection: Connection,
}

#[derive(Debug, clap::Args)]
pub struct ReleaseArgs {
    /// The show whose VM is given back
    pub show: ShowId,
    /// Stop the VM afterwards instead of keeping it warm
    #[arg(long)]
    pub stop_vm: bool,
    /// Move its recordings to the archive first, and come back when they are verified there
    #[arg(long)]
    pub archive: bool,
    #[command(flatten)]
    pub key: Key,
    #[command(flatten)]
    pub connection: Connection,
}

/// What makes repeating a command safe.
#[derive(Debug, clap::Args)]
pub struct Key {
    /// Repeat an earlier command safely: a server that has carried it out answers as it did then
    #[arg(long, value_name = "KEY", help_heading = "Server")]
    pub idempotency_key: Option<RequestKey>,
}

#[derive(Debug, clap::Args)]
pub struct FailoverArgs {
    /// The show to move
    pub show: ShowId,
    /// To this VM; else to the best spare
    #[arg(long, value_name = "VM")]
    pub to: Option<VmId>,
    #[command(flatten)]
    pub connection: Connection,
}

#[derive(Debug, clap::Args)]
pub struct HoldArgs {
    /// The show to be left where it is, whatever happens
    pub show: ShowId,
    /// Let it be moved again: the same as `resume`
    #[arg(long)]
    pub off: bool,
    #[command(flatten)]
    pub connection: Connection,
}

#[derive(Debug, clap::Args)]
pub struct ShowArgs {
    /// The show
    pub show: ShowId,
    #[command(flatten)]
    pub connection: Connection,
}

#[derive(Debug, clap::Subcommand)]
pub enum ShowCommand {
    /// Put it on air: start the stream of its VM
    Start(ShowArgs),
    /// Take it off air: stop the stream; the show keeps its VM
    Stop(ShowArgs),
    /// Say what its studio is made from: template, variables and stream
    Configure(ConfigureArgs),
}

#[derive(Debug, clap::Args)]
pub struct ConfigureArgs {
    /// The show
    pub show: ShowId,
    /// TOML: `template`, `[variables]`, `[stream]` with `server` and `key`
    #[arg(long, value_name = "FILE")]
    pub file: PathBuf,
    /// Change it at once even if it is on air
    #[arg(long, conflicts_with = "later")]
    pub now: bool,
    /// Change nothing on the VM that it has: it is for its next one
    #[arg(long)]
    pub later: bool,
    #[command(flatten)]
    pub connection: Connection,
}

fn wait(text: &str) -> Result<Duration, String> {
    let span = span::parse_positive(text)?;
    if span > WAIT_MAX {
        return Err(format!("the server waits for at most {} s", WAIT_MAX.as_secs()));
    }
    Ok(span)
}

impl Key {
    /// The given one, or a new one that nobody else has.
    fn take(&self) -> String {
        match &self.idempotency_key {
            Some(key) => key.as_str().to_owned(),
            None => format!("cli-{:032x}", rand::random::<u128>()),
        }
    }
}

/// # Errors
/// What the client says.
pub async fn assign(args: AssignArgs, terminal: &Terminal) -> Outcome {
    let client = Client::new(&args.connection)?;
    let show = args.show.as_str();
    let path = ["api", "competitions", show, "vm", "assign"];
    let mut call = Call::post(&path, request(&args)).key(args.key.take());
    if let Some(wait) = args.wait {
        call = call.wait(wait);
    }
    let started = Instant::now();
    let spinner = args
        .wait
        .map(|_| spinner(terminal, format!("{show} waits for its VM")));
    let answer = client.ask(call).await;
    if let Some(spinner) = spinner {
        spinner.finish_and_clear();
    }
    let answer = answer?;
    let assigned: Assigned = answer.read()?;
    let ready = assigned.status != "starting";
    let exit = if ready || args.wait.is_none() {
        Exit::Done
    } else {
        // It was asked to be ready, and is not.
        Exit::Unavailable
    };
    if terminal.json {
        terminal.print_json(&answer.body)?;
        return Ok(exit);
    }
    let epoch = assigned
        .epoch
        .map(|epoch| format!(", epoch {epoch}"))
        .unwrap_or_default();
    let vm = terminal.paint(Tone::Strong, &style::tame(&assigned.vm_id));
    if ready {
        let address = assigned
            .vm_address
            .unwrap_or_else(|| "an address not known yet".to_owned());
        terminal.print(&format!("{show} has {vm} at {}{epoch}\n", style::tame(&address)))?;
    } else {
        let mut text = format!("{show} gets {vm}, which is starting{epoch}\n");
        if exit != Exit::Done {
            let took = span::long(started.elapsed());
            text = format!("{show} has {vm}, which is still starting after {took}{epoch}\n");
        }
        terminal.print(&text)?;
        terminal.note(&expectation(&assigned, show));
    }
    Ok(exit)
}

fn request(args: &AssignArgs) -> Value {
    let mut body = json!({});
    if let Some(vm) = &args.vm {
        body["preferredVmId"] = json!(vm);
        body["allowFallback"] = json!(args.fallback);
    }
    if let Some(region) = &args.region {
        body["region"] = json!(region);
    }
    if !args.capabilities.is_empty() {
        body["capabilities"] = json!(args.capabilities);
    }
    body
}

/// When a VM that is starting will be ready, and how to see it.
fn expectation(assigned: &Assigned, show: &str) -> String {
    let mut text = String::new();
    if let Some(at) = assigned.estimated_ready_time.and_then(answers::instant) {
        let left = Duration::try_from(at.duration_since(Timestamp::now())).unwrap_or_default();
        text.push_str(&format!(
            "ready at about {}, in {}",
            span::clock(at),
            span::long(left)
        ));
    }
    match assigned.position {
        Some(2) => text.push_str("; another show waits, too"),
        Some(position @ 3..) => text.push_str(&format!("; {} other shows wait, too", position - 1)),
        Some(0 | 1) | None => {}
    }
    if !text.is_empty() {
        text.push_str("; ");
    }
    text.push_str(&format!("follow it with `understudy status {show} --watch`"));
    text
}

/// Turns while the server is at work; only where somebody looks on.
fn spinner(terminal: &Terminal, text: String) -> ProgressBar {
    if terminal.json {
        return ProgressBar::hidden();
    }
    // It draws on standard error, and only if that is a terminal.
    let spinner = ProgressBar::new_spinner();
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {elapsed}") {
        spinner.set_style(style);
    }
    spinner.set_message(text);
    spinner.enable_steady_tick(Duration::from_millis(120));
    spinner
}

/// # Errors
/// What the client says.
pub async fn release(args: ReleaseArgs, terminal: &Terminal) -> Outcome {
    let client = Client::new(&args.connection)?;
    let show = args.show.as_str();
    let path = ["api", "competitions", show, "vm", "release"];
    let mut body = json!({});
    if args.stop_vm {
        body["stopVM"] = json!(true);
    }
    if args.archive {
        body["archiveRecordings"] = json!(true);
    }
    let call = Call::post(&path, body).key(args.key.take());
    let spinner = spinner(terminal, format!("{show} gives its VM back"));
    let released = until_released(&client, call.patient(WAIT_MAX));
    let answer = if args.archive {
        archiving::follow(&client, show, released, &spinner).await
    } else {
        released.await
    };
    spinner.finish_and_clear();
    let answer = answer?;
    let released: Released = answer.read()?;
    let mut text = match (&released.vm_id, &released.status) {
        (Some(vm), _) if released.phase.is_some() => {
            format!("{show} is still giving {vm} back; that goes on")
        }
        (Some(vm), Some(status)) => format!("{show} gave {vm} back; it is {} now", status.replace('_', " ")),
        (Some(vm), None) => format!("{show} gave {vm} back"),
        (None, _) => format!("{show} had no VM; nothing to do"),
    };
    if let Some(archive) = &released.archive {
        text = format!("{text}; {}", archiving::sentence(archive));
    }
    let told = tell(terminal, &answer, &text)?;
    // It was asked to archive, and some of it is not.
    let exit = if released.archived == Some(false) {
        Exit::Failed
    } else {
        told
    };
    for finding in released.cleaning.iter().flat_map(|cleaning| &cleaning.findings) {
        if !finding.clean {
            terminal.note(&format!("not clean: {}", finding.found));
        }
    }
    Ok(exit)
}

/// Asks until it is over: the server says after a while that it still gives the VM back, and waits again for whoever
/// repeats the request with its key.
async fn until_released(client: &Client, release: Call<'_>) -> Result<Answer, Failure> {
    let until = Instant::now() + RELEASE_MAX;
    loop {
        let answer = client.ask(release.clone()).await?;
        if answer.status != ACCEPTED || Instant::now() >= until {
            return Ok(answer);
        }
        tokio::time::sleep(RELEASE_PAUSE).await;
    }
}

/// # Errors
/// What the client says.
pub async fn failover(args: FailoverArgs, terminal: &Terminal) -> Outcome {
    let client = Client::new(&args.connection)?;
    let show = args.show.as_str();
    let path = ["api", "competitions", show, "vm", "failover"];
    let body = args.to.as_ref().map_or_else(|| json!({}), |to| json!({"to": to}));
    let answer = client.ask(Call::post(&path, body)).await?;
    let moving: Moving = answer.read()?;
    let text = match &moving.to_vm_id {
        Some(to) => format!(
            "{show} moves from {} to {to}, epoch {}",
            moving.from_vm_id, moving.epoch
        ),
        None => format!(
            "{show} leaves {} as soon as there is a spare, epoch {}",
            moving.from_vm_id, moving.epoch
        ),
    };
    let exit = tell(terminal, &answer, &text)?;
    terminal.note(&format!("see how it went with `understudy failovers {show}`"));
    Ok(exit)
}

/// # Errors
/// What the client says.
pub async fn hold(args: HoldArgs, terminal: &Terminal) -> Outcome {
    set_held(&args.show, !args.off, &args.connection, terminal).await
}

/// # Errors
/// What the client says.
pub async fn resume(args: ShowArgs, terminal: &Terminal) -> Outcome {
    set_held(&args.show, false, &args.connection, terminal).await
}

async fn set_held(show: &ShowId, held: bool, connection: &Connection, terminal: &Terminal) -> Outcome {
    let client = Client::new(connection)?;
    let path = ["api", "competitions", show.as_str(), "vm", "hold"];
    let answer = client.ask(Call::post(&path, json!({"held": held}))).await?;
    let now: Held = answer.read()?;
    let text = if now.held {
        format!("{show} is held: it is not moved unless you say so with `understudy failover {show}`")
    } else {
        format!("{show} is moved by itself again if its VM fails")
    };
    tell(terminal, &answer, &text)
}

/// # Errors
/// What the client says.
pub async fn run(command: ShowCommand, terminal: &Terminal) -> Outcome {
    match command {
        ShowCommand::Start(args) => stream(args, "start", terminal).await,
        ShowCommand::Stop(args) => stream(args, "stop", terminal).await,
        ShowCommand::Configure(args) => configure(args, terminal).await,
    }
}

async fn configure(args: ConfigureArgs, terminal: &Terminal) -> Outcome {
    let mut body = configuration(&args.file)?;
    match (args.now, args.later) {
        (true, _) => body["apply"] = json!("now"),
        (false, true) => body["apply"] = json!("later"),
        (false, false) => {}
    }
    let client = Client::new(&args.connection)?;
    let show = args.show.as_str();
    let path = ["api", "competitions", show, "show", "config"];
    let answer = client.ask(Call::put(&path, body)).await;
    let answer = answer.map_err(|failure| in_terms_of_the_file(failure, &args))?;
    let now: Configured = answer.read()?;
    let text = match (now.state.as_str(), now.vm_id) {
        ("making", Some(vm)) => format!("{show} is configured; its studio is being made on {vm}"),
        ("made", Some(vm)) if now.differences.is_empty() => {
            format!("{show} is configured as it was, on {vm}")
        }
        ("made", Some(vm)) => {
            format!(
                "{show} is configured as it was, on {vm}, except: {}",
                now.differences.join("; ")
            )
        }
        ("kept", Some(vm)) => format!("{show} is configured for its next VM; {vm} is left as it is"),
        (_, _) => format!("{show} is configured; its studio is made when it has a VM"),
    };
    tell(terminal, &answer, &text)
}

/// What a file says, as the server wants it.
///
/// # Errors
/// [`Exit::Usage`], without anything that stands in the file.
pub(super) fn configuration(file: &Path) -> Result<Value, Failure> {
    let name = file.display();
    let wrong = |why: String| Failure::new(Exit::Usage, format!("{name}: {why}"));
    let text = std::fs::read_to_string(file).map_err(|error| {
        wrong(error.to_string())
            .advice("name a file that says what a show's studio is made from: docs/show-templates.md")
    })?;
    let read: toml::Table = toml::from_str(&text).map_err(|error| {
        // The sentence alone: with its excerpt it would show the stream key.
        let why = error.message();
        match error.span() {
            Some(span) => {
                let before = text.bytes().take(span.start);
                let line = 1 + before.filter(|byte| *byte == b'\n').count();
                Failure::new(Exit::Usage, format!("{name}, line {line}: {why}"))
            }
            None => wrong(why.to_owned()),
        }
    })?;
    serde_json::to_value(read).map_err(|error| wrong(error.to_string()))
}

/// A refusal in words that whoever wrote the file and the command line can act on.
fn in_terms_of_the_file(mut failure: Failure, args: &ConfigureArgs) -> Failure {
    let detail = |name| failure.details.get(name).and_then(Value::as_str);
    let code = failure.code.as_deref();
    if code == Some("WRONG_PHASE") && detail("phase") == Some("on_air") {
        failure.message = format!("{} is on air", args.show);
        failure.advice =
            Some("change it on air with --now, or keep it for its next VM with --later".to_owned());
    } else if failure.http_status == Some(400)
        && let Some(field) = detail("field").filter(|field| *field != "compId")
    {
        let (file, why) = (args.file.display(), &failure.message);
        failure.message = if why.contains(field) {
            format!("{file}: {why}")
        } else {
            format!("{file}: {field}: {why}")
        };
    }
    failure
}

async fn stream(args: ShowArgs, verb: &str, terminal: &Terminal) -> Outcome {
    let client = Client::new(&args.connection)?;
    let show = args.show.as_str();
    let path = ["api", "competitions", show, "show", verb];
    let spinner = spinner(terminal, format!("{show}: {verb} its stream"));
    let answer = client.ask(Call::post(&path, json!({}))).await;
    spinner.finish_and_clear();
    let answer = answer?;
    let stream: Stream = answer.read()?;
    let text = if stream.on_air {
        format!("{show} is on air from {}", stream.vm_id)
    } else {
        format!("{show} is off air; it keeps {}", stream.vm_id)
    };
    tell(terminal, &answer, &text)
}

/// The answer for programs, or a sentence for people.
pub(super) fn tell(terminal: &Terminal, answer: &Answer, sentence: &str) -> Outcome {
    tell_lines(terminal, answer, &[sentence.to_owned()])
}

/// As [`tell`], in several lines.
pub(super) fn tell_lines(terminal: &Terminal, answer: &Answer, lines: &[String]) -> Outcome {
    if terminal.json {
        terminal.print_json(&answer.body)?;
    } else {
        terminal.print(&(style::tame_lines(lines) + "\n"))?;
    }
    Ok(Exit::Done)
}

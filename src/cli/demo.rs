//! `understudy demo`: a simulated pool, two shows on air, and the studio of one breaks.
//!
//! The simulated machines have well-known addresses, so there is one demonstration at a time on a computer.
//!
//! What is told is read from the ledger's feed as it happens. The coordinator is the real one; only the
//! machines are simulated ([`crate::rehearsal::stage`]).

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::{broadcast, watch};

use super::client::Client;
use super::connection::Connection;
use super::failure::{Exit, Failure, Outcome};
use super::gateway::Gateway;
use super::signals::Signals;
use super::status::{Snapshot, board};
use super::story::{Story, Teller};
use super::terminal::Terminal;
use super::{DemoArgs, logging, serve};
use crate::actors::coordinator::{Batch, Coordinator};
use crate::config::{self, Config};
use crate::domain::ids::{Seq, ShowId};
use crate::domain::show::Phase;
use crate::rehearsal::stage::{Producer, Setting, Stage};
use crate::sim::model::fault::Fault;
use crate::sim::world::WorldConfig;

/// The shows of the demonstration; the first one's studio breaks.
const SHOWS: [&str; 2] = ["gala", "finals"];
/// Longest that setting up may take on a busy machine.
const SET_UP: Duration = Duration::from_secs(60);
/// How long the shows are on air before something breaks: time to look.
const CALM: Duration = Duration::from_secs(3);
/// How long the narrator waits for what has happened to be told.
const CATCH_UP: Duration = Duration::from_secs(1);

/// # Errors
/// When the stage cannot be set: usually because something listens on an address already.
pub async fn run(args: DemoArgs, terminal: &Terminal) -> Outcome {
    let base = base_config(args.port)?;
    logging::install(&quiet_log(), terminal)?;
    // From here on a signal ends it in order: the stage's directory, with a key and a journal, goes with it.
    let mut signals = Signals::listen()?;
    let world = WorldConfig::default();
    let stage = Stage::set(Setting { world, base }).await;
    let stage = stage.map_err(|error| if_taken(error, WORLD_TAKEN))?;
    let gateway = Gateway::bind(&stage.config).map_err(|error| if_taken(error, PORT_TAKEN))?;
    let node = stage
        .coordinator(|coordinator| Some(gateway.spec(coordinator)))
        .await?;
    let coordinator = node.coordinator();
    let teller = Teller::new(Story::begin(coordinator.now()), terminal.clone(), args.quiet);
    teller.welcome(gateway.address());
    let (told, so_far) = watch::channel(Seq::default());
    let telling = tokio::spawn(tell(coordinator.feed(), teller.clone(), told));
    let narrator = Narrator {
        coordinator,
        teller,
        so_far,
    };
    let ended = tokio::select! {
        ended = perform(&stage, &narrator, &gateway, terminal) => ended,
        () = end_of(args.run_for) => Ok(()),
        () = signals.told() => Ok(()),
    };
    telling.abort();
    serve::stop(&gateway, node).await?;
    ended.map(|()| Exit::Done)
}

/// What to do when a part of the simulated world finds its address in use.
const WORLD_TAKEN: &str = "most likely another `understudy demo` runs, and only one can at a time, whatever its \
    --port: its simulated machines are at 127.77.0.0/16. End that one with Ctrl-C where it was started, or look at \
    it with `understudy status`, and with `--server http://127.0.0.1:PORT` if it was given another port";
/// What to do when the port for browsers is in use.
const PORT_TAKEN: &str = "end what listens there, or choose another port with --port";

/// An address in use is told with what to do about it.
fn if_taken(error: anyhow::Error, advice: &str) -> anyhow::Error {
    let is_taken = |cause: &(dyn std::error::Error + 'static)| {
        let cause = cause.downcast_ref::<io::Error>();
        cause.is_some_and(|cause| cause.kind() == io::ErrorKind::AddrInUse)
    };
    if !error.chain().any(is_taken) {
        return error;
    }
    Failure::new(Exit::Conflict, format!("{error:#}"))
        .advice(advice)
        .into()
}

/// Returns when it has run for as long as it was asked to.
async fn end_of(run_for: Option<Duration>) {
    match run_for {
        Some(span) => tokio::time::sleep(span).await,
        None => std::future::pending().await,
    }
}

/// The story tells what happens; the log would tell it again.
fn quiet_log() -> config::Log {
    let filter = std::env::var("RUST_LOG").unwrap_or_else(|_| "off".to_owned());
    config::Log {
        filter,
        ..config::Log::default()
    }
}

/// The demonstration's configuration: the reference's values where `config/demo.toml` says nothing.
fn base_config(port: u16) -> anyhow::Result<Config> {
    let loaded = Config::parse(Path::new("config/demo.toml"), config::DEMO, Vec::new())?;
    let mut config = loaded.config;
    config.server.listen.set_port(port);
    Ok(config)
}

/// Tells every commit as it happens, and how far it has come.
async fn tell(mut feed: broadcast::Receiver<Arc<Batch>>, teller: Teller, told: watch::Sender<Seq>) {
    loop {
        match feed.recv().await {
            Ok(batch) => {
                let entries = batch.entries.iter();
                entries.for_each(|entry| teller.tell(entry, &batch.state));
                told.send_replace(batch.state.seq);
            }
            Err(RecvError::Lagged(_)) => {}
            Err(RecvError::Closed) => return,
        }
    }
}

/// Speaks between the facts, and never before they are told.
struct Narrator {
    coordinator: Coordinator,
    teller: Teller,
    so_far: watch::Receiver<Seq>,
}

impl Narrator {
    /// The voice, once everything that has happened so far is told.
    async fn voice(&self) -> &Teller {
        let present = self.coordinator.state().seq;
        let mut so_far = self.so_far.clone();
        // What was skipped for want of time is no reason to fall silent.
        let _ = tokio::time::timeout(CATCH_UP, so_far.wait_for(|told| *told >= present)).await;
        &self.teller
    }
}

async fn perform(
    stage: &Stage,
    narrator: &Narrator,
    gateway: &Gateway,
    terminal: &Terminal,
) -> anyhow::Result<()> {
    let coordinator = &narrator.coordinator;
    let producer = Producer {
        coordinator: coordinator.clone(),
    };
    producer.until_available(SHOWS.len(), SET_UP).await?;
    let shows = SHOWS
        .iter()
        .map(|name| ShowId::new(*name))
        .collect::<Result<Vec<_>, _>>()?;
    for show in &shows {
        producer.go_on_air(stage, show, SET_UP).await?;
    }
    // A spare has to be warm before something may break: that is what the pool is for.
    producer.until_available(1, SET_UP).await?;
    let teller = narrator.voice().await;
    teller.pause("Both shows are on air. In three seconds the studio of one of them breaks.");
    tokio::time::sleep(CALM).await;
    let star = &shows[0];
    let state = coordinator.state();
    let vm = state.vm_of_show(star).context("the show has no VM")?;
    narrator.voice().await.disaster(star, &vm.id);
    stage.world.fault(vm.instance_id(), Fault::StudioCrash)?;
    producer
        .until("the show on air elsewhere", SET_UP, |state| {
            let show = state.show(star)?;
            (show.phase == Phase::OnAir && !show.records.is_empty()).then_some(())
        })
        .await?;
    producer.until_available(1, SET_UP).await?;
    show_status(gateway, terminal, narrator.voice().await).await?;
    narrator.voice().await.encore(gateway.address());
    std::future::pending().await
}

/// The same table as `understudy status` prints, from the same server.
async fn show_status(gateway: &Gateway, terminal: &Terminal, teller: &Teller) -> anyhow::Result<()> {
    let client = Client::new(&Connection::to(format!("http://{}", gateway.address())))?;
    let snapshot = Snapshot::fetch(&client).await?;
    teller.table(&board::render(&snapshot, None, terminal));
    Ok(())
}

//! Cleaning a VM of what shows have left on it, and proving that it is clean.
//!
//! ```text
//! remove   SSH and a template on the machine:  OBS stopped, its configuration replaced, OBS started   (operation)
//!          else OBS alone:                     stream, recording, scenes, inputs and stream key removed through it,
//!                                              other scene collections over SFTP where there is SSH
//!          SSH:                                temporary files                                        (operation)
//! prove    over OBS:   answers · draws · no stream · no recording · the template's scenes, or none · no stream key
//!          over SFTP:  no stream key in the files of OBS's configuration · no temporary files · recordings counted
//! ```
//!
//! A removed thing is looked for afterwards: what is told is what was found, not what was done. Every step may be
//! repeated, so whoever is interrupted begins again. Stream keys are opened here to be compared and go nowhere, into no
//! command and no log.
//!
//! This module decides nothing: not when a VM is cleaned (its actor and its show's do), nor what follows from the
//! report.

mod files;
mod locked;
mod studio;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;

use super::context::Context;
use super::coordinator::CommandError;
use super::executions::run;
use super::executions::{Begin, Ticket};
use super::news::Level;
use super::task::{self, Unended};
use crate::domain::cleaning::{Finding, Leftover, Policy, Report, Subject, Way};
use crate::domain::execution::Deed;
use crate::domain::ids::VmId;
use crate::domain::operation::{Operation, Plan};
use crate::domain::studio::Secret;
use crate::domain::vm;
use crate::infra::ssh::files::Files;
use crate::infra::ssh::{self, Session as Shell};

/// Puts the template in the place of OBS's configuration.
const RESET: &str = "RESET_OBS_CONFIG";
const CLEAR_TEMPORARY_FILES: &str = "CLEAR_TEMPORARY_FILES";
/// How often it is looked whether something has come about that is waited for.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// How VMs are cleaned, and what is asked of them then.
#[derive(Debug, Clone)]
pub struct CleaningOptions {
    pub policy: Policy,
    /// Limit on one cleaning.
    pub deadline: Duration,
    /// OBS's configuration on a VM.
    pub config_path: String,
    /// What it is reset to.
    pub template_path: String,
    /// Where OBS puts its recordings.
    pub recordings_path: String,
}

/// There is a way to a VM's studio or files, so something may be on it, and can be removed.
pub(super) fn is_possible(ctx: &Context) -> bool {
    ctx.world.obs.is_some() || ctx.world.ssh.is_some()
}

/// What is to be recorded of a VM that nothing can have been put on.
pub(super) fn nothing(ctx: &Context, leftover: &Leftover) -> vm::Event {
    vm::Event::Cleaned {
        report: Arc::new(Report::nothing(leftover.show.clone(), ctx.now())),
        accepted: true,
    }
}

/// What is to be recorded of a VM that was cleaned. With a sentence that says why it must not be used, if so.
pub(super) fn verdict(ctx: &Context, report: Report) -> (vm::Event, Option<String>) {
    let faults = report.faults();
    let accepted = report.is_accepted(ctx.options.cleaning.policy, ctx.world.obs.is_some());
    let reason = (!accepted).then(|| format!("it is not clean after show {}: {faults}", report.show));
    if !report.is_clean() {
        tracing::warn!(show = %report.show, accepted, faults, "a VM is not clean after a show");
    }
    let report = Arc::new(report);
    (vm::Event::Cleaned { report, accepted }, reason)
}

/// Tells people that a VM must not be used.
pub(super) fn alert(ctx: &Context, vm: &VmId, reason: &str) {
    let message = format!("{vm}: {reason}. It is cleaned again, and is not used before that has worked.");
    let source = format!("vm-not-clean-{vm}");
    ctx.alert(Level::Warning, source, "VM is not clean", message, None, Some(vm));
}

/// Cleans a VM within the limit, and says what was found afterwards.
pub(super) async fn clean(ctx: &Arc<Context>, vm: &VmId, leftover: &Leftover) -> Report {
    let unclean = |report: Report| {
        if report.is_clean() {
            Ok(report)
        } else {
            Err(report)
        }
    };
    let cleaned = ctx.unstalled(|| clean_once(ctx, vm, leftover).map(unclean)).await;
    cleaned.unwrap_or_else(|unclean| unclean)
}

async fn clean_once(ctx: &Arc<Context>, vm: &VmId, leftover: &Leftover) -> Report {
    let began_at = ctx.now();
    let limit = ctx.options.cleaning.deadline;
    tracing::info!(%vm, show = %leftover.show, "cleaning a VM");
    let mut work = Work {
        ctx: Arc::clone(ctx),
        vm: vm.clone(),
        until: tokio::time::Instant::now() + limit,
        keys: Vec::new(),
        locked: Vec::new(),
        way: Way::Studio,
        awaits: None,
        findings: Vec::new(),
        recordings: None,
    };
    work.open(leftover);
    if let Err(unended) = task::ended(limit, work.run()).await {
        let found = match (unended, &work.awaits) {
            (Unended::TooLong(_), Some(why)) => format!("{unended}: {why}"),
            (Unended::TooLong(_), None) | (Unended::Panicked, _) => unended.to_string(),
        };
        work.find(Subject::Reset, false, &found);
    }
    Report {
        show: leftover.show.clone(),
        way: work.way,
        began_at,
        ended_at: ctx.now(),
        findings: work.findings,
        recordings: work.recordings,
    }
}

/// A cleaning under way. What was found so far stays when the time is up.
struct Work {
    ctx: Arc<Context>,
    vm: VmId,
    until: tokio::time::Instant,
    /// What must not be found afterwards.
    keys: Vec<Secret>,
    /// Why there are more that cannot be looked for.
    locked: Vec<String>,
    way: Way,
    /// Why it does not go on at present.
    awaits: Option<String>,
    findings: Vec<Finding>,
    recordings: Option<u32>,
}

/// Why an operation did not do what it should.
struct Failure {
    why: String,
    /// It may still be at work on the machine.
    goes_on: bool,
}

impl Work {
    fn find(&mut self, subject: Subject, clean: bool, found: &str) {
        self.findings.push(Finding::new(subject, clean, found));
    }

    /// Opens the keys that are looked for.
    fn open(&mut self, leftover: &Leftover) {
        for sealed in &leftover.keys {
            match self.ctx.world.vault.unseal(sealed) {
                Ok(key) => self.keys.push(key),
                Err(locked) => self.locked.push(locked.in_short()),
            }
        }
    }

    async fn run(&mut self) {
        let shell = self.shell().await;
        let files = match &shell {
            Some(shell) => self.files(shell.as_ref()).await,
            None => None,
        };
        let mut before = self.ctx.machines.studio(&self.vm).await;
        let template = match &files {
            Some(files) => self.has_template(files.as_ref()).await,
            None => false,
        };
        if let (true, Some(shell)) = (template, &shell) {
            self.way = Way::Template;
            if let Some(studio) = &before {
                // So that the file of a recording is whole. One that cannot be asked is stopped without.
                if let Err(error) = studio.stop_recording().await {
                    tracing::info!(vm = %self.vm, %error, "a recording could not be ended before OBS was stopped");
                }
            }
            let done = "OBS's configuration was replaced by the template";
            let reset = self.operate(Arc::clone(shell), RESET, Subject::Reset, done).await;
            if reset.is_err_and(|failure| !failure.goes_on) {
                // OBS may never have been stopped. One that was does not answer over the session before.
                before = None;
            }
        } else if self.ctx.world.obs.is_none() {
            let found = "there is no template on the machine, and no connection to OBS configured";
            self.find(Subject::Reset, false, found);
        }
        if let Some(shell) = &shell {
            let (subject, done) = (Subject::TemporaryFiles, "temporary files were deleted");
            // What is left is looked for below.
            let _ = self
                .operate(Arc::clone(shell), CLEAR_TEMPORARY_FILES, subject, done)
                .await;
        }
        let empty = match self.way {
            Way::Template => self.prove_studio(before).await,
            Way::Studio | Way::Nothing => self.empty_studio().await,
        };
        if let Some(files) = &files {
            self.prove_files(files, empty).await;
        }
        self.prove_without(files.as_ref()).await;
    }

    /// The connection to the machine's SSH server, where one is configured. Without it nothing can be proven, so it is
    /// waited for as long as there is time.
    async fn shell(&mut self) -> Option<Arc<dyn Shell>> {
        self.ctx.world.ssh.as_ref()?;
        loop {
            let shell = self.ctx.machines.shell(&self.vm).await;
            if shell.is_some() {
                self.awaits = None;
                return shell;
            }
            self.awaits = Some("there is no SSH connection to it".to_owned());
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    async fn files(&mut self, shell: &dyn Shell) -> Option<Arc<dyn Files>> {
        match shell.files().await {
            Ok(files) => Some(files),
            Err(error) => {
                let found = format!("its files cannot be looked at: {error}");
                self.find(Subject::Files, false, &found);
                None
            }
        }
    }

    /// Whether there is a whole configuration to reset OBS's to.
    async fn has_template(&mut self, files: &dyn Files) -> bool {
        let path = format!("{}/basic", self.ctx.options.cleaning.template_path);
        match files.stat(&path).await {
            Ok(entry) => entry.kind == ssh::files::Kind::Folder,
            Err(ssh::files::Error::NotFound { .. }) => false,
            Err(error) => {
                let found = format!("whether there is a template is not known: {error}");
                self.find(Subject::Reset, false, &found);
                false
            }
        }
    }

    /// Runs an operation of the catalogue on it, as anybody could, and notes how it ended.
    async fn operate(
        &mut self,
        shell: Arc<dyn Shell>,
        id: &str,
        subject: Subject,
        done: &str,
    ) -> Result<(), Failure> {
        let went = self.run_operation(shell, id).await;
        self.awaits = None;
        match &went {
            Ok(()) => self.find(subject, true, done),
            Err(Failure { why, .. }) => self.find(subject, false, &format!("{id} {why}")),
        }
        went
    }

    async fn run_operation(&mut self, shell: Arc<dyn Shell>, id: &str) -> Result<(), Failure> {
        let not_begun = |why: String| Failure { why, goes_on: false };
        let ctx = Arc::clone(&self.ctx);
        let planned = ctx.options.operations.plan(id, &BTreeMap::new());
        let (operation, plan) = planned.map_err(|error| not_begun(format!("cannot be run: {error}")))?;
        self.until_nobody_runs(id).await;
        let begun = self.begin(operation, plan).await;
        let (ticket, plan) = begun.map_err(|error| not_begun(format!("was not run: {error}")))?;
        self.awaits = Some(format!("{id} had not ended"));
        let outcome = run::start(&ctx, self.vm.clone(), shell, ticket, plan)
            .outcome()
            .await;
        match outcome.failure() {
            None => Ok(()),
            Some(why) => Err(Failure {
                why,
                goes_on: outcome.goes_on(),
            }),
        }
    }

    /// The right to run it in the time that is left, once there is a place for it.
    async fn begin(&mut self, operation: &Operation, mut plan: Plan) -> Result<(Ticket, Plan), CommandError> {
        let limit = plan.timeout;
        loop {
            let left = self.until.saturating_duration_since(tokio::time::Instant::now());
            plan.timeout = limit.min(left);
            let begin = Begin::own(&self.vm, operation, &plan);
            match self.ctx.executions.begin(begin).await {
                Ok(ticket) => return Ok((ticket, plan)),
                Err(error @ (CommandError::TooManyExecutions { .. } | CommandError::Restarting { .. })) => {
                    self.awaits = Some(format!("{} was not run: {error}", operation.id));
                }
                Err(error) => return Err(error),
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// One that was begun before, by an actor that died or by an operator, is not run into.
    async fn until_nobody_runs(&mut self, id: &str) {
        let is_same = |deed: &Deed| matches!(deed, Deed::Operation { id: other, .. } if other.as_str() == id);
        loop {
            let state = self.ctx.state();
            let mut running = state.executions().running();
            if !running.any(|execution| execution.vm == self.vm && is_same(&execution.deed)) {
                return;
            }
            self.awaits = Some(format!("another {id} ran on it"));
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
}

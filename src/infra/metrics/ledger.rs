//! What the ledger does, and what happens: every fact that becomes durable is counted once, whoever made it happen.

use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;

use super::catalogue as c;
use super::series::{Counters, Distribution, Histograms, register};
use crate::domain::archive::{self, Archive, Stage};
use crate::domain::event::{Entry, Event};
use crate::domain::execution::{self, Deed, Ending};
use crate::domain::failover::Timeline;
use crate::domain::ids::{ShowId, VmId};
use crate::domain::show;
use crate::domain::state::State;
use crate::domain::time::Timestamp;
use crate::domain::vm::{self, Power};

/// Clones share their figures.
#[derive(Debug, Clone)]
pub struct LedgerMetrics {
    pub commit_duration: Distribution,
    pub commits: Counters<1>,
    transaction_duration: Distribution,
    transaction_commits: Distribution,
    events: Counter,
    snapshots: Counter,
    facts: Facts,
}

impl Default for LedgerMetrics {
    fn default() -> Self {
        let outcomes = [
            ["committed"],
            ["rejected"],
            ["queue_full"],
            ["timed_out"],
            ["failed"],
        ];
        Self {
            commit_duration: Distribution::new(&c::LEDGER_COMMIT_DURATION),
            commits: Counters::starting(&c::LEDGER_COMMITS, &outcomes),
            transaction_duration: Distribution::new(&c::LEDGER_SYNC_DURATION),
            transaction_commits: Distribution::new(&c::LEDGER_BATCH),
            events: Counter::default(),
            snapshots: Counter::default(),
            facts: Facts::default(),
        }
    }
}

impl LedgerMetrics {
    /// A transaction became durable that way.
    pub fn synced(&self, took: Duration) {
        self.transaction_duration.took(took);
    }

    /// These events of so many commits are durable; `before` and `after` are the states around them.
    pub fn published(&self, before: &State, entries: &[Entry], after: &State, commits: usize) {
        self.transaction_commits.was(commits);
        self.events.inc_by(entries.len() as u64);
        for entry in entries {
            self.facts.count(before, entry, after);
        }
    }

    pub fn snapshot_completed(&self) {
        self.snapshots.inc();
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        self.commit_duration.register(registry);
        self.commits.register(registry);
        self.transaction_duration.register(registry);
        self.transaction_commits.register(registry);
        register(registry, &c::LEDGER_EVENTS, self.events.clone());
        register(registry, &c::LEDGER_SNAPSHOTS, self.snapshots.clone());
        self.facts.register(registry);
    }
}

/// What happened to VMs and shows.
#[derive(Debug, Clone)]
struct Facts {
    assignments: Counters<1>,
    reassignments: Counters<0>,
    cold_assignment_duration: Distribution,
    start_duration: Distribution,
    failovers_begun: Counters<1>,
    failovers: Counters<2>,
    spares_lost: Counters<0>,
    phase_duration: Histograms<1>,
    off_air_duration: Distribution,
    executions: Counters<2>,
    archive_parts: Counters<0>,
    archive_bytes: Counters<0>,
    archives: Counters<1>,
}

impl Default for Facts {
    fn default() -> Self {
        let causes = [["machine-lost"], ["studio-lost"], ["output-silent"], ["forced"]];
        Self {
            assignments: Counters::starting(&c::ASSIGNMENTS, &[["warm"], ["cold"]]),
            reassignments: Counters::starting(&c::REASSIGNMENTS, &[[]]),
            cold_assignment_duration: Distribution::new(&c::COLD_ASSIGNMENT_DURATION),
            start_duration: Distribution::new(&c::VM_START_DURATION),
            failovers_begun: Counters::starting(&c::FAILOVERS_BEGUN, &causes),
            failovers: Counters::new(&c::FAILOVERS),
            spares_lost: Counters::starting(&c::FAILOVER_SPARES_LOST, &[[]]),
            phase_duration: Histograms::new(&c::FAILOVER_PHASE_DURATION),
            off_air_duration: Distribution::new(&c::SHOW_OFF_AIR_DURATION),
            executions: Counters::new(&c::EXECUTIONS),
            archive_parts: Counters::starting(&c::ARCHIVE_PARTS, &[[]]),
            archive_bytes: Counters::starting(&c::ARCHIVE_BYTES, &[[]]),
            archives: Counters::starting(&c::ARCHIVES, &[["done"], ["failed"]]),
        }
    }
}

impl Facts {
    fn register(&self, registry: &mut Registry) {
        self.assignments.register(registry);
        self.reassignments.register(registry);
        self.cold_assignment_duration.register(registry);
        self.start_duration.register(registry);
        self.failovers_begun.register(registry);
        self.failovers.register(registry);
        self.spares_lost.register(registry);
        self.phase_duration.register(registry);
        self.off_air_duration.register(registry);
        self.executions.register(registry);
        self.archive_parts.register(registry);
        self.archive_bytes.register(registry);
        self.archives.register(registry);
    }

    fn count(&self, before: &State, entry: &Entry, after: &State) {
        match &entry.event {
            Event::Vm { vm, event } => self.vm(before, vm, event, entry.at, after),
            Event::Show { show, event } => self.show(before, show, event, after),
            Event::Execution { execution, event } => {
                if let execution::Event::Ended { ending, .. } = event
                    && let Some(execution) = after.executions().get(*execution)
                {
                    self.executions
                        .count([deed_word(&execution.deed), ending_word(ending)]);
                }
            }
            Event::PoolConfigured { .. } => {}
        }
    }

    fn vm(&self, before: &State, id: &VmId, event: &vm::Event, at: Timestamp, after: &State) {
        match event {
            vm::Event::Ready => {
                let Some(vm) = before.vm(id) else { return };
                // As the state measures starts: one that was asked for and led to this without a detour.
                if let Some(asked) = vm.last_started_at.filter(|asked| *asked == vm.last_state_change) {
                    self.start_duration.took(at.since(asked));
                    if let Some(given) = vm.assigned_at.filter(|_| vm.occupancy.tenant().is_some()) {
                        self.cold_assignment_duration.took(at.since(given));
                    }
                }
            }
            vm::Event::Archive { event, .. } => {
                let there = |state: &State| state.vm(id).map_or_else(Vec::new, |vm| vm.unarchived.clone());
                let (before, after) = (there(before), there(after));
                let archives = before.iter().chain(&after).map(|unarchived| &unarchived.archive);
                self.archive(event, archives);
            }
            _ => {}
        }
    }

    fn show(&self, before: &State, id: &ShowId, event: &show::Event, after: &State) {
        match event {
            show::Event::Assigned { vm, .. } => {
                let ready = before.vm(vm).is_some_and(|vm| vm.power == Power::Ready);
                self.assignments.count([if ready { "warm" } else { "cold" }]);
            }
            show::Event::Reassigned { .. } => self.reassignments.count([]),
            show::Event::FailoverBegan { cause, .. } => self.failovers_begun.count([cause.as_str()]),
            show::Event::SpareLost { .. } => self.spares_lost.count([]),
            show::Event::FailoverEnded { epoch, .. } => {
                let records = after
                    .show(id)
                    .map(|show| show.records.as_slice())
                    .unwrap_or_default();
                if let Some(record) = records.iter().rfind(|record| record.failover.epoch == *epoch) {
                    self.failovers
                        .count([record.failover.cause.as_str(), record.ending.as_str()]);
                    self.timeline(&record.timeline());
                }
            }
            show::Event::Archive { event, .. } => {
                let archives = [before, after].into_iter();
                let archives = archives.filter_map(|state| state.show(id)?.archive.as_deref());
                self.archive(event, archives);
            }
            _ => {}
        }
    }

    fn timeline(&self, timeline: &Timeline) {
        let phases = [
            ("detect", Some(timeline.detect_ms)),
            ("decide", timeline.decide_ms),
            ("fence", timeline.fence_ms),
            ("restore", timeline.restore_ms),
            ("verify", timeline.verify_ms),
        ];
        for (phase, took) in phases {
            if let Some(took) = took {
                self.phase_duration.took([phase], Duration::from_millis(took));
            }
        }
        if let Some(off_air) = timeline.off_air_ms {
            self.off_air_duration.took(Duration::from_millis(off_air));
        }
    }

    /// `archives`: where the upload that it concerns is to be found.
    fn archive<'a>(&self, event: &archive::Event, mut archives: impl Iterator<Item = &'a Archive>) {
        match event {
            archive::Event::PartStored {
                upload_id, number, ..
            } => {
                self.archive_parts.count([]);
                let bytes = archives.find_map(|archive| match &archive.stage {
                    Stage::Uploading(upload) if upload.upload_id == *upload_id => {
                        Some(upload.bytes_of(*number))
                    }
                    Stage::Uploading(_) | Stage::Looking | Stage::Kept { .. } | Stage::Ended(_) => None,
                });
                self.archive_bytes.add([], bytes.unwrap_or(0));
            }
            archive::Event::Ended { ending } => self.archives.count([match ending {
                archive::Ending::Done { .. } => "done",
                archive::Ending::Failed { .. } => "failed",
            }]),
            archive::Event::Asked { .. }
            | archive::Event::UploadBegan { .. }
            | archive::Event::UploadDropped { .. }
            | archive::Event::Kept { .. }
            | archive::Event::Removed { .. } => {}
        }
    }
}

fn deed_word(deed: &Deed) -> &'static str {
    match deed {
        Deed::Operation { .. } => "operation",
        Deed::Command { .. } => "command",
        Deed::Terminal => "terminal",
        Deed::Upload { .. } => "upload",
        Deed::Download { .. } => "download",
        Deed::List { .. } => "list",
    }
}

fn ending_word(ending: &Ending) -> &'static str {
    match ending {
        Ending::Exited { status: 0 } => "succeeded",
        Ending::Exited { .. } => "failed",
        Ending::Signalled { .. } => "signalled",
        Ending::Cancelled { .. } => "cancelled",
        Ending::Closed { .. } => "closed",
        Ending::TimedOut { .. } => "timed_out",
        Ending::ConnectionLost { .. } => "connection_lost",
        Ending::NotStarted { .. } => "not_started",
        Ending::Unknown => "unknown",
    }
}

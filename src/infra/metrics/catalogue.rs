//! Every metric there is: name, kind, labels, what it means.
//!
//! The registry is made from these and `docs/metrics.md` is written from them, so neither can say anything else. Names
//! follow <https://prometheus.io/docs/practices/naming/>: base units, `_total` for counters. What `process_` begins
//! is named as Prometheus's own libraries name it
//! (<https://prometheus.io/docs/instrumenting/writing_clientlibs/#process-metrics>).

/// One metric family.
#[derive(Debug, PartialEq)]
pub struct Definition {
    /// As it is served; a counter's ends with `_total`.
    pub name: &'static str,
    pub kind: Kind,
    /// In the order in which values are given.
    pub labels: &'static [&'static str],
    pub help: &'static str,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    Counter,
    Gauge,
    /// With the upper bounds of its buckets.
    Histogram(&'static [f64]),
}

impl Kind {
    /// As `# TYPE` says it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram(_) => "histogram",
        }
    }
}

/// From a commit on a quick disk to one that a deadline ends.
const DISK: Kind = Kind::Histogram(&[
    0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.5, 1.0, 5.0,
]);
/// Commits in one transaction; 512 is the usual limit.
const COMMITS: Kind = Kind::Histogram(&[1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0]);
/// From an answer out of memory to one that is waited for.
const REQUEST: Kind = Kind::Histogram(&[0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0]);
/// From a neighbour in the network to the longest deadline.
const PROBE: Kind = Kind::Histogram(&[0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0]);
/// What a viewer notices, from one frame to a machine's start.
const OUTAGE: Kind = Kind::Histogram(&[
    0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 7.5, 10.0, 20.0, 60.0, 300.0,
]);
/// A cloud's machine coming up.
const START: Kind = Kind::Histogram(&[
    1.0, 5.0, 10.0, 20.0, 30.0, 45.0, 60.0, 90.0, 120.0, 180.0, 300.0, 600.0,
]);

macro_rules! catalogue {
    ($($NAME:ident = $kind:expr, $name:literal, [$($label:literal),*], $help:literal;)*) => {
        $(pub const $NAME: Definition = Definition {
            name: $name,
            kind: $kind,
            labels: &[$($label),*],
            help: $help,
        };)*
        /// All of them, in the order in which the documentation has them.
        pub const ALL: &[Definition] = &[$($NAME),*];
    };
}

use Kind::{Counter, Gauge};

catalogue! {
    BUILD_INFO = Gauge, "understudy_build_info", ["version"],
        "Which understudy this is; always 1.";
    READY = Gauge, "understudy_ready", [],
        "1 once the pool has been looked at for the first time, else 0.";
    CLOUD_UP = Gauge, "understudy_cloud_up", [],
        "1 if the last look at the cloud succeeded, 0 if it failed; absent before the first.";

    POOL_VMS = Gauge, "understudy_pool_vms", ["status"],
        "VMs of the pool, by what people see as their status.";
    POOL_WARM_TARGET = Gauge, "understudy_pool_warm_target_vms", [],
        "VMs that are to be ready and free at any time, as configured now.";
    POOL_COLD_TARGET = Gauge, "understudy_pool_cold_target_vms", [],
        "Stopped VMs that are to be kept in reserve, as configured now.";
    POOL_VMS_LIMIT = Gauge, "understudy_pool_limit_vms", [],
        "VMs that the pool may have, in whatever state.";
    POOL_SHOWS_LIMIT = Gauge, "understudy_pool_limit_shows", [],
        "Shows that may have a VM at a time.";
    POOL_SHOWS = Gauge, "understudy_pool_shows", ["phase"],
        "Shows that have a VM, by phase.";
    POOL_SHOWS_WAITING = Gauge, "understudy_pool_shows_waiting", ["reason"],
        "Shows that wait for a VM: for their own to come up (start), or for a spare to be moved to (spare).";

    SHOW_STREAM_WANTED = Gauge, "understudy_show_stream_wanted", ["show"],
        "1 if a producer wants the stream of the show to run, else 0. Only of shows that have a VM.";
    SHOW_ON_AIR = Gauge, "understudy_show_on_air", ["show"],
        "1 if the show is on air, else 0: also while it is being moved, and while nothing is seen to leave its VM. Only of shows \
         that have a VM.";
    SHOW_FAILING_OVER = Gauge, "understudy_show_failing_over", ["show"],
        "1 while the show is being moved to another VM, else 0. Only of shows that have a VM.";
    SHOW_HELD = Gauge, "understudy_show_held", ["show"],
        "1 while an operator forbids automatic failover of the show, else 0. Only of shows that have a VM.";

    ASSIGNMENTS = Counter, "understudy_assignments_total", ["start"],
        "Shows that were given a VM: one that was ready (warm), or one that had to start (cold).";
    REASSIGNMENTS = Counter, "understudy_reassignments_total", [],
        "Shows that were given another VM because theirs did not come up.";
    ASSIGN_DURATION = REQUEST, "understudy_assign_duration_seconds", ["outcome"],
        "From asking for a VM to the answer, which is on disk then.";
    RELEASE_DURATION = START, "understudy_release_duration_seconds", ["outcome"],
        "From giving a VM back to the answer: cleaning and archiving included.";
    COLD_ASSIGNMENT_DURATION = START, "understudy_cold_assignment_duration_seconds", [],
        "From giving a show a VM that had to start to that VM being ready.";
    VM_START_DURATION = START, "understudy_vm_start_duration_seconds", [],
        "From asking the cloud to start a VM to the VM being ready.";

    FAILOVERS_BEGUN = Counter, "understudy_failovers_begun_total", ["cause"],
        "Failovers that were decided, by what was lost.";
    FAILOVERS = Counter, "understudy_failovers_total", ["cause", "ending"],
        "Failovers that are over, by what was lost and how they ended.";
    FAILOVER_SPARES_LOST = Counter, "understudy_failover_spares_lost_total", [],
        "VMs that a show was being moved to and that were lost on the way.";
    FAILOVER_PHASE_DURATION = OUTAGE, "understudy_failover_phase_duration_seconds", ["phase"],
        "Parts of failovers that are over: first sign to verdict (detect), to a target (decide), from there to the old VM fenced (fence) and the studio restored (restore), from both to rising output (verify).";
    SHOW_OFF_AIR_DURATION = OUTAGE, "understudy_show_off_air_duration_seconds", [],
        "Of failovers that ended on air, elsewhere: from the last output of the old VM to the first of the new one.";

    PROBE_DURATION = PROBE, "understudy_probe_duration_seconds", ["outcome"],
        "From asking a VM's show server how it is to its answer (ok) or the failure (failed).";
    PROBE_LATENESS = PROBE, "understudy_probe_lateness_seconds", [],
        "From when a probe was due to when it was sent.";

    ACTOR_MESSAGES_WAITING = Gauge, "understudy_actor_messages_waiting", ["kind"],
        "Messages in the mailboxes of all actors of a kind; those that are being handled do not count.";
    ACTOR_MESSAGES_WAITING_MAX = Gauge, "understudy_actor_messages_waiting_max", ["kind"],
        "Messages in the fullest mailbox of an actor of that kind.";
    ACTOR_RESTARTS = Counter, "understudy_actor_restarts_total", ["kind"],
        "Actors that died and are restarted, at once or after a while.";
    ACTOR_GIVE_UPS = Counter, "understudy_actor_give_ups_total", ["kind"],
        "Actors that died too often and are left alone until the cool-down ends.";

    LEDGER_UP = Gauge, "understudy_ledger_up", [],
        "1 while the journal can be written; 0 once it has failed, for ever.";
    LEDGER_COMMIT_DURATION = DISK, "understudy_ledger_commit_duration_seconds", [],
        "From handing in a commit to the answer that it is durable.";
    LEDGER_SYNC_DURATION = DISK, "understudy_ledger_transaction_duration_seconds", [],
        "Writing and syncing one transaction.";
    LEDGER_BATCH = COMMITS, "understudy_ledger_transaction_commits", [],
        "Commits that became durable with one transaction.";
    LEDGER_COMMITS = Counter, "understudy_ledger_commits_total", ["outcome"],
        "Commits by outcome: committed; rejected by the state; queue_full; timed_out, which may be durable; failed; closed; not_storable.";
    LEDGER_EVENTS = Counter, "understudy_ledger_events_total", [],
        "Events that became durable.";
    LEDGER_QUEUE = Gauge, "understudy_ledger_queued_commits", [],
        "Commits that wait for the writer.";
    LEDGER_QUEUE_LIMIT = Gauge, "understudy_ledger_queue_limit_commits", [],
        "Commits that may wait; the next one is refused.";
    LEDGER_SNAPSHOTS = Counter, "understudy_ledger_snapshots_total", [],
        "Snapshots of the state that were completed.";

    CLOUD_CALL_DURATION = REQUEST, "understudy_cloud_call_duration_seconds", ["call", "outcome"],
        "Calls to the cloud, repetitions and their pauses included, by how they ended.";
    CLOUD_THROTTLES = Counter, "understudy_cloud_throttles_total", ["call"],
        "Calls to the cloud that ended with being throttled, after every repetition.";

    SOCKETS = Gauge, "understudy_sockets_connected", ["feed"],
        "Socket.IO clients that are connected, by whether they get deltas or whole pools (snapshots).";
    SOCKET_EVENTS = Counter, "understudy_socket_events_total", [],
        "Events that Socket.IO clients were told, each once for all who hear it.";
    SOCKET_EVENTS_DROPPED = Counter, "understudy_socket_events_dropped_total", [],
        "Events that a Socket.IO client missed because its queue was full, once for each client; it is cut off.";
    SOCKETS_CUT = Counter, "understudy_sockets_cut_total", ["reason"],
        "Socket.IO clients that were disconnected since they did not keep up (slow), or not let in since there are as many as may be (full).";
    HTTP_DURATION = REQUEST, "understudy_http_request_duration_seconds", ["route", "method", "status"],
        "HTTP requests by the template of their route, method and class of status, until the answer's head.";
    HTTP_IN_FLIGHT = Gauge, "understudy_http_requests_in_flight", [],
        "HTTP requests that are being answered; Socket.IO is not among them.";

    EXECUTIONS = Counter, "understudy_executions_total", ["deed", "ending"],
        "What was run on VMs over SSH and is on record, by what it was and how it ended.";
    EXECUTIONS_RUNNING = Gauge, "understudy_executions_running", [],
        "What runs on VMs over SSH now and will be on record.";
    ARCHIVE_PARTS = Counter, "understudy_archive_parts_total", [],
        "Parts of recordings that the archive has taken.";
    ARCHIVE_BYTES = Counter, "understudy_archive_bytes_total", [],
        "Bytes of recordings that the archive has taken.";
    ARCHIVES = Counter, "understudy_archives_total", ["ending"],
        "Archives of a show's recordings that are over, whole (done) or not (failed).";
    ALERTS = Counter, "understudy_alerts_total", ["level"],
        "Alerts that were told to people, by level.";

    VM_STATUS = Gauge, "understudy_vm_status", ["vm", "status"],
        "1 for the status that the VM has; the others are absent.";
    VM_SERVICE_UP = Gauge, "understudy_vm_service_up", ["vm", "service"],
        "1 if the service of the VM answers, 0 if it does not; absent if that is not known.";
    VM_PROBE_RESPONSE = Gauge, "understudy_vm_probe_response_seconds", ["vm"],
        "How long the VM's show server took to answer last; absent if it did not.";
    VM_CHECKED = Gauge, "understudy_vm_checked_timestamp_seconds", ["vm"],
        "When the last check of the VM ended, since the epoch.";
    VM_OUTPUT_BYTES = Counter, "understudy_vm_output_bytes_total", ["vm"],
        "Bytes that the VM's studio has sent in its present stream; absent unless one is active.";
    VM_OUTPUT_SKIPPED = Counter, "understudy_vm_output_skipped_frames_total", ["vm"],
        "Frames that the VM's studio has skipped in its present stream; absent unless one is active.";
    VM_PROCESSOR = Gauge, "understudy_vm_cpu_usage_ratio", ["vm"],
        "Share of the VM's processors that was busy between the last two looks, from 0 to 1.";
    VM_MEMORY_USED = Gauge, "understudy_vm_memory_used_bytes", ["vm"],
        "Memory of the VM that is not available to programs.";
    VM_MEMORY_SIZE = Gauge, "understudy_vm_memory_size_bytes", ["vm"],
        "Memory of the VM.";
    VM_DISK_USED = Gauge, "understudy_vm_disk_used_bytes", ["vm"],
        "What is used of the VM's root file system.";
    VM_DISK_SIZE = Gauge, "understudy_vm_disk_size_bytes", ["vm"],
        "Size of the VM's root file system.";
    VM_RECEIVED = Counter, "understudy_vm_network_receive_bytes_total", ["vm"],
        "Bytes that the VM has received since it came up, on all interfaces but its loopback.";
    VM_SENT = Counter, "understudy_vm_network_transmit_bytes_total", ["vm"],
        "Bytes that the VM has sent since it came up, on all interfaces but its loopback.";

    PROCESS_CPU = Counter, "process_cpu_seconds_total", [],
        "User and system time of the coordinator's process.";
    PROCESS_RESIDENT = Gauge, "process_resident_memory_bytes", [],
        "Memory of the coordinator's process that is in RAM.";
    PROCESS_VIRTUAL = Gauge, "process_virtual_memory_bytes", [],
        "Address space of the coordinator's process.";
    PROCESS_OPEN_FDS = Gauge, "process_open_fds", [],
        "File descriptors that the coordinator's process has open.";
    PROCESS_MAX_FDS = Gauge, "process_max_fds", [],
        "File descriptors that it may have open.";
    PROCESS_THREADS = Gauge, "process_threads", [],
        "Threads of the coordinator's process.";
    PROCESS_START = Gauge, "process_start_time_seconds", [],
        "When the coordinator's process started, since the epoch.";
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_name_is_there_once_and_says_what_it_counts() {
        let mut names = BTreeSet::new();
        for definition in ALL {
            let name = definition.name;
            assert!(names.insert(name), "{name} is there twice");
            assert!(
                name.starts_with("understudy_") || name.starts_with("process_"),
                "{name}"
            );
            assert_eq!(
                definition.kind == Counter,
                name.ends_with("_total"),
                "{name}: counters and nothing else end with _total"
            );
            assert!(
                definition.help.ends_with('.') && !definition.help.contains('\n'),
                "{name}"
            );
        }
    }

    #[test]
    fn what_names_a_vm_or_a_show_is_read_from_the_state_and_never_counted_up() {
        for definition in ALL {
            let names_one = definition
                .labels
                .iter()
                .any(|label| ["vm", "show"].contains(label));
            let expected = definition.name.starts_with("understudy_vm_")
                && definition.name != VM_START_DURATION.name
                || definition.name.starts_with("understudy_show_")
                    && definition.name != SHOW_OFF_AIR_DURATION.name;
            assert_eq!(names_one, expected, "{}", definition.name);
        }
    }

    #[test]
    fn the_bounds_of_buckets_rise() {
        for definition in ALL {
            if let Kind::Histogram(bounds) = definition.kind {
                assert!(bounds.is_sorted_by(|a, b| a < b), "{}", definition.name);
            }
        }
    }
}

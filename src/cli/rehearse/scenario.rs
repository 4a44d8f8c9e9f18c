//! The scenarios: what goes wrong, and what must come of it.

use std::time::Duration;

use clap::ValueEnum;

/// A drill, by the name operators know it by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// The studio's process dies on every show's VM.
    StudioCrash,
    /// The studio stops answering but does not die.
    StudioHang,
    /// The machine falls silent on every channel while it goes on publishing into the void.
    MachineBlackhole,
    /// Somebody stops the instance in the cloud's console.
    InstanceStopped,
    /// The show server comes and goes while the picture is fine.
    StatusFlap,
    /// The venue's ingest is away for a while.
    IngestDown,
    /// The studio dies and no VM is running to take over.
    NoSpare,
    /// The actor of the VM on air dies; then the studio does.
    KillVmActor,
    /// The show's actor dies in the middle of its failover.
    KillShowActor,
    /// The coordinator is killed with SIGKILL in the middle of a failover and started again.
    #[value(name = "coordinator-kill-9")]
    CoordinatorKill9,
}

/// What must come of a scenario.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// Every show is moved exactly once and is on air again.
    Moved { within: Duration },
    /// No show is moved, and all are on air when the trouble is over.
    Stays { watched_for: Duration },
}

impl Scenario {
    /// As on the command line and in reports.
    #[must_use]
    pub fn name(self) -> String {
        self.to_possible_value()
            .map(|value| value.get_name().to_owned())
            .unwrap_or_default()
    }

    #[must_use]
    pub fn expected(self) -> Expected {
        let moved = Expected::Moved {
            within: Duration::from_secs(30),
        };
        match self {
            Self::StudioCrash
            | Self::StudioHang
            | Self::MachineBlackhole
            | Self::InstanceStopped
            | Self::KillVmActor
            | Self::KillShowActor => moved,
            // A machine has to boot first, or a process has to start.
            Self::NoSpare | Self::CoordinatorKill9 => Expected::Moved {
                within: Duration::from_secs(60),
            },
            // Several silence limits long: enough for a wrong verdict to be reached.
            Self::StatusFlap | Self::IngestDown => Expected::Stays {
                watched_for: Duration::from_secs(10),
            },
        }
    }

    /// Spares that run beside the shows' own VMs, per show.
    #[must_use]
    pub fn has_warm_spares(self) -> bool {
        self != Self::NoSpare
    }
}

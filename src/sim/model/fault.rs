//! What can be wrong in the simulated world, on demand.
//!
//! A fault says what happened, in an operator's words; how it looks on the wire follows from the model. What
//! befalls a process befalls the one that runs: a studio that is not running cannot crash or hang.

use std::time::Duration;

use super::machine::Service;

/// A fault of one machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The studio's process is gone: connections refused, open ones reset, the stream ends.
    StudioCrash,
    /// The studio's process is stopped (`SIGSTOP`): the kernel still accepts connections, nothing answers,
    /// open sessions are silent, its stream sends nothing.
    StudioHang,
    /// The show server's process is gone.
    StatusDown,
    /// The show server accepts connections and never answers.
    StatusHang,
    /// The show server is up for `up`, then gone for `down`, and so on.
    StatusFlap { up: Duration, down: Duration },
    /// The network to and from the machine drops everything. The machine itself goes on, and its studio
    /// believes that it streams.
    Blackhole,
    /// The SSH server's process is gone.
    SshDown,
    /// The SSH server's process goes as soon as a command with this word arrives, which is not run then: what was to
    /// follow it does not follow.
    SshDownAt { word: &'static str },
    /// The studio answers and says that its stream is active, but no byte leaves it.
    OutputSilent,
    /// Every boot takes this much longer.
    SlowBoot { extra: Duration },
    /// A boot never comes as far as the network: the cloud says `running`, nothing answers.
    BootNeverFinishes,
    /// The machine boots, but this service never comes up.
    ServiceNeverStarts(Service),
    /// The cloud gives the machine another address whenever it is started.
    AddressChanges,
}

/// What is to be mended: a [`Fault`] without its figures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FaultKind {
    StudioCrash,
    StudioHang,
    StatusDown,
    StatusHang,
    StatusFlap,
    Blackhole,
    SshDown,
    OutputSilent,
    SlowBoot,
    BootNeverFinishes,
    ServiceNeverStarts(Service),
    AddressChanges,
}

impl Fault {
    #[must_use]
    pub fn kind(self) -> FaultKind {
        match self {
            Self::StudioCrash => FaultKind::StudioCrash,
            Self::StudioHang => FaultKind::StudioHang,
            Self::StatusDown => FaultKind::StatusDown,
            Self::StatusHang => FaultKind::StatusHang,
            Self::StatusFlap { .. } => FaultKind::StatusFlap,
            Self::Blackhole => FaultKind::Blackhole,
            Self::SshDown | Self::SshDownAt { .. } => FaultKind::SshDown,
            Self::OutputSilent => FaultKind::OutputSilent,
            Self::SlowBoot { .. } => FaultKind::SlowBoot,
            Self::BootNeverFinishes => FaultKind::BootNeverFinishes,
            Self::ServiceNeverStarts(service) => FaultKind::ServiceNeverStarts(service),
            Self::AddressChanges => FaultKind::AddressChanges,
        }
    }
}

/// A fault of the cloud's API. Machines go on; only asking about them fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CloudFault {
    /// Connections are refused.
    Down,
    /// Every call is answered with "too many requests".
    Throttled,
    /// Every answer comes this much later.
    Slow { delay: Duration },
    /// Starting and launching fail for want of hardware.
    NoCapacity,
    /// A stop is accepted and never carried out: the instance goes on running, and is said to.
    StopsForgotten,
    /// Who asks for an instance by its id is told that there is none, though it runs and is listed.
    Mislaid,
    /// Every change is refused: these credentials may look and not touch.
    Denied,
    /// Every change is carried out, and the connection breaks before the answer.
    AnswersLost,
}

/// A fault of the archive of recordings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ArchiveFault {
    /// Every call is answered with "try later".
    Down,
    /// Every call is refused: these credentials may not.
    Denied,
    /// Every answer comes this much later.
    Slow { delay: Duration },
    /// Every call is carried out, and the connection breaks before the answer.
    AnswersLost,
    /// What is sent arrives damaged, and is refused for that.
    Damages,
}

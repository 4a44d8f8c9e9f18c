//! The words of a scenario file, and what they stand for.

use std::time::Duration;

use super::{Command, Ends, MachineFault};
use crate::sim::model::fault::{CloudFault, Fault};

/// What may befall a machine. Figures of faults that have some are their defaults.
pub(super) const MACHINE_FAULTS: [(&str, MachineFault); 14] = [
    ("studio-crash", MachineFault::Fault(Fault::StudioCrash)),
    ("studio-hang", MachineFault::Fault(Fault::StudioHang)),
    ("output-silent", MachineFault::Fault(Fault::OutputSilent)),
    ("blackhole", MachineFault::Fault(Fault::Blackhole)),
    ("instance-rebooted", MachineFault::InstanceRebooted),
    ("instance-stopped", MachineFault::InstanceStopped),
    ("instance-terminated", MachineFault::InstanceTerminated),
    ("ssh-down", MachineFault::Fault(Fault::SshDown)),
    ("status-down", MachineFault::Fault(Fault::StatusDown)),
    ("status-hang", MachineFault::Fault(Fault::StatusHang)),
    (
        "status-flap",
        MachineFault::Fault(Fault::StatusFlap {
            up: Duration::from_millis(700),
            down: Duration::from_millis(1_500),
        }),
    ),
    (
        "slow-boot",
        MachineFault::Fault(Fault::SlowBoot {
            extra: Duration::from_secs(5),
        }),
    ),
    (
        "boot-never-finishes",
        MachineFault::Fault(Fault::BootNeverFinishes),
    ),
    ("address-changes", MachineFault::Fault(Fault::AddressChanges)),
];

/// What may be wrong with the cloud's API.
pub(super) const CLOUD_FAULTS: [(&str, CloudFault); 8] = [
    ("api-down", CloudFault::Down),
    ("throttled", CloudFault::Throttled),
    (
        "slow",
        CloudFault::Slow {
            delay: Duration::from_secs(2),
        },
    ),
    ("no-capacity", CloudFault::NoCapacity),
    ("stops-forgotten", CloudFault::StopsForgotten),
    ("mislaid", CloudFault::Mislaid),
    ("denied", CloudFault::Denied),
    ("answers-lost", CloudFault::AnswersLost),
];

/// What people do.
pub(super) const COMMANDS: [(&str, Command); 6] = [
    ("release", Command::Release),
    ("stop", Command::Stop),
    ("start", Command::Start),
    ("failover", Command::Failover),
    ("hold", Command::Hold),
    ("resume", Command::Resume),
];

pub(super) const ENDS: [(&str, Ends); 4] = [
    ("on-air", Ends::OnAir),
    ("off-air", Ends::OffAir),
    ("released", Ends::Released),
    ("waiting", Ends::Waiting),
];

/// The word for a value of one of the tables; figures do not count.
fn word_of<T>(table: &[(&'static str, T)], is_it: impl Fn(&T) -> bool) -> &'static str {
    table
        .iter()
        .find(|(_, value)| is_it(value))
        .map_or("unnamed", |(word, _)| word)
}

impl MachineFault {
    /// As in a file.
    #[must_use]
    pub fn word(self) -> &'static str {
        word_of(&MACHINE_FAULTS, |known| match (*known, self) {
            (Self::Fault(known), Self::Fault(this)) => known.kind() == this.kind(),
            (known, this) => known == this,
        })
    }
}

impl Command {
    /// As in a file.
    #[must_use]
    pub fn word(self) -> &'static str {
        word_of(&COMMANDS, |known| *known == self)
    }
}

impl Ends {
    /// Whether a show in this phase (as on the wire) has ended like that.
    #[must_use]
    pub fn fits(self, phase: &str) -> bool {
        let expected = match self {
            Self::OnAir => "on_air",
            Self::OffAir => "off_air",
            Self::Released => "idle",
            Self::Waiting => "failing_over",
        };
        phase == expected
    }

    /// As in a file.
    #[must_use]
    pub fn word(self) -> &'static str {
        word_of(&ENDS, |known| *known == self)
    }
}

/// As in a file.
#[must_use]
pub(in crate::rehearsal) fn cloud_word(fault: CloudFault) -> &'static str {
    word_of(&CLOUD_FAULTS, |known| {
        std::mem::discriminant(known) == std::mem::discriminant(&fault)
    })
}

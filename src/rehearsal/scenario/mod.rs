//! A scenario: what goes wrong, when, with what, and what must come of it. Data, from `config/rehearsals/*.toml`.
//!
//! docs/rehearsals.md documents every key. Times in a file count from the moment when all shows are on air.
//!
//! What this does not do: nothing here plays a scenario or knows a machine; see [`super::play`].

mod act;
mod built_in;
mod error;
mod form;
mod read;
mod target;
mod words;

use std::fmt;
use std::time::Duration;

pub use self::built_in::{all, built_in};
pub use self::error::{Problem, ScenarioError};
pub use self::read::{file, load, parse};
pub(super) use self::words::cloud_word;
use crate::domain::ids::ShowId;
use crate::sim::model::fault::{CloudFault, Fault};

/// Most shows of a rehearsal: a block of addresses has room for about 250 machines.
pub const SHOWS_MAX: u32 = 100;
/// Most VMs of a rehearsal, for the same reason.
pub const VMS_MAX: u32 = 240;
/// Most things that happen in a rehearsal, one to one show counted as one.
pub const CUES_MAX: u64 = 20_000;

/// One drill.
#[derive(Debug, Clone, PartialEq)]
pub struct Scenario {
    /// The file's name without its ending.
    pub name: String,
    /// One line for people.
    pub about: String,
    pub pool: Pool,
    pub shows: Shows,
    pub steps: Vec<Step>,
    pub objective: Objective,
}

/// What the pool is like when it begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pool {
    /// Running VMs beside the one that each show is given.
    pub spares: Number,
    /// Stopped VMs.
    pub cold: Number,
    /// Running VMs that the coordinator is to keep ready.
    pub warm_target: u32,
    /// Availability zones, given to the VMs in turn. At least one.
    pub zones: Vec<String>,
}

/// A number of VMs: so many, or so many for each show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Number {
    Fixed(u32),
    PerShow(u32),
}

impl Number {
    #[must_use]
    pub fn of(self, shows: u32) -> u32 {
        match self {
            Self::Fixed(count) => count,
            Self::PerShow(count) => count.saturating_mul(shows),
        }
    }
}

/// Who is on air.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shows {
    /// So many, `show-1` and on, of which the same is expected; another number may be asked for.
    Count(u32),
    /// These.
    Named(Vec<Part>),
}

/// One show, and what is expected of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    pub show: ShowId,
    /// How often it is moved; `None` if that does not matter.
    pub moves: Option<u32>,
    pub ends: Ends,
    /// Longest that its viewers may have nothing at a time.
    pub max_off_air: Option<Duration>,
}

/// How a show is when the rehearsal ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ends {
    /// Published by its VM, by the coordinator's word and by the ingest's.
    OnAir,
    /// It has a VM and does not stream.
    OffAir,
    /// It has no VM, and nobody publishes for it.
    Released,
    /// Nobody could take it over: it waits.
    Waiting,
}

/// One step of the timeline.
#[derive(Debug, Clone, PartialEq)]
pub struct Step {
    /// From the beginning.
    pub at: Duration,
    /// It happens at a moment between `at` and so much later, drawn for each show that it strikes.
    pub spread: Duration,
    /// It waits for this, from then on.
    pub when: Option<When>,
    /// How often it happens, each so much after the one before. At least once.
    pub repeat: u32,
    pub every: Duration,
    pub act: Act,
}

/// What a step waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum When {
    /// The show has begun to be moved.
    FailingOver,
}

/// What happens, and to whom.
#[derive(Debug, Clone, PartialEq)]
pub enum Act {
    /// Something breaks on machines, and is mended after a while if it says so.
    Machine {
        fault: MachineFault,
        target: Machines,
        lasts: Option<Duration>,
    },
    /// Something is wrong with the cloud's API.
    Cloud {
        fault: CloudFault,
        lasts: Option<Duration>,
    },
    /// The venue's ingest is away.
    Ingest { lasts: Option<Duration> },
    /// The actor of the VM that the show is on dies.
    VmActor(Which),
    /// The show's actor dies.
    ShowActor(Which),
    /// The coordinator's process is killed, and started again after so long.
    Coordinator { dead_for: Duration },
    /// A person does something.
    Command { command: Command, show: Which },
}

/// What may befall a machine: what the simulated machines know, and what people do in the cloud's console.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MachineFault {
    Fault(Fault),
    InstanceRebooted,
    InstanceStopped,
    InstanceTerminated,
}

/// Which machines.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Machines {
    /// Those that these shows are on at that moment.
    OfShow(Which),
    /// The first VM that is ready and has no show.
    Spare,
    /// Every VM of the pool.
    All,
    /// Every VM of a zone.
    Zone(String),
    /// Every VM of the zone in which the show is at that moment.
    ZoneOf(ShowId),
}

/// Which shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Which {
    Every,
    One(ShowId),
}

/// What people do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    Release,
    Stop,
    Start,
    Failover,
    Hold,
    Resume,
}

/// What must come of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Objective {
    /// Longest that the viewers of a show may have nothing at a time. `None` is not judged.
    pub max_off_air: Option<Duration>,
    /// How long everything may take to be as expected, from the last step.
    pub within: Duration,
    /// How long is watched after the last step before that is looked at: for what must not happen.
    pub watch: Duration,
    /// Patterns of the sources of alerts that must ring.
    pub must_ring: Vec<String>,
    /// And of those that must not.
    pub must_not_ring: Vec<String>,
    /// What is expected of every show that is not named.
    pub part: Expected,
}

/// What is expected of shows that are only counted, and of named ones that do not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected {
    pub moves: Option<u32>,
    pub ends: Ends,
}

/// Why a scenario cannot be played with so many shows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CastError {
    #[error("scenario {scenario} names its {named} shows; it cannot be played with {asked}")]
    Named {
        scenario: String,
        named: usize,
        asked: u32,
    },
    #[error("scenario {scenario} cannot be played with {shows} shows; a rehearsal has at most {SHOWS_MAX}")]
    TooMany { scenario: String, shows: u32 },
    #[error(
        "scenario {scenario} with {shows} shows has {cues} things happen; a rehearsal has at most {CUES_MAX}"
    )]
    TooLong { scenario: String, shows: u32, cues: u64 },
    #[error("scenario {scenario} with {shows} shows needs {vms} VMs; a rehearsal has room for {VMS_MAX}")]
    TooLarge { scenario: String, shows: u32, vms: u32 },
}

impl Scenario {
    /// The shows that take part, with what is expected of each. `asked` is another number of them.
    ///
    /// # Errors
    /// [`CastError`].
    pub fn parts(&self, asked: Option<u32>) -> Result<Vec<Part>, CastError> {
        let parts = match &self.shows {
            Shows::Named(named) => {
                if let Some(asked) = asked.filter(|asked| *asked as usize != named.len()) {
                    return Err(CastError::Named {
                        scenario: self.name.clone(),
                        named: named.len(),
                        asked,
                    });
                }
                named.clone()
            }
            Shows::Count(count) => numbered(asked.unwrap_or(*count))
                .map(|show| Part {
                    show,
                    moves: self.objective.part.moves,
                    ends: self.objective.part.ends,
                    max_off_air: self.objective.max_off_air,
                })
                .collect(),
        };
        self.fits(u32::try_from(parts.len()).unwrap_or(u32::MAX))?;
        Ok(parts)
    }

    fn fits(&self, shows: u32) -> Result<(), CastError> {
        let scenario = self.name.clone();
        if shows > SHOWS_MAX {
            return Err(CastError::TooMany { scenario, shows });
        }
        let (warm, cold) = self.machines(shows);
        let vms = warm.saturating_add(cold);
        if vms > VMS_MAX {
            return Err(CastError::TooLarge { scenario, shows, vms });
        }
        let cues = self.steps.iter().map(|step| {
            let each = match step.act.which() {
                Some(Which::Every) => shows,
                Some(Which::One(_)) | None => 1,
            };
            u64::from(step.repeat) * u64::from(each)
        });
        let cues = cues.sum();
        if cues > CUES_MAX {
            return Err(CastError::TooLong {
                scenario,
                shows,
                cues,
            });
        }
        Ok(())
    }

    /// How many VMs run at the beginning, and how many are stopped.
    #[must_use]
    pub fn machines(&self, shows: u32) -> (u32, u32) {
        let warm = shows.saturating_add(self.pool.spares.of(shows));
        (warm, self.pool.cold.of(shows))
    }

    /// Whether the coordinator is killed in it, so that it needs a process of its own.
    #[must_use]
    pub fn kills_the_coordinator(&self) -> bool {
        self.steps
            .iter()
            .any(|step| matches!(step.act, Act::Coordinator { .. }))
    }

    /// When the last step is over if nothing has to be waited for, from the beginning.
    #[must_use]
    pub fn length(&self) -> Duration {
        let ends = self.steps.iter().map(|step| {
            let last = step.at + step.every * step.repeat.saturating_sub(1) + step.spread;
            last + step.act.lasts().unwrap_or_default()
        });
        ends.max().unwrap_or_default() + self.objective.watch
    }
}

/// `show-1` and on.
fn numbered(count: u32) -> impl Iterator<Item = ShowId> {
    // Every such name is a legal one.
    (1..=count).filter_map(|number| ShowId::new(format!("show-{number}")).ok())
}

impl Act {
    /// How long it lasts; `None` if nobody mends it, or there is nothing to mend.
    #[must_use]
    pub fn lasts(&self) -> Option<Duration> {
        match self {
            Self::Machine { lasts, .. } | Self::Cloud { lasts, .. } | Self::Ingest { lasts } => *lasts,
            Self::Coordinator { dead_for } => Some(*dead_for),
            Self::VmActor(_) | Self::ShowActor(_) | Self::Command { .. } => None,
        }
    }

    /// Which shows it is about, if it is about shows.
    #[must_use]
    pub fn which(&self) -> Option<&Which> {
        match self {
            Self::Machine {
                target: Machines::OfShow(which),
                ..
            }
            | Self::VmActor(which)
            | Self::ShowActor(which)
            | Self::Command { show: which, .. } => Some(which),
            Self::Machine { .. } | Self::Cloud { .. } | Self::Ingest { .. } | Self::Coordinator { .. } => {
                None
            }
        }
    }
}

impl fmt::Display for Which {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Every => f.write_str("*"),
            Self::One(show) => write!(f, "{show}"),
        }
    }
}

//! Whether a VM on air has failed: five independent signals, one verdict.
//!
//! | signal | good | bad |
//! |---|---|---|
//! | probe  | the show server answered | refused, silent |
//! | obs    | the studio answered on our session | refused (its process is gone), silent (it hangs), cut (below) |
//! | output | bytes rise | bytes do not rise |
//! | ssh    | the session answered | refused, silent |
//! | cloud  | running | stopping, stopped, shutting down, terminated; asked by id, not found |
//!
//! Rules, in this order:
//! 1. The cloud says that the machine is going or gone: machine lost, at once. If it only does not find it, and the
//!    studio has answered since, the studio is believed.
//! 2. The studio refuses connections for `studio_grace`: studio lost. A refusal comes from a living machine
//!    whose OBS process does not listen; no other proof is needed.
//! 3. The studio is silent for `silence_limit`: studio lost if the machine answers elsewhere, else machine lost.
//! 4. The way to the studio is cut: it leads through the machine's SSH server, and that is lost. This is no word on the
//!    studio. The machine is lost if nothing on it has answered for `silence_limit`, the show server included; the
//!    studio is, if the show server has said for as long that it is not connected to it; what has lasted longer counts.
//! 5. The studio answers but no bytes leave for `silence_limit`: output silent, if the ingest can be reached
//!    from another VM; not this VM's fault if it cannot. That is asked after half that time. From when the ingest was last
//!    found away the time counts anew, and is longer by as long as that had lasted, up to thrice the limit in all: a
//!    studio that cannot connect tries again after 2.3 s, and waits half as long again each time (OBS 30.2.3).
//! 6. Anything else is fine: a show server that is down does not take a show off the air.
//!
//! A missing signal is unknown, and unknown is never a failure. Bad needs an attempt that failed, not just the
//! absence of a good one. Whoever asks must have been awake: after this process was itself stopped for a while,
//! nothing is judged for a silence limit.

use std::time::Duration;

use super::Cause;
use crate::domain::instance::InstanceState;
use crate::domain::time::Timestamp;

/// Outcome of the latest attempts on one channel.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Sign {
    #[default]
    Unknown,
    Good {
        at: Timestamp,
    },
    /// Every attempt since `since` failed.
    Bad {
        since: Timestamp,
        how: Trouble,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// The machine answered that nothing listens, or the peer closed and refuses to be called again.
    Refused,
    /// Nothing answered in time.
    Silent,
    /// It could not be asked: what leads there is lost, and that is another channel's trouble.
    Cut,
}

impl Sign {
    /// An attempt succeeded.
    #[must_use]
    pub fn good(at: Timestamp) -> Self {
        Self::Good { at }
    }

    /// An attempt failed; `since` is when the trouble can first have begun. Trouble of one kind keeps its
    /// beginning; a refusal after silence is news (the process is gone now).
    #[must_use]
    pub fn worsen(self, since: Timestamp, how: Trouble) -> Self {
        match self {
            Self::Bad {
                since: begun,
                how: before,
            } if before == how => Self::Bad { since: begun, how },
            Self::Bad {
                since: begun,
                how: Trouble::Refused,
            } if how == Trouble::Silent => Self::Bad { since: begun, how },
            Self::Unknown | Self::Good { .. } | Self::Bad { .. } => Self::Bad { since, how },
        }
    }

    /// Attempts on this channel go unanswered.
    #[must_use]
    pub fn is_silent(self) -> bool {
        self.silent_since().is_some()
    }

    fn silent_since(self) -> Option<Timestamp> {
        match self {
            Self::Bad {
                since,
                how: Trouble::Silent,
            } => Some(since),
            Self::Unknown
            | Self::Good { .. }
            | Self::Bad {
                how: Trouble::Refused | Trouble::Cut,
                ..
            } => None,
        }
    }

    fn answers(self) -> bool {
        match self {
            Self::Good { .. }
            | Self::Bad {
                how: Trouble::Refused,
                ..
            } => true,
            Self::Unknown
            | Self::Bad {
                how: Trouble::Silent | Trouble::Cut,
                ..
            } => false,
        }
    }
}

/// The stream output, as OBS counts it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum OutputSign {
    #[default]
    Unknown,
    Rising {
        at: Timestamp,
    },
    /// Bytes have not risen since then, though OBS answers.
    Flat {
        since: Timestamp,
    },
}

/// What the cloud's sweep says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CloudSign {
    #[default]
    Unknown,
    Running,
    /// Going, or gone; `None` if the cloud, asked by its id, does not find it.
    Down {
        since: Timestamp,
        state: Option<InstanceState>,
    },
}

/// Whether the ingest can be reached from a VM other than the one on air.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum IngestSign {
    #[default]
    Unknown,
    Reachable {
        at: Timestamp,
    },
    /// As [`Reachable`](Self::Reachable), and it could not be at `away_at`.
    Back {
        at: Timestamp,
        away_at: Timestamp,
    },
    Unreachable {
        at: Timestamp,
    },
}

/// Everything known about the VM on air.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Signals {
    pub probe: Sign,
    pub obs: Sign,
    pub output: OutputSign,
    pub ssh: Sign,
    pub cloud: CloudSign,
    /// What the show server says of its own connection to the studio: hearsay, for when the studio cannot be asked.
    pub hearsay: Sign,
    /// Last time bytes were seen to rise, kept when the output goes flat or unknown.
    pub last_output_at: Option<Timestamp>,
}

impl Signals {
    /// Lets an output be flat from `on_air` at the earliest: before that, none was to be expected.
    #[must_use]
    pub fn expecting_output_from(mut self, on_air: Timestamp) -> Self {
        if let OutputSign::Flat { since } = &mut self.output {
            *since = (*since).max(on_air);
        }
        self
    }

    /// When the studio last answered, or its bytes last rose.
    #[must_use]
    pub fn heard_at(&self) -> Option<Timestamp> {
        let answered = match self.obs {
            Sign::Good { at } => Some(at),
            Sign::Unknown | Sign::Bad { .. } => None,
        };
        answered.max(self.last_output_at)
    }

    /// Whether it is known that no output leaves the VM: its bytes do not rise, or its studio is gone or does not answer.
    #[must_use]
    pub fn is_off_air(&self) -> bool {
        let is_flat = matches!(self.output, OutputSign::Flat { .. });
        let is_gone = match self.obs {
            Sign::Bad { how, .. } => how != Trouble::Cut,
            Sign::Unknown | Sign::Good { .. } => false,
        };
        is_flat || is_gone
    }

    /// Whether output is seen to leave the VM.
    #[must_use]
    pub fn is_publishing(&self) -> bool {
        match self.output {
            OutputSign::Rising { .. } => matches!(self.obs, Sign::Good { .. }),
            OutputSign::Unknown | OutputSign::Flat { .. } => false,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Silence that counts as loss.
    pub silence_limit: Duration,
    /// How long a studio may refuse connections before it counts as lost: one quick reconnect fits in.
    pub studio_grace: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Fine,
    /// Something is wrong; look again then.
    Suspect {
        since: Timestamp,
        recheck_at: Timestamp,
    },
    /// No output leaves: find out whether the ingest can be reached from elsewhere.
    AskIngest {
        since: Timestamp,
    },
    /// No output leaves because the ingest is away. Moving would not help.
    NotThisVm {
        since: Timestamp,
    },
    Lost {
        cause: Cause,
        since: Timestamp,
    },
}

/// Judges the VM on air.
#[must_use]
pub fn judge(
    signals: &Signals,
    ingest: IngestSign,
    output_wanted: bool,
    policy: &Policy,
    now: Timestamp,
) -> Verdict {
    if let CloudSign::Down { since, state } = signals.cloud
        && (state.is_some() || signals.heard_at().is_none_or(|heard| heard <= since))
    {
        return Verdict::Lost {
            cause: Cause::MachineLost,
            since,
        };
    }
    match signals.obs {
        Sign::Bad {
            since,
            how: Trouble::Refused,
        } => after(since, policy.studio_grace, now, Cause::StudioLost),
        Sign::Bad {
            since,
            how: Trouble::Silent,
        } => {
            let machine_answers = signals.probe.answers() || signals.ssh.answers();
            let cause = if machine_answers {
                Cause::StudioLost
            } else {
                Cause::MachineLost
            };
            after(since, policy.silence_limit, now, cause)
        }
        Sign::Bad {
            since,
            how: Trouble::Cut,
        } => judge_cut_off(signals, since, policy, now),
        Sign::Good { .. } if output_wanted => judge_output(signals, ingest, policy, now),
        // Without an answer from the studio, what was last seen of its output proves nothing.
        Sign::Unknown | Sign::Good { .. } => Verdict::Fine,
    }
}

/// The studio cannot be asked since `cut`.
fn judge_cut_off(signals: &Signals, cut: Timestamp, policy: &Policy, now: Timestamp) -> Verdict {
    let machine = match (signals.ssh.silent_since(), signals.probe.silent_since()) {
        (Some(ssh), Some(probe)) => Some((cut.max(ssh).max(probe), Cause::MachineLost)),
        (Some(_) | None, None) | (None, Some(_)) => None,
    };
    let studio = match signals.hearsay {
        Sign::Bad { since, .. } => Some((since.max(cut), Cause::StudioLost)),
        Sign::Unknown | Sign::Good { .. } => None,
    };
    let first = machine.into_iter().chain(studio).min_by_key(|(since, _)| *since);
    first.map_or(Verdict::Fine, |(since, cause)| {
        after(since, policy.silence_limit, now, cause)
    })
}

fn after(since: Timestamp, limit: Duration, now: Timestamp, cause: Cause) -> Verdict {
    if now.since(since) >= limit {
        Verdict::Lost { cause, since }
    } else {
        Verdict::Suspect {
            since,
            recheck_at: since + limit,
        }
    }
}

fn judge_output(signals: &Signals, ingest: IngestSign, policy: &Policy, now: Timestamp) -> Verdict {
    let OutputSign::Flat { since } = signals.output else {
        return Verdict::Fine;
    };
    let fresh = |at: Timestamp| at >= since && now.since(at) <= policy.silence_limit;
    match ingest {
        IngestSign::Unreachable { at } if fresh(at) => Verdict::NotThisVm { since },
        IngestSign::Reachable { at } if fresh(at) => {
            after(since, policy.silence_limit, now, Cause::OutputSilent)
        }
        IngestSign::Back { at, away_at } if fresh(at) => {
            let limit = policy.silence_limit + away_at.since(since).min(policy.silence_limit * 2);
            after(since.max(away_at), limit, now, Cause::OutputSilent)
        }
        IngestSign::Unknown
        | IngestSign::Reachable { .. }
        | IngestSign::Back { .. }
        | IngestSign::Unreachable { .. } => ask(since, policy, now),
    }
}

/// Asked while it may still be away: one that is back by the time of the verdict would clear itself.
fn ask(since: Timestamp, policy: &Policy, now: Timestamp) -> Verdict {
    let recheck_at = since + policy.silence_limit / 2;
    if now < recheck_at {
        Verdict::Suspect { since, recheck_at }
    } else {
        Verdict::AskIngest { since }
    }
}

#[cfg(test)]
mod tests;

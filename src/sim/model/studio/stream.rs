//! The studio's stream output: OBS's RTMP output as seen through obs-websocket.
//!
//! ```text
//!            start                 accepted, delay over
//! Inactive ─────────► Starting ───────────────────────► Active ◄──────── Reconnecting
//!    ▲ ▲                 │ refused                       │ │   accepted     ▲   │
//!    │ └──── Failing ◄───┘                               │ └────────────────┘   │ gives up
//!    └──────────────── Stopping ◄────────────────────────┘ stop      lost       ▼
//!    ▲                                                                       Inactive
//!    └───────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! Measured on OBS Studio 30.2.3 and kept here: the start request is answered at once and bytes rise
//! 0.35 to 1.0 s later; `outputBytes` keeps the previous stream's figure after the stop and for up to 40 ms after
//! the next start, and is zero from then until bytes leave; while the ingest is being connected (30 s against one
//! that accepts and never answers), nothing else tells: `outputActive` is false and `StopStream` and `StopOutput`
//! are answered with 501; a refusing ingest ends in `STOPPED` 0.07 s later without an error on the request; a lost
//! publisher is back after 2.3 s; stopping takes 0.18 s.
//!
//! The model opens no connection. It says which [`Publish`] it wants, and is told what came of it.

#[cfg(test)]
mod tests;

use std::time::Duration;

use crate::domain::time::{Timestamp, millis};

/// Retries before OBS gives a lost stream up (its default).
const RECONNECT_TRIES_MAX: u32 = 25;

/// From the start request until the previous stream's figures are cleared.
const CLEARED_AFTER: Duration = Duration::from_millis(20);

/// How long the output's steps take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StudioTiming {
    /// From the start request to bytes that rise. `STARTED` comes 100 ms before.
    pub rise: Duration,
    /// From the stop request to `STOPPED`.
    pub stop: Duration,
    /// From the start request to `STOPPED` when the ingest refuses.
    pub refused: Duration,
    /// From the loss of the publisher to the first try to reconnect; each further one waits 1.5 times longer.
    pub reconnect: Duration,
    /// How long a change of scene collection takes, during which other requests are answered "not ready".
    pub collection_switch: Duration,
    /// From the answer that a scene is in preview until it is.
    pub preview: Duration,
    /// Bits per second of the encoded stream.
    pub bitrate_bps: u64,
}

impl Default for StudioTiming {
    fn default() -> Self {
        Self {
            rise: Duration::from_millis(350),
            stop: Duration::from_millis(180),
            refused: Duration::from_millis(70),
            reconnect: Duration::from_millis(2_300),
            collection_switch: Duration::from_millis(60),
            // Measured on OBS 30.2.3: less than 45 ms.
            preview: Duration::from_millis(40),
            bitrate_bps: 6_000_000,
        }
    }
}

/// What the output is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    Inactive,
    Starting {
        since: Timestamp,
        accepted: bool,
    },
    /// The ingest refused; the user interface has not said so yet.
    Failing {
        until: Timestamp,
    },
    Active {
        since: Timestamp,
    },
    Reconnecting {
        since: Timestamp,
        tries: u32,
        /// `None` while a try is under way.
        retry_at: Option<Timestamp>,
    },
    Stopping {
        since: Timestamp,
        until: Timestamp,
    },
}

/// `outputState` of the event `StreamStateChanged`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamState {
    Starting,
    Started,
    Stopping,
    Stopped,
    Reconnecting,
    Reconnected,
}

/// A connection to the ingest that the output wants to have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Publish {
    /// Tells this connection from the ones before it.
    pub attempt: u64,
}

/// The state of the output.
#[derive(Debug)]
pub struct StreamOutput {
    timing: StudioTiming,
    phase: Phase,
    attempt: u64,
    /// Bytes up to `rising_since`.
    bytes: u64,
    /// Since when bytes leave; in the future while the encoder warms up, `None` while none do.
    rising_since: Option<Timestamp>,
    frames: u64,
    /// OBS makes the output when the first stream since its launch is started.
    made: bool,
    silent: bool,
    hung: bool,
}

/// Frames per second of the simulated canvas.
pub(super) const FRAMES_PER_S: u64 = 30;

impl StreamOutput {
    pub(super) fn new(timing: StudioTiming) -> Self {
        Self {
            timing,
            phase: Phase::Inactive,
            attempt: 0,
            bytes: 0,
            rising_since: None,
            frames: 0,
            made: false,
            silent: false,
            hung: false,
        }
    }

    #[must_use]
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// `outputActive` of `GetStreamStatus`. Not yet while starting.
    #[must_use]
    pub fn is_active(&self) -> bool {
        match self.phase {
            Phase::Active { .. } | Phase::Reconnecting { .. } | Phase::Stopping { .. } => true,
            Phase::Inactive | Phase::Starting { .. } | Phase::Failing { .. } => false,
        }
    }

    /// Whether `GetOutputList` names it.
    #[must_use]
    pub fn is_made(&self) -> bool {
        self.made
    }

    #[must_use]
    pub fn is_reconnecting(&self) -> bool {
        matches!(self.phase, Phase::Reconnecting { .. })
    }

    /// `outputBytes`.
    #[must_use]
    pub fn bytes(&self, now: Timestamp) -> u64 {
        if let Phase::Starting { since, .. } = self.phase
            && now >= since + CLEARED_AFTER
        {
            return 0;
        }
        let Some(since) = self.rising_since.filter(|since| *since <= now) else {
            return self.bytes;
        };
        // The first packet carries the codec headers, so the figure rises at once.
        let first_packet_bytes = 1_024;
        let sent = millis(now.since(since)).saturating_mul(self.timing.bitrate_bps) / 8_000;
        self.bytes.saturating_add(first_packet_bytes).saturating_add(sent)
    }

    /// Time since this stream was started; zero while there is none.
    #[must_use]
    pub fn duration(&self, now: Timestamp) -> Duration {
        match self.phase {
            Phase::Active { since } | Phase::Reconnecting { since, .. } | Phase::Stopping { since, .. } => {
                now.since(since)
            }
            Phase::Inactive | Phase::Starting { .. } | Phase::Failing { .. } => Duration::ZERO,
        }
    }

    /// `outputTotalFrames`: of this stream, or of the last one.
    #[must_use]
    pub fn total_frames(&self, now: Timestamp) -> u64 {
        if self.is_active() {
            millis(self.duration(now)) * FRAMES_PER_S / 1_000
        } else {
            self.frames
        }
    }

    /// The connection to the ingest that should exist now.
    #[must_use]
    pub fn publish(&self) -> Option<Publish> {
        match self.phase {
            Phase::Starting { .. } | Phase::Active { .. } | Phase::Stopping { .. } => Some(Publish {
                attempt: self.attempt,
            }),
            Phase::Reconnecting { retry_at: None, .. } => Some(Publish {
                attempt: self.attempt,
            }),
            Phase::Reconnecting {
                retry_at: Some(_), ..
            }
            | Phase::Inactive
            | Phase::Failing { .. } => None,
        }
    }

    /// Since when, or from when, bytes leave for the ingest. `None` while none do.
    #[must_use]
    pub fn sends_since(&self) -> Option<Timestamp> {
        match self.phase {
            Phase::Starting { .. } | Phase::Active { .. } => self.rising_since,
            Phase::Inactive | Phase::Failing { .. } | Phase::Reconnecting { .. } | Phase::Stopping { .. } => {
                None
            }
        }
    }

    /// False if a stream runs already. One that is just starting does not count, as in OBS.
    pub(super) fn start(&mut self, now: Timestamp, states: &mut Vec<StreamState>) -> bool {
        if self.is_active() {
            return false;
        }
        if matches!(self.phase, Phase::Starting { .. }) {
            return true;
        }
        self.attempt += 1;
        self.made = true;
        self.phase = Phase::Starting {
            since: now,
            accepted: false,
        };
        states.push(StreamState::Starting);
        true
    }

    /// False if no stream runs. One that is just starting cannot be stopped, as in OBS.
    pub(super) fn stop(&mut self, now: Timestamp, states: &mut Vec<StreamState>) -> bool {
        match self.phase {
            Phase::Active { since } | Phase::Reconnecting { since, .. } => {
                self.settle(now);
                self.phase = Phase::Stopping {
                    since,
                    until: now + self.timing.stop,
                };
                states.push(StreamState::Stopping);
                true
            }
            Phase::Stopping { .. } => true,
            Phase::Inactive | Phase::Starting { .. } | Phase::Failing { .. } => false,
        }
    }

    /// The ingest took the connection of `attempt`.
    pub(super) fn accepted(&mut self, attempt: u64, now: Timestamp, states: &mut Vec<StreamState>) {
        if attempt != self.attempt {
            return;
        }
        match self.phase {
            Phase::Starting {
                since,
                accepted: false,
            } => {
                self.phase = Phase::Starting {
                    since,
                    accepted: true,
                };
            }
            Phase::Reconnecting {
                since,
                retry_at: None,
                ..
            } => {
                self.phase = Phase::Active { since };
                self.begin_counting(now);
                states.push(StreamState::Reconnected);
            }
            Phase::Starting { .. }
            | Phase::Reconnecting { .. }
            | Phase::Inactive
            | Phase::Failing { .. }
            | Phase::Active { .. }
            | Phase::Stopping { .. } => {}
        }
    }

    /// The ingest refused the connection of `attempt`, or it was lost.
    pub(super) fn lost(&mut self, attempt: u64, now: Timestamp, states: &mut Vec<StreamState>) {
        if attempt != self.attempt {
            return;
        }
        match self.phase {
            Phase::Starting { since, .. } => {
                self.bytes = 0;
                self.phase = Phase::Failing {
                    until: (since + self.timing.refused).max(now),
                };
            }
            Phase::Active { since } => {
                self.settle(now);
                let retry_at = Some(now + self.timing.reconnect);
                self.phase = Phase::Reconnecting {
                    since,
                    tries: 0,
                    retry_at,
                };
                states.push(StreamState::Reconnecting);
            }
            Phase::Reconnecting { tries, .. } if tries >= RECONNECT_TRIES_MAX => {
                self.end(now);
                states.push(StreamState::Stopped);
            }
            Phase::Reconnecting {
                since,
                tries,
                retry_at: None,
            } => {
                let wait = self.timing.reconnect.mul_f64(1.5_f64.powi(tries.cast_signed()));
                self.phase = Phase::Reconnecting {
                    since,
                    tries,
                    retry_at: Some(now + wait),
                };
            }
            Phase::Reconnecting { .. } | Phase::Inactive | Phase::Failing { .. } | Phase::Stopping { .. } => {
            }
        }
    }

    /// No bytes leave although the stream is active.
    pub(super) fn set_silent(&mut self, silent: bool, now: Timestamp) {
        self.settle(now);
        self.silent = silent;
        self.resume(now);
    }

    /// The process does not run at all.
    pub(super) fn set_hung(&mut self, hung: bool, now: Timestamp) {
        self.settle(now);
        self.hung = hung;
        self.resume(now);
    }

    /// The process is gone and the counters with it.
    pub(super) fn process_died(&mut self) {
        self.phase = Phase::Inactive;
        self.attempt += 1;
        self.made = false;
        self.bytes = 0;
        self.frames = 0;
        self.rising_since = None;
        self.hung = false;
    }

    pub(super) fn advance(&mut self, now: Timestamp, states: &mut Vec<StreamState>) {
        match self.phase {
            Phase::Starting {
                since,
                accepted: true,
            } if self.started_at(since) <= now => {
                self.phase = Phase::Active {
                    since: self.started_at(since),
                };
                self.begin_counting(since + self.timing.rise);
                states.push(StreamState::Started);
            }
            Phase::Failing { until } if until <= now => {
                self.phase = Phase::Inactive;
                states.push(StreamState::Stopped);
            }
            Phase::Stopping { until, .. } if until <= now => {
                self.end(until);
                states.push(StreamState::Stopped);
            }
            Phase::Reconnecting {
                since,
                tries,
                retry_at: Some(at),
            } if at <= now => {
                self.attempt += 1;
                self.phase = Phase::Reconnecting {
                    since,
                    tries: tries + 1,
                    retry_at: None,
                };
            }
            Phase::Inactive
            | Phase::Starting { .. }
            | Phase::Failing { .. }
            | Phase::Active { .. }
            | Phase::Reconnecting { .. }
            | Phase::Stopping { .. } => {}
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Timestamp> {
        match self.phase {
            Phase::Starting {
                since,
                accepted: true,
            } => Some(self.started_at(since)),
            Phase::Failing { until } | Phase::Stopping { until, .. } => Some(until),
            Phase::Reconnecting { retry_at, .. } => retry_at,
            Phase::Inactive | Phase::Starting { accepted: false, .. } | Phase::Active { .. } => None,
        }
    }

    fn started_at(&self, since: Timestamp) -> Timestamp {
        since + self.timing.rise.saturating_sub(Duration::from_millis(100))
    }

    fn begin_counting(&mut self, from: Timestamp) {
        self.bytes = 0;
        self.rising_since = (!self.silent && !self.hung).then_some(from);
    }

    fn settle(&mut self, now: Timestamp) {
        self.bytes = self.bytes(now);
        self.rising_since = None;
    }

    fn resume(&mut self, now: Timestamp) {
        if matches!(self.phase, Phase::Active { .. }) && !self.silent && !self.hung {
            self.rising_since = Some(now);
        }
    }

    fn end(&mut self, now: Timestamp) {
        self.settle(now);
        self.frames = self.total_frames(now);
        self.phase = Phase::Inactive;
    }
}

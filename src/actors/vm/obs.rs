//! The OBS link: one session with the studio, its output polled, its notices passed on.
//!
//! A session that closes is called again at once: whether that is refused tells a dead studio from a lost
//! connection. A poll that goes unanswered is reported with the time of the last answer, since that is when
//! the silence began; so is a session that closed, if nothing answers after it.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::link::{Conversation, Pace, Target, WATCHED_EVERY};
use super::report::{Report, studio_trouble};
use crate::domain::failover::verdict::Trouble;
use crate::domain::studio::Output;
use crate::domain::time::Timestamp;
use crate::infra::obs::{Error, Notice, Outputs, Route, Session};

/// Unanswered polls after which the session is given up and the studio called anew.
const UNANSWERED_MAX: u32 = 2;
/// Longest pause between two calls of a studio that a show depends on.
const RECONNECT_MAX_ON_AIR: Duration = Duration::from_millis(500);

pub async fn run(mut link: Conversation) {
    let Some(connector) = link.ctx.world.obs.clone() else {
        return;
    };
    let first = link.ctx.options.obs.reconnect_initial;
    let mut backoff = first;
    let mut lost: Option<Loss> = None;
    while let Some((target, pace)) = link.target().await {
        let began = link.ctx.now();
        let shell = link.shell.borrow_and_update().clone();
        let endpoint = link.ctx.obs_endpoint(target.ip, shell);
        let deadline = endpoint.connect_deadline;
        let connected = link.in_time("connecting to the studio", deadline, connector.connect(&endpoint));
        let Some(connected) = connected.await else {
            return link.studio_hangs().await;
        };
        match connected {
            Ok((session, notices)) => {
                backoff = first;
                link.report(Report::StudioUp {
                    session: Arc::clone(&session),
                })
                .await;
                lost = match converse(&mut link, &target, &endpoint.route, session.as_ref(), notices).await {
                    Ended::Lost(loss) => Some(loss),
                    Ended::Left => None,
                    Ended::Hangs => return link.studio_hangs().await,
                };
            }
            Err(error) => {
                let since = lost.map_or(began, |loss| loss.trouble_began(&error));
                if matches!(error, Error::Cut(_)) {
                    // What is found once there is a way again did not begin before.
                    lost = None;
                }
                link.report(Report::StudioDown { since, error }).await;
                let longest = match pace {
                    Pace::OnAir => RECONNECT_MAX_ON_AIR,
                    // A studio that is started anew is awaited: while it is cleaned, or boots.
                    Pace::Watched => WATCHED_EVERY.min(link.ctx.options.obs.reconnect_max),
                    Pace::Idle => link.ctx.options.obs.reconnect_max,
                };
                rest(&mut link, backoff).await;
                backoff = (backoff * 2).min(longest);
            }
        }
    }
}

/// Waits before the next try, but not once there is another way to the studio.
async fn rest(link: &mut Conversation, span: Duration) {
    let mut shell = link.shell.clone();
    tokio::select! {
        // Either leads to the next try; the order is fixed so that a simulation repeats itself.
        biased;
        Ok(()) = shell.changed() => {}
        () = link.pause(span) => {}
    }
}

/// How a conversation ended.
enum Ended {
    Lost(Loss),
    /// The machine is another one.
    Left,
    /// The adapter did not keep its deadline.
    Hangs,
}

/// A session that was lost.
#[derive(Debug, Clone, Copy)]
struct Loss {
    /// When it was seen to be.
    at: Timestamp,
    /// When the studio last answered on it.
    heard_at: Timestamp,
}

impl Loss {
    /// Since when the studio is what `error` shows, with which it was called next.
    fn trouble_began(self, error: &Error) -> Timestamp {
        match studio_trouble(error) {
            // A process that ended took its connections along.
            Some(Trouble::Refused) => self.at,
            Some(Trouble::Silent | Trouble::Cut) | None => self.heard_at,
        }
    }
}

impl Conversation {
    /// What is known of the studio is out of date from now on, by no fault of its own.
    async fn studio_hangs(&self) {
        self.report(Report::StudioLost).await;
        let since = self.ctx.now();
        let error = Error::Protocol("the connection here does not keep its own deadline".to_owned());
        self.report(Report::StudioDown { since, error }).await;
    }
}

/// Polls until the session is lost or the machine is another one.
async fn converse(
    link: &mut Conversation,
    target: &Target,
    route: &Route,
    session: &dyn Session,
    mut notices: mpsc::Receiver<Notice>,
) -> Ended {
    let mut heard_at = link.ctx.now();
    let mut unanswered = 0;
    loop {
        let Some((now_target, pace)) = link.target().await else {
            return Ended::Left;
        };
        if !now_target.is_same_machine(target) {
            return Ended::Left;
        }
        let deadline = link.ctx.options.obs.call_deadline;
        let polled = link.in_time(
            "polling the studio",
            deadline,
            poll_once(session, route, deadline),
        );
        let Some(polled) = polled.await else {
            return Ended::Hangs;
        };
        match polled {
            Ok(output) => {
                heard_at = link.ctx.now();
                unanswered = 0;
                link.report(Report::Output { output, at: heard_at }).await;
            }
            Err(error @ (Error::TimedOut { .. } | Error::Cut(_))) => {
                unanswered += 1;
                link.report(Report::StudioSilent {
                    since: heard_at,
                    error,
                })
                .await;
                if unanswered >= UNANSWERED_MAX {
                    link.report(Report::StudioLost).await;
                    return Ended::Lost(Loss {
                        at: heard_at,
                        heard_at,
                    });
                }
            }
            Err(error) => {
                tracing::debug!(%error, "the session with the studio is lost");
                link.report(Report::StudioLost).await;
                let at = link.ctx.now();
                return Ended::Lost(Loss { at, heard_at });
            }
        }
        let poll = match pace {
            Pace::Idle => link.ctx.options.obs.poll,
            Pace::Watched => WATCHED_EVERY.min(link.ctx.options.obs.poll),
            Pace::OnAir => link.ctx.options.obs.poll_on_air,
        };
        if listen(link, &mut notices, poll).await.is_none() {
            link.report(Report::StudioLost).await;
            let at = link.ctx.now();
            return Ended::Lost(Loss { at, heard_at });
        }
    }
}

/// Asks for the output. When no answer comes for half the time it may take, the SSH server on the way is asked for a
/// sign of life as well: if that does not answer either, the studio's silence says nothing.
async fn poll_once(session: &dyn Outputs, route: &Route, limit: Duration) -> Result<Output, Error> {
    let Route::Shell(shell) = route else {
        return session.output().await;
    };
    let mut asked = session.output();
    if let Ok(answer) = tokio::time::timeout(limit / 2, &mut asked).await {
        return answer;
    }
    let (answer, alive) = tokio::join!(asked, shell.ping(limit / 2));
    match (answer, alive) {
        (Err(Error::TimedOut { .. }), Err(why)) => Err(Error::Cut(why)),
        (answer, _) => answer,
    }
}

/// Passes notices on until the next poll is due. `None` when the session has ended.
async fn listen(link: &mut Conversation, notices: &mut mpsc::Receiver<Notice>, span: Duration) -> Option<()> {
    let until = tokio::time::Instant::now() + span;
    loop {
        tokio::select! {
            // A notice first: the end of the session is the fastest sign of a dead studio.
            biased;
            notice = notices.recv() => link.report(Report::Noticed(notice?)).await,
            changed = link.orders.changed() => {
                changed.ok()?;
                return Some(());
            }
            () = tokio::time::sleep_until(until) => return Some(()),
        }
    }
}

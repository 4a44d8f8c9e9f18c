//! Asks a machine how busy it is, over the session that there is, now and then.
//!
//! It costs the machine two short commands. What cannot be read is left to grow old: nothing depends on it.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::link::{GRACE, Reports};
use super::report::Report;
use crate::actors::context::Context;
use crate::domain::load::{DISK, FILES, Load, Sample};
use crate::infra::ssh::{Commands, Error, Exec};

/// Until the first look, where the interval is longer: what a machine does first is come up.
const FIRST_AFTER: Duration = Duration::from_secs(5);
/// Limit on each command.
const DEADLINE: Duration = Duration::from_secs(5);
/// Counters of a hundred processors fit.
const OUTPUT_BYTES_MAX: usize = 64 * 1024;

/// Goes on as long as it is polled: as long as the session lives.
pub async fn watch(
    ctx: Arc<Context>,
    reports: Reports,
    session: Arc<dyn crate::infra::ssh::Session>,
) -> Infallible {
    let Some(interval) = ctx.options.load.interval else {
        return std::future::pending().await;
    };
    let mut before = None;
    let mut pause = interval.min(FIRST_AFTER);
    loop {
        sleep(pause).await;
        pause = interval;
        // It is never closed.
        let Ok(_place) = ctx.loads.acquire().await else {
            continue;
        };
        let looked = tokio::time::timeout(2 * DEADLINE + GRACE, look(session.as_ref())).await;
        match looked.unwrap_or(Err(Error::TimedOut(2 * DEADLINE))) {
            Ok(now) => {
                let load = Load::between(before.as_ref(), &now);
                before = Some(now);
                reports.send(Report::Loaded(load)).await;
            }
            Err(error) => tracing::debug!(%error, "a machine does not say how busy it is"),
        }
    }
}

async fn look<S: Commands + ?Sized>(session: &S) -> Result<Sample, Error> {
    let files = printed(session, &FILES).await?;
    let disk = printed(session, &DISK).await?;
    Ok(Sample::read(&files, &disk))
}

async fn printed<S: Commands + ?Sized>(session: &S, words: &[&str]) -> Result<String, Error> {
    let exec = Exec {
        argv: words.iter().map(|word| (*word).to_owned()).collect(),
        deadline: DEADLINE,
        output_bytes_max: OUTPUT_BYTES_MAX,
    };
    let finished = session.exec(&exec).await?;
    Ok(String::from_utf8_lossy(&finished.stdout).into_owned())
}

//! `understudy failovers`: every remembered move of a show, with what each step took.

use jiff::Timestamp;

use super::answers::{Failover, Failovers};
use super::client::{Call, Client};
use super::failure::{Exit, Outcome};
use super::show::ShowArgs;
use super::span;
use super::status::board;
use super::style::{self, Tone};
use super::table::{Cell, Column, Line, Table};
use super::terminal::Terminal;

/// # Errors
/// What the client says.
pub async fn run(args: ShowArgs, terminal: &Terminal) -> Outcome {
    let client = Client::new(&args.connection)?;
    let show = args.show.as_str();
    let answer = client
        .ask(Call::get(&["api", "competitions", show, "failovers"]))
        .await?;
    if terminal.json {
        terminal.print_json(&answer.body)?;
        return Ok(Exit::Done);
    }
    let moves: Failovers = answer.read()?;
    if moves.current.is_none() && moves.failovers.is_empty() {
        // The server knows no show before it has had a VM, and forgets it some time after.
        terminal.print(&format!(
            "no move of {show} is known; `understudy status` lists the shows\n"
        ))?;
        return Ok(Exit::Done);
    }
    let all = moves.current.iter().chain(&moves.failovers);
    terminal.print(&render(all, Timestamp::now(), terminal))?;
    Ok(Exit::Done)
}

/// The timeline of moves as a table, and under it what could not be made equal.
#[must_use]
pub fn render<'f>(
    moves: impl IntoIterator<Item = &'f Failover>,
    now: Timestamp,
    terminal: &Terminal,
) -> String {
    let mut table = Table::new([
        Column::new("EPOCH").right(),
        Column::new("BEGAN").rank(3),
        Column::new("CAUSE").rank(9),
        Column::new("FROM").rank(5),
        Column::new("TO").rank(6),
        Column::new("DETECT").right().rank(4),
        Column::new("DECIDE").right().rank(2),
        Column::new("FENCE").right().rank(2),
        Column::new("RESTORE").right().rank(2),
        Column::new("VERIFY").right().rank(2),
        Column::new("OFF AIR").right().rank(8),
        Column::new("ENDED").rank(7),
        Column::new("DIFFERS").rank(4),
        Column::new("FENCED BY").rank(1).optional(),
        Column::new("WHY").flexible().rank(0).optional(),
    ]);
    let (mut differences, mut refused) = (String::new(), String::new());
    for failover in moves {
        table.row(row(failover, now));
        if let Some(why) = &failover.not_by_file {
            let line = Line::new()
                .push(Tone::Busy, format!("epoch {}: ", failover.epoch))
                .push(Tone::Plain, why);
            refused.push_str(&line.render(terminal));
        }
        let found = failover
            .comparison
            .iter()
            .flat_map(|comparison| &comparison.differences);
        for difference in failover.differences.iter().chain(found) {
            let line = Line::new()
                .push(Tone::Busy, format!("epoch {}: ", failover.epoch))
                .push(Tone::Plain, difference);
            differences.push_str(&line.render(terminal));
        }
    }
    let mut text = table.render(terminal);
    if !refused.is_empty() {
        text.push_str("\nRequest by request, since it could not be made from a file:\n");
        text.push_str(&refused);
    }
    if !differences.is_empty() {
        text.push_str("\nNot the same on the new VM:\n");
        text.push_str(&differences);
    }
    text
}

fn row(failover: &Failover, now: Timestamp) -> [Cell; 15] {
    let timeline = failover.timeline.unwrap_or_default();
    let step = |ms: Option<u64>| match ms {
        Some(ms) => Cell::new(span::step(ms)),
        None => Cell::new("–").tone(Tone::Dim),
    };
    let ending = match &failover.ending {
        Some(ending) => Cell::new(ending.replace('-', " ")).tone(style::of_ending(ending)),
        None => {
            let since = now.duration_since(failover.began_at).unsigned_abs();
            Cell::new(format!(
                "{} (for {})",
                board::progress(failover),
                span::long(since)
            ))
            .tone(Tone::Busy)
        }
    };
    [
        Cell::new(failover.epoch.to_string()).tone(Tone::Strong),
        Cell::new(span::date(failover.began_at)),
        Cell::new(&failover.cause),
        Cell::new(&failover.from_vm_id),
        Cell::new(failover.to_vm_id.as_deref().unwrap_or("–")),
        step(timeline.detect_ms),
        step(timeline.decide_ms),
        step(timeline.fence_ms),
        step(timeline.restore_ms),
        step(timeline.verify_ms),
        step(timeline.off_air_ms).tone(Tone::Strong),
        ending,
        differs(failover),
        Cell::maybe(failover.fence.as_deref()).tone(Tone::Dim),
        Cell::maybe(failover.summary.as_deref().filter(|summary| !summary.is_empty())),
    ]
}

/// In how much the new studio was found not to be the same.
fn differs(failover: &Failover) -> Cell {
    match &failover.comparison {
        None => Cell::new("–").tone(Tone::Dim),
        Some(found) if found.differences.is_empty() => Cell::new("none").tone(Tone::Good),
        Some(found) => Cell::new(format!("in {}", found.differences.len())).tone(Tone::Bad),
    }
}

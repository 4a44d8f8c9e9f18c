//! How the pool and its shows look.

use std::time::Duration;

use jiff::Timestamp;

use super::snapshot::{Show, Snapshot};
use crate::cli::answers::{Counts, Failover, Pool, Services, Vm};
use crate::cli::span;
use crate::cli::style::{self, Tone};
use crate::cli::table::{Cell, Column, Line, Table};
use crate::cli::terminal::Terminal;

/// Everything. Without `now`, nothing in it changes just because time passes.
#[must_use]
pub fn render(snapshot: &Snapshot, now: Option<Timestamp>, terminal: &Terminal) -> String {
    let mut text = title(snapshot, now).render(terminal);
    for problem in problems(snapshot) {
        text.push_str(&problem.render(terminal));
    }
    text.push('\n');
    if !snapshot.pool.initialized && snapshot.pool.vms.is_empty() {
        // None that is known is not none.
        let line = Line::new()
            .push(Tone::Strong, "Pool  ")
            .push(Tone::Busy, "not known until the cloud has been seen");
        text.push_str(&line.render(terminal));
        return text;
    }
    for line in counts(snapshot, terminal.width) {
        text.push_str(&line.render(terminal));
    }
    text.push('\n');
    if snapshot.pool.vms.is_empty() {
        let line = Line::new().push(Tone::Dim, "no VM in the pool; `understudy vm launch` starts one");
        text.push_str(&line.render(terminal));
    } else {
        text.push_str(&vms(&snapshot.pool, now, terminal));
    }
    text.push('\n');
    if snapshot.shows.is_empty() {
        let line = Line::new().push(
            Tone::Dim,
            "no show has a VM; `understudy assign SHOW` gives it one",
        );
        text.push_str(&line.render(terminal));
    } else {
        text.push_str(&shows(snapshot, now).render(terminal));
    }
    text
}

fn title(snapshot: &Snapshot, now: Option<Timestamp>) -> Line {
    let mut line = Line::new();
    let mut facts = String::new();
    match &snapshot.coordinator {
        Some(coordinator) => {
            line = line.push(Tone::Strong, format!("understudy {}", coordinator.version));
            if now.is_some() {
                facts.push_str(&format!(
                    "  up {}",
                    span::coarse(Duration::from_secs(coordinator.uptime))
                ));
            }
            if let Some(clients) = coordinator.connected_clients {
                let noun = if clients == 1 { "client" } else { "clients" };
                facts.push_str(&format!("  {clients} {noun}"));
            }
        }
        None => line = line.push(Tone::Strong, "understudy"),
    }
    line = line
        .push(Tone::Plain, format!("  {}", snapshot.url))
        .push(Tone::Dim, facts);
    match &snapshot.readiness {
        Some(readiness) if readiness.cloud == "connected" => line.push(Tone::Dim, "  cloud connected"),
        Some(readiness) => line.push(
            Tone::Busy,
            format!("  cloud {}", readiness.cloud.replace('_', " ")),
        ),
        None => line,
    }
}

/// What keeps the pool from working.
fn problems(snapshot: &Snapshot) -> Vec<Line> {
    let mut problems = Vec::new();
    let mut problem = |text: String| {
        problems.push(Line::new().push(Tone::Bad, "✗ ").push(Tone::Plain, text));
    };
    let reason = snapshot
        .pool
        .message
        .as_ref()
        .or_else(|| snapshot.readiness.as_ref()?.message.as_ref());
    if !snapshot.pool.initialized {
        let reason = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
        problem(format!("the pool is not there yet{reason}"));
    }
    if let Some(readiness) = &snapshot.readiness {
        if readiness.ledger != "ok" {
            problem(format!("the ledger does not take commands: {}", readiness.ledger));
        }
        if readiness.stopping {
            problem("it is shutting down; shows stay on air".to_owned());
        }
        if snapshot.pool.initialized
            && !readiness.ready
            && let Some(message) = &readiness.message
        {
            problem(message.clone());
        }
    }
    problems
}

/// The pool in figures: one line if it fits, else as many as it takes, without what there is none of.
fn counts(snapshot: &Snapshot, width: Option<u16>) -> Vec<Line> {
    /// With the gap before each status, as wide as the first line's heading.
    const INDENT: &str = "   ";
    let counts = snapshot.pool.counts;
    let pool = Line::new().push(Tone::Strong, "Pool  ");
    let pool = match &snapshot.pool.config {
        Some(config) => {
            let tone = if counts.available >= config.warm_count {
                Tone::Good
            } else {
                Tone::Busy
            };
            pool.push(
                tone,
                format!("{} of {} warm", counts.available, config.warm_count),
            )
            .push(
                Tone::Dim,
                format!("   {} of at most {} VMs", counts.total, config.max_instances),
            )
        }
        None => pool.push(Tone::Plain, format!("{} VMs", counts.total)),
    };
    let by_status = by_status(counts);
    let whole = by_status
        .iter()
        .fold(pool.clone(), |line, (_, tone, text)| line.push(*tone, text));
    let fits = |line: &Line| width.is_none_or(|width| line.width() <= usize::from(width));
    if fits(&whole) {
        return vec![whole];
    }
    let mut lines = vec![pool];
    let mut line = Line::new().push(Tone::Plain, INDENT);
    for (_, tone, text) in by_status.into_iter().filter(|(count, _, _)| *count > 0) {
        let longer = line.clone().push(tone, &text);
        if fits(&longer) {
            line = longer;
        } else {
            lines.push(std::mem::replace(
                &mut line,
                Line::new().push(Tone::Plain, INDENT).push(tone, &text),
            ));
        }
    }
    lines.push(line);
    lines
}

/// How many VMs have each status: the usual ones always, the others where there are some.
fn by_status(counts: Counts) -> Vec<(u32, Tone, String)> {
    let usual = [
        ("available", counts.available),
        ("assigned", counts.assigned),
        ("in_use", counts.in_use),
        ("starting", counts.starting),
        ("stopped", counts.stopped),
        ("error", counts.error),
    ];
    let rare = [
        ("releasing", counts.releasing),
        ("stopping", counts.stopping),
        ("maintenance", counts.maintenance),
    ];
    let rare = rare.into_iter().filter(|(_, count)| *count > 0);
    let piece = |(status, count)| {
        let look = style::of_status(status)?;
        let tone = if count == 0 { Tone::Dim } else { look.tone };
        Some((count, tone, format!("   {} {count} {}", look.sign, look.word)))
    };
    usual.into_iter().chain(rare).filter_map(piece).collect()
}

/// The VMs of a pool, and under them why some are not in use. `now` as for [`render`].
#[must_use]
pub fn vms(pool: &Pool, now: Option<Timestamp>, terminal: &Terminal) -> String {
    let mut text = table_of_vms(&pool.vms, now).render(terminal);
    for vm in &pool.vms {
        let Some(reason) = &vm.error_reason else { continue };
        let look = style::of_status(&vm.status);
        let (sign, tone) = look.map_or(("✗", Tone::Bad), |look| (look.sign, look.tone));
        let line = Line::new()
            .push(tone, format!("{sign} {}: ", vm.vm_id))
            .push(Tone::Plain, reason);
        text.push_str(&line.render(terminal));
    }
    text
}

fn table_of_vms(vms: &[Vm], now: Option<Timestamp>) -> Table {
    let mut table = Table::new([
        Column::new("VM"),
        Column::new("STATUS"),
        Column::new("SHOW").optional(),
        Column::new("ADDRESS").rank(8),
        Column::new("HEALTH").rank(7),
        Column::new("SRV").rank(6),
        Column::new("OBS").rank(6),
        Column::new("NX").rank(3).optional(),
        Column::new("UP").right().rank(4).optional(),
        Column::new("CHECKED").right().rank(5).optional(),
        Column::new("TYPE").rank(1).optional(),
        Column::new("ZONE").rank(2).optional(),
    ]);
    for vm in vms {
        let services = vm.services.as_ref();
        let service = |up: fn(&Services) -> Option<bool>| {
            services.map_or_else(Cell::empty, |services| Cell::dot(up(services)))
        };
        let runs = vm.ec2_state.as_deref() == Some("running");
        let up = now.zip(vm.launch_time.filter(|_| runs)).map(|(now, since)| {
            span::coarse(Duration::try_from(now.duration_since(since)).unwrap_or_default())
        });
        let checked = now.zip(vm.last_health_check).map(|(now, at)| span::ago(at, now));
        let health = vm
            .health_status
            .as_deref()
            .filter(|_| services.is_some())
            .unwrap_or_default();
        table.row([
            Cell::new(&vm.vm_id).tone(Tone::Strong),
            Cell::look(style::of_status(&vm.status), &vm.status),
            Cell::maybe(vm.assigned_to.as_ref()),
            Cell::maybe(vm.vm_address.as_ref()),
            Cell::new(health).tone(style::of_health(health)),
            service(|services| services.node),
            service(|services| services.obs),
            // Unknown on most machines, so unknown is nothing.
            services
                .and_then(|services| services.nomachine)
                .map_or_else(Cell::empty, |up| Cell::dot(Some(up))),
            Cell::maybe(up).tone(Tone::Dim),
            Cell::maybe(checked).tone(Tone::Dim),
            Cell::maybe(vm.instance_type.as_ref()).tone(Tone::Dim),
            Cell::maybe(vm.availability_zone.as_ref()).tone(Tone::Dim),
        ]);
    }
    table
}

fn shows(snapshot: &Snapshot, now: Option<Timestamp>) -> Table {
    let mut table = Table::new([
        Column::new("SHOW"),
        Column::new("PHASE"),
        Column::new("VM"),
        Column::new("ADDRESS").rank(2),
        Column::new("EPOCH").right().rank(1),
        Column::new("FAILOVER").rank(3),
        Column::new("LAST MOVE").flexible().rank(4).optional(),
    ]);
    for show in &snapshot.shows {
        let assignment = &show.assignment;
        let failover = match (assignment.held, assignment.studio_captured) {
            (Some(true), _) => Cell::new("held").tone(Tone::Busy),
            // It would be moved, to an empty studio.
            (Some(false), Some(false)) => Cell::new("not captured").tone(Tone::Busy),
            (Some(false), Some(true) | None) => Cell::new("automatic").tone(Tone::Dim),
            (None, _) => Cell::empty(),
        };
        table.row([
            Cell::new(&assignment.competition_id).tone(Tone::Strong),
            phase(show),
            Cell::new(&assignment.vm_id),
            Cell::maybe(assignment.vm_address.as_ref()),
            Cell::maybe(assignment.epoch.map(|epoch| epoch.to_string())),
            failover,
            last_move(show, now),
        ]);
    }
    table
}

fn phase(show: &Show) -> Cell {
    let assignment = &show.assignment;
    let phase = assignment.phase.as_deref().unwrap_or("unknown");
    if phase != "off_air" {
        return Cell::look(style::of_phase(phase), phase);
    }
    if assignment.status == "starting" {
        return Cell::new("◐ waits for its VM").tone(Tone::Busy);
    }
    if assignment.stream_wanted == Some(true) {
        return Cell::new("✗ off air, but wanted").tone(Tone::Bad);
    }
    Cell::look(style::of_phase(phase), phase)
}

/// The move under way, else the latest: what matters most first, as the end may be cut.
fn last_move(show: &Show, now: Option<Timestamp>) -> Cell {
    let somewhere = |failover: &Failover| failover.to_vm_id.clone().unwrap_or_else(|| "a spare".to_owned());
    if let Some(moving) = &show.moving {
        let text = format!(
            "to {}: {} ({})",
            somewhere(moving),
            progress(moving),
            moving.cause
        );
        return Cell::new(text).tone(Tone::Busy);
    }
    let Some(moved) = &show.moved else {
        return Cell::empty();
    };
    let mut text = match now.zip(moved.ended_at) {
        Some((now, ended)) => format!("{} from {}", span::ago(ended, now), moved.from_vm_id),
        None => format!("from {}", moved.from_vm_id),
    };
    if moved.to_vm_id.as_ref() != Some(&show.assignment.vm_id) {
        text.push_str(&format!(" to {}", somewhere(moved)));
    }
    text.push_str(&format!(": {}", moved.cause));
    match moved.ending.as_deref() {
        Some("on-air") | None => {}
        Some(ending) => text.push_str(&format!(", {ending}")),
    }
    if let Some(off_air) = moved.timeline.and_then(|timeline| timeline.off_air_ms) {
        text.push_str(&format!(", off air {}", span::step(off_air)));
    }
    Cell::new(text)
}

/// How far a move is.
#[must_use]
pub fn progress(failover: &Failover) -> &'static str {
    match (
        &failover.to_vm_id,
        failover.publishing_at,
        failover.fenced_at,
        failover.restored_at,
    ) {
        (None, _, _, _) => "waits for a spare",
        (Some(_), Some(_), _, _) => "starting its stream",
        (Some(_), None, Some(_), Some(_)) => "fenced and restored",
        (Some(_), None, Some(_), None) => "fenced, restoring",
        (Some(_), None, None, Some(_)) => "restored, fencing",
        (Some(_), None, None, None) => "fencing and restoring",
    }
}

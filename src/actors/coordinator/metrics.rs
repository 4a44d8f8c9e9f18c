//! What Prometheus reads of the tree. Like every read it comes from the ledger's fold and the board, at one moment, and
//! waits for no actor.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{CloudStanding, CommandError, Coordinator};
use crate::actors::board::Observation;
use crate::actors::context::Context;
use crate::domain::failover::verdict::Signals;
use crate::domain::load::Load;
use crate::domain::show::{Phase, Show};
use crate::domain::state::State;
use crate::domain::time::{Timestamp, millis};
use crate::domain::vm::{Power, Status, Vm};
use crate::infra::ledger::Health;
pub use crate::infra::metrics::Format as MetricsFormat;
pub use crate::infra::metrics::Metrics;
use crate::infra::metrics::Page;
use crate::infra::metrics::catalogue as c;

/// A VM that has not said for so many intervals how busy it is says nothing any more.
const LOAD_INTERVALS: u32 = 3;

/// Everything there is to be scraped, written down when asked for.
pub struct Scrape {
    ctx: Arc<Context>,
}

impl Coordinator {
    /// What is counted in this node.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.ctx.metrics
    }

    /// What is to be scraped.
    #[must_use]
    pub fn scrape(&self) -> Scrape {
        let ctx = Arc::clone(&self.ctx);
        Scrape { ctx }
    }
}

impl Scrape {
    /// Writes it. Reads files of `/proc`, and with thousands of VMs takes a tenth of a second: to be called where that
    /// holds nobody up.
    ///
    /// # Errors
    /// None that a text in memory has.
    pub fn text(self, format: MetricsFormat) -> Result<String, fmt::Error> {
        let moment = Moment::of(&self.ctx);
        let ctx = self.ctx;
        let metrics = ctx.metrics.clone();
        metrics.text(format, move |page| {
            coordinator(page, &ctx)?;
            mailboxes(page, &ctx)?;
            pool(page, &moment)?;
            shows(page, &moment, &ctx)?;
            vms(page, &moment)?;
            loads(page, &moment)
        })
    }
}

/// The pool at one moment.
struct Moment {
    state: Arc<State>,
    settings: crate::domain::pool::Settings,
    vms: Vec<(Arc<Vm>, Arc<Observation>)>,
    /// What was read of a machine before this says nothing about now.
    load_since: Timestamp,
}

impl Moment {
    fn of(ctx: &Context) -> Self {
        let state = ctx.state();
        let vms = state.vms();
        let vms = vms.map(|vm| (Arc::clone(vm), ctx.board.latest(&vm.id))).collect();
        let interval = ctx.options.load.interval.unwrap_or_default();
        Self {
            vms,
            load_since: Timestamp(ctx.now().0.saturating_sub(millis(interval * LOAD_INTERVALS))),
            settings: ctx.settings(),
            state,
        }
    }
}

fn coordinator(page: &mut Page<'_>, ctx: &Context) -> fmt::Result {
    page.family(&c::BUILD_INFO, |family| {
        family.series(&[env!("CARGO_PKG_VERSION")], 1.0)
    })?;
    page.figure(&c::READY, bit(ctx.initialized.load(Ordering::Acquire)))?;
    let cloud = match &**ctx.standing.load() {
        CloudStanding::Unknown => None,
        CloudStanding::Connected { .. } => Some(true),
        CloudStanding::NoCredentials { .. }
        | CloudStanding::Unreachable { .. }
        | CloudStanding::Error { .. } => Some(false),
    };
    page.figure_if_known(&c::CLOUD_UP, cloud.map(bit))?;
    let ledger_up = matches!(&*ctx.ledger.health().borrow(), Health::Ok);
    page.figure(&c::LEDGER_UP, bit(ledger_up))?;
    let (queued, limit) = ctx.ledger.queued().unzip();
    page.figure_if_known(&c::LEDGER_QUEUE, queued.map(count))?;
    page.figure_if_known(&c::LEDGER_QUEUE_LIMIT, limit.map(count))
}

/// What waits for actors.
fn mailboxes(page: &mut Page<'_>, ctx: &Context) -> fmt::Result {
    let kinds = [
        ("machines", ctx.machines.supervisor_backlog()),
        ("vm", ctx.machines.backlog()),
        ("shows", ctx.shows.supervisor_backlog()),
        ("show", ctx.shows.backlog()),
        ("executions", ctx.executions.backlog()),
        ("pool", ctx.pool.backlog()),
        ("cloud", ctx.cloud.backlog()),
    ];
    page.family(&c::ACTOR_MESSAGES_WAITING, |family| {
        kinds
            .iter()
            .try_for_each(|(kind, backlog)| family.series(&[*kind], count(backlog.all)))
    })?;
    page.family(&c::ACTOR_MESSAGES_WAITING_MAX, |family| {
        kinds
            .iter()
            .try_for_each(|(kind, backlog)| family.series(&[*kind], count(backlog.most)))
    })
}

fn pool(page: &mut Page<'_>, moment: &Moment) -> fmt::Result {
    let Moment { state, settings, .. } = moment;
    page.family(&c::POOL_VMS, |family| {
        for status in Status::ALL {
            family.series(&[status.as_str()], count(state.count(status)))?;
        }
        Ok(())
    })?;
    page.figure(&c::POOL_WARM_TARGET, f64::from(settings.warm_count))?;
    page.figure(&c::POOL_COLD_TARGET, f64::from(settings.cold_count))?;
    page.figure(&c::POOL_VMS_LIMIT, f64::from(settings.max_instances))?;
    page.figure(&c::POOL_SHOWS_LIMIT, f64::from(settings.max_concurrent))?;
    page.family(&c::POOL_SHOWS, |family| {
        for phase in PHASES {
            let shows = state.placed_shows().filter(|show| show.phase.as_str() == phase);
            family.series(&[phase], count(shows.count()))?;
        }
        Ok(())
    })?;
    page.family(&c::POOL_SHOWS_WAITING, |family| {
        let waiting = |reason| {
            state
                .placed_shows()
                .filter(move |show| waits_for(state, show) == reason)
        };
        for reason in [Wait::Start, Wait::Spare] {
            family.series(&[reason.as_str()], count(waiting(Some(reason)).count()))?;
        }
        Ok(())
    })?;
    let running = state.executions().running().count();
    page.figure(&c::EXECUTIONS_RUNNING, count(running))
}

/// The phases of shows that have a VM.
const PHASES: [&str; 4] = ["off_air", "on_air", "failing_over", "releasing"];

/// What a show waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wait {
    /// Its VM to come up.
    Start,
    /// A VM that it can be moved to.
    Spare,
}

impl Wait {
    fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Spare => "spare",
        }
    }
}

fn waits_for(state: &State, show: &Show) -> Option<Wait> {
    match &show.phase {
        Phase::FailingOver(failover) => failover.to.is_none().then_some(Wait::Spare),
        Phase::OffAir => {
            let vm = state.vm(show.vm.as_ref()?)?;
            (vm.power != Power::Ready).then_some(Wait::Start)
        }
        Phase::Idle | Phase::OnAir | Phase::Releasing { .. } => None,
    }
}

/// Shows that have a VM: there are no more of them than VMs.
fn shows(page: &mut Page<'_>, moment: &Moment, ctx: &Context) -> fmt::Result {
    type Read = fn(&Show, &Signals) -> bool;
    let families: [(_, Read); 4] = [
        (&c::SHOW_STREAM_WANTED, |show, _| show.stream_wanted),
        (&c::SHOW_ON_AIR, |show, signals| {
            show.phase == Phase::OnAir && !signals.is_off_air()
        }),
        (&c::SHOW_FAILING_OVER, |show, _| show.failover().is_some()),
        (&c::SHOW_HELD, |show, _| show.held),
    ];
    let shows: Vec<(&Show, Signals)> = moment
        .state
        .placed_shows()
        .map(|show| {
            let vm = show.vm.as_ref();
            let signals = vm.map(|vm| ctx.board.latest(vm).signals);
            (&**show, signals.unwrap_or_default())
        })
        .collect();
    for (definition, read) in families {
        page.family(definition, |family| {
            for (show, signals) in &shows {
                family.series(&[show.id.as_str()], bit(read(show, signals)))?;
            }
            Ok(())
        })?;
    }
    Ok(())
}

fn vms(page: &mut Page<'_>, moment: &Moment) -> fmt::Result {
    page.family(&c::VM_STATUS, |family| {
        for (vm, _) in &moment.vms {
            family.series(&[vm.id.as_str(), vm.status().as_str()], 1.0)?;
        }
        Ok(())
    })?;
    page.family(&c::VM_SERVICE_UP, |family| {
        for (vm, observation) in &moment.vms {
            let services = [
                ("show_server", observation.reading.node),
                ("obs", observation.reading.obs),
                ("ssh", observation.reading.ssh),
                ("no_machine", observation.no_machine),
            ];
            for (service, up) in services {
                if let Some(up) = up {
                    family.series(&[vm.id.as_str(), service], bit(up))?;
                }
            }
        }
        Ok(())
    })?;
    type Read = fn(&Observation) -> Option<f64>;
    let families: [(_, Read); 4] = [
        (&c::VM_PROBE_RESPONSE, |seen| {
            seen.response_time.map(|took| took.as_secs_f64())
        }),
        (&c::VM_CHECKED, |seen| {
            seen.checked_at.map(|at| at.0 as f64 / 1000.0)
        }),
        (&c::VM_OUTPUT_BYTES, |seen| {
            seen.output
                .filter(|output| output.active)
                .map(|output| output.bytes as f64)
        }),
        (&c::VM_OUTPUT_SKIPPED, |seen| {
            seen.output
                .filter(|output| output.active)
                .map(|output| output.skipped_frames as f64)
        }),
    ];
    for (definition, read) in families {
        page.family(definition, |family| {
            for (vm, observation) in &moment.vms {
                if let Some(figure) = read(observation) {
                    family.series(&[vm.id.as_str()], figure)?;
                }
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// How busy the machines are, of those that have said so lately.
fn loads(page: &mut Page<'_>, moment: &Moment) -> fmt::Result {
    type Read = fn(&Load) -> Option<f64>;
    let families: [(_, Read); 7] = [
        (&c::VM_PROCESSOR, |load| load.processor),
        (&c::VM_MEMORY_USED, |load| {
            load.memory.map(|memory| memory.used as f64)
        }),
        (&c::VM_MEMORY_SIZE, |load| {
            load.memory.map(|memory| memory.total as f64)
        }),
        (&c::VM_DISK_USED, |load| load.disk.map(|disk| disk.used as f64)),
        (&c::VM_DISK_SIZE, |load| load.disk.map(|disk| disk.total as f64)),
        (&c::VM_RECEIVED, |load| {
            load.network.map(|network| network.received as f64)
        }),
        (&c::VM_SENT, |load| {
            load.network.map(|network| network.sent as f64)
        }),
    ];
    for (definition, read) in families {
        page.family(definition, |family| {
            for (vm, observation) in &moment.vms {
                let load = observation
                    .load
                    .as_ref()
                    .filter(|(_, at)| *at >= moment.load_since);
                if let Some(figure) = load.and_then(|(load, _)| read(load)) {
                    family.series(&[vm.id.as_str()], figure)?;
                }
            }
            Ok(())
        })?;
    }
    Ok(())
}

fn bit(yes: bool) -> f64 {
    f64::from(u8::from(yes))
}

fn count(number: usize) -> f64 {
    number as f64
}

/// How a command ended, in one word.
pub(super) fn outcome<T>(answer: &Result<T, CommandError>) -> &'static str {
    match answer {
        Ok(_) => "ok",
        Err(CommandError::Denied(_)) => "denied",
        Err(CommandError::TimedOut { .. }) => "timed_out",
        Err(_) => "refused",
    }
}

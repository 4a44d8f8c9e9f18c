//! What a live rehearsal would do, before it does anything: which VMs, and whether the pool can spare them. Pure.

use crate::domain::ids::{ShowId, VmId};
use crate::rehearsal::scenario::{Act, MachineFault, Machines, Part, Scenario, Shows, Which};
use crate::sim::model::fault::Fault;

use super::PoolVm;

/// What is to be done, for people to agree to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// A show of its own.
    pub show: ShowId,
    /// The VM that it is put on.
    pub vm: VmId,
    /// VMs to which it may be moved: every other spare.
    pub others: Vec<VmId>,
    /// Spares that must stay for real shows; with fewer it is aborted.
    pub keep: usize,
    pub part: Part,
}

/// Why it is not for this pool.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    #[error("scenario {scenario} is not for the real pool: {reason}")]
    Scenario { scenario: String, reason: String },
    #[error(
        "the pool has {available} spare VMs; the rehearsal takes up to {takes}, and {keep} must stay for real shows"
    )]
    TooFew {
        available: usize,
        takes: usize,
        keep: usize,
    },
    #[error("show {show} is there already; another rehearsal is under way, or was not cleaned up")]
    ShowTaken { show: ShowId },
}

/// Plans a rehearsal.
///
/// # Errors
/// [`PlanError`].
pub fn plan(scenario: &Scenario, show: ShowId, pool: &[PoolVm], keep: usize) -> Result<Plan, PlanError> {
    check(scenario).map_err(|reason| PlanError::Scenario {
        scenario: scenario.name.clone(),
        reason,
    })?;
    if pool.iter().any(|vm| vm.show.as_deref() == Some(show.as_str())) {
        return Err(PlanError::ShowTaken { show });
    }
    let part = Part {
        show: show.clone(),
        moves: scenario.objective.part.moves,
        ends: scenario.objective.part.ends,
        max_off_air: scenario.objective.max_off_air,
    };
    let is_spare = |vm: &&PoolVm| vm.status == "available" && vm.show.is_none();
    let mut spares: Vec<VmId> = pool.iter().filter(is_spare).map(|vm| vm.vm.clone()).collect();
    // Every move takes another one, since the one that it leaves has to prove itself first.
    let takes = 1 + strikes(scenario);
    if spares.len() < takes + keep {
        return Err(PlanError::TooFew {
            available: spares.len(),
            takes,
            keep,
        });
    }
    let vm = spares.remove(0);
    Ok(Plan {
        show,
        vm,
        others: spares,
        keep,
        part,
    })
}

/// How often the show may be moved.
fn strikes(scenario: &Scenario) -> usize {
    let times = scenario.steps.iter().map(|step| step.repeat as usize);
    times.sum::<usize>().max(1)
}

/// Whether real machines can be struck like that, and nobody else would be.
fn check(scenario: &Scenario) -> Result<(), String> {
    if matches!(scenario.shows, Shows::Named(_)) {
        return Err("it names its shows, and a live rehearsal has one of its own".to_owned());
    }
    if scenario.pool.spares.of(1) == 0 {
        return Err("it is for a pool in which no spare runs, and this one has some".to_owned());
    }
    for step in &scenario.steps {
        let is_all = matches!(step.act.which(), Some(Which::Every));
        let strikes = match &step.act {
            Act::Machine {
                fault,
                target: Machines::OfShow(_),
                ..
            } => matches!(
                fault,
                MachineFault::Fault(Fault::StudioCrash | Fault::StatusDown) | MachineFault::InstanceRebooted
            ),
            Act::Command { .. } => true,
            Act::Machine { .. }
            | Act::Cloud { .. }
            | Act::Ingest { .. }
            | Act::VmActor(_)
            | Act::ShowActor(_)
            | Act::Coordinator { .. } => false,
        };
        if !strikes || !is_all {
            return Err(format!(
                "{} cannot be done to it; studio-crash, status-down, instance-rebooted and commands can, to show:*",
                step.act.word()
            ));
        }
        if step.act.lasts().is_some() {
            return Err("for cannot be kept to: what was broken is mended at the end".to_owned());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rehearsal::scenario::built_in;

    fn pool(statuses: &[&str]) -> Vec<PoolVm> {
        let vm = |(number, status): (usize, &&str)| PoolVm {
            vm: VmId::new(format!("vm-{number}")).unwrap(),
            status: (*status).to_owned(),
            show: (*status == "in_use").then(|| "finals".to_owned()),
        };
        statuses.iter().enumerate().map(vm).collect()
    }

    fn planned(scenario: &str, statuses: &[&str], keep: usize) -> Result<Plan, PlanError> {
        let show = ShowId::new("rehearsal-1").unwrap();
        plan(&built_in(scenario).unwrap(), show, &pool(statuses), keep)
    }

    #[test]
    fn only_vms_that_are_ready_and_have_no_show_are_taken() {
        let statuses = [
            "in_use",
            "available",
            "stopped",
            "available",
            "error",
            "available",
        ];
        let plan = planned("studio-crash", &statuses, 1).unwrap();
        assert_eq!(plan.vm.as_str(), "vm-1");
        let others: Vec<&str> = plan.others.iter().map(VmId::as_str).collect();
        assert_eq!(others, ["vm-3", "vm-5"]);
    }

    #[test]
    fn spares_that_real_shows_need_are_left_to_them() {
        let refused = planned("studio-crash", &["available", "available", "in_use"], 1);
        let expected = PlanError::TooFew {
            available: 2,
            takes: 2,
            keep: 1,
        };
        assert_eq!(refused, Err(expected));
        assert!(planned("studio-crash", &["available", "available", "in_use"], 0).is_ok());
    }

    #[test]
    fn what_would_strike_somebody_else_or_cannot_be_done_is_refused() {
        let many = ["available"; 9];
        for scenario in [
            "zone-lost",
            "ingest-down",
            "machine-blackhole",
            "coordinator-kill-9",
            "kill-vm-actor",
            "no-spare",
        ] {
            let refused = planned(scenario, &many, 0);
            assert!(
                matches!(refused, Err(PlanError::Scenario { .. })),
                "{scenario}: {refused:?}"
            );
        }
        assert!(planned("forced-move", &many, 0).is_ok());
    }
}

//! Cues carried out: what breaks, and what people do.

use std::time::Duration;

use anyhow::Context as _;

use super::cue::Cue;
use super::in_force::{Force, Lift};
use super::play::Drill;
use super::scenario::{Act, Command, MachineFault, Machines, When};
use crate::domain::ids::{InstanceId, ShowId, VmId};
use crate::domain::instance::PowerChange;

/// Limit on what a step waits for.
const PATIENCE: Duration = Duration::from_secs(60);

impl Drill<'_> {
    /// Waits for the cue's moment, does what it says, and mends that when its time is over.
    pub(super) async fn carry_out(&self, cue: &Cue) -> anyhow::Result<()> {
        tokio::time::sleep_until(self.instant(cue.at)).await;
        let step = &self.scenario().steps[cue.step];
        if let (Some(When::FailingOver), Some(show)) = (step.when, &cue.show) {
            self.until_failing_over(show).await?;
        }
        let strike = self.strike(&step.act, cue.show.as_ref()).await?;
        let lasts = match step.act {
            // Back already: its own death has lasted as long.
            Act::Coordinator { .. } => return Ok(()),
            _ => step.act.lasts(),
        };
        if let Some(lasts) = lasts {
            tokio::time::sleep(lasts).await;
            self.mend(strike).await?;
        }
        Ok(())
    }

    async fn until_failing_over(&self, show: &ShowId) -> anyhow::Result<()> {
        let what = format!("show {show} failing over");
        self.until(&what, PATIENCE, async || {
            let standing = self.control().standing(show).await.ok()??;
            standing.has_begun_to_move().then_some(())
        })
        .await
    }

    /// Returns its number.
    async fn strike(&self, act: &Act, show: Option<&ShowId>) -> anyhow::Result<usize> {
        let world = &self.stage().world;
        let of_show = || show.context("a step about shows has one");
        Ok(match act {
            Act::Machine { fault, target, .. } => {
                let machines = self.machines(target, show).await?;
                let names: Vec<&str> = machines.iter().map(|(name, _)| name.as_str()).collect();
                let number = self.note(format!("{}: {}", fault.word(), names.join(", ")), show);
                for (_, machine) in machines {
                    self.break_machine(*fault, &machine)?;
                    self.is_in_force(number, Force::Machine(*fault, machine));
                }
                number
            }
            Act::Cloud { fault, .. } => {
                let number = self.note(format!("the cloud's API: {}", act.word()), None);
                self.is_in_force(number, Force::Cloud(*fault));
                world.cloud_fault(*fault);
                number
            }
            Act::Ingest { .. } => {
                let number = self.note("the ingest is away".to_owned(), None);
                self.is_in_force(number, Force::Ingest);
                world.ingest().take_down().await;
                number
            }
            Act::VmActor(_) => {
                let show = of_show()?;
                let (vm, _) = self.vm_of(show).await?;
                let number = self.note(format!("the actor of {vm} is killed"), Some(show));
                self.control().kill_vm_actor(&vm).await?;
                number
            }
            Act::ShowActor(_) => {
                let show = of_show()?;
                let number = self.note(format!("the actor of show {show} is killed"), Some(show));
                self.control().kill_show_actor(show).await?;
                number
            }
            Act::Coordinator { dead_for } => {
                let number = self.note("the coordinator is killed with SIGKILL".to_owned(), None);
                self.control().kill_coordinator(*dead_for).await?;
                self.note_mended(number);
                number
            }
            Act::Command { command, .. } => self.command(of_show()?, *command).await?,
        })
    }

    async fn command(&self, show: &ShowId, command: Command) -> anyhow::Result<usize> {
        let number = self.note(format!("somebody asks: {} {show}", command.word()), Some(show));
        let asked_ms = self.elapsed_ms();
        let done = self.control().command(show, command).await;
        done.with_context(|| format!("{} {show} was refused", command.word()))?;
        match command {
            Command::Release | Command::Stop => self.curtain_falls(show, asked_ms),
            Command::Start => self.curtain_rises(show),
            Command::Failover | Command::Hold | Command::Resume => {}
        }
        Ok(number)
    }

    fn break_machine(&self, fault: MachineFault, machine: &InstanceId) -> anyhow::Result<()> {
        let world = &self.stage().world;
        match fault {
            MachineFault::Fault(fault) => world.fault(machine, fault)?,
            MachineFault::InstanceRebooted => world.change(machine, PowerChange::Reboot)?,
            MachineFault::InstanceStopped => world.stop_instance(machine)?,
            MachineFault::InstanceTerminated => world.terminate_instance(machine)?,
        }
        Ok(())
    }

    async fn mend(&self, strike: usize) -> anyhow::Result<()> {
        let world = &self.stage().world;
        for lift in self.lift(strike) {
            match lift {
                Lift::Heal(Force::Machine(fault, machine)) => match fault {
                    MachineFault::Fault(fault) => world.heal(&machine, fault.kind())?,
                    MachineFault::InstanceStopped => world.change(&machine, PowerChange::Start)?,
                    MachineFault::InstanceRebooted | MachineFault::InstanceTerminated => {}
                },
                Lift::Heal(Force::Ingest) => world.ingest().bring_back().await?,
                Lift::Restore(Force::Machine(fault, machine)) => self.break_machine(fault, &machine)?,
                Lift::Cloud(left) => {
                    world.heal_cloud();
                    for fault in left {
                        world.cloud_fault(fault);
                    }
                }
                // They are told as `Lift::Cloud`, and one ingest is like another.
                Lift::Heal(Force::Cloud(_)) | Lift::Restore(Force::Cloud(_) | Force::Ingest) => {}
            }
        }
        self.note_mended(strike);
        Ok(())
    }

    /// The machines that a target means now, with what people call them.
    async fn machines(
        &self,
        target: &Machines,
        show: Option<&ShowId>,
    ) -> anyhow::Result<Vec<(String, InstanceId)>> {
        let in_zone = |zone: &str| {
            let instances = self.stage().world.instances().into_iter();
            instances
                .filter(|instance| instance.availability_zone.as_deref() == Some(zone))
                .map(|instance| (instance.instance_id.to_string(), instance.instance_id))
                .collect()
        };
        let found: Vec<(String, InstanceId)> = match target {
            Machines::OfShow(_) => {
                let (vm, instance) = self.vm_of(show.context("a step about shows has one")?).await?;
                vec![(vm.to_string(), instance)]
            }
            Machines::Spare => {
                let spares = self.control().spares().await?;
                let first = spares
                    .into_iter()
                    .next()
                    .context("no VM is ready and has no show")?;
                vec![(first.0.to_string(), first.1)]
            }
            Machines::All => {
                let instances = self.stage().world.instances().into_iter();
                instances
                    .map(|instance| (instance.instance_id.to_string(), instance.instance_id))
                    .collect()
            }
            Machines::Zone(zone) => in_zone(zone),
            Machines::ZoneOf(show) => {
                let (_, instance) = self.vm_of(show).await?;
                let found = self.stage().world.instance(&instance);
                let zone = found.and_then(|instance| instance.availability_zone);
                in_zone(&zone.context("the show's VM is in no zone")?)
            }
        };
        anyhow::ensure!(!found.is_empty(), "there is no machine to strike");
        Ok(found)
    }

    /// The VM that a show is on; the last one known while the coordinator cannot be asked.
    async fn vm_of(&self, show: &ShowId) -> anyhow::Result<(VmId, InstanceId)> {
        if let Ok(Some(standing)) = self.control().standing(show).await
            && let (Some(vm), Some(instance)) = (standing.vm, standing.instance)
        {
            self.remember(show, (vm.clone(), instance.clone()));
            return Ok((vm, instance));
        }
        self.remembered(show)
            .with_context(|| format!("show {show} has no VM"))
    }
}

impl Act {
    /// What happens, as in a file.
    #[must_use]
    pub fn word(&self) -> &'static str {
        match self {
            Self::Machine { fault, .. } => fault.word(),
            Self::Cloud { fault, .. } => super::scenario::cloud_word(*fault),
            Self::Ingest { .. } => "away",
            Self::VmActor(_) | Self::ShowActor(_) | Self::Coordinator { .. } => "kill",
            Self::Command { command, .. } => command.word(),
        }
    }
}

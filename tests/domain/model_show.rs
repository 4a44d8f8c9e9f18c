//! The naive model's shows: what each event needs and does, one after the other.

use understudy::domain::archive;
use understudy::domain::failover::Ending;
use understudy::domain::ids::{RequestKey, ShowId, VmId};
use understudy::domain::show::Event;

use crate::model::{How, Model, Move, On, Played, Stage, Use};

/// Accepted only if this holds.
fn only_if(condition: bool) -> Option<()> {
    condition.then_some(())
}

impl Model {
    pub fn show_event(&mut self, id: &ShowId, event: &Event) -> Option<()> {
        let show = self.shows.get(id).cloned().unwrap_or_else(Played::new);
        let show = match event {
            Event::Assigned { vm, epoch, key, .. } => {
                only_if(show.stage == Stage::Idle && epoch.0 == show.epoch + 1 && self.may_be_taken(vm))?;
                if let Some(key) = key {
                    only_if(self.keys.insert(key.clone()))?;
                }
                self.hold(vm, id, epoch.0, How::Assigned);
                Played {
                    epoch: epoch.0,
                    stage: Stage::OffAir,
                    vm: Some(vm.clone()),
                    ..show.elsewhere()
                }
            }
            Event::Reassigned { from, vm, epoch } => self.reassigned(id, show, from, vm, epoch.0)?,
            Event::StreamWanted { wanted } => self.stream_wanted(show, *wanted)?,
            Event::WentOnAir { epoch } => {
                only_if(show.stage == Stage::OffAir && epoch.0 == show.epoch)?;
                let vm = show.vm.clone()?;
                only_if(!matches!(self.vms[&vm].on, On::Off | On::Stopping))?;
                self.hold(&vm, id, epoch.0, How::OnAir);
                Played {
                    stage: Stage::OnAir,
                    stop_asked: false,
                    unrestored: false,
                    ..show
                }
            }
            Event::WentOffAir { epoch } => self.went_off_air(id, show, epoch.0)?,
            Event::Silenced { epoch, .. } => silenced(show, epoch.0)?,
            Event::Captured { .. } => captured(show)?,
            Event::SetUp { make, .. } => set_up(show, *make)?,
            Event::Held { held } => {
                only_if(show.vm.is_some())?;
                Played { held: *held, ..show }
            }
            Event::FailoverBegan { epoch, to, .. } => self.failover_began(id, show, epoch.0, to.as_ref())?,
            Event::Restored { epoch, .. } if matches!(show.stage, Stage::OffAir | Stage::OnAir) => {
                mended(show, epoch.0)?
            }
            Event::Compared { epoch, .. } => compared(show, epoch.0)?,
            Event::SpareChosen { .. }
            | Event::SpareLost { .. }
            | Event::Fenced { .. }
            | Event::Restored { .. }
            | Event::Publishing { .. }
            | Event::FailoverEnded { .. } => {
                let Stage::Moving(m) = show.stage.clone() else {
                    return None;
                };
                self.moving(id, show, m, event)?
            }
            Event::ReleaseBegan { key, .. } => self.release_began(id, show, key.as_ref())?,
            Event::ReleaseJoined { key } => {
                only_if(show.stage == Stage::Releasing && self.keys.insert(key.clone()))?;
                show
            }
            Event::Archive { epoch, event } => archived(show, epoch.0, event)?,
            Event::Released { vm, key } => {
                only_if(show.archive_ended != Some(false))?;
                only_if(show.stage == Stage::Releasing && show.vm.as_ref() == Some(vm) && !show.loud)?;
                if let Some(key) = key {
                    only_if(self.keys.insert(key.clone()))?;
                }
                self.let_go(vm);
                if let Some(folder) = show.unarchived.clone() {
                    self.vms.get_mut(vm)?.keep(folder);
                }
                ended(&show)
            }
        };
        self.shows.insert(id.clone(), show);
        Some(())
    }

    fn reassigned(
        &mut self,
        id: &ShowId,
        show: Played,
        from: &VmId,
        vm: &VmId,
        epoch: u64,
    ) -> Option<Played> {
        only_if(show.stage == Stage::OffAir && show.vm.as_ref() == Some(from))?;
        only_if(epoch == show.epoch + 1 && self.may_be_taken(vm))?;
        only_if(self.vms[from].on == On::Off || (self.vms[from].on != On::Ready && !show.loud))?;
        self.let_go(from);
        self.hold(vm, id, epoch, How::Assigned);
        Some(Played {
            epoch,
            vm: Some(vm.clone()),
            ..show.elsewhere()
        })
    }

    fn release_began(&mut self, id: &ShowId, show: Played, key: Option<&RequestKey>) -> Option<Played> {
        only_if(matches!(show.stage, Stage::OffAir | Stage::OnAir))?;
        if let Some(key) = key {
            only_if(self.keys.insert(key.clone()))?;
        }
        self.hold(&show.vm.clone()?, id, show.epoch, How::Releasing);
        Some(Played {
            stage: Stage::Releasing,
            wanted: false,
            ..show
        })
    }

    fn went_off_air(&mut self, id: &ShowId, show: Played, epoch: u64) -> Option<Played> {
        only_if(show.stage == Stage::OnAir && epoch == show.epoch)?;
        let vm = show.vm.clone()?;
        self.hold(&vm, id, epoch, How::Assigned);
        let mut show = Played {
            stage: Stage::OffAir,
            loud: false,
            stop_asked: false,
            ..show
        };
        show.may_publish.remove(&vm);
        Some(show)
    }

    fn stream_wanted(&self, show: Played, wanted: bool) -> Option<Played> {
        only_if(show.stage != Stage::Idle)?;
        only_if(!(wanted && show.stage == Stage::Releasing))?;
        let mut show = Played {
            wanted,
            stop_asked: !wanted && show.loud,
            ..show
        };
        if let Stage::Moving(m) = &mut show.stage
            && !m.publishing
        {
            m.publish = wanted;
        }
        Some(show)
    }

    fn failover_began(&mut self, id: &ShowId, show: Played, epoch: u64, to: Option<&VmId>) -> Option<Played> {
        only_if(matches!(show.stage, Stage::OffAir | Stage::OnAir) && epoch == show.epoch + 1)?;
        if let Some(to) = to {
            only_if(self.may_be_taken(to))?;
            self.hold(to, id, epoch, How::Assigned);
        }
        let from = show.vm.clone()?;
        self.vms.get_mut(&from)?.fault_since = Some(self.at);
        let publish = show.wanted || (show.stage == Stage::OnAir && !show.stop_asked);
        let to = to.cloned();
        let stage = Stage::Moving(Move {
            from,
            to,
            fenced: false,
            restored: false,
            publishing: false,
            publish,
        });
        Some(Played { epoch, stage, ..show })
    }

    fn moving(&mut self, id: &ShowId, mut show: Played, mut m: Move, event: &Event) -> Option<Played> {
        match event {
            Event::SpareChosen { epoch, vm } => {
                only_if(epoch.0 == show.epoch && m.to.is_none() && self.may_be_taken(vm))?;
                self.hold(vm, id, epoch.0, How::Assigned);
                m.to = Some(vm.clone());
            }
            Event::SpareLost { epoch, vm, .. } => {
                only_if(epoch.0 == show.epoch + 1 && m.to.as_ref() == Some(vm))?;
                show.epoch = epoch.0;
                if m.publishing {
                    self.let_go(&m.from);
                    m.from = vm.clone();
                    m.fenced = false;
                    show.loud = true;
                    show.vm = Some(vm.clone());
                } else {
                    self.let_go(vm);
                }
                self.vms.get_mut(vm)?.fault_since = Some(self.at);
                m = Move {
                    to: None,
                    restored: false,
                    publishing: false,
                    ..m
                };
            }
            Event::Fenced { epoch, .. } => {
                only_if(epoch.0 == show.epoch)?;
                m.fenced = true;
                show.loud = false;
                show.stop_asked = false;
                show.may_publish.remove(&m.from);
            }
            Event::Restored { epoch, .. } => {
                only_if(epoch.0 == show.epoch && m.to.is_some())?;
                m.restored = true;
            }
            Event::Publishing { epoch } => {
                only_if(epoch.0 == show.epoch && m.fenced && m.restored)?;
                m.publishing = true;
                let to = m.to.clone()?;
                // What is off by now sends nothing, whatever it was told.
                if self.vms[&to].on != On::Off {
                    show.may_publish.insert(to);
                }
            }
            Event::FailoverEnded { epoch, ending } => {
                only_if(epoch.0 == show.epoch)?;
                return self.failover_ended(id, show, m, *ending);
            }
            other => panic!("{other:?} is not part of a move"),
        }
        Some(Played {
            stage: Stage::Moving(m),
            ..show
        })
    }

    fn failover_ended(&mut self, id: &ShowId, show: Played, m: Move, ending: Ending) -> Option<Played> {
        let show = Played {
            moves: show.moves + 1,
            loud: if m.fenced { m.publishing } else { show.loud },
            stop_asked: if m.fenced {
                m.publishing && ending == Ending::Abandoned && !show.wanted
            } else {
                show.stop_asked
            },
            ..show
        };
        let was_on_air = matches!(self.vms[&m.from].used, Use::Held { how: How::OnAir, .. });
        let (stays, on_air) = match ending {
            Ending::OnAir => {
                only_if(m.publishing)?;
                (m.to.clone()?, true)
            }
            Ending::Moved => {
                // The studio that is captured here has nowhere to stream to, the one that is configured has.
                only_if(m.fenced && !(m.publishing && show.configured && !show.captured))?;
                (m.to.clone()?, false)
            }
            Ending::Recovered => {
                only_if(!m.fenced && !matches!(self.vms[&m.from].on, On::Off | On::Stopping))?;
                self.vms.get_mut(&m.from)?.fault_since = None;
                (m.from.clone(), was_on_air)
            }
            Ending::Returned => {
                only_if(m.to.is_none() && self.vms[&m.from].on == On::Ready)?;
                self.vms.get_mut(&m.from)?.fault_since = None;
                (m.from.clone(), false)
            }
            Ending::Abandoned if m.fenced && m.to.is_some() => (m.to.clone()?, false),
            Ending::Abandoned => (m.from.clone(), false),
        };
        let had = [Some(&m.from), m.to.as_ref()].into_iter().flatten();
        for vm in had.filter(|vm| **vm != stays) {
            self.let_go(vm);
        }
        let (how, stage) = if on_air {
            (How::OnAir, Stage::OnAir)
        } else {
            (How::Assigned, Stage::OffAir)
        };
        self.hold(&stays, id, show.epoch, how);
        let moved = m.to.as_ref() == Some(&stays);
        let has_studio = show.captured || show.configured;
        let uncompared = match (moved, ending) {
            (true, _) => m.restored && has_studio,
            (false, Ending::Returned) => false,
            (false, _) => show.uncompared,
        };
        let unrestored = match (moved, ending) {
            (true, _) => !m.restored && has_studio,
            (false, Ending::Returned) => has_studio,
            (false, _) => show.unrestored,
        };
        Some(Played {
            stage,
            vm: Some(stays),
            unrestored,
            uncompared,
            ..show
        })
    }
}

fn set_up(show: Played, make: bool) -> Option<Played> {
    only_if(!make || matches!(show.stage, Stage::OffAir | Stage::OnAir))?;
    Some(Played {
        configured: true,
        captured: show.captured && !make,
        unrestored: show.unrestored || make,
        uncompared: show.uncompared && !make,
        ..show
    })
}

fn captured(show: Played) -> Option<Played> {
    only_if(show.vm.is_some())?;
    Some(Played {
        captured: true,
        uncompared: false,
        ..show
    })
}

fn compared(show: Played, epoch: u64) -> Option<Played> {
    only_if(matches!(show.stage, Stage::OffAir | Stage::OnAir))?;
    only_if(show.uncompared && epoch == show.epoch)?;
    Some(Played {
        uncompared: false,
        ..show
    })
}

fn mended(show: Played, epoch: u64) -> Option<Played> {
    only_if(epoch == show.epoch && show.unrestored)?;
    Some(Played {
        unrestored: false,
        uncompared: true,
        ..show
    })
}

fn silenced(mut show: Played, epoch: u64) -> Option<Played> {
    only_if(matches!(show.stage, Stage::OffAir | Stage::Releasing) && !show.wanted)?;
    only_if(epoch == show.epoch)?;
    let vm = show.vm.clone()?;
    show.may_publish.remove(&vm);
    Some(Played {
        loud: false,
        stop_asked: false,
        ..show
    })
}

impl Played {
    /// On another VM than before, where nothing was done yet.
    fn elsewhere(self) -> Self {
        Self {
            loud: false,
            stop_asked: false,
            unrestored: self.captured || self.configured,
            uncompared: false,
            ..self
        }
    }
}

/// The show has nothing left but its epoch and its past, and what it may have left publishing.
fn ended(show: &Played) -> Played {
    Played {
        epoch: show.epoch,
        moves: show.moves,
        configured: show.configured,
        may_publish: show.may_publish.clone(),
        ..Played::new()
    }
}

fn archived(show: Played, epoch: u64, event: &archive::Event) -> Option<Played> {
    only_if(show.stage == Stage::Releasing && epoch == show.epoch)?;
    let (now, unarchived) = match (show.archive_ended, event) {
        (None, archive::Event::Asked { folder, .. }) => (false, Some(folder.clone())),
        (Some(false), archive::Event::Ended { ending }) => match ending {
            archive::Ending::Done { .. } => (true, None),
            archive::Ending::Failed { .. } => (true, show.unarchived),
        },
        _ => return None,
    };
    Some(Played {
        archive_ended: Some(now),
        unarchived,
        ..show
    })
}

//! Whether recordings are anywhere: what leaves a machine's disk must be in the archive.

use std::collections::BTreeMap;

use super::record::Record;
use super::rules::KEPT;
use crate::domain::ids::InstanceId;
use crate::domain::instance::InstanceState;
use crate::sim::direct::{MachineHandle, World};
use crate::sim::model::machine::disk::RECORDINGS;

/// Every recording that was seen on a machine and not seen to leave it, with its bytes then. What went with a terminated
/// instance is nobody's to keep.
#[derive(Debug, Default)]
pub struct Recordings(BTreeMap<InstanceId, BTreeMap<String, u64>>);

impl Recordings {
    /// Looks at every machine again.
    pub fn look(&mut self, world: &World, record: &Record) {
        for instance in world.instances() {
            let id = instance.instance_id;
            if instance.state == InstanceState::Terminated {
                self.0.remove(&id);
                continue;
            }
            let Some(machine) = world.machine(&id) else {
                continue;
            };
            let there = on(&machine);
            let before = self.0.remove(&id).unwrap_or_default();
            for (name, bytes) in before {
                if !there.contains_key(&name) && !is_kept(world, &name, bytes) {
                    let what =
                        format!("{name} is gone from {id}, and the archive does not have its {bytes} bytes");
                    record.violated(KEPT, what);
                }
            }
            if !there.is_empty() {
                self.0.insert(id, there);
            }
        }
    }
}

fn on(machine: &MachineHandle) -> BTreeMap<String, u64> {
    machine.inspect(|model| {
        let files = model.stored().list(RECORDINGS).unwrap_or_default();
        let recording =
            |(name, node): (&str, &crate::sim::model::machine::disk::Node)| (name.to_owned(), node.bytes());
        files.into_iter().map(recording).collect()
    })
}

/// It may have grown since it was seen.
fn is_kept(world: &World, name: &str, bytes: u64) -> bool {
    let objects = world.archive().objects();
    let is_it = |key: &str| key.rsplit('/').next() == Some(name);
    objects
        .iter()
        .any(|(key, object)| is_it(key) && object.bytes >= bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sim::direct::WorldConfig;
    use crate::sim::model::machine::disk::Who;
    use crate::sim::model::studio::Studio;

    #[tokio::test(start_paused = true)]
    async fn a_recording_that_is_removed_and_nowhere_else_is_missed() {
        let world = World::start(WorldConfig {
            warm: 1,
            cold: 0,
            ..WorldConfig::default()
        });
        let world = world.unwrap();
        let record = Record::begin();
        let mut recordings = Recordings::default();
        let machine = world.machine(&world.instances()[0].instance_id).unwrap();
        machine.operate(Studio::start_record).unwrap();
        tokio::time::sleep(std::time::Duration::from_secs(3)).await;
        let name = machine.operate(Studio::stop_record).unwrap();
        let path = format!("{RECORDINGS}/{name}");
        assert!(machine.files(|disk, _| disk.stat(&path).is_ok()));
        recordings.look(&world, &record);
        recordings.look(&world, &record);
        assert!(!record.has_violations());
        machine.files(|disk, _| disk.remove(Who::User, &path)).unwrap();
        recordings.look(&world, &record);
        assert_eq!(record.violations()[0].rule, KEPT);
    }
}

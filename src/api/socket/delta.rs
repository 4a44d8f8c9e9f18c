//! What clients that asked for deltas have been told, and what to tell them next.
//!
//! A delta carries fields that changed against the *last delta*, so a client that starts from a snapshot must
//! start from exactly what was last published: [`Published::snapshot`] gives that, never the newest view. When a
//! VM was last checked is not worth a delta.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::api::types::pool::{Counts, PoolDelta};
use crate::api::types::vm::VmRecord;
use crate::domain::ids::VmId;

#[derive(Debug, Default)]
pub struct Published {
    seq: u64,
    records: BTreeMap<VmId, Arc<VmRecord>>,
}

impl Published {
    /// Ledger position of what was last told.
    #[must_use]
    pub fn seq(&self) -> u64 {
        self.seq
    }

    #[must_use]
    pub fn ids(&self) -> BTreeSet<VmId> {
        self.records.keys().cloned().collect()
    }

    /// Everything that was told so far.
    #[must_use]
    pub fn snapshot(&self) -> Vec<Arc<VmRecord>> {
        self.records.values().cloned().collect()
    }

    /// Takes in how these VMs are now (`None`: gone) and returns what is new in that; nothing if nothing is.
    pub fn advance(
        &mut self,
        seq: u64,
        counts: Counts,
        now: impl Iterator<Item = (VmId, Option<VmRecord>)>,
    ) -> Option<PoolDelta> {
        let (mut changed, mut removed) = (Vec::new(), Vec::new());
        for (id, record) in now {
            match record {
                None => {
                    if self.records.remove(&id).is_some() {
                        removed.push(id.to_string());
                    }
                }
                Some(record) => {
                    let difference = match self.records.get(&id) {
                        Some(told) if **told == record => continue,
                        Some(told) => difference(told, &record),
                        None => fields(&record),
                    };
                    self.records.insert(id, Arc::new(record));
                    // The id alone is no news.
                    if difference.len() > 1 {
                        changed.push(difference);
                    }
                }
            }
        }
        if changed.is_empty() && removed.is_empty() {
            return None;
        }
        let since = std::mem::replace(&mut self.seq, seq);
        Some(PoolDelta {
            since,
            seq,
            changed,
            removed,
            counts,
        })
    }
}

/// The fields of `now` that differ, `null` for those it lacks, and always the id.
fn difference(told: &VmRecord, now: &VmRecord) -> Map<String, Value> {
    let (before, now) = (fields(told), fields(now));
    let gone: Vec<String> = before
        .keys()
        .filter(|name| !now.contains_key(*name))
        .cloned()
        .collect();
    let mut difference: Map<String, Value> = now
        .into_iter()
        .filter(|(name, value)| name == "vmId" || is_news(name, before.get(name), value))
        .collect();
    difference.extend(gone.into_iter().map(|name| (name, Value::Null)));
    difference
}

/// That a check was made again and found the same is told by `vmHealthUpdate`, not by every delta.
fn is_news(name: &str, before: Option<&Value>, now: &Value) -> bool {
    match (name, before) {
        (_, None) => true,
        ("lastHealthCheck" | "lastHealthCheckMs", Some(_)) => false,
        ("services", Some(before)) => timeless(before) != timeless(now),
        (_, Some(before)) => before != now,
    }
}

/// The services without what changes with every check.
fn timeless(services: &Value) -> Value {
    let Value::Object(fields) = services else {
        return services.clone();
    };
    let kept = fields
        .iter()
        .filter(|(name, _)| !matches!(name.as_str(), "lastChecked" | "uptime"));
    kept.map(|(name, value)| (name.clone(), timeless(value)))
        .collect()
}

fn fields(record: &VmRecord) -> Map<String, Value> {
    match serde_json::to_value(record) {
        Ok(Value::Object(fields)) => fields,
        // A record is a struct: it is always written as an object.
        Ok(_) | Err(_) => Map::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::actors::board::Observation;
    use crate::actors::context::AddressKind;
    use crate::api::project::{self, Reach};
    use crate::domain::health::Reading;
    use crate::domain::ids::{Epoch, InstanceId, ShowId};
    use crate::domain::instance::{Instance, InstanceState};
    use crate::domain::time::Timestamp;
    use crate::domain::vm::{Occupancy, Power, Vm};

    fn id(text: &str) -> VmId {
        VmId::new(text).unwrap()
    }

    fn record(name: &str, show: Option<&str>) -> VmRecord {
        seen(name, show, &Observation::default())
    }

    fn seen(name: &str, show: Option<&str>, observation: &Observation) -> VmRecord {
        let instance = Instance {
            instance_id: InstanceId::new(format!("i-{name}")).unwrap(),
            name: None,
            state: InstanceState::Running,
            public_ip: None,
            private_ip: None,
            public_dns: None,
            private_dns: None,
            instance_type: None,
            launch_time: None,
            availability_zone: None,
            subnet_id: None,
            vpc_id: None,
            tags: BTreeMap::new(),
        };
        let mut vm = Vm::adopted(id(name), instance, Timestamp(1));
        vm.power = Power::Ready;
        if let Some(show) = show {
            vm.occupancy = Occupancy::Assigned {
                show: ShowId::new(show).unwrap(),
                epoch: Epoch(1),
            };
        }
        let reach = Reach {
            address: AddressKind::Public,
            server: 3003,
            obs: 4455,
            no_machine: 4000,
        };
        project::record(&vm, observation, reach)
    }

    fn now(vms: &[(&str, Option<VmRecord>)]) -> std::vec::IntoIter<(VmId, Option<VmRecord>)> {
        vms.iter()
            .map(|(name, record)| (id(name), record.clone()))
            .collect::<Vec<_>>()
            .into_iter()
    }

    /// What a client does with a delta.
    fn apply(client: &mut BTreeMap<String, Map<String, Value>>, delta: &PoolDelta) {
        for change in &delta.changed {
            let vm = client
                .entry(change["vmId"].as_str().unwrap().to_owned())
                .or_default();
            for (name, value) in change {
                if value.is_null() {
                    vm.remove(name)
                } else {
                    vm.insert(name.clone(), value.clone())
                };
            }
        }
        for gone in &delta.removed {
            client.remove(gone);
        }
    }

    #[test]
    fn a_client_that_applies_every_delta_has_the_pool() {
        let steps = [
            vec![
                ("vm-a", Some(record("vm-a", None))),
                ("vm-b", Some(record("vm-b", None))),
            ],
            vec![("vm-a", Some(record("vm-a", Some("finals"))))],
            vec![("vm-a", Some(record("vm-a", None))), ("vm-b", None)],
            vec![("vm-c", Some(record("vm-c", Some("heats"))))],
        ];
        let (mut published, mut client) = (Published::default(), BTreeMap::new());
        for (seq, step) in steps.iter().enumerate() {
            let delta = published
                .advance(seq as u64 + 1, Counts::default(), now(step))
                .unwrap();
            assert_eq!(delta.since, seq as u64);
            apply(&mut client, &delta);
            let expected: BTreeMap<String, Map<String, Value>> = published
                .snapshot()
                .iter()
                .map(|r| (r.vm_id.clone(), fields(r)))
                .collect();
            assert_eq!(client, expected);
        }
    }

    #[test]
    fn only_what_changed_is_told() {
        let mut published = Published::default();
        published.advance(1, Counts::default(), now(&[("vm-a", Some(record("vm-a", None)))]));
        let assigned = [("vm-a", Some(record("vm-a", Some("finals"))))];
        let delta = published.advance(2, Counts::default(), now(&assigned)).unwrap();
        let names: Vec<&str> = delta.changed[0].keys().map(String::as_str).collect();
        assert_eq!(names, ["assignedTo", "epoch", "status", "vmId"]);
        assert!(published.advance(3, Counts::default(), now(&assigned)).is_none());
        assert_eq!(published.seq(), 2);
    }

    #[test]
    fn a_field_that_is_gone_is_told_as_null() {
        let mut published = Published::default();
        published.advance(
            1,
            Counts::default(),
            now(&[("vm-a", Some(record("vm-a", Some("finals"))))]),
        );
        let delta = published
            .advance(2, Counts::default(), now(&[("vm-a", Some(record("vm-a", None)))]))
            .unwrap();
        assert_eq!(delta.changed[0]["assignedTo"], Value::Null);
        assert_eq!(delta.changed[0]["status"], "available");
    }

    #[test]
    fn a_check_that_found_the_same_is_not_worth_a_delta() {
        let checked = |at, node| Observation {
            checked_at: Some(Timestamp(at)),
            uptime_s: Some(at as f64),
            reading: Reading {
                node: Some(node),
                ..Reading::default()
            },
            ..Observation::default()
        };
        let mut published = Published::default();
        let mut tell = |seq, observation| {
            let record = seen("vm-a", None, &observation);
            published.advance(seq, Counts::default(), now(&[("vm-a", Some(record))]))
        };
        tell(1, checked(1_000, true)).unwrap();
        assert!(tell(2, checked(2_000, true)).is_none());
        let down = tell(3, checked(3_000, false)).unwrap();
        let names: Vec<&str> = down.changed[0].keys().map(String::as_str).collect();
        assert_eq!(names, ["services", "vmId"]);
        assert_eq!(down.since, 1);
    }
}

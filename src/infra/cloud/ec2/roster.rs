//! The instances that were seen carrying both pool tags.
//!
//! A power change must never reach a stranger's machine, and asking EC2 for the tags before each change would
//! cost a fence a round trip it cannot spare. So what a listing, a description or a launch has shown is
//! remembered until the next listing says otherwise.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::domain::ids::InstanceId;
use crate::domain::instance::Instance;
use crate::infra::cloud::{MANAGED_BY, TAG_MANAGED_BY, TAG_PROJECT};

#[derive(Debug)]
pub(super) struct Roster {
    project: String,
    /// When each was last seen with its tags. Bounded by the pool: every listing drops what it did not show.
    seen: Mutex<HashMap<InstanceId, Instant>>,
}

impl Roster {
    pub(super) fn new(project: String) -> Self {
        Self {
            project,
            seen: Mutex::new(HashMap::new()),
        }
    }

    /// Whether the instance carries both pool tags with the pool's values.
    pub(super) fn is_ours(&self, instance: &Instance) -> bool {
        instance.tags.get(TAG_PROJECT) == Some(&self.project)
            && instance
                .tags
                .get(TAG_MANAGED_BY)
                .is_some_and(|value| value == MANAGED_BY)
    }

    /// Takes note of one instance as the cloud shows it now, and says whether it is the pool's.
    pub(super) fn note(&self, instance: &Instance) -> bool {
        let ours = self.is_ours(instance);
        if ours {
            self.lock().insert(instance.instance_id.clone(), Instant::now());
        } else {
            self.lock().remove(&instance.instance_id);
        }
        ours
    }

    /// Takes note of a complete listing that began at `began`. What was launched or described since then stays,
    /// for the listing may be older than that.
    pub(super) fn note_listing(&self, began: Instant, listed: &[Instance]) {
        let now = Instant::now();
        let mut seen = self.lock();
        seen.retain(|_, at| *at >= began);
        seen.extend(listed.iter().map(|instance| (instance.instance_id.clone(), now)));
    }

    pub(super) fn forget(&self, instance: &InstanceId) {
        self.lock().remove(instance);
    }

    pub(super) fn contains(&self, instance: &InstanceId) -> bool {
        self.lock().contains_key(instance)
    }

    /// No code that can panic runs under the lock, so a poisoned one still holds a sound map.
    fn lock(&self) -> MutexGuard<'_, HashMap<InstanceId, Instant>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::domain::instance::InstanceState;

    fn instance(id: &str, tags: &[(&str, &str)]) -> Instance {
        Instance {
            instance_id: InstanceId::new(id).unwrap(),
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
            tags: tags
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect::<BTreeMap<_, _>>(),
        }
    }

    const OURS: [(&str, &str); 2] = [(TAG_PROJECT, "show"), (TAG_MANAGED_BY, MANAGED_BY)];

    #[test]
    fn only_both_tags_with_the_pools_values_make_an_instance_ours() {
        let roster = Roster::new("show".to_owned());
        assert!(roster.note(&instance("i-1", &OURS)));
        for tags in [
            &[][..],
            &OURS[..1],
            &OURS[1..],
            &[(TAG_PROJECT, "another"), OURS[1]],
            &[OURS[0], (TAG_MANAGED_BY, "terraform")],
        ] {
            let stranger = instance("i-2", tags);
            assert!(!roster.note(&stranger), "{tags:?}");
            assert!(!roster.contains(&stranger.instance_id), "{tags:?}");
        }
    }

    #[test]
    fn an_instance_that_lost_its_tags_is_dropped_when_it_is_described_or_no_longer_listed() {
        let roster = Roster::new("show".to_owned());
        let (described, listed) = (instance("i-1", &OURS), instance("i-2", &OURS));
        roster.note(&described);
        roster.note(&listed);
        roster.note(&instance("i-1", &OURS[..1]));
        assert!(!roster.contains(&described.instance_id));
        assert!(roster.contains(&listed.instance_id));
        roster.note_listing(Instant::now(), &[]);
        assert!(!roster.contains(&listed.instance_id));
    }

    #[test]
    fn a_launch_that_a_running_listing_cannot_show_yet_is_kept() {
        let roster = Roster::new("show".to_owned());
        let began = Instant::now();
        let launched = instance("i-1", &OURS);
        roster.note(&launched);
        roster.note_listing(began, &[instance("i-2", &OURS)]);
        assert!(roster.contains(&launched.instance_id));
        roster.forget(&launched.instance_id);
        assert!(!roster.contains(&launched.instance_id));
    }
}

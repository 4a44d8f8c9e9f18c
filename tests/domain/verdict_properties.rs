//! What must hold of every verdict, whatever is known and in whatever order it became known.

use std::time::Duration;

use proptest::prelude::*;
use understudy::domain::failover::Cause;
use understudy::domain::failover::verdict::{
    CloudSign, IngestSign, OutputSign, Sign, Signals, Trouble, Verdict, judge,
};
use understudy::domain::instance::InstanceState;
use understudy::domain::time::Timestamp;

use crate::verdict_table::POLICY;

const NOW: Timestamp = Timestamp(1_000_000);

fn ages() -> impl Strategy<Value = u64> {
    prop_oneof![0u64..400, 2_900u64..3_100, 0u64..20_000, Just(200), Just(3_000)]
}

fn times() -> impl Strategy<Value = Timestamp> {
    ages().prop_map(|age| NOW - Duration::from_millis(age))
}

fn signs() -> impl Strategy<Value = Sign> {
    let troubles = prop_oneof![Just(Trouble::Refused), Just(Trouble::Silent), Just(Trouble::Cut)];
    prop_oneof![
        1 => Just(Sign::Unknown),
        2 => times().prop_map(Sign::good),
        2 => (times(), troubles).prop_map(|(since, how)| Sign::Bad { since, how }),
    ]
}

fn outputs() -> impl Strategy<Value = OutputSign> {
    prop_oneof![
        1 => Just(OutputSign::Unknown),
        1 => times().prop_map(|at| OutputSign::Rising { at }),
        2 => times().prop_map(|since| OutputSign::Flat { since }),
    ]
}

fn clouds() -> impl Strategy<Value = CloudSign> {
    prop_oneof![
        2 => Just(CloudSign::Unknown),
        4 => Just(CloudSign::Running),
        1 => (times(), downs()).prop_map(|(since, state)| CloudSign::Down { since, state }),
    ]
}

fn downs() -> impl Strategy<Value = Option<InstanceState>> {
    prop::sample::select(vec![
        None,
        Some(InstanceState::Stopping),
        Some(InstanceState::Stopped),
        Some(InstanceState::ShuttingDown),
        Some(InstanceState::Terminated),
    ])
}

/// The cloud says that the machine is down, and the studio has not contradicted it since.
fn is_down(signals: &Signals) -> bool {
    match signals.cloud {
        CloudSign::Down { state: Some(_), .. } => true,
        CloudSign::Down { since, state: None } => !matches!(signals.obs, Sign::Good { at } if at > since),
        CloudSign::Unknown | CloudSign::Running => false,
    }
}

fn ingests() -> impl Strategy<Value = IngestSign> {
    prop_oneof![
        1 => Just(IngestSign::Unknown),
        2 => times().prop_map(|at| IngestSign::Reachable { at }),
        2 => (times(), times()).prop_map(|(one, other)| IngestSign::Back {
            at: one.max(other),
            away_at: one.min(other),
        }),
        1 => times().prop_map(|at| IngestSign::Unreachable { at }),
    ]
}

fn signals() -> impl Strategy<Value = Signals> {
    (signs(), signs(), outputs(), signs(), clouds(), signs()).prop_map(
        |(probe, obs, output, ssh, cloud, hearsay)| Signals {
            probe,
            obs,
            output,
            ssh,
            cloud,
            hearsay,
            last_output_at: None,
        },
    )
}

fn is_lost(signals: &Signals, ingest: IngestSign, wanted: bool) -> bool {
    matches!(judge(signals, ingest, wanted, &POLICY, NOW), Verdict::Lost { .. })
}

/// The rules of the module's documentation, one by one.
fn cause_by_the_rules(signals: &Signals, ingest: IngestSign, wanted: bool) -> Option<Cause> {
    let lasts = |since: Timestamp, limit| NOW.since(since) >= limit;
    if is_down(signals) {
        return Some(Cause::MachineLost);
    }
    if let Sign::Bad {
        since,
        how: Trouble::Refused,
    } = signals.obs
    {
        return lasts(since, POLICY.studio_grace).then_some(Cause::StudioLost);
    }
    if let Sign::Bad {
        since,
        how: Trouble::Silent,
    } = signals.obs
    {
        let answers = |sign| {
            !matches!(
                sign,
                Sign::Unknown
                    | Sign::Bad {
                        how: Trouble::Silent | Trouble::Cut,
                        ..
                    }
            )
        };
        let alive = answers(signals.probe) || answers(signals.ssh);
        let cause = if alive {
            Cause::StudioLost
        } else {
            Cause::MachineLost
        };
        return lasts(since, POLICY.silence_limit).then_some(cause);
    }
    if let Sign::Bad {
        since: cut,
        how: Trouble::Cut,
    } = signals.obs
    {
        let silent_since = |sign| match sign {
            Sign::Bad {
                since,
                how: Trouble::Silent,
            } => Some(since),
            _ => None,
        };
        let mut found = Vec::new();
        if let (Some(ssh), Some(probe)) = (silent_since(signals.ssh), silent_since(signals.probe)) {
            found.push((cut.max(ssh).max(probe), Cause::MachineLost));
        }
        if let Sign::Bad { since, .. } = signals.hearsay {
            found.push((cut.max(since), Cause::StudioLost));
        }
        found.retain(|(since, _)| lasts(*since, POLICY.silence_limit));
        return found
            .into_iter()
            .min_by_key(|(since, _)| *since)
            .map(|(_, cause)| cause);
    }
    let (Sign::Good { .. }, OutputSign::Flat { since }) = (signals.obs, signals.output) else {
        return None;
    };
    let (at, away_at) = match ingest {
        IngestSign::Reachable { at } => (at, since),
        IngestSign::Back { at, away_at } => (at, away_at.max(since)),
        IngestSign::Unknown | IngestSign::Unreachable { .. } => return None,
    };
    let asked_since = at >= since && NOW.since(at) <= POLICY.silence_limit;
    let longer = POLICY.silence_limit + away_at.since(since);
    let limit = longer.min(POLICY.silence_limit * 3);
    (wanted && asked_since && lasts(away_at, limit)).then_some(Cause::OutputSilent)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 4_096, ..ProptestConfig::default() })]

    #[test]
    fn a_vm_is_lost_when_a_rule_says_so_and_only_then(s in signals(), ingest in ingests(), wanted: bool) {
        let cause = match judge(&s, ingest, wanted, &POLICY, NOW) {
            Verdict::Lost { cause, .. } => Some(cause),
            Verdict::Fine
            | Verdict::Suspect { .. }
            | Verdict::AskIngest { .. }
            | Verdict::NotThisVm { .. } => None,
        };
        prop_assert_eq!(cause, cause_by_the_rules(&s, ingest, wanted));
    }

    #[test]
    fn knowing_less_never_loses_a_vm(s in signals(), ingest in ingests(), wanted: bool) {
        let lost = is_lost(&s, ingest, wanted);
        // Without the studio's word, that of a cloud that does not find the machine stands.
        let contradicted = matches!(s.cloud, CloudSign::Down { .. }) && !is_down(&s);
        let less = [
            Signals { probe: Sign::Unknown, ..s },
            Signals { obs: if contradicted { s.obs } else { Sign::Unknown }, ..s },
            Signals { output: OutputSign::Unknown, ..s },
            Signals { ssh: Sign::Unknown, ..s },
            Signals { hearsay: Sign::Unknown, ..s },
            Signals { cloud: CloudSign::Unknown, ..s },
        ];
        for known in less {
            prop_assert!(lost || !is_lost(&known, ingest, wanted), "{:?}", known);
        }
        prop_assert!(lost || !is_lost(&s, IngestSign::Unknown, wanted), "not knowing the ingest");
    }

    #[test]
    fn good_news_never_loses_a_vm_that_was_fine(s in signals(), ingest in ingests(), wanted: bool) {
        if judge(&s, ingest, wanted, &POLICY, NOW) != Verdict::Fine {
            return Ok(());
        }
        // A studio that answers again tells of its output too: that news is good only if the bytes rise.
        let better = [
            Signals { probe: Sign::good(NOW), ..s },
            Signals { obs: Sign::good(NOW), output: OutputSign::Rising { at: NOW }, ..s },
            Signals { output: OutputSign::Rising { at: NOW }, ..s },
            Signals { ssh: Sign::good(NOW), ..s },
            Signals { hearsay: Sign::good(NOW), ..s },
            Signals { cloud: CloudSign::Running, ..s },
        ];
        for known in better {
            prop_assert!(!is_lost(&known, ingest, wanted), "{:?}", known);
        }
        let reachable = IngestSign::Reachable { at: NOW };
        prop_assert!(!is_lost(&s, reachable, wanted), "{:?}", reachable);
    }

    #[test]
    fn a_suspicion_is_settled_when_it_is_looked_at_again_and_not_before(s in signals(), ingest in ingests()) {
        let Verdict::Suspect { since, recheck_at } = judge(&s, ingest, true, &POLICY, NOW) else {
            return Ok(());
        };
        prop_assert!(recheck_at > NOW && since <= NOW);
        let early = judge(&s, ingest, true, &POLICY, recheck_at - Duration::from_millis(1));
        // Of an ingest that was away, the answer may be too old before that, and is asked for again.
        let again = matches!((ingest, early), (IngestSign::Back { .. }, Verdict::AskIngest { .. }));
        prop_assert!(again || early == Verdict::Suspect { since, recheck_at }, "{:?}", early);
        let then = judge(&s, ingest, true, &POLICY, recheck_at);
        let open = matches!(then, Verdict::Suspect { .. });
        prop_assert!(!open, "still {:?}", then);
    }

    #[test]
    fn a_flap_shorter_than_the_limits_loses_nothing(
        flaps in prop::collection::vec((any::<bool>(), 1u64..3_000, 1u64..10), 1..30),
        reachable: bool,
    ) {
        let ingest = |at| if reachable { IngestSign::Reachable { at } } else { IngestSign::Unknown };
        let mut now = NOW;
        let mut s = Signals { cloud: CloudSign::Running, ..Signals::default() };
        for (refused, length, attempts) in flaps {
            let (how, limit) = if refused { (Trouble::Refused, 200) } else { (Trouble::Silent, 3_000) };
            let (begun, length) = (now, length % limit);
            for attempt in 1..=attempts {
                now = begun + Duration::from_millis(length * attempt / attempts);
                for sign in [&mut s.obs, &mut s.probe, &mut s.ssh] {
                    *sign = sign.worsen(begun, how);
                }
                s.output = OutputSign::Flat { since: begun };
                let verdict = judge(&s, ingest(now), true, &POLICY, now);
                let suspect = matches!(verdict, Verdict::Suspect { .. });
                prop_assert!(suspect, "{:?} at {:?}", verdict, now);
            }
            now = now + Duration::from_millis(1);
            for sign in [&mut s.obs, &mut s.probe, &mut s.ssh] {
                *sign = Sign::good(now);
            }
            let flat = judge(&s, ingest(now), true, &POLICY, now);
            prop_assert!(!matches!(flat, Verdict::Lost { .. }) || length + 1 >= 3_000, "{:?}", flat);
            s.output = OutputSign::Rising { at: now };
            prop_assert_eq!(judge(&s, ingest(now), true, &POLICY, now), Verdict::Fine);
        }
    }
}

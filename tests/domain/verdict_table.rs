//! Whether a VM on air has failed, by what is known of it.

use std::time::Duration;

use understudy::domain::failover::verdict::{
    CloudSign, IngestSign, OutputSign, Policy, Sign, Signals, Trouble, Verdict, judge,
};
use understudy::domain::instance::InstanceState;
use understudy::domain::time::Timestamp;

pub const POLICY: Policy = Policy {
    silence_limit: Duration::from_millis(3_000),
    studio_grace: Duration::from_millis(200),
};
const NOW: Timestamp = Timestamp(1_000_000);

/// Cloud, OBS, probe, SSH, output, ingest seen from another VM, stream wanted; verdict. Figures are
/// milliseconds: how long the trouble lasts, or how old the answer is.
#[rustfmt::skip]
pub const VERDICTS: [([&str; 7], &str); 41] = [
    (["running", "good",         "good",         "good",         "rising",     "unknown",          "yes"], "fine"),
    (["unknown", "unknown",      "unknown",      "unknown",      "unknown",    "unknown",          "yes"], "fine"),
    (["down 1",  "good",         "good",         "good",         "rising",     "unknown",          "yes"], "lost: machine-lost"),
    (["not found 1", "good",     "good",         "good",         "rising",     "unknown",          "yes"], "fine"),
    (["not found 1", "unknown",  "unknown",      "unknown",      "unknown",    "unknown",          "yes"], "lost: machine-lost"),
    (["down 1",  "unknown",      "unknown",      "unknown",      "unknown",    "unknown",          "no" ], "lost: machine-lost"),
    (["running", "refused 199",  "good",         "good",         "unknown",    "unknown",          "yes"], "suspect"),
    (["running", "refused 200",  "good",         "good",         "unknown",    "unknown",          "yes"], "lost: studio-lost"),
    (["running", "refused 200",  "silent 9000",  "silent 9000",  "unknown",    "unknown",          "yes"], "lost: studio-lost"),
    (["running", "refused 200",  "good",         "good",         "unknown",    "unknown",          "no" ], "lost: studio-lost"),
    (["running", "silent 2999",  "silent 9000",  "silent 9000",  "unknown",    "unknown",          "yes"], "suspect"),
    (["running", "silent 3000",  "silent 3000",  "silent 3000",  "unknown",    "unknown",          "yes"], "lost: machine-lost"),
    (["running", "silent 3000",  "unknown",      "unknown",      "unknown",    "unknown",          "yes"], "lost: machine-lost"),
    (["running", "silent 3000",  "good",         "silent 3000",  "unknown",    "unknown",          "yes"], "lost: studio-lost"),
    (["running", "silent 3000",  "refused 3000", "silent 3000",  "unknown",    "unknown",          "yes"], "lost: studio-lost"),
    (["running", "silent 3000",  "silent 3000",  "good",         "unknown",    "unknown",          "yes"], "lost: studio-lost"),
    (["running", "cut 9000",     "good",         "silent 9000",  "unknown",    "unknown",          "yes"], "fine"),
    (["running", "cut 9000",     "good",         "refused 9000", "unknown",    "unknown",          "yes"], "fine"),
    (["running", "cut 9000",     "refused 9000", "silent 9000",  "unknown",    "unknown",          "yes"], "fine"),
    (["running", "cut 9000",     "unknown",      "silent 9000",  "unknown",    "unknown",          "yes"], "fine"),
    (["running", "cut 9000",     "silent 9000",  "good",         "unknown",    "unknown",          "yes"], "fine"),
    (["running", "cut 2999",     "silent 2999",  "silent 2999",  "unknown",    "unknown",          "yes"], "suspect"),
    (["running", "cut 3000",     "silent 3000",  "silent 3000",  "unknown",    "unknown",          "yes"], "lost: machine-lost"),
    (["running", "cut 9000",     "silent 2999",  "silent 9000",  "unknown",    "unknown",          "yes"], "suspect"),
    (["running", "cut 9000",     "silent 9000",  "silent 2999",  "unknown",    "unknown",          "yes"], "suspect"),
    (["down 0",  "cut 0",        "good",         "refused 0",    "unknown",    "unknown",          "yes"], "lost: machine-lost"),
    (["running", "good",         "silent 9000",  "good",         "rising",     "unknown",          "yes"], "fine"),
    (["running", "good",         "silent 9000",  "silent 9000",  "rising",     "unknown",          "yes"], "fine"),
    (["running", "good",         "good",         "good",         "flat 2999",  "reachable 0",      "yes"], "suspect"),
    (["running", "good",         "good",         "good",         "flat 3000",  "unknown",          "yes"], "ask the ingest"),
    (["running", "good",         "good",         "good",         "flat 3000",  "reachable 0",      "yes"], "lost: output-silent"),
    (["running", "good",         "good",         "good",         "flat 3000",  "unreachable 0",    "yes"], "not this VM"),
    (["running", "good",         "good",         "good",         "flat 9000",  "reachable 3001",   "yes"], "ask the ingest"),
    (["running", "good",         "good",         "good",         "flat 3000",  "reachable 3001",   "yes"], "ask the ingest"),
    (["running", "good",         "good",         "good",         "flat 9000",  "unreachable 3001", "yes"], "ask the ingest"),
    (["running", "good",         "good",         "good",         "flat 7001",  "back 0, 5000",     "yes"], "suspect"),
    (["running", "good",         "good",         "good",         "flat 7000",  "back 0, 5000",     "yes"], "lost: output-silent"),
    (["running", "good",         "good",         "good",         "flat 90000", "back 0, 8999",     "yes"], "suspect"),
    (["running", "good",         "good",         "good",         "flat 3000",  "back 0, 90000",    "yes"], "lost: output-silent"),
    (["running", "good",         "good",         "good",         "flat 9000",  "reachable 0",      "no" ], "fine"),
    (["running", "unknown",      "good",         "good",         "flat 9000",  "reachable 0",      "yes"], "fine"),
];

fn ago(text: &str) -> Timestamp {
    NOW - Duration::from_millis(text.parse().unwrap())
}

fn sign(text: &str) -> Sign {
    let bad = |age, how| Sign::Bad { since: ago(age), how };
    match text.split_once(' ') {
        None if text == "good" => Sign::good(NOW),
        None if text == "unknown" => Sign::Unknown,
        Some(("refused", age)) => bad(age, Trouble::Refused),
        Some(("silent", age)) => bad(age, Trouble::Silent),
        Some(("cut", age)) => bad(age, Trouble::Cut),
        _ => panic!("no sign is called {text}"),
    }
}

fn cloud(text: &str) -> CloudSign {
    match text.rsplit_once(' ') {
        None if text == "running" => CloudSign::Running,
        None if text == "unknown" => CloudSign::Unknown,
        Some(("down", age)) => CloudSign::Down {
            since: ago(age),
            state: Some(InstanceState::Stopping),
        },
        Some(("not found", age)) => CloudSign::Down {
            since: ago(age),
            state: None,
        },
        _ => panic!("no cloud sign is called {text}"),
    }
}

fn output(text: &str) -> OutputSign {
    match text.split_once(' ') {
        None if text == "rising" => OutputSign::Rising { at: NOW },
        None if text == "unknown" => OutputSign::Unknown,
        Some(("flat", age)) => OutputSign::Flat { since: ago(age) },
        _ => panic!("no output sign is called {text}"),
    }
}

fn ingest(text: &str) -> IngestSign {
    match text.split_once(' ') {
        None if text == "unknown" => IngestSign::Unknown,
        Some(("reachable", age)) => IngestSign::Reachable { at: ago(age) },
        Some(("back", ages)) => {
            let (at, away_at) = ages.split_once(", ").unwrap();
            IngestSign::Back {
                at: ago(at),
                away_at: ago(away_at),
            }
        }
        Some(("unreachable", age)) => IngestSign::Unreachable { at: ago(age) },
        _ => panic!("no ingest sign is called {text}"),
    }
}

fn name_of(verdict: Verdict) -> String {
    match verdict {
        Verdict::Fine => "fine".into(),
        Verdict::Suspect { recheck_at, .. } => {
            assert!(
                recheck_at > NOW,
                "a suspicion is looked at again later, not at {recheck_at:?}"
            );
            "suspect".into()
        }
        Verdict::AskIngest { .. } => "ask the ingest".into(),
        Verdict::NotThisVm { .. } => "not this VM".into(),
        Verdict::Lost { cause, .. } => format!("lost: {}", cause.as_str()),
    }
}

#[test]
fn every_combination_of_signals_in_the_table_gets_its_verdict() {
    for (row, expected) in VERDICTS {
        let [cloud_text, obs, probe, ssh, output_text, ingest_text, wanted] = row;
        let signals = Signals {
            probe: sign(probe),
            obs: sign(obs),
            output: output(output_text),
            ssh: sign(ssh),
            cloud: cloud(cloud_text),
            hearsay: Sign::Unknown,
            last_output_at: None,
        };
        let verdict = judge(&signals, ingest(ingest_text), wanted == "yes", &POLICY, NOW);
        assert_eq!(name_of(verdict), expected, "{row:?}");
    }
}

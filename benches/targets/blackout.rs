//! P3 and P4: from the last byte of a VM that fails on air to the first byte of its understudy, as the venue's
//! ingest saw it. Ten shows at a time in the simulated world, whose machines speak the real protocols.

use std::time::Duration;

use anyhow::{Result, ensure};
use understudy::rehearsal::play::{Cast, play_here};
use understudy::rehearsal::scenario::built_in;

use crate::Scale;
use crate::report::{Report, Row, Verdict};
use crate::spread::{Spread, brief};

const SHOWS: u32 = 10;

struct Target {
    name: &'static str,
    what: &'static str,
    scenario: &'static str,
    p50: Duration,
    p99: Duration,
}

const TARGETS: [Target; 2] = [
    Target {
        name: "P3",
        what: "studio crash on air to bytes from the spare",
        scenario: "studio-crash",
        p50: Duration::from_secs(1),
        p99: Duration::from_secs(2),
    },
    Target {
        name: "P4",
        what: "machine blackhole on air to bytes from the spare",
        scenario: "machine-blackhole",
        p50: Duration::from_secs(4),
        p99: Duration::from_secs(5),
    },
];

pub async fn measure(scale: &Scale, report: &mut Report) -> Result<()> {
    for target in TARGETS {
        let scenario = built_in(target.scenario)?;
        let (mut gaps, mut off_air, mut detect) = (Vec::new(), Vec::new(), Vec::new());
        for seed in 1..=scale.rehearsals {
            let cast = Cast {
                shows: Some(SHOWS),
                seed,
            };
            let played = play_here(&scenario, cast, &()).await?;
            let complaints: Vec<&String> = played.complaints().collect();
            ensure!(played.passed, "{} with seed {seed}: {complaints:?}", played.name);
            let ms = |value: Option<u64>| value.map(Duration::from_millis);
            gaps.extend(played.failovers.iter().filter_map(|f| ms(f.ingest_gap_ms)));
            off_air.extend(played.failovers.iter().filter_map(|f| ms(f.off_air_ms)));
            detect.extend(played.failovers.iter().filter_map(|f| ms(Some(f.detect_ms))));
        }
        let (gap, off_air, detect) = (Spread::of(gaps), Spread::of(off_air), Spread::of(detect));
        report.add(Row {
            target: target.name,
            what: format!("{}, as the ingest saw it, {} failovers", target.what, gap.len()),
            figure: format!(
                "{gap}; by the coordinator's account {off_air}, detected after {}",
                brief(detect.p50())
            ),
            goal: format!("p50 <= {}, p99 <= {}", brief(target.p50), brief(target.p99)),
            ratio: Some(
                (gap.p50().as_secs_f64() / target.p50.as_secs_f64())
                    .max(gap.p99().as_secs_f64() / target.p99.as_secs_f64()),
            ),
            verdict: Verdict::of(gap.p50() <= target.p50 && gap.p99() <= target.p99),
        });
    }
    Ok(())
}

//! A large pool is scraped with a line for each VM, and what that costs is said.

use std::time::Instant;

use understudy::actors::board::Observation;
use understudy::actors::coordinator::MetricsFormat;
use understudy::domain::health::Reading;
use understudy::domain::load::{Load, Network};
use understudy::domain::system_info::Usage;

use crate::fleet::{self, Fleet};

const VMS: usize = 10_000;
/// Status, four services but OBS and SSH, answer, last check, and seven figures of its load.
const SERIES_PER_VM: usize = 1 + 2 + 1 + 1 + 7;

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_vms_are_scraped_with_every_figure_of_each() {
    let mut config = fleet::config(VMS).unwrap();
    config.pool.health_check_interval = std::time::Duration::from_secs(600);
    let fleet = Fleet::new(VMS, &config).unwrap();
    let folder = tempfile::TempDir::new().unwrap();
    let ledger = fleet::ledger(folder.path()).await.unwrap();
    fleet.move_in(&ledger).await.unwrap();
    let node = fleet.node(&config, ledger, |_| None).await.unwrap();
    let coordinator = node.coordinator();
    let now = coordinator.now();
    let usage = Usage {
        total: 8_142_127_104,
        used: 2_401_865_728,
        free: 5_740_261_376,
    };
    let load = Load {
        processor: Some(0.318_273),
        memory: Some(usage),
        disk: Some(usage),
        network: Some(Network {
            received: 123_456_789_012,
            sent: 98_765_432_109,
        }),
    };
    let seen = Observation {
        checked_at: Some(now),
        reading: Reading {
            node: Some(true),
            obs: Some(true),
            ssh: None,
        },
        response_time: Some(std::time::Duration::from_micros(1_234)),
        load: Some((load, now)),
        ..Observation::default()
    };
    // As their actors would have posted it, had these machines an SSH server.
    let text = crate::support::eventually::eventually(
        "every VM is on the page",
        crate::support::PLENTY * 3,
        async || {
            for vm in fleet.vms() {
                coordinator.board().post(vm, seen.clone());
            }
            let (scrape, began) = (coordinator.scrape(), Instant::now());
            let written = tokio::task::spawn_blocking(move || scrape.text(MetricsFormat::OpenMetrics));
            let text = written.await.unwrap().unwrap();
            println!("{VMS} VMs: {} bytes in {:?}", text.len(), began.elapsed());
            let lines = text.lines().filter(|line| line.contains("{vm=\""));
            (lines.count() == VMS * SERIES_PER_VM).then_some(text)
        },
    )
    .await;
    let one = fleet.vms()[VMS / 2].as_str();
    assert!(text.contains(&format!(
        "understudy_vm_cpu_usage_ratio{{vm=\"{one}\"}} 0.318273\n"
    )));
    assert!(text.contains(&format!(
        "understudy_vm_memory_used_bytes{{vm=\"{one}\"}} 2401865728.0\n"
    )));
    node.stop().await.unwrap();
}

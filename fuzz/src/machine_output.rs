//! What a machine's own programs print: `free`, `df`, `/proc`, systemd and PM2. Read, or unknown; never nonsense.
//!
//! What the programs printed, with a NUL after each.

use understudy::domain::service::{Standing, standings, under_pm2};
use understudy::domain::system_info::{STEPS, SystemInfo, human_bytes, human_uptime};

/// How the machine is, how its units are, and its process under PM2.
pub fn run(text: &str) -> (SystemInfo, Vec<Standing>, Option<Standing>) {
    let mut pieces = text.split('\0').map(str::to_owned);
    let printed: [String; STEPS] = std::array::from_fn(|_| pieces.next().unwrap_or_default());
    let info = SystemInfo::read(&printed);
    for usage in [info.memory, info.disk].into_iter().flatten() {
        assert!(!human_bytes(usage.total).is_empty());
        assert!(
            usage
                .used_percent()
                .is_none_or(|percent| percent >= 0.0 && percent.is_finite())
        );
    }
    assert!(
        info.cpu_percent
            .is_none_or(|percent| (0.0..=100.0).contains(&percent))
    );
    assert!(info.uptime.is_none_or(|uptime| !human_uptime(uptime).is_empty()));
    let units = standings(text);
    for standing in &units {
        assert!(!standing.status.is_empty());
        assert_ne!(standing.pid, Some(0));
    }
    let process = under_pm2(text);
    assert!(process.as_ref().is_none_or(|standing| standing.pid > Some(0)));
    (info, units, process)
}

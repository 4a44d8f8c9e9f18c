//! How a machine is: its name, uptime, memory, disk and processor, from what its own programs print.
//!
//! [`plan`] says what to run and [`SystemInfo::read`] what it meant. Both belong together: the programs are asked in
//! the form that is easiest to read and least likely to change (bytes, the POSIX layout of `df`, files of proc(5)).
//! What cannot be read is unknown.

use std::time::Duration;

use super::operation::{Plan, PlannedStep};

/// Limit on all of it.
const TIMEOUT: Duration = Duration::from_secs(10);
/// Between two readings of the processor's counters; they count hundredths of a second.
const CPU_WINDOW: Duration = Duration::from_millis(500);

/// The parts of what is run, by the number of their step.
const HOSTNAME: usize = 0;
const UPTIME: usize = 1;
const MEMORY: usize = 2;
const DISK: usize = 3;
const CPUS: usize = 4;
const LOAD: usize = 5;
const CPU_BEFORE: usize = 6;
const CPU_AFTER: usize = 8;
/// How many steps there are.
pub const STEPS: usize = 9;

/// What to run on the machine. Each step is run whether or not the one before it worked.
#[must_use]
pub fn plan() -> Plan {
    let run = |words: &[&str]| PlannedStep::Run {
        condition: None,
        argv: words.iter().map(|word| (*word).to_owned()).collect(),
        otherwise: None,
        always: true,
    };
    let steps = vec![
        run(&["hostname"]),
        run(&["cat", "/proc/uptime"]),
        run(&["env", "LC_ALL=C", "free", "-b"]),
        run(&["env", "LC_ALL=C", "df", "-P", "-B1", "/"]),
        run(&["nproc"]),
        run(&["cat", "/proc/loadavg"]),
        run(&["head", "-n", "1", "/proc/stat"]),
        PlannedStep::Pause(CPU_WINDOW),
        run(&["head", "-n", "1", "/proc/stat"]),
    ];
    Plan {
        steps,
        timeout: TIMEOUT,
    }
}

/// How much there is of something, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    pub total: u64,
    pub used: u64,
    /// What may still be taken: for memory what is available, caches included; for a disk what is left to users.
    pub free: u64,
}

impl Usage {
    /// Share that is used, in percent; unknown of nothing.
    #[must_use]
    pub fn used_percent(&self) -> Option<f64> {
        (self.total > 0).then(|| self.used as f64 / self.total as f64 * 100.0)
    }
}

/// A machine, as far as it could be read.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SystemInfo {
    pub hostname: Option<String>,
    pub uptime: Option<Duration>,
    pub memory: Option<Usage>,
    /// Of the root file system.
    pub disk: Option<Usage>,
    /// Share of all processors that was busy in the last half second, in percent.
    pub cpu_percent: Option<f64>,
    pub cpus: Option<u32>,
    /// Mean number of runnable processes over 1, 5 and 15 minutes.
    pub load: Option<[f64; 3]>,
}

impl SystemInfo {
    /// Reads what the steps of [`plan`] printed.
    #[must_use]
    pub fn read(printed: &[String; STEPS]) -> Self {
        let hostname = printed[HOSTNAME].trim();
        Self {
            hostname: (!hostname.is_empty()).then(|| hostname.to_owned()),
            uptime: uptime(&printed[UPTIME]),
            memory: memory(&printed[MEMORY]),
            disk: disk(&printed[DISK]),
            cpu_percent: busy_percent(&printed[CPU_BEFORE], &printed[CPU_AFTER]),
            cpus: printed[CPUS].trim().parse().ok(),
            load: load(&printed[LOAD]),
        }
    }
}

/// `350735.47 234388.90`: seconds up, and idle (proc(5)).
fn uptime(printed: &str) -> Option<Duration> {
    let seconds: f64 = printed.split_whitespace().next()?.parse().ok()?;
    Duration::try_from_secs_f64(seconds).ok()
}

/// The line `Mem:` of `free -b` (free(1)): total, used, free, shared, buff/cache, available.
fn memory(printed: &str) -> Option<Usage> {
    let line = printed.lines().find_map(|line| line.strip_prefix("Mem:"))?;
    let numbers: Vec<u64> = line
        .split_whitespace()
        .map_while(|word| word.parse().ok())
        .collect();
    match numbers.as_slice() {
        [total, used, _, _, _, available, ..] => Some(Usage {
            total: *total,
            used: *used,
            free: *available,
        }),
        // Before procps 3.3.10 there was no such column.
        [total, used, free, ..] => Some(Usage {
            total: *total,
            used: *used,
            free: *free,
        }),
        _ => None,
    }
}

/// The last line of `df -P -B1 /` (df(1)): file system, blocks, used, available, capacity, mount point. The file
/// system's own name may hold spaces, so it is read from the end.
pub(super) fn disk(printed: &str) -> Option<Usage> {
    let line = printed.lines().rfind(|line| !line.trim().is_empty())?;
    let words: Vec<&str> = line.split_whitespace().rev().collect();
    match words.as_slice() {
        [_, _, free, used, total, _, ..] => Some(Usage {
            total: total.parse().ok()?,
            used: used.parse().ok()?,
            free: free.parse().ok()?,
        }),
        _ => None,
    }
}

fn load(printed: &str) -> Option<[f64; 3]> {
    let mut words = printed
        .split_whitespace()
        .map(|word| word.parse::<f64>().ok().filter(|load| load.is_finite()));
    Some([words.next()??, words.next()??, words.next()??])
}

/// Busy time over all time between two readings of the line `cpu` in /proc/stat (proc(5)): user, nice, system, idle,
/// iowait, irq, softirq, steal. Idle and iowait are not busy; guest time is in user already.
fn busy_percent(before: &str, after: &str) -> Option<f64> {
    let read = |line: &str| -> Option<(u64, u64)> {
        let counters = line.trim().strip_prefix("cpu ")?;
        let counters: Vec<u64> = counters
            .split_whitespace()
            .take(8)
            .map(|word| word.parse().ok())
            .collect::<Option<_>>()?;
        let idle = counters
            .get(3)?
            .checked_add(counters.get(4).copied().unwrap_or(0))?;
        let all = counters
            .iter()
            .try_fold(0, |sum: u64, next| sum.checked_add(*next))?;
        Some((all, idle))
    };
    let ((all_before, idle_before), (all_after, idle_after)) = (read(before)?, read(after)?);
    let all = all_after.checked_sub(all_before).filter(|all| *all > 0)?;
    // iowait may go down.
    let idle = idle_after.saturating_sub(idle_before).min(all);
    Some((all - idle) as f64 / all as f64 * 100.0)
}

/// Bytes as people read them: `7.6Gi`, as `free -h` and `df -h` write them, with one digit after the point below ten.
#[must_use]
pub fn human_bytes(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "Ki", "Mi", "Gi", "Ti", "Pi"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit > 0 && value < 9.95 {
        format!("{value:.1}{}", UNITS[unit])
    } else {
        format!("{value:.0}{}", UNITS[unit])
    }
}

/// A time as `uptime -p` writes it: `up 4 days, 1 hour, 25 minutes`.
#[must_use]
pub fn human_uptime(uptime: Duration) -> String {
    let minutes = uptime.as_secs() / 60;
    let parts = [
        (minutes / (60 * 24 * 7), "week"),
        (minutes / (60 * 24) % 7, "day"),
        (minutes / 60 % 24, "hour"),
        (minutes % 60, "minute"),
    ];
    let words: Vec<String> = parts
        .into_iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, unit)| format!("{count} {unit}{}", if count == 1 { "" } else { "s" }))
        .collect();
    if words.is_empty() {
        "up 0 minutes".to_owned()
    } else {
        format!("up {}", words.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Ubuntu 22.04 (procps 3.3.17, coreutils 8.32) on a cloud instance.
    fn ubuntu() -> [String; STEPS] {
        [
            "ip-10-0-3-77\n",
            "350735.47 234388.90\n",
            "               total        used        free      shared  buff/cache   available\n\
             Mem:      8142127104  2401865728   512032768    98304000  5228228608  5371572224\n\
             Swap:              0           0           0\n",
            "Filesystem       1-blocks        Used   Available Capacity Mounted on\n\
             /dev/root     51848359936 14920278016 36911304704      29% /\n",
            "2\n",
            "0.42 0.40 0.38 2/317 88121\n",
            "cpu  1000 20 300 8000 100 0 10 5 0 0\n",
            "",
            "cpu  1060 20 330 8090 110 0 10 15 0 0\n",
        ]
        .map(str::to_owned)
    }

    #[test]
    fn a_machine_is_read_from_what_its_programs_print() {
        let info = SystemInfo::read(&ubuntu());
        assert_eq!(info.hostname.as_deref(), Some("ip-10-0-3-77"));
        assert_eq!(info.uptime, Some(Duration::from_secs_f64(350_735.47)));
        let memory = Usage {
            total: 8_142_127_104,
            used: 2_401_865_728,
            free: 5_371_572_224,
        };
        assert_eq!(info.memory, Some(memory));
        let disk = Usage {
            total: 51_848_359_936,
            used: 14_920_278_016,
            free: 36_911_304_704,
        };
        assert_eq!(info.disk, Some(disk));
        assert_eq!((info.cpus, info.load), (Some(2), Some([0.42, 0.40, 0.38])));
        // 200 hundredths, of which 100 idle or waiting.
        assert_eq!(info.cpu_percent, Some(50.0));
    }

    #[test]
    fn what_is_missing_or_strange_is_unknown_and_the_rest_is_read() {
        let mut printed = ubuntu();
        printed[MEMORY] = "sh: 1: free: not found\n".to_owned();
        printed[CPU_AFTER] = String::new();
        printed[LOAD] = "nan 1 2".to_owned();
        let info = SystemInfo::read(&printed);
        assert_eq!((info.memory, info.cpu_percent, info.load), (None, None, None));
        assert!(info.disk.is_some() && info.uptime.is_some());
        assert_eq!(SystemInfo::read(&Default::default()), SystemInfo::default());
    }

    #[test]
    fn other_layouts_of_the_same_programs_are_read_too() {
        // A file system whose name has a space, and a free without the last columns.
        let df = "Filesystem 1-blocks Used Available Capacity Mounted on\n//nas/My Disk 100 40 60 40% /\n";
        assert_eq!(
            disk(df).map(|disk| (disk.total, disk.used, disk.free)),
            Some((100, 40, 60))
        );
        let free = "             total       used       free\nMem:          1000        600        400\n";
        assert_eq!(memory(free).map(|memory| memory.free), Some(400));
    }

    #[test]
    fn counters_that_did_not_move_say_nothing() {
        let line = "cpu  1 2 3 4 5 6 7 8 0 0";
        assert_eq!(busy_percent(line, line), None);
        assert_eq!(busy_percent("cpu  9 9 9 9", "cpu  1 1 1 1"), None);
        assert_eq!(busy_percent("cpu0 1 1 1 1", "cpu0 2 2 2 2"), None);
    }

    #[test]
    fn counters_beyond_all_measure_say_nothing() {
        let huge = u64::MAX;
        for strange in [format!("cpu  1 1 1 {huge} 1"), format!("cpu  {huge} 1 1 1 1")] {
            assert_eq!(busy_percent("cpu  1 1 1 1 1", &strange), None, "{strange}");
        }
    }

    #[test]
    fn figures_are_written_as_people_read_them() {
        for (bytes, text) in [
            (0, "0B"),
            (1_023, "1023B"),
            (8_142_127_104, "7.6Gi"),
            (51_848_359_936, "48Gi"),
            (10 << 20, "10Mi"),
        ] {
            assert_eq!(human_bytes(bytes), text);
        }
        for (seconds, text) in [
            (59, "up 0 minutes"),
            (60, "up 1 minute"),
            (350_735, "up 4 days, 1 hour, 25 minutes"),
            (14 * 86_400 + 3_600, "up 2 weeks, 1 hour"),
        ] {
            assert_eq!(human_uptime(Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn the_plan_has_a_step_for_every_part() {
        let plan = plan();
        assert_eq!(plan.steps.len(), STEPS);
        assert_eq!(plan.steps[CPU_BEFORE], plan.steps[CPU_AFTER]);
    }

    proptest! {
        #[test]
        fn nothing_that_is_printed_makes_it_fail(printed in prop::array::uniform9("\\PC{0,60}")) {
            let info = SystemInfo::read(&printed);
            prop_assert!(info.cpu_percent.is_none_or(|percent| (0.0..=100.0).contains(&percent)));
        }
    }
}

//! What a machine is busy with, read from what its kernel says: cheap enough to be asked for all the time, which
//! [`super::system_info`] is not.
//!
//! [`FILES`] and [`DISK`] say what to run, [`Sample::read`] what it meant. Some of it is counted since the machine came
//! up, so a [`Load`] takes two samples. What cannot be read is unknown.

use super::system_info::{Usage, disk};

/// Prints the counters of processor, memory and network: proc(5).
pub const FILES: [&str; 4] = ["cat", "/proc/stat", "/proc/meminfo", "/proc/net/dev"];
/// Prints how full the root file system is: df(1), in its POSIX layout.
pub const DISK: [&str; 6] = ["env", "LC_ALL=C", "df", "-P", "-B1", "/"];

/// What was read at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sample {
    processor: Option<Processor>,
    memory: Option<Usage>,
    disk: Option<Usage>,
    network: Option<Network>,
}

/// Hundredths of a second since the machine came up, of all processors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Processor {
    all: u64,
    idle: u64,
}

/// Bytes since the machine came up, of all interfaces but the loopback.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Network {
    pub received: u64,
    pub sent: u64,
}

impl Sample {
    /// Reads what [`FILES`] and [`DISK`] printed.
    #[must_use]
    pub fn read(files: &str, df: &str) -> Self {
        Self {
            processor: files.lines().find_map(processor),
            memory: memory(files),
            disk: disk(df),
            network: network(files),
        }
    }
}

/// The line `cpu` of /proc/stat: user, nice, system, idle, iowait, irq, softirq, steal; guest time is in user already.
fn processor(line: &str) -> Option<Processor> {
    let counters = line.strip_prefix("cpu ")?;
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
        .try_fold(0_u64, |sum, count| sum.checked_add(*count))?;
    Some(Processor { all, idle })
}

/// `MemTotal: 7951296 kB` and `MemAvailable` of /proc/meminfo, in kibibytes whatever they are called there.
fn memory(files: &str) -> Option<Usage> {
    let bytes = |name: &str| -> Option<u64> {
        let rest = files
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        let kibibytes: u64 = rest.split_whitespace().next()?.parse().ok()?;
        kibibytes.checked_mul(1024)
    };
    let (total, free) = (bytes("MemTotal")?, bytes("MemAvailable")?);
    let used = total.checked_sub(free)?;
    Some(Usage { total, used, free })
}

/// Lines of /proc/net/dev: `  eth0: 1296 ...`, bytes received first and bytes sent ninth.
fn network(files: &str) -> Option<Network> {
    let mut sum = None;
    for line in files.lines() {
        let Some((name, counters)) = line.trim_start().split_once(':') else {
            continue;
        };
        let counters: Vec<u64> = counters
            .split_whitespace()
            .map_while(|word| word.parse().ok())
            .collect();
        // Lines of other files have fewer numbers behind a colon.
        if let ([received, _, _, _, _, _, _, _, sent, ..], true) = (counters.as_slice(), name != "lo") {
            let so_far: Network = sum.unwrap_or_default();
            sum = Some(Network {
                received: so_far.received.checked_add(*received)?,
                sent: so_far.sent.checked_add(*sent)?,
            });
        }
    }
    sum
}

/// What a machine was busy with between two samples, and what it had at the second.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Load {
    /// Share of all processors that was busy, from 0 to 1.
    pub processor: Option<f64>,
    /// Used is what is not available to programs.
    pub memory: Option<Usage>,
    /// Of the root file system.
    pub disk: Option<Usage>,
    pub network: Option<Network>,
}

impl Load {
    /// Without a sample before, how busy its processors were is not known.
    #[must_use]
    pub fn between(before: Option<&Sample>, now: &Sample) -> Self {
        Self {
            processor: before
                .and_then(|before| before.processor)
                .zip(now.processor)
                .and_then(|(before, now)| busy(before, now)),
            memory: now.memory,
            disk: now.disk,
            network: now.network,
        }
    }
}

fn busy(before: Processor, now: Processor) -> Option<f64> {
    let all = now.all.checked_sub(before.all).filter(|all| *all > 0)?;
    // The time spent waiting for I/O may go down (proc(5)).
    let idle = now.idle.saturating_sub(before.idle).min(all);
    Some((all - idle) as f64 / all as f64)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Debian 12 on a cloud instance, shortened.
    const FILES_PRINTED: &str = "cpu  1000 20 300 8000 100 0 10 5 0 0\ncpu0 500 10 150 4000 50 0 5 2 0 0\nintr 88 0 9 0\n\
        ctxt 115315\nbtime 1762000000\nMemTotal:        7951296 kB\nMemFree:          500032 kB\nMemAvailable:    5245676 kB\n\
        Inter-|   Receive                                                |  Transmit\n \
        face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n    \
        lo:  999999    9999    0    0    0     0          0         0   999999    9999    0    0    0     0       0          0\n  \
        eth0: 1296000    1296    0    0    0     0          0         0   640000    1009    0    0    0     0       0          0\n  \
        eth1:    4000       4    0    0    0     0          0         0     1000       9    0    0    0     0       0          0\n";
    const DF_PRINTED: &str = "Filesystem       1-blocks        Used   Available Capacity Mounted on\n\
        /dev/root     51848359936 14920278016 36911304704      29% /\n";

    #[test]
    fn a_machine_is_read_from_its_kernels_files() {
        let sample = Sample::read(FILES_PRINTED, DF_PRINTED);
        assert_eq!(
            sample.processor,
            Some(Processor {
                all: 9_435,
                idle: 8_100
            })
        );
        let memory = sample.memory.unwrap();
        assert_eq!((memory.total, memory.free), (7_951_296 * 1024, 5_245_676 * 1024));
        assert_eq!(memory.used, memory.total - memory.free);
        assert_eq!(sample.disk.map(|disk| disk.used), Some(14_920_278_016));
        let network = Network {
            received: 1_300_000,
            sent: 641_000,
        };
        assert_eq!(sample.network, Some(network));
    }

    #[test]
    fn how_busy_it_is_takes_two_samples_of_one_run_of_the_machine() {
        let before = Sample::read("cpu  1000 0 0 8000 100 0 0 0\n", "");
        let now = Sample::read("cpu  1060 0 30 8090 110 0 0 10\n", "");
        assert_eq!(Load::between(Some(&before), &now).processor, Some(0.5));
        assert_eq!(Load::between(None, &now).processor, None);
        // It was started anew in between, or nothing has moved.
        assert_eq!(Load::between(Some(&now), &before).processor, None);
        assert_eq!(Load::between(Some(&now), &now).processor, None);
    }

    #[test]
    fn what_is_missing_is_unknown() {
        let none = Sample::read("sh: 1: cat: not found\n", "sh: 1: df: not found\n");
        assert_eq!(none, Sample::default());
        assert_eq!(Load::between(Some(&none), &none), Load::default());
        // A machine with nothing but its loopback has no network to speak of.
        let lo = "lo: 1 2 3 4 5 6 7 8 9 10\n";
        assert_eq!(Sample::read(lo, "").network, None);
    }

    proptest! {
        #[test]
        fn nothing_that_is_printed_makes_it_fail(before in "[a-zA-Z0-9:\\n ]{0,200}", now in "\\PC{0,200}", df in "\\PC{0,100}") {
            let (before, now) = (Sample::read(&before, &df), Sample::read(&now, &df));
            let load = Load::between(Some(&before), &now);
            prop_assert!(load.processor.is_none_or(|busy| (0.0..=1.0).contains(&busy)));
        }

        #[test]
        fn counters_of_any_size_are_read_or_unknown(counters in prop::collection::vec(any::<u64>(), 8..17)) {
            let numbers: Vec<String> = counters.iter().map(ToString::to_string).collect();
            let printed = format!("cpu  {0}\neth0: {0}\neth1: {0}\nMemTotal: {1} kB\nMemAvailable: {2} kB\n", numbers.join(" "), counters[0], counters[1]);
            let sample = Sample::read(&printed, "");
            let load = Load::between(Some(&Sample::default()), &sample);
            prop_assert!(load.memory.is_none_or(|memory| memory.used <= memory.total));
        }
    }
}

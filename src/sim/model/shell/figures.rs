//! What a simulated machine's own programs say of it: `free`, `df`, `/proc`. The layouts are those of procps 3.3.17 and
//! coreutils 8.32 on Ubuntu 22.04; the figures are made up, but agree with each other and move with time.

use std::time::Duration;

use super::{Host, Output};

/// An instance with two processors, 8 GiB and a 50 GB disk, on which OBS runs.
const CPUS: u32 = 2;
const MEMORY: [u64; 6] = [
    8_142_127_104,
    2_401_865_728,
    512_032_768,
    98_304_000,
    5_228_228_608,
    5_371_572_224,
];
const DISK: [u64; 3] = [51_848_359_936, 14_920_278_016, 36_911_304_704];
/// Hundredths of a second per second of both processors, by kind: user, nice, system, idle, iowait, irq, softirq, steal.
const CPU_SHARES: [u64; 8] = [48, 0, 12, 136, 2, 0, 1, 1];

/// Through its network each second, in bytes: what cameras send it, and its stream.
const RECEIVED_BYTES: u64 = 1_500_000;
const SENT_BYTES: u64 = 750_000;

/// The machine's name, as EC2 gives it: from its private address.
pub(super) fn hostname(host: &Host<'_>) -> Output {
    Output::printed(format!("{}\n", host.name()), 0)
}

/// Seconds since the epoch as the machine takes them to be, with nine decimals.
pub(super) fn date(host: &Host<'_>) -> Output {
    let now_ms = host.model.wall_clock(host.now).0;
    Output::printed(format!("{}.{:03}000000\n", now_ms / 1_000, now_ms % 1_000), 0)
}

pub(super) fn nproc() -> Output {
    Output::printed(format!("{CPUS}\n"), 0)
}

/// Files that are printed one after the other, up to the first that is not there.
pub(super) fn files(host: &Host<'_>, paths: &[&str]) -> Output {
    let mut printed = Output::default();
    for path in paths {
        let one = file(host, path);
        printed.stdout.extend_from_slice(&one.stdout);
        if one.status != 0 {
            return Output {
                stdout: printed.stdout,
                ..one
            };
        }
    }
    printed
}

/// A file that is printed, whole or its first line.
pub(super) fn file(host: &Host<'_>, path: &str) -> Output {
    match path {
        "/proc/uptime" => {
            let up = uptime(host).as_secs_f64();
            let idle = up * CPU_SHARES[3] as f64 / 100.0;
            Output::printed(format!("{up:.2} {idle:.2}\n"), 0)
        }
        "/proc/loadavg" => Output::printed("0.42 0.40 0.38 2/317 88121\n", 0),
        "/proc/stat" => {
            let hundredths = uptime(host).as_millis() / 10;
            let counters = CPU_SHARES.map(|share| (u128::from(share) * hundredths / 100).to_string());
            Output::printed(format!("cpu  {} 0 0\n", counters.join(" ")), 0)
        }
        "/proc/meminfo" => {
            let [total, _, free, _, _, available] = MEMORY.map(|bytes| bytes / 1024);
            let lines = format!(
                "MemTotal: {total:>14} kB\nMemFree: {free:>15} kB\nMemAvailable: {available:>10} kB\n"
            );
            Output::printed(lines, 0)
        }
        "/proc/net/dev" => {
            let seconds = uptime(host).as_secs();
            let (received, sent) = (seconds * RECEIVED_BYTES, seconds * SENT_BYTES);
            let head = "Inter-|   Receive                |  Transmit\n face |bytes    packets errs drop fifo frame \
                        compressed multicast|bytes    packets errs drop fifo colls carrier compressed\n";
            let line =
                |name, received, sent| format!("{name:>6}: {received} 9 0 0 0 0 0 0 {sent} 9 0 0 0 0 0 0\n");
            let lines = [head, &line("lo", sent, sent), &line("ens5", received, sent)].concat();
            Output::printed(lines, 0)
        }
        other => Output::failed(format!("cat: {other}: No such file or directory\n"), 1),
    }
}

fn uptime(host: &Host<'_>) -> Duration {
    host.model.uptime(host.now)
}

/// `free`, `free -b`, `free -h`.
pub(super) fn free(options: &[&str]) -> Output {
    let write: fn(u64) -> String = match options {
        [] => |bytes| (bytes / 1024).to_string(),
        ["-b"] => |bytes| bytes.to_string(),
        ["-h"] => human,
        other => return Output::failed(format!("free: unknown option -- '{}'\n", other.join(" ")), 1),
    };
    let row = |name: &str, figures: &[u64]| {
        let cells: String = figures
            .iter()
            .map(|bytes| format!("{:>12}", write(*bytes)))
            .collect();
        format!("{name:<8}{cells}\n")
    };
    let head = "               total        used        free      shared  buff/cache   available\n";
    Output::printed(
        [head, &row("Mem:", &MEMORY), &row("Swap:", &[0, 0, 0])].concat(),
        0,
    )
}

/// `df -h /` and `df -P -B1 /`.
pub(super) fn df(words: &[&str]) -> Output {
    let [total, used, free] = DISK;
    match words {
        ["-h", "/"] => {
            let cells = [total, used, free].map(|bytes| format!("{:>6}", human(bytes).replace('i', "")));
            let head = "Filesystem      Size  Used Avail Use% Mounted on\n";
            Output::printed(format!("{head}/dev/root      {}  29% /\n", cells.concat()), 0)
        }
        ["-P", "-B1", "/"] => {
            let head = "Filesystem       1-blocks        Used   Available Capacity Mounted on\n";
            Output::printed(
                format!("{head}/dev/root     {total} {used} {free}      29% /\n"),
                0,
            )
        }
        other => Output::failed(format!("df: {}: No such file or directory\n", other.join(" ")), 1),
    }
}

/// The summary and the busiest process.
pub(super) fn top(host: &Host<'_>) -> Output {
    let minutes = uptime(host).as_secs() / 60;
    let text = format!(
        "top - 18:00:00 up {minutes} min,  0 users,  load average: 0.42, 0.40, 0.38\n\
         Tasks: 121 total,   1 running, 120 sleeping,   0 stopped,   0 zombie\n\
         %Cpu(s): 24.0 us,  6.0 sy,  0.0 ni, 68.0 id,  1.0 wa,  0.0 hi,  0.5 si,  0.5 st\n\
         MiB Mem :   7765.0 total,    488.3 free,   2290.6 used,   4986.0 buff/cache\n\
         \n\
         \x20   PID USER      PR  NI    VIRT    RES    SHR S  %CPU  %MEM     TIME+ COMMAND\n\
         \x20  1204 ubuntu    20   0 2418924 412336 158020 S  46.7   5.2   0:12.48 obs\n"
    );
    Output::printed(text, 0)
}

fn human(bytes: u64) -> String {
    crate::domain::system_info::human_bytes(bytes)
}

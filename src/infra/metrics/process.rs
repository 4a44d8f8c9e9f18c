//! What the kernel says of this process. What it does not say is missing.

use std::fmt;

use procfs::process::{LimitValue, Process};

use super::catalogue as c;
use super::page::Page;

/// Reads and writes it. Reads files of `/proc`, so not on the runtime's own threads.
pub(super) fn write(page: &mut Page<'_>) -> fmt::Result {
    let Ok(process) = Process::myself() else {
        return Ok(());
    };
    if let Ok(stat) = process.stat() {
        let ticks = (stat.utime + stat.stime) as f64;
        page.figure(&c::PROCESS_CPU, ticks / procfs::ticks_per_second() as f64)?;
        page.figure(&c::PROCESS_RESIDENT, (stat.rss * procfs::page_size()) as f64)?;
        page.figure(&c::PROCESS_VIRTUAL, stat.vsize as f64)?;
        page.figure(&c::PROCESS_THREADS, stat.num_threads as f64)?;
        let since_boot = stat.starttime as f64 / procfs::ticks_per_second() as f64;
        let start = procfs::boot_time_secs().ok().map(|boot| boot as f64 + since_boot);
        page.figure_if_known(&c::PROCESS_START, start)?;
    }
    let open = process.fd_count().ok().map(|count| count as f64);
    page.figure_if_known(&c::PROCESS_OPEN_FDS, open)?;
    let limit = process
        .limits()
        .ok()
        .and_then(|limits| match limits.max_open_files.soft_limit {
            LimitValue::Value(limit) => Some(limit as f64),
            LimitValue::Unlimited => None,
        });
    page.figure_if_known(&c::PROCESS_MAX_FDS, limit)
}

//! Instructions of hot paths, counted by valgrind, so that a regression shows on a machine that is busy:
//! `make instructions` compares them with `figures.json`.

use std::hint::black_box;

use gungraun::{library_benchmark, library_benchmark_group, main};
use operations::Pool;
use operations::domain::failover::verdict::Verdict;
use operations::domain::ids::VmId;
use operations::domain::pool::Allocation;
use operations::domain::state::State;
use operations::domain::vm::Status;

// What an operation returns is dropped outside of what is counted, and so is what it was given.

#[library_benchmark(setup = operations::pool)]
#[bench::vms_100(100)]
#[bench::vms_1000(1_000)]
#[bench::vms_10000(10_000)]
fn place(pool: Pool) -> (Allocation, Pool) {
    (operations::place(black_box(&pool)), pool)
}

#[library_benchmark(setup = operations::pool)]
#[bench::vms_100(100)]
#[bench::vms_1000(1_000)]
#[bench::vms_10000(10_000)]
fn look_after(pool: Pool) -> ((Vec<VmId>, Vec<VmId>), Pool) {
    (operations::look_after(black_box(&pool)), pool)
}

#[library_benchmark(setup = operations::pool)]
#[bench::vms_100(100)]
#[bench::vms_1000(1_000)]
#[bench::vms_10000(10_000)]
fn fold(pool: Pool) -> (State, Pool) {
    (operations::fold(black_box(&pool)), pool)
}

#[library_benchmark(setup = operations::pool)]
#[bench::vms_100(100)]
#[bench::vms_1000(1_000)]
#[bench::vms_10000(10_000)]
fn status(pool: Pool) -> ((Option<Status>, usize), Pool) {
    (operations::status(black_box(&pool)), pool)
}

#[library_benchmark]
fn record() -> Vec<u8> {
    black_box(operations::record())
}

#[library_benchmark]
fn verdict() -> Verdict {
    black_box(operations::verdict())
}

library_benchmark_group!(
    name = hot_paths,
    benchmarks = [place, look_after, fold, status, record, verdict]
);
main!(library_benchmark_groups = hot_paths);

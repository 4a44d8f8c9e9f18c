//! Small operations, timed: `make bench-small`. Where the size of the pool could matter, with three.

use std::hint::black_box;

use criterion::{BatchSize, BenchmarkId, Criterion, criterion_group, criterion_main};

use operations::{Pool, whole};

const SIZES: [usize; 3] = [100, 1_000, 10_000];

fn in_pools(criterion: &mut Criterion) {
    let mut each = |name: &str, operate: fn(&Pool)| {
        let mut group = criterion.benchmark_group(name);
        for size in SIZES {
            let pool = operations::pool(size);
            group.bench_function(BenchmarkId::from_parameter(size), |timer| {
                timer.iter(|| operate(black_box(&pool)));
            });
        }
        group.finish();
    };
    each("place", |pool| drop(black_box(operations::place(pool))));
    each("look_after", |pool| drop(black_box(operations::look_after(pool))));
    each("fold", |pool| drop(black_box(operations::fold(pool))));
    each("status", |pool| {
        black_box(operations::status(pool));
    });
}

fn telling(criterion: &mut Criterion) {
    let pool = operations::pool(100);
    criterion.bench_function("projection", |timer| {
        timer.iter(|| whole::projection(black_box(&pool)));
    });
    let mut group = criterion.benchmark_group("delta");
    for size in SIZES {
        group.bench_function(BenchmarkId::from_parameter(size), |timer| {
            timer.iter_batched(|| whole::told(size), whole::delta, BatchSize::PerIteration);
        });
    }
    group.finish();
}

fn deciding(criterion: &mut Criterion) {
    criterion.bench_function("verdict", |timer| timer.iter(operations::verdict));
    criterion.bench_function("record", |timer| timer.iter(operations::record));
    // Nothing runs on it: a commit has a deadline, and asks it for the time.
    let clock = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build();
    let clock = clock.expect("a runtime without threads");
    let _entered = clock.enter();
    let mut group = criterion.benchmark_group("journal");
    for size in SIZES {
        group.bench_function(BenchmarkId::from_parameter(size), |timer| {
            timer.iter_batched_ref(
                || whole::ledger(size),
                |ledger| whole::journal(ledger),
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

criterion_group! {
    name = operations_of_hot_paths;
    config = Criterion::default().sample_size(20);
    targets = in_pools, telling, deciding
}
criterion_main!(operations_of_hot_paths);

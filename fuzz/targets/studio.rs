#![no_main]

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use understudy_fuzz::{lines, studio};

fuzz_target!(|text: &str| {
    let _ = studio::run(text);
});

// Half of the time lines change places, else bytes change.
fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    let shuffled = (seed & 1 == 0)
        .then(|| lines::shuffle(data, size, max_size, seed >> 1))
        .flatten();
    shuffled.unwrap_or_else(|| fuzzer_mutate(data, size, max_size))
});

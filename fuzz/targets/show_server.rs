#![no_main]

libfuzzer_sys::fuzz_target!(|answer: &[u8]| {
    let _ = understudy_fuzz::show_server::run(answer);
});

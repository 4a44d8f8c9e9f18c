#![no_main]

libfuzzer_sys::fuzz_target!(|text: &str| {
    let _ = understudy_fuzz::machine_output::run(text);
});

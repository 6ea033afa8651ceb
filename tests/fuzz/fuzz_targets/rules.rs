//! a rules file: see `fw_tests::fuzz`.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| fw_tests::fuzz::run("rules", bytes));

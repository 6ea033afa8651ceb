//! A small share of `cargo xtask attacks`: blind segments and forged handshakes against real connections, at XDP and TC.
//! Needs root.

use std::process::Command;

/// The parts of `tests/src/bin/attacks` that take seconds. It says itself what is wrong.
fn attack(part: &str) {
    let output = Command::new(env!("CARGO_BIN_EXE_attacks")).args([part, "--small"]).output().unwrap();
    let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(output.status.success(), "{}", said.concat());
}

#[test]
fn blind_segments_neither_end_nor_shorten_nor_begin_a_connection() {
    attack("blind");
}

#[test]
fn forged_handshakes_leave_nothing_that_is_kept_and_crowd_out_nobody() {
    attack("handshakes");
}

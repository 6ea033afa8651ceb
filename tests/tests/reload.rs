//! Reloads lose nothing, let nothing in and mix nothing, while packets come as fast as they can be made.

use fw_tests::reload::{self, Outcome};

/// `cargo xtask bench reload` makes 1,000.
const RELOADS: usize = 50;

#[test]
fn at_tc() {
    check(reload::run("tc", RELOADS).unwrap());
}

#[test]
fn at_xdp() {
    check(reload::run("xdp", RELOADS).unwrap());
}

#[test]
fn a_mixture_would_be_seen() {
    let outcome = reload::run_mixed("tc", 2).unwrap();
    assert!(outcome.mixed > 0 && outcome.turns == [0, 0], "{outcome:?}");
}

fn check(outcome: Outcome) {
    let Outcome { lost, let_in, mixed, turns, .. } = outcome;
    assert_eq!((lost, let_in, mixed), (0, 0, 0), "lost, let in, mixed: {outcome:?}");
    assert!(turns.iter().all(|passed| *passed > 0), "both sets were in force at times: {outcome:?}");
}

//! Random rules and histories for a bounded while: the core on the host against the oracle, and against the bytecode
//! under XDP and under TC. `cargo xtask soak` goes on from there.

use fw_tests::differential::{Differential, Other};
use fw_tests::kernel::Received;

#[test]
fn the_host_core_decides_as_the_oracle_does() {
    run(Other::Oracle, 200);
}

#[test]
fn the_bytecode_decides_as_the_host_core_does_under_xdp() {
    run(Other::Bytecode(Received::Xdp), 60);
}

#[test]
fn the_bytecode_decides_as_the_host_core_does_under_tc() {
    run(Other::Bytecode(Received::Tc), 60);
}

/// The same seeds each time: a failure here is one that a change has brought.
fn run(other: Other, scenarios: u64) {
    let mut differential = Differential::new(other).expect("the programs load");
    let mut decisions = 0;
    for seed in 0..scenarios {
        match differential.run(seed) {
            Ok(count) => decisions += count,
            Err(failure) => panic!(
                "seed {}: {}\n{}\nagain: cargo xtask soak --seed {}",
                failure.seed, failure.says, failure.case, failure.seed
            ),
        }
    }
    assert!(decisions > scenarios * 50, "only {decisions} decisions in {scenarios} scenarios");
}

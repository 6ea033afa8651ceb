//! Random rules and histories for a bounded while: the core on the host against the oracle, and against the bytecode
//! under XDP and under TC. `cargo xtask soak` goes on from there.

use std::collections::BTreeSet;

use fw_tests::case;
use fw_tests::differential::{Differential, Other};
use fw_tests::kernel::Received;
use fw_tests::run;

#[test]
fn the_host_core_decides_as_the_oracle_does() {
    go_through(Other::Oracle, 200);
}

#[test]
fn the_bytecode_decides_as_the_host_core_does_under_xdp() {
    go_through(Other::Bytecode(Received::Xdp), 60);
}

#[test]
fn the_bytecode_decides_as_the_host_core_does_under_tc() {
    go_through(Other::Bytecode(Received::Tc), 60);
}

#[test]
fn histories_reach_every_state_and_class_of_connections() {
    let differential = Differential::new(Other::Oracle).expect("nothing is loaded");
    let mut reached = BTreeSet::new();
    for seed in 0..100 {
        reached.extend(differential.reached(seed).expect("the scenario is valid"));
    }
    let reasons = ["Established", "OutOfWindow", "OneSided", "Related", "Adopted", "MidStream"];
    let states =
        ["SynSent", "OneSided", "SynReceived", "Established", "HalfClosed", "Closed", "Reset", "Adopted"];
    let others = ["Unreplied", "Replied", "RepliedAgain", "Stream", "Lasting"];
    let classes = ["Inbound", "Reserved", "Outbound", "Stream", "Assured"];
    let states = states.iter().chain(&others).map(|state| format!("State::{state}"));
    let classes = classes.iter().map(|class| format!("Class::{class}"));
    let all = reasons.iter().map(|reason| (*reason).to_owned()).chain(states).chain(classes);
    let missing: Vec<String> = all.filter(|name| !reached.contains(name)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn a_printed_scenario_is_a_case_that_holds() {
    let directory = std::env::temp_dir().join(format!("fwctl-differential-{}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("a directory of our own");
    let differential = Differential::new(Other::Oracle).expect("nothing is loaded");
    let mut text = "about = \"printed scenarios\"\n".to_owned();
    for seed in 0..5 {
        text.push_str(&differential.case(seed).expect("the scenario is valid"));
    }
    std::fs::write(directory.join("printed.toml"), text).expect("the directory is ours");
    let cases = case::load_directory(&directory);
    std::fs::remove_dir_all(&directory).expect("the directory is ours");
    let cases = cases.expect("what is printed can be read");
    assert_eq!(cases.len(), 5);
    for case in &cases {
        let failures = run::host::failures(case);
        assert!(failures.is_empty(), "{}: {}", case.name, failures.join("\n"));
    }
}

/// The same seeds each time: a failure here is one that a change has brought.
fn go_through(other: Other, scenarios: u64) {
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

//! Every case once more, in the kernel: the bytecode by test runs under XDP and under TC, beside the core.

use fw_tests::case;
use fw_tests::kernel::{Kernel, Received};
use fw_tests::run::bytecode::Twins;

#[test]
fn every_case_holds_in_the_bytecode_under_tc() {
    run_all(Received::Tc);
}

#[test]
fn every_case_holds_in_the_bytecode_under_xdp() {
    run_all(Received::Xdp);
}

fn run_all(received: Received) {
    let cases = case::load().expect("the cases load");
    let mut failures = Vec::new();
    let mut packets = 0;
    let mut kernel = Kernel::load().expect("the programs load");
    for case in cases.iter().filter(|case| case.refused.is_none()) {
        match Twins::new(received, &mut kernel).and_then(|mut twins| twins.run(case)) {
            Ok(count) => packets += count,
            Err(error) => failures.push(format!("{} {}: {error:#}", case.place(), case.name)),
        }
    }
    assert!(failures.is_empty(), "{} cases differ:\n{}", failures.len(), failures.join("\n"));
    assert!(packets > 100, "only {packets} packets were judged");
}

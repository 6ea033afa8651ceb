//! Every case once more, on the wire: `fwctl`, veth pairs, real frames; by XDP and by TC. And random rules and packets:
//! what `fwctl explain` says of them, by what is loaded and by the file, is what happens. `cargo xtask soak --wire` goes
//! on from there.

use fw_tests::case::{self, Case, Expect, PacketStep, Step};
use fw_tests::differential::wire::Tally;
use fw_tests::differential::{Differential, Other};
use fw_tests::kernel::Received;
use fw_tests::run::wire::Wire;

#[test]
fn every_case_holds_on_the_wire_under_tc() {
    run_all(Received::Tc);
}

#[test]
fn every_case_holds_on_the_wire_under_xdp() {
    run_all(Received::Xdp);
}

#[test]
fn what_is_explained_of_random_packets_happens_under_tc() {
    explain_random(Received::Tc);
}

#[test]
fn what_is_explained_of_random_packets_happens_under_xdp() {
    explain_random(Received::Xdp);
}

fn explain_random(received: Received) {
    let mut differential = Differential::new(Other::Wire(received)).expect("the rig stands");
    for seed in 0..3 {
        if let Err(failure) = differential.run_set(seed, 200) {
            let again = format!("again: cargo xtask soak --wire 1 --seed {seed}");
            panic!("seed {seed}: {}\n{}\n{again}", failure.says, failure.case);
        }
    }
    let tally = differential.tally().expect("it was on the wire");
    let Tally { packets, passed, by_loaded, by_file, unsendable } = tally;
    // So that it says something about all of it.
    assert!(packets >= 600 && passed * 10 > packets && passed * 10 < packets * 9, "{tally:?}");
    assert!(by_loaded * 10 > packets * 9 && by_file * 2 > packets && unsendable * 20 < packets, "{tally:?}");
}

fn run_all(received: Received) {
    let cases = case::load().expect("the cases load");
    let mut wire = Wire::new(received).expect("the rig stands");
    let (mut failures, mut unsendable, mut packets) = (Vec::new(), Vec::new(), 0);
    for case in &cases {
        let report = wire.run(case);
        packets += report.packets;
        unsendable.extend(report.unsendable.iter().map(|packet| format!("{}: {packet}", case.place())));
        failures.extend(report.failures.iter().map(|failure| format!("{}: {failure}", case.place())));
    }
    for twisted in twisted(&cases) {
        assert!(!wire.run(&twisted).failures.is_empty(), "{} holds, twisted: {twisted:#?}", twisted.place());
    }
    assert!(failures.is_empty(), "{} differ:\n{}", failures.len(), failures.join("\n"));
    // So that the wire says something about nearly everything.
    let few = unsendable.len() * 20 <= packets;
    assert!(few, "{packets} packets were sent, these were not:\n{}", unsendable.join("\n"));
}

/// Cases that do not hold: the wire must notice.
fn twisted(cases: &[Case]) -> Vec<Case> {
    let twist = |fits: fn(&PacketStep) -> bool, twist: fn(&mut PacketStep)| {
        let mut case = cases.iter().find(|case| first_packet(case).is_some_and(fits)).cloned()?;
        match &mut case.steps[0] {
            Step::Packet(packet) => twist(packet),
            other => unreachable!("{other:?} is no packet"),
        }
        Some(case)
    };
    let twisted = [
        twist(|step| step.expect == Expect::Allow, |step| step.expect = Expect::Deny),
        twist(|step| step.expect == Expect::Deny, |step| step.expect = Expect::Allow),
        twist(|step| step.by.starts_with("security_group"), |step| step.by.push('x')),
        twist(|step| step.by.starts_with("network_acl"), |step| step.by.push('x')),
        twist(|step| step.acl.is_some(), |step| step.acl = None),
        twist(|step| step.tracked == Some(true), |step| step.tracked = Some(false)),
        twist(|step| step.tracked == Some(false), |step| step.tracked = Some(true)),
    ];
    twisted.map(|case| case.expect("the cases have one of each kind")).into()
}

fn first_packet(case: &Case) -> Option<&PacketStep> {
    match case.steps.first()? {
        Step::Packet(packet) => Some(packet),
        _ => None,
    }
}

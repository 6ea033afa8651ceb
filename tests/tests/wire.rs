//! Every case once more, on the wire: `fwctl`, veth pairs, real frames; by XDP and by TC.

use fw_tests::case;
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
    assert!(failures.is_empty(), "{} differ:\n{}", failures.len(), failures.join("\n"));
    // So that the wire says something about nearly everything.
    let few = unsendable.len() * 20 <= packets;
    assert!(few, "{packets} packets were sent, these were not:\n{}", unsendable.join("\n"));
}

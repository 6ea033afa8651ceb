//! Every case once more, in the kernel: the bytecode by test runs under XDP and under TC, beside the core.

use fw_common::{Hook, Reason};
use fw_tests::case;
use fw_tests::kernel::{Kernel, Received};
use fw_tests::packet;
use fw_tests::run::bytecode::Twins;
use fw_userspace::document;

#[test]
fn every_case_holds_in_the_bytecode_under_tc() {
    run_all(Received::Tc);
}

#[test]
fn every_case_holds_in_the_bytecode_under_xdp() {
    run_all(Received::Xdp);
}

const RULES: &str = r#"{
  "version": 1,
  "security_groups": { "g": { "ingress": [], "egress": [
    { "id": "out", "protocol": "tcp", "from_port": 443, "to_port": 443, "cidr_blocks": ["10.0.0.0/8"] }
  ] } },
  "interfaces": { "nic": { "device": "nic0", "security_groups": ["g"] } }
}"#;

/// AWS keeps an established connection for five days: longer than machines that test have been up.
#[test]
fn a_connection_grows_older_than_the_machine() {
    let mut kernel = Kernel::load().expect("the programs load");
    let mut twins = Twins::new(Received::Tc, &mut kernel).expect("the tables are empty");
    let policy = document::read(RULES.as_bytes()).policy.expect("the rules are right");
    let zone = twins.publish(&policy, "nic").expect("nic has a device");
    let history = [
        (0, Hook::Sent, "tcp 10.0.0.1:50000 > 10.0.0.2:443 syn seq=1", Reason::GroupRule),
        (0, Hook::Received, "tcp 10.0.0.2:443 > 10.0.0.1:50000 syn+ack seq=9 ack=2", Reason::Established),
        (0, Hook::Sent, "tcp 10.0.0.1:50000 > 10.0.0.2:443 ack seq=2 ack=10", Reason::Established),
        (
            300_000,
            Hook::Received,
            "tcp 10.0.0.2:443 > 10.0.0.1:50000 ack seq=10 ack=2 len=5",
            Reason::Established,
        ),
        (
            431_990,
            Hook::Received,
            "tcp 10.0.0.2:443 > 10.0.0.1:50000 ack seq=15 ack=2 len=5",
            Reason::Established,
        ),
        (
            432_001,
            Hook::Received,
            "tcp 10.0.0.2:443 > 10.0.0.1:50000 ack seq=20 ack=2 len=5",
            Reason::NoGroupRule,
        ),
    ];
    for (seconds, hook, text, reason) in history {
        twins.wait(seconds).expect("the entries grow older");
        let frame = packet::parse(text).expect("the packet is right");
        let decision = twins.judge(&frame, hook, zone).unwrap_or_else(|error| panic!("{text}: {error:#}"));
        assert_eq!(decision.reason, reason, "after {seconds} s: {text}");
    }
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

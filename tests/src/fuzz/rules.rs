//! Any bytes as a rules file: refused with a place, or loaded into tables that hold together.

use fw_common::{Direction, Layer, Verdict};
use fw_userspace::compile::{CompileError, Numbering, compile, pretend_bindings};
use fw_userspace::document::{self, Reading, Severity};
use fw_userspace::model::Policy;
use fw_userspace::simulate::Simulation;

use super::invariants;
use crate::packet::{self, flag};

pub(super) fn run(bytes: &[u8]) {
    let reading = document::read(bytes);
    let text = String::from_utf8_lossy(bytes);
    findings_have_a_place(&reading, &text);
    assert_eq!(reading.policy.is_none(), reading.of(Severity::Error).next().is_some(), "{reading:?}");
    assert!(!document::render("rules.json", &reading.findings).contains("rules.json:0:"));
    let Some(policy) = reading.policy else { return };
    means_the_same_written_again(&policy, &text);
    compiles_alike(&policy);
    let simulation = match Simulation::new(policy.clone()) {
        Ok(simulation) => simulation,
        Err(error) => return is_about_size(&error),
    };
    for (name, interface) in &policy.interfaces {
        if interface.attachment.is_some() {
            answers_for_everything(&simulation, name);
        }
    }
    for (name, subnet) in &policy.subnets {
        if subnet.leg.is_some() && !policy.interfaces.contains_key(name) {
            answers_for_everything(&simulation, name);
        }
    }
}

fn findings_have_a_place(reading: &Reading, text: &str) {
    let lines: Vec<&str> = text.split('\n').collect();
    for finding in &reading.findings {
        let line = finding.line.checked_sub(1).and_then(|line| lines.get(line));
        let line = line.unwrap_or_else(|| panic!("no such line: {finding:?}"));
        // One behind the last character is where a line ends too early.
        let columns = 1..=line.chars().count() + 1;
        assert!(columns.contains(&finding.column), "no such column: {finding:?}");
        assert!(!finding.message.is_empty());
    }
}

/// Another hand, other spaces, other escapes.
fn means_the_same_written_again(policy: &Policy, text: &str) {
    let json = text.strip_prefix('\u{feff}').unwrap_or(text);
    let value: serde_json::Value = serde_json::from_str(json).expect("what was read is JSON");
    for again in [value.to_string(), format!("\u{feff}\n{value:#}\n")] {
        let reading = document::read(again.as_bytes());
        assert_eq!(reading.policy.as_ref(), Some(policy), "written again by another hand: {again}");
    }
}

fn compiles_alike(policy: &Policy) {
    let bindings = pretend_bindings(policy);
    let once = compile(policy, &bindings, Numbering::default(), 7);
    let twice = compile(policy, &bindings, Numbering::default(), 7);
    match (once, twice) {
        (Ok(once), Ok(twice)) => {
            assert!(once.patch.lines == twice.patch.lines, "compiled twice, two different generations");
            assert_eq!(once.rules, twice.rules);
            let slots: std::collections::HashSet<u32> = once.rules.iter().map(|rule| rule.slot).collect();
            assert_eq!(slots.len(), once.rules.len(), "a slot of its own for every rule");
            assert!(slots.iter().all(|slot| (1..once.rule_slots).contains(slot)), "slots are in range");
            // The next load: nothing gets another number.
            let next = compile(policy, &bindings, once.numbering.clone(), 8).expect("compiled before");
            assert_eq!(next.rules, once.rules, "numbers stay over loads");
            assert_eq!(next.zones, once.zones);
            assert!(next.fresh_slots.is_empty(), "{:?} are given out again", next.fresh_slots);
        }
        (Err(once), Err(twice)) => assert_eq!(once, twice),
        _ => panic!("compiled twice, once refused"),
    }
}

fn is_about_size(error: &CompileError) {
    assert!(
        matches!(
            error,
            CompileError::TooManyInterfaces { .. }
                | CompileError::TooManyRules { .. }
                | CompileError::TooLarge { .. }
        ),
        "a file that was read without an error: {error}"
    );
}

/// A few packets, both ways.
fn answers_for_everything(simulation: &Simulation, at: &str) {
    for frame in probes() {
        for direction in [Direction::Ingress, Direction::Egress] {
            let judged = simulation.judge(at, direction, &frame).expect("what is attached is judged");
            let decision = judged.decision;
            invariants::decision(&decision, simulation.compiled());
            assert_eq!(decision.direction, direction);
            let drops = decision.reason.verdict() == Verdict::Drop;
            assert!(!drops || decision.reason.layer() != Layer::Parse, "whole packets: {decision:?}");
        }
    }
}

fn probes() -> [Vec<u8>; 6] {
    [
        packet::tcp("198.51.100.7:51000", "10.20.1.10:443").flags(flag::SYN).build(),
        packet::tcp("10.20.1.10:443", "198.51.100.7:51000").flags(flag::SYN | flag::ACK).build(),
        packet::udp("10.20.1.10:53", "10.20.2.30:53").build(),
        packet::icmp("10.20.1.10", "169.254.169.254", 8, 0).build(),
        packet::udp("[2001:db8:20:1::10]:5000", "[2001:db8:ffff::7]:123").build(),
        packet::protocol(50, "2001:db8:ffff::7", "2001:db8:20:1::10", &[0; 8]).build(),
    ]
}

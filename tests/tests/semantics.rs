//! Every case of `tests/cases/*.toml` against the reader, the compiler and the decision core, on the host.

use std::fmt::Write as _;

use fw_common::frame::Link;
use fw_common::memory::SliceFrame;
use fw_common::related::Subject;
use fw_common::{Direction, Reason, Verdict, wire};
use fw_tests::case::{self, Case, Expect, PacketStep, Step};
use fw_userspace::compile::RuleInfo;
use fw_userspace::document::{self, Severity};
use fw_userspace::model::Policy;
use fw_userspace::simulate::{Judged, Simulation};
use serde_json::Value;

#[test]
fn every_case_holds() {
    let cases = case::load().expect("the cases are well-formed");
    let mut failures = String::new();
    let mut failed = 0;
    for case in &cases {
        let found = failures_of(case);
        if found.is_empty() {
            continue;
        }
        failed += 1;
        let _ = writeln!(failures, "{}: {}", case.place(), case.says);
        for failure in found {
            let _ = writeln!(failures, "    {failure}");
        }
    }
    assert!(failed == 0, "{failed} of {} cases fail:\n{failures}", cases.len());
}

fn failures_of(case: &Case) -> Vec<String> {
    let reading = read(&case.rules);
    let says = |part: &str, errors: bool| {
        let mut findings =
            reading.findings.iter().filter(|found| (found.severity == Severity::Error) == errors);
        findings.any(|found| format!("{}: {}", found.path, found.message).contains(part))
    };
    let all = || document::render("rules", &reading.findings);
    if let Some(part) = &case.refused {
        let holds = reading.policy.is_none() && says(part, true);
        return if holds {
            Vec::new()
        } else {
            vec![format!("expected to be refused with {part:?}, got: {}", all())]
        };
    }
    let mut failures = Vec::new();
    if let Some(part) = &case.warns
        && !says(part, false)
    {
        failures.push(format!("expected a warning or note with {part:?}, got: {}", all()));
    }
    match reading.policy.as_ref().map(|policy| Simulation::new(policy.clone())) {
        None => failures.push(format!("the rules are refused: {}", all())),
        Some(Err(error)) => failures.push(format!("the rules do not compile: {error}")),
        Some(Ok(mut host)) => {
            for step in &case.steps {
                if let Err(failure) = run(&mut host, step) {
                    failures.push(failure);
                }
            }
        }
    }
    failures
}

fn read(rules: &Value) -> document::Reading {
    document::read(rules.to_string().as_bytes())
}

fn run(host: &mut Simulation, step: &Step) -> Result<(), String> {
    match step {
        Step::Wait(seconds) => host.wait(*seconds),
        Step::Load(rules) => {
            let reading = read(rules);
            let findings = document::render("rules", &reading.findings);
            let policy: Policy = reading.policy.ok_or_else(|| format!("load is refused: {findings}"))?;
            host.load(policy).map_err(|error| format!("load does not compile: {error}"))?;
        }
        Step::Packet(packet) => return check(host, packet),
    }
    Ok(())
}

fn check(host: &Simulation, step: &PacketStep) -> Result<(), String> {
    let direction = match step.direction {
        case::Direction::Inbound => Direction::Ingress,
        case::Direction::Outbound => Direction::Egress,
    };
    let place = format!("line {}: {} {:?} {}", step.line, step.at, step.direction, step.text);
    let Some(judged) = host.judge(&step.at, direction, &step.frame) else {
        return Err(format!("{place}: nothing of that name has a device"));
    };
    let expected = Answer {
        expect: step.expect,
        by: step.by.clone(),
        acl: if names_acl(&judged) || step.acl.is_some() { step.acl.clone() } else { None },
        tracked: step.tracked,
    };
    let got = Answer {
        expect: match judged.decision.verdict() {
            Verdict::Pass => Expect::Allow,
            Verdict::Drop => Expect::Deny,
        },
        by: decided_by(&judged),
        acl: judged.acl_rule.filter(|_| names_acl(&judged)).map(name_of),
        tracked: step.tracked.and_then(|_| is_tracked(host, &judged, direction, &step.frame)),
    };
    if expected == got {
        Ok(())
    } else {
        Err(format!("{place}\n      expected {expected:?}\n      got      {got:?}"))
    }
}

#[derive(Debug, PartialEq)]
struct Answer {
    expect: Expect,
    by: String,
    acl: Option<String>,
    tracked: Option<bool>,
}

/// Whether the ACL's entry is named beside what decided: a group or a connection let the packet pass.
fn names_acl(judged: &Judged<'_>) -> bool {
    matches!(
        judged.decision.reason,
        Reason::GroupRule | Reason::Established | Reason::Related | Reason::Adopted
    )
}

fn decided_by(judged: &Judged<'_>) -> String {
    let reason = judged.decision.reason;
    let rule = match reason {
        Reason::AclAllow | Reason::AclDeny | Reason::AclDefault => judged.acl_rule,
        Reason::GroupRule => judged.group_rule,
        _ => None,
    };
    match rule {
        Some(rule) => format!("{} {}", reason.layer().name(), name_of(rule)),
        None => format!("{} {}", reason.layer().name(), reason.name()),
    }
}

fn name_of(rule: &RuleInfo) -> String {
    format!("{} {}", rule.id, rule.rule)
}

/// Whether a connection that still counts stands in the table for the packet's flow.
fn is_tracked(host: &Simulation, judged: &Judged<'_>, direction: Direction, bytes: &[u8]) -> Option<bool> {
    let frame = SliceFrame::new(bytes);
    let mut room = wire::Room::EMPTY;
    wire::parse(&frame, Link::Ethernet { tags: 0 }, &mut room).ok()?;
    let mut subject = Subject::EMPTY;
    subject.find(&frame, &room.packet, direction);
    subject.key.zone = judged.decision.zone;
    let now_ns = host.now_ns();
    let mut connections = host.connections().into_iter();
    Some(connections.any(|(key, connection, _)| key == subject.key && !connection.is_expired(now_ns)))
}

//! A case against the reader, the compiler and the decision core, on the host.

use fw_common::frame::Link;
use fw_common::memory::SliceFrame;
use fw_common::related::Subject;
use fw_common::{Direction, Verdict, wire};
use fw_userspace::document;
use fw_userspace::simulate::{Judged, Simulation};

use super::{decided_by, missing_words, name_of, names_acl, place, policy, read};
use crate::case::{self, Case, Expect, PacketStep, Step};

/// What differs from what the case expects; nothing if it holds.
#[must_use]
pub fn failures(case: &Case) -> Vec<String> {
    let reading = read(&case.rules);
    let mut failures: Vec<String> = missing_words(case, &reading).into_iter().collect();
    if case.refused.is_some() {
        return failures;
    }
    let findings = || document::render("rules", &reading.findings);
    match reading.policy.as_ref().map(|policy| Simulation::new(policy.clone())) {
        None => failures.push(format!("the rules are refused: {}", findings())),
        Some(Err(error)) => failures.push(format!("the rules do not compile: {error}")),
        Some(Ok(mut host)) => {
            failures.extend(case.steps.iter().filter_map(|step| run(&mut host, step).err()))
        }
    }
    failures
}

fn run(host: &mut Simulation, step: &Step) -> Result<(), String> {
    match step {
        Step::Wait(seconds) => host.wait(*seconds),
        Step::Load(rules) => {
            let policy = policy(rules).map_err(|error| format!("load: {error:#}"))?;
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
    let place = place(step);
    let Some(judged) = host.judge(&step.at, direction, &step.frame) else {
        return Err(format!("{place}: nothing of that name has a device"));
    };
    let reason = judged.decision.reason;
    let expected =
        Answer { expect: step.expect, by: step.by.clone(), acl: step.acl.clone(), tracked: step.tracked };
    let got = Answer {
        expect: match judged.decision.verdict() {
            Verdict::Pass => Expect::Allow,
            Verdict::Drop => Expect::Deny,
        },
        by: decided_by(reason, judged.acl_rule, judged.group_rule),
        acl: judged.acl_rule.filter(|_| names_acl(reason)).map(name_of),
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

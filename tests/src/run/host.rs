//! A case against the reader, the compiler and the decision core, on the host.

use fw_common::{Direction, Verdict};
use fw_userspace::document;
use fw_userspace::simulate::{Judged, Simulation};

use super::{
    Answer, compare, decided_by, direction_of, flow_key, missing_words, name_of, names_acl, place, policy,
    read,
};
use crate::case::{Case, Expect, PacketStep, Step};

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
    let direction = direction_of(step);
    let Some(judged) = host.judge(&step.at, direction, &step.frame) else {
        return Err(format!("{}: nothing of that name has a device", place(step)));
    };
    let reason = judged.decision.reason;
    let got = Answer {
        expect: match judged.decision.verdict() {
            Verdict::Pass => Expect::Allow,
            Verdict::Drop => Expect::Deny,
        },
        by: decided_by(reason, judged.acl_rule, judged.group_rule),
        acl: judged.acl_rule.filter(|_| names_acl(reason)).map(name_of),
        tracked: step.tracked.and_then(|_| is_tracked(host, &judged, direction, &step.frame)),
    };
    compare(step, &got)
}

/// Whether a connection that still counts stands in the table for the packet's flow.
fn is_tracked(host: &Simulation, judged: &Judged<'_>, direction: Direction, bytes: &[u8]) -> Option<bool> {
    let key = flow_key(bytes, direction, judged.decision.zone)?;
    let now_ns = host.now_ns();
    let mut connections = host.connections().into_iter();
    Some(connections.any(|(other, connection, _)| other == key && !connection.is_expired(now_ns)))
}

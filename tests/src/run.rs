//! Runs the cases, each the ways there are: [`host`] by the reader, the compiler and the core; [`oracle`] by the
//! documentation once more; [`bytecode`] by kernel test runs beside the core; [`wire`] by real frames through real devices.

pub mod bytecode;
pub mod host;
pub mod oracle;
pub mod wire;

use anyhow::{Context as _, Result};
use fw_common::frame::Link;
use fw_common::memory::SliceFrame;
use fw_common::related::Subject;
use fw_common::{FlowKey, Hook, Layer, Reason, Verdict, wire as packets};
use fw_userspace::compile::RuleInfo;
use fw_userspace::document::{self, Reading, Severity};
use fw_userspace::model::{Faces, Policy};
use serde_json::Value;

use crate::case::{Case, Direction, Expect, PacketStep};

/// What became of a packet, in the words of a case.
#[derive(Debug, PartialEq)]
struct Answer {
    expect: Expect,
    by: String,
    acl: Option<String>,
    tracked: Option<bool>,
}

fn compare(step: &PacketStep, got: &Answer) -> Result<(), String> {
    let (expect, tracked) = (step.expect, step.tracked);
    let expected = Answer { expect, by: step.by.clone(), acl: step.acl.clone(), tracked };
    if expected == *got {
        return Ok(());
    }
    Err(format!("{}\n      expected {expected:?}\n      got      {got:?}", place(step)))
}

/// A rules file as `fwctl load` reads it.
#[must_use]
pub fn read(rules: &Value) -> Reading {
    document::read(rules.to_string().as_bytes())
}

/// The same, where it must be in order.
pub fn policy(rules: &Value) -> Result<Policy> {
    let reading = read(rules);
    let findings = document::render("rules", &reading.findings);
    reading.policy.with_context(|| format!("the rules are refused: {findings}"))
}

/// What `refused` and `warns` of a case miss in what was said about its rules.
fn missing_words(case: &Case, reading: &Reading) -> Option<String> {
    let says = |part: &str, errors: bool| {
        let mut findings =
            reading.findings.iter().filter(|found| (found.severity == Severity::Error) == errors);
        findings.any(|found| format!("{}: {}", found.path, found.message).contains(part))
    };
    let all = || document::render("rules", &reading.findings);
    match (&case.refused, &case.warns) {
        (Some(part), _) if reading.policy.is_some() || !says(part, true) => {
            Some(format!("expected to be refused with {part:?}, got: {}", all()))
        }
        (None, Some(part)) if !says(part, false) => {
            Some(format!("expected a warning or note with {part:?}, got: {}", all()))
        }
        _ => None,
    }
}

/// A step, for messages.
fn place(step: &PacketStep) -> String {
    format!("line {}: {} {:?} {}", step.line, step.at, step.direction, step.text)
}

/// The `by` of a case: the layer that decided, and its rule or reason.
fn decided_by(reason: Reason, acl: Option<&RuleInfo>, group: Option<&RuleInfo>) -> String {
    let rule = match reason {
        Reason::AclAllow | Reason::AclDeny | Reason::AclDefault => acl,
        Reason::GroupRule => group,
        _ => None,
    };
    match rule {
        Some(rule) => format!("{} {}", reason.layer().name(), name_of(rule)),
        None => format!("{} {}", reason.layer().name(), reason.name()),
    }
}

/// Whether the ACL's entry is named beside what decided: a group or a connection let the packet pass.
pub(crate) fn names_acl(reason: Reason) -> bool {
    let names = matches!(reason.layer(), Layer::SecurityGroup | Layer::Conntrack);
    names && reason.verdict() == Verdict::Pass
}

fn name_of(rule: &RuleInfo) -> String {
    format!("{} {}", rule.id, rule.rule)
}

/// The hook that packets of a direction come to, at an interface or a leg.
#[must_use]
pub fn hook_of(policy: &Policy, at: &str, direction: fw_common::Direction) -> Hook {
    let interface = policy.interfaces.get(at).and_then(|interface| interface.attachment.as_ref());
    let leg = policy.subnets.get(at).and_then(|subnet| subnet.leg.as_ref());
    let faces = interface.or(leg).map_or(Faces::Network, |attachment| attachment.faces);
    let received = match faces {
        Faces::Network => fw_common::Direction::Ingress,
        Faces::Instance => fw_common::Direction::Egress,
    };
    if direction == received { Hook::Received } else { Hook::Sent }
}

/// The way of a packet of a case.
#[must_use]
pub fn direction_of(step: &PacketStep) -> fw_common::Direction {
    match step.direction {
        Direction::Inbound => fw_common::Direction::Ingress,
        Direction::Outbound => fw_common::Direction::Egress,
    }
}

/// Where the connection of a packet would stand in the tables.
pub(crate) fn flow_key(bytes: &[u8], direction: fw_common::Direction, zone: u32) -> Option<FlowKey> {
    let frame = SliceFrame::new(bytes);
    let mut room = packets::Room::EMPTY;
    packets::parse(&frame, Link::Ethernet { tags: 0 }, &mut room).ok()?;
    let mut subject = Subject::EMPTY;
    subject.find(&frame, &room.packet, direction);
    subject.key.zone = zone;
    Some(subject.key)
}

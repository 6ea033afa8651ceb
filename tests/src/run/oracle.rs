//! A case against the oracle: what the differential test compares the core with must itself be what the cases say.

use fw_common::Verdict;

use super::{Answer, compare, direction_of, policy};
use crate::case::{Case, Expect, PacketStep, Step};
use crate::differential::history::{Quote, Said};
use crate::differential::oracle::Oracle;
use crate::differential::print;
use crate::packet::{
    Body, Cut, Extension, Ip, Link, Network, Packet, Start, Wrong, ethertype, parse_packet, parse_quoted,
};

/// What differs from what the case expects; `None` if the oracle cannot be asked about it: some frame is not what its
/// sender meant, or the table is full.
#[must_use]
pub fn failures(case: &Case) -> Option<Vec<String>> {
    let mut oracle = Oracle::new(policy(&case.rules).ok()?);
    let mut failures = Vec::new();
    for step in &case.steps {
        match step {
            Step::Wait(seconds) => oracle.wait(*seconds),
            Step::Load(rules) => oracle.load(policy(rules).ok()?),
            Step::Packet(packet) => failures.extend(check(&mut oracle, packet)?.err()),
        }
    }
    Some(failures)
}

fn check(oracle: &mut Oracle, step: &PacketStep) -> Option<Result<(), String>> {
    if step.by.contains("allowance") {
        return None;
    }
    let said = said(&step.text)?;
    let direction = direction_of(step);
    let answer = oracle.judge(&step.at, direction, &said, step.frame.len());
    let got = Answer {
        expect: match answer.verdict {
            Verdict::Pass => Expect::Allow,
            Verdict::Drop => Expect::Deny,
        },
        by: print::by(&answer),
        acl: print::acl(&answer),
        tracked: step.tracked.map(|_| oracle.tracks(&step.at, direction, &said)),
    };
    Some(compare(step, &got))
}

/// What the text means, if its bytes are that and nothing else.
fn said(text: &str) -> Option<Said> {
    let packet = parse_packet(text).ok().filter(is_true)?;
    let quote = match parse_quoted(text).ok()? {
        None => None,
        Some(mut quoted) => {
            let cut = match quoted.cut.take() {
                None => usize::MAX,
                Some(Cut { from: Start::Transport, bytes }) => bytes,
                Some(_) => return None,
            };
            Some(Quote { packet: Some(quoted).filter(is_true)?, cut })
        }
    };
    Some(Said { packet, quote })
}

fn is_true(packet: &Packet) -> bool {
    let Packet { link: Link { tags, ethertype: lie, .. }, network, pad: _, cut } = packet;
    let is_tag = |(kind, _): &(u16, u16)| matches!(*kind, ethertype::VLAN | ethertype::SERVICE_VLAN);
    let is_whole = cut.is_none() && lie.is_none() && tags.iter().all(is_tag);
    is_whole
        && match network {
            Network::Ip(Ip { extensions, wrong, body, .. }) => {
                let is_known = |it: &Extension| !matches!(it, Extension::Other { .. });
                // What has headers of its own is not said as bytes.
                let is_said =
                    !matches!(body, Body::Other { protocol: 0 | 1 | 6 | 17 | 43 | 44 | 51 | 58 | 60, .. });
                *wrong == Wrong::default() && extensions.iter().all(is_known) && is_said
            }
            Network::Other { .. } => true,
            Network::Whole(_) => false,
        }
}

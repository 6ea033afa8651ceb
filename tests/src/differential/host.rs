//! The core on the host beside the oracle.

use std::net::IpAddr;

use fw_common::conntrack::{Class, Connection};
use fw_common::packet::protocol;
use fw_common::{Address, Direction, FlowKey};
use fw_userspace::compile::RuleInfo;
use fw_userspace::simulate::{Judged, Simulation};

use super::history::Step;
use super::oracle::{self, Answer, Detail, Flow, Oracle};
use super::{Difference, Outcome, Scenario};

/// Packets between two looks at the connections.
const STRIDE: usize = 16;

/// Runs a scenario on both.
pub fn compare(scenario: &Scenario, exact: bool) -> Outcome {
    let mut policies = match scenario.policies() {
        Ok(policies) => policies.into_iter(),
        Err(why) => return Outcome::Invalid(why),
    };
    let Some((_, first)) = policies.next() else { return Outcome::Invalid("no rules".to_owned()) };
    let mut host = match Simulation::new(first.clone()) {
        Ok(host) => host,
        Err(error) => return Outcome::Invalid(error.to_string()),
    };
    let mut oracle = Oracle::new(first);
    let mut answers = Vec::new();
    for (number, step) in scenario.steps.iter().enumerate() {
        let says = match step {
            Step::Wait(seconds) => {
                host.wait(*seconds);
                oracle.wait(*seconds);
                continue;
            }
            Step::Load(_) => {
                let Some((_, policy)) = policies.next() else { continue };
                if let Err(error) = host.load(policy.clone()) {
                    return Outcome::Invalid(error.to_string());
                }
                oracle.load(policy);
                continue;
            }
            Step::Packet(crossing) => {
                let Some(said) = &crossing.what else { continue };
                let Some(judged) = host.judge(crossing.at, crossing.direction, &crossing.frame) else {
                    return Outcome::Invalid(format!("\"{}\" has no device", crossing.at));
                };
                let answer = oracle.judge(crossing.at, crossing.direction, said, crossing.frame.len());
                let says = (!is_answer(&answer, &judged))
                    .then(|| format!("oracle {answer:?}, core {:?}", answer_of(&judged)));
                answers.push((number, answer));
                says
            }
        };
        let looks = exact || number % STRIDE == 0 || number + 1 == scenario.steps.len();
        let says = says.or_else(|| if looks { other_connections(&host, &oracle) } else { None });
        if let Some(says) = says {
            return Outcome::Differs(Difference { step: number, says, answers });
        }
    }
    Outcome::Same(answers.len() as u64)
}

/// What the oracle says of each packet that somebody meant.
pub(super) fn answers(scenario: &Scenario) -> Result<Vec<(usize, Answer)>, String> {
    let mut answers = Vec::new();
    go_through(scenario, |_, number, answer| answers.push((number, answer)))?;
    Ok(answers)
}

/// Tells the oracle all of it; `see` is told of each packet.
pub(super) fn go_through(
    scenario: &Scenario,
    mut see: impl FnMut(&Oracle, usize, Answer),
) -> Result<(), String> {
    let mut policies = scenario.policies()?.into_iter();
    let mut oracle = Oracle::new(policies.next().ok_or("no rules")?.1);
    for (number, step) in scenario.steps.iter().enumerate() {
        match step {
            Step::Wait(seconds) => oracle.wait(*seconds),
            Step::Load(_) => oracle.load(policies.next().ok_or("no rules")?.1),
            Step::Packet(crossing) => {
                let said = crossing.what.as_ref().ok_or("bytes that nobody meant")?;
                let answer = oracle.judge(crossing.at, crossing.direction, said, crossing.frame.len());
                see(&oracle, number, answer);
            }
        }
    }
    Ok(())
}

fn is_answer(answer: &Answer, judged: &Judged<'_>) -> bool {
    let is_rule = |named: &Option<(String, String, Direction)>, rule: Option<&RuleInfo>| match (named, rule) {
        (Some((id, name, direction)), Some(rule)) => {
            *id == rule.id && *name == rule.rule && *direction == rule.direction
        }
        (None, None) => true,
        _ => false,
    };
    answer.verdict == judged.decision.verdict()
        && answer.reason == judged.decision.reason
        && is_rule(&answer.acl, judged.acl_rule)
        && is_rule(&answer.group, judged.group_rule)
}

/// The core's decision in the oracle's words.
pub(super) fn answer_of(judged: &Judged<'_>) -> Answer {
    Answer {
        verdict: judged.decision.verdict(),
        reason: judged.decision.reason,
        acl: judged.acl_rule.map(named),
        group: judged.group_rule.map(named),
    }
}

pub(super) fn named(rule: &RuleInfo) -> (String, String, Direction) {
    (rule.id.clone(), rule.rule.clone(), rule.direction)
}

/// A connection, as both can tell it.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Entry<'a> {
    at: &'a str,
    flow: Flow,
    state: String,
    opened_by: u8,
    class: String,
    service: bool,
    reserved: bool,
    idle_limit: u32,
    packets: u64,
    bytes: u64,
}

fn other_connections(host: &Simulation, oracle: &Oracle) -> Option<String> {
    let now = host.now_ns();
    let zones = &host.compiled().zones;
    let mut ours: Vec<Entry<'_>> = host
        .connections()
        .into_iter()
        .filter(|(_, connection, _)| !connection.is_expired(now))
        .map(|(key, connection, class)| {
            let at = zones.iter().find(|(zone, ..)| *zone == key.zone).map_or("?", |(_, name, _)| name);
            entry(at, &key, &connection, class)
        })
        .collect();
    let mut theirs: Vec<Entry<'_>> = oracle.connections().map(entry_of_oracle).collect();
    ours.sort_unstable();
    theirs.sort_unstable();
    if ours == theirs {
        return None;
    }
    ours.retain(|entry| !theirs.iter().any(|other| other == entry));
    Some(format!("connections differ; of the core's: {ours:?}; the oracle's: {theirs:?}"))
}

fn entry<'a>(at: &'a str, key: &FlowKey, connection: &Connection, class: Class) -> Entry<'a> {
    let (local, remote) = (address(key.local), address(key.remote));
    let number = key.protocol as u8;
    let status = connection.status();
    let detail = match (number, local) {
        (protocol::TCP | protocol::UDP, _) => Detail::Ports(key.local_port, key.remote_port),
        (protocol::ICMP, IpAddr::V4(_)) | (protocol::ICMPV6, IpAddr::V6(_)) => {
            Detail::Request(key.local_port, key.remote_port as u8, key.remote_port >> 8 == 1)
        }
        _ => Detail::None,
    };
    Entry {
        at,
        flow: Flow { protocol: number, local, remote, detail },
        state: format!("{:?}", status.state()),
        opened_by: status.opened_by(),
        class: format!("{class:?}"),
        service: status.flags() & Connection::SERVICE != 0,
        reserved: status.flags() & Connection::RESERVED != 0,
        idle_limit: status.timeout_s(),
        packets: connection.packets(),
        bytes: connection.bytes(),
    }
}

fn entry_of_oracle(connection: &oracle::Connection) -> Entry<'_> {
    Entry {
        at: &connection.at,
        flow: connection.flow,
        state: format!("{:?}", connection.state),
        opened_by: connection.opened_by.code(),
        class: format!("{:?}", connection.class()),
        service: connection.service,
        reserved: connection.reserved,
        idle_limit: connection.idle_limit,
        packets: connection.packets,
        bytes: connection.bytes,
    }
}

fn address(address: Address) -> IpAddr {
    let address = std::net::Ipv6Addr::from(address.to_bytes());
    address.to_ipv4_mapped().map_or(IpAddr::V6(address), IpAddr::V4)
}

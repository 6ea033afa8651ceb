//! One record: what each field of it says.

use std::fmt;
use std::net::IpAddr;

use fw_common::Reason;
use fw_common::flow_log::{Action, Flow, Tally};

use super::field::Field;
use crate::compile::RuleInfo;
use crate::datapath::{Generation, Window, ip};
use crate::printable::is_plain;
use crate::report::verdict_name;

/// Which packets are written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TrafficType {
    /// Those that passed.
    Accept,
    /// Those that were dropped.
    Reject,
    /// All.
    #[default]
    All,
}

impl TrafficType {
    /// Whether a flow is among them.
    pub(super) fn has(self, action: Action) -> bool {
        match self {
            Self::All => true,
            Self::Accept => matches!(action, Action::Accept | Action::WouldReject),
            Self::Reject => matches!(action, Action::Reject),
        }
    }
}

/// What the value of a field is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value<'a> {
    /// `-`: it does not apply, or is not known.
    None,
    /// A number.
    Number(u64),
    /// Text.
    Text(&'a str),
    /// An address.
    Address(IpAddr),
}

impl fmt::Display for Value<'_> {
    /// As it stands in a line of text, where spaces are between fields and nowhere else.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None | Self::Text("") => f.write_str("-"),
            Self::Number(number) => number.fmt(f),
            Self::Address(address) => address.fmt(f),
            Self::Text(text) => text
                .chars()
                .map(|c| if c.is_whitespace() || !is_plain(c) { '_' } else { c })
                .try_for_each(|c| fmt::Write::write_char(f, c)),
        }
    }
}

/// What all records of a window have in common.
pub(super) struct Frame<'a> {
    pub(super) account: &'a str,
    pub(super) version: u8,
    pub(super) window: &'a Window,
    /// From `CLOCK_MONOTONIC` to the time of day, nanoseconds.
    pub(super) to_epoch_ns: u64,
}

/// What is recorded.
pub(super) enum Event<'a> {
    /// Packets of a flow.
    Flow(&'a Flow, &'a Tally),
    /// The interface saw nothing.
    NoData,
    /// So many packets of the interface are in no other record.
    SkipData(u64),
}

/// One record.
pub(super) struct Record<'a> {
    frame: &'a Frame<'a>,
    place: Place<'a>,
    event: Event<'a>,
}

/// The interface, as the rules of its window know it.
#[derive(Clone, Copy)]
pub(super) struct Place<'a> {
    name: &'a str,
    vpc: Option<&'a str>,
    subnet: Option<&'a str>,
    region: Option<&'a str>,
    addresses: &'a [IpAddr],
}

impl<'a> Place<'a> {
    /// Of the last rules that had the zone.
    pub(super) fn of(zone: u32, window: &'a Window) -> Self {
        let nowhere = Self { name: "-", vpc: None, subnet: None, region: None, addresses: &[] };
        let known = |generation: &'a Generation| {
            let name = generation.names.interface(zone);
            if name == "-" { None } else { Some((name, &generation.policy)) }
        };
        let Some((name, policy)) = window.generations.iter().find_map(|generation| known(generation)) else {
            return nowhere;
        };
        let interface = policy.interfaces.get(name);
        let subnet = match interface {
            Some(interface) => interface.subnet.as_deref(),
            None => Some(name),
        };
        let vpc = subnet.and_then(|subnet| policy.subnets.get(subnet)?.vpc.as_deref());
        let region = vpc.and_then(|vpc| policy.vpcs.get(vpc)?.region.as_deref());
        let addresses = interface.map_or(&[][..], |interface| &interface.addresses);
        Self { name, vpc, subnet, region, addresses }
    }

    /// The first address of a family: what stands for all of them.
    fn primary(&self, like: IpAddr) -> Option<IpAddr> {
        self.addresses.iter().copied().find(|address| address.is_ipv4() == like.is_ipv4())
    }
}

impl<'a> Record<'a> {
    pub(super) fn new(frame: &'a Frame<'a>, place: Place<'a>, event: Event<'a>) -> Self {
        Self { frame, place, event }
    }

    /// What a field says.
    pub(super) fn value(&self, field: Field) -> Value<'_> {
        match field {
            Field::Version => Value::Number(self.frame.version.into()),
            Field::AccountId => Value::Text(self.frame.account),
            Field::InterfaceId => Value::Text(self.place.name),
            Field::VpcId => text(self.place.vpc),
            Field::SubnetId => text(self.place.subnet),
            Field::Region => text(self.place.region),
            Field::LogStatus => Value::Text(match self.event {
                Event::Flow(..) => "OK",
                Event::NoData => "NODATA",
                Event::SkipData(_) => "SKIPDATA",
            }),
            Field::FwctlSkippedPackets => match self.event {
                Event::SkipData(packets) => Value::Number(packets),
                _ => Value::None,
            },
            _ => match self.event {
                Event::Flow(flow, tally) => self.of_flow(field, flow, tally),
                _ => self.of_nothing(field),
            },
        }
    }

    fn of_nothing(&self, field: Field) -> Value<'_> {
        match field {
            Field::Start => seconds(self.frame.window.began_ns),
            Field::End => seconds(self.frame.window.ended_ns),
            _ => Value::None,
        }
    }

    fn of_flow(&self, field: Field, flow: &Flow, tally: &Tally) -> Value<'_> {
        let (source, destination) = (ip(flow.source), ip(flow.destination));
        let is_inbound = flow.direction == 0;
        match field {
            Field::Srcaddr if !is_inbound => Value::Address(self.place.primary(source).unwrap_or(source)),
            Field::Dstaddr if is_inbound => {
                Value::Address(self.place.primary(destination).unwrap_or(destination))
            }
            Field::Srcaddr | Field::PktSrcaddr => Value::Address(source),
            Field::Dstaddr | Field::PktDstaddr => Value::Address(destination),
            Field::Srcport => Value::Number(flow.source_port.into()),
            Field::Dstport => Value::Number(flow.destination_port.into()),
            Field::Protocol => Value::Number(flow.protocol.into()),
            Field::Packets => Value::Number(tally.packets),
            Field::Bytes => Value::Number(tally.bytes),
            Field::Start => seconds(tally.first_ns.saturating_add(self.frame.to_epoch_ns)),
            Field::End => seconds(tally.last_ns.saturating_add(self.frame.to_epoch_ns)),
            Field::Action => {
                Value::Text(if flow.action == Action::Reject as u8 { "REJECT" } else { "ACCEPT" })
            }
            Field::TcpFlags => Value::Number(tally.tcp_flags),
            Field::Type => Value::Text(if source.is_ipv4() { "IPv4" } else { "IPv6" }),
            Field::FlowDirection => text(flow.direction().map(fw_common::Direction::name)),
            _ => self.of_decision(field, flow, tally),
        }
    }

    fn of_decision(&self, field: Field, flow: &Flow, tally: &Tally) -> Value<'_> {
        let reason = u8::try_from(tally.reason).ok().and_then(Reason::from_code);
        let entry = || self.rule(tally.acl_rule, tally);
        let rule = || self.rule(tally.group_rule, tally);
        match field {
            Field::FwctlVerdict => {
                text(reason.map(|reason| verdict_name(reason, flow.action == Action::WouldReject as u8)))
            }
            Field::FwctlLayer => text(reason.map(|reason| reason.layer().name())),
            Field::FwctlReason => text(reason.map(Reason::name)),
            Field::FwctlNetworkAcl => text(entry().map(|entry| entry.id.as_str())),
            Field::FwctlAclRule => text(entry().map(|entry| entry.rule.as_str())),
            Field::FwctlSecurityGroup => text(rule().map(|rule| rule.id.as_str())),
            Field::FwctlGroupRule => text(rule().map(|rule| rule.rule.as_str())),
            Field::FwctlRuleDescription => {
                text(rule().or_else(entry).and_then(|decided| decided.description.as_deref()))
            }
            _ => Value::None,
        }
    }

    fn rule(&self, slot: u32, tally: &Tally) -> Option<&RuleInfo> {
        decided(self.frame.window.generations.iter().filter_map(|it| it.names.rule_info(slot)), tally)
    }
}

/// Of the rules that had a slot, the last first: the one that had it when the flow was decided about. `None` if another
/// got it while the flow went on.
fn decided<'a>(mut rules: impl Iterator<Item = &'a RuleInfo>, tally: &Tally) -> Option<&'a RuleInfo> {
    rules.find(|rule| rule.born_ns <= tally.last_ns).filter(|rule| rule.born_ns <= tally.first_ns)
}

fn text(text: Option<&str>) -> Value<'_> {
    text.map_or(Value::None, Value::Text)
}

fn seconds(epoch_ns: u64) -> Value<'static> {
    Value::Number(epoch_ns / 1_000_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_never_breaks_a_line_into_more_fields() {
        assert_eq!(Value::Text("office\tof the\nboss").to_string(), "office_of_the_boss");
        assert_eq!(Value::Text("").to_string(), "-");
        assert_eq!(Value::None.to_string(), "-");
    }

    #[test]
    fn a_flow_is_not_named_by_a_rule_that_came_later() {
        let rule = |rule: &str, born_ns| RuleInfo {
            slot: 5,
            born_ns,
            kind: crate::compile::RuleKind::SecurityGroup,
            id: "sg".to_owned(),
            direction: fw_common::Direction::Ingress,
            rule: rule.to_owned(),
            description: None,
        };
        let rules = [rule("new", 100), rule("old", 0)];
        let named = |of: &[RuleInfo], first_ns, last_ns| {
            let tally = Tally { first_ns, last_ns, ..Tally::default() };
            decided(of.iter(), &tally).map(|rule| rule.rule.clone())
        };
        assert_eq!(named(&rules, 100, 200).as_deref(), Some("new"));
        assert_eq!(named(&rules, 50, 99).as_deref(), Some("old"));
        assert_eq!(named(&rules, 50, 100), None, "one of the two");
        assert_eq!(named(&rules[..1], 50, 99), None, "the old one is not known any more");
    }

    #[test]
    fn what_only_would_be_dropped_was_accepted() {
        assert!(
            TrafficType::Accept.has(Action::WouldReject) && !TrafficType::Reject.has(Action::WouldReject)
        );
        assert!(TrafficType::Reject.has(Action::Reject) && !TrafficType::Accept.has(Action::Reject));
    }
}

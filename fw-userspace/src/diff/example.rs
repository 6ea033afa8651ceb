//! A packet of each region, asked of the decision core on both sides: a region that it does not confirm is never shown.

use std::collections::HashSet;
use std::net::IpAddr;

use fw_common::Direction;
use fw_common::address::Family;
use fw_common::packet::{protocol, tcp_flags};

use super::ends::{self, Interval, MAPPED};
use super::regions::{Region, Service};
use super::report::Example;
use super::{Side, View, of_both};
use crate::compile::{Bounds, Carries};
use crate::error::{Error, Result};
use crate::explain::{Endpoint, Explainer, Flow, IcmpType, RawFrame};
use crate::report::ProtocolName;
use crate::simulate::Simulation;

/// The decision core with the rules of both sides.
pub(super) struct Witness([Explainer; 2]);

impl Witness {
    /// Of what is asked about; other bindings count where their addresses are a group's.
    pub(super) fn new(sides: [&Side; 2], asked: &HashSet<Carries>, bounds: Bounds) -> Result<Self> {
        let simulations = of_both(sides, |Side { policy, bindings, .. }| {
            let bindings = bindings.iter();
            let needed =
                bindings.filter(|it| asked.contains(&it.carries) || !it.addresses.is_empty()).cloned();
            let simulation = Simulation::within(policy.clone(), needed.collect(), &bounds);
            simulation.map_err(|error| Error::input(error.to_string()))
        });
        simulations.map(|simulations| Self(simulations.map(Explainer::of_simulation)))
    }

    /// A packet of a region. `own` are addresses that are liked best for the interface's end.
    pub(super) fn example(
        &self,
        at: &Carries,
        way: (Direction, Family, View),
        region: &Region,
        own: &[IpAddr],
    ) -> Result<Example> {
        let flow = flow(way, region, own);
        let frame = RawFrame::ethernet(flow.frame()?);
        let ask = |side: usize| self.0[side].explain_on(at, way.0, &frame);
        let example = Example { packet: flow.to_string(), before: ask(0)?, after: ask(1)? };
        let (before, after) = if region.shape.opens { ("deny", "allow") } else { ("allow", "deny") };
        if (example.before.verdict, example.after.verdict) != (before, after) {
            return Err(Error::system(format!(
                "a mistake in fwctl, please report it: \"{flow}\" at \"{}\" was to change from {before} to {after}, the \
                 decision core says {} and {}",
                at.name(),
                example.before.verdict,
                example.after.verdict
            )));
        }
        Ok(example)
    }
}

fn flow((direction, family, view): (Direction, Family, View), region: &Region, own: &[IpAddr]) -> Flow {
    let (number, key) = service(&region.shape.service, family);
    let port = matches!(number, protocol::TCP | protocol::UDP).then_some(key);
    let remote = address(&region.shape.remote, family, &liked_remote());
    let local = address(&region.local, family, &[own, &liked_local()].concat());
    let (source, destination) = match direction {
        Direction::Ingress => (remote, local),
        Direction::Egress => (local, remote),
    };
    let [kind, code] = key.to_be_bytes();
    Flow {
        protocol: ProtocolName(number),
        source: Endpoint { address: source, port: None },
        destination: Endpoint { address: destination, port },
        tcp_flags: if view == View::Established { tcp_flags::ACK } else { tcp_flags::SYN },
        icmp: IcmpType { kind, code },
    }
}

/// Protocol and key, well-known ones first.
fn service(service: &Service, family: Family) -> (u8, u16) {
    let echo = match family {
        Family::V4 => (protocol::ICMP, 8 << 8),
        Family::V6 => (protocol::ICMPV6, 128 << 8),
    };
    let (number, liked): (u8, &[u16]) = match service {
        Service::Everything => return (protocol::TCP, 443),
        Service::Tcp(_) => (protocol::TCP, &[443, 80, 22]),
        Service::Udp(_) => (protocol::UDP, &[443, 53]),
        Service::Icmp(_) => (echo.0, &[echo.1]),
        // GRE.
        Service::Other(_) => (0, &[47]),
    };
    let ranges = service.ranges();
    let liked = liked.iter().find(|key| ranges.iter().any(|(from, to)| (from..=to).contains(key)));
    let key = match (liked, ranges) {
        (Some(key), _) => *key,
        // Port 0 is one that no program has.
        (None, [(0, 1..), ..]) => 1,
        (None, [(from, _), ..]) => *from,
        (None, []) => 0,
    };
    match service {
        Service::Other(_) => (key.to_be_bytes()[1], 0),
        _ => (number, key),
    }
}

/// Addresses for documentation (RFC 5737, RFC 3849).
fn liked_remote() -> [IpAddr; 2] {
    [[198, 51, 100, 7].into(), [0x2001, 0xdb8, 0, 0, 0, 0, 0, 7].into()]
}

fn liked_local() -> [IpAddr; 2] {
    [[192, 0, 2, 10].into(), [0x2001, 0xdb8, 0, 1, 0, 0, 0, 10].into()]
}

/// One of these, else an early one.
fn address(intervals: &[Interval], family: Family, liked: &[IpAddr]) -> IpAddr {
    let mut liked = liked.iter().filter(|address| address.is_ipv4() == (family == Family::V4));
    if let Some(address) = liked.find(|address| ends::contains(intervals, ends::number(**address))) {
        return *address;
    }
    let is_mapped = |address: u128| family == Family::V6 && (MAPPED.0..=MAPPED.1).contains(&address);
    // The first address of a network is none of a host's; of those that never pass there may be some in between.
    let candidates =
        intervals.iter().flat_map(|(first, last)| [(first + u128::from(last - first > 1)), *last, *first]);
    let first = candidates.into_iter().find(|address| !is_mapped(*address)).unwrap_or_default();
    ends::address(first, family)
}

//! The way from one interface to another and back, filter by filter, as the rules have it; and what would have to change
//! for a packet to get through. Routes, and filters of others, are not looked at.

use std::fmt;
use std::net::IpAddr;
use std::path::Path;
use std::str::FromStr;

use fw_common::Direction;
use fw_common::packet::protocol;
use serde::Serialize;

use super::change::{self, Change};
use super::clients::{self, Client, ClientPorts};
use super::flow::{Endpoint, Flow, IcmpType};
use super::frame::RawFrame;
use super::source::{Explainer, Explanation};
use crate::compile::{Binding, pretend_bindings_like};
use crate::datapath::{self, RulesInForce};
use crate::error::{Error, Result};
use crate::model::{Attachment, DeviceSelector, Faces, Mode, Policy, PortRange};
use crate::report::ProtocolName;

/// What is to be reached: a protocol, with a port or an ICMP type and code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Service {
    /// IP protocol; `icmp` stands for ICMPv6 too.
    pub protocol: ProtocolName,
    /// TCP and UDP.
    pub port: Option<u16>,
    /// ICMP; an echo request if none was said.
    pub icmp: Option<IcmpType>,
}

impl FromStr for Service {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let must_be = || {
            "must be like \"tcp/5432\", \"udp/53\", \"icmp\", \"icmp/8/0\" or a protocol number".to_owned()
        };
        let mut parts = text.split('/');
        let protocol: ProtocolName = parts.next().unwrap_or_default().parse().map_err(|_| must_be())?;
        let numbers: Vec<&str> = parts.collect();
        let byte = |text: &str| text.parse::<u8>().map_err(|_| must_be());
        let (port, icmp) = match (protocol.0, &numbers[..]) {
            (protocol::TCP | protocol::UDP, [port]) => (Some(port.parse().map_err(|_| must_be())?), None),
            (protocol::TCP | protocol::UDP, _) => return Err(must_be()),
            (protocol::ICMP | protocol::ICMPV6, [kind]) => {
                (None, Some(IcmpType { kind: byte(kind)?, code: 0 }))
            }
            (protocol::ICMP | protocol::ICMPV6, [kind, code]) => {
                (None, Some(IcmpType { kind: byte(kind)?, code: byte(code)? }))
            }
            (_, []) => (None, None),
            _ => return Err(must_be()),
        };
        Ok(Self { protocol, port, icmp })
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.protocol.fmt(f)?;
        match (self.port, self.icmp) {
            (Some(port), _) => write!(f, "/{port}"),
            (_, Some(IcmpType { kind, code })) => write!(f, "/{kind}/{code}"),
            _ => Ok(()),
        }
    }
}

/// The way in both families.
#[derive(Debug, Clone, Serialize)]
pub struct PathReport {
    /// Interface that begins.
    pub from: String,
    /// Interface that is to be reached.
    pub to: String,
    /// Like `tcp/5432`.
    pub service: String,
    /// By family: one for each that both ends have an address of.
    pub families: Vec<FamilyPath>,
}

/// The way in one family.
#[derive(Debug, Clone, Serialize)]
pub struct FamilyPath {
    /// `ipv4` or `ipv6`.
    pub family: &'static str,
    /// `allow` if the packet and its answer get through, from whichever port a client sends it; `deny` if from none;
    /// else `partly`.
    pub verdict: &'static str,
    /// Filter by filter, as far as it gets; from a port that is not let through if there is one.
    pub steps: Vec<Step>,
    /// TCP and UDP: from which ports of the client it gets how far.
    pub client_ports: Vec<ClientPorts>,
    /// TCP and UDP: the same for the usual clients.
    pub clients: Vec<Client>,
    /// What would let it through: one change, or several that are all needed. Empty also where nothing in the rules
    /// would help.
    pub changes: Vec<Change>,
}

/// One filter on the way.
#[derive(Debug, Clone, Serialize)]
pub struct Step {
    /// `forward` or `back`.
    pub way: &'static str,
    /// Interface.
    pub interface: String,
    /// `ingress` or `egress`.
    pub direction: &'static str,
    /// The packet there.
    pub packet: String,
    /// What happens to it.
    #[serde(flatten)]
    pub explanation: Explanation,
    #[serde(skip)]
    pub(super) flow: Flow,
    #[serde(skip)]
    pub(super) direction_at: Direction,
}

/// Rules, and who has which addresses beside them.
#[derive(Clone)]
pub(super) struct Ground {
    pub(super) policy: Policy,
    bindings: Vec<Binding>,
    /// Most bytes that the tables may take.
    max_memory: u64,
}

/// More changes than filters, twice, would say that they do not help.
const MOST_CHANGES: usize = 8;

/// By the rules in force.
pub fn walk_in_force(bpffs: &Path, from: &str, to: &str, service: Service) -> Result<PathReport> {
    let RulesInForce { policy, bindings, max_memory } = datapath::rules_in_force(bpffs)?;
    walk(Ground { policy, bindings, max_memory }, from, to, service)
}

/// By the rules of a file, whose tables may take `max_memory` bytes.
pub fn walk_rules(
    policy: Policy,
    from: &str,
    to: &str,
    service: Service,
    max_memory: u64,
) -> Result<PathReport> {
    walk(Ground { policy, bindings: Vec::new(), max_memory }, from, to, service)
}

fn walk(mut ground: Ground, from: &str, to: &str, service: Service) -> Result<PathReport> {
    if from == to {
        return Err(Error::input(format!(
            "{from:?} reaches itself without passing a filter; name two interfaces"
        )));
    }
    ground.attach(from)?;
    ground.attach(to)?;
    let mut flows = Vec::new();
    for (family, is_ipv4) in [("ipv4", true), ("ipv6", false)] {
        let address =
            |name| ground.addresses(name).into_iter().find(|address: &IpAddr| address.is_ipv4() == is_ipv4);
        if let (Some(source), Some(destination)) = (address(from), address(to))
            && let Some(flow) = service.flow(source, destination)?
        {
            flows.push((family, flow));
        }
    }
    if flows.is_empty() {
        let of = |name| {
            let listed: Vec<String> = ground.addresses(name).iter().map(ToString::to_string).collect();
            if listed.is_empty() { "no address".to_owned() } else { listed.join(", ") }
        };
        return Err(Error::input(format!(
            "{from:?} ({}) and {to:?} ({}) have no address of a common family that {service} goes with; give both \
             \"addresses\" in the rules",
            of(from),
            of(to)
        )));
    }
    let explainer = ground.explainer()?;
    let families = flows.iter().map(|(family, flow)| ground.family(family, &explainer, (from, to), flow));
    let families = families.collect::<Result<_>>()?;
    Ok(PathReport { from: from.to_owned(), to: to.to_owned(), service: service.to_string(), families })
}

impl Service {
    /// The first packet; `None` where the protocol is not of this family.
    fn flow(&self, source: IpAddr, destination: IpAddr) -> Result<Option<Flow>> {
        let number = match (self.protocol.0, source) {
            (protocol::ICMP, IpAddr::V6(_)) if self.icmp.is_none() => protocol::ICMPV6,
            (protocol::ICMP, IpAddr::V6(_)) | (protocol::ICMPV6, IpAddr::V4(_)) => return Ok(None),
            (number, _) => number,
        };
        let end = |address, port| Endpoint { address, port };
        let mut flow = Flow::new(ProtocolName(number), end(source, None), end(destination, self.port))?;
        flow.icmp = self.icmp.unwrap_or(flow.icmp);
        Ok(Some(flow))
    }
}

impl Ground {
    /// Of an interface that is not on this host the filters are looked at all the same.
    fn attach(&mut self, name: &str) -> Result<()> {
        let known: Vec<String> = self.policy.interfaces.keys().cloned().collect();
        let Some(interface) = self.policy.interfaces.get_mut(name) else {
            let known: Vec<&str> = known.iter().map(String::as_str).collect();
            return Err(Error::unknown_interface(name, &known));
        };
        interface.attachment.get_or_insert(Attachment {
            device: DeviceSelector::Name(name.to_owned()),
            faces: Faces::Network,
            mode: Mode::Tc,
        });
        Ok(())
    }

    fn addresses(&self, name: &str) -> Vec<IpAddr> {
        let written = self.policy.interfaces.get(name).map_or(&[][..], |interface| &interface.addresses);
        if !written.is_empty() {
            return written.to_vec();
        }
        let bound = self.bindings.iter().filter(|binding| binding.carries.name() == name);
        bound.flat_map(|binding| binding.addresses.clone()).collect()
    }

    fn family(
        &self,
        family: &'static str,
        explainer: &Explainer,
        ends: (&str, &str),
        flow: &Flow,
    ) -> Result<FamilyPath> {
        let (steps, client_ports) = self.tried(explainer, ends, flow)?;
        let mut changed = self.clone();
        let (mut tried, mut changes) = (steps.clone(), Vec::new());
        while changes.len() < MOST_CHANGES
            && let Some(blocked) = tried.last().filter(|step| !step.passes())
        {
            let other = if blocked.interface == ends.0 { ends.1 } else { ends.0 };
            let Some(change) = change::against(&mut changed.policy, blocked, other) else {
                changes.clear();
                break;
            };
            changes.push(change);
            tried = changed.tried(&changed.explainer()?, ends, flow)?.0;
        }
        let passes = steps.iter().all(Step::passes);
        let verdict = match &client_ports[..] {
            [] if passes => "allow",
            [] => "deny",
            all => clients::verdict(all.iter().map(|ports| ports.verdict == "allow")),
        };
        let clients = clients::clients(&client_ports);
        Ok(FamilyPath { family, verdict, steps, client_ports, clients, changes })
    }

    /// Tries all client ports, where the protocol has any. The way is that of a port which is not let through, if others
    /// are; else of any.
    fn tried(
        &self,
        explainer: &Explainer,
        ends: (&str, &str),
        flow: &Flow,
    ) -> Result<(Vec<Step>, Vec<ClientPorts>)> {
        let mut all: Vec<ClientPorts> = Vec::new();
        let from = |port| Flow { source: Endpoint { port: Some(port), ..flow.source }, ..*flow };
        if flow.destination.port.is_some() {
            for PortRange { from: first, to } in clients::cut(&self.policy, [ends.0, ends.1], flow.protocol.0)
            {
                let blocked = steps(explainer, ends, &from(first))?.pop().filter(|step| !step.passes());
                let last = all.last_mut().filter(|last| match (&last.blocked, &blocked) {
                    (Some(one), Some(other)) => one.is_like(other),
                    (one, other) => one.is_none() && other.is_none(),
                });
                if let Some(last) = last {
                    last.to = to;
                    continue;
                }
                let verdict = if blocked.is_none() { "allow" } else { "deny" };
                all.push(ClientPorts { from: first, to, verdict, blocked });
            }
        }
        let are_apart = all.iter().any(|ports| ports.verdict == "allow");
        let lost = clients::lost(&all).filter(|_| are_apart);
        Ok((steps(explainer, ends, &lost.map_or(*flow, from))?, all))
    }

    /// Of a host where nothing has happened yet.
    fn explainer(&self) -> Result<Explainer> {
        let bindings = pretend_bindings_like(&self.policy, &self.bindings);
        Explainer::of_host(self.policy.clone(), bindings, self.max_memory)
    }
}

/// As far as the packet, or its answer, gets.
fn steps(explainer: &Explainer, (from, to): (&str, &str), flow: &Flow) -> Result<Vec<Step>> {
    let (out, back) = (Direction::Egress, Direction::Ingress);
    let mut way = vec![("forward", from, out, *flow), ("forward", to, back, *flow)];
    if let Some(reply) = flow.reply() {
        way.extend([("back", to, out, reply), ("back", from, back, reply)]);
    }
    explainer.forget();
    let mut steps = Vec::new();
    for (way, interface, direction, flow) in way {
        let frame = RawFrame::ethernet(flow.frame()?);
        let rehearsed = explainer.judge(interface, direction, &frame, 0)?;
        steps.push(Step {
            way,
            interface: interface.to_owned(),
            direction: direction.name(),
            packet: flow.to_string(),
            explanation: explainer.explained(rehearsed),
            flow,
            direction_at: direction,
        });
        if steps.last().is_some_and(|step| !step.passes()) {
            break;
        }
    }
    Ok(steps)
}

impl Step {
    fn passes(&self) -> bool {
        self.explanation.verdict == "allow"
    }

    /// Whether the same filter says the same, of another packet.
    fn is_like(&self, other: &Self) -> bool {
        let all_else = |step: &Self| (step.way, step.interface.clone(), step.explanation.clone());
        all_else(self) == all_else(other)
    }
}

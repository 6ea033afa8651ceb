//! What changes when one rule set takes the place of another: objects and rules as written, and exactly which traffic
//! meets another verdict.
//!
//! Verdicts are compared as sets and not packet by packet: both generations partition the remote addresses and the keys
//! of protocols, and where the common refinement of both says something else before and after, that is a region. The
//! sets come from the rows that the compiler writes its tables from, so no rule is read in a second way; and a packet of
//! each region is asked of the decision core.
//!
//! The verdict is that of a packet without a connection: source/destination check, exempt services, network ACL and
//! groups together. Packets of connections pass the groups, so for them the network ACL is compared once more, alone.
//! What always passes (ARP, neighbour discovery, DHCP) and what never does (what cannot be parsed) is the same on both
//! sides and left out.
//!
//! | module | what it is for |
//! | --- | --- |
//! | `keys` | sets of ports, ICMP types and protocols |
//! | `ends` | the interface's end |
//! | `compare` | two generations, cell by cell |
//! | `regions` | cells put together |
//! | `shared` | what interfaces that are judged alike have in common, once |
//! | `example` | a packet of each, by the decision core |
//! | `objects`, `words` | what differs as written |

mod compare;
mod ends;
mod example;
mod keys;
mod objects;
mod regions;
mod report;
mod shared;
mod words;

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use fw_common::Direction;
use fw_common::address::Family;
use indexmap::IndexMap;
use ipnet::IpNet;

use crate::compile::{
    Binding, Bounds, Carries, CompileError, Filter, Flattened, attached, pretend_bindings_like,
};
use crate::datapath;
use crate::error::{Error, Result};
use crate::model::{ExemptServices, Policy};
use compare::Comparison;
use ends::{Interval, Intervals};
use example::Witness;
use regions::{Region, Service};
use shared::{Shape, Shared};

pub use ends::all_but;
pub use report::{
    DiffReport, Example, IcmpSpan, InterfaceChange, ObjectChange, PartChange, Region as ChangedTraffic, Span,
};

/// A rule set, and which addresses the devices have of interfaces that name none.
#[derive(Debug, Clone)]
pub struct Side {
    policy: Policy,
    /// One for each interface or leg that is to be on this host.
    bindings: Vec<Binding>,
    /// By what a binding carries its place.
    places: HashMap<Carries, usize>,
}

/// Which packets are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum View {
    /// Those without a connection.
    First,
    /// Those of connections that the groups have let begin.
    Established,
}

/// By interface or leg and view, direction and family: regions of the sets, not yet shown.
type Found = Vec<(View, Direction, Family, Vec<Region>, Intervals)>;

impl Side {
    /// The rules of a file, without a look at this host.
    pub fn of_rules(policy: Policy) -> Self {
        Self::on(policy, &[])
    }

    /// What is in force.
    pub fn in_force(bpffs: &Path) -> Result<Self> {
        let in_force = datapath::rules_in_force(bpffs)?;
        Ok(Self::on(in_force.policy, &in_force.bindings))
    }

    /// The rules of a file as a load would put them in force.
    pub fn to_be_loaded(policy: Policy, bpffs: &Path) -> Result<Self> {
        let bindings = datapath::bindings_for(bpffs, &policy)?;
        Ok(Self::on(policy, &bindings))
    }

    /// Devices that are missing count: they will be filtered when they come. Several of one interface are one.
    fn on(policy: Policy, devices: &[Binding]) -> Self {
        let bindings = pretend_bindings_like(&policy, devices);
        let places = bindings.iter().map(|binding| binding.carries.clone()).zip(0..).collect();
        Self { policy, bindings, places }
    }

    /// The network ACLs alone.
    fn without_state(&self) -> Self {
        let Policy { vpcs, peerings, subnets, network_acls, interfaces, .. } = &self.policy;
        let mut interfaces = interfaces.clone();
        interfaces.values_mut().for_each(|interface| interface.security_groups.clear());
        let settings =
            crate::model::Settings { exempt_services: ExemptServices::None, ..self.policy.settings };
        let policy = Policy {
            vpcs: vpcs.clone(),
            peerings: peerings.clone(),
            subnets: subnets.clone(),
            network_acls: network_acls.clone(),
            interfaces,
            settings,
            ..Policy::default()
        };
        Self { policy, bindings: self.bindings.clone(), places: self.places.clone() }
    }

    fn names(&self) -> Vec<Carries> {
        attached(&self.policy).map(|(carries, _)| carries).collect()
    }

    fn enforces(&self, at: &Carries) -> bool {
        match at {
            Carries::Interface(name) => self.policy.interfaces.get(name).is_none_or(|it| it.enforce),
            Carries::Leg(_) => true,
        }
    }

    /// Addresses that an example may have at the interface's end.
    fn own(&self, at: &Carries) -> Vec<IpAddr> {
        let written =
            match at {
                Carries::Interface(name) => self.policy.interfaces.get(name).map(|it| it.addresses.clone()),
                Carries::Leg(name) => self.policy.subnets.get(name).map(|subnet| {
                    subnet.cidr_blocks.iter().filter_map(|block| block.hosts().nth(9)).collect()
                }),
            };
        let bound = self.places.get(at).map(|place| &self.bindings[*place]);
        let of_device = bound.into_iter().flat_map(|binding| &binding.addresses).copied();
        written.into_iter().flatten().chain(of_device).collect()
    }
}

/// Compares; `only` is the name of one interface or leg whose traffic is asked about.
pub fn diff(old: Side, new: Side, only: Option<&str>, max_memory: u64) -> Result<DiffReport> {
    let bounds = Bounds { max_memory };
    let (old_names, mut names) = (old.names(), new.names());
    let [in_old, in_new] = [&old_names, &names].map(|names| names.iter().cloned().collect::<HashSet<_>>());
    names.extend(old_names.into_iter().filter(|name| !in_new.contains(name)));
    if let Some(only) = only {
        let known: Vec<&str> = names.iter().map(Carries::name).collect();
        if !known.contains(&only) {
            return Err(Error::unknown_interface(only, &known));
        }
        names.retain(|name| name.name() == only);
    }
    let objects = objects::changes(&old.policy, &new.policy);
    let stateless = [old.without_state(), new.without_state()];
    let mut found: IndexMap<&Carries, Found> = IndexMap::new();
    let mut shared = Shared::default();
    compared([&old, &new], View::First, &names, bounds, &mut shared, &mut found)?;
    compared([&stateless[0], &stateless[1]], View::Established, &names, bounds, &mut shared, &mut found)?;
    let asked: HashSet<Carries> = found.keys().map(|name| (*name).clone()).collect();
    let mut witnesses = Witnesses { first: None, established: None, asked, bounds };
    let mut interfaces = Vec::new();
    for name in &names {
        let (was, is) = (in_old.contains(name), in_new.contains(name));
        let enforced = [was.then(|| old.enforces(name)), is.then(|| new.enforces(name))];
        let own = [new.own(name), old.own(name)].concat();
        let regions = match found.swap_remove(name) {
            Some(found) => shown(found, name, &own, &mut shared, &mut witnesses, [&old, &new], &stateless)?,
            None => Vec::new(),
        };
        let filter = match (was, is) {
            (true, true) => "kept",
            (false, _) => "added",
            (_, false) => "removed",
        };
        if filter == "kept" && regions.is_empty() && enforced[0] == enforced[1] {
            continue;
        }
        interfaces.push(InterfaceChange {
            interface: name.name().to_owned(),
            kind: name.kind(),
            filter,
            enforced,
            regions,
        });
    }
    Ok(DiffReport { verdicts_change: !interfaces.is_empty(), objects, interfaces })
}

/// Both sides at once, where there are two CPUs.
fn of_both<T: Send>(sides: [&Side; 2], make: impl Fn(&Side) -> Result<T> + Sync) -> Result<[T; 2]> {
    std::thread::scope(|scope| {
        let new = scope.spawn(|| make(sides[1]));
        let old = make(sides[0]);
        let new = new.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        Ok([old?, new?])
    })
}

/// Adds the regions of what is filtered on both sides.
fn compared<'n>(
    sides: [&Side; 2],
    view: View,
    names: &'n [Carries],
    bounds: Bounds,
    shared: &mut Shared,
    found: &mut IndexMap<&'n Carries, Found>,
) -> Result<()> {
    let refused = |error: CompileError| Error::input(error.to_string());
    let flattened = |side: &Side| Flattened::new(&side.policy, &side.bindings, bounds).map_err(refused);
    let [old, new] = of_both(sides, flattened)?;
    let filters = [&old, &new].map(|side| {
        side.filters()
            .iter()
            .map(|(carries, filter)| (carries, filter))
            .collect::<HashMap<&Carries, &Filter>>()
    });
    let mut comparison = Comparison::new(&old, &new, shared);
    for name in names {
        let [Some(before), Some(after)] = [0, 1].map(|side: usize| filters[side].get(name)) else { continue };
        for direction in [Direction::Ingress, Direction::Egress] {
            for family in [Family::V4, Family::V6] {
                let (usual, changed) =
                    comparison.changed([before, after], direction, family).map_err(refused)?;
                let regions = regions::regions(&changed);
                if !regions.is_empty() {
                    found.entry(name).or_default().push((view, direction, family, regions, usual));
                }
            }
        }
    }
    Ok(())
}

/// Asks only where something is to be shown.
struct Witnesses {
    first: Option<Witness>,
    established: Option<Witness>,
    /// What has a region: of nothing else lists are compiled.
    asked: HashSet<Carries>,
    bounds: Bounds,
}

/// Regions of both views as they are shown: what both have is said once, of all packets.
fn shown(
    found: Found,
    at: &Carries,
    own: &[IpAddr],
    shared: &mut Shared,
    witnesses: &mut Witnesses,
    sides: [&Side; 2],
    stateless: &[Side; 2],
) -> Result<Vec<ChangedTraffic>> {
    let mut shown = Vec::new();
    let regions_of = |view: View, way: (Direction, Family)| {
        let same =
            found.iter().find(|(of, direction, family, ..)| (*of, (*direction, *family)) == (view, way));
        same.into_iter().flat_map(|(.., regions, _)| regions).map(identity).collect::<HashSet<_>>()
    };
    for (view, direction, family, regions, usual) in &found {
        let other = match view {
            View::First => View::Established,
            View::Established => View::First,
        };
        let others = regions_of(other, (*direction, *family));
        for region in regions {
            let packets = match (others.contains(&identity(region)), view) {
                (true, View::Established) => continue,
                (true, View::First) => "all",
                (false, View::First) => "first",
                (false, View::Established) => "established",
            };
            let (slot, sides) = match view {
                View::First => (&mut witnesses.first, [sides[0], sides[1]]),
                View::Established => (&mut witnesses.established, [&stateless[0], &stateless[1]]),
            };
            let witness = match slot {
                Some(witness) => witness,
                None => slot.insert(Witness::new(sides, &witnesses.asked, witnesses.bounds)?),
            };
            let example = witness.example(at, (*direction, *family, *view), region, own)?;
            let remote = shared.cidrs(&region.shape, *family);
            shown.push(traffic(region, remote, (*direction, *family), packets, usual, example));
        }
    }
    shown.sort_by_key(|region| region.direction == "egress");
    Ok(shown)
}

/// What is equal in both views is one shape.
fn identity(region: &Region) -> (*const Shape, &[Interval]) {
    (Rc::as_ptr(&region.shape), &region.local)
}

fn traffic(
    region: &Region,
    remote: Arc<[IpNet]>,
    (direction, family): (Direction, Family),
    packets: &'static str,
    usual: &Intervals,
    example: Example,
) -> ChangedTraffic {
    let spans =
        |ranges: &[(u16, u16)]| ranges.iter().map(|(from, to)| Span { from: *from, to: *to }).collect();
    let (mut ports, mut icmp, mut numbers) = (None, None, None);
    let protocol = match &region.shape.service {
        Service::Everything => "all",
        Service::Tcp(ranges) => {
            ports = Some(spans(ranges));
            "tcp"
        }
        Service::Udp(ranges) => {
            ports = Some(spans(ranges));
            "udp"
        }
        Service::Icmp(ranges) => {
            icmp = Some(ranges.iter().flat_map(|range| icmp_spans(*range)).collect());
            if family == Family::V4 { "icmp" } else { "icmpv6" }
        }
        Service::Other(ranges) => {
            numbers = Some(spans(ranges));
            "other"
        }
    };
    ChangedTraffic {
        direction: direction.name(),
        family: if family == Family::V4 { "ipv4" } else { "ipv6" },
        verdict: if region.shape.opens { "allow" } else { "deny" },
        packets,
        protocol,
        all_keys: region.shape.service.has_all_keys(family),
        ports,
        icmp,
        numbers,
        remote,
        local: ends::cidrs(&region.local, family),
        local_is_usual: region.local == *usual,
        example,
    }
}

/// Whole types in one, and what is left of the first and of the last.
fn icmp_spans((from, to): (u16, u16)) -> Vec<IcmpSpan> {
    let ([mut first, from_code], [mut last, to_code]) = (from.to_be_bytes(), to.to_be_bytes());
    let span = |types: (u8, u8), codes: (u8, u8)| IcmpSpan {
        from_type: types.0,
        to_type: types.1,
        from_code: codes.0,
        to_code: codes.1,
    };
    if first == last {
        return vec![span((first, last), (from_code, to_code))];
    }
    let mut spans = Vec::new();
    if from_code > 0 {
        spans.push(span((first, first), (from_code, u8::MAX)));
        first += 1;
    }
    let rest = (to_code < u8::MAX).then(|| span((last, last), (0, to_code)));
    if rest.is_some() {
        last -= 1;
    }
    if first <= last {
        spans.push(span((first, last), (0, u8::MAX)));
    }
    spans.extend(rest);
    spans
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_and_codes_are_rectangles() {
        let of = |from, to| -> Vec<(u8, u8, u8, u8)> {
            let spans = icmp_spans((from, to)).into_iter();
            spans.map(|span| (span.from_type, span.to_type, span.from_code, span.to_code)).collect()
        };
        assert_eq!(of(0, 0xffff), [(0, 255, 0, 255)]);
        assert_eq!(of(0x0304, 0x0304), [(3, 3, 4, 4)]);
        assert_eq!(of(0x0304, 0x0500), [(3, 3, 4, 255), (4, 4, 0, 255), (5, 5, 0, 0)]);
        assert_eq!(of(0x0304, 0x0400), [(3, 3, 4, 255), (4, 4, 0, 0)]);
        assert_eq!(of(0x0300, 0x04ff), [(3, 4, 0, 255)]);
    }

    /// Interfaces of one group that lets its members in at a port.
    fn members(count: usize, port: u16) -> Side {
        let interfaces: serde_json::Map<String, serde_json::Value> = (0..count)
            .map(|number| {
                let address = format!("10.0.{}.{}", number / 100, 2 * (number % 100) + 1);
                let interface = serde_json::json!({
                    "device": format!("eth{number}"), "subnet": "net", "addresses": [address], "security_groups": ["g"]
                });
                (format!("eni{number}"), interface)
            })
            .collect();
        let rule = serde_json::json!({
            "protocol": "tcp", "from_port": port, "to_port": port, "security_groups": ["g"]
        });
        let rules = serde_json::json!({
            "version": 1,
            "subnets": { "net": { "cidr_blocks": ["10.0.0.0/16"], "network_acl": "acl" } },
            "network_acls": { "acl": { "ingress": [], "egress": [] } },
            "security_groups": { "g": { "ingress": [rule], "egress": [] } },
            "interfaces": interfaces
        });
        Side::of_rules(crate::document::read(rules.to_string().as_bytes()).policy.expect("valid"))
    }

    #[test]
    fn interfaces_that_are_judged_alike_are_compared_once() {
        let walked = |count: usize| {
            let [old, new] = [members(count, 22), members(count, 80)];
            let names = new.names();
            let (mut shared, mut found) = (Shared::default(), IndexMap::new());
            let bounds = Bounds { max_memory: 1 << 30 };
            compared([&old, &new], View::First, &names, bounds, &mut shared, &mut found).expect("compiles");
            assert_eq!(found.len(), count);
            let mut remotes = Vec::new();
            for (_, _, family, regions, _) in found.values().flatten() {
                remotes.extend(regions.iter().map(|region| shared.cidrs(&region.shape, *family)));
            }
            assert!(remotes.iter().all(|remote| Arc::ptr_eq(remote, &remotes[0]) && remote.len() == count));
            shared.walked
        };
        // Twice the interfaces are twice the addresses, each looked at as often as before.
        let [few, many] = [walked(100), walked(200)];
        assert!(many < 3 * few, "{few} steps with 100 interfaces, {many} with 200");
    }
}

//! One device: its flags, its own addresses, the lists that judge its packets.

use std::net::IpAddr;

use fw_common::Address;
use fw_common::Direction;
use fw_common::layout::{Everywhere, Interface, Line, Link, Policy as PolicyOf, RowTable, Rule};
use ipnet::IpNet;

use super::book::{Book, ListId};
use super::heap::{Full, Heap};
use super::tree::{self, Step, push_step};
use super::{Binding, Carries, CompileError, Older};
use crate::model::{Faces, OtherEthertypes, Policy, Timeouts};

/// What decides about a first packet at a device. Lists by direction: ingress, egress.
pub(crate) struct Filter {
    /// The interface's own addresses.
    pub(crate) own: Vec<IpAddr>,
    /// Whether the interface's end must be one of them.
    pub(crate) source_dest_check: bool,
    pub(crate) services: Option<ListId>,
    pub(crate) acl: [Option<ListId>; 2],
    pub(crate) groups: [Option<ListId>; 2],
}

const DIRECTIONS: [Direction; 2] = [Direction::Ingress, Direction::Egress];

/// What one device needs, its lists not yet compiled.
pub(super) struct Device<'a> {
    ifindex: u32,
    zone: u32,
    flags: u32,
    adopt_until_ns: u64,
    older: &'a Older,
    served: Option<&'a [u16]>,
    timeouts: Timeouts,
    own: &'a [IpAddr],
    services: Option<ListId>,
    acl: [Option<ListId>; 2],
    groups: [Option<ListId>; 2],
    /// By direction and family.
    everywhere: [[u32; 2]; 2],
    subnet: &'a [IpNet],
}

impl<'a> Device<'a> {
    /// Enters the lists of the device into the book.
    pub(super) fn new(
        policy: &'a Policy,
        binding: &'a Binding,
        zone: u32,
        book: &mut Book<'_>,
    ) -> Result<Self, CompileError> {
        let unknown = || CompileError::UnknownBinding {
            device: binding.device.clone(),
            kind: binding.carries.kind(),
            name: binding.carries.name().to_owned(),
        };
        let mut device = Self {
            ifindex: binding.ifindex,
            zone,
            flags: host_flags(policy, binding),
            adopt_until_ns: binding.adopt_until_ns,
            older: &binding.older,
            served: binding.served.as_deref(),
            timeouts: Timeouts::default(),
            own: &[],
            services: None,
            acl: [None; 2],
            groups: [None; 2],
            everywhere: [[0; 2]; 2],
            subnet: &[],
        };
        let attachment = match &binding.carries {
            Carries::Interface(name) => {
                let interface = policy.interfaces.get(name).ok_or_else(unknown)?;
                device.carry_interface(policy, interface, book);
                &interface.attachment
            }
            Carries::Leg(name) => {
                let subnet = policy.subnets.get(name).ok_or_else(unknown)?;
                device.acl = DIRECTIONS.map(|direction| book.acl(name, direction));
                device.services = book.services(subnet.vpc.as_deref());
                device.flags |= Interface::ENFORCE;
                &subnet.leg
            }
        };
        if attachment.as_ref().ok_or_else(unknown)?.faces == Faces::Instance {
            device.flags |= Interface::FACES_INSTANCE;
        }
        Ok(device)
    }

    fn carry_interface(
        &mut self,
        policy: &'a Policy,
        interface: &'a crate::model::Interface,
        book: &mut Book<'_>,
    ) {
        if interface.enforce {
            self.flags |= Interface::ENFORCE;
        }
        if interface.source_dest_check && !interface.addresses.is_empty() {
            self.flags |= Interface::SOURCE_DEST_CHECK;
        }
        self.timeouts = interface.timeouts;
        self.own = &interface.addresses;
        if let Some(subnet) = &interface.subnet {
            self.acl = DIRECTIONS.map(|direction| book.acl(subnet, direction));
            self.everywhere = DIRECTIONS.map(|direction| book.everywhere(subnet, direction));
            self.subnet = policy.subnets.get(subnet).map_or(&[], |subnet| &subnet.cidr_blocks);
        }
        self.groups = DIRECTIONS.map(|direction| book.groups(&interface.security_groups, direction));
        if self.acl != [None; 2] || self.groups != [None; 2] {
            self.services = book.services(vpc_of(policy, interface));
        }
    }

    /// What decides about a first packet here.
    pub(super) fn filter(&self) -> Filter {
        Filter {
            own: self.own.to_vec(),
            source_dest_check: self.flags & Interface::SOURCE_DEST_CHECK != 0,
            services: self.services,
            acl: self.acl,
            groups: self.groups,
        }
    }

    /// Writes its lines. `table` compiles a list for a family. Returns what the device table takes.
    pub(super) fn write(
        &self,
        heap: &mut Heap<'_>,
        mut table: impl FnMut(&mut Heap<'_>, ListId, usize) -> Result<RowTable, CompileError>,
    ) -> Result<(u32, u32), CompileError> {
        let mut rows = |heap: &mut Heap<'_>, list: Option<ListId>, family| {
            list.map_or(Ok(RowTable::default()), |list| table(heap, list, family))
        };
        let full = |Full| CompileError::TooLarge { what: "the interfaces' own addresses".to_owned() };
        let mut policies = [[PolicyOf::default(); 2]; 2];
        for (family, by_direction) in policies.iter_mut().enumerate() {
            let own = own_search(heap, self.own, family).map_err(full)?.0;
            let first = self.own.iter().find(|address| address.is_ipv4() == (family == 0));
            let address = first.map_or(Address::default(), |address| match address {
                IpAddr::V4(address) => Address::from_ipv4(address.octets()),
                IpAddr::V6(address) => Address::from_ipv6(address.octets()),
            });
            for (direction, policy) in by_direction.iter_mut().enumerate() {
                *policy = PolicyOf {
                    acl: rows(heap, self.acl[direction], family)?,
                    groups: rows(heap, self.groups[direction], family)?,
                    services: rows(heap, self.services, family)?,
                    own,
                    address,
                    everywhere: self.everywhere(family, direction, first),
                };
            }
        }
        let adopts = self.adopt_until_ns != 0;
        let none = Older::default();
        let untracked_before = untracked_searches(heap, if adopts { self.older } else { &none });
        let served = served_search(heap, if adopts { self.served } else { Some(&[]) });
        let interface = Interface {
            zone: self.zone,
            flags: self.flags,
            adopt_until_ns: self.adopt_until_ns,
            untracked_before: untracked_before.map_err(full)?,
            served: served.map_err(full)?,
            tcp_established: self.timeouts.tcp_established,
            udp: self.timeouts.udp,
            udp_stream: self.timeouts.udp_stream,
            policies,
        };
        let lines: [Line; 5] = interface.to_lines();
        Ok((self.ifindex, heap.piece(&lines).map_err(full)?))
    }
}

impl Device<'_> {
    /// Of use only where one CIDR tells inside from outside, and the interface's first address is in it.
    fn everywhere(&self, family: usize, direction: usize, own: Option<&IpAddr>) -> Everywhere {
        let mut cidrs = self.subnet.iter().filter(|cidr| cidr.addr().is_ipv4() == (family == 0));
        let slot = self.everywhere[direction][family];
        let (Some(cidr), None, Some(own)) = (cidrs.next(), cidrs.next(), own) else {
            return Everywhere::default();
        };
        let compared = if family == 0 { 32 } else { 64 };
        match u32::from(cidr.prefix_len()) {
            length @ 1.. if slot != 0 && cidr.contains(own) && length <= compared => {
                Everywhere { slot, host_bits: compared - length }
            }
            _ => Everywhere::default(),
        }
    }
}

fn host_flags(policy: &Policy, binding: &Binding) -> u32 {
    let mut flags = 0;
    if binding.bare {
        flags |= Interface::BARE;
    }
    if binding.older.all {
        flags |= Interface::ADOPTS_ALL;
    }
    let passes = match policy.settings.other_ethertypes {
        Some(choice) => choice == OtherEthertypes::Pass,
        None => binding.bridge_port,
    };
    if passes {
        flags |= Interface::PASS_ETHERTYPES;
    }
    flags
}

/// The VPC that an interface is in: its subnet's, else its groups'.
fn vpc_of<'a>(policy: &'a Policy, interface: &crate::model::Interface) -> Option<&'a str> {
    match &interface.subnet {
        Some(subnet) => policy.subnets.get(subnet)?.vpc.as_deref(),
        None => {
            let groups = interface.security_groups.iter();
            groups.filter_map(|name| policy.security_groups.get(name)?.vpc.as_deref()).next()
        }
    }
}

/// By direction and family, searches that allow the ports whose connections may be older than their entries.
fn untracked_searches(heap: &mut Heap<'_>, older: &Older) -> Result<[[Link; 2]; 2], Full> {
    let mut links = [[Link::default(); 2]; 2];
    for (link, ports) in links.iter_mut().flatten().zip(older.untracked.iter().flatten()) {
        *link = port_search(heap, ports)?;
    }
    Ok(links)
}

/// A search that allows the ports that somebody listens on. Where nobody can tell: those from which no client of Linux
/// speaks unless it is told to (`net.ipv4.ip_local_port_range`).
fn served_search(heap: &mut Heap<'_>, served: Option<&[u16]>) -> Result<Link, Full> {
    const FIRST_OF_CLIENTS: u16 = 32_768;
    match served {
        Some(ports) => port_search(heap, &ports.iter().map(|port| (*port, *port)).collect::<Vec<_>>()),
        None => port_search(heap, &[(0, FIRST_OF_CLIENTS - 1)]),
    }
}

/// Of sorted ranges.
fn port_search(heap: &mut Heap<'_>, ranges: &[(u16, u16)]) -> Result<Link, Full> {
    const ALLOWED: u32 = Rule::new(true, false, false, 0).0;
    let mut steps: Vec<Step> = vec![(0, 0)];
    for (from, to) in ranges {
        push_step(&mut steps, u128::from(*from), ALLOWED);
        if *to < u16::MAX {
            push_step(&mut steps, u128::from(*to) + 1, 0);
        }
    }
    tree::keys(heap, &steps)
}

/// The search that ends at 1 for the addresses of a family.
fn own_search(heap: &mut Heap<'_>, own: &[IpAddr], family: usize) -> Result<Link, Full> {
    let last = if family == 0 { u128::from(u32::MAX) } else { u128::MAX };
    let mut keys: Vec<u128> = own
        .iter()
        .filter(|address| address.is_ipv4() == (family == 0))
        .map(|address| match address {
            IpAddr::V4(address) => u128::from(u32::from(*address)),
            IpAddr::V6(address) => u128::from(*address),
        })
        .collect();
    keys.sort_unstable();
    keys.dedup();
    let mut steps: Vec<Step> = vec![(0, 0)];
    for key in keys {
        push_step(&mut steps, key, 1);
        if key < last {
            push_step(&mut steps, key + 1, 0);
        }
    }
    tree::addresses(heap, &steps, family)
}

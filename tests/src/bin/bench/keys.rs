//! The frames that meet a rule set: of which kind, and where in the set their sources are.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use anyhow::{Context as _, Result};
use fw_common::Reason;
use fw_tests::instruments::FRAME;
use fw_tests::packet::{self, flag};
use fw_tests::random::Random;
use ipnet::IpNet;

use crate::sets::{CLOSED_PORT, LIST_PORTS, SERVER, Set, Term, Transport};

/// The layer that is to deny a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Layer {
    /// The network ACL.
    Acl,
    /// The groups.
    Groups,
}

/// Frames of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Kind {
    /// 0 for IPv4, 1 for IPv6.
    pub(crate) family: usize,
    /// Who denies it.
    pub(crate) layer: Layer,
    /// What it carries; in the ACL's networks whatever the entry that denies it says.
    pub(crate) transport: Transport,
}

impl Kind {
    /// Denied by the ACL and, as UDP and as SYN, by the groups, in both families.
    pub(crate) const ALL: [Self; 6] = [
        Self::new(0, Layer::Acl, Transport::Udp),
        Self::new(0, Layer::Groups, Transport::Syn),
        Self::new(0, Layer::Groups, Transport::Udp),
        Self::new(1, Layer::Acl, Transport::Udp),
        Self::new(1, Layer::Groups, Transport::Syn),
        Self::new(1, Layer::Groups, Transport::Udp),
    ];

    const fn new(family: usize, layer: Layer, transport: Transport) -> Self {
        Self { family, layer, transport }
    }

    /// In words.
    pub(crate) fn name(self) -> &'static str {
        match (self.family, self.layer, self.transport) {
            (0, Layer::Acl, _) => "IPv4, ACL",
            (0, Layer::Groups, Transport::Syn) => "IPv4, group, SYN",
            (0, Layer::Groups, Transport::Udp) => "IPv4, group, UDP",
            (_, Layer::Acl, _) => "IPv6, ACL",
            (_, Layer::Groups, Transport::Syn) => "IPv6, group, SYN",
            (_, Layer::Groups, Transport::Udp) => "IPv6, group, UDP",
        }
    }

    /// What such a frame may be counted as.
    pub(crate) fn reasons(self) -> &'static [Reason] {
        match self.layer {
            Layer::Acl => &[Reason::AclDeny, Reason::AclDefault],
            Layer::Groups => &[Reason::NoGroupRule],
        }
    }
}

/// Where the sources are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// One frame, the same every time, in a network of the set.
    Hot,
    /// Random ones in random networks of the set.
    Table,
    /// Random ones, whether or not the set knows them.
    Uniform,
}

impl Place {
    /// In a word.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Hot => "hot",
            Self::Table => "in table",
            Self::Uniform => "uniform",
        }
    }
}

/// Frames that the set denies.
pub(crate) fn denied(set: &Set, kind: Kind, place: Place, count: usize) -> Result<Vec<[u8; FRAME]>> {
    let mut random = Random(set.size as u64);
    let terms: Vec<&Term> = match kind.layer {
        Layer::Acl => family(&set.acl, kind.family, |term| &term.net),
        Layer::Groups => family(&set.groups, kind.family, |term| &term.net),
    };
    let cidrs: Vec<&(IpNet, usize)> = family(&set.cidrs, kind.family, |(net, _)| net);
    let frame = |random: &mut Random| {
        let (source, transport, port) = match (place, kind.layer) {
            (Place::Uniform, _) => {
                (anywhere(kind, !set.cidrs.is_empty(), random), kind.transport, CLOSED_PORT)
            }
            (_, Layer::Acl) => {
                let term = terms.get(random.below(terms.len().max(1))).context("an ACL without entries")?;
                (inside(&term.net, random), term.transport, term.ports.0)
            }
            (_, Layer::Groups) => {
                let nets = terms.len() + cidrs.len();
                let at = random.below(nets.max(1));
                let net = terms.get(at).map(|term| &term.net).or(cidrs.get(at).map(|(net, _)| net));
                (inside(net.context("groups without rules")?, random), kind.transport, CLOSED_PORT)
            }
        };
        Ok(frame(source, transport, port, random))
    };
    let count = if place == Place::Hot { 1 } else { count };
    (0..count).map(|_| frame(&mut random)).collect()
}

/// Frames that the set allows, of both families.
pub(crate) fn allowed(set: &Set, count: usize) -> Vec<[u8; FRAME]> {
    let mut random = Random(set.size as u64);
    let mut frame = || {
        let at = random.below(set.groups.len() + set.cidrs.len());
        let (net, transport, port) = match set.groups.get(at) {
            Some(term) => (&term.net, term.transport, term.ports.1),
            None => {
                let (net, list) = &set.cidrs[at - set.groups.len()];
                (net, Transport::Syn, LIST_PORTS[*list])
            }
        };
        frame(inside(net, &mut random), transport, port, &mut random)
    };
    (0..count).map(|_| frame()).collect()
}

fn family<T>(items: &[T], family: usize, net: impl Fn(&T) -> &IpNet) -> Vec<&T> {
    items.iter().filter(|item| net(item).addr().is_ipv6() == (family == 1)).collect()
}

/// A frame from a random port.
fn frame(source: IpAddr, transport: Transport, port: u16, random: &mut Random) -> [u8; FRAME] {
    let server = SERVER[usize::from(source.is_ipv6())].parse().expect("an address is written above");
    let from = SocketAddr::new(source, 1024 + random.below(60_000) as u16);
    let to = SocketAddr::new(server, port);
    let (packet, header) = match transport {
        Transport::Udp => (packet::udp(from, to), 8),
        Transport::Syn => (packet::tcp(from, to).flags(flag::SYN), 20),
    };
    let before = 14 + if source.is_ipv6() { 40 } else { 20 } + header;
    let built = packet.payload(&vec![0; FRAME - before]).build();
    built.try_into().expect("a frame is as long as its headers and its payload")
}

/// An address of a network.
fn inside(net: &IpNet, random: &mut Random) -> IpAddr {
    match net {
        IpNet::V4(net) => {
            let host = random.next() as u32 & u32::from(net.hostmask());
            Ipv4Addr::from(u32::from(net.network()) | host).into()
        }
        IpNet::V6(net) => {
            let host = random.wide() & u128::from(net.hostmask());
            Ipv6Addr::from(u128::from(net.network()) | host).into()
        }
    }
}

/// An address of those that a layer decides about: its own half of them where the set has both layers.
fn anywhere(kind: Kind, is_list: bool, random: &mut Random) -> IpAddr {
    let nets = match (kind.family, kind.layer, is_list) {
        // All that is unicast and not loopback, link-local or of this network.
        (0, _, true) => ["16.0.0.0/4", "32.0.0.0/3", "64.0.0.0/3", "128.0.0.0/3"],
        (0, Layer::Acl, _) => ["128.0.0.0/4"; 4],
        (0, Layer::Groups, _) => ["32.0.0.0/3"; 4],
        (_, _, true) => ["2000::/4"; 4],
        (_, Layer::Acl, _) => ["3000::/4"; 4],
        (_, Layer::Groups, _) => ["2000::/4"; 4],
    };
    let net: IpNet = nets[random.below(nets.len())].parse().expect("a network is written above");
    inside(&net, random)
}

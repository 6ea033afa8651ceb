//! All traffic of one family on one axis, so that whatever an entry matches is one interval of it.
//!
//! TCP and UDP have a place per destination port, the family's own ICMP one per type and code, every other protocol
//! one. An ICMP type with any code is 256 neighbours.

use crate::model::{IcmpMatch, PortRange, Traffic};

/// Of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    Ipv4,
    Ipv6,
}

/// Both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) from: u32,
    pub(super) to: u32,
}

impl Span {
    /// What both have.
    pub(super) fn and(self, other: Self) -> Option<Self> {
        let span = Self { from: self.from.max(other.from), to: self.to.min(other.to) };
        (span.from <= span.to).then_some(span)
    }

    /// Whether all of `other` is in it.
    pub(super) fn has(self, other: Self) -> bool {
        self.from <= other.from && other.to <= self.to
    }
}

/// One past the last place.
pub(super) const END: u32 = OTHERS + 256 - 3;

/// Every place.
pub(super) const EVERYTHING: Span = Span { from: 0, to: END - 1 };
/// TCP to every port.
pub(super) const TCP: Span = Span { from: 0, to: 0xffff };
/// UDP to every port.
pub(super) const UDP: Span = Span { from: 0x1_0000, to: 0x1_ffff };
/// ICMP of the family, every type and code.
pub(super) const ICMP: Span = Span { from: 0x2_0000, to: 0x2_ffff };
const OTHERS: u32 = 0x3_0000;

/// What an entry of a network ACL matches.
pub(super) fn span(traffic: Traffic, family: Family) -> Span {
    match (traffic, family) {
        (Traffic::All, _) => EVERYTHING,
        (Traffic::Tcp(ports), _) => ports_of(TCP, ports),
        (Traffic::Udp(ports), _) => ports_of(UDP, ports),
        (Traffic::Icmp(matched), Family::Ipv4) | (Traffic::Icmpv6(matched), Family::Ipv6) => icmp(matched),
        // The other family's ICMP is a protocol like any other.
        (Traffic::Icmp(_), Family::Ipv6) => other(ICMPV4, family),
        (Traffic::Icmpv6(_), Family::Ipv4) => other(ICMPV6, family),
        (Traffic::Protocol(number), _) => other(number, family),
    }
}

/// Some ports of [`TCP`] or [`UDP`].
pub(super) fn ports_of(protocol: Span, PortRange { from, to }: PortRange) -> Span {
    Span { from: protocol.from + u32::from(from), to: protocol.from + u32::from(to) }
}

/// One type and code of [`ICMP`].
pub(super) fn icmp_of(kind: u8, code: u8) -> Span {
    icmp(IcmpMatch { kind: Some(kind), code: Some(code) })
}

fn icmp(IcmpMatch { kind, code }: IcmpMatch) -> Span {
    let Some(kind) = kind else { return ICMP };
    let first = ICMP.from + (u32::from(kind) << 8);
    match code {
        Some(code) => Span { from: first + u32::from(code), to: first + u32::from(code) },
        None => Span { from: first, to: first + 255 },
    }
}

/// The protocols that have places of their own leave no hole.
fn other(number: u8, family: Family) -> Span {
    let own = if family == Family::Ipv4 { ICMPV4 } else { ICMPV6 };
    let before = [TCP_NUMBER, UDP_NUMBER, own].iter().filter(|placed| **placed < number).count();
    let place = OTHERS + u32::from(number) - before as u32;
    Span { from: place, to: place }
}

const ICMPV4: u8 = 1;
const TCP_NUMBER: u8 = 6;
const UDP_NUMBER: u8 = 17;
const ICMPV6: u8 = 58;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_protocol_has_places_of_its_own_and_none_is_left_over() {
        for family in [Family::Ipv4, Family::Ipv6] {
            let mut taken = vec![0; END as usize];
            for number in 0..=255_u8 {
                let any = IcmpMatch { kind: None, code: None };
                let all = PortRange { from: 0, to: 0xffff };
                let traffic = match number {
                    ICMPV4 => Traffic::Icmp(any),
                    TCP_NUMBER => Traffic::Tcp(all),
                    UDP_NUMBER => Traffic::Udp(all),
                    ICMPV6 => Traffic::Icmpv6(any),
                    number => Traffic::Protocol(number),
                };
                let Span { from, to } = span(traffic, family);
                (from..=to).for_each(|place| taken[place as usize] += 1);
            }
            assert!(taken.iter().all(|count| *count == 1));
        }
    }
}

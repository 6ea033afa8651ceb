//! What programs add up of the packets of one flow, window by window, while somebody keeps a flow log.
//!
//! A flow here is AWS's: one direction of a 5-tuple at one interface, once for what passes and once for what is dropped.

use crate::address::Address;
use crate::decide::Scratch;
use crate::event::Event;
use crate::flow::Direction;
use crate::frame::Link;
use crate::packet::{Fragment, Packet, protocol, tcp_flags};
use crate::verdict::{Decision, Layer, Reason, Verdict};
use crate::wire::{self, Parsed};

/// The bit of [`crate::layout::head::EVENTS`] that is set while flows are recorded.
pub const RECORDING: u32 = 1 << 8;

/// What became of a flow's packets.
#[repr(u8)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Action {
    /// They passed.
    Accept = 0,
    /// They were dropped.
    Reject = 1,
    /// They passed since the interface is not enforced.
    WouldReject = 2,
    /// No flow: packets of an interface's flows that had no room.
    Skipped = 3,
}

impl Action {
    /// The action with this number.
    pub const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            0 => Self::Accept,
            1 => Self::Reject,
            2 => Self::WouldReject,
            3 => Self::Skipped,
            _ => return None,
        })
    }
}

/// The key of a flow.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Flow {
    /// [`crate::layout::Interface::zone`].
    pub zone: u32,
    /// TCP or UDP; 0 for other protocols, and for later fragments.
    pub source_port: u16,
    /// The same.
    pub destination_port: u16,
    /// On the wire.
    pub source: Address,
    /// On the wire.
    pub destination: Address,
    /// IP protocol number.
    pub protocol: u8,
    /// [`Direction`].
    pub direction: u8,
    /// [`Action`].
    pub action: u8,
    /// Always zero.
    pub reserved: [u8; 5],
}

/// What was added up.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Tally {
    /// Wire packets (segments where segmentation is pending).
    pub packets: u64,
    /// Bytes of IP on the wire, headers included.
    pub bytes: u64,
    /// `CLOCK_MONOTONIC` of the first packet, nanoseconds.
    pub first_ns: u64,
    /// The same of the last one.
    pub last_ns: u64,
    /// [`recorded_flags`] of all packets.
    pub tcp_flags: u64,
    /// [`Reason`]: of the first packet, and then of each that did not merely belong to a connection.
    pub reason: u32,
    /// [`Decision::group_rule`], as the reason.
    pub group_rule: u32,
    /// [`Decision::acl_rule`], the last there was.
    pub acl_rule: u32,
    /// Always zero.
    pub reserved: u32,
}

const _: () = assert!(size_of::<Flow>() == 48 && size_of::<Tally>() == 56);

/// A decision and its wire packets in five words: the arguments of a function.
pub type Words = [u32; 5];

/// What [`of`] is to be given.
#[inline(always)]
pub const fn words(decision: &Decision, packets: u32) -> Words {
    Event::words(decision, packets)
}

/// The TCP flags that a record shows: FIN, SYN and RST, and ACK where it stands beside SYN
/// (<https://docs.aws.amazon.com/vpc/latest/userguide/flow-log-records.html>).
#[inline(always)]
pub const fn recorded_flags(flags: u8) -> u8 {
    let shown = if flags & tcp_flags::SYN != 0 { tcp_flags::ACK } else { 0 };
    flags & (tcp_flags::FIN | tcp_flags::SYN | tcp_flags::RST | shown)
}

/// The flow of the packet that was judged last with `scratch`, and what it adds. `None` of what is no flow of a configured
/// interface: a frame that is not IP or was not understood, or one that always passes, since links die without it.
#[inline(always)]
pub fn of(
    [head, zone, acl_rule, group_rule, packets]: Words,
    scratch: &Scratch,
    now_ns: u64,
) -> Option<(Flow, Tally)> {
    let reason = Reason::from_code(head as u8)?;
    if zone == 0 || scratch.parsed != Ok(Parsed::Ip) || matches!(reason.layer(), Layer::Exempt) {
        return None;
    }
    let packet = &scratch.room.packet;
    let action = match reason.verdict() {
        Verdict::Pass => Action::Accept,
        Verdict::Drop if head & Event::OBSERVED_WORD != 0 => Action::WouldReject,
        Verdict::Drop => Action::Reject,
    };
    let mut flow = Flow {
        zone,
        source_port: 0,
        destination_port: 0,
        source: packet.source,
        destination: packet.destination,
        protocol: packet.protocol,
        direction: (head >> 8) as u8,
        action: action as u8,
        reserved: [0; 5],
    };
    let has_ports = matches!(packet.protocol, protocol::TCP | protocol::UDP);
    if has_ports && !matches!(packet.fragment, Fragment::Later { .. }) {
        flow.source_port = packet.source_port;
        flow.destination_port = packet.service;
    }
    let tally = Tally {
        packets: packets.into(),
        bytes: wire_bytes(scratch, packets),
        first_ns: now_ns,
        last_ns: now_ns,
        tcp_flags: recorded_flags(packet.tcp_flags).into(),
        reason: head & 0xff,
        group_rule,
        acl_rule,
        reserved: 0,
    };
    Some((flow, tally))
}

/// Bytes of IP, once the packet is cut into so many: each has headers of its own.
#[inline(always)]
fn wire_bytes(scratch: &Scratch, packets: u32) -> u64 {
    let packet = &scratch.room.packet;
    let start = if scratch.is_plain {
        wire::PLAIN_IP
    } else if matches!(scratch.link, Link::Bare) {
        0
    } else {
        scratch.room.link.payload
    };
    let whole = packet.end.wrapping_sub(start);
    let headers = headers(packet, start, whole);
    u64::from(whole).wrapping_add(u64::from(headers).wrapping_mul(packets.wrapping_sub(1).into()))
}

#[inline(always)]
const fn headers(packet: &Packet, start: u32, whole: u32) -> u32 {
    match packet.protocol {
        protocol::TCP => whole.wrapping_sub(packet.payload_len),
        // That of UDP has 8 bytes; nothing else is cut.
        _ => packet.transport.wrapping_sub(start).wrapping_add(8),
    }
}

impl Flow {
    /// Where the packets of an interface are counted that had no room; of zone 0 those of interfaces that have no such
    /// place.
    #[inline(always)]
    pub const fn skipped(zone: u32) -> Self {
        Self {
            zone,
            source_port: 0,
            destination_port: 0,
            source: Address { high: 0, low: 0 },
            destination: Address { high: 0, low: 0 },
            protocol: 0,
            direction: 0,
            action: Action::Skipped as u8,
            reserved: [0; 5],
        }
    }

    /// The direction; `None` of bytes that no program writes.
    pub const fn direction(&self) -> Option<Direction> {
        match self.direction {
            0 => Some(Direction::Ingress),
            1 => Some(Direction::Egress),
            _ => None,
        }
    }
}

/// A [`Tally`] as whole words, which programs on several CPUs share.
pub const WORDS: usize = size_of::<Tally>() / size_of::<u64>();

impl Tally {
    /// Reason and group rule, as the word that they are together in.
    #[inline(always)]
    pub const fn decided(&self) -> u64 {
        word(self.reason, self.group_rule)
    }

    /// The same of the last word.
    #[inline(always)]
    pub const fn entered(&self) -> u64 {
        word(self.acl_rule, self.reserved)
    }

    /// Whether this packet says more of why the flow's packets pass or not than an earlier one did: the rule that admitted
    /// a connection stays named beside the packets that only belong to it.
    #[inline(always)]
    pub const fn speaks(&self) -> bool {
        self.reason != Reason::Established as u32
    }
}

#[inline(always)]
const fn word(first: u32, second: u32) -> u64 {
    let [a, b, c, d] = first.to_ne_bytes();
    let [e, f, g, h] = second.to_ne_bytes();
    u64::from_ne_bytes([a, b, c, d, e, f, g, h])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_recorded_as_aws_does() {
        let (fin, syn, rst, ack, push, ece) = (1, 2, 4, 16, 8, 64);
        for (flags, recorded) in [
            (ack, 0),
            (push | ack, 0),
            (syn, 2),
            (syn | ece, 2),
            (syn | ack, 18),
            (fin | ack, 1),
            (rst | ack, 4),
        ] {
            assert_eq!(recorded_flags(flags), recorded, "{flags:#x}");
        }
    }

    fn scratch(packet: Packet) -> Scratch {
        let mut scratch = Scratch::EMPTY;
        scratch.is_plain = true;
        scratch.room.packet = packet;
        scratch
    }

    fn decision(reason: Reason) -> Decision {
        Decision {
            reason,
            direction: Direction::Egress,
            observed: false,
            zone: 3,
            acl_rule: 4,
            group_rule: 5,
        }
    }

    #[test]
    fn a_packet_that_will_be_cut_counts_as_those_on_the_wire() {
        // 3 segments of 1448, 1448 and 100 bytes behind 20 + 32 bytes of headers.
        let packet = Packet {
            protocol: protocol::TCP,
            source_port: 40_000,
            service: 443,
            transport: 34,
            payload_len: 2996,
            end: 14 + 52 + 2996,
            ..Packet::EMPTY
        };
        let (flow, tally) =
            of(words(&decision(Reason::GroupRule), 3), &scratch(packet), 7).unwrap_or_default();
        assert_eq!((tally.packets, tally.bytes), (3, 2996 + 3 * 52));
        assert_eq!((flow.source_port, flow.destination_port, flow.zone), (40_000, 443, 3));
        assert_eq!((tally.acl_rule, tally.group_rule), (4, 5));
        assert_eq!(flow.direction(), Some(Direction::Egress));
    }

    #[test]
    fn what_always_passes_and_what_is_not_understood_is_no_flow() {
        let packet = Packet { protocol: protocol::ICMP, end: 14 + 84, transport: 34, ..Packet::EMPTY };
        let of = |reason, scratch: &Scratch| of(words(&decision(reason), 1), scratch, 7);
        let (flow, tally) = of(Reason::NoGroupRule, &scratch(packet)).unwrap_or_default();
        assert_eq!((flow.action, flow.source_port, tally.bytes), (Action::Reject as u8, 0, 84));
        assert_eq!(of(Reason::ExemptService, &scratch(packet)), None);
        let mut exempt = scratch(packet);
        exempt.parsed = Err(Reason::AlwaysDhcp);
        assert_eq!(of(Reason::AlwaysDhcp, &exempt), None);
        exempt.parsed = Ok(Parsed::Other);
        assert_eq!(of(Reason::EthertypeDropped, &exempt), None);
    }

    #[test]
    fn what_an_interface_that_is_not_enforced_would_drop_is_told_apart() {
        let decision = Decision { observed: true, ..decision(Reason::NoGroupRule) };
        let (flow, _) = of(words(&decision, 1), &scratch(Packet::EMPTY), 7).unwrap_or_default();
        assert_eq!(Action::from_code(flow.action), Some(Action::WouldReject));
        assert_eq!(Action::from_code(4), None);
    }
}

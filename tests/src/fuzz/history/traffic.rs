//! What a record of eight bytes means: mostly a packet of one of a few flows, with the sequence numbers that its two
//! ends would use, or numbers near them.
//!
//! Bytes in order: what, where, flow, flags, sequence, acknowledgement, length, extra.

use fw_common::{Direction, Verdict};

use crate::packet::{self, Packet, flag};

/// An event of a history.
pub(super) enum Event {
    Packet(Sent),
    Wait(u64),
    /// By number.
    Load(u8),
}

/// A packet somewhere.
pub(super) struct Sent {
    pub(super) place: &'static str,
    pub(super) direction: Direction,
    pub(super) frame: Vec<u8>,
    /// Moves the ends of this flow on, if it passes.
    moves: Option<(usize, u32)>,
}

const PLACES: [&str; 4] = ["web", "web", "app", "B"];
/// Around the timers of tracking.
const WAITS: [u64; 16] = [1, 10, 11, 29, 30, 31, 59, 60, 61, 120, 121, 180, 181, 600, 601, 432_001];
const ROUTER: (&str, &str) = ("192.0.2.1", "2001:db8:fe::1");

struct Flow {
    protocol: u8,
    local: (&'static str, u16),
    remote: (&'static str, u16),
}

const fn flow(protocol: u8, local: (&'static str, u16), remote: (&'static str, u16)) -> Flow {
    Flow { protocol, local, remote }
}

const WEB: &str = "10.20.1.10";
const WEB6: &str = "2001:db8:20:1::10";
const PEER: &str = "198.51.100.7";
const PEER6: &str = "2001:db8:ffff::7";
const OTHER: &str = "203.0.113.9";
const FLOWS: [Flow; 12] = [
    flow(6, (WEB, 443), (PEER, 40000)),
    flow(6, (WEB, 51000), (PEER, 443)),
    flow(17, (WEB, 53), (PEER, 5353)),
    flow(17, (WEB, 5000), (OTHER, 53)),
    flow(1, (WEB, 7), (PEER, 0)),
    flow(50, (WEB, 0), (PEER, 0)),
    flow(6, (WEB6, 443), (PEER6, 40000)),
    flow(58, (WEB6, 7), (PEER6, 0)),
    flow(6, (WEB, 22), (PEER, 40001)),
    flow(6, (WEB, 51001), ("169.254.169.254", 80)),
    flow(6, (WEB, 443), ("10.20.1.20", 40000)),
    flow(6, (WEB, 443), (OTHER, 40000)),
];

/// The next sequence number of both ends of every flow, inbound and outbound.
pub(super) struct Traffic {
    next: [[u32; 2]; FLOWS.len()],
}

impl Default for Traffic {
    fn default() -> Self {
        // One end close to where the numbers start over.
        Self { next: [[1000, 0xffff_ff80]; FLOWS.len()] }
    }
}

impl Traffic {
    /// What a record means.
    pub(super) fn event(&self, record: &[u8]) -> Event {
        let &[what, place, flow, flags, seq, ack, len, extra] = record else { return Event::Wait(0) };
        match what % 16 {
            12 => return Event::Wait(WAITS[usize::from(extra) % WAITS.len()]),
            13 => return Event::Load(extra),
            _ => {}
        }
        let direction = if place & 1 == 0 { Direction::Ingress } else { Direction::Egress };
        let place = PLACES[usize::from(place >> 1) % PLACES.len()];
        let number = usize::from(flow) % FLOWS.len();
        let (packet, end) = self.packet(number, direction, [flags, seq, ack, len]);
        let mut moves = (FLOWS[number].protocol == 6 && flags & flag::RST == 0).then_some((number, end));
        let packet = match what % 16 {
            10 => packet.fragment(u32::from(extra & 3), u16::from(seq & 15) * 8, flags & 0x80 != 0),
            11 => {
                moves = None;
                self.error(number, direction, [flags, seq, ack, len], extra)
            }
            15 => {
                moves = None;
                control(extra)
            }
            _ => packet,
        };
        let mut frame = packet.build();
        if what % 16 == 14 {
            moves = None;
            // Behind the Ethernet addresses.
            let at = 12 + usize::from(extra) % (frame.len() - 12);
            frame[at] = seq;
        }
        Event::Packet(Sent { place, direction, frame, moves })
    }

    /// Notes what came of a packet.
    pub(super) fn sent(&mut self, sent: &Sent, verdict: Verdict) {
        if let (Some((flow, end)), Verdict::Pass) = (sent.moves, verdict) {
            self.next[flow][usize::from(sent.direction.code())] = end;
        }
    }

    /// A packet of a flow, and where its sequence ends.
    fn packet(&self, number: usize, direction: Direction, numbers: [u8; 4]) -> (Packet, u32) {
        let [flags, seq, ack, len] = numbers;
        let flow = &FLOWS[number];
        let (from, to) = match direction {
            Direction::Ingress => (flow.remote, flow.local),
            Direction::Egress => (flow.local, flow.remote),
        };
        let payload = [0x77; 64];
        let payload = &payload[..usize::from(len & 63)];
        let mine = usize::from(direction.code());
        let near = |next: u32, step: u8| next.wrapping_add_signed(i32::from(step as i8));
        let seq = near(self.next[number][mine], seq);
        let ack = near(self.next[number][1 - mine], ack);
        let controls = u32::from(flags & flag::SYN != 0) + u32::from(flags & flag::FIN != 0);
        let end = seq.wrapping_add(payload.len() as u32).wrapping_add(controls);
        let packet = match flow.protocol {
            6 => packet::tcp(from, to).flags(flags & 63).seq(seq).ack(ack).payload(payload),
            17 => packet::udp(from, to).payload(payload),
            1 | 58 => {
                let kinds: [u8; 4] = if flow.protocol == 1 { [8, 0, 13, 14] } else { [128, 129, 128, 130] };
                packet::icmp(from.0, to.0, kinds[usize::from(flags & 3)], 0).id(flow.local.1)
            }
            other => packet::protocol(other, from.0, to.0, payload),
        };
        (packet, end)
    }

    /// An ICMP error about a packet that went the other way: from its destination or a router, to its source or a
    /// stranger.
    fn error(&self, number: usize, direction: Direction, numbers: [u8; 4], extra: u8) -> Packet {
        let (about, _) = self.packet(number, direction.reverse(), numbers);
        let flow = &FLOWS[number];
        let (from, to) = match direction {
            Direction::Ingress => (flow.remote.0, flow.local.0),
            Direction::Egress => (flow.local.0, flow.remote.0),
        };
        let is_ipv6 = to.contains(':');
        let router = if is_ipv6 { ROUTER.1 } else { ROUTER.0 };
        let from = if extra & 16 == 0 { from } else { router };
        let to = if extra & 32 == 0 { to } else { router };
        let kinds: [u8; 4] = if is_ipv6 { [1, 2, 3, 133] } else { [3, 11, 12, 5] };
        packet::icmp(from, to, kinds[usize::from(extra & 3)], 0).quote(&about)
    }
}

/// What keeps a link alive, or only looks like it.
fn control(extra: u8) -> Packet {
    let link_local = || "fe80::1".parse().expect("an address");
    match extra % 6 {
        0 => packet::arp([10, 20, 1, 1].into(), [10, 20, 1, 10].into()),
        1 => packet::nd_solicit(link_local(), "ff02::1:ff00:10".parse().expect("an address")),
        2 => packet::router_advert(link_local(), "ff02::1".parse().expect("an address")),
        3 => packet::dhcp_discover(),
        4 => packet::dhcp_offer([10, 20, 1, 1].into(), [10, 20, 1, 10].into()),
        _ => packet::frame(u16::from_be_bytes([0x88, extra]), &[0; 46]),
    }
}

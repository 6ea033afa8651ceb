//! The frames of this part. All but those that open connections carry the mark: they end behind the filter.

use std::net::{IpAddr, SocketAddr};

use anyhow::{Result, anyhow};
use fw_tests::instruments::{FRAME, MARK, Spread};
use fw_tests::packet::{self, Packet, flag};

use crate::sets::{CLOSED_PORT, SERVER};

/// The first sender, by family; others have larger numbers.
const SENDER: [&str; 2] = ["16.0.0.0", "2001:db8::"];
/// The networks that they are all in.
pub(super) const SENDERS: [&str; 2] = ["16.0.0.0/4", "2001:db8::/32"];
/// As many senders are never met twice in a run.
pub(super) const ANYBODY: u32 = 1 << 28;
/// The port of those that open connections, and of those that never do.
const SENDER_PORTS: [u16; 2] = [4000, 4001];
/// Open for the senders' networks: its connections are tracked.
pub(super) const TRACKED_PORT: u16 = 5201;
/// The same for datagrams.
pub(super) const DATAGRAM_PORT: u16 = 53;
/// Open for everybody: its connections are not.
pub(super) const OPEN_PORT: u16 = 80;
/// Tells marked frames to nftables, which does not look at the end of a packet.
pub(super) const MARKED_TTL: u8 = 7;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Without the mark: the server's stack is to answer.
    Opens,
    /// The third segment of a handshake and any later one.
    Acknowledges,
    /// A first segment.
    Syn(u16),
    /// An answer that nobody asked for.
    SynAck,
    /// The end of nothing.
    Rst,
    /// A datagram.
    Udp,
    /// An error about a segment that the server never sent.
    IcmpError,
}

/// A frame of the first sender.
pub(super) fn frame(kind: Kind, family: usize) -> Result<[u8; FRAME]> {
    let (sender, server): (IpAddr, IpAddr) = (SENDER[family].parse()?, SERVER[family].parse()?);
    let opens_none = matches!(kind, Kind::SynAck | Kind::Rst | Kind::IcmpError);
    let from = SocketAddr::new(sender, SENDER_PORTS[usize::from(opens_none)]);
    let to = |port| SocketAddr::new(server, port);
    let tcp = |port, flags| packet::tcp(from, to(port)).flags(flags);
    let packet = match kind {
        Kind::Opens => tcp(TRACKED_PORT, flag::SYN).seq(1000),
        Kind::Acknowledges => tcp(TRACKED_PORT, flag::ACK).seq(1001).ack(1),
        Kind::Syn(port) => tcp(port, flag::SYN).seq(1000),
        Kind::SynAck => tcp(TRACKED_PORT, flag::SYN | flag::ACK).seq(1000).ack(1),
        Kind::Rst => tcp(TRACKED_PORT, flag::RST).seq(1000),
        Kind::Udp => packet::udp(from, to(DATAGRAM_PORT)),
        Kind::IcmpError => {
            let about = packet::tcp(to(TRACKED_PORT), from).flags(flag::ACK);
            // Cut, as routers do; of the segment the addresses, ports and numbers are left.
            let mut quote = about.ip_bytes();
            quote.truncate(FRAME - 14 - 20 - 8);
            mark(&mut quote);
            // Destination unreachable, port unreachable.
            return built(packet::icmp(sender, server, 3, 3).ttl(MARKED_TTL).payload(&quote));
        }
    };
    let before = 14 + if family == 0 { 20 } else { 40 } + if kind == Kind::Udp { 8 } else { 20 };
    let is_marked = kind != Kind::Opens;
    let packet = packet.payload(&payload(FRAME - before, is_marked));
    built(if is_marked { packet.ttl(MARKED_TTL) } else { packet })
}

/// The same of many senders. Of ICMP errors it is the quoted packet that has many receivers.
pub(super) fn spread(kind: Kind, family: usize, over: u32, is_random: bool) -> Spread {
    let (at, sums) = match (kind, family) {
        // The IP header that is quoted has a checksum of its own, and the message one of all.
        (Kind::IcmpError, _) => (42 + 16, [42 + 10, 0]),
        (Kind::Udp, 0) => (26, [24, 34 + 6]),
        (_, 0) => (26, [24, 34 + 16]),
        (Kind::Udp, _) => (34, [0, 54 + 6]),
        (_, _) => (34, [0, 54 + 16]),
    };
    Spread { over, is_random, at, sums }
}

/// A port that no rule names.
pub(super) const fn denied() -> Kind {
    Kind::Syn(CLOSED_PORT)
}

fn payload(len: usize, is_marked: bool) -> Vec<u8> {
    let mut payload = vec![0; len];
    if is_marked {
        mark(&mut payload);
    }
    payload
}

fn mark(bytes: &mut [u8]) {
    if let Some(end) = bytes.last_chunk_mut() {
        *end = MARK;
    }
}

fn built(packet: Packet) -> Result<[u8; FRAME]> {
    let frame = packet.build();
    frame.try_into().map_err(|frame: Vec<u8>| anyhow!("a frame has {} bytes, not {FRAME}", frame.len()))
}

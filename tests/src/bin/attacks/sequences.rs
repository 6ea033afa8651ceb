//! Sequences of segments, up to 64, of somebody who knows addresses and ports and sees no packet.

use fw_tests::packet::flag::{ACK, FIN, PSH, RST, SYN, URG};
use fw_tests::packet::{self, Packet};
use fw_tests::random::Random;

use crate::live::Ends;

/// Of a connection at most.
const MOST: usize = 64;
/// Destination unreachable and the others of which a connection may end, of ICMP.
const ERRORS: [(u8, u8); 9] = [(3, 0), (3, 1), (3, 2), (3, 3), (3, 4), (3, 13), (4, 0), (11, 0), (12, 0)];
/// The same of ICMPv6.
const ERRORS6: [(u8, u8); 6] = [(1, 0), (1, 1), (1, 4), (2, 0), (3, 0), (4, 1)];

/// One kind of them.
type Kind = fn(&mut Random, Ends) -> Vec<Packet>;

const KINDS: [Kind; 14] = [
    anything,
    anything,
    |random, ends| sweep(random, ends, &[ACK, RST]),
    |random, ends| sweep(random, ends, &[ACK, RST | ACK]),
    |random, ends| sweep(random, ends, &[ACK, FIN | ACK]),
    |random, ends| sweep(random, ends, &[FIN | ACK, FIN | ACK, RST]),
    |random, ends| sweep(random, ends, &[PSH | ACK, ACK, RST]),
    |random, ends| sweep(random, ends, &[SYN, ACK, RST]),
    |random, ends| sweep(random, ends, &[SYN | ACK, ACK, RST | ACK]),
    acknowledgements,
    begins_again,
    walks,
    answers_itself,
    errors,
];

/// One of any kind.
pub(crate) fn sequence(random: &mut Random, ends: Ends) -> Vec<Vec<u8>> {
    let kind = KINDS[random.below(KINDS.len())];
    let packets = kind(random, ends);
    debug_assert!(packets.len() <= MOST);
    packets.iter().map(Packet::build).collect()
}

/// A segment to the server.
pub(crate) fn segment(ends: Ends, flags: u8, seq: u32, ack: u32) -> Packet {
    packet::tcp(ends.remote, ends.local).flags(flags).seq(seq).ack(ack)
}

/// An ICMP error about a segment of the server, from the other end.
pub(crate) fn error(ends: Ends, number: usize, seq: u32) -> Packet {
    let errors: &[(u8, u8)] = if ends.local.is_ipv4() { &ERRORS } else { &ERRORS6 };
    let (kind, code) = errors[number % errors.len()];
    let about = packet::tcp(ends.local, ends.remote).flags(ACK).seq(seq);
    packet::icmp(ends.remote.ip(), ends.local.ip(), kind, code).quote(&about)
}

/// Any flags, any numbers, with and without data.
fn anything(random: &mut Random, ends: Ends) -> Vec<Packet> {
    let count = 1 + random.below(MOST);
    let any = |random: &mut Random| {
        let flags = random.next() as u8 & (FIN | SYN | RST | PSH | ACK | URG);
        let data = if random.below(4) == 0 { random.below(1200) } else { 0 };
        segment(ends, flags, random.next() as u32, random.next() as u32).payload(&vec![b'x'; data])
    };
    (0..count).map(|_| any(random)).collect()
}

/// At each eighth of the numbers, or each thirty-second, segments with these flags and the same number.
fn sweep(random: &mut Random, ends: Ends, flags: &[u8]) -> Vec<Packet> {
    let (offset, ack) = (random.next() as u32, random.next() as u32);
    // Larger steps reach a filter that believes what is up to 2^30 ahead, smaller ones one that believes less.
    let step = if random.below(2) == 0 { 29 } else { 28 };
    let rounds = (1_u32 << (32 - step)).min((MOST / flags.len()) as u32);
    let seqs = (0..rounds).map(|round| (round << step).wrapping_add(offset));
    seqs.flat_map(|seq| flags.iter().map(move |flags| segment(ends, *flags, seq, ack.wrapping_add(seq))))
        .collect()
}

/// The acknowledgement is swept, then everything that is at an acknowledged place is tried.
fn acknowledgements(random: &mut Random, ends: Ends) -> Vec<Packet> {
    let (seq, offset) = (random.next() as u32, random.next() as u32);
    let acks = (0..8_u32).map(|round| (round << 29).wrapping_add(offset));
    acks.flat_map(|ack| {
        [
            segment(ends, ACK, seq, ack),
            segment(ends, ACK, ack, seq),
            segment(ends, RST, ack, 0),
            segment(ends, RST | ACK, seq, ack),
            segment(ends, FIN | ACK, seq, ack),
        ]
    })
    .collect()
}

/// A SYN as of a host that has lost its memory, then what would follow.
fn begins_again(random: &mut Random, ends: Ends) -> Vec<Packet> {
    let rounds = 1 + random.below(12);
    let mut all = Vec::new();
    for _ in 0..rounds {
        let (seq, ack) = (random.next() as u32, random.next() as u32);
        let next = seq.wrapping_add(1);
        all.push(segment(ends, SYN, seq, 0));
        all.push(segment(ends, ACK, next, ack));
        all.push(segment(ends, PSH | ACK, next, ack).payload(b"here I am"));
        all.push(segment(ends, RST, next, 0));
        all.push(segment(ends, FIN | ACK, next, ack));
    }
    all
}

/// Each segment begins where the one before ended, in large steps; then a reset there.
fn walks(random: &mut Random, ends: Ends) -> Vec<Packet> {
    let (mut seq, ack) = (random.next() as u32, random.next() as u32);
    let mut all = Vec::new();
    for _ in 0..MOST - 2 {
        all.push(segment(ends, PSH | ACK, seq, ack).payload(&[b'x'; 64]));
        seq = seq.wrapping_add(64 + (1 << 26));
    }
    all.push(segment(ends, FIN | ACK, seq, ack));
    all.push(segment(ends, RST, seq.wrapping_add(1), 0));
    all
}

/// A SYN, and a SYN-ACK that answers it from the same side.
fn answers_itself(random: &mut Random, ends: Ends) -> Vec<Packet> {
    let mut all = Vec::new();
    for _ in 0..12 {
        let (seq, other) = (random.next() as u32, random.next() as u32);
        all.push(segment(ends, SYN, seq, 0));
        all.push(segment(ends, SYN | ACK, other, seq.wrapping_add(1)));
        all.push(segment(ends, ACK, seq.wrapping_add(1), other.wrapping_add(1)));
        all.push(segment(ends, RST, other.wrapping_add(1), 0));
        all.push(segment(ends, RST | ACK, 0, seq.wrapping_add(1)));
    }
    all
}

/// Errors that quote the connection.
fn errors(random: &mut Random, ends: Ends) -> Vec<Packet> {
    let count = 1 + random.below(MOST);
    (0..count).map(|number| error(ends, number, random.next() as u32)).collect()
}

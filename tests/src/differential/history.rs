//! Random histories: conversations that mostly go on as they should, and what disturbs them.

use fw_common::Direction;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::select;
use serde_json::Value;

use super::rules;
use super::talk::{SCALES, Side, Speaker, Speech, Talk, WINDOWS, talk};
use crate::packet::{self, Body, Extension, Fragment, Ip, Network, Packet, flag};

/// One event.
#[allow(clippy::large_enum_variant, reason = "nearly all of them are packets")]
#[derive(Clone, Debug)]
pub enum Step {
    /// A packet crosses.
    Packet(Crossing),
    /// So many seconds pass.
    Wait(u64),
    /// The rules change by this merge patch.
    Load(Value),
}

/// A packet at an interface or a leg.
#[derive(Clone, Debug)]
pub struct Crossing {
    /// The interface, or the subnet of the leg.
    pub at: &'static str,
    /// Seen from the interface.
    pub direction: Direction,
    /// What it is; `None` for bytes that are no packet of anybody's.
    pub what: Option<Said>,
    /// The frame.
    pub frame: Vec<u8>,
}

/// A packet that somebody meant to send.
#[derive(Clone, Debug)]
pub struct Said {
    /// The packet.
    pub packet: Packet,
    /// What it quotes, if it is an ICMP error with a quote.
    pub quote: Option<Quote>,
}

/// A quoted packet.
#[derive(Clone, Debug)]
pub struct Quote {
    /// The packet.
    pub packet: Packet,
    /// How many bytes behind its IP header (and options) are quoted at most.
    pub cut: usize,
}

/// What may happen, as choices that stay what they are when others are taken away.
#[derive(Clone, Debug)]
enum Move {
    GoOn {
        talk: usize,
    },
    /// The next two come in the wrong order.
    Swap {
        talk: usize,
    },
    /// The next one takes another way.
    Lose {
        talk: usize,
    },
    /// On the same ports, by other numbers.
    BeginAgain {
        talk: usize,
        by: u32,
        data: usize,
        is_taken: bool,
    },
    /// A rest, and afterwards one side is somewhere else.
    Quiet {
        talk: usize,
        seconds: u64,
        by: u32,
        from: Side,
        flags: u8,
    },
    Segment {
        talk: usize,
        from: Side,
        flags: u8,
        seq_off: u32,
        ack_off: u32,
        len: usize,
        /// Other than the talk's own.
        window: Option<(u16, Option<u8>)>,
    },
    Datagram {
        talk: usize,
        from: Side,
        form: usize,
    },
    Error {
        talk: usize,
        quoted: Side,
        kind: usize,
        sender: usize,
        cut: usize,
        astray: bool,
    },
    Control {
        place: usize,
        which: usize,
        outbound: bool,
    },
    Wait(u64),
    /// One of the plan's changes.
    Load(usize),
}

/// What a packet wears besides.
#[derive(Clone, Debug)]
struct Dress {
    tags: usize,
    ttl: Option<u8>,
    options: Option<&'static [u8]>,
    extensions: Vec<Extension>,
    fragment: Option<Fragment>,
}

/// Damage.
#[derive(Clone, Debug)]
struct Damage {
    bytes: Vec<(usize, u8)>,
    cut: Option<usize>,
}

/// A history before it has happened.
#[derive(Clone, Debug)]
pub struct Plan {
    talks: Vec<Talk>,
    changes: Vec<Value>,
    moves: Vec<(Move, Option<Dress>, Option<Damage>)>,
}

/// Histories of up to `len` steps; `damaged` ones have frames that no packet model can say.
pub fn plan(len: usize, damaged: bool) -> impl Strategy<Value = Plan> {
    let dress = option::weighted(0.12, dress().boxed());
    let damage = if damaged { option::weighted(0.25, damage()).boxed() } else { Just(None).boxed() };
    let moves = vec((a_move(), dress, damage), len / 4..len);
    (vec(talk(), 2..10), vec(rules::change(), 1..4), moves).prop_map(|(talks, changes, moves)| Plan {
        talks,
        changes,
        moves,
    })
}

const FLAGS: [u8; 12] = [
    flag::ACK,
    flag::ACK | flag::PSH,
    flag::SYN,
    flag::SYN | flag::ACK,
    flag::RST,
    flag::RST | flag::ACK,
    flag::FIN | flag::ACK,
    flag::FIN,
    0,
    flag::SYN | flag::PSH,
    flag::SYN | flag::FIN,
    flag::SYN | flag::RST,
];
/// Fitting, old, ahead within the window, around the limits of windows, ahead of any window.
const OFFS: [u32; 22] = [
    0,
    0,
    0,
    0,
    0,
    1,
    u32::MAX,
    10,
    u32::MAX - 9,
    u32::MAX - 999,
    5000,
    1 << 16,
    (1 << 16) + 1,
    u32::MAX - 0xffff,
    u32::MAX - 0x1_0000,
    1 << 17,
    u32::MAX - 0x1_ffff,
    1 << 22,
    (1 << 22) + 1,
    1 << 30,
    (1 << 30) + 1,
    1 << 31,
];
/// Bytes of a segment: as many at most as `fwctl explain` takes without cutting the frame.
const LENS: [usize; 6] = [0, 0, 0, 10, 1460, 2800];
/// Around the idle seconds of all states.
const WAITS: [u64; 29] = [
    1, 2, 3, 5, 9, 10, 11, 20, 29, 30, 31, 44, 45, 46, 59, 60, 61, 89, 90, 91, 119, 120, 121, 179, 180, 181,
    599, 600, 601,
];

/// One tuple of numbers for all of them: a union of strategies takes ten times as long as the packet is judged.
fn a_move() -> impl Strategy<Value = Move> {
    let number = || 0..60usize;
    (0..420u16, 0..10usize, any::<bool>(), number(), number(), number(), number()).prop_map(
        |(kind, talk, client, a, b, c, d)| {
            let side = if client { Side::Client } else { Side::Server };
            // Mostly the first.
            let rarely = |number: usize, len: usize| number.saturating_sub(39) % len;
            match kind {
                0..160 => Move::GoOn { talk },
                160..240 => Move::Segment {
                    talk,
                    from: side,
                    flags: FLAGS[a % FLAGS.len()],
                    seq_off: OFFS[b % OFFS.len()],
                    ack_off: OFFS[c % OFFS.len()],
                    len: LENS[d % LENS.len()],
                    window: (d > 40).then(|| (WINDOWS[b % WINDOWS.len()], SCALES[c % SCALES.len()])),
                },
                240..300 => Move::Datagram { talk, from: side, form: rarely(a, 15) },
                300..340 => Move::Error {
                    talk,
                    quoted: side,
                    kind: a % 5,
                    sender: rarely(b, 3),
                    cut: [1000, 8, 20, 7, 0][c % 5],
                    astray: d > 53,
                },
                340..355 => Move::Control { place: talk, which: a % CONTROLS, outbound: client },
                355..371 => Move::Wait(WAITS[a % WAITS.len()]),
                371..384 => Move::Swap { talk },
                384..394 => Move::Lose { talk },
                394..408 => Move::BeginAgain {
                    talk,
                    by: OFFS[5 + a % (OFFS.len() - 5)],
                    data: LENS[b % LENS.len()],
                    is_taken: client,
                },
                408..418 => Move::Quiet {
                    talk,
                    seconds: [29, 30, 31, 45][a % 4],
                    by: OFFS[5 + b % (OFFS.len() - 5)],
                    from: side,
                    flags: FLAGS[rarely(c, FLAGS.len())],
                },
                _ => Move::Load(a),
            }
        },
    )
}

fn dress() -> impl Strategy<Value = Dress> {
    let extension = select(
        &[
            Extension::HopByHop,
            Extension::Destination,
            Extension::Routing { kind: 253, segments_left: 0 },
            Extension::Routing { kind: 0, segments_left: 0 },
            Extension::Fragment,
            Extension::Authentication,
        ][..],
    );
    let options = select(&OPTIONS[..]);
    let offset = select(&[0u16, 0, 0, 8, 16, 24, 1480][..]);
    let fragment = (1..4u32, offset, any::<bool>()).prop_map(|(id, offset_bytes, more)| Fragment {
        id,
        offset_bytes,
        more,
    });
    let ttl = option::weighted(0.3, select(&[1, 255, 64][..]));
    let chain = prop_oneof![6 => vec(extension.clone(), 0..3), 1 => vec(extension, 7..10)];
    (select(&[0, 0, 0, 0, 1, 2, 3][..]), ttl, option::weighted(0.2, options), chain, option::of(fragment))
        .prop_map(|(tags, ttl, options, extensions, fragment)| Dress {
            tags,
            ttl,
            options,
            extensions,
            fragment,
        })
}

/// No operation, a timestamp, record route with a bad length, source routes.
const OPTIONS: [&[u8]; 7] = [
    &[1, 1, 1, 1],
    &[68, 4, 5, 0],
    &[7, 1, 4, 0],
    &[7, 9, 4, 0],
    &[131, 3, 4, 0],
    &[1, 137, 3, 4],
    &[0, 131, 3, 4],
];

fn damage() -> impl Strategy<Value = Damage> {
    let place = prop_oneof![8 => 12..70usize, 1 => 0..200usize];
    let bytes = vec((place, any::<u8>()), 0..4);
    (bytes, option::weighted(0.4, 15..120usize)).prop_map(|(bytes, cut)| Damage { bytes, cut })
}

impl Plan {
    /// What happens at these places.
    pub fn steps(&self, places: &[&'static str]) -> Vec<Step> {
        let mut speakers: Vec<Speaker> = self.talks.iter().map(|talk| talk.speaker(places)).collect();
        let mut steps = Vec::new();
        for (a_move, dress, damage) in &self.moves {
            let (at, sent) = match a_move {
                Move::Wait(seconds) => {
                    steps.push(Step::Wait(*seconds));
                    continue;
                }
                Move::Load(number) => {
                    steps.push(Step::Load(self.changes[number % self.changes.len()].clone()));
                    continue;
                }
                Move::Control { place, which, outbound } => {
                    let direction = if *outbound { Direction::Egress } else { Direction::Ingress };
                    (places[place % places.len()], vec![(direction, said(control(*which)))])
                }
                Move::GoOn { talk }
                | Move::Swap { talk }
                | Move::Lose { talk }
                | Move::BeginAgain { talk, .. }
                | Move::Quiet { talk, .. }
                | Move::Segment { talk, .. }
                | Move::Datagram { talk, .. }
                | Move::Error { talk, .. } => {
                    let count = speakers.len();
                    let speaker = &mut speakers[talk % count];
                    if let Move::Quiet { seconds, .. } = a_move {
                        steps.push(Step::Wait(*seconds));
                    }
                    (speaker.at, speak(speaker, a_move))
                }
            };
            for (direction, mut said) in sent {
                if let Some(dress) = dress {
                    dress.put_on(&mut said.packet);
                }
                let mut frame = said.packet.build();
                let what = match damage {
                    None => Some(said),
                    Some(damage) => {
                        damage.spoil(&mut frame);
                        None
                    }
                };
                steps.push(Step::Packet(Crossing { at, direction, what, frame }));
            }
        }
        steps
    }
}

fn said(packet: Packet) -> Said {
    Said { packet, quote: None }
}

fn speak(speaker: &mut Speaker, a_move: &Move) -> Vec<(Direction, Said)> {
    let is_tcp = speaker.speech == Speech::Tcp;
    let packets = match *a_move {
        Move::GoOn { .. } => vec![speaker.go_on()],
        Move::Swap { .. } => {
            let first = speaker.go_on();
            vec![speaker.go_on(), first]
        }
        Move::Lose { .. } => {
            speaker.go_on();
            Vec::new()
        }
        Move::BeginAgain { by, data, is_taken, .. } if is_tcp => {
            vec![speaker.begin_again(by, data, is_taken)]
        }
        Move::Quiet { by, from, flags, .. } if is_tcp => {
            speaker.leap([by, by]);
            vec![(from, speaker.segment(from, flags, 0, 0, 10))]
        }
        Move::BeginAgain { .. } => vec![(Side::Client, speaker.datagram(Side::Client, 0))],
        Move::Quiet { from, .. } => vec![(from, speaker.datagram(from, 0))],
        Move::Segment { from, flags, seq_off, ack_off, len, window, .. } if is_tcp => {
            let mut packet = speaker.segment(from, flags, seq_off, ack_off, len);
            if let (Some((window, scale)), Network::Ip(Ip { body: Body::Tcp(tcp), .. })) =
                (window, &mut packet.network)
            {
                tcp.window = window;
                tcp.window_scale = scale.filter(|_| flags & flag::SYN != 0);
            }
            vec![(from, packet)]
        }
        Move::Segment { from, .. } => vec![(from, speaker.datagram(from, 0))],
        Move::Datagram { from, form, .. } => vec![(from, speaker.datagram(from, form))],
        Move::Error { quoted, kind, sender, cut, astray, .. } => {
            return vec![error(speaker, quoted, kind, sender, cut, astray)];
        }
        Move::Control { .. } | Move::Wait(_) | Move::Load(_) => Vec::new(),
    };
    packets.into_iter().map(|(from, packet)| (speaker.direction(from), said(packet))).collect()
}

/// An ICMP error about a packet of one side, from the other end or from a router on the way.
fn error(
    speaker: &mut Speaker,
    quoted: Side,
    kind: usize,
    sender: usize,
    cut: usize,
    astray: bool,
) -> (Direction, Said) {
    let about = speaker.clone().datagram(quoted, 0);
    let Network::Ip(ip) = &about.network else { unreachable!("a datagram is an IP packet") };
    let (kind, code) = match ip.source.is_ipv4() {
        true => [(3, 4), (11, 0), (3, 1), (12, 0), (4, 0)][kind],
        false => [(2, 0), (3, 0), (1, 4), (4, 0), (100, 0)][kind],
    };
    let routers =
        if ip.source.is_ipv4() { ["203.0.113.5", "10.0.0.1"] } else { ["2001:db8:9::5", "fe80::1"] };
    let read = |text: &str| text.parse().expect("a router has an address");
    let from = match sender {
        0 => ip.destination,
        sender => read(routers[sender - 1]),
    };
    let to = if astray { read(routers[0]) } else { ip.source };
    let mut bytes = about.ip_bytes();
    let header = if ip.source.is_ipv4() { 20 } else { 40 };
    bytes.truncate(header + cut);
    let packet = packet::icmp(from, to, kind, code).payload(&bytes);
    let direction = speaker.direction(quoted).reverse();
    (direction, Said { packet, quote: Some(Quote { packet: about, cut }) })
}

const CONTROLS: usize = 18;

/// What keeps links alive, and what only looks like it.
fn control(which: usize) -> Packet {
    let v4 = |text: &str| text.parse::<std::net::Ipv4Addr>().expect("an address");
    let v6 = |text: &str| text.parse::<std::net::Ipv6Addr>().expect("an address");
    match which {
        0 => packet::arp(v4("10.0.0.10"), v4("10.0.0.1")),
        1 => packet::nd_solicit(v6("fe80::7"), v6("ff02::1:ff00:10")),
        2 => packet::nd_advert(v6("2001:db8::1"), v6("2001:db8::10")),
        3 => packet::router_solicit(v6("fe80::7"), v6("ff02::2")),
        4 => packet::router_advert(v6("fe80::1"), v6("ff02::1")),
        5 => packet::dhcp_discover(),
        6 => packet::dhcp_offer(v4("10.0.0.1"), v4("10.0.0.10")),
        7 => packet::dhcpv6_solicit("fe80::10", "ff02::1:2"),
        8 => packet::frame(0x88cc, &[0; 46]).destination_mac([1, 0x80, 0xc2, 0, 0, 0x0e]),
        9 => packet::frame(0x888e, &[0; 46]),
        10 => packet::frame(0x88e5, &[0; 46]),
        11 => packet::frame(0x1234, &[0; 46]),
        12 => packet::frame(0x88cc, &[0; 46]),
        13 => packet::icmp("fe80::1", "fe80::10", 137, 0).ttl(255),
        14 => packet::icmp("fe80::10", "ff02::16", 143, 0).ttl(1),
        15 => packet::icmp("2001:db8::10", "ff02::16", 143, 0).ttl(1),
        16 => packet::frame(0x0026, &[0x42; 46]).destination_mac([1, 0x80, 0xc2, 0, 0, 0x10]),
        _ => packet::udp("10.0.0.2:67", "10.0.0.1:67"),
    }
}

impl Dress {
    fn put_on(&self, packet: &mut Packet) {
        for number in 0..self.tags {
            *packet = packet.clone().vlan(7 + number as u16);
        }
        let Network::Ip(ip) = &mut packet.network else { return };
        ip.ttl = self.ttl.unwrap_or(ip.ttl);
        // A quoted packet is quoted as it was sent, and an error about a fragment is no error here.
        ip.fragment = self.fragment;
        if ip.source.is_ipv4() {
            ip.options = self.options.unwrap_or_default().to_vec();
        } else {
            ip.extensions.clone_from(&self.extensions);
        }
        if let Some(Fragment { offset_bytes: 1.., .. }) = ip.fragment
            && ip.body.payload_mut().is_empty()
        {
            *ip.body.payload_mut() = b"abcdefgh".to_vec();
        }
    }
}

impl Damage {
    fn spoil(&self, frame: &mut Vec<u8>) {
        for (place, byte) in &self.bytes {
            if let Some(at) = frame.get_mut(*place) {
                *at = *byte;
            }
        }
        if let Some(len) = self.cut {
            frame.truncate(len);
        }
    }
}

//! Who talks to whom: pools of addresses and ports in which everything meets again, and conversations that play
//! their part in order until told otherwise.

use std::net::IpAddr;

use fw_common::Direction;
use proptest::prelude::*;

use crate::packet::{self, Body, Icmp, Packet, Tcp, flag};

/// The ends of a conversation and what is spoken, as numbers into the pools.
#[derive(Clone, Debug)]
pub struct Talk {
    place: usize,
    ipv6: bool,
    local: usize,
    remote: usize,
    kind: u8,
    /// The interface's end opens it.
    outbound: bool,
    client_port: usize,
    server_port: usize,
    /// Of client and server.
    scales: [usize; 2],
    windows: [usize; 2],
}

/// Most of the time the first of a pool, so that talks meet.
fn skewed(len: usize) -> impl Strategy<Value = usize> {
    prop_oneof![2 => Just(0), 1 => 0..len]
}

/// A conversation at one of `places`.
pub fn talk() -> impl Strategy<Value = Talk> {
    let ends = (0..6usize, any::<bool>(), skewed(6), skewed(24));
    let ports = (skewed(CLIENT_PORTS.len()), 0..SERVER_PORTS.len());
    let two = |len: usize| (0..len, 0..len);
    (ends, 0..9u8, any::<bool>(), ports, two(SCALES.len()), two(WINDOWS.len())).prop_map(
        |((place, ipv6, local, remote), kind, outbound, ports, scales, windows)| Talk {
            place,
            ipv6,
            local,
            remote,
            kind,
            outbound,
            client_port: ports.0,
            server_port: ports.1,
            scales: scales.into(),
            windows: windows.into(),
        },
    )
}

/// Window scale options of SYNs; more than 14 counts as 14.
pub const SCALES: [Option<u8>; 6] = [None, None, Some(0), Some(1), Some(7), Some(15)];
/// Windows. That of 1024 shifted by 7, and that of 32768 shifted by 1, are where windows count double.
pub const WINDOWS: [u16; 6] = [64_240, 501, 1024, 32_768, 65_535, 0];

const CLIENT_PORTS: [u16; 5] = [40000, 40001, 1024, 68, 0];
const SERVER_PORTS: [u16; 10] = [443, 22, 53, 80, 443, 123, 444, 67, 0, 65535];

const REMOTE_V4: [&str; 16] = [
    "198.51.100.7",
    "198.51.100.7",
    "198.51.100.8",
    "10.0.0.20",
    "10.0.1.10",
    "10.1.0.20",
    "10.0.0.10",
    "203.0.113.5",
    "10.0.0.1",
    "10.0.0.2",
    "169.254.169.253",
    "169.254.169.254",
    "169.254.169.123",
    "224.0.0.251",
    "255.255.255.255",
    "0.0.0.0",
];
const REMOTE_V6: [&str; 12] = [
    "2001:db8:ffff::7",
    "2001:db8:ffff::7",
    "2001:db8:ffff::8",
    "2001:db8::20",
    "2001:db8:0:1::10",
    "2001:db8:1::20",
    "2001:db8::1",
    "fe80::7",
    "fd00:ec2::253",
    "ff02::1",
    "::",
    "::ffff:198.51.100.7",
];
/// Behind the addresses of a place: what is everybody's.
const ANYBODY_V4: [&str; 3] = ["255.255.255.255", "239.1.1.1", "0.0.0.0"];
const ANYBODY_V6: [&str; 3] = ["fe80::10", "ff02::1", "::"];

/// The addresses that belong behind a place, and one that does not.
fn own(place: &str, ipv6: bool) -> &'static [&'static str] {
    match (place, ipv6) {
        ("e0" | "s0", false) => &["10.0.0.10", "10.0.0.11", "10.0.0.99"],
        ("e0" | "s0", true) => &["2001:db8::10", "2001:db8::99"],
        ("e1" | "s1", false) => &["10.0.1.10", "10.0.1.99"],
        ("e1" | "s1", true) => &["2001:db8:0:1::10", "2001:db8:0:1::99"],
        (_, false) => &["10.1.0.10", "10.1.0.99"],
        (_, true) => &["2001:db8:1::10", "2001:db8:1::99"],
    }
}

/// What a talk speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speech {
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// ICMP of the family.
    Icmp,
    /// Another protocol by its number.
    Other(u8),
}

/// A conversation going on.
#[derive(Clone, Debug)]
pub struct Speaker {
    /// Where it crosses.
    pub at: &'static str,
    /// What it speaks.
    pub speech: Speech,
    /// The interface's end.
    pub local: IpAddr,
    /// The other end.
    pub remote: IpAddr,
    outbound: bool,
    client_port: u16,
    server_port: u16,
    /// What client and server will send next.
    next: [u32; 2],
    scales: [Option<u8>; 2],
    windows: [u16; 2],
    line: usize,
}

/// A side of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Who opens it.
    Client,
    /// Who answers.
    Server,
}

use Side::{Client, Server};

/// A TCP connection from beginning to end: side, flags, bytes of data.
const SCRIPT: [(Side, u8, usize); 17] = [
    (Client, flag::SYN, 0),
    (Server, flag::SYN | flag::ACK, 0),
    (Client, flag::ACK, 0),
    (Client, flag::ACK | flag::PSH, 10),
    (Server, flag::ACK, 0),
    (Server, flag::ACK | flag::PSH, 20),
    (Client, flag::ACK, 0),
    (Client, flag::ACK | flag::PSH, 5),
    (Server, flag::ACK | flag::PSH, 7),
    (Server, flag::ACK | flag::PSH, 1460),
    (Server, flag::ACK | flag::PSH, 1460),
    (Client, flag::ACK, 0),
    (Client, flag::ACK | flag::PSH, 10),
    (Client, flag::FIN | flag::ACK, 0),
    (Server, flag::ACK, 0),
    (Server, flag::FIN | flag::ACK, 0),
    (Client, flag::ACK, 0),
];

/// First sequence numbers of both sides: one of them is about to wrap.
const FIRST: [u32; 2] = [1000, u32::MAX - 20];

impl Talk {
    /// At one of these places.
    pub fn speaker(&self, places: &[&'static str]) -> Speaker {
        let at = places[self.place % places.len()];
        let (own, anybody, remotes): (_, &[&str], &[&str]) = if self.ipv6 {
            (own(at, true), &ANYBODY_V6, &REMOTE_V6)
        } else {
            (own(at, false), &ANYBODY_V4, &REMOTE_V4)
        };
        let local = own.iter().chain(anybody).nth(self.local).unwrap_or(&own[0]);
        let read = |text: &str| text.parse().expect("the pools hold addresses");
        Speaker {
            at,
            speech: match self.kind {
                0..=4 => Speech::Tcp,
                5 | 6 => Speech::Udp,
                7 => Speech::Icmp,
                _ => Speech::Other([47, 50, 132, if self.ipv6 { 1 } else { 58 }][self.server_port % 4]),
            },
            local: read(local),
            remote: read(remotes[self.remote % remotes.len()]),
            outbound: self.outbound,
            client_port: CLIENT_PORTS[self.client_port],
            server_port: SERVER_PORTS[self.server_port],
            next: FIRST,
            scales: self.scales.map(|scale| SCALES[scale]),
            windows: self.windows.map(|window| WINDOWS[window]),
            line: 0,
        }
    }
}

impl Speaker {
    /// The way that packets of a side take.
    pub fn direction(&self, from: Side) -> Direction {
        if self.outbound == (from == Client) { Direction::Egress } else { Direction::Ingress }
    }

    fn ends(&self, from: Side) -> (IpAddr, IpAddr) {
        match self.direction(from) {
            Direction::Egress => (self.local, self.remote),
            Direction::Ingress => (self.remote, self.local),
        }
    }

    /// What comes next if nothing disturbs.
    pub fn go_on(&mut self) -> (Side, Packet) {
        let turn = self.line;
        self.line += 1;
        if self.speech != Speech::Tcp {
            let from = if turn.is_multiple_of(2) { Client } else { Server };
            return (from, self.datagram(from, usize::from(from == Server)));
        }
        let (from, flags, len) = SCRIPT[turn % SCRIPT.len()];
        if flags == flag::SYN {
            // Each connection of a conversation has other numbers.
            self.next = FIRST.map(|first| first.wrapping_add(turn as u32 * 5000));
        }
        let packet = self.segment(from, flags, 0, 0, len);
        self.take_syn(from, flags);
        (from, packet)
    }

    /// The client begins again by other numbers, whatever came before. `data` comes with its SYN, and the server takes
    /// it or not.
    pub fn begin_again(&mut self, by: u32, data: usize, is_taken: bool) -> (Side, Packet) {
        self.leap([by, by.wrapping_add(77)]);
        let syn = self.segment(Client, flag::SYN, 0, 0, data);
        self.take_syn(Client, flag::SYN);
        if is_taken {
            self.next[0] = self.next[0].wrapping_add(data as u32);
        }
        self.line = 1;
        (Client, syn)
    }

    fn take_syn(&mut self, from: Side, flags: u8) {
        let next = &mut self.next[usize::from(from == Server)];
        *next = next.wrapping_add(u32::from(flags & flag::SYN != 0));
    }

    /// Much is sent that nobody sees here.
    pub fn leap(&mut self, by: [u32; 2]) {
        let [client, server] = self.next;
        self.next = [client.wrapping_add(by[0]), server.wrapping_add(by[1])];
    }

    /// A segment whose numbers are off by so much. The conversation only goes on from one that fits, and is not a SYN or RST.
    pub fn segment(&mut self, from: Side, flags: u8, seq_off: u32, ack_off: u32, len: usize) -> Packet {
        let [client, server] = self.next;
        let (own, other) = if from == Client { (client, server) } else { (server, client) };
        let (source, destination) = self.ends(from);
        let (source_port, destination_port) = self.ports(from);
        let tcp = Tcp {
            source: source_port,
            destination: destination_port,
            seq: own.wrapping_add(seq_off),
            ack: if flags & flag::ACK == 0 { 0 } else { other.wrapping_add(ack_off) },
            flags,
            window: self.windows[usize::from(from == Server)],
            window_scale: self.scales[usize::from(from == Server)].filter(|_| flags & flag::SYN != 0),
            options: Vec::new(),
            payload: filler(len),
        };
        let taken = len as u32 + u32::from(flags & flag::FIN != 0);
        if seq_off == 0 && ack_off == 0 && flags & (flag::SYN | flag::RST) == 0 {
            self.next[usize::from(from == Server)] = own.wrapping_add(taken);
        }
        Packet::ip(source, destination, Body::Tcp(tcp))
    }

    /// A datagram of a side; of ICMP one of [`ICMP_TYPES`]; of TCP a segment without news.
    pub fn datagram(&mut self, from: Side, form: usize) -> Packet {
        let (source, destination) = self.ends(from);
        let (source_port, destination_port) = self.ports(from);
        match self.speech {
            Speech::Tcp => self.segment(from, flag::ACK, 0, 0, 0),
            Speech::Udp => {
                packet::udp((source, source_port), (destination, destination_port)).payload(&filler(form % 5))
            }
            Speech::Icmp => {
                let types: &[(u8, u8)] = if source.is_ipv4() { &ICMP_TYPES } else { &ICMPV6_TYPES };
                let (kind, code) = types[form % types.len()];
                let icmp = Icmp { kind, code, id: self.client_port, seq: 1, payload: Vec::new() };
                Packet::ip(source, destination, Body::Icmp(icmp))
            }
            Speech::Other(number) => packet::protocol(number, source, destination, &filler(8)),
        }
    }

    fn ports(&self, from: Side) -> (u16, u16) {
        match from {
            Client => (self.client_port, self.server_port),
            Server => (self.server_port, self.client_port),
        }
    }
}

/// A request and its reply first: they are what a conversation plays.
pub const ICMP_TYPES: [(u8, u8); 14] = [
    (8, 0),
    (0, 0),
    (13, 0),
    (14, 0),
    (15, 0),
    (16, 0),
    (17, 0),
    (18, 0),
    (8, 1),
    (3, 4),
    (11, 0),
    (5, 1),
    (9, 0),
    (30, 0),
];
/// As [`ICMP_TYPES`].
pub const ICMPV6_TYPES: [(u8, u8); 15] = [
    (128, 0),
    (129, 0),
    (1, 0),
    (2, 0),
    (3, 0),
    (133, 0),
    (134, 0),
    (135, 0),
    (136, 0),
    (137, 0),
    (130, 0),
    (131, 0),
    (143, 0),
    (139, 0),
    (128, 1),
];

fn filler(len: usize) -> Vec<u8> {
    (0..len).map(|i| b'a' + (i % 26) as u8).collect()
}

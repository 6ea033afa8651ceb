//! A packet model turned into bytes, from the inside out.

use std::net::IpAddr;

use super::ethertype;
use super::model::{Body, Cut, Extension, Fragment, Ip, Link, Network, Packet, Start, Tcp};

const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP: u8 = 1;
const ICMPV6: u8 = 58;
const FRAGMENT: u8 = 44;

/// The two hosts of a frame whose packet does not say: locally administered, unicast.
const SENDER: [u8; 6] = [2, 0, 0, 0, 0, 1];
const RECEIVER: [u8; 6] = [2, 0, 0, 0, 0, 2];

impl Packet {
    /// The whole Ethernet frame. Short frames are not padded: neither veth nor a kernel test run asks for it.
    #[must_use]
    pub fn build(&self) -> Vec<u8> {
        if let Network::Whole(bytes) = &self.network {
            return bytes.clone();
        }
        let mut frame = self.link_bytes();
        let (link, packet) = (frame.len(), self.whole_ip_bytes());
        frame.extend(packet);
        frame.extend(vec![0; self.pad]);
        if let Some(Cut { from, bytes }) = self.cut {
            frame.truncate(bytes + self.start(from, link));
        }
        frame
    }

    /// What the frame carries, without the Ethernet header: a packet as tun devices and ICMP quotes have it.
    #[must_use]
    pub fn ip_bytes(&self) -> Vec<u8> {
        let link = self.link_bytes().len();
        let frame = self.build();
        frame[link.min(frame.len())..].to_vec()
    }

    /// The bytes of a frame before this place, `link` of which are the Ethernet header.
    fn start(&self, from: Start, link: usize) -> usize {
        match (from, &self.network) {
            (Start::Transport, Network::Ip(ip)) => link + self.whole_ip_bytes().len() - ip.body_bytes().len(),
            (Start::Ip | Start::Transport, _) => link,
            (Start::Frame, _) => 0,
        }
    }

    /// Without padding, and not cut.
    pub(super) fn whole_ip_bytes(&self) -> Vec<u8> {
        match &self.network {
            Network::Ip(ip) if ip.source.is_ipv4() => ip.v4(),
            Network::Ip(ip) => ip.v6(),
            Network::Other { payload, .. } => payload.clone(),
            Network::Whole(bytes) => bytes.clone(),
        }
    }

    fn link_bytes(&self) -> Vec<u8> {
        let Link { source, destination, tags, ethertype } = &self.link;
        let (kind, natural) = match &self.network {
            Network::Ip(ip) => (ip.ethertype(), receiver(ip.destination)),
            Network::Other { ethertype, .. } => (*ethertype, RECEIVER),
            Network::Whole(bytes) => return bytes[..14.min(bytes.len())].to_vec(),
        };
        let mut header = destination.unwrap_or(natural).to_vec();
        header.extend(source.unwrap_or(SENDER));
        for (kind, tci) in tags {
            header.extend(kind.to_be_bytes());
            header.extend(tci.to_be_bytes());
        }
        header.extend(ethertype.unwrap_or(kind).to_be_bytes());
        header
    }
}

/// Broadcast and multicast addresses have their own hardware addresses (RFC 1112, 6.4; RFC 2464, 7).
fn receiver(destination: IpAddr) -> [u8; 6] {
    match destination {
        IpAddr::V4(a) if a.is_broadcast() => [0xff; 6],
        IpAddr::V4(a) if a.is_multicast() => {
            let [_, b, c, d] = a.octets();
            [1, 0, 0x5e, b & 0x7f, c, d]
        }
        IpAddr::V6(a) if a.is_multicast() => {
            let [.., b, c, d, e] = a.octets();
            [0x33, 0x33, b, c, d, e]
        }
        _ => RECEIVER,
    }
}

impl Ip {
    fn ethertype(&self) -> u16 {
        if self.source.is_ipv4() { ethertype::IPV4 } else { ethertype::IPV6 }
    }

    /// Bytes of a fragment that are its datagram's: behind the fragment header.
    pub fn fragmentable_bytes(&self) -> usize {
        let header = self.extensions.iter().rposition(|it| *it == Extension::Fragment);
        let behind = header.and_then(|place| self.extensions.get(place + 1..)).unwrap_or_default();
        let extensions: usize = behind.iter().map(|it| self.extension_bytes(it, 0).len()).sum();
        extensions + self.body_bytes().len()
    }

    fn v4(&self) -> Vec<u8> {
        let body = self.body_bytes();
        let words = (20 + self.options.len()) / 4;
        let fragment = self.fragment.unwrap_or(Fragment { id: self.id.into(), ..Fragment::default() });
        let place = (fragment.offset_bytes / 8) | if fragment.more { 0x2000 } else { 0 };
        let version = self.wrong.version.unwrap_or(4) << 4;
        let length = self.wrong.length.unwrap_or((words * 4 + body.len()) as u16);

        let mut packet = vec![version | self.wrong.header_words.unwrap_or(words as u8) & 15, 0];
        packet.extend(length.to_be_bytes());
        packet.extend((fragment.id as u16).to_be_bytes());
        packet.extend(place.to_be_bytes());
        packet.extend([self.ttl, self.wrong.protocol.unwrap_or(self.protocol()), 0, 0]);
        packet.extend(octets(self.source));
        packet.extend(octets(self.destination));
        packet.extend(&self.options);
        let sum = self.wrong.ip_checksum.unwrap_or_else(|| checksum(&packet));
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
        packet.extend(body);
        packet
    }

    fn v6(&self) -> Vec<u8> {
        let mut chain = self.extensions.clone();
        if self.fragment.is_some() && !chain.contains(&Extension::Fragment) {
            chain.push(Extension::Fragment);
        }
        let mut payload = self.body_bytes();
        let mut next = self.protocol();
        for extension in chain.iter().rev() {
            let mut bytes = self.extension_bytes(extension, next);
            bytes.append(&mut payload);
            payload = bytes;
            next = extension.number();
        }
        let mut packet = vec![self.wrong.version.unwrap_or(6) << 4, 0, 0, 0];
        packet.extend(self.wrong.length.unwrap_or(payload.len() as u16).to_be_bytes());
        packet.extend([self.wrong.protocol.unwrap_or(next), self.ttl]);
        packet.extend(octets(self.source));
        packet.extend(octets(self.destination));
        packet.extend(payload);
        packet
    }

    fn extension_bytes(&self, extension: &Extension, next: u8) -> Vec<u8> {
        match extension {
            // PadN with four bytes of padding fills the eight.
            Extension::HopByHop | Extension::Destination => vec![next, 0, 1, 4, 0, 0, 0, 0],
            Extension::Routing { kind, segments_left } => vec![next, 0, *kind, *segments_left, 0, 0, 0, 0],
            Extension::Fragment => {
                let fragment = self.fragment.unwrap_or_default();
                let mut bytes = vec![next, 0];
                bytes.extend((fragment.offset_bytes & !7 | u16::from(fragment.more)).to_be_bytes());
                bytes.extend(fragment.id.to_be_bytes());
                bytes
            }
            Extension::Authentication => {
                // Its length counts words of four bytes, less two (RFC 4302, 2.2).
                let mut bytes = vec![next, 24 / 4 - 2, 0, 0];
                bytes.extend(0x1000_u32.to_be_bytes());
                bytes.extend(1_u32.to_be_bytes());
                bytes.extend([0xaa; 12]);
                bytes
            }
            Extension::Other { bytes, .. } => {
                let mut bytes = bytes.clone();
                if let Some(first) = bytes.first_mut() {
                    *first = next;
                }
                bytes
            }
        }
    }

    fn protocol(&self) -> u8 {
        match &self.body {
            Body::Tcp(_) => TCP,
            Body::Udp { .. } => UDP,
            Body::Icmp(_) if self.source.is_ipv4() => ICMP,
            Body::Icmp(_) => ICMPV6,
            Body::Other { protocol, .. } => *protocol,
        }
    }

    fn body_bytes(&self) -> Vec<u8> {
        let later = self.fragment.is_some_and(|f| f.offset_bytes > 0);
        let first = self.fragment.is_some_and(|f| f.more);
        let (mut bytes, sum_at) = match &self.body {
            Body::Tcp(Tcp { payload, .. }) | Body::Udp { payload, .. } if later => return payload.clone(),
            Body::Icmp(icmp) if later => return icmp.payload.clone(),
            Body::Other { payload, .. } => return payload.clone(),
            Body::Tcp(tcp) => (self.tcp_bytes(tcp), 16),
            Body::Udp { source, destination, payload } => {
                // The length is that of the whole datagram: in a first fragment more than there is.
                let natural = (8 + payload.len()) as u16 + if first { 8 } else { 0 };
                let mut bytes = source.to_be_bytes().to_vec();
                bytes.extend(destination.to_be_bytes());
                bytes.extend(self.wrong.udp_length.unwrap_or(natural).to_be_bytes());
                bytes.extend([0, 0]);
                bytes.extend(payload);
                (bytes, 6)
            }
            Body::Icmp(icmp) => {
                let mut bytes = vec![icmp.kind, icmp.code, 0, 0];
                bytes.extend(icmp.id.to_be_bytes());
                bytes.extend(icmp.seq.to_be_bytes());
                bytes.extend(&icmp.payload);
                (bytes, 2)
            }
        };
        let sum = self.wrong.transport_checksum.unwrap_or_else(|| self.transport_checksum(&bytes));
        bytes[sum_at..sum_at + 2].copy_from_slice(&sum.to_be_bytes());
        bytes
    }

    fn tcp_bytes(&self, tcp: &Tcp) -> Vec<u8> {
        // No operation fills up the word: kind 3, length 3, shift (RFC 7323, 2.2).
        let mut options = tcp.window_scale.map_or_else(Vec::new, |shift| vec![1, 3, 3, shift]);
        options.extend(&tcp.options);
        let words = self.wrong.tcp_words.unwrap_or((20 + options.len() as u8) / 4);
        let mut bytes = tcp.source.to_be_bytes().to_vec();
        bytes.extend(tcp.destination.to_be_bytes());
        bytes.extend(tcp.seq.to_be_bytes());
        bytes.extend(tcp.ack.to_be_bytes());
        bytes.extend([words << 4, tcp.flags]);
        bytes.extend(tcp.window.to_be_bytes());
        bytes.extend([0; 4]);
        bytes.extend(options);
        bytes.extend(&tcp.payload);
        bytes
    }

    /// Over the pseudo header too, but for ICMP over IPv4.
    fn transport_checksum(&self, bytes: &[u8]) -> u16 {
        if self.protocol() == ICMP {
            return checksum(bytes);
        }
        let mut all = octets(self.source);
        all.extend(octets(self.destination));
        all.extend((bytes.len() as u32).to_be_bytes());
        all.extend([0, 0, 0, self.protocol()]);
        all.extend(bytes);
        match checksum(&all) {
            // To UDP zero means "none" (RFC 768).
            0 if self.protocol() == UDP => 0xffff,
            sum => sum,
        }
    }
}

impl Extension {
    fn number(&self) -> u8 {
        match self {
            Self::HopByHop => 0,
            Self::Routing { .. } => 43,
            Self::Fragment => FRAGMENT,
            Self::Authentication => 51,
            Self::Destination => 60,
            Self::Other { protocol, .. } => *protocol,
        }
    }
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(a) => a.octets().to_vec(),
        IpAddr::V6(a) => a.octets().to_vec(),
    }
}

/// The internet checksum (RFC 1071); over bytes that hold a right one it is 0.
#[must_use]
pub fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

//! Frames for tests: a fluent builder whose lengths and checksums are right until told otherwise, and the
//! packet text of `tests/cases/README.md`.
//!
//! It never reads packets and shares no code with the parser under test: no mistake can hide in both.
//!
//! ```
//! use fw_tests::packet::{self, flag};
//! let frame = packet::tcp("198.51.100.7:51000", "10.20.1.10:22").flags(flag::SYN).vlan(7).build();
//! assert_eq!(frame, packet::parse("tcp 198.51.100.7:51000 > 10.20.1.10:22 syn vlan=7").unwrap());
//! ```

mod build;
mod control;
mod model;
mod text;

pub use build::checksum;
pub use control::*;
pub use model::{
    Body, Cut, Extension, Fragment, Host, Icmp, Ip, Link, Network, Packet, Peer, Start, Tcp, Wrong,
};
pub use text::{parse, parse_packet, parse_quoted};

use model::network_error;

/// TCP flags (RFC 9293, 3.1), to be joined with `|`.
pub mod flag {
    /// No more data from the sender.
    pub const FIN: u8 = 1;
    /// Synchronise sequence numbers.
    pub const SYN: u8 = 2;
    /// Reset the connection.
    pub const RST: u8 = 4;
    /// Push.
    pub const PSH: u8 = 8;
    /// The acknowledgement number counts.
    pub const ACK: u8 = 16;
    /// The urgent pointer counts.
    pub const URG: u8 = 32;
}

/// The ethertypes that the builder writes by itself.
pub mod ethertype {
    /// IPv4.
    pub const IPV4: u16 = 0x0800;
    /// ARP.
    pub const ARP: u16 = 0x0806;
    /// IPv6.
    pub const IPV6: u16 = 0x86dd;
    /// IEEE 802.1Q customer tag.
    pub const VLAN: u16 = 0x8100;
    /// IEEE 802.1ad service tag.
    pub const SERVICE_VLAN: u16 = 0x88a8;
}

/// A TCP segment without flags; give it some with [`Packet::flags`].
#[must_use]
pub fn tcp(source: impl Peer, destination: impl Peer) -> Packet {
    let (source, destination) = (source.peer(), destination.peer());
    let body = Tcp { source: source.port(), destination: destination.port(), ..Tcp::default() };
    Packet::ip(source.ip(), destination.ip(), Body::Tcp(body))
}

/// A UDP datagram without data.
#[must_use]
pub fn udp(source: impl Peer, destination: impl Peer) -> Packet {
    let (source, destination) = (source.peer(), destination.peer());
    let body = Body::Udp { source: source.port(), destination: destination.port(), payload: Vec::new() };
    Packet::ip(source.ip(), destination.ip(), body)
}

/// An ICMP or ICMPv6 message, by the family of the addresses; identifier and sequence are 0.
#[must_use]
pub fn icmp(source: impl Host, destination: impl Host, kind: u8, code: u8) -> Packet {
    let body = Icmp { kind, code, ..Icmp::default() };
    Packet::ip(source.host(), destination.host(), Body::Icmp(body))
}

/// Any protocol by its number, with these bytes after the IP header.
#[must_use]
pub fn protocol(number: u8, source: impl Host, destination: impl Host, payload: &[u8]) -> Packet {
    let body = Body::Other { protocol: number, payload: payload.to_vec() };
    Packet::ip(source.host(), destination.host(), body)
}

/// A frame of any ethertype.
#[must_use]
pub fn frame(ethertype: u16, payload: &[u8]) -> Packet {
    Packet::new(Network::Other { ethertype, payload: payload.to_vec() })
}

/// Fluent setters. A setter that does not fit (flags of a UDP datagram) is a mistake in the test and panics.
impl Packet {
    /// TCP flags: see [`flag`].
    #[must_use]
    pub fn flags(mut self, flags: u8) -> Self {
        self.tcp_mut("flags").flags = flags;
        self
    }

    /// The sequence number of TCP or of an ICMP echo.
    #[must_use]
    pub fn seq(mut self, number: u32) -> Self {
        match &mut self.ip_mut("seq").body {
            Body::Tcp(tcp) => tcp.seq = number,
            Body::Icmp(icmp) => icmp.seq = number as u16,
            _ => network_error("seq"),
        }
        self
    }

    /// The acknowledgement number.
    #[must_use]
    pub fn ack(mut self, number: u32) -> Self {
        self.tcp_mut("ack").ack = number;
        self
    }

    /// The TCP window, as the header says it.
    #[must_use]
    pub fn window(mut self, window: u16) -> Self {
        self.tcp_mut("window").window = window;
        self
    }

    /// A window scale option with this shift, before the other TCP options.
    #[must_use]
    pub fn window_scale(mut self, shift: u8) -> Self {
        self.tcp_mut("window_scale").window_scale = Some(shift);
        self
    }

    /// The TCP options, a multiple of four bytes.
    #[must_use]
    pub fn tcp_options(mut self, options: &[u8]) -> Self {
        assert!(options.len().is_multiple_of(4), "tcp options come in four bytes, got {}", options.len());
        self.tcp_mut("tcp_options").options = options.to_vec();
        self
    }

    /// The identifier of an ICMP echo, or of an IPv4 packet that is something else.
    #[must_use]
    pub fn id(mut self, id: u16) -> Self {
        let ip = self.ip_mut("id");
        match &mut ip.body {
            Body::Icmp(icmp) => icmp.id = id,
            _ => ip.id = id,
        }
        self
    }

    /// The data behind the transport header.
    #[must_use]
    pub fn payload(mut self, bytes: &[u8]) -> Self {
        match &mut self.network {
            Network::Other { payload, .. } => *payload = bytes.to_vec(),
            Network::Ip(ip) => *ip.body.payload_mut() = bytes.to_vec(),
            Network::Whole(_) => network_error("payload"),
        }
        self
    }

    /// The packet that an ICMP error is about: its IP packet, whole, is the data.
    #[must_use]
    pub fn quote(self, about: &Packet) -> Self {
        self.payload(&about.ip_bytes())
    }

    /// IPv4 time to live or IPv6 hop limit.
    #[must_use]
    pub fn ttl(mut self, ttl: u8) -> Self {
        self.ip_mut("ttl").ttl = ttl;
        self
    }

    /// IPv4 options, a multiple of four bytes and at most 40.
    #[must_use]
    pub fn options(mut self, options: &[u8]) -> Self {
        assert!(options.len().is_multiple_of(4) && options.len() <= 40, "{} bytes of options", options.len());
        let ip = self.ip_mut("options");
        assert!(ip.source.is_ipv4(), "IPv6 has extension headers, not options");
        ip.options = options.to_vec();
        self
    }

    /// Makes it a fragment: `offset_bytes` a multiple of eight, `more` to come.
    ///
    /// A later fragment (offset above 0) has no transport header: it carries the payload alone. Checksums of
    /// a first fragment are those of its own bytes: nobody can check one before the last fragment is there.
    #[must_use]
    pub fn fragment(mut self, id: u32, offset_bytes: u16, more: bool) -> Self {
        assert!(
            offset_bytes.is_multiple_of(8),
            "fragments start at multiples of 8 bytes, not {offset_bytes}"
        );
        self.ip_mut("fragment").fragment = Some(Fragment { id, offset_bytes, more });
        self
    }

    /// Appends an IPv6 extension header.
    #[must_use]
    pub fn extension(mut self, extension: Extension) -> Self {
        let ip = self.ip_mut("extension");
        assert!(ip.source.is_ipv6(), "IPv4 has options, not extension headers");
        ip.extensions.push(extension);
        self
    }

    /// Adds a VLAN tag inside those already there. All but the innermost are service tags (802.1ad).
    #[must_use]
    pub fn vlan(mut self, id: u16) -> Self {
        for (kind, _) in &mut self.link.tags {
            *kind = ethertype::SERVICE_VLAN;
        }
        self.tag(ethertype::VLAN, id)
    }

    /// Adds a tag of this very type inside those already there.
    #[must_use]
    pub fn tag(mut self, kind: u16, tci: u16) -> Self {
        self.link.tags.push((kind, tci));
        self
    }

    /// The sender's hardware address.
    #[must_use]
    pub fn source_mac(mut self, mac: [u8; 6]) -> Self {
        self.link.source = Some(mac);
        self
    }

    /// The receiver's hardware address.
    #[must_use]
    pub fn destination_mac(mut self, mac: [u8; 6]) -> Self {
        self.link.destination = Some(mac);
        self
    }

    /// Adds zeros behind the packet, as Ethernet does to reach its least length.
    #[must_use]
    pub fn pad(mut self, bytes: usize) -> Self {
        self.pad = bytes;
        self
    }

    /// Ends the frame too early, `bytes` behind the start of a layer. The lengths in its headers stay.
    #[must_use]
    pub fn cut(mut self, from: Start, bytes: usize) -> Self {
        self.cut = Some(Cut { from, bytes });
        self
    }

    /// Writes fields that contradict the packet.
    #[must_use]
    pub fn wrong(mut self, wrong: Wrong) -> Self {
        self.ip_mut("wrong").wrong = wrong;
        self
    }
}

#[cfg(test)]
mod tests;

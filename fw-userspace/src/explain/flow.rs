//! A packet as people name it, and the frame that it is.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use etherparse::{IpNumber, PacketBuilder, PacketBuilderStep};
use fw_common::packet::{protocol, tcp_flags};

use crate::error::{Error, Result};
use crate::leading_zeros;
use crate::report::{Protocol, ProtocolName};

/// One end: an address, with a port where the protocol has ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Endpoint {
    /// Address.
    pub address: IpAddr,
    /// Port, if one was said.
    pub port: Option<u16>,
}

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        leading_zeros::refuse(text)?;
        if let Ok(both) = text.parse::<SocketAddr>() {
            return Ok(Self { address: both.ip(), port: Some(both.port()) });
        }
        let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
        bare.parse().map(|address| Self { address, port: None }).map_err(|_| {
            "must be ADDRESS:PORT or ADDRESS, such as \"10.0.1.10:443\" or \"[2001:db8::7]:443\"".to_owned()
        })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            Some(port) => SocketAddr::new(self.address, port).fmt(f),
            None => self.address.fmt(f),
        }
    }
}

/// Type and code of an ICMP message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IcmpType {
    /// Type.
    pub kind: u8,
    /// Code.
    pub code: u8,
}

/// One packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flow {
    /// IP protocol.
    pub protocol: ProtocolName,
    /// Who sends it.
    pub source: Endpoint,
    /// Who is to receive it.
    pub destination: Endpoint,
    /// TCP only.
    pub tcp_flags: u8,
    /// ICMP and ICMPv6 only.
    pub icmp: IcmpType,
}

/// Where ports that nobody named begin: IANA's ephemeral range (RFC 6335 section 6).
const EPHEMERAL: u16 = 49_152;

impl Flow {
    /// A packet whose parts fit together: the first of a connection, where its protocol has connections.
    pub fn new(protocol: ProtocolName, source: Endpoint, destination: Endpoint) -> Result<Self> {
        if source.address.is_ipv4() != destination.address.is_ipv4() {
            return Err(Error::input(format!(
                "\"{}\" and \"{}\" are of two families, a packet has both ends in one",
                source.address, destination.address
            )));
        }
        let has_ports = matches!(protocol.0, protocol::TCP | protocol::UDP);
        for end in [source, destination] {
            if end.port.is_some() && !has_ports {
                return Err(Error::input(format!(
                    "\"{end}\" has a port, \"{protocol}\" has none: leave it out"
                )));
            }
        }
        if has_ports && destination.port.is_none() {
            return Err(Error::input(format!(
                "\"{destination}\" needs a port, such as \"{}\"",
                Endpoint { port: Some(443), ..destination }
            )));
        }
        let kind = if source.address.is_ipv4() { ECHO_REQUEST } else { ICMPV6_ECHO_REQUEST };
        let icmp = IcmpType { kind, code: 0 };
        Ok(Self { protocol, source, destination, tcp_flags: tcp_flags::SYN, icmp })
    }

    /// Its protocol, in its family.
    pub fn protocol(&self) -> Protocol {
        Protocol { number: self.protocol.0, is_ipv4: self.source.address.is_ipv4() }
    }

    /// What the other end answers to this as a first packet; `None` for what has no one answer.
    pub fn reply(&self) -> Option<Self> {
        let icmp = match self.icmp.kind {
            ECHO_REQUEST => IcmpType { kind: ECHO_REPLY, code: 0 },
            ICMPV6_ECHO_REQUEST => IcmpType { kind: ICMPV6_ECHO_REPLY, code: 0 },
            _ if self.protocol().is_icmp() => return None,
            kind => IcmpType { kind, code: 0 },
        };
        let source_port = self.source.port.or(self.destination.port.map(|_| EPHEMERAL));
        Some(Self {
            source: self.destination,
            destination: Endpoint { port: source_port, ..self.source },
            tcp_flags: tcp_flags::SYN | tcp_flags::ACK,
            icmp,
            ..*self
        })
    }

    /// The frame, from its Ethernet header on.
    pub fn frame(&self) -> Result<Vec<u8>> {
        // Locally administered addresses; no rule sees them.
        let link = PacketBuilder::ethernet2([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
        match (self.source.address, self.destination.address) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                self.complete(link.ipv4(source.octets(), destination.octets(), HOPS))
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                self.complete(link.ipv6(source.octets(), destination.octets(), HOPS))
            }
            _ => Err(Error::input("both ends of a packet are of one family")),
        }
    }

    fn complete(&self, network: PacketBuilderStep<etherparse::IpHeaders>) -> Result<Vec<u8>> {
        let source = self.source.port.unwrap_or(EPHEMERAL);
        let destination = self.destination.port.unwrap_or_default();
        let mut frame = Vec::new();
        // Identifier and sequence number of an echo.
        let rest = [0, 1, 0, 1];
        let IcmpType { kind, code } = self.icmp;
        let is_icmp = self.protocol().is_icmp();
        let written = match self.protocol.0 {
            protocol::TCP => self.tcp(network.tcp(source, destination, 1, u16::MAX)).write(&mut frame, &[]),
            protocol::UDP => network.udp(source, destination).write(&mut frame, &[]),
            protocol::ICMP if is_icmp => network.icmpv4_raw(kind, code, rest).write(&mut frame, &[]),
            protocol::ICMPV6 if is_icmp => network.icmpv6_raw(kind, code, rest).write(&mut frame, &[]),
            number => network.write(&mut frame, IpNumber(number), &[0; 8]),
        };
        written.map_err(|error| Error::input(format!("\"{self}\" cannot be made a packet: {error}")))?;
        Ok(frame)
    }

    fn tcp(
        &self,
        mut step: PacketBuilderStep<etherparse::TcpHeader>,
    ) -> PacketBuilderStep<etherparse::TcpHeader> {
        for (flag, _) in FLAGS.iter().filter(|(flag, _)| self.tcp_flags & flag != 0) {
            step = match *flag {
                tcp_flags::FIN => step.fin(),
                tcp_flags::SYN => step.syn(),
                tcp_flags::RST => step.rst(),
                tcp_flags::ACK => step.ack(1),
                PSH => step.psh(),
                _ => step.urg(0),
            };
        }
        step
    }
}

const HOPS: u8 = 64;
// https://www.iana.org/assignments/icmp-parameters, icmpv6-parameters
const ECHO_REPLY: u8 = 0;
const ECHO_REQUEST: u8 = 8;
const ICMPV6_ECHO_REQUEST: u8 = 128;
const ICMPV6_ECHO_REPLY: u8 = 129;
const PSH: u8 = 0x08;
const URG: u8 = 0x20;

const FLAGS: [(u8, &str); 6] = [
    (tcp_flags::FIN, "fin"),
    (tcp_flags::SYN, "syn"),
    (tcp_flags::RST, "rst"),
    (PSH, "psh"),
    (tcp_flags::ACK, "ack"),
    (URG, "urg"),
];

/// `syn`, `syn,ack`, `none`.
pub fn parse_flags(text: &str) -> std::result::Result<u8, String> {
    if text == "none" {
        return Ok(0);
    }
    text.split([',', '+']).try_fold(0, |flags, word| {
        let known = FLAGS.iter().find(|(_, name)| *name == word.to_ascii_lowercase());
        known.map(|(flag, _)| flags | flag).ok_or_else(|| {
            let names = FLAGS.map(|(_, name)| name).join(", ");
            format!("{word:?} is no flag: must be some of {names}, separated by commas, or none")
        })
    })
}

impl fmt::Display for Flow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { source, destination, .. } = self;
        write!(f, "{} {source} > {destination}", self.protocol())?;
        match self.protocol.0 {
            protocol::TCP => {
                let names: Vec<&str> = FLAGS
                    .iter()
                    .filter(|(flag, _)| self.tcp_flags & flag != 0)
                    .map(|(_, name)| *name)
                    .collect();
                write!(f, " {}", if names.is_empty() { "none".to_owned() } else { names.join("+") })
            }
            _ if self.protocol().is_icmp() => write!(f, " {}/{}", self.icmp.kind, self.icmp.code),
            _ => Ok(()),
        }
    }
}

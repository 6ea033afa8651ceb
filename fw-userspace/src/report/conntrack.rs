//! What `conntrack` says.

use std::fmt;
use std::net::IpAddr;

use fw_common::packet::protocol;
use serde::{Serialize, Serializer};

/// One connection.
#[derive(Debug, Clone, Serialize)]
pub struct ConnectionStatus<'a> {
    /// Interface, or subnet for a router's leg; `-` if it left the rules.
    pub interface: &'a str,
    /// `tcp`, `udp`, `icmp`, `icmpv6` or a number.
    pub protocol: Protocol,
    /// The interface's end.
    pub local: IpAddr,
    /// TCP and UDP.
    pub local_port: Option<u16>,
    /// The other end.
    pub remote: IpAddr,
    /// TCP and UDP.
    pub remote_port: Option<u16>,
    /// ICMP and ICMPv6: the request's type.
    pub icmp_type: Option<u8>,
    /// ICMP and ICMPv6.
    pub icmp_identifier: Option<u16>,
    /// How far it is.
    pub state: &'static str,
    /// `confirmed` if it counts against `conntrack_max`, else `half_open`.
    pub class: &'static str,
    /// Who may take its place: `inbound`, `reserved`, `outbound`, `stream` or `assured` (nobody).
    pub standing: &'static str,
    /// `local` or `remote`.
    pub opened_by: &'static str,
    /// Seconds since its first packet.
    pub age_s: u64,
    /// Seconds since its last packet.
    pub idle_s: u64,
    /// Seconds until it is over if no packet comes.
    pub expires_s: u64,
    /// Of both directions.
    pub packets: u64,
    /// Of both directions.
    pub bytes: u64,
    /// Who admitted it; none for an exempt service and for a rule that is no more.
    pub rule: Option<RuleName<'a>>,
}

/// A rule by its name.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct RuleName<'a> {
    /// `security_group` or `network_acl`.
    pub kind: &'static str,
    /// The group's or the ACL's name.
    pub id: &'a str,
    /// `ingress` or `egress`.
    pub direction: &'static str,
    /// The rule's id, or the entry's number.
    pub rule: &'a str,
}

impl fmt::Display for RuleName<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.id, self.direction, self.rule)
    }
}

/// A protocol as people name it: `tcp`, `udp`, `icmp`, `icmpv6`, or another one's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProtocolName(pub u8);

impl Serialize for ProtocolName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl fmt::Display for ProtocolName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            protocol::TCP => f.pad("tcp"),
            protocol::UDP => f.pad("udp"),
            protocol::ICMP => f.pad("icmp"),
            protocol::ICMPV6 => f.pad("icmpv6"),
            number => f.pad(&number.to_string()),
        }
    }
}

/// The protocol of a packet. The ICMP of the other family is one like any other, without types: only its number.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Protocol {
    /// IP protocol.
    pub number: u8,
    /// The packet's family, else it is IPv6.
    pub is_ipv4: bool,
}

impl Protocol {
    /// Whether it is the ICMP of its family, which has types.
    pub fn is_icmp(self) -> bool {
        self.number == if self.is_ipv4 { protocol::ICMP } else { protocol::ICMPV6 }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.number {
            number @ (protocol::ICMP | protocol::ICMPV6) if !self.is_icmp() => f.pad(&number.to_string()),
            number => ProtocolName(number).fmt(f),
        }
    }
}

impl Serialize for Protocol {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// How many connections there are; expired ones are left out.
#[derive(Debug, Clone, Serialize)]
pub struct ConnectionCount {
    /// Those that count against `conntrack_max`: assured connections, and streams of datagrams.
    pub confirmed: u64,
    /// How many there may be.
    pub confirmed_limit: u64,
    /// All others: nothing has proven them yet.
    pub half_open: u64,
    /// How many of these the other side may have begun.
    pub half_open_limit: u64,
    /// By what was asked for; the largest first.
    pub groups: Vec<Holder>,
    /// The remote addresses that hold most; the largest first.
    pub top_addresses: Vec<Holder>,
    /// The rules that admitted most; the largest first.
    pub top_rules: Vec<Holder>,
}

/// What some connections have in common.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Holder {
    /// Its name.
    pub name: String,
    /// Confirmed connections.
    pub confirmed: u64,
    /// Half-open ones.
    pub half_open: u64,
}

/// What `conntrack flush` did.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Flushed {
    /// Connections that were removed; expired ones do not count.
    pub flushed: u64,
    /// Its memory was damaged: the table was made anew, with the connections that could be found in it.
    pub rebuilt: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn icmp_has_its_name_in_its_own_family() {
        let names = |is_ipv4| [1, 58, 6, 47].map(|number| Protocol { number, is_ipv4 }.to_string());
        assert_eq!(names(true), ["icmp", "58", "tcp", "47"]);
        assert_eq!(names(false), ["1", "icmpv6", "tcp", "47"]);
    }
}

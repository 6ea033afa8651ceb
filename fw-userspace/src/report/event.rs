//! What `monitor` says.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

use fw_common::packet::tcp_flags;
use fw_common::{Reason, Verdict};

use serde::{Serialize, Serializer};

use super::{Protocol, RuleName};

/// One packet and what was decided about it.
#[derive(Debug, Clone, Serialize)]
pub struct PacketEvent<'a> {
    /// When it was decided, nanoseconds since the epoch, to a tick of the kernel's (1 to 10 ms).
    pub time_ns: u64,
    /// Interface, or subnet for a router's leg; `-` for devices that are not configured.
    pub interface: &'a str,
    /// The device.
    pub device: &'a str,
    /// `ingress` or `egress`.
    pub direction: &'static str,
    /// `allow`, `deny` or `would_deny`.
    pub verdict: &'static str,
    /// The layer that decided.
    pub layer: &'static str,
    /// Why.
    pub reason: &'static str,
    /// `tcp`, `udp`, `icmp`, `icmpv6` or a number; none for frames that are not IP or were refused for their headers.
    pub protocol: Option<Protocol>,
    /// Source address.
    pub source: Option<IpAddr>,
    /// TCP and UDP.
    pub source_port: Option<u16>,
    /// Destination address.
    pub destination: Option<IpAddr>,
    /// TCP and UDP.
    pub destination_port: Option<u16>,
    /// ICMP and ICMPv6.
    pub icmp_type: Option<u8>,
    /// ICMP and ICMPv6.
    pub icmp_code: Option<u8>,
    /// Like `SYN,ACK`.
    #[serde(serialize_with = "flags_as_words")]
    pub tcp_flags: Option<u8>,
    /// A fragment that is not the first: it has no ports.
    pub later_fragment: bool,
    /// Like `0x88cc`, of frames that are not IP.
    pub ethertype: Option<String>,
    /// From the link-layer header on.
    pub bytes: u32,
    /// The network ACL's entry that decided, or let on what passed.
    pub network_acl: Option<RuleName<'a>>,
    /// The group's rule that allowed it.
    pub security_group: Option<RuleName<'a>>,
}

/// Events that nobody will see.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Suppressed {
    /// Since the line before that said so.
    pub suppressed: u64,
}

/// `allow`, `deny` or `would_deny`: the last where rules are not enforced.
pub fn verdict_name(reason: Reason, observed: bool) -> &'static str {
    match (reason.verdict(), observed) {
        (Verdict::Pass, _) => "allow",
        (Verdict::Drop, false) => "deny",
        (Verdict::Drop, true) => "would_deny",
    }
}

impl PacketEvent<'_> {
    /// The rule that the verdict is of: a group allows, an entry of an ACL denies.
    pub fn rule(&self) -> Option<RuleName<'_>> {
        match self.verdict {
            "allow" => self.security_group.or(self.network_acl),
            _ => self.network_acl.filter(|_| self.layer == "network_acl"),
        }
    }

    /// `tcp 10.0.0.1:4000 -> 10.0.0.2:22 SYN`.
    pub fn packet(&self) -> Tuple<'_> {
        Tuple(self)
    }
}

/// The packet of an event, in words.
#[derive(Debug, Clone, Copy)]
pub struct Tuple<'a>(&'a PacketEvent<'a>);

impl fmt::Display for Tuple<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let event = self.0;
        let (Some(protocol), Some(source), Some(destination)) =
            (event.protocol, event.source, event.destination)
        else {
            return match &event.ethertype {
                Some(ethertype) => write!(f, "ethertype {ethertype}"),
                None => f.write_str("a frame"),
            };
        };
        let end = |address: IpAddr, port: Option<u16>| match port {
            Some(port) => SocketAddr::from((address, port)).to_string(),
            None => address.to_string(),
        };
        let source = end(source, event.source_port);
        write!(f, "{protocol} {source} -> {}", end(destination, event.destination_port))?;
        match (event.tcp_flags, event.icmp_type, event.icmp_code) {
            (Some(flags), ..) => write!(f, " {}", flag_names(flags)),
            (None, Some(kind), Some(code)) => write!(f, " type {kind} code {code}"),
            _ if event.later_fragment => f.write_str(" later fragment"),
            _ => Ok(()),
        }
    }
}

const FLAGS: [(u8, &str); 8] = [
    (tcp_flags::SYN, "SYN"),
    (tcp_flags::FIN, "FIN"),
    (tcp_flags::RST, "RST"),
    (0x08, "PSH"),
    (tcp_flags::ACK, "ACK"),
    (0x20, "URG"),
    (0x40, "ECE"),
    (0x80, "CWR"),
];

/// `SYN,ACK`; `none`.
fn flag_names(flags: u8) -> String {
    let names: Vec<&str> =
        FLAGS.iter().filter(|(flag, _)| flags & flag != 0).map(|(_, name)| *name).collect();
    if names.is_empty() { "none".to_owned() } else { names.join(",") }
}

fn flags_as_words<S: Serializer>(flags: &Option<u8>, serializer: S) -> Result<S::Ok, S::Error> {
    match flags {
        Some(flags) => serializer.serialize_some(&flag_names(*flags)),
        None => serializer.serialize_none(),
    }
}

#[cfg(test)]
mod tests {
    use fw_common::packet::protocol;

    use super::*;

    fn of(number: u8) -> Protocol {
        Protocol { number, is_ipv4: true }
    }

    fn event() -> PacketEvent<'static> {
        PacketEvent {
            time_ns: 0,
            interface: "web",
            device: "eth0",
            direction: "ingress",
            verdict: "deny",
            layer: "security_group",
            reason: "no_group_rule",
            protocol: Some(of(protocol::TCP)),
            source: Some([10, 0, 0, 1].into()),
            source_port: Some(4000),
            destination: Some([10, 0, 0, 2].into()),
            destination_port: Some(22),
            icmp_type: None,
            icmp_code: None,
            tcp_flags: Some(0x12),
            later_fragment: false,
            ethertype: None,
            bytes: 74,
            network_acl: None,
            security_group: None,
        }
    }

    #[test]
    fn packets_in_words() {
        assert_eq!(event().packet().to_string(), "tcp 10.0.0.1:4000 -> 10.0.0.2:22 SYN,ACK");
        let v6 = std::net::Ipv6Addr::LOCALHOST;
        let ports = PacketEvent { source: Some(v6.into()), tcp_flags: None, ..event() };
        assert_eq!(ports.packet().to_string(), "tcp [::1]:4000 -> 10.0.0.2:22");
        let none = PacketEvent { source_port: None, destination_port: None, tcp_flags: None, ..event() };
        let icmp =
            PacketEvent { protocol: Some(of(1)), icmp_type: Some(8), icmp_code: Some(0), ..none.clone() };
        assert_eq!(icmp.packet().to_string(), "icmp 10.0.0.1 -> 10.0.0.2 type 8 code 0");
        let later = PacketEvent { protocol: Some(of(47)), later_fragment: true, ..none.clone() };
        assert_eq!(later.packet().to_string(), "47 10.0.0.1 -> 10.0.0.2 later fragment");
        let other = PacketEvent { protocol: None, ethertype: Some("0x88cc".to_owned()), ..none.clone() };
        assert_eq!(other.packet().to_string(), "ethertype 0x88cc");
        assert_eq!(PacketEvent { protocol: None, ..none }.packet().to_string(), "a frame");
    }

    #[test]
    fn flags_are_words_in_json() {
        let json = serde_json::to_value(event()).unwrap();
        assert_eq!(json["tcp_flags"], "SYN,ACK");
        assert_eq!(json["source_port"], 4000);
        assert!(json["icmp_type"].is_null());
        assert_eq!(flag_names(0), "none");
    }
}

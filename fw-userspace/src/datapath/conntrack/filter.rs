//! Which connections are meant.

use std::net::IpAddr;
use std::str::FromStr;

use fw_common::FlowKey;
use fw_common::conntrack::{Class, State};
use fw_common::packet;
use ipnet::IpNet;

use super::{ip, protocol};
use crate::leading_zeros;
use crate::report::{Protocol, ProtocolName};

/// What a connection must have in common with: all of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// Interface, or subnet of a router's leg.
    pub interface: Option<String>,
    /// Either end.
    pub address: Option<Network>,
    /// Either end's; TCP and UDP only.
    pub port: Option<u16>,
    /// IP protocol.
    pub protocol: Option<WantedProtocol>,
    /// How far it is.
    pub progress: Option<Progress>,
}

impl Filter {
    /// Whether everything matches.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// All but the interface, whose number the filter does not know.
    pub(super) fn matches(&self, key: &FlowKey, state: State, class: Class) -> bool {
        let address =
            |network: &Network| network.0.contains(&ip(key.local)) || network.0.contains(&ip(key.remote));
        let port =
            |port: u16| has_ports(key.protocol as u8) && [key.local_port, key.remote_port].contains(&port);
        self.protocol.is_none_or(|wanted| wanted.is(protocol(key)))
            && self.port.is_none_or(port)
            && self.progress.is_none_or(|progress| progress.matches(state, class))
            && self.address.as_ref().is_none_or(address)
    }
}

pub(in crate::datapath) fn has_ports(number: u8) -> bool {
    matches!(number, packet::protocol::TCP | packet::protocol::UDP)
}

/// A network, or one address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Network(IpNet);

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        leading_zeros::refuse(text)?;
        let network = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        network.map(Self).map_err(|_| "must be an address or a network, such as \"10.0.1.0/24\"".to_owned())
    }
}

impl FromStr for ProtocolName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Ok(Self(match text {
            "tcp" => packet::protocol::TCP,
            "udp" => packet::protocol::UDP,
            "icmp" => packet::protocol::ICMP,
            "icmpv6" => packet::protocol::ICMPV6,
            number => number.parse().map_err(|_| {
                "must be \"tcp\", \"udp\", \"icmp\", \"icmpv6\" or a number from 0 to 255".to_owned()
            })?,
        }))
    }
}

/// A protocol by its word, or by its number: ICMP by its word only in its own family, where it is shown by that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WantedProtocol {
    name: ProtocolName,
    is_word: bool,
}

impl WantedProtocol {
    fn is(self, protocol: Protocol) -> bool {
        let is_shown_so = !self.is_word || protocol.to_string() == self.name.to_string();
        protocol.number == self.name.0 && is_shown_so
    }
}

impl FromStr for WantedProtocol {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let name: ProtocolName = text.parse()?;
        Ok(Self { name, is_word: name.to_string() == text })
    }
}

/// How far connections are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Progress {
    /// In a state with this name.
    State(&'static str),
    /// Among those that are kept, or among the others.
    Kept(bool),
}

impl Progress {
    fn matches(self, state: State, class: Class) -> bool {
        match self {
            Self::State(name) => state.name() == name,
            Self::Kept(wanted) => class.is_kept() == wanted,
        }
    }
}

impl FromStr for Progress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "half-open" => return Ok(Self::Kept(false)),
            "confirmed" => return Ok(Self::Kept(true)),
            _ => {}
        }
        // Some states have one name.
        let mut names: Vec<&'static str> = Vec::new();
        for name in State::ALL.map(State::name) {
            if !names.contains(&name) {
                names.push(name);
            }
        }
        match names.iter().copied().find(|name| *name == text) {
            Some(name) => Ok(Self::State(name)),
            None => Err(format!("must be \"half-open\", \"confirmed\", \"{}\"", names.join("\", \""))),
        }
    }
}

#[cfg(test)]
mod tests {
    use fw_common::Address;

    use super::*;

    fn key(number: u8, local_port: u16, remote_port: u16) -> FlowKey {
        FlowKey {
            zone: 1,
            protocol: number.into(),
            local: Address::from_ipv4([10, 0, 1, 10]),
            remote: Address::from_ipv4([198, 51, 100, 7]),
            local_port,
            remote_port,
            reserved: 0,
        }
    }

    fn matches(filter: &Filter, key: &FlowKey) -> bool {
        filter.matches(key, State::Established, Class::Assured)
    }

    #[test]
    fn either_end_matches() {
        let web = key(packet::protocol::TCP, 443, 51000);
        for (text, expected) in
            [("10.0.1.0/24", true), ("198.51.100.7", true), ("198.51.100.8", false), ("::/0", false)]
        {
            let filter = Filter { address: Some(text.parse().unwrap()), ..Filter::default() };
            assert_eq!(matches(&filter, &web), expected, "{text}");
        }
        for (port, expected) in [(443, true), (51000, true), (80, false)] {
            let filter = Filter { port: Some(port), ..Filter::default() };
            assert_eq!(matches(&filter, &web), expected, "{port}");
        }
    }

    #[test]
    fn icmp_is_asked_for_as_it_is_shown() {
        let matched = |text: &str, number, remote: Address| {
            let filter = Filter { protocol: Some(text.parse().unwrap()), ..Filter::default() };
            matches(&filter, &FlowKey { remote, ..key(number, 0, 0) })
        };
        let (v4, v6) = (Address::from_ipv4([198, 51, 100, 7]), Address { high: 0x2001_0db8 << 32, low: 7 });
        for (text, number, expected) in [
            ("icmp", 1, [true, false]),
            ("icmpv6", 58, [false, true]),
            ("1", 1, [true, true]),
            ("58", 58, [true, true]),
            ("tcp", 6, [true, true]),
            ("icmp", 58, [false, false]),
        ] {
            assert_eq!([v4, v6].map(|remote| matched(text, number, remote)), expected, "{text} {number}");
        }
    }

    #[test]
    fn an_icmp_identifier_is_no_port() {
        let filter = Filter { port: Some(443), ..Filter::default() };
        assert!(!matches(&filter, &key(packet::protocol::ICMP, 443, 8)));
    }

    #[test]
    fn every_state_can_be_asked_for() {
        for state in State::ALL {
            let progress: Progress = state.name().parse().unwrap();
            assert!(progress.matches(state, Class::Inbound));
        }
        let half_open: Progress = "half-open".parse().unwrap();
        assert!(half_open.matches(State::SynSent, Class::Inbound));
        assert!(!half_open.matches(State::SynSent, Class::Assured));
    }

    #[test]
    fn errors_say_what_would_do() {
        let error = "open".parse::<Progress>().unwrap_err();
        assert!(error.contains("\"half-open\"") && error.contains("\"syn_sent\""), "{error}");
        assert_eq!(error.matches("\"replied\"").count(), 1, "{error}");
        assert!("gre".parse::<ProtocolName>().unwrap_err().contains("0 to 255"));
        assert!("256".parse::<ProtocolName>().is_err());
        let error = "010.0.0.0/8".parse::<Network>().unwrap_err();
        assert!(error.contains("octal") && error.ends_with("write \"10.0.0.0/8\""), "{error}");
        assert!("10.0.0.0/33".parse::<Network>().unwrap_err().contains("10.0.1.0/24"));
    }
}

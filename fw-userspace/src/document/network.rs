//! Scalars of the network: CIDRs, addresses, protocols.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;

use super::report::Report;
use super::scalar::{one_of, plain_schema};
use super::value::{FromScalar, Scalar};
use crate::leading_zeros;

/// A CIDR as written, host bits included.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cidr(pub(super) IpNet);

impl FromScalar for Cidr {
    fn from_scalar(scalar: &Scalar<'_>, _: &mut Report<'_>) -> Result<Self, String> {
        let Scalar::Text(text) = scalar else {
            return Err(CIDR_EXPECTED.to_owned());
        };
        leading_zeros::refuse(text)?;
        let net: IpNet = text.parse().map_err(|_| match text.parse::<IpAddr>() {
            Ok(address) => format!("must be a CIDR, write \"{}\"", IpNet::from(address)),
            Err(_) => CIDR_EXPECTED.to_owned(),
        })?;
        match net {
            IpNet::V6(net) if net.prefix_len() >= MAPPED_PREFIX && is_mapped(net.addr()) => {
                Err(format!("must be an IPv4 CIDR such as \"{}\"", unmapped(net.addr(), net.prefix_len())))
            }
            _ => Ok(Self(net)),
        }
    }
}

plain_schema!(Cidr, {
    "type": "string",
    "pattern": "^[0-9a-fA-F.:]+/[0-9]{1,3}$",
});

/// An address of an interface.
#[derive(Debug, Clone, Copy)]
pub(super) struct Address(pub(super) IpAddr);

impl FromScalar for Address {
    fn from_scalar(scalar: &Scalar<'_>, _: &mut Report<'_>) -> Result<Self, String> {
        let Scalar::Text(text) = scalar else {
            return Err(ADDRESS_EXPECTED.to_owned());
        };
        leading_zeros::refuse(text)?;
        let address: IpAddr = text.parse().map_err(|_| match text.parse::<IpNet>() {
            Ok(net) => format!("must be one address, write \"{}\"", net.addr()),
            Err(_) => ADDRESS_EXPECTED.to_owned(),
        })?;
        if let IpAddr::V6(v6) = address
            && let Some(v4) = v6.to_ipv4_mapped()
        {
            return Err(format!("must be an IPv4 address, write \"{v4}\""));
        }
        if address.is_unspecified() || address.is_multicast() || address.is_loopback() {
            return Err("must be a unicast address of the interface".to_owned());
        }
        Ok(Self(address))
    }
}

plain_schema!(Address, { "type": "string", "pattern": "^[0-9a-fA-F.:]+$" });

/// IP protocol number; `None` is any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Protocol(pub(super) Option<u8>);

impl FromScalar for Protocol {
    fn from_scalar(scalar: &Scalar<'_>, report: &mut Report<'_>) -> Result<Self, String> {
        let words = || PROTOCOL_WORDS.iter().map(|(word, _)| *word);
        let must_be = || format!("must be {}, or an integer -1 to 255", one_of(words()));
        match scalar {
            Scalar::Integer(-1) => Ok(Self(None)),
            Scalar::Integer(number) => u8::try_from(*number).map(|n| Self(Some(n))).map_err(|_| must_be()),
            Scalar::Text(text) => match PROTOCOL_WORDS.iter().find(|(word, _)| word == text) {
                Some((_, number)) => Ok(Self(*number)),
                None if text.parse::<i64>().is_ok_and(|number| (-1..=255).contains(&number)) => {
                    Err(format!("{}, write {text} without quotes", must_be()))
                }
                None => Err(format!("{}{}", must_be(), report.did_you_mean(text, words()))),
            },
            Scalar::Bool(_) | Scalar::Other => Err(must_be()),
        }
    }
}

plain_schema!(Protocol, {
    "anyOf": [
        { "type": "string", "enum": ["tcp", "udp", "icmp", "icmpv6", "all"] },
        { "type": "integer", "minimum": -1, "maximum": 255 },
    ],
});

/// `::ffff:0:0/96` is how IPv6 APIs write IPv4; on the wire such an address is a forgery.
fn is_mapped(address: Ipv6Addr) -> bool {
    address.to_ipv4_mapped().is_some()
}

fn unmapped(address: Ipv6Addr, prefix_len: u8) -> String {
    let v4 = address.to_ipv4_mapped().unwrap_or(std::net::Ipv4Addr::UNSPECIFIED);
    format!("{v4}/{}", prefix_len.saturating_sub(MAPPED_PREFIX))
}

const CIDR_EXPECTED: &str = "must be a CIDR such as \"10.0.0.0/8\" or \"2001:db8::/32\"";
const ADDRESS_EXPECTED: &str = "must be an address such as \"10.0.0.1\" or \"2001:db8::1\"";
const MAPPED_PREFIX: u8 = 96;

/// <https://www.iana.org/assignments/protocol-numbers/protocol-numbers.xhtml>
pub(super) const TCP: u8 = 6;
pub(super) const UDP: u8 = 17;
pub(super) const ICMP: u8 = 1;
pub(super) const ICMPV6: u8 = 58;

const PROTOCOL_WORDS: &[(&str, Option<u8>)] =
    &[("tcp", Some(TCP)), ("udp", Some(UDP)), ("icmp", Some(ICMP)), ("icmpv6", Some(ICMPV6)), ("all", None)];

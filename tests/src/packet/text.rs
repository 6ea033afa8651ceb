//! The packet text of the cases: one line, one frame. The grammar is in `tests/cases/README.md`.

mod endings;
mod extension;
mod value;

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use anyhow::{Context, Result, bail, ensure};

use super::model::{Network, Packet};
use super::{control, frame, icmp, protocol, tcp, udp};
use endings::Endings;
use value::{ethertype, filler, hex, number};

const KINDS: &str = "tcp, udp, icmp, icmpv6, proto, arp, nd-solicit, nd-advert, router-solicit, \
                     router-advert, dhcp-discover, dhcp-offer, dhcpv6-solicit, ethertype or hex";

/// The frame that a packet text describes.
pub fn parse(text: &str) -> Result<Vec<u8>> {
    Ok(parse_packet(text)?.build())
}

/// The packet that a packet text describes, to be changed further.
pub fn parse_packet(text: &str) -> Result<Packet> {
    let (text, quote) = split_quote(text)?;
    let mut words = Words { rest: text.split_whitespace().collect() };
    let kind = words.take("a kind of packet")?;
    let mut packet = match kind {
        "tcp" => {
            let (from, to) = words.pair::<SocketAddr>("an address with a port")?;
            same_family(from.ip(), to.ip())?;
            tcp(from, to)
        }
        "udp" => {
            let (from, to) = words.pair::<SocketAddr>("an address with a port")?;
            same_family(from.ip(), to.ip())?;
            udp(from, to)
        }
        "icmp" => words.icmp::<Ipv4Addr>("an IPv4 address")?,
        "icmpv6" => words.icmp::<Ipv6Addr>("an IPv6 address")?,
        "proto" => {
            let number = number(words.take("a protocol number")?, "a protocol number")?;
            let (from, to) = words.pair::<IpAddr>("an address")?;
            same_family(from, to)?;
            protocol(number, from, to, &filler(8))
        }
        "arp" => words.between("an IPv4 address", control::arp)?,
        "nd-solicit" => words.between("an IPv6 address", control::nd_solicit)?,
        "nd-advert" => words.between("an IPv6 address", control::nd_advert)?,
        "router-solicit" => words.between("an IPv6 address", control::router_solicit)?,
        "router-advert" => words.between("an IPv6 address", control::router_advert)?,
        "dhcp-discover" => control::dhcp_discover(),
        "dhcp-offer" => words.between("an IPv4 address", control::dhcp_offer)?,
        "dhcpv6-solicit" => words.between::<Ipv6Addr>("an IPv6 address", control::dhcpv6_solicit)?,
        "ethertype" => frame(ethertype(words.take("an ethertype")?)?, &[0; 46]),
        "hex" => return Ok(Packet::new(Network::Whole(hex(&words.rest.into_iter().collect::<String>())?))),
        other => bail!("\"{other}\" is no kind of packet: {KINDS}"),
    };
    if let Some(quote) = quote {
        ensure!(matches!(kind, "icmp" | "icmpv6"), "only icmp and icmpv6 quote, not \"{kind}\"");
        packet = packet.quote(&parse_packet(quote).context("in the quoted packet")?);
    }
    let mut endings = Endings::default();
    for word in words.rest {
        packet = endings.apply(packet, word)?;
    }
    endings.finish(packet)
}

/// The packet that an ICMP error quotes, if the text has one.
pub fn parse_quoted(text: &str) -> Result<Option<Packet>> {
    split_quote(text)?.1.map(parse_packet).transpose()
}

/// Cuts `quote (...)` out of the text.
fn split_quote(text: &str) -> Result<(String, Option<&str>)> {
    let Some((before, rest)) = text.split_once("quote") else { return Ok((text.to_owned(), None)) };
    let inner =
        rest.trim_start().strip_prefix('(').context("\"quote\" is followed by a packet in parentheses")?;
    let (inner, after) = inner.rsplit_once(')').context("the quoted packet has no closing \")\"")?;
    Ok((format!("{before} {after}"), Some(inner)))
}

struct Words<'a> {
    rest: VecDeque<&'a str>,
}

impl<'a> Words<'a> {
    fn take(&mut self, what: &str) -> Result<&'a str> {
        self.rest.pop_front().with_context(|| format!("{what} is missing at the end"))
    }

    fn pair<T: FromStr>(&mut self, what: &str) -> Result<(T, T)> {
        let read = |word: &str| word.parse().map_err(|_| anyhow::anyhow!("\"{word}\" is not {what}"));
        let from = read(self.take(what)?)?;
        let arrow = self.take("\">\"")?;
        ensure!(arrow == ">", "\"{arrow}\" stands where \">\" is expected");
        Ok((from, read(self.take(what)?)?))
    }

    fn between<T: FromStr>(&mut self, what: &str, make: impl Fn(T, T) -> Packet) -> Result<Packet> {
        let (from, to) = self.pair(what)?;
        Ok(make(from, to))
    }

    fn icmp<T: FromStr + Into<IpAddr>>(&mut self, what: &str) -> Result<Packet> {
        let (from, to) = self.pair::<T>(what)?;
        let word = self.take("TYPE/CODE")?;
        let (kind, code) = word.split_once('/').with_context(|| format!("\"{word}\" is not TYPE/CODE"))?;
        Ok(icmp(from.into(), to.into(), number(kind, "an ICMP type")?, number(code, "an ICMP code")?))
    }
}

fn same_family(from: IpAddr, to: IpAddr) -> Result<()> {
    ensure!(from.is_ipv4() == to.is_ipv4(), "\"{from} > {to}\" mixes IPv4 and IPv6");
    Ok(())
}

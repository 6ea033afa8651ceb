//! The packet text of the cases: one line, one frame. The grammar is in `tests/cases/README.md`.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use anyhow::{Context, Result, bail, ensure};

use super::model::{Body, Extension, Fragment, Network, Packet};
use super::{control, flag, frame, icmp, protocol, tcp, udp};

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
        "hex" => return whole(&words.rest.into_iter().collect::<String>()),
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

/// Cuts `quote (...)` out of the text.
fn split_quote(text: &str) -> Result<(String, Option<&str>)> {
    let Some((before, rest)) = text.split_once("quote") else { return Ok((text.to_owned(), None)) };
    let inner =
        rest.trim_start().strip_prefix('(').context("\"quote\" is followed by a packet in parentheses")?;
    let (inner, after) = inner.rsplit_once(')').context("the quoted packet has no closing \")\"")?;
    Ok((format!("{before} {after}"), Some(inner)))
}

struct Words<'a> {
    rest: std::collections::VecDeque<&'a str>,
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

/// What may stand at the end, in any order; some of it only makes sense once all of it is known.
#[derive(Default)]
struct Endings {
    flags: Option<u8>,
    len: Option<usize>,
    fragment: Option<Fragment>,
    tags: Vec<u16>,
}

impl Endings {
    fn apply(&mut self, mut packet: Packet, word: &str) -> Result<Packet> {
        let Some((key, value)) = word.split_once('=') else {
            let Network::Ip(ip) = &packet.network else { bail!("\"{word}\" was not understood") };
            ensure!(matches!(ip.body, Body::Tcp(_)) && self.flags.is_none(), "\"{word}\" was not understood");
            self.flags = Some(flags(word)?);
            return Ok(packet);
        };
        match key {
            "src-mac" => packet.link.source = Some(mac(value)?),
            "dst-mac" => packet.link.destination = Some(mac(value)?),
            "vlan" => {
                let id = number(value, "a VLAN number")?;
                ensure!(id < 4096, "\"{value}\" is not a VLAN number: at most 4095");
                ensure!(self.tags.len() < 3, "\"{word}\": three tags are enough");
                self.tags.push(id);
            }
            _ => self.apply_ip(&mut packet, word, key, value)?,
        }
        Ok(packet)
    }

    fn apply_ip(&mut self, packet: &mut Packet, word: &str, key: &str, value: &str) -> Result<()> {
        let Network::Ip(ip) = &mut packet.network else { bail!("\"{word}\" does not fit this packet") };
        let v4 = ip.source.is_ipv4();
        match (key, &mut ip.body) {
            ("seq", Body::Tcp(tcp)) => tcp.seq = number(value, "a sequence number")?,
            ("ack", Body::Tcp(tcp)) => tcp.ack = number(value, "an acknowledgement number")?,
            ("id", Body::Icmp(icmp)) => icmp.id = number(value, "an identifier")?,
            ("seq", Body::Icmp(icmp)) => icmp.seq = number(value, "a sequence number")?,
            ("len", _) => {
                let len = number(value, "a length")?;
                ensure!(len <= 65_000, "\"{word}\": at most 65000");
                self.len = Some(len);
            }
            ("ttl", _) => ip.ttl = number(value, "a time to live")?,
            ("frag", _) => self.fragment = Some(fragment(value, v4)?),
            ("options", _) if v4 => {
                let len: usize = number(value, "a number of bytes")?;
                ensure!(len.is_multiple_of(4) && len <= 40, "\"{word}\": a multiple of 4, at most 40");
                ip.options = vec![1; len];
            }
            ("ext", _) if !v4 => ip.extensions = value.split(',').map(extension).collect::<Result<_>>()?,
            ("seq" | "ack" | "id" | "options" | "ext", _) => bail!("\"{word}\" does not fit this packet"),
            _ => bail!("\"{word}\" was not understood"),
        }
        Ok(())
    }

    fn finish(self, mut packet: Packet) -> Result<Packet> {
        for id in self.tags {
            packet = packet.vlan(id);
        }
        let Network::Ip(ip) = &mut packet.network else { return Ok(packet) };
        ip.fragment = self.fragment;
        let later = self.fragment.is_some_and(|f| f.offset_bytes > 0);
        let header = match &mut ip.body {
            Body::Tcp(tcp) => {
                ensure!(self.flags.is_some() || later, "flags are missing: syn, ack, fin ... or none");
                tcp.flags = self.flags.unwrap_or_default();
                20
            }
            Body::Udp { .. } | Body::Icmp(_) => 8,
            Body::Other { .. } => 0,
        };
        let len = self.len.or_else(|| {
            // All fragments but the last carry a multiple of eight bytes, and every one carries some.
            self.fragment.map(|f| if f.offset_bytes > 0 || header % 8 == 0 { 8 } else { 4 })
        });
        if let Some(len) = len {
            *ip.body.payload_mut() = filler(len);
        }
        Ok(packet)
    }
}

fn number<T: FromStr>(word: &str, what: &str) -> Result<T> {
    word.parse().map_err(|_| anyhow::anyhow!("\"{word}\" is not {what}"))
}

fn filler(len: usize) -> Vec<u8> {
    (0..len).map(|i| b'a' + (i % 26) as u8).collect()
}

fn same_family(from: IpAddr, to: IpAddr) -> Result<()> {
    ensure!(from.is_ipv4() == to.is_ipv4(), "\"{from} > {to}\" mixes IPv4 and IPv6");
    Ok(())
}

fn flags(word: &str) -> Result<u8> {
    if word == "none" {
        return Ok(0);
    }
    word.split('+').try_fold(0, |flags, name| {
        Ok(flags
            | match name {
                "fin" => flag::FIN,
                "syn" => flag::SYN,
                "rst" => flag::RST,
                "psh" => flag::PSH,
                "ack" => flag::ACK,
                "urg" => flag::URG,
                _ => bail!("\"{name}\" is no TCP flag: syn, ack, fin, rst, psh, urg, joined by +, or none"),
            })
    })
}

fn mac(word: &str) -> Result<[u8; 6]> {
    let read = || {
        let bytes: Option<Vec<u8>> = word.split(':').map(|b| u8::from_str_radix(b, 16).ok()).collect();
        bytes?.try_into().ok()
    };
    read().with_context(|| format!("\"{word}\" is not a hardware address such as 02:00:00:00:00:01"))
}

fn fragment(word: &str, v4: bool) -> Result<Fragment> {
    let expected = || format!("\"{word}\" is not ID:OFFSET or ID:OFFSET+, the offset in bytes");
    let (id, offset) = word.split_once(':').with_context(expected)?;
    let (offset, more) = offset.strip_suffix('+').map_or((offset, false), |offset| (offset, true));
    let (id, offset_bytes): (u32, u16) =
        (id.parse().ok().with_context(expected)?, offset.parse().ok().with_context(expected)?);
    ensure!(offset_bytes.is_multiple_of(8), "\"{word}\": fragments start at multiples of 8 bytes");
    ensure!(!v4 || id <= 0xffff, "\"{word}\": an IPv4 identification is at most 65535");
    Ok(Fragment { id, offset_bytes, more })
}

fn extension(word: &str) -> Result<Extension> {
    Ok(match word {
        "hop" => Extension::HopByHop,
        "dst" => Extension::Destination,
        // An experimental type (RFC 4727): receivers skip it when no segments are left (RFC 8200, 4.4).
        "routing" => Extension::Routing { kind: 253, segments_left: 0 },
        "routing0" => Extension::Routing { kind: 0, segments_left: 0 },
        "frag" => Extension::Fragment,
        "ah" => Extension::Authentication,
        _ => bail!("\"{word}\" is no extension header: hop, dst, routing, routing0, frag, ah"),
    })
}

fn ethertype(word: &str) -> Result<u16> {
    let digits =
        word.strip_prefix("0x").with_context(|| format!("\"{word}\" is not an ethertype like 0x88cc"))?;
    u16::from_str_radix(digits, 16).map_err(|_| anyhow::anyhow!("\"{word}\" is not an ethertype like 0x88cc"))
}

fn whole(digits: &str) -> Result<Packet> {
    ensure!(digits.len().is_multiple_of(2), "\"{digits}\" ends in half a byte");
    let bytes = digits.as_bytes().chunks(2).map(|pair| {
        let pair = String::from_utf8_lossy(pair);
        u8::from_str_radix(&pair, 16).map_err(|_| anyhow::anyhow!("\"{pair}\" is not a byte in hex"))
    });
    Ok(Packet::new(Network::Whole(bytes.collect::<Result<_>>()?)))
}

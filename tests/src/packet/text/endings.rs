//! What may stand at the end of a packet text, in any order.

use anyhow::{Result, bail, ensure};

use super::super::flag;
use super::super::model::{Body, Fragment, Ip, Network, Packet};
use super::extension::chain;
use super::value::{cut, ethertype, filler, flags, fragment, hex, length, mac, number, options, tag, word16};

/// Some of it only makes sense once all of it is known.
#[derive(Default)]
pub(super) struct Endings<'a> {
    flags: Option<u8>,
    data: Option<Vec<u8>>,
    fragment: Option<Fragment>,
    tags: Vec<u16>,
    /// Lengths to lie about, by the key.
    lengths: Vec<(&'a str, &'a str)>,
}

impl<'a> Endings<'a> {
    pub(super) fn apply(&mut self, mut packet: Packet, word: &'a str) -> Result<Packet> {
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
            "tag" => packet.link.tags.push(tag(value)?),
            "ethertype" => packet.link.ethertype = Some(ethertype(value)?),
            "pad" => packet.pad = at_most(2000, word, number(value, "a number of bytes")?)?,
            "cut" => packet.cut = Some(cut(value)?),
            _ => self.apply_ip(&mut packet, word, key, value)?,
        }
        Ok(packet)
    }

    fn apply_ip(&mut self, packet: &mut Packet, word: &str, key: &'a str, value: &'a str) -> Result<()> {
        let Network::Ip(ip) = &mut packet.network else { bail!("\"{word}\" does not fit this packet") };
        let v4 = ip.source.is_ipv4();
        match (key, &mut ip.body) {
            ("seq", Body::Tcp(tcp)) => tcp.seq = number(value, "a sequence number")?,
            ("ack", Body::Tcp(tcp)) => tcp.ack = number(value, "an acknowledgement number")?,
            ("win", Body::Tcp(tcp)) => tcp.window = number(value, "a window, 0 to 65535")?,
            ("wscale", Body::Tcp(tcp)) => tcp.window_scale = Some(number(value, "a shift, 0 to 255")?),
            ("id", Body::Icmp(icmp)) => icmp.id = number(value, "an identifier")?,
            ("seq", Body::Icmp(icmp)) => icmp.seq = number(value, "a sequence number")?,
            ("len", _) => self.data = Some(filler(at_most(65_000, word, number(value, "a length")?)?)),
            ("data", _) => self.data = Some(hex(value)?),
            ("ttl", _) => ip.ttl = number(value, "a time to live")?,
            ("frag", _) => self.fragment = Some(fragment(value, v4)?),
            ("options", _) if v4 => ip.options = options(value)?,
            ("ext", _) if !v4 => ip.extensions = chain(value)?,
            ("version", _) => ip.wrong.version = Some(at_most(15, word, number(value, "an IP version")?)?),
            ("ihl", _) if v4 => {
                ip.wrong.header_words = Some(at_most(15, word, number(value, "a number of words")?)?);
            }
            ("doff", Body::Tcp(_)) => {
                ip.wrong.tcp_words = Some(at_most(15, word, number(value, "a number of words")?)?);
            }
            ("ip-sum", _) if v4 => ip.wrong.ip_checksum = Some(word16(value, "a checksum")?),
            ("sum", Body::Tcp(_) | Body::Udp { .. } | Body::Icmp(_)) => {
                ip.wrong.transport_checksum = Some(word16(value, "a checksum")?);
            }
            ("tot-len", _) if v4 => self.lengths.push((key, value)),
            ("payload-len", _) if !v4 => self.lengths.push((key, value)),
            ("udp-len", Body::Udp { .. }) => self.lengths.push((key, value)),
            (
                "seq" | "ack" | "win" | "wscale" | "id" | "options" | "ext" | "ihl" | "doff" | "ip-sum"
                | "sum" | "tot-len" | "payload-len" | "udp-len",
                _,
            ) => bail!("\"{word}\" does not fit this packet"),
            _ => bail!("\"{word}\" was not understood"),
        }
        Ok(())
    }

    pub(super) fn finish(self, mut packet: Packet) -> Result<Packet> {
        ensure!(self.tags.is_empty() || packet.link.tags.is_empty(), "vlan and tag do not go together");
        for id in &self.tags {
            packet = packet.vlan(*id);
        }
        let Network::Ip(ip) = &mut packet.network else { return Ok(packet) };
        self.fill(ip)?;
        for (key, value) in self.lengths {
            let truth = match &packet.network {
                Network::Ip(ip) => true_length(&packet, ip, key),
                _ => break,
            };
            let value = length(value, truth)?;
            let Network::Ip(ip) = &mut packet.network else { break };
            if key == "udp-len" { ip.wrong.udp_length = Some(value) } else { ip.wrong.length = Some(value) }
        }
        Ok(packet)
    }

    /// The fragment, the flags and the data.
    fn fill(&self, ip: &mut Ip) -> Result<()> {
        ip.fragment = self.fragment;
        let later = self.fragment.is_some_and(|f| f.offset_bytes > 0);
        let header = match &mut ip.body {
            Body::Tcp(tcp) => {
                ensure!(self.flags.is_some() || later, "flags are missing: syn, ack, fin ... or none");
                tcp.flags = self.flags.unwrap_or_default();
                ensure!(
                    tcp.window_scale.is_none() || tcp.flags & flag::SYN != 0,
                    "wscale stands on a SYN only (RFC 7323)"
                );
                20
            }
            Body::Udp { .. } | Body::Icmp(_) => 8,
            Body::Other { .. } => 0,
        };
        let data = self.data.clone().or_else(|| {
            // All fragments but the last carry a multiple of eight bytes, and every one carries some.
            self.fragment.map(|f| filler(if f.offset_bytes > 0 || header % 8 == 0 { 8 } else { 4 }))
        });
        if let Some(data) = data {
            *ip.body.payload_mut() = data;
        }
        Ok(())
    }
}

/// What the field would say if it did not lie.
fn true_length(packet: &Packet, ip: &Ip, key: &str) -> usize {
    let all = packet.whole_ip_bytes().len();
    match (key, &ip.body) {
        ("udp-len", Body::Udp { payload, .. }) => 8 + payload.len(),
        ("payload-len", _) => all - 40,
        _ => all,
    }
}

fn at_most<T: PartialOrd + std::fmt::Display>(most: T, word: &str, value: T) -> Result<T> {
    ensure!(value <= most, "\"{word}\": at most {most}");
    Ok(value)
}

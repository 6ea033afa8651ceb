//! Packets out of a capture file, pcap or pcapng.

use std::io::Read;

use etherparse::{LaxNetSlice, LaxSlicedPacket, TransportSlice};
use fw_common::packet::tcp_flags;
use pcap_parser::{Block, Linktype, PcapBlockOwned, PcapError, create_reader};

use super::flow::{Endpoint, Flow, IcmpType};
use super::frame::{Link, RawFrame};
use crate::error::{Error, Result};
use crate::report::ProtocolName;

/// One packet of a capture.
#[derive(Debug)]
pub(super) struct Caught {
    pub(super) frame: RawFrame,
    /// Since the epoch.
    pub(super) at_ns: u64,
}

/// The link layer and the clock of a capture's interface.
#[derive(Clone, Copy)]
struct Interface {
    link: Option<Link>,
    linktype: i32,
    units_per_second: u64,
    offset_s: i64,
}

/// Larger than any block with a packet in it: captures hold at most 262,144 bytes of each.
const BUFFER: usize = 1 << 20;

/// Hands out packet by packet. Says what is wrong with the capture at the place where it cannot be read further.
pub(super) fn each(
    capture: impl Read + Send,
    mut take: impl FnMut(Caught) -> Result<()>,
) -> Result<Option<String>> {
    let mut reader = create_reader(BUFFER, capture).map_err(|error| match error {
        PcapError::HeaderNotRecognized => Error::input("it is no capture: neither pcap nor pcapng"),
        PcapError::Eof => Error::input("it is empty; a capture in the format pcap or pcapng was expected"),
        other => Error::input(format!("it is no capture that can be read: {other}")),
    })?;
    let mut interfaces: Vec<Interface> = Vec::new();
    // Of a reader that has no more to give, the same place twice is the end.
    let mut is_waiting = false;
    loop {
        match reader.next() {
            Ok((length, block)) => {
                is_waiting = false;
                if let Some(caught) = packet(&block, &mut interfaces)? {
                    take(caught)?;
                }
                reader.consume(length);
            }
            Err(PcapError::Eof) => return Ok(None),
            Err(PcapError::Incomplete(_)) if !is_waiting => {
                is_waiting = true;
                if let Err(error) = reader.refill() {
                    return Ok(Some(format!("cannot be read further: {error}")));
                }
            }
            Err(PcapError::Incomplete(_) | PcapError::UnexpectedEof) => {
                return Ok(Some("ends in the middle of a packet".to_owned()));
            }
            Err(PcapError::NomError(_, kind)) => {
                return Ok(Some(format!("is damaged from here on ({kind:?})")));
            }
            Err(error) => return Ok(Some(format!("cannot be read further: {error}"))),
        }
    }
}

fn packet(block: &PcapBlockOwned<'_>, interfaces: &mut Vec<Interface>) -> Result<Option<Caught>> {
    match block {
        PcapBlockOwned::LegacyHeader(header) => {
            let units_per_second = if header.is_nanosecond_precision() { 1_000_000_000 } else { 1_000_000 };
            interfaces.push(Interface::new(header.network, units_per_second, 0));
            Ok(None)
        }
        PcapBlockOwned::Legacy(packet) => {
            let Some(interface) = interfaces.first() else { return Ok(None) };
            let units = u64::from(packet.ts_sec) * interface.units_per_second + u64::from(packet.ts_usec);
            interface.caught(packet.data, packet.caplen, packet.origlen, units).map(Some)
        }
        // Each section has interfaces of its own.
        PcapBlockOwned::NG(Block::SectionHeader(_)) => {
            interfaces.clear();
            Ok(None)
        }
        PcapBlockOwned::NG(Block::InterfaceDescription(about)) => {
            let units = about.ts_resolution().filter(|units| *units > 0).unwrap_or(1_000_000);
            interfaces.push(Interface::new(about.linktype, units, about.ts_offset()));
            Ok(None)
        }
        PcapBlockOwned::NG(Block::EnhancedPacket(packet)) => {
            let Some(interface) = interfaces.get(packet.if_id as usize) else { return Ok(None) };
            let units = u64::from(packet.ts_high) << 32 | u64::from(packet.ts_low);
            interface.caught(packet.data, packet.caplen, packet.origlen, units).map(Some)
        }
        PcapBlockOwned::NG(Block::SimplePacket(packet)) => {
            let Some(interface) = interfaces.first() else { return Ok(None) };
            let caught = u32::try_from(packet.data.len()).unwrap_or(u32::MAX);
            interface.caught(packet.data, caught, packet.origlen, 0).map(Some)
        }
        PcapBlockOwned::NG(_) => Ok(None),
    }
}

impl Interface {
    fn new(linktype: Linktype, units_per_second: u64, offset_s: i64) -> Self {
        let link = match linktype {
            Linktype::ETHERNET => Some(Link::Ethernet),
            Linktype::RAW | Linktype::IPV4 | Linktype::IPV6 => Some(Link::Bare),
            _ => None,
        };
        Self { link, linktype: linktype.0, units_per_second, offset_s }
    }

    fn caught(&self, data: &[u8], caught: u32, original: u32, units: u64) -> Result<Caught> {
        let link = self.link.ok_or_else(|| {
            Error::input(format!(
                "its packets have link type {}, Ethernet (1) or raw IP (101) was expected; capture at one device, not \
                 at \"any\"",
                self.linktype
            ))
        })?;
        // Blocks are padded.
        let bytes = data.get(..caught as usize).unwrap_or(data).to_vec();
        let ns = u128::from(units) * 1_000_000_000 / u128::from(self.units_per_second);
        let at_ns = u64::try_from(ns)
            .unwrap_or(u64::MAX)
            .saturating_add_signed(self.offset_s.saturating_mul(1_000_000_000));
        Ok(Caught { frame: RawFrame { link, bytes, is_cut: original > caught }, at_ns })
    }
}

/// A frame in words, as far as it is understood. For people only: what decides reads the frame itself.
pub(super) fn flow_of(frame: &RawFrame) -> Option<Flow> {
    let sliced = match frame.link {
        Link::Ethernet => LaxSlicedPacket::from_ethernet(&frame.bytes).ok()?,
        Link::Bare => LaxSlicedPacket::from_ip(&frame.bytes).ok()?,
    };
    let (source, destination, number) = match sliced.net? {
        LaxNetSlice::Ipv4(ip) => {
            let header = ip.header();
            let ends = (header.source_addr().into(), header.destination_addr().into());
            (ends.0, ends.1, ip.payload().ip_number)
        }
        LaxNetSlice::Ipv6(ip) => {
            let header = ip.header();
            let ends = (header.source_addr().into(), header.destination_addr().into());
            (ends.0, ends.1, ip.payload().ip_number)
        }
        LaxNetSlice::Arp(_) => return None,
    };
    let mut flow = Flow {
        protocol: ProtocolName(number.0),
        source: Endpoint { address: source, port: None },
        destination: Endpoint { address: destination, port: None },
        tcp_flags: 0,
        icmp: IcmpType { kind: 0, code: 0 },
    };
    match sliced.transport {
        Some(TransportSlice::Tcp(tcp)) => {
            flow.source.port = Some(tcp.source_port());
            flow.destination.port = Some(tcp.destination_port());
            let flags = [
                (tcp.fin(), tcp_flags::FIN),
                (tcp.syn(), tcp_flags::SYN),
                (tcp.rst(), tcp_flags::RST),
                (tcp.ack(), tcp_flags::ACK),
            ];
            flow.tcp_flags = flags.iter().filter(|(is_set, _)| *is_set).fold(0, |all, (_, flag)| all | flag);
        }
        Some(TransportSlice::Udp(udp)) => {
            flow.source.port = Some(udp.source_port());
            flow.destination.port = Some(udp.destination_port());
        }
        Some(TransportSlice::Icmpv4(icmp)) => {
            flow.icmp = IcmpType { kind: icmp.type_u8(), code: icmp.code_u8() };
        }
        Some(TransportSlice::Icmpv6(icmp)) => {
            flow.icmp = IcmpType { kind: icmp.type_u8(), code: icmp.code_u8() };
        }
        Some(TransportSlice::Igmp(_)) | None => {}
    }
    Some(flow)
}

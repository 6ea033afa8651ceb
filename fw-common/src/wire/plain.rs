//! The packets that nearly all are, read at fixed places.
//!
//! Recognised is only what [`super::parse`] would read the same from: no VLAN tag in the frame, no IPv4 options and no
//! IPv6 extension headers, no fragment, TCP or UDP in good order, no SYN-ACK with options, the headers in the first buffer.
//! Everything else, and everything that is to be refused, is left to it.

use super::ethertype;
use crate::address::{Address, Family};
use crate::frame::Frame;
use crate::packet::{Fragment, Packet, protocol, tcp_flags};

/// Behind an Ethernet header without tags. One word earlier ends with the ethertype.
pub const IP: u32 = 14;
const IPV4_LEN: u32 = 20;
const IPV6_LEN: u32 = 40;
const TCP_LEN: u32 = 20;
const UDP_LEN: u32 = 8;
/// More fragments, or an offset (RFC 791).
const IS_FRAGMENT: u64 = 0x3fff;

/// Fills `packet`, or returns false and may have changed it.
#[inline(always)]
pub fn plain<F: Frame>(frame: &F, packet: &mut Packet) -> bool {
    packet.fragment = Fragment::Whole;
    packet.fragment_offset = 0;
    packet.identifier = 0;
    let Some([before]) = frame.words::<1>(IP.wrapping_sub(8)) else { return false };
    match before as u16 {
        ethertype::IPV4 => ipv4(frame, packet),
        ethertype::IPV6 => ipv6(frame, packet),
        _ => false,
    }
}

#[inline(always)]
fn ipv4<F: Frame>(frame: &F, packet: &mut Packet) -> bool {
    // Up to the ports.
    let Some([start, middle, end]) = frame.words::<3>(IP) else { return false };
    // Version and header length: 4, and 5 words.
    if start >> 56 != 0x45 || start & IS_FRAGMENT != 0 {
        return false;
    }
    packet.family = Family::V4;
    packet.hop_limit = (middle >> 56) as u8;
    packet.protocol = (middle >> 48) as u8;
    packet.source = Address::from_ipv4((middle as u32).to_be_bytes());
    packet.destination = Address::from_ipv4(((end >> 32) as u32).to_be_bytes());
    packet.source_port = (end >> 16) as u16;
    packet.service = end as u16;
    let room = u32::from((start >> 32) as u16).wrapping_sub(IPV4_LEN);
    transport(frame, packet, IP.wrapping_add(IPV4_LEN), room)
}

#[inline(always)]
fn ipv6<F: Frame>(frame: &F, packet: &mut Packet) -> bool {
    let Some([start, s0, s1, d0, d1, ports]) = frame.words::<6>(IP) else { return false };
    if start >> 60 != 6 {
        return false;
    }
    packet.family = Family::V6;
    packet.hop_limit = start as u8;
    packet.protocol = (start >> 8) as u8;
    packet.source = Address { high: s0, low: s1 };
    packet.destination = Address { high: d0, low: d1 };
    if packet.source.is_mapped() || packet.destination.is_mapped() {
        return false;
    }
    packet.source_port = (ports >> 48) as u16;
    packet.service = (ports >> 32) as u16;
    let room = u32::from((start >> 16) as u16);
    transport(frame, packet, IP.wrapping_add(IPV6_LEN), room)
}

/// What stands at `start`, of `room` bytes; ports are read already.
#[inline(always)]
fn transport<F: Frame>(frame: &F, packet: &mut Packet, start: u32, room: u32) -> bool {
    packet.transport = start;
    packet.end = start.wrapping_add(room);
    packet.tcp_flags = 0;
    // A length below the header's wraps around.
    if room > u32::from(u16::MAX) || packet.end > frame.len_from(packet.end) {
        return false;
    }
    match packet.protocol {
        protocol::UDP => room >= UDP_LEN,
        protocol::TCP => {
            let Some([numbers, rest]) = frame.words::<2>(start.wrapping_add(4)) else { return false };
            let header_len = ((rest >> 60) as u32).wrapping_mul(4);
            let flags = (rest >> 48) as u8;
            let resets_or_ends = flags & (tcp_flags::FIN | tcp_flags::RST) != 0;
            packet.sequence = (numbers >> 32) as u32;
            packet.acknowledgement = numbers as u32;
            packet.tcp_flags = flags;
            packet.window = (rest >> 32) as u16;
            if flags & tcp_flags::SYN != 0 {
                let is_first = flags & tcp_flags::ACK == 0;
                if !is_first && header_len != TCP_LEN {
                    return false;
                }
                packet.window_shift = if is_first { Packet::SHIFT_UNREAD } else { Packet::SHIFT_NONE };
            }
            packet.payload_len = room.wrapping_sub(header_len);
            TCP_LEN <= header_len && header_len <= room && !(flags & tcp_flags::SYN != 0 && resets_or_ends)
        }
        _ => false,
    }
}

//! The fields of TCP, UDP, ICMP and ICMPv6 that rules and tracking can see.

use crate::frame::Frame;
use crate::limits::MAX_TCP_OPTIONS;
use crate::packet::{Fragment, Packet, protocol, tcp_flags};
use crate::verdict::Reason;

/// RFC 9293 section 3.1, RFC 768, RFC 792.
const TCP_LEN: u32 = 20;
const UDP_LEN: u32 = 8;
const ICMP_LEN: u32 = 8;
/// Options that end the list, that fill it, and that are asked for (RFC 9293 section 3.2, RFC 7323 section 2.2).
const OPTION_END: u8 = 0;
const OPTION_NOP: u8 = 1;
const OPTION_WINDOW_SCALE: u8 = 3;
/// RFC 7323 section 2.3.
const MOST_SHIFT: u8 = 14;
/// ICMPv6 messages of 4 bytes exist (RFC 4443 section 2.1).
const ICMPV6_LEN: u32 = 4;

/// Completes `packet`.
#[inline(always)]
pub(super) fn parse<F: Frame>(frame: &F, packet: &mut Packet) -> Result<(), Reason> {
    // What every protocol is asked for. Not the whole packet at once: that becomes a loop over its bytes in BPF.
    packet.source_port = 0;
    packet.service = 0;
    packet.identifier = 0;
    packet.tcp_flags = 0;
    if let Fragment::Later { .. } = packet.fragment {
        // A fragment that starts inside the TCP header would rewrite what the first one was judged by
        // (RFC 3128). UDP's and ICMP's 8 bytes end where the smallest offset begins.
        let offset = u32::from(packet.fragment_offset).wrapping_mul(8);
        let inside = packet.protocol == protocol::TCP && offset < TCP_LEN;
        return if inside { Err(Reason::FragmentOverlapsHeader) } else { Ok(()) };
    }
    packet.transport = frame.forget(packet.transport);
    let room = frame.forget(packet.end.wrapping_sub(packet.transport));
    match packet.protocol {
        protocol::TCP => {
            if room < TCP_LEN {
                return Err(packet.cut_short(Reason::TransportTruncated));
            }
            tcp(frame, packet, room)?;
        }
        protocol::UDP => {
            if room < UDP_LEN {
                return Err(packet.cut_short(Reason::TransportTruncated));
            }
            let [s0, s1, d0, d1] = frame.load::<4>(packet.transport).ok_or(Reason::TransportTruncated)?;
            packet.source_port = u16::from_be_bytes([s0, s1]);
            packet.service = u16::from_be_bytes([d0, d1]);
        }
        _ if packet.is_icmp() => {
            let least = if packet.protocol == protocol::ICMP { ICMP_LEN } else { ICMPV6_LEN };
            if room < least {
                return Err(packet.cut_short(Reason::TransportTruncated));
            }
            let [kind, code] = frame.load::<2>(packet.transport).ok_or(Reason::TransportTruncated)?;
            packet.service = u16::from_be_bytes([kind, code]);
            if room >= ICMP_LEN {
                let id =
                    frame.load::<2>(packet.transport.wrapping_add(4)).ok_or(Reason::TransportTruncated)?;
                packet.identifier = u16::from_be_bytes(id);
            }
        }
        _ => {}
    }
    Ok(())
}

#[inline(always)]
fn tcp<F: Frame>(frame: &F, packet: &mut Packet, room: u32) -> Result<(), Reason> {
    let [s0, s1, d0, d1] = frame.load::<4>(packet.transport).ok_or(Reason::TransportTruncated)?;
    let sequence = frame.load::<4>(packet.transport.wrapping_add(4)).ok_or(Reason::TransportTruncated)?;
    let ack = frame.load::<4>(packet.transport.wrapping_add(8)).ok_or(Reason::TransportTruncated)?;
    let [words, flags, w0, w1] =
        frame.load::<4>(packet.transport.wrapping_add(12)).ok_or(Reason::TransportTruncated)?;
    let window = [w0, w1];
    let header_len = u32::from(words >> 4).wrapping_mul(4);
    // A first fragment may cut the options off; then it carries no payload either.
    if header_len < TCP_LEN || (header_len > room && packet.fragment == Fragment::Whole) {
        return Err(Reason::TcpHeaderLength);
    }
    if flags & tcp_flags::SYN != 0 && flags & (tcp_flags::FIN | tcp_flags::RST) != 0 {
        return Err(Reason::BadTcpFlags);
    }
    packet.source_port = u16::from_be_bytes([s0, s1]);
    packet.service = u16::from_be_bytes([d0, d1]);
    packet.sequence = u32::from_be_bytes(sequence);
    packet.acknowledgement = u32::from_be_bytes(ack);
    packet.tcp_flags = flags;
    packet.window = u16::from_be_bytes(window);
    packet.payload_len = room.saturating_sub(header_len);
    packet.window_shift = Packet::SHIFT_UNREAD;
    if flags & (tcp_flags::SYN | tcp_flags::ACK) == tcp_flags::SYN | tcp_flags::ACK {
        read_window_shift(frame, packet);
    }
    Ok(())
}

/// Reads a SYN's window scale option (RFC 7323 section 2.2). Options are in a list without order (RFC 9293 section 3.1).
#[inline(always)]
pub(crate) fn read_window_shift<F: Frame>(frame: &F, packet: &mut Packet) {
    packet.window_shift = Packet::SHIFT_NONE;
    let Some([words]) = frame.load::<1>(packet.transport.wrapping_add(12)) else { return };
    let end = packet.transport.wrapping_add(u32::from(words >> 4).wrapping_mul(4));
    let mut place = packet.transport.wrapping_add(TCP_LEN);
    for _ in 0..MAX_TCP_OPTIONS {
        place = frame.forget(place);
        if place >= end {
            return;
        }
        let Some([kind]) = frame.load::<1>(place) else { return };
        if kind == OPTION_NOP {
            place = place.wrapping_add(1);
            continue;
        }
        // Also the end of the list: there is no third byte behind it that could be meant.
        let Some([_, len]) = frame.load::<2>(place) else { return };
        if kind == OPTION_END || len < 2 {
            return;
        }
        if kind == OPTION_WINDOW_SCALE && len == 3 && place.wrapping_add(3) <= end {
            let Some([.., shift]) = frame.load::<3>(place) else { return };
            packet.window_shift = if shift > MOST_SHIFT { MOST_SHIFT } else { shift };
            return;
        }
        place = place.wrapping_add(u32::from(len));
    }
}

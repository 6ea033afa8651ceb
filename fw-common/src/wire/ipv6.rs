//! IPv6: header and extension chain (RFC 8200).

use crate::address::{Address, Family};
use crate::frame::{Frame, load_u16};
use crate::limits::MAX_EXTENSION_HEADERS;
use crate::packet::{Fragment, Packet};
use crate::verdict::Reason;

const HEADER_LEN: u32 = 40;
const FRAGMENT_LEN: u32 = 8;

/// Next-header values of the headers that are walked: those that Linux's receivers look behind
/// (`ipv6_ext_hdr`, net/ipv6/exthdrs_core.c, 6.18). Mobility, HIP and Shim6 are judged by their number.
/// <https://www.iana.org/assignments/ipv6-parameters> (extension header types)
mod next {
    pub(super) const HOP_BY_HOP: u8 = 0;
    pub(super) const ROUTING: u8 = 43;
    pub(super) const FRAGMENT: u8 = 44;
    pub(super) const AUTHENTICATION: u8 = 51;
    pub(super) const DESTINATION: u8 = 60;
}

#[inline(always)]
pub(super) fn parse<F: Frame>(frame: &F, start: u32, packet: &mut Packet) -> Result<(), Reason> {
    let [version, _, _, _, len_high, len_low, next_header, hop_limit] =
        frame.load::<8>(start).ok_or(Reason::Ipv6Truncated)?;
    if version >> 4 != 6 {
        return Err(Reason::IpVersion);
    }
    let source = frame.load::<16>(start.wrapping_add(8)).ok_or(Reason::Ipv6Truncated)?;
    packet.source = Address::from_ipv6(source);
    let destination = frame.load::<16>(start.wrapping_add(24)).ok_or(Reason::Ipv6Truncated)?;
    packet.destination = Address::from_ipv6(destination);
    // RFC 4942 section 2.2: on the wire they serve only to get round filters.
    if packet.source.is_mapped() || packet.destination.is_mapped() {
        return Err(Reason::Ipv4MappedAddress);
    }
    let payload = start.wrapping_add(HEADER_LEN);
    packet.end = packet_end(frame, payload, u16::from_be_bytes([len_high, len_low]));
    if packet.end > frame.len() {
        return Err(Reason::Ipv6Length);
    }
    packet.family = Family::V6;
    packet.hop_limit = hop_limit;
    walk(frame, next_header, payload, packet)
}

/// See [`super::ipv4`]: a zero length stands for BIG TCP (Linux 5.19) only where segmentation is pending.
#[inline(always)]
fn packet_end<F: Frame>(frame: &F, payload: u32, payload_len: u16) -> u32 {
    if payload_len == 0 && frame.segments() > 1 {
        return frame.len();
    }
    payload.wrapping_add(u32::from(payload_len))
}

/// Finds protocol, transport header and fragment. A last header that is not an extension header, known or not, is the
/// protocol.
#[inline(always)]
fn walk<F: Frame>(frame: &F, first: u8, payload: u32, packet: &mut Packet) -> Result<(), Reason> {
    let end = packet.end;
    packet.fragment = Fragment::Whole;
    let mut protocol = first;
    let mut at = payload;
    for position in 0..=MAX_EXTENSION_HEADERS {
        at = frame.forget(at);
        if !is_extension(protocol) {
            packet.protocol = protocol;
            packet.transport = at;
            return Ok(());
        }
        if position == MAX_EXTENSION_HEADERS {
            break;
        }
        // RFC 8200 section 4.1: hop-by-hop options stand first or not at all.
        if protocol == next::HOP_BY_HOP && position != 0 {
            return Err(Reason::Ipv6ExtensionOrder);
        }
        if at.wrapping_add(FRAGMENT_LEN) > end {
            return Err(packet.cut_short(Reason::Ipv6Truncated));
        }
        let [following, len, kind, _] = frame.load::<4>(at).ok_or(Reason::Ipv6Truncated)?;
        let header_len = match protocol {
            next::FRAGMENT => FRAGMENT_LEN,
            // RFC 4302 section 2.2: counted in words of 4 bytes, minus 2.
            next::AUTHENTICATION => u32::from(len).wrapping_add(2).wrapping_mul(4),
            _ => u32::from(len).wrapping_add(1).wrapping_mul(8),
        };
        // RFC 5095: type 0 is deprecated because it lets the sender choose the way.
        if protocol == next::ROUTING && kind == 0 {
            return Err(Reason::Ipv6RoutingHeader0);
        }
        if protocol == next::FRAGMENT {
            let flags = load_u16(frame, at.wrapping_add(2)).ok_or(Reason::Ipv6Truncated)?;
            let id = frame.load::<4>(at.wrapping_add(4)).ok_or(Reason::Ipv6Truncated)?;
            let id = u32::from_be_bytes(id);
            if flags >> 3 != 0 {
                packet.protocol = following;
                packet.transport = at.wrapping_add(FRAGMENT_LEN);
                packet.fragment = Fragment::Later { id };
                packet.fragment_offset = flags >> 3;
                return Ok(());
            }
            if flags & 1 != 0 {
                packet.set_first(id, end.wrapping_sub(at).wrapping_sub(FRAGMENT_LEN));
            }
        }
        protocol = following;
        at = at.wrapping_add(header_len);
        if at > end {
            return Err(packet.cut_short(Reason::Ipv6ExtensionLength));
        }
    }
    Err(Reason::Ipv6TooManyExtensions)
}

#[inline(always)]
fn is_extension(protocol: u8) -> bool {
    matches!(
        protocol,
        next::HOP_BY_HOP | next::ROUTING | next::FRAGMENT | next::AUTHENTICATION | next::DESTINATION
    )
}

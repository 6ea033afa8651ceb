//! IPv4: header, options, fragments (RFC 791).

use crate::address::{Address, Family};
use crate::frame::Frame;
use crate::limits::MAX_IPV4_OPTIONS;
use crate::packet::{Fragment, Packet};
use crate::verdict::Reason;

const HEADER_LEN: u32 = 20;
const MORE_FRAGMENTS: u16 = 0x2000;
const OFFSET_MASK: u16 = 0x1fff;

/// Options that steer a packet by a route of the sender's choice. RFC 7126 section 4.3 and 4.4: drop.
const LOOSE_SOURCE_ROUTE: u8 = 131;
const STRICT_SOURCE_ROUTE: u8 = 137;

#[inline(always)]
pub(super) fn parse<F: Frame>(
    frame: &F,
    start: u32,
    packet: &mut Packet,
    room: &mut OptionBytes,
) -> Result<(), Reason> {
    // Loads of a register's size: a larger one becomes a copy on the 512-byte stack.
    let [version_ihl, _, len_high, len_low, id_high, id_low, frag_high, frag_low] =
        frame.load::<8>(start).ok_or(Reason::Ipv4Truncated)?;
    let [hop_limit, protocol, _, _, s0, s1, s2, s3] =
        frame.load::<8>(start.wrapping_add(8)).ok_or(Reason::Ipv4Truncated)?;
    if version_ihl >> 4 != 4 {
        return Err(Reason::IpVersion);
    }
    let header_len = u32::from(version_ihl & 0x0f).wrapping_mul(4);
    if header_len < HEADER_LEN {
        return Err(Reason::Ipv4HeaderLength);
    }
    packet.end = packet_end(frame, start, u16::from_be_bytes([len_high, len_low]));
    if packet.end > frame.len() || packet.end < start.wrapping_add(HEADER_LEN) {
        return Err(Reason::Ipv4Length);
    }
    let transport = start.wrapping_add(header_len);
    if transport > packet.end {
        return Err(Reason::Ipv4HeaderLength);
    }
    if header_len > HEADER_LEN {
        options(frame, start.wrapping_add(HEADER_LEN), header_len.wrapping_sub(HEADER_LEN), room)?;
    }

    let id = u32::from(u16::from_be_bytes([id_high, id_low]));
    let flags = u16::from_be_bytes([frag_high, frag_low]);
    packet.fragment_offset = flags & OFFSET_MASK;
    packet.fragment = if packet.fragment_offset != 0 { Fragment::Later { id } } else { Fragment::Whole };
    if packet.fragment_offset == 0 && flags & MORE_FRAGMENTS != 0 {
        packet.set_first(id, packet.end.wrapping_sub(transport));
    }
    packet.source = Address::from_ipv4([s0, s1, s2, s3]);
    let destination = frame.load::<4>(start.wrapping_add(16)).ok_or(Reason::Ipv4Truncated)?;
    packet.destination = Address::from_ipv4(destination);
    packet.family = Family::V4;
    packet.protocol = protocol;
    packet.hop_limit = hop_limit;
    packet.transport = transport;
    Ok(())
}

/// Where the packet ends by its own length field. With segmentation pending that field may be 0 (BIG TCP,
/// Linux 6.3): then the frame's length counts.
#[inline(always)]
fn packet_end<F: Frame>(frame: &F, start: u32, total_len: u16) -> u32 {
    if total_len == 0 && frame.segments() > 1 {
        return frame.len();
    }
    start.wrapping_add(u32::from(total_len))
}

/// A copy of the options and one byte to look ahead. Walking the packet itself would make the verifier follow every
/// possible position of every option (more than a million instructions, Linux 6.18).
pub(super) type OptionBytes = [u8; 44];

/// No options.
pub(super) const NO_OPTIONS: OptionBytes = [0; 44];

/// Walks `len` bytes of options, refusing source routes and lengths that lie.
#[inline(always)]
fn options<F: Frame>(frame: &F, start: u32, len: u32, room: &mut OptionBytes) -> Result<(), Reason> {
    *room = NO_OPTIONS;
    let mut offset = 0;
    for word in room.chunks_exact_mut(4).take(MAX_IPV4_OPTIONS as usize / 4) {
        if offset < len {
            let bytes = frame.load::<4>(start.wrapping_add(offset)).ok_or(Reason::Ipv4Truncated)?;
            word.copy_from_slice(&bytes);
        }
        offset = offset.wrapping_add(4);
    }
    // By position and not by jumps, so that every access has a constant offset; and where the next option starts is
    // one bit of a word and not a number, because the verifier would follow each number by itself.
    let mut starts = 1u64;
    for (at, pair) in (0..u32::from(MAX_IPV4_OPTIONS)).zip(room.windows(2)) {
        let &[kind, option_len] = pair else { break };
        let is_start = starts & 1 != 0;
        starts >>= 1;
        if !is_start {
            continue;
        }
        if at >= len || kind == 0 {
            break;
        }
        if kind == 1 {
            starts = 1;
            continue;
        }
        if kind == LOOSE_SOURCE_ROUTE || kind == STRICT_SOURCE_ROUTE {
            return Err(Reason::Ipv4SourceRoute);
        }
        if option_len < 2 || at.wrapping_add(u32::from(option_len)) > len {
            return Err(Reason::Ipv4Option);
        }
        starts = 1u64.wrapping_shl(u32::from(option_len).wrapping_sub(1));
    }
    Ok(())
}

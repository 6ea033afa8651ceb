//! From bytes to a [`Packet`], or to a named refusal.
//!
//! What cannot be parsed is dropped: a filter that lets odd packets through has a bypass, not a limitation.
//! Checksums are never judged, since they may still be partial; lengths are, because the receiver goes by them.

mod ethernet;
mod ipv4;
mod ipv6;
mod plain;
mod transport;

pub use ethernet::{LinkHeader, ethertype};
use ipv4::OptionBytes;
pub use plain::{IP as PLAIN_IP, plain};
pub(crate) use transport::read_window_shift;

use crate::frame::{Frame, Link};
use crate::packet::Packet;
use crate::verdict::Reason;

/// Room for a parse. Results are left here and not returned: a `Result` with a value becomes a register of which half
/// is undefined, and the verifier refuses to have a leftover pointer masked there ("math between fp pointer and
/// 1099511627775", Linux 6.18).
#[derive(Debug, Clone, Copy)]
pub struct Room {
    /// The link layer.
    pub link: LinkHeader,
    /// The IP packet, if [`Parsed::Ip`].
    pub packet: Packet,
    /// IPv4 options.
    options: OptionBytes,
}

impl Room {
    /// Not used yet.
    pub const EMPTY: Self =
        Self { link: LinkHeader::EMPTY, packet: Packet::EMPTY, options: ipv4::NO_OPTIONS };
}

/// What a frame turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parsed {
    /// An IP packet.
    Ip,
    /// Something else, by the ethertype behind its VLAN tags; below 1536 it is an IEEE 802.3 length.
    Other,
}

/// Parses a frame into `room`, or says why it cannot be parsed.
#[inline(always)]
pub fn parse<F: Frame>(frame: &F, link: Link, room: &mut Room) -> Result<Parsed, Reason> {
    let Room { link: header, packet, options } = room;
    ethernet::parse(frame, link, header)?;
    let start = frame.forget(header.payload);
    match header.ethertype {
        ethertype::IPV4 => ipv4::parse(frame, start, packet, options)?,
        ethertype::IPV6 => ipv6::parse(frame, start, packet)?,
        _ => {
            ethernet::read_link_local(frame, link, header)?;
            return Ok(Parsed::Other);
        }
    }
    transport::parse(frame, packet)?;
    Ok(Parsed::Ip)
}

//! Ethernet and VLAN tags.

use crate::frame::{Frame, Link, load_u16};
use crate::limits::MAX_VLAN_TAGS;
use crate::verdict::Reason;

/// Ethertypes. <https://www.iana.org/assignments/ieee-802-numbers>
pub mod ethertype {
    /// IPv4.
    pub const IPV4: u16 = 0x0800;
    /// ARP.
    pub const ARP: u16 = 0x0806;
    /// 802.1Q tag.
    pub const VLAN: u16 = 0x8100;
    /// IPv6.
    pub const IPV6: u16 = 0x86dd;
    /// 802.1X (EAPOL).
    pub const EAPOL: u16 = 0x888e;
    /// 802.1ad service tag.
    pub const SERVICE_VLAN: u16 = 0x88a8;
    /// MACsec.
    pub const MACSEC: u16 = 0x88e5;
}

const ETHERNET_LEN: u32 = 14;
const VLAN_LEN: u32 = 4;

/// What is behind the link layer.
#[derive(Debug, Clone, Copy)]
pub struct LinkHeader {
    /// Behind all VLAN tags.
    pub ethertype: u16,
    /// Where the network layer starts.
    pub payload: u32,
    /// Sent to 01:80:c2:00:00:0X; known for frames other than IP only.
    pub link_local: bool,
}

impl LinkHeader {
    /// Not read yet.
    pub const EMPTY: Self = Self { ethertype: 0, payload: 0, link_local: false };
}

#[inline(always)]
pub(super) fn parse<F: Frame>(frame: &F, link: Link, header: &mut LinkHeader) -> Result<(), Reason> {
    let tags = match link {
        Link::Ethernet { tags } => tags,
        Link::Bare => return bare(frame, header),
    };
    header.ethertype = load_u16(frame, 12).ok_or(Reason::EthernetTruncated)?;
    header.payload = ETHERNET_LEN;
    for depth in 0..MAX_VLAN_TAGS {
        if !is_tag(header.ethertype) {
            return Ok(());
        }
        if depth.wrapping_add(tags) >= MAX_VLAN_TAGS {
            break;
        }
        let tag = header.payload;
        header.ethertype = load_u16(frame, tag.wrapping_add(2)).ok_or(Reason::EthernetTruncated)?;
        header.payload = tag.wrapping_add(VLAN_LEN);
    }
    if is_tag(header.ethertype) { Err(Reason::TooManyVlanTags) } else { Ok(()) }
}

/// Whether a frame goes to 01:80:c2:00:00:0X. Asked for frames other than IP only.
#[inline(always)]
pub(super) fn read_link_local<F: Frame>(
    frame: &F,
    link: Link,
    header: &mut LinkHeader,
) -> Result<(), Reason> {
    header.link_local = false;
    if matches!(link, Link::Bare) {
        return Ok(());
    }
    let destination = frame.load::<4>(0).ok_or(Reason::EthernetTruncated)?;
    let destination_end = load_u16(frame, 4).ok_or(Reason::EthernetTruncated)?;
    header.link_local = u32::from_be_bytes(destination) == 0x0180_c200 && destination_end & 0xfff0 == 0;
    Ok(())
}

/// Devices without a link layer (tun, wireguard, ppp) carry IP alone; its first nibble is the version.
#[inline(always)]
fn bare<F: Frame>(frame: &F, header: &mut LinkHeader) -> Result<(), Reason> {
    let [first] = frame.load::<1>(0).ok_or(Reason::EthernetTruncated)?;
    header.payload = 0;
    header.ethertype = match first >> 4 {
        4 => ethertype::IPV4,
        6 => ethertype::IPV6,
        _ => return Err(Reason::IpVersion),
    };
    Ok(())
}

#[inline(always)]
fn is_tag(ethertype: u16) -> bool {
    ethertype == ethertype::VLAN || ethertype == ethertype::SERVICE_VLAN
}

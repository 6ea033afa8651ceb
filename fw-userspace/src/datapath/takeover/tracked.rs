//! What the kernel's own connection tracking (nf_conntrack) knows, where it runs: flows that are forwarded or translated
//! have no socket, and a UDP socket without a peer does not say whom it has asked.

use std::io;
use std::net::{IpAddr, SocketAddr};

use fw_common::Direction;
use fw_common::packet::protocol;
use netlink_packet_core::{
    DecodeError, NLA_HEADER_SIZE, NetlinkDeserializable, NetlinkHeader, NetlinkSerializable, NlasIterator,
};
use netlink_sys::protocols::NETLINK_NETFILTER;
use rustc_hash::FxHashSet;

use super::dump::dump;
use super::sockets::{Connected, Heard};

/// A flow, named by the two ends of its first packet and, the other way round, of the answers to it. Where addresses are
/// translated, these are not the same two.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tracked {
    protocol: u8,
    asked: (SocketAddr, SocketAddr),
    answered: (SocketAddr, SocketAddr),
    heard: Heard,
    scales: Option<(u8, u8)>,
}

/// The flows of the network namespace that this thread is in whose opener has one of these addresses, before its
/// translation or after it.
pub(super) fn list(addresses: &FxHashSet<IpAddr>) -> io::Result<Vec<Tracked>> {
    let has = |end: SocketAddr| addresses.contains(&end.ip());
    flows(|flow| has(flow.asked.0) || has(flow.answered.1))
}

/// The TCP ports of these addresses at which others have opened connections: where they are translated, nobody needs to
/// listen on them.
pub(super) fn entered_ports(addresses: &FxHashSet<IpAddr>) -> io::Result<Vec<u16>> {
    let entered = flows(|flow| flow.protocol == protocol::TCP && addresses.contains(&flow.asked.1.ip()))?;
    Ok(entered.iter().map(|flow| flow.asked.1.port()).collect())
}

fn flows(is_wanted: impl Fn(&Tracked) -> bool) -> io::Result<Vec<Tracked>> {
    let mut flows = Vec::new();
    // To ask where nothing is tracked would load the kernel's modules for it.
    let count = std::fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_count").unwrap_or_default();
    if matches!(count.trim(), "" | "0") {
        return Ok(flows);
    }
    dump(NETLINK_NETFILTER, Message::All, |message| {
        if let Message::Flow(Some(flow)) = message
            && is_wanted(&flow)
        {
            flows.push(flow);
        }
    })?;
    Ok(flows)
}

impl Tracked {
    /// As a device carries it that lead to the opener.
    pub(super) fn towards_opener(&self) -> Connected {
        self.between(self.asked.0, self.asked.1)
    }

    /// As a device carries it that leads away from the opener: it has the addresses that translation gives.
    pub(super) fn beyond_opener(&self) -> Connected {
        self.between(self.answered.1, self.answered.0)
    }

    fn between(&self, local: SocketAddr, remote: SocketAddr) -> Connected {
        Connected {
            protocol: self.protocol,
            local,
            remote,
            ifindex: 0,
            opened_by: Some(Direction::Egress),
            heard: self.heard,
            closed: None,
            scales: self.scales,
        }
    }

    /// `None` for what is no flow of TCP or UDP that goes on. Numbers: include/uapi/linux/netfilter/nfnetlink_conntrack.h,
    /// nf_conntrack_common.h and nf_conntrack_tcp.h.
    fn parse(flow: &[u8]) -> Option<Self> {
        const ASKED: u16 = 1;
        const ANSWERED: u16 = 2;
        const STATUS: u16 = 3;
        const PROTOCOL_INFO: u16 = 4;
        const TCP_INFO: u16 = 1;
        const TCP_STATE: u16 = 1;
        const TCP_SCALES: [u16; 2] = [2, 3];
        const TCP_FLAGS: [u16; 2] = [4, 5];
        const SEEN_REPLY: u32 = 2;
        const ASSURED: u32 = 4;
        const ESTABLISHED: u8 = 3;
        const HAS_SCALE: u8 = 1;

        let (protocol, asked) = tuple(attribute(flow, ASKED)?)?;
        let (_, answered) = tuple(attribute(flow, ANSWERED)?)?;
        let status = u32::from_be_bytes(*attribute(flow, STATUS)?.first_chunk()?);
        let mut scales = None;
        let heard = match protocol {
            protocol::TCP => {
                let info = attribute(attribute(flow, PROTOCOL_INFO)?, TCP_INFO)?;
                let byte = |kind| attribute(info, kind)?.first().copied();
                if byte(TCP_STATE)? != ESTABLISHED {
                    return None;
                }
                // One that was picked up midway has none that are known.
                let has_scale = |kind| byte(kind).is_some_and(|flags| flags & HAS_SCALE != 0);
                if TCP_FLAGS.into_iter().all(has_scale) {
                    let [opener, other] = TCP_SCALES.map(byte);
                    scales = opener.zip(other);
                }
                Heard::Steadily
            }
            protocol::UDP if status & ASSURED != 0 => Heard::Steadily,
            protocol::UDP if status & SEEN_REPLY != 0 => Heard::Both,
            protocol::UDP => Heard::Opener,
            _ => return None,
        };
        Some(Self { protocol, asked, answered, heard, scales })
    }
}

/// Protocol, source and destination.
fn tuple(tuple: &[u8]) -> Option<(u8, (SocketAddr, SocketAddr))> {
    const ADDRESSES: u16 = 1;
    const PROTOCOL: u16 = 2;
    const IPV4: [u16; 2] = [1, 2];
    const IPV6: [u16; 2] = [3, 4];
    const NUMBER: u16 = 1;
    const PORTS: [u16; 2] = [2, 3];

    let (addresses, of_protocol) = (attribute(tuple, ADDRESSES)?, attribute(tuple, PROTOCOL)?);
    let ipv4 = |kind| Some(IpAddr::from(*attribute(addresses, kind)?.first_chunk::<4>()?));
    let ipv6 = |kind| Some(IpAddr::from(*attribute(addresses, kind)?.first_chunk::<16>()?));
    let port = |kind| Some(u16::from_be_bytes(*attribute(of_protocol, kind)?.first_chunk()?));
    let end = |number: usize| {
        let address = ipv4(*IPV4.get(number)?).or_else(|| ipv6(*IPV6.get(number)?))?;
        Some(SocketAddr::new(address, port(*PORTS.get(number)?)?))
    };
    Some((*attribute(of_protocol, NUMBER)?.first()?, (end(0)?, end(1)?)))
}

/// The value of the first attribute of this kind.
fn attribute(attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    for nla in NlasIterator::new(attributes) {
        let nla = nla.ok()?;
        if nla.kind() == wanted {
            let len = usize::from(nla.length());
            return nla.into_inner().get(NLA_HEADER_SIZE..len);
        }
    }
    None
}

/// What ctnetlink is asked, and what it answers.
enum Message {
    All,
    Flow(Option<Tracked>),
}

const CTNETLINK: u16 = 1 << 8;
const GET: u16 = CTNETLINK | 1;
/// `struct nfgenmsg`; all zero, it means both families.
const GENERAL: usize = 4;

impl NetlinkSerializable for Message {
    fn message_type(&self) -> u16 {
        GET
    }

    fn buffer_len(&self) -> usize {
        GENERAL
    }

    fn serialize(&self, buffer: &mut [u8]) {
        buffer.fill(0);
    }
}

impl NetlinkDeserializable for Message {
    type Error = DecodeError;

    fn deserialize(_header: &NetlinkHeader, payload: &[u8]) -> Result<Self, DecodeError> {
        Ok(Self::Flow(payload.get(GENERAL..).and_then(Tracked::parse)))
    }
}

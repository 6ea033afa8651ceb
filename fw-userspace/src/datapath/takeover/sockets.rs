//! The TCP sockets of the network namespace that we run in, by the kernel's socket diagnostics (sock_diag(7)).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use fw_common::Direction;
use netlink_packet_core::{NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, InetResponseHeader, SocketId, StateFlags};
use netlink_packet_sock_diag::{
    AF_INET, AF_INET6, IPPROTO_TCP, SockDiagMessage, TCP_CLOSE_WAIT, TCP_CLOSING, TCP_FIN_WAIT1,
    TCP_FIN_WAIT2, TCP_LAST_ACK, TCP_LISTEN,
};
use netlink_sys::protocols::NETLINK_SOCK_DIAG;
use netlink_sys::{Socket, SocketAddr as NetlinkAddress};
use rustc_hash::FxHashSet;

/// Larger than any answer: the kernel fills at most 32 KiB (net/netlink/af_netlink.c, `netlink_recvmsg`).
const ANSWER_BYTES: usize = 65_536;

/// An end of a connection.
#[derive(Debug, Clone, Copy)]
pub(super) struct Connected {
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
    /// The device that it is bound to, or 0. A link-local address always is bound.
    pub(super) ifindex: u32,
    /// The direction whose FIN is known to have come, or is at least asked for.
    pub(super) closed: Option<Direction>,
}

/// What there is in both families. IPv4 over an IPv6 socket is IPv4.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    pub(super) connected: Vec<Connected>,
    listening: FxHashSet<(IpAddr, u16)>,
}

impl Sockets {
    /// Asks the kernel.
    pub(super) fn list() -> Result<Self, String> {
        let mut sockets = Self::default();
        for family in [AF_INET, AF_INET6] {
            sockets.ask(family)?;
        }
        Ok(sockets)
    }

    /// Whether somebody listens where this connection ends: then it was most likely opened by the other side.
    pub(super) fn is_served(&self, connected: &Connected) -> bool {
        let everywhere = [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)];
        let (address, port) = (connected.local.ip(), connected.local.port());
        [address].into_iter().chain(everywhere).any(|address| self.listening.contains(&(address, port)))
    }

    fn ask(&mut self, family: u8) -> Result<(), String> {
        let failed = |error: std::io::Error| error.to_string();
        let mut socket = Socket::new(NETLINK_SOCK_DIAG).map_err(failed)?;
        socket.bind_auto().map_err(failed)?;
        socket.connect(&NetlinkAddress::new(0, 0)).map_err(failed)?;
        socket.send(&request(family), 0).map_err(failed)?;
        let mut answer = Vec::with_capacity(ANSWER_BYTES);
        loop {
            answer.clear();
            socket.recv(&mut answer, 0).map_err(failed)?;
            let mut rest = &answer[..];
            while !rest.is_empty() {
                let message = NetlinkMessage::<SockDiagMessage>::deserialize(rest)
                    .map_err(|error| format!("an answer that means nothing: {error}"))?;
                match message.payload {
                    NetlinkPayload::InnerMessage(SockDiagMessage::InetResponse(response)) => {
                        self.note(&response.header);
                    }
                    NetlinkPayload::Done(_) => return Ok(()),
                    NetlinkPayload::Error(error) => return Err(failed(error.to_io())),
                    _ => {}
                }
                // Messages begin at multiples of four bytes.
                let len = (message.header.length as usize).next_multiple_of(4);
                rest = rest.get(len..).unwrap_or_default();
            }
        }
    }

    fn note(&mut self, header: &InetResponseHeader) {
        let id = &header.socket_id;
        let local = SocketAddr::new(id.source_address.to_canonical(), id.source_port);
        if header.state == TCP_LISTEN {
            self.listening.insert((local.ip(), local.port()));
            return;
        }
        let closed = match header.state {
            TCP_FIN_WAIT1 | TCP_FIN_WAIT2 => Some(Direction::Egress),
            // In the last two both sides have closed, but behind our FIN there may be data that has not gone out yet.
            TCP_CLOSE_WAIT | TCP_LAST_ACK | TCP_CLOSING => Some(Direction::Ingress),
            _ => None,
        };
        let remote = SocketAddr::new(id.destination_address.to_canonical(), id.destination_port);
        self.connected.push(Connected { local, remote, ifindex: id.interface_id, closed });
    }
}

/// What is left out: SYN_SENT and SYN_RECV, whose other end may be forged or not there, and which the SYN that is sent
/// again opens by the rules; TIME_WAIT, which is over.
fn request(family: u8) -> Vec<u8> {
    let states = StateFlags::LISTEN
        | StateFlags::ESTABLISHED
        | StateFlags::FIN_WAIT1
        | StateFlags::FIN_WAIT2
        | StateFlags::CLOSE_WAIT
        | StateFlags::LAST_ACK
        | StateFlags::CLOSING;
    let socket_id = if family == AF_INET { SocketId::new_v4() } else { SocketId::new_v6() };
    let extensions = ExtensionFlags::empty();
    let request = InetRequest { family, protocol: IPPROTO_TCP, extensions, states, socket_id };
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST | NLM_F_DUMP;
    let mut message = NetlinkMessage::new(header, SockDiagMessage::InetRequest(request).into());
    message.finalize();
    let mut bytes = vec![0; message.buffer_len()];
    message.serialize(&mut bytes);
    bytes
}

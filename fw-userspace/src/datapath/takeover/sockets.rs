//! The TCP and UDP sockets of the network namespace that a thread is in, by the kernel's socket diagnostics (sock_diag(7)).

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use fw_common::Direction;
use fw_common::packet::protocol;
use netlink_packet_sock_diag::inet::nlas::Nla;
use netlink_packet_sock_diag::inet::{ExtensionFlags, InetRequest, InetResponse, SocketId, StateFlags};
use netlink_packet_sock_diag::{
    AF_INET, AF_INET6, SockDiagMessage, TCP_CLOSE_WAIT, TCP_CLOSING, TCP_FIN_WAIT1, TCP_FIN_WAIT2,
    TCP_LAST_ACK, TCP_LISTEN,
};
use netlink_sys::protocols::NETLINK_SOCK_DIAG;
use rustc_hash::FxHashSet;

use super::dump::dump;

/// Two ends that the kernel knows to talk with each other.
#[derive(Debug, Clone, Copy)]
pub(super) struct Connected {
    /// TCP or UDP.
    pub(super) protocol: u8,
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
    /// The device that it is bound to, or 0. A link-local address always is bound.
    pub(super) ifindex: u32,
    /// `None` for most likely this side: nobody serves there any more, or ever did.
    pub(super) opened_by: Option<Direction>,
    pub(super) heard: Heard,
    /// The direction whose FIN is known to have come, or is at least asked for.
    pub(super) closed: Option<Direction>,
    /// TCP: by how many bits the windows of this side and of the other are shifted; both 0 without the option.
    #[cfg_attr(not(test), expect(dead_code, reason = "entries hold no window scales yet"))]
    pub(super) scales: Option<(u8, u8)>,
}

/// What of a flow the kernel is sure to have seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Heard {
    /// The opener alone.
    Opener,
    /// One answer.
    Both,
    /// It goes to and fro, or a program holds a socket for nobody but the other end.
    Steadily,
}

/// A UDP socket that takes datagrams from anybody.
#[derive(Debug, Clone, Copy)]
pub(super) struct Unconnected {
    /// The address may be unspecified.
    pub(super) local: SocketAddr,
    /// The device that it is bound to, or 0.
    pub(super) ifindex: u32,
}

/// What there is in both families. IPv4 over an IPv6 socket is IPv4.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    pub(super) connected: Vec<Connected>,
    pub(super) unconnected: Vec<Unconnected>,
    /// Where TCP listens, and where UDP takes datagrams from anybody.
    serving: FxHashSet<(u8, IpAddr, u16)>,
    /// Why there are no UDP sockets among them.
    pub(super) without_udp: Option<String>,
}

impl Sockets {
    /// Asks the kernel.
    pub(super) fn list() -> io::Result<Self> {
        let mut sockets = Self::default();
        let tcp = StateFlags::LISTEN
            | StateFlags::ESTABLISHED
            | StateFlags::FIN_WAIT1
            | StateFlags::FIN_WAIT2
            | StateFlags::CLOSE_WAIT
            | StateFlags::LAST_ACK
            | StateFlags::CLOSING;
        for family in [AF_INET, AF_INET6] {
            ask(family, protocol::TCP, &tcp, ExtensionFlags::INFO, |socket| sockets.note_tcp(socket))?;
        }
        // UDP sockets with a peer are "established", those without "closed".
        let udp = StateFlags::ESTABLISHED | StateFlags::CLOSE;
        for family in [AF_INET, AF_INET6] {
            let asked =
                ask(family, protocol::UDP, &udp, ExtensionFlags::empty(), |socket| sockets.note_udp(socket));
            if let Err(error) = asked {
                sockets.without_udp = Some(error.to_string());
            }
        }
        sockets.name_openers();
        Ok(sockets)
    }

    /// Whether somebody serves at this port and address: what ends there was most likely opened by the other side.
    pub(super) fn serves(&self, protocol: u8, at: SocketAddr) -> bool {
        let everywhere = [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::UNSPECIFIED)];
        let mut addresses = [at.ip()].into_iter().chain(everywhere);
        addresses.any(|address| self.serving.contains(&(protocol, address, at.port())))
    }

    fn name_openers(&mut self) {
        let mut connected = std::mem::take(&mut self.connected);
        for it in connected.iter_mut().filter(|it| self.serves(it.protocol, it.local)) {
            it.opened_by = Some(Direction::Ingress);
        }
        self.connected = connected;
    }

    fn note_tcp(&mut self, socket: &InetResponse) {
        let (local, remote, ifindex) = ends(socket);
        if socket.header.state == TCP_LISTEN {
            self.serving.insert((protocol::TCP, local.ip(), local.port()));
            return;
        }
        let closed = match socket.header.state {
            TCP_FIN_WAIT1 | TCP_FIN_WAIT2 => Some(Direction::Egress),
            // In the last two both sides have closed, but behind our FIN there may be data that has not gone out yet.
            TCP_CLOSE_WAIT | TCP_LAST_ACK | TCP_CLOSING => Some(Direction::Ingress),
            _ => None,
        };
        self.connected.push(Connected {
            protocol: protocol::TCP,
            local,
            remote,
            ifindex,
            opened_by: None,
            heard: Heard::Steadily,
            closed,
            scales: scales(socket),
        });
    }

    fn note_udp(&mut self, socket: &InetResponse) {
        let (local, remote, ifindex) = ends(socket);
        if remote.port() == 0 {
            self.serving.insert((protocol::UDP, local.ip(), local.port()));
            self.unconnected.push(Unconnected { local, ifindex });
            return;
        }
        self.connected.push(Connected {
            protocol: protocol::UDP,
            local,
            remote,
            ifindex,
            opened_by: None,
            heard: Heard::Steadily,
            closed: None,
            scales: None,
        });
    }
}

/// The TCP ports on which somebody listens whom a device can reach.
pub(super) fn listening_ports() -> io::Result<Vec<u16>> {
    let mut ports = Vec::new();
    for family in [AF_INET, AF_INET6] {
        ask(family, protocol::TCP, &StateFlags::LISTEN, ExtensionFlags::empty(), |socket| {
            let (local, ..) = ends(socket);
            if !local.ip().is_loopback() {
                ports.push(local.port());
            }
        })?;
    }
    Ok(ports)
}

/// What TCP leaves out: SYN_SENT and SYN_RECV, whose other end may be forged or not there, and which the SYN that is sent
/// again opens by the rules; TIME_WAIT, which is over.
fn ask(
    family: u8,
    protocol: u8,
    states: &StateFlags,
    extensions: ExtensionFlags,
    mut note: impl FnMut(&InetResponse),
) -> io::Result<()> {
    let socket_id = if family == AF_INET { SocketId::new_v4() } else { SocketId::new_v6() };
    let request = InetRequest { family, protocol, extensions, states: states.clone(), socket_id };
    dump(NETLINK_SOCK_DIAG, SockDiagMessage::InetRequest(request), |message| {
        if let SockDiagMessage::InetResponse(socket) = message {
            note(&socket);
        }
    })
}

fn ends(socket: &InetResponse) -> (SocketAddr, SocketAddr, u32) {
    let id = &socket.header.socket_id;
    let local = SocketAddr::new(id.source_address.to_canonical(), id.source_port);
    let remote = SocketAddr::new(id.destination_address.to_canonical(), id.destination_port);
    (local, remote, id.interface_id)
}

/// From `struct tcp_info` (include/uapi/linux/tcp.h): this side's is the one of what it receives.
fn scales(socket: &InetResponse) -> Option<(u8, u8)> {
    const OPTIONS: usize = 5;
    const SCALES: usize = 6;
    const HAS_SCALES: u8 = 4;
    let info = socket.nlas.iter().find_map(|nla| match nla {
        Nla::TcpInfo(info) => Some(info),
        _ => None,
    })?;
    if info.get(OPTIONS)? & HAS_SCALES == 0 {
        return Some((0, 0));
    }
    let both = *info.get(SCALES)?;
    // Two bit fields, of which the compiler's order of bits says which is low.
    let (sent, received) =
        if cfg!(target_endian = "little") { (both & 15, both >> 4) } else { (both >> 4, both & 15) };
    Some((received, sent))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream, UdpSocket};

    use super::*;

    fn find(protocol: u8, local: SocketAddr, remote: SocketAddr) -> Option<Connected> {
        let sockets = Sockets::list().unwrap();
        sockets
            .connected
            .into_iter()
            .find(|it| (it.protocol, it.local, it.remote) == (protocol, local, remote))
    }

    #[test]
    fn both_ends_of_a_tcp_connection_say_the_same_of_its_window_scales() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let client = TcpStream::connect(at).unwrap();
        let (_server, from) = listener.accept().unwrap();
        let [client_end, server_end] = [(from, at), (at, from)].map(|(local, remote)| {
            find(protocol::TCP, local, remote).unwrap_or_else(|| panic!("{client:?} is not listed"))
        });
        assert_eq!((client_end.opened_by, server_end.opened_by), (None, Some(Direction::Ingress)));
        let (ours, theirs) = client_end.scales.unwrap();
        assert_eq!(server_end.scales, Some((theirs, ours)));
        assert!(ours <= 14 && theirs <= 14, "{ours}, {theirs}");
    }

    #[test]
    fn a_udp_socket_with_a_peer_is_told_from_one_without() {
        let (one, other) = (UdpSocket::bind("[::1]:0").unwrap(), UdpSocket::bind("[::1]:0").unwrap());
        let (at, to) = (one.local_addr().unwrap(), other.local_addr().unwrap());
        one.connect(to).unwrap();
        assert_eq!(find(protocol::UDP, at, to).unwrap().opened_by, None);
        let sockets = Sockets::list().unwrap();
        assert!(sockets.serves(protocol::UDP, to) && !sockets.serves(protocol::UDP, at));
        assert!(sockets.unconnected.iter().any(|socket| socket.local == to));
        assert!(!sockets.unconnected.iter().any(|socket| socket.local == at));
    }

    #[test]
    fn ports_for_this_host_alone_are_not_listened_on_for_a_device() {
        let (inner, outer) =
            (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("0.0.0.0:0").unwrap());
        let ports = listening_ports().unwrap();
        assert!(ports.contains(&outer.local_addr().unwrap().port()));
        assert!(!ports.contains(&inner.local_addr().unwrap().port()));
    }
}

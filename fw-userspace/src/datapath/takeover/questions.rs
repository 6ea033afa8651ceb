//! Questions to resolvers that may be under way: a UDP socket without a peer does not say whom it has asked. Whom it may
//! have asked is known: the configured resolvers, and the neighbours that the kernel has lately talked to.

use std::fs::File;
use std::io::{self, Read};
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use futures_util::TryStreamExt;
use fw_common::Direction;
use fw_common::packet::protocol;
use netlink_packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourState};
use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};

use super::super::devices;
use super::sockets::{Connected, Heard, Sockets, Unconnected};
use super::{is_host, is_link_local};

/// Where resolvers are named. The second file has those behind the stub of systemd-resolved.
const NAMED: [&str; 2] = ["etc/resolv.conf", "run/systemd/resolve/resolv.conf"];
const DNS: u16 = 53;

/// Far more than a resolver's configuration has.
const MOST_BYTES: u64 = 65_536;

/// How long an instance's file may keep us: what is mounted there is the instance's.
const PATIENCE: Duration = Duration::from_millis(200);

/// Whom the sockets of a namespace may have asked.
#[derive(Debug, Default)]
pub(super) struct Questions {
    /// Sockets without a peer whose port the kernel chose.
    asking: Vec<Unconnected>,
    resolvers: Vec<IpAddr>,
    /// With the index of the device.
    neighbours: Vec<(u32, IpAddr)>,
}

impl Questions {
    /// Of the namespace that this thread is in, and of the files below a root directory.
    pub(super) fn of(sockets: &Sockets, root: Option<&Path>) -> Self {
        let chosen = chosen_ports();
        let may_ask = |socket: &&Unconnected| chosen.contains(&socket.local.port());
        let asking: Vec<Unconnected> = sockets.unconnected.iter().filter(may_ask).copied().collect();
        if asking.is_empty() {
            return Self::default();
        }
        let resolvers = root.map_or_else(Vec::new, |root| resolvers(root.to_owned()));
        // What cannot be read is not known.
        Self { asking, resolvers, neighbours: neighbours().unwrap_or_default() }
    }

    /// Whether a socket that may have asked something has this port.
    pub(super) fn come_from(&self, port: u16) -> bool {
        self.asking.iter().any(|socket| socket.local.port() == port)
    }

    /// The flows that answers would belong to, at a device with this index in that namespace and these addresses; what is
    /// configured first.
    pub(super) fn at<'q>(
        &'q self,
        ifindex: u32,
        addresses: &'q [IpAddr],
    ) -> impl Iterator<Item = Connected> + 'q {
        let neighbours =
            self.neighbours.iter().filter(move |(at, _)| *at == ifindex).map(|(_, address)| *address);
        let asked = self.resolvers.iter().copied().chain(neighbours);
        let asked = asked.filter(|asked| !addresses.contains(asked));
        let flows = move |asked: IpAddr| {
            let is_there = move |socket: &&Unconnected| socket.ifindex == 0 || socket.ifindex == ifindex;
            let sockets = self.asking.iter().filter(is_there);
            sockets.flat_map(move |socket| {
                let from = addresses.iter().filter(move |address| can_ask(socket, **address, asked));
                from.map(move |address| flow(SocketAddr::new(*address, socket.local.port()), asked, ifindex))
            })
        };
        asked.flat_map(flows)
    }
}

/// Whether a datagram of the socket to the resolver may have this source address.
fn can_ask(socket: &Unconnected, from: IpAddr, asked: IpAddr) -> bool {
    let bound = socket.local.ip();
    // One of IPv6 for all addresses most often is one for those of IPv4 too.
    let is_bound = if bound.is_unspecified() { bound.is_ipv6() || from.is_ipv4() } else { bound == from };
    is_bound && from.is_ipv4() == asked.is_ipv4() && is_link_local(from) == is_link_local(asked)
}

fn flow(local: SocketAddr, asked: IpAddr, ifindex: u32) -> Connected {
    Connected {
        protocol: protocol::UDP,
        local,
        remote: SocketAddr::new(asked, DNS),
        ifindex,
        opened_by: Some(Direction::Egress),
        heard: Heard::Opener,
        closed: None,
        scales: None,
    }
}

/// From which the kernel chooses the port of a socket that names none.
fn chosen_ports() -> RangeInclusive<u16> {
    let said = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let mut bounds = said.split_whitespace().filter_map(|bound| bound.parse().ok());
    match (bounds.next(), bounds.next()) {
        (Some(first), Some(last)) => first..=last,
        _ => 32_768..=60_999,
    }
}

/// Those that have answered, or are being asked whether they still do.
fn neighbours() -> crate::error::Result<Vec<(u32, IpAddr)>> {
    devices::ask("list neighbours", async |handle| {
        let mut known = Vec::new();
        let mut neighbours = handle.neighbours().get().execute();
        while let Some(neighbour) = neighbours.try_next().await? {
            let has_answered = matches!(
                neighbour.header.state,
                NeighbourState::Reachable
                    | NeighbourState::Delay
                    | NeighbourState::Probe
                    | NeighbourState::Permanent
            );
            let address = neighbour.attributes.iter().find_map(|attribute| match attribute {
                NeighbourAttribute::Destination(NeighbourAddress::Inet(address)) => {
                    Some(IpAddr::from(*address))
                }
                NeighbourAttribute::Destination(NeighbourAddress::Inet6(address)) => {
                    Some(IpAddr::from(*address))
                }
                _ => None,
            });
            known.extend(
                address
                    .filter(|address| has_answered && is_host(*address))
                    .map(|it| (neighbour.header.ifindex, it)),
            );
        }
        Ok(known)
    })
}

/// Those that the files below a root directory name.
fn resolvers(root: PathBuf) -> Vec<IpAddr> {
    let (sender, receiver) = mpsc::channel();
    // Not waited for: see [`PATIENCE`].
    let reading = thread::Builder::new().spawn(move || {
        let texts = NAMED.map(|name| read_below(&root, name).unwrap_or_default());
        let _ = sender.send(texts);
    });
    let texts = reading.ok().and_then(|_| receiver.recv_timeout(PATIENCE).ok());
    let mut named = Vec::new();
    for address in texts.iter().flatten().flat_map(|text| parse(text)) {
        if !named.contains(&address) {
            named.push(address);
        }
    }
    named
}

/// A regular file, whose links lead nowhere but below the root.
fn read_below(root: &Path, name: &str) -> io::Result<String> {
    let root = File::open(root)?;
    // What is no regular file must not keep us when it is opened.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = File::from(openat2(&root, name, flags, Mode::empty(), ResolveFlags::IN_ROOT)?);
    let mut bytes = Vec::new();
    if file.metadata()?.is_file() {
        file.take(MOST_BYTES).read_to_end(&mut bytes)?;
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// resolv.conf(5): `nameserver ADDRESS`, behind which a `%` may name the device.
fn parse(text: &str) -> impl Iterator<Item = IpAddr> + '_ {
    let named = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        let is_resolver = words.next() == Some("nameserver");
        let address = words.next().filter(|_| is_resolver)?;
        address.split('%').next()?.parse::<IpAddr>().ok()
    });
    named.map(|address| address.to_canonical()).filter(|address| is_host(*address))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn resolvers_are_read_as_the_c_library_reads_them() {
        let text = "# nameserver 10.0.0.9\nsearch example.org\nnameserver 10.0.0.1\n nameserver\tfe80::1%eth0 # here\n\
                    nameservers 10.0.0.8\nnameserver 127.0.0.53\nnameserver ::ffff:10.0.0.2\nnameserver\nnameserver x";
        let named: Vec<IpAddr> = parse(text).collect();
        assert_eq!(named, [ip("10.0.0.1"), ip("fe80::1"), ip("10.0.0.2")]);
    }

    #[test]
    fn a_link_in_an_instance_does_not_lead_out_of_it_and_a_pipe_keeps_nobody() {
        let root = std::env::temp_dir().join(format!("fwctl-resolv-{}", std::process::id()));
        let etc = root.join("etc");
        std::fs::create_dir_all(&etc).unwrap();
        let file = etc.join("resolv.conf");
        std::os::unix::fs::symlink("/etc/other", &file).unwrap();
        std::fs::write(etc.join("other"), "nameserver 10.0.0.1\n").unwrap();
        let through_link = resolvers(root.clone());
        std::fs::remove_file(&file).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, &file, rustix::fs::FileType::Fifo, Mode::RUSR, 0).unwrap();
        let of_pipe = resolvers(root.clone());
        std::fs::remove_dir_all(&root).unwrap();
        assert_eq!((&through_link[..], &of_pipe[..]), (&[ip("10.0.0.1")][..], &[][..]));
    }

    #[test]
    fn a_question_goes_from_each_address_that_the_socket_may_use_to_each_resolver_of_its_kind() {
        let socket = |local: &str, ifindex| Unconnected { local: local.parse().unwrap(), ifindex };
        let questions = Questions {
            asking: vec![socket("0.0.0.0:40000", 0), socket("[::]:40001", 0), socket("10.0.0.2:40002", 9)],
            resolvers: vec![ip("10.9.9.9"), ip("fd00::53")],
            neighbours: vec![(3, ip("fe80::1")), (4, ip("10.0.0.1")), (3, ip("10.0.0.2"))],
        };
        let addresses = [ip("10.0.0.2"), ip("fd00::2"), ip("fe80::2")];
        let flows: Vec<String> =
            questions.at(3, &addresses).map(|flow| format!("{} {}", flow.local, flow.remote)).collect();
        let expected = [
            "10.0.0.2:40000 10.9.9.9:53",
            "10.0.0.2:40001 10.9.9.9:53",
            "[fd00::2]:40001 [fd00::53]:53",
            "[fe80::2]:40001 [fe80::1]:53",
        ];
        assert_eq!(flows, expected);
    }
}

//! One filter on a veth pair of its own, with connections that live.
//!
//! Connections are opened by frames of which all but the answer are made: the server answers with SYN cookies, so that
//! it keeps nothing of a million senders, and no filter is told of a connection in another way than by its packets.

use std::fs;
use std::net::{IpAddr, SocketAddr};

use anyhow::{Context as _, Result, ensure};
use fw_common::Reason;
use fw_tests::instruments::Instruments;
use fw_tests::netns::{Rig, join};
use fw_userspace::datapath;
use socket2::{Domain, Protocol, SockFilter, Socket, Type};

use super::frames::{self, Kind, MARKED_TTL, TRACKED_PORT};
use super::rules;
use crate::arrivals;
use crate::filter::Loaded;
use crate::lane::DEVICE;

/// The address that [`fw_tests::packet`] sends to: frames to another would be others' to the stack.
const MAC: &str = "02:00:00:00:00:02";
/// The second wire's ends.
pub(super) const BESIDE: &str = "eth1";
/// Half-open flows at a time while connections are made: fewer than any table has room for.
const CHUNK: u32 = 1 << 15;
/// A frame may find a full ring, a flow may be recycled.
const ATTEMPTS: usize = 10;

/// Who judges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Filter {
    /// Nobody; a program behind drops what is marked.
    Empty,
    /// fwctl, with so many connections at most.
    Ours {
        /// As rules say it.
        mode: &'static str,
        /// `conntrack_max`.
        max: u32,
    },
    /// Nobody; the socket drops what is marked, as for the next.
    EmptyStack,
    /// nftables with `ct state`.
    Nft,
}

/// Where it judges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Face {
    /// fwctl's program at XDP or the empty one there, asked by `through_xdp`, which drops what they let through.
    Xdp,
    /// Behind XDP.
    Stack,
}

/// A filter on its veth pair.
pub(super) struct Track {
    through: Instruments,
    loaded: Option<Loaded>,
    is_nft: bool,
    #[expect(dead_code, reason = "held for its answers")]
    listeners: Vec<Socket>,
    /// The hosts.
    pub(super) rig: Rig,
}

impl Track {
    /// Makes it, with everything in force.
    pub(super) fn open(filter: Filter) -> Result<Self> {
        Self::on(Rig::direct()?, filter, &["eth0"])
    }

    /// The same with a second wire between the hosts, [`BESIDE`] at both.
    pub(super) fn open_beside(filter: Filter) -> Result<Self> {
        let rig = Rig::direct()?;
        join(&rig.client, BESIDE, &rig.server, BESIDE)?;
        Self::on(rig, filter, &["eth0", BESIDE])
    }

    fn on(rig: Rig, filter: Filter, devices: &[&str]) -> Result<Self> {
        for device in devices {
            rig.server.ip(&format!("link set {device} address {MAC}"))?;
        }
        ensure!(rig.client.index("eth0")? == DEVICE, "the client's device has not the index {DEVICE}");
        // Always: nothing is kept of a sender before its third segment, which does not come so far.
        rig.server.sysctl("ipv4/tcp_syncookies", "2")?;
        // What the server answers ends at the client, which is nobody of those it is for.
        for (net, host) in [("default", IpAddr::from(rig.client.v4)), ("default", rig.client.v6.into())] {
            rig.server.route(net, &host.to_string())?;
        }
        let mut through = Instruments::load(&[], None)?;
        let mut loaded = None;
        match filter {
            Filter::Ours { mode, max } => {
                let (source, policy) = rules::ours(mode, max)?;
                loaded = Some(Loaded::new(&rig.server, &source, &policy)?);
            }
            Filter::Nft => rules::load_nft(&rig)?,
            Filter::Empty | Filter::EmptyStack => {}
        }
        let is_xdp = matches!(filter, Filter::Ours { mode: "xdp", .. });
        rig.server.run(|| {
            if !is_xdp {
                through.ask(None, false)?;
            }
            for device in devices {
                if !is_xdp {
                    through.attach_xdp("through_xdp", device)?;
                }
                if matches!(filter, Filter::Empty | Filter::Ours { .. }) {
                    through.attach_tc("sink_tc", device)?;
                }
            }
            anyhow::Ok(())
        })?;
        let addresses = [IpAddr::from(rig.server.v4), rig.server.v6.into()];
        let listeners = rig.server.run(|| addresses.into_iter().map(listener).collect::<Result<_>>())?;
        Ok(Self { through, loaded, is_nft: filter == Filter::Nft, listeners, rig })
    }

    /// The rules in force, if they are fwctl's.
    pub(super) fn loaded(&self) -> Option<&Loaded> {
        self.loaded.as_ref()
    }

    /// Sends frames from a CPU, to be judged here: how many arrived, and the nanoseconds of each.
    pub(super) fn send(
        &mut self,
        face: Face,
        cpu: usize,
        generator: &mut Instruments,
        count: u32,
    ) -> Result<(u64, f64)> {
        self.face(face)?;
        arrivals::send(&self.rig, cpu, generator, count)
    }

    fn face(&mut self, face: Face) -> Result<()> {
        let program = match (&self.loaded, face) {
            (Some(loaded), Face::Xdp) => {
                let store = datapath::Store::open(loaded.bpffs())?.context("nothing is loaded")?;
                Some(store.programs().join("xdp_received"))
            }
            _ => None,
        };
        self.through.ask(program.as_deref(), face == Face::Xdp)
    }

    /// Opens the connections of so many senders.
    pub(super) fn fill(&mut self, family: usize, count: u32) -> Result<()> {
        let already = self.connections()?;
        let mut opening = generator(Kind::Opens, family, count, false)?;
        let mut acknowledging = generator(Kind::Acknowledges, family, count, false)?;
        for first in (0..count).step_by(CHUNK as usize) {
            let chunk = CHUNK.min(count - first);
            let wanted = already + u64::from(first + chunk);
            for attempt in 0.. {
                let there = self.connections()?;
                ensure!(
                    attempt < ATTEMPTS,
                    "of {wanted} connections {there} are there after {attempt} attempts"
                );
                if there >= wanted {
                    break;
                }
                for generator in [&mut opening, &mut acknowledging] {
                    generator.begin_with(first)?;
                    self.send(Face::Stack, 0, generator, chunk)?;
                }
            }
        }
        Ok(())
    }

    /// How many connections the filter counts.
    pub(super) fn connections(&self) -> Result<u64> {
        if let Some(loaded) = &self.loaded {
            return Ok(datapath::fill(loaded.bpffs())?.used);
        }
        ensure!(self.is_nft, "a track without a filter has no connections");
        self.rig.server.run(|| {
            let text = fs::read_to_string("/proc/sys/net/netfilter/nf_conntrack_count")?;
            Ok(text.trim().parse()?)
        })
    }

    /// Packets that were let through as those of connections.
    pub(super) fn established(&self) -> Result<u64> {
        match &self.loaded {
            Some(loaded) => loaded.counted(&self.rig.server, &[Reason::Established]),
            // All that is not is dropped: see `rules`.
            None => arrivals::delivered(&self.rig),
        }
    }
}

/// Frames of many senders, as they are sent into any track.
pub(super) fn generator(kind: Kind, family: usize, over: u32, is_random: bool) -> Result<Instruments> {
    generator_at(DEVICE, kind, family, over, is_random)
}

/// The same by another device of the client.
pub(super) fn generator_at(
    device: u32,
    kind: Kind,
    family: usize,
    over: u32,
    is_random: bool,
) -> Result<Instruments> {
    let frame = frames::frame(kind, family)?;
    Instruments::spread(&[frame], device, &frames::spread(kind, family, over, is_random))
}

/// Answers to SYNs, but for those with the mark.
fn listener(address: IpAddr) -> Result<Socket> {
    let domain = if address.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 };
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    let ttl_at = libc::SKF_NET_OFF + if address.is_ipv4() { 8 } else { 7 };
    let step = |code: u32, jt, jf, k| SockFilter::new(code as u16, jt, jf, k);
    socket.attach_filter(&[
        step(libc::BPF_LD | libc::BPF_B | libc::BPF_ABS, 0, 0, ttl_at as u32),
        step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, MARKED_TTL.into()),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, 0),
        step(libc::BPF_RET | libc::BPF_K, 0, 0, u32::MAX),
    ])?;
    socket.bind(&SocketAddr::new(address, TRACKED_PORT).into())?;
    socket.listen(1024)?;
    Ok(socket)
}

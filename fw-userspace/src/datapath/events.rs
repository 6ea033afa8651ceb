//! Events of single packets: the programs are told what is wanted, and what they put into their ring is read.
//!
//! A ring has one reader. Who has the lock of its directory is that one, until the process ends in whatever way; what is
//! wanted lasts for seconds only unless it is renewed, so that a reader that was killed leaves nothing behind.

use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use aya::maps::{MapData, PerCpuArray, RingBuf};
use fw_common::Family;
use fw_common::conntrack::tick;
use fw_common::event::{Event, Teller, Wanted};

use super::clock::{NS_PER_S, coarse_ns, epoch_ns, monotonic_ns};
use super::conntrack::{has_ports, ip};
use super::inspect::loaded;
use super::lock::Lock;
use super::names::Names;
use super::policy_array::{Head, map_error, open_map};
use super::programs::{EVENTS, POLICY, TELLERS};
use super::store::Store;
use crate::error::{Error, Result};
use crate::report::{PacketEvent, Protocol};

/// For so long the programs tell of packets after the last time that somebody wanted them.
const LASTS: Duration = Duration::from_secs(3);
const RENEWED_EVERY: Duration = Duration::from_secs(1);

/// The one reader of what is loaded under a directory.
pub struct Listener {
    bpffs: PathBuf,
    wanted: Wanted,
    ring: RingBuf<MapData>,
    tellers: PerCpuArray<MapData, Teller>,
    /// What had been suppressed when this began.
    suppressed_before: u64,
    head: Head,
    /// What [`Self::names`] is of.
    live: u32,
    names: Names,
    /// Until when they are known to be those of the rules in force, as the programs tell time.
    named_until_ns: u64,
    renewed: Instant,
    lock: Lock,
}

impl Listener {
    /// Has the programs tell of packets. Refused while somebody else listens.
    pub fn open(bpffs: &Path, wanted: Wanted) -> Result<Self> {
        let (store, current) = loaded(bpffs)?;
        let maps = store.maps();
        if !maps.join(EVENTS).exists() {
            return Err(Error::system(
                "an earlier fwctl loaded the rules, and its programs tell of no packets; load them again with `fwctl load`",
            ));
        }
        let lock = Lock::alone(&maps, "reads the events already; one at a time can")?;
        let ring = open_map(&maps.join(EVENTS))?.try_into().map_err(|error| map_error(EVENTS, &error))?;
        let tellers =
            open_map(&maps.join(TELLERS))?.try_into().map_err(|error| map_error(TELLERS, &error))?;
        let head = Head::open(&maps.join(POLICY))?;
        let mut listener = Self {
            bpffs: bpffs.to_owned(),
            wanted,
            ring,
            tellers,
            suppressed_before: 0,
            live: head.live(),
            head,
            names: Names::read(&store, &current)?,
            named_until_ns: 0,
            renewed: Instant::now(),
            lock,
        };
        // Of the reader before.
        while listener.ring.next().is_some() {}
        listener.suppressed_before = listener.suppressed()?;
        listener.want();
        Ok(listener)
    }

    /// The oldest event that has not been read; `None` when there is none now. Wants more of them all the while: to be
    /// called at least every second.
    pub fn next_event(&mut self) -> Result<Option<PacketEvent<'_>>> {
        if self.renewed.elapsed() >= RENEWED_EVERY {
            self.renew()?;
        }
        loop {
            let Some(item) = self.ring.next() else { return Ok(None) };
            let bytes: &[u8] = &item;
            if let Some(event) = Event::read(bytes) {
                drop(item);
                // Other rules may have been loaded since: what was another rule's slot may be one of theirs.
                if event.time_ns >= self.named_until_ns {
                    self.renew()?;
                }
                return Ok(packet_event(&self.names, &event));
            }
        }
    }

    /// Events that were wanted since the beginning and are lost: there were too many, or nobody read.
    pub fn suppressed(&self) -> Result<u64> {
        let values = self.tellers.get(&0, 0).map_err(|error| map_error(TELLERS, &error))?;
        Ok(values.iter().map(|teller| teller.suppressed).sum::<u64>().saturating_sub(self.suppressed_before))
    }

    /// The length of the longest interface's name.
    pub fn widest_name(&self) -> usize {
        self.names.widest_interface()
    }

    /// An error if no interface has this name.
    pub fn need_interface(&self, name: &str) -> Result<()> {
        self.names.zone(name).map(|_| ())
    }

    fn renew(&mut self) -> Result<()> {
        let store = Store::open(&self.bpffs)?.filter(|store| self.lock.is_of(&store.maps()));
        let Some(store) = store else {
            return Err(Error::system(format!(
                "the rules under \"{}\" were unloaded: nothing is filtered any more",
                self.bpffs.display()
            )));
        };
        // A load may have put a larger array in its place.
        self.head = Head::open(&store.maps().join(POLICY))?;
        self.want();
        let now_ns = coarse_ns();
        let live = self.head.live();
        if live != self.live {
            let (store, current) = loaded(&self.bpffs)?;
            self.names = Names::read(&store, &current)?;
            self.live = live;
        }
        self.named_until_ns = now_ns;
        Ok(())
    }

    fn want(&mut self) {
        self.head.want(self.wanted, tick(monotonic_ns() + LASTS.as_secs() * NS_PER_S));
        self.renewed = Instant::now();
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.head.want(Wanted::Nothing, 0);
    }
}

impl AsFd for Listener {
    /// Readable when there are events.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ring.as_fd()
    }
}

/// `None` of what no program of this build writes.
fn packet_event<'a>(names: &'a Names, event: &Event) -> Option<PacketEvent<'a>> {
    let decision = event.decision()?;
    let reason = decision.reason;
    let [network_acl, security_group] = names.rules(&decision, event.time_ns);
    let is_ip = event.has(Event::IS_IP);
    let protocol = event.protocol;
    let ports = is_ip && has_ports(protocol) && !event.has(Event::LATER_FRAGMENT);
    let named = Protocol { number: protocol, is_ipv4: event.source.family() == Family::V4 };
    let icmp = is_ip && named.is_icmp() && !event.has(Event::LATER_FRAGMENT);
    let [code, kind] = event.service.to_le_bytes();
    Some(PacketEvent {
        // Both clocks now: the one of the programs stands still while the host sleeps.
        time_ns: epoch_ns().saturating_sub(monotonic_ns().saturating_sub(event.time_ns)),
        interface: names.interface(event.zone),
        device: names.device(event.ifindex),
        direction: decision.direction.name(),
        verdict: crate::report::verdict_name(decision.reason, decision.observed),
        layer: reason.layer().name(),
        reason: reason.name(),
        protocol: is_ip.then_some(named),
        source: is_ip.then(|| ip(event.source)),
        source_port: ports.then_some(event.source_port),
        destination: is_ip.then(|| ip(event.destination)),
        destination_port: ports.then_some(event.service),
        icmp_type: icmp.then_some(kind),
        icmp_code: icmp.then_some(code),
        tcp_flags: (ports && protocol == fw_common::packet::protocol::TCP).then_some(event.tcp_flags),
        later_fragment: event.has(Event::LATER_FRAGMENT),
        ethertype: (event.ethertype != 0).then(|| format!("0x{:04x}", event.ethertype)),
        bytes: event.bytes,
        network_acl,
        security_group,
    })
}

//! Tracked connections for people: listed, counted, flushed.

mod count;
mod filter;

use std::net::{IpAddr, Ipv6Addr};
use std::path::Path;

use fw_common::conntrack::{Class, Connection, ns_between, tick};
use fw_common::{Address, Direction, Family, FlowKey};

use super::clock::{NS_PER_S, TICK_NS, coarse_ns, monotonic_ns, time_of_tick};
use super::connections::ConnectionTable;
use super::current::Current;
use super::inspect::loaded;
use super::lock::Lock;
use super::names::Names;
use super::policy_array::Head;
use super::programs::POLICY;
use super::{install, open_loaded, upkeep};
use crate::error::Result;
use crate::report::{ConnectionStatus, Flushed, Protocol};

pub use count::Grouping;
pub(super) use filter::has_ports;
pub use filter::{Filter, Network, Progress, WantedProtocol};

/// The connections of what is loaded, and the names of what they refer to.
pub struct Conntrack {
    table: ConnectionTable,
    names: Names,
    head: Head,
    /// What it said before the names were read.
    live: u32,
    /// When that was, as the programs tell time.
    named_ns: u64,
}

/// A connection that has not expired, as it was at one moment.
struct Seen {
    key: FlowKey,
    connection: Connection,
    class: Class,
    now_ns: u64,
}

impl Conntrack {
    /// Opens what is loaded under `bpffs`.
    pub fn open(bpffs: &Path) -> Result<Self> {
        let (store, current) = loaded(bpffs)?;
        let head = Head::open(&store.maps().join(POLICY))?;
        let (live, named_ns) = (current.live.base, coarse_ns());
        let (table, names) = (ConnectionTable::open(&store.maps())?, Names::read(&store, &current)?);
        Ok(Self { table, names, head, live, named_ns })
    }

    /// What the filter matches, one by one: nothing is kept.
    pub fn list<'a>(
        &'a self,
        filter: &Filter,
    ) -> Result<impl Iterator<Item = ConnectionStatus<'a>> + use<'a>> {
        Ok(self.matches(filter)?.map(|seen| self.status(&seen)))
    }

    /// The length of the longest interface's name.
    pub fn widest_name(&self) -> usize {
        self.names.widest_interface()
    }

    fn matches<'a>(&'a self, filter: &Filter) -> Result<impl Iterator<Item = Seen> + use<'a>> {
        let zone = filter.interface.as_deref().map(|name| self.names.zone(name)).transpose()?;
        let filter = filter.clone();
        let all = self.table.iter().map(|(key, connection, class)| {
            // Now, and not when the list began: a packet that came since is none of the future.
            Seen { key, connection, class, now_ns: monotonic_ns() }
        });
        Ok(all.filter(move |Seen { key, connection, class, now_ns }| {
            zone.is_none_or(|zone| key.zone == zone)
                && filter.matches(key, connection.status().state(), *class)
                && !connection.is_expired(*now_ns)
        }))
    }

    /// The slot of the rule that admitted a connection; `None` if that is no more, whoever has its slot now.
    fn rule(&self, seen: &Seen) -> Option<u32> {
        let created_ns = time_of_tick(seen.connection.created(), seen.now_ns);
        // A long list may go on while other rules are loaded.
        if self.head.live() != self.live && created_ns + TICK_NS > self.named_ns {
            return None;
        }
        self.names.admitting(seen.connection.rule(), created_ns)
    }

    fn status(&self, seen: &Seen) -> ConnectionStatus<'_> {
        let Seen { key, connection, class, now_ns } = seen;
        let status = connection.status();
        let (idle_ns, allowed_ns) = status.idle(*now_ns);
        let protocol = protocol(key);
        let has_ports = has_ports(protocol.number);
        let [kind, _] = key.remote_port.to_le_bytes();
        let is_local = status.opened_by() == Direction::Egress.code();
        ConnectionStatus {
            interface: self.names.interface(key.zone),
            protocol,
            local: ip(key.local),
            local_port: has_ports.then_some(key.local_port),
            remote: ip(key.remote),
            remote_port: has_ports.then_some(key.remote_port),
            icmp_type: protocol.is_icmp().then_some(kind),
            icmp_identifier: protocol.is_icmp().then_some(key.local_port),
            state: status.state().name(),
            class: if class.is_kept() { "confirmed" } else { "half_open" },
            standing: match class {
                Class::Inbound => "inbound",
                Class::Reserved => "reserved",
                Class::Outbound => "outbound",
                Class::Stream => "stream",
                Class::Assured => "assured",
            },
            opened_by: if is_local { "local" } else { "remote" },
            age_s: ns_between(connection.created(), tick(*now_ns)) / NS_PER_S,
            idle_s: whole_seconds(idle_ns),
            expires_s: whole_seconds(allowed_ns.saturating_sub(idle_ns)),
            packets: connection.packets(),
            bytes: connection.bytes(),
            rule: self.rule(seen).and_then(|slot| self.names.rule(slot)),
        }
    }
}

/// Removes what the filter matches, and mends a damaged table.
pub fn flush(bpffs: &Path, filter: &Filter) -> Result<Flushed> {
    let store = open_loaded(bpffs)?;
    let _lock = Lock::take(bpffs)?;
    let current = Current::need(&store)?;
    let conntrack = Conntrack::open(bpffs)?;
    let flushed = upkeep::flush(&store, conntrack.matches(filter)?.map(|seen| seen.key))?;
    // Twice: what was moving the first time is not the second.
    let rebuilt = conntrack.table.is_damaged() && conntrack.table.is_damaged();
    if rebuilt {
        install::rebuild(&store, &current)?;
    }
    Ok(Flushed { flushed, rebuilt })
}

fn protocol(key: &FlowKey) -> Protocol {
    Protocol { number: key.protocol as u8, is_ipv4: key.remote.family() == Family::V4 }
}

pub(crate) fn ip(address: Address) -> IpAddr {
    Ipv6Addr::from(address.to_bytes()).to_canonical()
}

/// What is in the future has not begun.
fn whole_seconds(ns: i64) -> u64 {
    ns.max(0).cast_unsigned() / NS_PER_S
}

//! Tracked connections for people: listed, counted, flushed.

mod count;
mod filter;

use std::net::{IpAddr, Ipv6Addr};
use std::path::Path;

use fw_common::conntrack::{Class, Connection, ns_between, tick};
use fw_common::{Address, Direction, FlowKey};
use rustc_hash::FxHashMap;

use super::clock::{NS_PER_S, monotonic_ns};
use super::connections::ConnectionTable;
use super::current::Current;
use super::inspect::{loaded, rule_kind_name};
use super::lock::Lock;
use super::{install, open_loaded, upkeep};
use crate::compile::RuleInfo;
use crate::error::{Error, Result};
use crate::report::{ConnectionStatus, Flushed, ProtocolName, RuleName};

pub use count::Grouping;
pub use filter::{Filter, Network, Progress};
use filter::{has_ports, is_icmp};

/// The connections of what is loaded, and the names of what they refer to.
pub struct Conntrack {
    table: ConnectionTable,
    zones: FxHashMap<u32, String>,
    rules: FxHashMap<u32, RuleInfo>,
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
        let zones = current.state.zones.iter().map(|(zone, name, _)| (*zone, name.clone()));
        let rules = store.read_rules(current.state.generation)?;
        Ok(Self {
            table: ConnectionTable::open(&store.maps())?,
            zones: zones.collect(),
            rules: rules.into_iter().map(|rule| (rule.slot, rule)).collect(),
        })
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
        self.zones.values().map(|name| name.chars().count()).max().unwrap_or(0)
    }

    fn matches<'a>(&'a self, filter: &Filter) -> Result<impl Iterator<Item = Seen> + use<'a>> {
        let zone = filter.interface.as_deref().map(|name| self.zone(name)).transpose()?;
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

    fn zone(&self, name: &str) -> Result<u32> {
        let found = self.zones.iter().find(|(_, loaded)| *loaded == name);
        found.map(|(zone, _)| *zone).ok_or_else(|| {
            let mut names: Vec<&str> = self.zones.values().map(String::as_str).collect();
            names.sort_unstable();
            Error::input(format!(
                "no interface \"{name}\" is loaded; these are: \"{}\"",
                names.join("\", \"")
            ))
        })
    }

    fn status(&self, seen: &Seen) -> ConnectionStatus<'_> {
        let Seen { key, connection, class, now_ns } = seen;
        let status = connection.status();
        let (idle_ns, allowed_ns) = status.idle(*now_ns);
        let protocol = key.protocol as u8;
        let [kind, _] = key.remote_port.to_le_bytes();
        let is_local = status.opened_by() == Direction::Egress.code();
        ConnectionStatus {
            interface: self.interface(key.zone),
            protocol: ProtocolName(protocol),
            local: ip(key.local),
            local_port: has_ports(protocol).then_some(key.local_port),
            remote: ip(key.remote),
            remote_port: has_ports(protocol).then_some(key.remote_port),
            icmp_type: is_icmp(protocol).then_some(kind),
            icmp_identifier: is_icmp(protocol).then_some(key.local_port),
            state: status.state().name(),
            class: match class {
                Class::HalfOpen => "half_open",
                Class::Confirmed => "confirmed",
            },
            opened_by: if is_local { "local" } else { "remote" },
            age_s: ns_between(connection.created(), tick(*now_ns)) / NS_PER_S,
            idle_s: whole_seconds(idle_ns),
            expires_s: whole_seconds(allowed_ns.saturating_sub(idle_ns)),
            packets: connection.packets(),
            bytes: connection.bytes(),
            rule: self.rule(connection.rule()),
        }
    }

    fn interface(&self, zone: u32) -> &str {
        self.zones.get(&zone).map_or("-", String::as_str)
    }

    fn rule(&self, slot: u32) -> Option<RuleName<'_>> {
        self.rules.get(&slot).map(|rule| RuleName {
            kind: rule_kind_name(rule.kind),
            id: &rule.id,
            direction: rule.direction.name(),
            rule: &rule.rule,
        })
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

fn ip(address: Address) -> IpAddr {
    Ipv6Addr::from(address.to_bytes()).to_canonical()
}

/// What is in the future has not begun.
fn whole_seconds(ns: i64) -> u64 {
    ns.max(0).cast_unsigned() / NS_PER_S
}

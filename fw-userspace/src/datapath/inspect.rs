//! The commands that only look.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use aya::maps::{HashMap, MapData};
use fw_common::store::Layout;
use fw_common::verdict::{Counter, counter_index};
use fw_common::{Direction, REASON_SLOTS_PER_ZONE, Reason};

use super::clock::monotonic_ns;
use super::connections::{ConnectionTable, Founded};
use super::current::{Current, policy_of};
use super::filtering::{Filtering, hook_report, pending};
use super::hooks::Verified;
use super::lock::Lock;
use super::policy_array::{map_error, open_map};
use super::state::State;
use super::store::Store;
use super::{batch, install, open_loaded};
use crate::compile::{Binding, RuleKind};
use crate::error::{Error, Result};
use crate::model::{AclChoice, Faces, Policy};
use crate::report::{
    EthertypeStatus, HookReport, InterfaceStatus, LoadReport, ReasonStats, RuleStats, Stats, Status,
    TableStatus, verdict_name,
};

/// The file that was loaded, byte for byte.
pub fn source(bpffs: &Path) -> Result<Vec<u8>> {
    let (store, current) = loaded(bpffs)?;
    store.read_source(current.state.generation)
}

/// What was loaded.
pub(crate) struct RulesInForce {
    pub(crate) policy: Policy,
    /// Which devices carry what.
    pub(crate) bindings: Vec<Binding>,
    /// What the tables were allowed to take, in bytes.
    pub(crate) max_memory: u64,
}

/// The rules in force, as they were loaded.
pub(crate) fn rules_in_force(bpffs: &Path) -> Result<RulesInForce> {
    let (store, current) = loaded(bpffs)?;
    let policy = policy_of(&store.read_source(current.state.generation)?)?;
    let State { bindings, max_memory, .. } = current.state;
    Ok(RulesInForce { policy, bindings, max_memory })
}

/// What is in force, with every hook verified against the kernel.
pub fn status(bpffs: &Path) -> Result<Status> {
    let (store, current) = loaded(bpffs)?;
    let state = &current.state;
    let policy = policy_of(&store.read_source(state.generation)?)?;
    let now_ns = monotonic_ns();
    let deadline_ns = current.live.root.deadline_ns;
    let reverted = deadline_ns != 0 && now_ns >= deadline_ns;
    let waits = deadline_ns != 0 && !reverted;
    let Filtering { hooks, pending } = Filtering::look(&store, state)?;
    let healthy = hooks.iter().all(|hook| hook.attached);
    let nothing_in_force = reverted && current.live.root.previous == 0;
    Ok(Status {
        bpffs: bpffs.display().to_string(),
        generation: state.generation,
        loaded_at: state.loaded_at,
        confirm_within_s: waits.then(|| (deadline_ns - now_ns) / 1_000_000_000),
        reverted,
        in_force: !nothing_in_force,
        pending,
        interfaces: interfaces(&policy, state),
        rules: state.rules,
        tables: tables(&store)?,
        ethertypes: ethertypes(&store, state)?,
        healthy: healthy && !nothing_in_force,
        hooks,
    })
}

/// Counters.
pub fn stats(bpffs: &Path) -> Result<Stats> {
    let (store, current) = loaded(bpffs)?;
    let state = &current.state;
    Ok(Stats {
        generation: state.generation,
        reasons: reason_stats(&store, state)?,
        rules: rule_stats(&store, state)?,
    })
}

/// The counters of all interfaces; those that are zero are left out.
pub(super) fn reason_stats(store: &Store, state: &State) -> Result<Vec<ReasonStats>> {
    let zones = state.zones.iter().map(|(zone, ..)| zone + 1).max().unwrap_or(1);
    let counters = counted(store, "COUNTERS", zones * REASON_SLOTS_PER_ZONE)?;
    let mut reasons = Vec::new();
    let unknown = (0u32, "-".to_owned(), String::new());
    for (zone, name, _) in std::iter::once(&unknown).chain(&state.zones) {
        for direction in [Direction::Ingress, Direction::Egress] {
            for (would_deny, reason) in
                [false, true].iter().flat_map(|w| Reason::ALL.iter().map(move |r| (*w, *r)))
            {
                let index = counter_index(*zone, direction, would_deny, reason);
                let total = at(&counters, index);
                if total.packets == 0 {
                    continue;
                }
                reasons.push(ReasonStats {
                    interface: name.clone(),
                    direction: direction.name(),
                    verdict: verdict_name(reason, would_deny),
                    layer: reason.layer().name(),
                    reason: reason.name(),
                    says: reason.says(),
                    packets: total.packets,
                    bytes: total.bytes,
                });
            }
        }
    }
    Ok(reasons)
}

/// The counters of all rules.
pub(super) fn rule_stats(store: &Store, state: &State) -> Result<Vec<RuleStats>> {
    let numbered = store.read_rules(state.generation)?;
    let slots = numbered.iter().map(|rule| rule.slot + 1).max().unwrap_or(0);
    let counters = counted(store, "RULES", slots)?;
    let mut rules = Vec::with_capacity(numbered.len());
    for rule in numbered {
        let total = at(&counters, rule.slot);
        rules.push(RuleStats {
            kind: rule_kind_name(rule.kind),
            id: rule.id,
            direction: rule.direction.name(),
            rule: rule.rule,
            description: rule.description,
            packets: total.packets,
            bytes: total.bytes,
        });
    }
    Ok(rules)
}

/// How full the table of connections is by its own count, which costs nothing: what has expired and is not swept yet is
/// in it.
pub fn fill(bpffs: &Path) -> Result<TableStatus> {
    let (used, capacity) = Founded::fill(&open_loaded(bpffs)?.maps())?;
    Ok(TableStatus { table: "connections", used, capacity })
}

pub(super) fn loaded(bpffs: &Path) -> Result<(Store, Current)> {
    let store = open_loaded(bpffs)?;
    if store.reached().is_some() {
        // By a command that is at it, which is soon done, or by one that was killed.
        let _lock = Lock::take(bpffs)?;
        if store.reached().is_some() {
            return Err(Error::system(
                "a command was killed while it put new programs in place: some hooks may follow the former table of \
                 connections and others the new one; `fwctl load FILE` ends what it began",
            ));
        }
    }
    let current = Current::read(&store)?
        .ok_or_else(|| Error::system("nothing is loaded; load a rules file with `fwctl load FILE`"))?;
    Ok((store, current))
}

/// The report of a load, hooks verified.
pub(super) fn load_report(store: &Store, state: &State) -> Result<LoadReport> {
    let mut report = report_of(state, &Filtering::look(store, state)?.hooks);
    report.memory_bytes = Some(install::memory_bytes(store));
    Ok(report)
}

/// The report of a load with these hooks, or, where there are none, with the planned ones.
pub(super) fn report_of(state: &State, hooks: &[HookReport]) -> LoadReport {
    let planned = || state.hooks.iter().map(|hook| hook_report(hook, Verified::default())).collect();
    LoadReport {
        generation: state.generation,
        hooks: if hooks.is_empty() { planned() } else { hooks.to_vec() },
        pending: pending(&state.pending),
        detached: Vec::new(),
        rules: state.rules,
        policy_bytes: 0,
        memory_bytes: None,
        compile_ms: None,
        total_ms: None,
        confirm_within_s: None,
        adopt_s: 0,
        taken_over: 0,
        taken_over_by: Vec::new(),
        notes: Vec::new(),
    }
}

fn interfaces(policy: &Policy, state: &State) -> Vec<InterfaceStatus> {
    let mut list = Vec::new();
    for (_, name, kind) in &state.zones {
        let bound: Vec<_> = state.bindings.iter().filter(|binding| binding.carries.name() == name).collect();
        let devices = bound.iter().map(|binding| binding.device.clone()).collect();
        let acl = |subnet: &str| match &policy.subnets.get(subnet)?.network_acl {
            AclChoice::Named(name) => Some(name.clone()),
            AclChoice::AwsDefault => Some("default".to_owned()),
        };
        if kind == "subnet" {
            let leg = policy.subnets.get(name).and_then(|subnet| subnet.leg.as_ref());
            list.push(InterfaceStatus {
                interface: name.clone(),
                kind: "subnet",
                devices,
                faces: leg.map_or("instance", |leg| faces_name(leg.faces)),
                enforce: true,
                addresses: Vec::new(),
                security_groups: Vec::new(),
                network_acl: acl(name),
            });
        } else if let Some(interface) = policy.interfaces.get(name) {
            let own = interface.addresses.iter();
            let addresses: Vec<_> = if interface.addresses.is_empty() {
                bound.iter().flat_map(|binding| &binding.addresses).map(ToString::to_string).collect()
            } else {
                own.map(ToString::to_string).collect()
            };
            list.push(InterfaceStatus {
                interface: name.clone(),
                kind: "interface",
                devices,
                faces: interface
                    .attachment
                    .as_ref()
                    .map_or("network", |attachment| faces_name(attachment.faces)),
                enforce: interface.enforce,
                addresses,
                security_groups: interface.security_groups.clone(),
                network_acl: interface.subnet.as_deref().and_then(acl),
            });
        }
    }
    list
}

fn tables(store: &Store) -> Result<Vec<TableStatus>> {
    let now_ns = monotonic_ns();
    let connections = ConnectionTable::open(&store.maps())?;
    let [mut confirmed, mut half_open] = [0, 0];
    for (_, connection, class) in connections.iter() {
        let counted = if class.is_kept() { &mut confirmed } else { &mut half_open };
        *counted += u64::from(!connection.is_expired(now_ns));
    }
    table_statuses(store, connections.founded().layout, [confirmed, half_open])
}

/// With so many connections that are kept, and others.
pub(super) fn table_statuses(
    store: &Store,
    layout: Layout,
    [confirmed, half_open]: [u64; 2],
) -> Result<Vec<TableStatus>> {
    let array = store.policy_array()?;
    let lines = array.live().map_or(0, |live| live.root.lines);
    Ok(vec![
        TableStatus { table: "connections", used: confirmed, capacity: layout.connections.into() },
        TableStatus { table: "half_open", used: half_open, capacity: layout.unproven().into() },
        TableStatus { table: "policy_lines", used: lines.into(), capacity: array.capacity().into() },
    ])
}

pub(super) fn ethertypes(store: &Store, state: &State) -> Result<Vec<EthertypeStatus>> {
    let map: HashMap<MapData, u32, u64> = open_map(&store.maps().join("ETHERTYPES"))?
        .try_into()
        .map_err(|error| map_error("ETHERTYPES", &error))?;
    let names: BTreeMap<u32, &str> =
        state.zones.iter().map(|(zone, name, _)| (*zone, name.as_str())).collect();
    let mut list: Vec<(u32, u64)> = map.iter().flatten().collect();
    list.sort_unstable();
    Ok(list
        .into_iter()
        .map(|(key, frames)| EthertypeStatus {
            interface: names.get(&(key >> 16)).map_or_else(|| "-".to_owned(), |name| (*name).to_owned()),
            ethertype: format!("0x{:04x}", key & 0xffff),
            frames,
        })
        .collect())
}

/// The first so many counters of a map.
fn counted(store: &Store, map: &str, count: u32) -> Result<Vec<Counter>> {
    let read = || batch::Counters::open(&store.maps().join(map))?.sums(0..count);
    read().map_err(|error| map_error(map, &error))
}

fn at(counters: &[Counter], index: u32) -> Counter {
    counters.get(index as usize).copied().unwrap_or_default()
}

/// The inode of the network namespace that we are in.
pub(super) fn netns() -> u64 {
    // Of the thread: a caller may have entered a namespace with one thread only.
    std::fs::metadata("/proc/thread-self/ns/net").map_or(0, |metadata| metadata.ino())
}

pub(super) fn rule_kind_name(kind: RuleKind) -> &'static str {
    match kind {
        RuleKind::SecurityGroup => "security_group",
        RuleKind::NetworkAcl => "network_acl",
    }
}

fn faces_name(faces: Faces) -> &'static str {
    match faces {
        Faces::Network => "network",
        Faces::Instance => "instance",
    }
}

pub(super) fn kind_name(kind: &str) -> &'static str {
    if kind == "subnet" { "subnet" } else { "interface" }
}

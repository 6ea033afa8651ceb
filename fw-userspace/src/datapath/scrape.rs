//! What metrics are made of: all that is counted, read at one moment, without a look at the rules file.

use std::collections::BTreeMap;
use std::path::Path;

use aya::maps::{MapData, PerCpuArray};
use fw_common::conntrack::State as ConnectionState;
use fw_common::event::Teller;
use fw_common::store::Layout;

use super::clock::monotonic_ns;
use super::connections::ConnectionTable;
use super::current::nothing_in_force;
use super::filtering::Filtering;
use super::inspect::{self, loaded};
use super::install;
use super::policy_array::{Head, map_error, open_map};
use super::programs::{POLICY, TELLERS};
use super::require_root;
use super::store::Store;
use crate::error::{Error, Result};
use crate::report::{EthertypeStatus, HookReport, ReasonStats, RuleStats, TableStatus};

/// What is loaded and what it has counted.
#[derive(Debug, Clone)]
pub struct Scraped {
    /// Number of the generation in force.
    pub generation: u32,
    /// Seconds since the epoch at which it was loaded.
    pub loaded_at: u64,
    /// False if it was not confirmed in time and there was none before: everything passes.
    pub in_force: bool,
    /// It still waits for `fwctl confirm`.
    pub awaits_confirmation: bool,
    /// Interfaces and subnets that have a device here.
    pub interfaces: Vec<String>,
    /// Hooks, verified against the kernel.
    pub hooks: Vec<HookReport>,
    /// Devices that the rules name and that do not exist.
    pub pending: usize,
    /// Security group rules and ACL entries.
    pub rules: usize,
    /// Tables and how full they are.
    pub tables: Vec<TableStatus>,
    /// Connections and half-open flows that have not expired, by the name of their state; all names are there.
    pub connections: BTreeMap<&'static str, u64>,
    /// By interface, direction and reason; zero counters are left out.
    pub reasons: Vec<ReasonStats>,
    /// By rule, in the order of the file; `None` if they were not asked for.
    pub rule_counters: Option<Vec<RuleStats>>,
    /// Ethertypes that were dropped.
    pub ethertypes: Vec<EthertypeStatus>,
    /// Events that were wanted and are lost, since the programs were loaded.
    pub suppressed: u64,
    /// All maps together.
    pub memory_bytes: u64,
}

/// A load that comes in between is over soon, and another one is not likely to follow.
const ATTEMPTS: u32 = 5;

/// Everything that metrics tell of; `None` if nothing is loaded.
pub fn scrape(bpffs: &Path, with_rules: bool) -> Result<Option<Scraped>> {
    require_root()?;
    for attempt in 1.. {
        let Some(store) = Store::open(bpffs)? else { return Ok(None) };
        match read(&store, with_rules) {
            // What a load takes away between two looks is there again at the next attempt.
            Ok(None) | Err(_) if attempt < ATTEMPTS => {}
            Ok(None) => break,
            read => return read,
        }
    }
    Err(Error::system("the rules are replaced faster than their counters can be read"))
}

/// `None` if the rules were replaced meanwhile: a counter of theirs may be another rule's by now, or may be counted in
/// another map.
fn read(store: &Store, with_rules: bool) -> Result<Option<Scraped>> {
    let (_, current) = loaded(store.bpffs())?;
    let state = &current.state;
    let deadline_ns = current.live.root.deadline_ns;
    let Filtering { hooks, pending } = Filtering::look(store, state)?;
    let counted = count_connections(store)?;
    let rule_counters = with_rules.then(|| inspect::rule_stats(store, state)).transpose()?;
    let scraped = Scraped {
        generation: state.generation,
        loaded_at: state.loaded_at,
        in_force: current.is_in_force,
        awaits_confirmation: deadline_ns != 0 && monotonic_ns() < deadline_ns,
        interfaces: state.zones.iter().map(|(_, name, _)| name.clone()).collect(),
        hooks,
        pending: pending.len(),
        rules: state.rules,
        tables: inspect::table_statuses(store, counted.layout, counted.classes)?,
        connections: counted.states,
        reasons: inspect::reason_stats(store, state)?,
        rule_counters,
        ethertypes: inspect::ethertypes(store, state)?,
        suppressed: suppressed(store)?,
        memory_bytes: install::memory_bytes(store),
    };
    let is_same =
        Head::open(&store.maps().join(POLICY))?.live() == current.live.base && store.reached().is_none();
    Ok(is_same.then_some(scraped))
}

/// Why packets are not filtered as they should be, if they are not: nothing is in force, or a hook is not there.
pub fn unhealthy(bpffs: &Path) -> Result<Option<String>> {
    let (store, current) = loaded(bpffs)?;
    if !current.is_in_force {
        return Ok(Some(nothing_in_force().to_string()));
    }
    let Filtering { hooks, .. } = Filtering::look(&store, &current.state)?;
    Ok(hooks.into_iter().find_map(|hook| {
        let HookReport { interface, device, side, hook, problem, .. } = hook;
        Some(format!("{interface:?}: {hook} hook, {side} side of \"{device}\": {}", problem?))
    }))
}

struct Counted {
    layout: Layout,
    /// Confirmed connections, half-open flows.
    classes: [u64; 2],
    states: BTreeMap<&'static str, u64>,
}

/// One walk through the table: a line of memory for each entry, in the order in which they lie.
fn count_connections(store: &Store) -> Result<Counted> {
    let table = ConnectionTable::open(&store.maps())?;
    let now_ns = monotonic_ns();
    let mut classes = [0, 0];
    let mut states = [0u64; ConnectionState::ALL.len()];
    for (_, connection, class) in table.iter().filter(|(_, it, _)| !it.is_expired(now_ns)) {
        classes[usize::from(!class.is_kept())] += 1;
        states[connection.status().state() as usize] += 1;
    }
    let mut named = BTreeMap::new();
    // Some states have one name.
    for (state, count) in ConnectionState::ALL.iter().zip(states) {
        *named.entry(state.name()).or_default() += count;
    }
    Ok(Counted { layout: table.founded().layout, classes, states: named })
}

fn suppressed(store: &Store) -> Result<u64> {
    let pin = store.maps().join(TELLERS);
    // Programs of an earlier fwctl tell of no packets.
    if !pin.exists() {
        return Ok(0);
    }
    let error = |error: &dyn std::fmt::Display| -> Error { map_error(TELLERS, error) };
    let tellers: PerCpuArray<MapData, Teller> =
        open_map(&pin)?.try_into().map_err(|fault: aya::maps::MapError| error(&fault))?;
    let values = tellers.get(&0, 0).map_err(|fault| error(&fault))?;
    Ok(values.iter().map(|teller| teller.suppressed).sum())
}

//! The maps of what is loaded, by their pins.

use std::path::Path;

use anyhow::{Context as _, Result};
use aya::maps::{HashMap, Map, MapData, PerCpuArray};
use fw_common::fragment::{Datagram, FragmentKey};
use fw_common::store::Store;
use fw_common::verdict::{Counter, counter_index};
use fw_common::{Direction, FlowKey, Reason};

use fw_userspace::datapath::{ConnectionTable, PolicyArray};

use crate::age::{Age, now_ns, wait};

const NS_PER_S: u64 = 1_000_000_000;

/// Opened once per load: a load may replace maps by larger ones.
pub(super) struct Tables {
    connections: ConnectionTable,
    datagrams: HashMap<MapData, FragmentKey, Datagram>,
    counters: PerCpuArray<MapData, Counter>,
    rules: PerCpuArray<MapData, Counter>,
    policy: PolicyArray,
    age: Age,
    waited_s: u64,
    windows: Vec<Window>,
}

/// A window in which connections are adopted. Time that passes in a case brings its end nearer.
#[derive(Clone, Copy)]
struct Window {
    /// As the loader remembers it, for all loads to come.
    until_ns: u64,
    opened_s: u64,
}

impl Window {
    fn until_ns(&self, waited_s: u64) -> u64 {
        // Not 0: that is no window, and stands in many lines.
        self.until_ns.saturating_sub((waited_s - self.opened_s).saturating_mul(NS_PER_S)).max(1)
    }
}

/// What the counters of one zone and direction, and those of the rules, stood at.
pub(super) struct Counts {
    reasons: Vec<(Reason, u64)>,
    slots: Vec<(u32, u64)>,
}

impl Counts {
    /// What grew: each reason as often as it was counted, and the slots of the rules.
    pub(super) fn since(&self, before: &Self) -> (Vec<Reason>, Vec<u32>) {
        let reasons = self.reasons.iter().zip(&before.reasons);
        let reasons = reasons.flat_map(|(now, then)| vec![now.0; (now.1 - then.1) as usize]).collect();
        let slots = self.slots.iter().zip(&before.slots).filter(|(now, then)| now.1 > then.1);
        (reasons, slots.map(|(now, _)| now.0).collect())
    }
}

impl Tables {
    /// Opens what is pinned in a directory.
    pub(super) fn open(maps: &Path) -> Result<Self> {
        Ok(Self {
            connections: ConnectionTable::open(maps)?,
            datagrams: map(maps, "DATAGRAMS")?.try_into()?,
            counters: map(maps, "COUNTERS")?.try_into()?,
            rules: map(maps, "RULES")?.try_into()?,
            policy: PolicyArray::open(&maps.join("POLICY"))?,
            age: Age::default(),
            waited_s: 0,
            windows: Vec::new(),
        })
    }

    /// Goes on with what was remembered about the tables before a load.
    pub(super) fn inherit(&mut self, before: Self) {
        self.age = before.age;
        self.waited_s = before.waited_s;
        self.windows = before.windows;
    }

    /// Takes note of the windows that a load has written, and moves those that time has brought nearer.
    pub(super) fn windows(&mut self, until_ns: impl Iterator<Item = u64>) -> Result<()> {
        let mut windows: Vec<Window> = Vec::new();
        for until_ns in until_ns.filter(|until_ns| *until_ns != 0) {
            let known = self.windows.iter().chain(&windows).find(|window| window.until_ns == until_ns);
            windows.push(known.copied().unwrap_or(Window { until_ns, opened_s: self.waited_s }));
        }
        self.windows = windows;
        self.move_windows(|window, _| window.until_ns, self.waited_s)
    }

    /// Whether a device adopts, or did.
    pub(super) fn has_windows(&self) -> bool {
        !self.windows.is_empty()
    }

    /// Rewrites the end of each window in the live generation, which nobody does but us: nothing runs meanwhile.
    fn move_windows(&mut self, from: impl Fn(&Window, u64) -> u64, waited_s: u64) -> Result<()> {
        let ends: Vec<(u64, u64)> = self
            .windows
            .iter()
            .map(|window| (from(window, self.waited_s), window.until_ns(waited_s)))
            .filter(|(from, to)| from != to)
            .collect();
        self.waited_s = waited_s;
        if ends.is_empty() {
            return Ok(());
        }
        for number in 1..self.policy.capacity() {
            let Some(mut line) = self.policy.line(number) else { break };
            // Where an interface's first line has it (`fw_common::layout::Interface`); nanoseconds are no accident.
            if let Some((_, to)) = ends.iter().find(|(from, _)| line.long(1) == *from) {
                line.set_long(1, *to);
                self.policy.write(&[(number, line)]);
            }
        }
        Ok(())
    }

    /// Forgets connections and fragments.
    pub(super) fn clear(&mut self) -> Result<()> {
        self.connections.clear();
        let keys: Vec<FragmentKey> = self.datagrams.keys().collect::<Result<_, _>>()?;
        keys.iter().try_for_each(|key| self.datagrams.remove(key))?;
        self.age = Age::default();
        Ok(())
    }

    /// Lets time pass.
    pub(super) fn wait(&mut self, seconds: u64) -> Result<()> {
        wait(&self.connections, seconds);
        self.age.wait_for_datagrams(&mut self.datagrams, seconds, now_ns())?;
        self.move_windows(Window::until_ns, self.waited_s + seconds)
    }

    /// Whether a connection that still counts is there.
    pub(super) fn is_tracked(&self, key: &FlowKey, now_ns: u64) -> bool {
        Store(&self.connections).entry(key).is_some_and(|connection| !connection.is_expired(now_ns))
    }

    /// The counters of a zone in one direction, and of these rules.
    pub(super) fn count(
        &self,
        zone: u32,
        direction: Direction,
        slots: impl Iterator<Item = u32>,
    ) -> Result<Counts> {
        let reason = |reason: &Reason| {
            let [done, would_deny] = [false, true].map(|would_deny| {
                packets(&self.counters, counter_index(zone, direction, would_deny, *reason))
            });
            Ok((*reason, done? + would_deny?))
        };
        Ok(Counts {
            reasons: Reason::ALL.iter().map(reason).collect::<Result<_>>()?,
            slots: slots.map(|slot| Ok((slot, packets(&self.rules, slot)?))).collect::<Result<_>>()?,
        })
    }
}

fn packets(map: &PerCpuArray<MapData, Counter>, index: u32) -> Result<u64> {
    Ok(map.get(&index, 0)?.iter().map(|counter| counter.packets).sum())
}

fn map(maps: &Path, name: &str) -> Result<Map> {
    let data = MapData::from_pin(maps.join(name)).with_context(|| format!("cannot open the map {name}"))?;
    Ok(Map::from_map_data(data)?)
}

//! The maps of what is loaded, by their pins.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result};
use aya::maps::{HashMap, Map, MapData};
use fw_common::fragment::{Datagram, FragmentKey};
use fw_common::store::Store;
use fw_common::verdict::{Counter, REASON_SLOTS, counter_index};
use fw_common::{Direction, FlowKey, Reason};

use fw_userspace::datapath::{ConnectionTable, Counters, PolicyArray};

use crate::age::{Age, make_older, now_ns, wait};

const NS_PER_S: u64 = 1_000_000_000;

/// Opened once per load: a load may replace maps by larger ones.
pub(super) struct Tables {
    connections: ConnectionTable,
    datagrams: HashMap<MapData, FragmentKey, Datagram>,
    reasons: Counters,
    rules: Counters,
    policy: PolicyArray,
    age: Age,
    /// How much more time has passed in the case than by the kernel's clock.
    ahead_ns: i64,
    /// Until when the machine's own time has been made up for, if it is.
    still_since: Option<Instant>,
    windows: Vec<Window>,
}

/// A window in which connections are adopted. Time that passes in a case brings its end nearer.
#[derive(Clone, Copy)]
struct Window {
    /// As the loader remembers it, for all loads to come.
    until_ns: u64,
    opened_ahead_ns: i64,
}

impl Window {
    fn until_ns(&self, ahead_ns: i64) -> u64 {
        // Not 0: that is no window, and stands in many lines.
        self.until_ns.saturating_add_signed(self.opened_ahead_ns - ahead_ns).max(1)
    }
}

/// What the counters of one zone and direction, and those of the rules, stood at.
pub(super) struct Counts {
    /// By reason; then of what would have been denied.
    reasons: Vec<Counter>,
    /// By slot.
    rules: Vec<Counter>,
}

/// What grew, each as often as it was counted.
#[derive(Debug)]
pub(super) struct Grown {
    /// Reasons, and whether it was counted as what would have been denied.
    pub(super) reasons: Vec<(Reason, bool)>,
    /// Slots of rules.
    pub(super) slots: Vec<u32>,
}

impl Counts {
    pub(super) fn since(&self, before: &Self) -> Result<Grown> {
        let reason = |index: u32| {
            let reason = u8::try_from(index % REASON_SLOTS).ok().and_then(Reason::from_code);
            let reason = reason.with_context(|| format!("no reason has the counter {index}"))?;
            Ok((reason, index >= REASON_SLOTS))
        };
        let reasons = grown(&self.reasons, &before.reasons).map(reason).collect::<Result<_>>()?;
        Ok(Grown { reasons, slots: grown(&self.rules, &before.rules).collect() })
    }
}

fn grown(now: &[Counter], before: &[Counter]) -> impl Iterator<Item = u32> {
    (0..).zip(now.iter().zip(before)).flat_map(|(index, (now, before))| {
        std::iter::repeat_n(index, now.packets.saturating_sub(before.packets) as usize)
    })
}

impl Tables {
    /// Opens what is pinned in a directory.
    pub(super) fn open(maps: &Path) -> Result<Self> {
        Ok(Self {
            connections: ConnectionTable::open(maps)?,
            datagrams: map(maps, "DATAGRAMS")?.try_into()?,
            reasons: Counters::open(&maps.join("COUNTERS"))?,
            rules: Counters::open(&maps.join("RULES"))?,
            policy: PolicyArray::open(&maps.join("POLICY"))?,
            age: Age::default(),
            ahead_ns: 0,
            still_since: None,
            windows: Vec::new(),
        })
    }

    /// Goes on with what was remembered about the tables before a load.
    pub(super) fn inherit(&mut self, before: Self) {
        self.age = before.age;
        self.ahead_ns = before.ahead_ns;
        self.still_since = before.still_since;
        self.windows = before.windows;
    }

    /// Takes note of the windows that a load has written, and moves those that time has brought nearer.
    pub(super) fn windows(&mut self, until_ns: impl Iterator<Item = u64>) -> Result<()> {
        if self.still_since.is_some() {
            // The load took its time.
            self.wait_exactly(0)?;
        }
        let mut windows: Vec<Window> = Vec::new();
        for until_ns in until_ns.filter(|until_ns| *until_ns != 0) {
            let known = self.windows.iter().chain(&windows).find(|window| window.until_ns == until_ns);
            windows.push(known.copied().unwrap_or(Window { until_ns, opened_ahead_ns: self.ahead_ns }));
        }
        self.windows = windows;
        self.move_windows(|window, _| window.until_ns, self.ahead_ns);
        Ok(())
    }

    /// Whether a device adopts, or did.
    pub(super) fn has_windows(&self) -> bool {
        !self.windows.is_empty()
    }

    /// Rewrites the end of each window in the live generation, which nobody does but us: nothing runs meanwhile.
    fn move_windows(&mut self, from: impl Fn(&Window, i64) -> u64, ahead_ns: i64) {
        let ends: Vec<(u64, u64)> = self
            .windows
            .iter()
            .map(|window| (from(window, self.ahead_ns), window.until_ns(ahead_ns)))
            .filter(|(from, to)| from != to)
            .collect();
        self.ahead_ns = ahead_ns;
        if ends.is_empty() {
            return;
        }
        for number in 1..self.policy.capacity() {
            let Some(mut line) = self.policy.line(number) else { break };
            // Where an interface's first line has it (`fw_common::layout::Interface`); nanoseconds are no accident.
            if let Some((_, to)) = ends.iter().find(|(from, _)| line.long(1) == *from) {
                line.set_long(1, *to);
                self.policy.write(&[(number, line)]);
            }
        }
    }

    /// Forgets connections and fragments.
    pub(super) fn clear(&mut self) -> Result<()> {
        self.connections.clear();
        let keys: Vec<FragmentKey> = self.datagrams.keys().collect::<Result<_, _>>()?;
        keys.iter().try_for_each(|key| self.datagrams.remove(key))?;
        self.age = Age::default();
        self.still_since = None;
        Ok(())
    }

    /// Lets time pass.
    pub(super) fn wait(&mut self, seconds: u64) -> Result<()> {
        wait(&self.connections, seconds);
        self.age.wait_for_datagrams(&mut self.datagrams, seconds, now_ns())?;
        self.move_windows(Window::until_ns, self.ahead_ns + ns(seconds));
        Ok(())
    }

    /// Lets so many whole seconds pass, and from now on nothing else: what the machine itself takes, between two calls,
    /// is made up for. See [`make_older`].
    pub(super) fn wait_exactly(&mut self, seconds: u64) -> Result<()> {
        let now = Instant::now();
        let still = now.duration_since(self.still_since.replace(now).unwrap_or(now));
        make_older(&self.connections, &mut self.datagrams, seconds)?;
        self.move_windows(Window::until_ns, self.ahead_ns + ns(seconds) - still.as_nanos() as i64);
        Ok(())
    }

    /// Whether a connection that still counts is there.
    pub(super) fn is_tracked(&self, key: &FlowKey, now_ns: u64) -> bool {
        Store(&self.connections).entry(key).is_some_and(|connection| !connection.is_expired(now_ns))
    }

    /// The counters of a zone in one direction, and of the rules with the first so many slots.
    pub(super) fn count(&self, zone: u32, direction: Direction, slots: u32) -> Result<Counts> {
        let first = counter_index(zone, direction, false, Reason::NotConfigured);
        let reasons = self.reasons.sums(first..first + 2 * REASON_SLOTS)?;
        Ok(Counts { reasons, rules: self.rules.sums(0..slots)? })
    }
}

fn ns(seconds: u64) -> i64 {
    seconds.saturating_mul(NS_PER_S).cast_signed()
}

fn map(maps: &Path, name: &str) -> Result<Map> {
    let data = MapData::from_pin(maps.join(name)).with_context(|| format!("cannot open the map {name}"))?;
    Ok(Map::from_map_data(data)?)
}

//! What `fwctl top` shows, as plain data: what is drawn from it is drawn in tests too.

use std::collections::{BTreeMap, VecDeque};
use std::path::{Path, PathBuf};
use std::time::Instant;

use fw_common::event::Wanted;

use crate::datapath::{self, Listener};
use crate::error::Result;
use crate::rates::{Rate, Rates};
use crate::report::{Stats, TableStatus};

/// Packets that are remembered.
const RECENT: usize = 100;

/// One look.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Snapshot {
    /// Number of the generation in force.
    pub generation: u32,
    /// When, seconds since the epoch.
    pub at_s: u64,
    /// Interfaces by name, each direction that has counted anything.
    pub interfaces: Vec<InterfaceRates>,
    /// Rules that have counted anything, busiest first.
    pub rules: Vec<RuleRate>,
    /// Reasons why packets were dropped or would have been, busiest first.
    pub drops: Vec<DropRate>,
    /// Confirmed connections, expired ones included that are not swept yet.
    pub connections: u64,
    /// How many there may be.
    pub max_connections: u64,
    /// Packets that were dropped or would have been, newest first.
    pub recent: Vec<Recent>,
    /// Events that were lost.
    pub suppressed: u64,
    /// Why [`Self::recent`] knows nothing.
    pub deaf: Option<String>,
}

/// An interface in one direction.
#[derive(Debug, Clone, PartialEq)]
pub struct InterfaceRates {
    /// Interface, or subnet for a router's leg.
    pub interface: String,
    /// `ingress` or `egress`.
    pub direction: &'static str,
    /// What passes.
    pub allowed: Rate,
    /// What is dropped.
    pub denied: Rate,
    /// What passes because the interface is not enforced.
    pub would_deny: Rate,
}

/// A rule.
#[derive(Debug, Clone, PartialEq)]
pub struct RuleRate {
    /// `ID DIRECTION RULE`.
    pub name: String,
    /// Now.
    pub rate: Rate,
    /// Packets in all.
    pub packets: u64,
}

/// A reason, over all interfaces.
#[derive(Debug, Clone, PartialEq)]
pub struct DropRate {
    /// The reason.
    pub reason: &'static str,
    /// Now.
    pub rate: Rate,
    /// Packets in all.
    pub packets: u64,
}

/// A packet that was dropped, or would have been.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recent {
    /// Nanoseconds since the epoch.
    pub time_ns: u64,
    /// Interface.
    pub interface: String,
    /// `ingress` or `egress`.
    pub direction: &'static str,
    /// The rule or the reason.
    pub by: String,
    /// The packet in words.
    pub packet: String,
}

/// Looks again and again.
pub struct Watcher {
    bpffs: PathBuf,
    before: Option<(Instant, Stats)>,
    listener: std::result::Result<Listener, String>,
    recent: VecDeque<Recent>,
    suppressed: u64,
}

impl Watcher {
    /// Of what is loaded, which something has to be.
    pub fn open(bpffs: &Path) -> Result<Self> {
        datapath::stats(bpffs)?;
        let mut watcher = Self {
            bpffs: bpffs.to_owned(),
            before: None,
            listener: Err(String::new()),
            recent: VecDeque::new(),
            suppressed: 0,
        };
        watcher.listen_again();
        Ok(watcher)
    }

    /// Hears what was dropped since the last time; to be called a few times a second.
    pub fn listen(&mut self) {
        let Ok(listener) = &mut self.listener else { return };
        let error = loop {
            match listener.next_event() {
                Ok(None) => return,
                Ok(Some(event)) => {
                    self.recent.truncate(RECENT - 1);
                    self.recent.push_front(Recent {
                        time_ns: event.time_ns,
                        interface: event.interface.to_owned(),
                        direction: event.direction,
                        by: event.rule().map_or_else(|| event.reason.to_owned(), |rule| rule.to_string()),
                        packet: event.packet().to_string(),
                    });
                }
                Err(error) => break error,
            }
        };
        self.listener = Err(error.to_string());
    }

    /// Looks now.
    pub fn look(&mut self) -> Result<Snapshot> {
        if self.listener.is_err() {
            self.listen_again();
        }
        self.listen();
        if let Ok(listener) = &self.listener {
            self.suppressed = listener.suppressed()?;
        }
        let now = Instant::now();
        let stats = datapath::stats(&self.bpffs)?;
        let TableStatus { used, capacity, .. } = datapath::fill(&self.bpffs)?;
        // Of the first look itself nothing is between: rates are zero.
        let (before, seconds) = match &self.before {
            Some((then, before)) => (before, now.duration_since(*then).as_secs_f64()),
            None => (&stats, 0.0),
        };
        let rates = Rates::since(before, seconds);
        let snapshot = Snapshot {
            generation: stats.generation,
            at_s: datapath::epoch_s(),
            interfaces: interfaces(&stats, &rates),
            rules: rules(&stats, &rates),
            drops: drops(&stats, &rates),
            connections: used,
            max_connections: capacity,
            recent: self.recent.iter().cloned().collect(),
            suppressed: self.suppressed,
            deaf: self.listener.as_ref().err().cloned(),
        };
        self.before = Some((now, stats));
        Ok(snapshot)
    }

    fn listen_again(&mut self) {
        self.listener = Listener::open(&self.bpffs, Wanted::Drops).map_err(|error| error.to_string());
    }
}

fn interfaces(stats: &Stats, rates: &Rates<'_>) -> Vec<InterfaceRates> {
    let mut list: BTreeMap<(&str, &str), InterfaceRates> = BTreeMap::new();
    for row in &stats.reasons {
        let entry = list.entry((&row.interface, row.direction)).or_insert_with(|| InterfaceRates {
            interface: row.interface.clone(),
            direction: row.direction,
            allowed: Rate::default(),
            denied: Rate::default(),
            would_deny: Rate::default(),
        });
        let sum = match row.verdict {
            "allow" => &mut entry.allowed,
            "deny" => &mut entry.denied,
            _ => &mut entry.would_deny,
        };
        *sum += rates.of_reason(row);
    }
    list.into_values().collect()
}

fn rules(stats: &Stats, rates: &Rates<'_>) -> Vec<RuleRate> {
    let counted = stats.rules.iter().filter(|row| row.packets > 0);
    let mut list: Vec<RuleRate> = counted
        .map(|row| RuleRate {
            name: format!("{} {} {}", row.id, row.direction, row.rule),
            rate: rates.of_rule(row),
            packets: row.packets,
        })
        .collect();
    list.sort_by(|a, b| busier((a.rate, a.packets), (b.rate, b.packets)));
    list
}

fn drops(stats: &Stats, rates: &Rates<'_>) -> Vec<DropRate> {
    let mut list: BTreeMap<&str, DropRate> = BTreeMap::new();
    for row in stats.reasons.iter().filter(|row| row.verdict != "allow") {
        let entry = list.entry(row.reason).or_insert_with(|| DropRate {
            reason: row.reason,
            rate: Rate::default(),
            packets: 0,
        });
        entry.rate += rates.of_reason(row);
        entry.packets += row.packets;
    }
    let mut list: Vec<DropRate> = list.into_values().collect();
    list.sort_by(|a, b| busier((a.rate, a.packets), (b.rate, b.packets)));
    list
}

/// By what counts now, then by what has counted.
fn busier((a, a_packets): (Rate, u64), (b, b_packets): (Rate, u64)) -> std::cmp::Ordering {
    b.packets.total_cmp(&a.packets).then(b_packets.cmp(&a_packets))
}

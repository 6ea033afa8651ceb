//! VPC Flow Logs of the interfaces that are filtered here.
//!
//! The programs add packets up by flow; once a window this module takes what they have, gives it names and writes it down.
//! Whoever has a [`FlowLog`] calls [`FlowLog::tick`] when [`FlowLog::deadline`] is reached, and [`FlowLog::end`] at last.
//!
//! A window is written as a whole or not at all. One that cannot be written now (no space left) waits in the kernel, and is
//! tried again; beyond [`KEPT_WINDOWS`] the oldest is given up, and what it had becomes SKIPDATA records.

mod field;
mod files;
mod output;
#[cfg(feature = "parquet")]
mod parquet;
mod record;
mod render;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

pub use field::{Field, Format};
pub use output::{Destination, Rotation};
pub use record::TrafficType;

use self::output::Output;
use crate::datapath::{Flows, Rules, epoch_ns};
use crate::error::{Error, Result};

/// Windows that wait to be written down, at most.
pub const KEPT_WINDOWS: usize = 8;

/// How often the programs are told to go on, and the rules are looked at.
const RENEW_EVERY: Duration = Duration::from_secs(1);
/// When what failed is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(5);
/// Windows for which the programs go on without a reader.
const LASTS_WINDOWS: u32 = 5;

/// How records are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Form {
    /// AWS's lines.
    #[default]
    Text,
    /// JSON lines.
    Json,
    /// Apache Parquet, a file for each window.
    #[cfg(feature = "parquet")]
    Parquet,
}

impl Form {
    /// Whether a file holds one window and no more.
    pub(crate) const fn is_sealed(self) -> bool {
        !matches!(self, Self::Text | Self::Json)
    }
}

/// What is written down, and where to.
#[derive(Debug, Clone)]
pub struct Options {
    /// Which fields.
    pub format: Format,
    /// Which packets.
    pub traffic_type: TrafficType,
    /// How long a window is: AWS has 60 and 600 seconds.
    pub max_aggregation_interval: Duration,
    /// Flows that fit into a window; those beyond are only counted.
    pub max_flows: u32,
    /// The field [`Field::AccountId`].
    pub account_id: String,
    /// How records are written.
    pub form: Form,
    /// gzip, a member for each window.
    pub gzip: bool,
    /// Where to.
    pub destination: Destination,
}

/// What a log has done since it was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Records written, NODATA and SKIPDATA included.
    pub records: u64,
    /// Packets that SKIPDATA records stand for.
    pub skipped_packets: u64,
    /// Windows that were written.
    pub windows: u64,
    /// Times that a window could not be written.
    pub failed_writes: u64,
}

/// A flow log that is being kept.
pub struct FlowLog {
    options: Options,
    flows: Flows,
    output: Output,
    counts: Counts,
    /// Packets of windows that were given up, by zone.
    lost: BTreeMap<u32, u64>,
    renew_at: Instant,
    turn_at: Instant,
    /// When a window that could not be written is tried again.
    retry_at: Option<Instant>,
}

impl FlowLog {
    /// Begins, or goes on where one that was killed has left off. Refused while another is kept of the same rules, and if
    /// nothing can be written to the destination.
    pub fn open(bpffs: &Path, options: Options) -> Result<Self> {
        let output = Output::open(&options)?;
        let interval = options.max_aggregation_interval;
        let flows = Flows::open(bpffs, options.max_flows, interval * LASTS_WINDOWS)?;
        let now = Instant::now();
        // One that was taken over may be overdue.
        let age = flows.began_ns().map_or(0, |began_ns| epoch_ns().saturating_sub(began_ns));
        let mut log = Self {
            options,
            flows,
            output,
            counts: Counts::default(),
            lost: BTreeMap::new(),
            renew_at: now + RENEW_EVERY,
            turn_at: now + interval.saturating_sub(Duration::from_nanos(age)),
            retry_at: None,
        };
        log.output.name_after(log.flows.generation());
        Ok(log)
    }

    /// When [`Self::tick`] is to be called next.
    pub fn deadline(&self) -> Instant {
        let soonest = self.renew_at.min(self.turn_at);
        self.retry_at.map_or(soonest, |retry_at| retry_at.min(soonest))
    }

    /// Does what is due; at once if nothing is. What could not be written is said in a line for people, and is tried again.
    /// An error ends the log: the rules were unloaded (then everything was written down), or can no longer be read (then
    /// the programs go on for a while, and the next log takes over).
    pub fn tick(&mut self) -> Result<Option<String>> {
        let now = Instant::now();
        let mut trouble = None;
        if now >= self.renew_at {
            self.renew_at = now + RENEW_EVERY;
            match self.flows.renew()? {
                Rules::Same => {}
                // So that no number stands for two rules in one window.
                Rules::Others => {
                    self.output.name_after(self.flows.generation());
                    self.turn_at = now;
                }
                Rules::Unloaded => {
                    self.flows.stop();
                    let last = self.write_down().map_or_else(String::new, |trouble| format!("; {trouble}"));
                    return Err(Error::system(format!(
                        "the rules were unloaded: nothing is filtered any more{last}"
                    )));
                }
            }
        }
        if now >= self.turn_at {
            match self.flows.turn() {
                Ok(()) => {
                    self.turn_at = now + self.options.max_aggregation_interval;
                    trouble = self.write_down();
                }
                Err(error) => {
                    self.turn_at = now + RETRY_AFTER;
                    trouble = Some(error.to_string());
                }
            }
        } else if self.flows.waiting() > 0 && self.retry_at.is_none_or(|retry_at| now >= retry_at) {
            trouble = self.write_down();
        }
        Ok(trouble)
    }

    /// What was done so far.
    pub fn counts(&self) -> Counts {
        self.counts
    }

    /// Whether nobody reads any more what is written.
    pub fn is_over(&self) -> bool {
        self.output.is_over()
    }

    /// Has the programs record no more, and writes what they have. What cannot be written waits in the kernel for the next
    /// log, unless nobody reads it.
    pub fn end(mut self) -> Result<Counts> {
        self.flows.stop();
        let trouble = self.write_down();
        if self.output.is_over() {
            while self.flows.waiting() > 0 {
                self.flows.forget_oldest();
            }
            return Ok(self.counts);
        }
        match trouble {
            None => Ok(self.counts),
            Some(trouble) => {
                Err(Error::system(format!("{trouble}; the next `fwctl flow-log` writes what is left")))
            }
        }
    }

    /// Writes all windows that wait; what went wrong, if anything.
    fn write_down(&mut self) -> Option<String> {
        self.retry_at = None;
        while let Some(window) = self.flows.oldest() {
            let written = render::lines(window, &self.lost, &self.options).and_then(|lines| {
                self.output.append(&lines.bytes, window.began_ns)?;
                Ok(lines)
            });
            match written {
                Ok(lines) => {
                    self.counts.records += lines.records;
                    self.counts.skipped_packets += lines.skipped;
                    self.counts.windows += 1;
                    self.lost.clear();
                    self.flows.forget_oldest();
                }
                Err(error) => return Some(self.keep(&error)),
            }
        }
        None
    }

    /// After a window could not be written.
    fn keep(&mut self, error: &Error) -> String {
        self.counts.failed_writes += 1;
        self.retry_at = Some(Instant::now() + RETRY_AFTER);
        let mut given_up = 0;
        while self.flows.waiting() > KEPT_WINDOWS {
            let contents = self.flows.oldest().and_then(|window| window.read().ok()).unwrap_or_default();
            let flows = contents.flows.iter().map(|(flow, tally)| (flow.zone, tally.packets));
            for (zone, packets) in flows.chain(contents.skipped) {
                *self.lost.entry(zone).or_default() += packets;
                given_up += packets;
            }
            self.flows.forget_oldest();
        }
        let waiting = self.flows.waiting();
        let wait = if waiting == 1 { "1 window waits" } else { &format!("{waiting} windows wait") };
        let lost = if given_up > 0 {
            format!("; {given_up} packets of the oldest are given up, and will be SKIPDATA")
        } else {
            String::new()
        };
        format!("{error}; {wait} to be written{lost}")
    }
}

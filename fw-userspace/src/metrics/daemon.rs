//! What the process itself did. It begins at zero with the process, as counters of processes do.

use std::fmt;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};

use prometheus_client::registry::Unit;

use super::families::Families;
use crate::datapath::epoch_s;
use crate::error::Error;

/// The counters of a daemon, to be shared with all of its parts.
#[derive(Debug)]
pub struct Daemon {
    reloads_ok: AtomicU64,
    reloads_failed: AtomicU64,
    last_reload_ok: AtomicBool,
    last_reload_s: AtomicU64,
    hooks_reattached: AtomicU64,
    devices_attached: AtomicU64,
    sweeps: AtomicU64,
    flow_log_records: AtomicU64,
    flow_log_skipped_packets: AtomicU64,
    flow_log_failed_writes: AtomicU64,
    http_requests: [AtomicU64; CODES.len()],
    http_open: AtomicU64,
    http_closed: [AtomicU64; Closed::ALL.len()],
    /// Why what is loaded cannot be read, since when it cannot.
    unreadable: Mutex<Option<String>>,
}

/// Status codes of answers.
const CODES: [u16; 9] = [200, 400, 401, 404, 405, 429, 431, 500, 503];

/// Why a connection to the listener was closed by us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Closed {
    /// There were too many, and none to be closed in its place.
    Refused,
    /// To make room for another one.
    Evicted,
    /// It asked for nothing for a long time.
    Idle,
    /// Its request took too long to come.
    SlowRequest,
    /// The answer took too long to be read.
    SlowReader,
    /// It spoke no HTTP that is understood, or no TLS.
    Malformed,
    /// The listener ends.
    Ended,
}

impl Closed {
    /// All of them, by number.
    pub const ALL: [Self; 7] = [
        Self::Refused,
        Self::Evicted,
        Self::Idle,
        Self::SlowRequest,
        Self::SlowReader,
        Self::Malformed,
        Self::Ended,
    ];

    /// As printed.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Evicted => "evicted",
            Self::Idle => "idle",
            Self::SlowRequest => "slow_request",
            Self::SlowReader => "slow_reader",
            Self::Malformed => "malformed",
            Self::Ended => "ended",
        }
    }

    /// In words.
    pub const fn says(self) -> &'static str {
        match self {
            Self::Refused => "too many connections, all of them at work",
            Self::Evicted => "too many connections, it was silent for the longest",
            Self::Idle => "it asked for nothing for a long time",
            Self::SlowRequest => "its request took too long to come",
            Self::SlowReader => "it took too long to read its answer",
            Self::Malformed => "what it said is no HTTP",
            Self::Ended => "the listener ends",
        }
    }
}

impl Default for Daemon {
    fn default() -> Self {
        Self::new()
    }
}

impl Daemon {
    /// Nothing done so far; the last reload is taken to have succeeded until one has not.
    pub fn new() -> Self {
        Self {
            reloads_ok: AtomicU64::new(0),
            reloads_failed: AtomicU64::new(0),
            last_reload_ok: AtomicBool::new(true),
            last_reload_s: AtomicU64::new(0),
            hooks_reattached: AtomicU64::new(0),
            devices_attached: AtomicU64::new(0),
            sweeps: AtomicU64::new(0),
            flow_log_records: AtomicU64::new(0),
            flow_log_skipped_packets: AtomicU64::new(0),
            flow_log_failed_writes: AtomicU64::new(0),
            http_requests: Default::default(),
            http_open: AtomicU64::new(0),
            http_closed: Default::default(),
            unreadable: Mutex::new(None),
        }
    }

    /// The rules file was read and its rules are in force, or they are not.
    pub fn reloaded(&self, succeeded: bool) {
        let count = if succeeded { &self.reloads_ok } else { &self.reloads_failed };
        count.fetch_add(1, Relaxed);
        self.last_reload_ok.store(succeeded, Relaxed);
        if succeeded {
            self.last_reload_s.store(epoch_s(), Relaxed);
        }
    }

    /// So many programs were missing at their hooks and are there again.
    pub fn hooks_reattached(&self, hooks: u64) {
        self.hooks_reattached.fetch_add(hooks, Relaxed);
    }

    /// A device came and is filtered.
    pub fn device_attached(&self) {
        self.devices_attached.fetch_add(1, Relaxed);
    }

    /// Expired connections were looked for.
    pub fn swept(&self) {
        self.sweeps.fetch_add(1, Relaxed);
    }

    /// So many records of the flow log were written.
    pub fn flow_log_written(&self, records: u64) {
        self.flow_log_records.fetch_add(records, Relaxed);
    }

    /// So many packets are in no record.
    pub fn flow_log_skipped(&self, packets: u64) {
        self.flow_log_skipped_packets.fetch_add(packets, Relaxed);
    }

    /// Records could not be written.
    pub fn flow_log_failed(&self) {
        self.flow_log_failed_writes.fetch_add(1, Relaxed);
    }

    /// A request was answered.
    pub fn answered(&self, code: u16) {
        if let Some(count) = CODES.iter().position(|known| *known == code) {
            self.http_requests[count].fetch_add(1, Relaxed);
        }
    }

    /// A connection was closed by us.
    pub fn closed(&self, why: Closed) {
        self.http_closed[why as usize].fetch_add(1, Relaxed);
    }

    /// So many connections are open now.
    pub fn open(&self, connections: usize) {
        self.http_open.store(connections as u64, Relaxed);
    }

    /// Why the last scrape could not read what is loaded, if it could not: for a log.
    pub fn unreadable(&self) -> Option<String> {
        self.unreadable.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn note_readable(&self, error: Option<&Error>) {
        *self.unreadable.lock().unwrap_or_else(PoisonError::into_inner) = error.map(ToString::to_string);
    }

    pub(super) fn encode(&self, families: &mut Families<'_>) -> fmt::Result {
        let reloads = [
            ([("result", "ok")], self.reloads_ok.load(Relaxed)),
            ([("result", "failed")], self.reloads_failed.load(Relaxed)),
        ];
        families.counter("fwctl_reloads", "Reloads of the rules file by this process", None, reloads)?;
        families.gauge(
            "fwctl_last_reload_successful",
            "1 if the last reload of the rules file succeeded, or none was needed yet",
            None,
            [([], u64::from(self.last_reload_ok.load(Relaxed)))],
        )?;
        families.gauge(
            "fwctl_last_reload_success_timestamp",
            "When this process last reloaded the rules file with success, since the epoch; 0 for not yet",
            Some(&Unit::Seconds),
            [([], self.last_reload_s.load(Relaxed))],
        )?;
        for (name, help, count) in [
            (
                "fwctl_hooks_reattached",
                "Programs that were gone from their hooks and put back",
                &self.hooks_reattached,
            ),
            ("fwctl_devices_attached", "Devices that came and were attached", &self.devices_attached),
            ("fwctl_sweeps", "Searches for expired connections", &self.sweeps),
            ("fwctl_flow_log_records", "Records of the flow log written", &self.flow_log_records),
            (
                "fwctl_flow_log_skipped_packets",
                "Packets that are in no record of the flow log",
                &self.flow_log_skipped_packets,
            ),
            (
                "fwctl_flow_log_failed_writes",
                "Writes of the flow log that failed",
                &self.flow_log_failed_writes,
            ),
        ] {
            families.counter(name, help, None, [([], count.load(Relaxed))])?;
        }
        self.encode_http(families)
    }

    fn encode_http(&self, families: &mut Families<'_>) -> fmt::Result {
        let codes = CODES.map(|code| code.to_string());
        let answered = codes
            .iter()
            .zip(&self.http_requests)
            .map(|(code, count)| ([("code", code.as_str())], count.load(Relaxed)));
        families.counter("fwctl_http_requests", "Requests answered, by status code", None, answered)?;
        families.gauge(
            "fwctl_http_connections",
            "Connections to the listener that are open",
            None,
            [([], self.http_open.load(Relaxed))],
        )?;
        let closed = Closed::ALL
            .iter()
            .map(|why| ([("reason", why.name())], self.http_closed[*why as usize].load(Relaxed)));
        families.counter(
            "fwctl_http_connections_closed",
            "Connections that the listener closed before the other side did, by reason",
            None,
            closed,
        )
    }
}

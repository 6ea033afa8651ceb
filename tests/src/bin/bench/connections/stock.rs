//! What connections that do nothing cost: their memory, and a list of them.

use std::fs::OpenOptions;
use std::io::{BufWriter, Write as _};
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use aya::maps::MapInfo;
use fw_userspace::datapath::{self, ConnectionTable, Conntrack, Filter};
use serde::Serialize;

use super::track::Track;
use crate::figures::{Goal, Limit, Sample};
use crate::options::Options;
use crate::results;

/// Bytes of a connection.
const MOST_BYTES: f64 = 64.0;
/// For all of a million.
const MOST_S: f64 = 2.0;

/// The figures.
#[derive(Serialize)]
pub(super) struct Stock {
    /// Connections that live.
    pub(super) connections: u64,
    /// `conntrack_max`.
    pub(super) max: u32,
    /// Bytes of all maps that hold them, and of what of these is for IPv4.
    pub(super) bytes: u64,
    /// The part of IPv4.
    pub(super) ipv4_bytes: u64,
    /// Seconds to list all of them.
    pub(super) list_s: Sample,
}

/// Looks at a full track.
pub(super) fn measure(options: &Options, track: &Track) -> Result<Stock> {
    let loaded = track.loaded().context("nothing is loaded")?;
    let store = datapath::Store::open(loaded.bpffs())?.context("nothing is loaded")?;
    let layout = ConnectionTable::open(&store.maps())?.founded().layout;
    let mut bytes = 0;
    for name in ["CONNECTIONS", "TAGS", "COUNT"] {
        let info = MapInfo::from_pin(store.maps().join(name))?;
        bytes += u64::from(info.value_size()) * u64::from(info.max_entries());
    }
    let connections = track.connections()?;
    let mut list_s = Sample::default();
    for _ in 0..options.measured {
        let start = Instant::now();
        let listed = list(track)?;
        list_s.0.push(start.elapsed().as_secs_f64());
        ensure!(listed >= connections, "of {connections} connections {listed} are listed");
    }
    Ok(Stock {
        connections,
        max: layout.connections,
        bytes,
        ipv4_bytes: bytes * u64::from(layout.ipv4) / u64::from(layout.total()),
        list_s,
    })
}

/// Every connection as a line of JSON into nothing, as `fwctl conntrack list --json` writes it.
fn list(track: &Track) -> Result<u64> {
    let loaded = track.loaded().context("nothing is loaded")?;
    let mut out = BufWriter::new(OpenOptions::new().write(true).open("/dev/null")?);
    track.rig.server.run(|| {
        let conntrack = Conntrack::open(loaded.bpffs())?;
        let mut listed = 0;
        for connection in conntrack.list(&Filter::default())? {
            serde_json::to_writer(&mut out, &connection)?;
            out.write_all(b"\n")?;
            listed += 1;
        }
        out.flush()?;
        Ok(listed)
    })
}

impl Stock {
    /// What was promised; `ipv4` connections of all are of IPv4. Of the memory, of a table that is half full.
    pub(super) fn goals(&self, ipv4: u32) -> Vec<Goal> {
        let what = format!("a list of {} connections", self.connections);
        let mut goals = vec![Goal::new(what, "s", Limit::AtMost(MOST_S), self.list_s.clone())];
        if ipv4 == self.max / 2 {
            let each = Sample(vec![self.ipv4_bytes as f64 / f64::from(ipv4)]);
            let what = format!("memory of a connection, IPv4, {ipv4} of {}", self.max);
            goals.push(Goal::new(what, "B", Limit::AtMost(MOST_BYTES), each));
        }
        goals
    }

    /// As a table.
    pub(super) fn print(&self) {
        let mut table =
            results::table(&["connections", "conntrack_max", "memory, MB", "of it IPv4's", "list, s"]);
        table.add_row([
            self.connections.to_string(),
            self.max.to_string(),
            format!("{:.0}", self.bytes as f64 / 1e6),
            format!("{:.0}", self.ipv4_bytes as f64 / 1e6),
            self.list_s.show(2),
        ]);
        println!("\n{table}");
    }
}

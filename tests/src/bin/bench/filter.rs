//! fwctl on the server's device.
//!
//! By the library that `fwctl` is a face of, not by the command: `cargo run --bin bench` does not build the
//! command, and an old one next to us would be measured instead of this tree.

use std::path::Path;

use anyhow::Result;
use fw_common::{Reason, Verdict};
use fw_tests::netns::{BpffsDir, Namespace};
use fw_userspace::datapath::{self, LoadOptions, Resident};
use fw_userspace::model::Policy;
use fw_userspace::report::LoadReport;

/// Rules in force in a namespace, until the value goes and with it the pins.
pub(crate) struct Loaded {
    bpffs: BpffsDir,
    /// What the last load said.
    pub(crate) report: LoadReport,
}

impl Loaded {
    /// Puts rules in force where nothing was.
    pub(crate) fn new(namespace: &Namespace, source: &[u8], policy: &Policy) -> Result<Self> {
        let bpffs = BpffsDir::new()?;
        let report = load(namespace, &bpffs, source, policy)?;
        Ok(Self { bpffs, report })
    }

    /// Puts others in their place.
    pub(crate) fn replace(&mut self, namespace: &Namespace, source: &[u8], policy: &Policy) -> Result<()> {
        self.report = load(namespace, &self.bpffs, source, policy)?;
        Ok(())
    }

    /// What is in force, kept in memory.
    pub(crate) fn resident(&self, namespace: &Namespace) -> Result<Resident> {
        Ok(namespace.run(|| Resident::open(self.bpffs.path()))?)
    }

    /// Where it is pinned.
    pub(crate) fn bpffs(&self) -> &Path {
        self.bpffs.path()
    }

    /// Packets that arrived and were counted under one of these reasons.
    pub(crate) fn counted(&self, namespace: &Namespace, reasons: &[Reason]) -> Result<u64> {
        self.count(namespace, |row| {
            reasons.iter().any(|reason| {
                let words = (verdict_word(*reason), reason.layer().name(), reason.name());
                (row.verdict, row.layer, row.reason) == words
            })
        })
    }

    /// Packets that arrived and were dropped, whatever the reason.
    pub(crate) fn dropped(&self, namespace: &Namespace) -> Result<u64> {
        self.count(namespace, |row| row.verdict == "deny")
    }

    /// What was counted of all packets, by reason: to say what went wrong.
    pub(crate) fn reasons(&self, namespace: &Namespace) -> Result<String> {
        let stats = namespace.run(|| datapath::stats(self.bpffs.path()))?;
        let rows = stats.reasons.iter().filter(|row| row.packets > 0);
        let words =
            rows.map(|row| format!("{} {} {} {}", row.direction, row.verdict, row.reason, row.packets));
        Ok(words.collect::<Vec<_>>().join(", "))
    }

    fn count(
        &self,
        namespace: &Namespace,
        wanted: impl Fn(&fw_userspace::report::ReasonStats) -> bool,
    ) -> Result<u64> {
        let stats = namespace.run(|| datapath::stats(self.bpffs.path()))?;
        let rows = stats.reasons.iter().filter(|row| row.direction == "ingress" && wanted(row));
        Ok(rows.map(|row| row.packets).sum())
    }
}

fn load(namespace: &Namespace, bpffs: &BpffsDir, source: &[u8], policy: &Policy) -> Result<LoadReport> {
    let options = LoadOptions { require_devices: true, ..LoadOptions::default() };
    Ok(namespace.run(|| datapath::load(bpffs.path(), source, policy, &options))?)
}

fn verdict_word(reason: Reason) -> &'static str {
    match reason.verdict() {
        Verdict::Pass => "allow",
        Verdict::Drop => "deny",
    }
}

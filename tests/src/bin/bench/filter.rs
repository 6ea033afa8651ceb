//! fwctl on the server's device, loaded and unloaded between rounds.
//!
//! By the library that `fwctl` is a face of, not by the command: `cargo run --bin bench` does not build the
//! command, and an old one next to us would be measured instead of this tree.

use std::path::Path;

use anyhow::Result;
use fw_common::Reason;
use fw_tests::netns::Namespace;
use fw_tests::workload;
use fw_userspace::datapath::{self, LoadOptions};
use fw_userspace::model::Policy;
use fw_userspace::report::LoadReport;

/// What is to be loaded.
pub(crate) struct Filter<'a> {
    namespace: &'a Namespace,
    bpffs: &'a Path,
    source: Vec<u8>,
    policy: Policy,
}

impl<'a> Filter<'a> {
    /// With the received side where `mode` says.
    pub(crate) fn new(namespace: &'a Namespace, bpffs: &'a Path, mode: &str) -> Result<Self> {
        let source = serde_json::to_vec_pretty(&workload::file(mode))?;
        let policy = workload::policy(&source)?;
        Ok(Self { namespace, bpffs, source, policy })
    }

    /// Puts it in force until the value goes.
    pub(crate) fn load(&self) -> Result<Loaded<'_>> {
        let options = LoadOptions { require_devices: true, ..LoadOptions::default() };
        let load = || datapath::load(self.bpffs, &self.source, &self.policy, &options);
        let report = self.namespace.run(load)?;
        Ok(Loaded { filter: self, report })
    }
}

/// Rules in force.
pub(crate) struct Loaded<'a> {
    filter: &'a Filter<'a>,
    /// What the load said.
    pub(crate) report: LoadReport,
}

impl Loaded<'_> {
    /// Packets that arrived and were counted under this reason.
    pub(crate) fn counted(&self, reason: Reason) -> Result<u64> {
        self.count(|verdict, layer, name| {
            (verdict, layer, name) == (verdict_word(reason), reason.layer().name(), reason.name())
        })
    }

    /// Packets that were dropped, whatever the reason.
    pub(crate) fn dropped(&self) -> Result<u64> {
        self.count(|verdict, _, _| verdict == "deny")
    }

    fn count(&self, wanted: impl Fn(&str, &str, &str) -> bool) -> Result<u64> {
        let stats = self.filter.namespace.run(|| datapath::stats(self.filter.bpffs))?;
        let rows = stats.reasons.iter().filter(|row| row.direction == "ingress");
        Ok(rows.filter(|row| wanted(row.verdict, row.layer, row.reason)).map(|row| row.packets).sum())
    }
}

impl Drop for Loaded<'_> {
    fn drop(&mut self) {
        let filter = self.filter;
        if let Err(error) = filter.namespace.run(|| datapath::unload(filter.bpffs, None, true)) {
            eprintln!("warning: cannot unload: {error}");
        }
    }
}

fn verdict_word(reason: Reason) -> &'static str {
    match reason.verdict() {
        fw_common::Verdict::Pass => "allow",
        fw_common::Verdict::Drop => "deny",
    }
}

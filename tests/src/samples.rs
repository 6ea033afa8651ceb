//! What a scrape says, in Prometheus' text format.

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use fw_userspace::metrics::{Daemon, Exporter, Format, RuleMetrics};

use crate::netns::{BpffsDir, Namespace};

/// The counters of what packets did.
pub const OF_PACKETS: [&str; 8] = [
    "fwctl_packets_total",
    "fwctl_bytes_total",
    "fwctl_dropped_packets_total",
    "fwctl_dropped_ethertype_frames_total",
    "fwctl_rule_packets_total",
    "fwctl_rule_bytes_total",
    "fwctl_events_suppressed_total",
    "fwctl_conntrack_allowance_exceeded_total",
];

/// Series as they are written, and their values.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Samples(BTreeMap<String, f64>);

impl Samples {
    /// Of what is loaded in a namespace, as a process says it that has just begun.
    pub fn of(namespace: &Namespace, bpffs: &BpffsDir) -> Result<Self> {
        let exporter = Exporter::new(bpffs.path(), RuleMetrics::On, Arc::new(Daemon::new()));
        Self::read(&namespace.run(|| exporter.render(Format::Text))?)
    }

    /// Of a text.
    pub fn read(text: &str) -> Result<Self> {
        let mut samples = BTreeMap::new();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (series, value) = line.rsplit_once(' ').with_context(|| format!("no value in {line:?}"))?;
            let value = value.parse().with_context(|| format!("no number in {line:?}"))?;
            ensure!(samples.insert(series.to_owned(), value).is_none(), "{series} is there twice");
        }
        Ok(Self(samples))
    }

    /// The value of a series that has no labels, if it is there.
    #[must_use]
    pub fn value(&self, series: &str) -> Option<f64> {
        self.0.get(series).copied()
    }

    /// The sum of all series of a name that have these labels.
    #[must_use]
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> u64 {
        let labels: Vec<String> = labels.iter().map(|(label, value)| format!("{label}={value:?}")).collect();
        let is_meant = |series: &str| {
            let (own, rest) = series.split_once('{').unwrap_or((series, ""));
            let has = |label: &String| rest.trim_end_matches('}').split(',').any(|one| one == label);
            own == name && labels.iter().all(has)
        };
        self.0.iter().filter(|(series, _)| is_meant(series)).map(|(_, value)| *value as u64).sum()
    }

    /// Every counter of what packets did: of the kernel, and so no process begins it anew.
    #[must_use]
    pub fn of_packets(&self) -> Self {
        let is_one = |series: &str| {
            let name = series.split('{').next().unwrap_or_default();
            OF_PACKETS.contains(&name)
        };
        Self(self.0.iter().filter(|(series, _)| is_one(series)).map(|(s, v)| (s.clone(), *v)).collect())
    }

    /// An error if a series of an earlier scrape is not there any more, or less.
    pub fn none_went_back(&self, before: &Self) -> Result<()> {
        for (series, value) in &before.0 {
            let now = self.0.get(series);
            ensure!(now >= Some(value), "{series} was {value} and is {now:?}");
        }
        Ok(())
    }
}

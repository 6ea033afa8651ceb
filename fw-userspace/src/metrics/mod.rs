//! What `fwctl serve` tells Prometheus: all that the maps have counted at the moment of a scrape, and what the process
//! itself did.
//!
//! What packets did is counted in the kernel's maps and nowhere else, so that it neither begins anew with a process nor
//! with a load of rules that did not change. Nothing here keeps a number of the maps from one scrape to the next.

mod daemon;
mod families;
mod process;
mod rules;
mod ruleset;

use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, prometheus_text, text};
use prometheus_client::registry::Registry;

use crate::datapath::{self, Scraped};
use crate::error::{Error, Result};

pub use daemon::{Closed, Daemon};
use families::Families;
use process::Process;
pub use rules::MAX_RULES;

/// How the metrics are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// The text format of Prometheus, version 0.0.4.
    Text,
    /// OpenMetrics, version 1.0.0.
    OpenMetrics,
}

impl Format {
    /// As HTTP names it.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Text => prometheus_text::CONTENT_TYPE,
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// Whether every rule has series of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuleMetrics {
    /// None has.
    Off,
    /// The first [`MAX_RULES`] have.
    On,
}

impl FromStr for RuleMetrics {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text {
            "off" => Ok(Self::Off),
            "on" => Ok(Self::On),
            _ => Err("must be \"off\" or \"on\"".to_owned()),
        }
    }
}

/// Tells what is loaded under a directory.
#[derive(Debug)]
pub struct Exporter {
    bpffs: PathBuf,
    rule_metrics: RuleMetrics,
    daemon: Arc<Daemon>,
}

impl Exporter {
    /// Of what is or will be pinned under `bpffs`.
    pub fn new(bpffs: impl Into<PathBuf>, rule_metrics: RuleMetrics, daemon: Arc<Daemon>) -> Self {
        Self { bpffs: bpffs.into(), rule_metrics, daemon }
    }

    /// What the process counts.
    pub fn daemon(&self) -> &Arc<Daemon> {
        &self.daemon
    }

    /// The metrics of this moment. Where the kernel's part cannot be read `fwctl_up` is 0, and all else is there.
    /// Takes milliseconds, and may wait for a command that is changing what is loaded: not for an asynchronous task.
    pub fn render(&self, format: Format) -> Result<String> {
        let scraped = datapath::scrape(&self.bpffs, self.rule_metrics == RuleMetrics::On);
        let is_readable = scraped.is_ok();
        self.daemon.note_readable(scraped.as_ref().err());
        let sheet = Sheet {
            is_readable,
            scraped: scraped.unwrap_or(None),
            daemon: Arc::clone(&self.daemon),
            process: Process::read(),
        };
        let mut registry = Registry::default();
        registry.register_collector(Box::new(sheet));
        let mut text = String::new();
        let written = match format {
            Format::Text => prometheus_text::encode(&mut text, &registry),
            Format::OpenMetrics => text::encode(&mut text, &registry),
        };
        written.map_err(|error| Error::system(format!("cannot write the metrics down: {error}")))?;
        Ok(text)
    }

    /// An error if packets are not filtered as they should be. As slow as [`Self::render`].
    pub fn health(&self) -> Result<()> {
        datapath::unhealthy(&self.bpffs)?.map_or(Ok(()), |why| Err(Error::system(why)))
    }
}

/// One scrape.
#[derive(Debug)]
struct Sheet {
    is_readable: bool,
    scraped: Option<Scraped>,
    daemon: Arc<Daemon>,
    process: Process,
}

impl Collector for Sheet {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> std::fmt::Result {
        let mut families = Families::new(encoder);
        let labels = [("version", env!("CARGO_PKG_VERSION")), ("object", datapath::object_id())];
        families.info("fwctl_build", "Version of fwctl and hash of the BPF object in it", &labels)?;
        families.gauge(
            "fwctl_up",
            "1 if what is loaded in the kernel could be read, 0 if not",
            None,
            [([], u64::from(self.is_readable))],
        )?;
        if self.is_readable {
            let in_force = self.scraped.as_ref().is_some_and(|scraped| scraped.in_force);
            families.gauge(
                "fwctl_ruleset_in_force",
                "1 if rules are in force, 0 if everything passes because none are",
                None,
                [([], u64::from(in_force))],
            )?;
        }
        if let Some(scraped) = &self.scraped {
            ruleset::encode(&mut families, scraped)?;
            if let Some(counters) = &scraped.rule_counters {
                rules::encode(&mut families, counters)?;
            }
        }
        self.daemon.encode(&mut families)?;
        self.process.encode(&mut families)
    }
}

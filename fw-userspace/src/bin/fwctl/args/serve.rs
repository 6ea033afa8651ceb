//! `fwctl serve`.

use std::path::PathBuf;

use clap::Args;
use fw_userspace::metrics::RuleMetrics;
use fw_userspace::serve::http::Listen;

use super::{Memory, Records};

/// Answer Prometheus, follow the rules file and the devices
///
/// Runs until SIGTERM or Ctrl-C. The kernel filters whether this runs or not: starting, stopping and killing it change
/// nothing. With RULES the file's rules are put in force, and again whenever the file changes, or on SIGHUP; a file that
/// is wrong is reported and counted, and what was in force stays. Devices are filtered as they appear, programs that
/// somebody took off a device are attached again, and interfaces that leave addresses out follow those of their devices.
#[derive(Debug, Args)]
#[command(
    after_help = "EXAMPLE:\n  fwctl serve /etc/fwctl/rules.json\n  fwctl serve --listen unix:/run/fwctl/metrics.sock\n  \
                        curl -s http://127.0.0.1:9798/metrics | grep dropped"
)]
pub(crate) struct Serve {
    /// Rules file to load and to watch; without it what is loaded is only kept in order
    #[arg(value_name = "RULES")]
    pub(crate) rules: Option<PathBuf>,
    /// Where metrics are answered: ADDRESS:PORT, or unix:PATH
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9798")]
    pub(crate) listen: Listen,
    /// TLS and users, in the form that Prometheus' own exporters read
    #[arg(long, value_name = "FILE")]
    pub(crate) web_config: Option<PathBuf>,
    /// Packets and bytes of each rule as series of their own
    #[arg(long, default_value = "on", value_name = "on|off")]
    pub(crate) rule_metrics: RuleMetrics,
    /// Keep what was loaded from RULES in this file too, for the next boot
    #[arg(long, value_name = "FILE", requires = "rules")]
    pub(crate) last_good: Option<PathBuf>,
    /// Write dropped packets to this file, as `fwctl monitor --drops --json` prints them, which cannot listen meanwhile
    #[arg(long, value_name = "FILE")]
    pub(crate) events: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) memory: Memory,
    /// Keep a flow log in this file, or in this directory: see `fwctl flow-log`
    #[arg(long, value_name = "PATH", help_heading = "Flow log")]
    pub(crate) flow_log: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) records: Records,
}

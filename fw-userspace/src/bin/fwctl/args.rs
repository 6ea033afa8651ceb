//! What the user can type; no behaviour.

mod conntrack;
mod diff;
mod explain;
mod flow_log;
mod live;
mod manual;
mod serve;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

pub(crate) use conntrack::{Conntrack, ConntrackVerb, Count, Flush, List};
pub(crate) use diff::Diff;
pub(crate) use explain::Explain;
pub(crate) use flow_log::{FlowLog, Records, TrafficType};
pub(crate) use live::{Monitor, Top};
pub(crate) use manual::{Completions, Help, Man};
pub(crate) use serve::Serve;

/// AWS security groups and network ACLs on Linux hosts, enforced by eBPF.
///
/// A rules file in JSON says which devices are filtered and how. Check it, load it, look at what is in force.
/// What is loaded stays enforced when fwctl exits.
///
/// Exit status: 0 done, 1 the system refused, 2 the input is wrong, 3 `diff --exit-code` found a change. On all but 0
/// whatever was enforced before still is.
#[derive(Debug, Parser)]
#[command(name = "fwctl", version, arg_required_else_help = true, subcommand_required = true)]
// `Help` knows topics besides verbs.
#[command(disable_help_subcommand = true)]
#[command(
    after_help = "`fwctl help topics` lists what else there is to read: the rules file, the reasons, loading at boot.\n\n\
                        EXAMPLE:\n  fwctl check rules.json && sudo fwctl load rules.json --confirm 30"
)]
pub(crate) struct Arguments {
    /// Where the state is pinned; another directory is another, independent instance
    #[arg(long, value_name = "DIR", env = "FWCTL_BPFFS", default_value = DEFAULT_BPFFS, global = true)]
    pub(crate) bpffs: PathBuf,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// One variant per file of `commands`.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    Check(Check),
    Load(Load),
    Confirm(Confirm),
    Rollback(Rollback),
    Attach(Attach),
    Detach(Detach),
    Unload(Unload),
    Show(Show),
    Status(Status),
    Stats(Stats),
    Monitor(Monitor),
    Top(Top),
    FlowLog(FlowLog),
    Explain(Explain),
    Diff(Diff),
    Conntrack(Conntrack),
    Serve(Serve),
    Help(Help),
    Completions(Completions),
    Man(Man),
}

/// Find the mistakes of rules files
///
/// Parses and validates each file, then judges its rules: entries that never decide, groups that nobody has, ports
/// that are open to the world, and more (docs/lints.md lists the codes). Prints every error, warning and note with its
/// line. Touches nothing, never looks at the devices of this host and needs no root. Exits 2 if there is an error or a
/// finding that is denied; warnings alone exit 0.
#[derive(Debug, Args)]
#[command(
    after_help = "EXAMPLE:\n  fwctl check rules.json\n  fwctl check rules.json --deny all --allow quota-exceeded\n  \
                  generate-rules | fwctl check - --format sarif"
)]
pub(crate) struct Check {
    /// Rules files; `-` is standard input
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// Take findings of this code for errors; `all` is every code
    #[arg(long, value_name = "CODE")]
    pub(crate) deny: Vec<String>,
    /// Say nothing of findings of this code; a code by name outweighs `all`
    #[arg(long, value_name = "CODE")]
    pub(crate) allow: Vec<String>,
    #[command(flatten)]
    pub(crate) memory: Memory,
    /// full and short print on standard error, json and sarif on standard output
    #[arg(long, value_enum, default_value = "full", value_name = "FORM")]
    pub(crate) format: Format,
    /// Print the findings as JSON on standard output
    #[arg(long, conflicts_with = "format")]
    pub(crate) json: bool,
}

/// How findings are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    /// The line of the file with a marker, and what helps
    Full,
    /// One line each, FILE:LINE:COLUMN: first
    Short,
    /// As --json
    Json,
    /// SARIF 2.1.0, for code hosts
    Sarif,
}

/// Make the rules of a file the enforced ones
///
/// Attaches to devices that are new in the file, switches the rules of all hooks in one step, then detaches from
/// devices that left the file. Connections stay. With --confirm the kernel itself goes back to the rules before
/// unless `fwctl confirm` follows in time, even if this terminal is cut off by the new rules.
#[derive(Debug, Args)]
#[command(after_help = "EXAMPLE:\n  fwctl load rules.json --dry-run\n  fwctl load rules.json --confirm 30")]
pub(crate) struct Load {
    /// Rules file; `-` is standard input
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Do everything but touch the kernel
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Go back to the rules before unless `fwctl confirm` follows within this many seconds
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) confirm: Option<u64>,
    /// Refuse if a device of the file does not exist, instead of waiting for it
    #[arg(long)]
    pub(crate) require_devices: bool,
    #[command(flatten)]
    pub(crate) memory: Memory,
    /// Print the summary as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// What a rules file may cost.
#[derive(Debug, Args)]
pub(crate) struct Memory {
    /// Most that the tables of the rules may take, 1M to 1G; the file may have a quarter of it
    #[arg(long = "max-memory", value_name = "SIZE", env = "FWCTL_MAX_MEMORY", default_value = "256M",
          value_parser = memory)]
    pub(crate) max: u64,
}

/// Bytes from `300M`, `1G`, `65536K`.
fn memory(text: &str) -> Result<u64, String> {
    let must_be = || "must be 1M to 1G, such as 256M".to_owned();
    let shift = match text.bytes().last().map(|unit| unit.to_ascii_uppercase()) {
        Some(b'K') => 10,
        Some(b'M') => 20,
        Some(b'G') => 30,
        _ => 0,
    };
    let number = if shift == 0 { text } else { &text[..text.len() - 1] };
    let bytes = number.parse::<u64>().ok().and_then(|number| number.checked_mul(1 << shift));
    bytes.filter(|bytes| (1 << 20..=1 << 30).contains(bytes)).ok_or_else(must_be)
}

/// Keep the rules just loaded with --confirm
///
/// Ends the time that `fwctl load --confirm` gave; the rules in force stay, and devices that left the file are now
/// detached.
#[derive(Debug, Args)]
#[command(after_help = "EXAMPLE:\n  fwctl load rules.json --confirm 30\n  fwctl confirm")]
pub(crate) struct Confirm {
    /// Print the summary as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Go back to the rules before the last load
///
/// Makes the rules that were in force before the last load the enforced ones again, in one step for all hooks.
#[derive(Debug, Args)]
#[command(after_help = "EXAMPLE:\n  fwctl rollback")]
pub(crate) struct Rollback {
    /// Print the summary as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Filter a device that came
///
/// For udev, CNI and podman hooks: attaches the loaded rules of an interface to a device that has just appeared. Without
/// --interface it is the one of the rules that names the device; if none does, nothing is done.
#[derive(Debug, Args)]
#[command(after_help = "EXAMPLE:\n  fwctl attach veth1a2b --interface eni-web\n  fwctl attach eth1")]
pub(crate) struct Attach {
    /// Device, as `ip link` shows it
    #[arg(value_name = "DEV")]
    pub(crate) device: String,
    /// Interface of the loaded rules that the device carries
    #[arg(long, value_name = "ENI")]
    pub(crate) interface: Option<String>,
    /// Print the summary as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Stop filtering a device that goes
///
/// For udev, CNI and podman hooks: takes fwctl's programs off one device; the rules stay loaded for the others.
#[derive(Debug, Args)]
#[command(after_help = "EXAMPLE:\n  fwctl detach veth1a2b")]
pub(crate) struct Detach {
    /// Device, as `ip link` shows it
    #[arg(value_name = "DEV")]
    pub(crate) device: String,
    /// Print the summary as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Detach from all devices and remove the state
///
/// Takes fwctl's programs off the devices and removes rules, counters and tracked connections. From then on nothing
/// is filtered.
#[derive(Debug, Args)]
#[command(after_help = "EXAMPLE:\n  fwctl unload\n  fwctl unload --device eth0")]
pub(crate) struct Unload {
    /// Only this device
    #[arg(long, value_name = "DEV")]
    pub(crate) device: Option<String>,
    /// Also when the state cannot be read
    #[arg(long)]
    pub(crate) force: bool,
}

/// Show the rules in force
///
/// Prints interfaces, security groups and network ACLs as fwctl understands them, or the exact file that was loaded.
#[derive(Debug, Args)]
#[command(after_help = "EXAMPLE:\n  fwctl show\n  fwctl show --source > rules.json")]
pub(crate) struct Show {
    /// Print the loaded file, byte by byte
    #[arg(long, conflicts_with = "json")]
    pub(crate) source: bool,
    /// Print the loaded rules as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Show whether everything is enforced
///
/// Prints hooks verified against the kernel, devices still missing, interfaces, and how full the tables are. Exits 1
/// when nothing is loaded or a hook that should be there is not.
#[derive(Debug, Args)]
#[command(after_help = "EXAMPLE:\n  fwctl status\n  fwctl status --json | jq .healthy")]
pub(crate) struct Status {
    /// Print as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Show packet and byte counters
///
/// Prints the counters per interface, direction and reason, and per rule. A rule that did not change keeps counting
/// when rules are loaded anew.
#[derive(Debug, Args)]
#[command(after_help = "EXAMPLE:\n  fwctl stats\n  fwctl stats --watch 5")]
pub(crate) struct Stats {
    /// Draw again every so many seconds, 2 if not said, with rates since the drawing before, until interrupted
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "2", conflicts_with = "json",
          value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub(crate) watch: Option<u64>,
    /// Print as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// What applies without `--bpffs` and `FWCTL_BPFFS`.
pub(crate) const DEFAULT_BPFFS: &str = "/sys/fs/bpf/fwctl";

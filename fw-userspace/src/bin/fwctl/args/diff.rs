//! `fwctl diff`.

use std::path::PathBuf;

use clap::Args;

/// Say what would change, and for which traffic
///
/// Compares a rules file with what is loaded, or NEW with OLD: no root is needed then, and nothing of this host is looked
/// at. Prints the objects and rules that differ, and per interface and direction exactly the traffic whose verdict
/// changes, with an example that the decision core has judged by both. Rules that are written in another way and mean the
/// same change nothing.
///
/// The verdict is that of a packet that begins a flow, by network ACL and groups together. Packets of connections pass the
/// groups: where the network ACL changes what becomes of those alone, they are said to be "established".
///
/// Exit status 0 whether something changes or not; with --exit-code 3 if a verdict does.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
#[command(override_usage = "fwctl diff [OPTIONS] FILE\n       fwctl diff [OPTIONS] OLD NEW")]
pub(crate) struct Diff {
    /// Rules file to compare with what is loaded, or two: the old one, the new one; `-` is standard input
    #[arg(value_name = "FILE", required = true, num_args = 1..=2)]
    pub(crate) files: Vec<PathBuf>,
    /// Only the traffic of this interface, or of the router's leg of this subnet
    #[arg(long, value_name = "ENI")]
    pub(crate) interface: Option<String>,
    /// Exit with status 3 if a verdict changes, or an interface is filtered no more or for the first time
    #[arg(long)]
    pub(crate) exit_code: bool,
    /// Print every region, CIDR and rule, however many there are; --json always does
    #[arg(long)]
    pub(crate) all: bool,
    /// Print as JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) memory: super::Memory,
}

const EXAMPLES: &str = "EXAMPLE:
  fwctl diff rules.json
  fwctl diff old.json new.json --exit-code
  fwctl show --source | fwctl diff - rules.json --interface eni-web";

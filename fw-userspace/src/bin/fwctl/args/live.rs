//! `fwctl monitor` and `fwctl top`.

use clap::Args;

/// Print decisions as they are made, packet by packet
///
/// Prints a line for each packet: when, where, what was decided and which rule or reason that was. Each CPU tells of about
/// a thousand packets a second; how many more there were is said on standard error. Runs until interrupted, until its
/// reader goes away or after --count lines, and exits 0 then. One process at a time can listen.
#[derive(Debug, Args)]
#[command(after_help = "EXAMPLE:\n  fwctl monitor --drops\n  \
                        fwctl monitor --drops --count 100 --json | jq -r 'select(.source) | .source' | sort | uniq -c")]
pub(crate) struct Monitor {
    /// Only packets that are dropped, or would be if the interface were enforced
    #[arg(long)]
    pub(crate) drops: bool,
    /// Only packets of this interface, or router's leg
    #[arg(long, value_name = "ENI")]
    pub(crate) interface: Option<String>,
    /// Stop after so many packets
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) count: Option<u64>,
    /// Print one JSON object per line
    #[arg(long)]
    pub(crate) json: bool,
}

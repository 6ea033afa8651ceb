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

/// Show rates, drops and connections on a full screen
///
/// Interfaces with what passes and what is dropped per second, the busiest rules, why packets are dropped, how full the
/// table of connections is, and the packets dropped last. Needs a terminal of at least 60 columns and 16 lines; keys are
/// q to quit, p to pause, Tab and arrows to look around, ? for help.
#[derive(Debug, Args)]
#[command(after_help = "EXAMPLE:\n  fwctl top\n  NO_COLOR=1 fwctl top --interval 5")]
pub(crate) struct Top {
    /// Look again every so many seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=60))]
    pub(crate) interval: u64,
}

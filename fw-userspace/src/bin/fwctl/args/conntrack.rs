//! `fwctl conntrack`.

use clap::{Args, Subcommand};
use fw_userspace::datapath::{Filter, Grouping, Network, Progress, WantedProtocol};

/// Show, count or forget tracked connections
///
/// Security groups let replies pass because fwctl remembers the connection. These commands show what it remembers,
/// how full the table is and who fills it, and make it forget.
#[derive(Debug, Args)]
#[command(arg_required_else_help = true, subcommand_required = true)]
#[command(after_help = "EXAMPLE:\n  fwctl conntrack count --top\n  fwctl conntrack list --port 22")]
pub(crate) struct Conntrack {
    #[command(subcommand)]
    pub(crate) verb: ConntrackVerb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConntrackVerb {
    List(List),
    Count(Count),
    Flush(Flush),
}

/// Print a line per connection
///
/// Prints as it reads, in no order. What comes and goes meanwhile may be among it or not; what has expired is not.
#[derive(Debug, Args)]
#[command(after_help = "EXAMPLE:\n  fwctl conntrack list --interface eni-web --state established\n  \
                        fwctl conntrack list --json | jq -r 'select(.idle_s > 3600) | .remote'")]
pub(crate) struct List {
    #[command(flatten)]
    pub(crate) filters: Filters,
    /// Print one JSON object per line
    #[arg(long)]
    pub(crate) json: bool,
}

/// Count connections, and say who holds them
///
/// Prints confirmed and half-open connections beside how many of each there may be. What has expired is left out.
#[derive(Debug, Args)]
#[command(
    after_help = "EXAMPLE:\n  fwctl conntrack count --by state\n  fwctl conntrack count --state half-open --top 5"
)]
pub(crate) struct Count {
    #[command(flatten)]
    pub(crate) filters: Filters,
    /// Count each `interface`, `state` or `protocol` too
    #[arg(long, value_name = "WHAT")]
    pub(crate) by: Option<Grouping>,
    /// Name the remote addresses and the rules that hold most connections, 10 of each if not said
    #[arg(long, value_name = "N", num_args = 0..=1, default_missing_value = "10",
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) top: Option<u32>,
    /// Print as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Forget connections
///
/// Their next packets are judged by the rules: a connection whose rule is gone ends, others need a new first packet.
/// A table whose memory was damaged is made anew, with the connections that can be found in it.
#[derive(Debug, Args)]
#[command(
    after_help = "EXAMPLE:\n  fwctl conntrack flush --address 198.51.100.7\n  fwctl conntrack flush --all"
)]
pub(crate) struct Flush {
    #[command(flatten)]
    pub(crate) filters: Filters,
    /// All of them; needed where no filter is given
    #[arg(long)]
    pub(crate) all: bool,
    /// Print as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Which connections; all of what is given must match.
#[derive(Debug, Args)]
pub(crate) struct Filters {
    /// Only those of this interface, by its name in the rules; of a router's leg, the subnet
    #[arg(long, value_name = "NAME")]
    interface: Option<String>,
    /// Only those with either end in this network, or with this address
    #[arg(long, value_name = "CIDR")]
    address: Option<Network>,
    /// Only TCP and UDP with this port at either end
    #[arg(long, value_name = "N")]
    port: Option<u16>,
    /// Only this protocol: tcp, udp, icmp, icmpv6 or a number
    #[arg(long, value_name = "PROTOCOL")]
    protocol: Option<WantedProtocol>,
    /// Only those in this state, such as `established`, or `half-open` or `confirmed`
    #[arg(long, value_name = "STATE")]
    state: Option<Progress>,
}

impl Filters {
    pub(crate) fn filter(&self) -> Filter {
        let Self { interface, address, port, protocol, state } = self;
        Filter {
            interface: interface.clone(),
            address: *address,
            port: *port,
            protocol: *protocol,
            progress: *state,
        }
    }
}

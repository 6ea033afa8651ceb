//! `fwctl explain`.

use std::path::PathBuf;

use clap::{ArgGroup, Args};
use fw_userspace::explain::parse_flags;

/// Say what happens to a packet, and why
///
/// Asks a twin of the attached program, in the kernel, on the rules and connections in force; no counter and no
/// connection changes. With --rules the same decision core judges by a file: no root is needed, and nothing of this host
/// is looked at. A packet is named by protocol and both ends, or given as a frame (--hex) or as a capture (--pcap).
/// With --from and --to the way between two interfaces is walked, filter by filter and back, by the rules alone, from
/// every port that a client may choose; what would have to change is said if it does not get through.
///
/// Exit status 0 whether it passes or not.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
#[command(group = ArgGroup::new("where").required(true).args(["interface", "from"]))]
#[command(group = ArgGroup::new("way").args(["ingress", "egress"]))]
pub(crate) struct Explain {
    /// `PROTOCOL SOURCE DESTINATION`, or with --from and --to `PROTOCOL/PORT`
    #[arg(value_name = "PACKET", num_args = 0..=3, conflicts_with_all = ["hex", "pcap"])]
    pub(crate) packet: Vec<String>,
    /// Interface, or subnet of a router's leg, at which the packet is seen
    #[arg(long, value_name = "ENI")]
    pub(crate) interface: Option<String>,
    /// The packet goes to the interface
    #[arg(long, requires = "interface")]
    pub(crate) ingress: bool,
    /// The packet comes from the interface
    #[arg(long, requires = "interface")]
    pub(crate) egress: bool,
    /// Interface where the way begins
    #[arg(long, value_name = "ENI", requires = "to")]
    pub(crate) from: Option<String>,
    /// Interface where the way ends
    #[arg(long, value_name = "ENI", requires = "from")]
    pub(crate) to: Option<String>,
    /// Judge by this rules file instead of what is loaded; `-` is standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) rules: Option<PathBuf>,
    /// TCP flags instead of `syn`: some of fin, syn, rst, psh, ack, urg, or none
    #[arg(long, value_name = "FLAGS", value_parser = parse_flags)]
    pub(crate) tcp_flags: Option<u8>,
    /// ICMP type instead of an echo request
    #[arg(long, value_name = "TYPE")]
    pub(crate) icmp_type: Option<u8>,
    /// ICMP code instead of 0
    #[arg(long, value_name = "CODE", requires = "icmp_type")]
    pub(crate) icmp_code: Option<u8>,
    /// A frame in hexadecimal digits, from its Ethernet header on
    #[arg(long, value_name = "FRAME", conflicts_with_all = ["pcap", "from"])]
    pub(crate) hex: Option<String>,
    /// Every packet of a capture, pcap or pcapng; `-` is standard input. Without --ingress or --egress the interface's
    /// addresses tell the way
    #[arg(long, value_name = "FILE", conflicts_with = "from")]
    pub(crate) pcap: Option<PathBuf>,
    /// Print as JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) memory: super::Memory,
}

const EXAMPLES: &str = "EXAMPLE:
  fwctl explain --interface eni-web --ingress tcp 198.51.100.7:51000 10.0.1.10:443
  fwctl explain --interface eni-web --egress icmp 10.0.1.10 20.0.0.199 --icmp-type 8
  fwctl explain --from eni-web --to eni-db tcp/5432 --rules rules.json
  tcpdump -i eth1 -w - -c 1000 | fwctl explain --interface eni-web --pcap -";

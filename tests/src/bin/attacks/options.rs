//! What was asked for: parts, and how much of each.

use std::time::Duration;

use clap::{Parser, ValueEnum};
use fw_tests::nft;

use crate::target::Filter;

/// Attacks fwctl and nftables as strangers would who do not see the connections.
#[derive(Parser)]
#[command(name = "attacks")]
pub(crate) struct Arguments {
    /// Only these parts; all without any
    parts: Vec<Part>,
    /// A share of everything: for a look
    #[arg(long)]
    quick: bool,
    /// Seconds of everything, against fwctl alone: what tests run
    #[arg(long, conflicts_with = "quick", hide = true)]
    small: bool,
    /// Where the random numbers begin
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// The parts in their order.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Part {
    /// Blind segments against live connections
    Blind,
    /// Forged handshakes
    Handshakes,
    /// Floods over live connections and handshakes under way
    Floods,
    /// Attacks that are in no list
    Tricks,
}

impl Part {
    const ALL: [Self; 4] = [Self::Blind, Self::Handshakes, Self::Floods, Self::Tricks];

    /// As the command line has it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Blind => "blind",
            Self::Handshakes => "handshakes",
            Self::Floods => "floods",
            Self::Tricks => "tricks",
        }
    }
}

/// How much.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Size {
    Full,
    Quick,
    Small,
}

/// The same, thought through.
pub(crate) struct Options {
    /// What to do.
    pub(crate) parts: Vec<Part>,
    /// Of all random numbers.
    pub(crate) seed: u64,
    size: Size,
}

impl Options {
    /// Of the words on the command line.
    pub(crate) fn new(arguments: Arguments) -> Self {
        let Arguments { parts, quick, small, seed } = arguments;
        let size = match (quick, small) {
            (false, false) => Size::Full,
            (true, _) => Size::Quick,
            (false, true) => Size::Small,
        };
        let parts = if parts.is_empty() { Part::ALL.to_vec() } else { parts };
        Self { parts, seed, size }
    }

    /// Whether nftables should be attacked too, and is not there.
    pub(crate) fn lacks_nft(&self) -> bool {
        self.size != Size::Small && !nft::is_installed()
    }

    /// Who is attacked, one after the other.
    pub(crate) fn filters(&self) -> Vec<Filter> {
        let mut filters = vec![Filter::Xdp, Filter::Tc];
        filters.extend((self.size != Size::Small && nft::is_installed()).then_some(Filter::Nft));
        filters
    }

    /// Connections that live while blind segments come.
    pub(crate) fn live(&self) -> usize {
        self.pick(1000, 1000, 64)
    }

    /// How long after them the connections speak once more: what was ended blindly is over by then.
    pub(crate) fn until_over(&self) -> Duration {
        Duration::from_secs(self.pick(12, 12, 0))
    }

    /// Sequences of blind segments.
    pub(crate) fn sequences(&self) -> usize {
        self.pick(100_000, 2000, 500)
    }

    /// Forged handshakes.
    pub(crate) fn handshakes(&self) -> u32 {
        self.pick(1_000_000, 50_000, 4000)
    }

    /// Good connections after them.
    pub(crate) fn afterwards(&self) -> usize {
        self.pick(1000, 200, 50)
    }

    /// How long until what they left is counted.
    pub(crate) fn rest(&self) -> Duration {
        Duration::from_secs(self.pick(60, 5, 1))
    }

    /// Whether what is unproven has had its time by then.
    pub(crate) fn rests_long(&self) -> bool {
        self.size == Size::Full
    }

    /// Connections that live while floods come.
    pub(crate) fn established(&self) -> usize {
        self.pick(10_000, 500, 50)
    }

    /// Handshakes of each kind that are under way while floods come.
    pub(crate) fn under_way(&self) -> usize {
        self.pick(200, 200, 20)
    }

    /// The time over which those begin.
    pub(crate) fn spread(&self) -> Duration {
        Duration::from_millis(self.pick(2000, 500, 100))
    }

    fn pick<T>(&self, full: T, quick: T, small: T) -> T {
        match self.size {
            Size::Full => full,
            Size::Quick => quick,
            Size::Small => small,
        }
    }
}

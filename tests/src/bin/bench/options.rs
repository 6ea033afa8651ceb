//! What was asked for: parts, sizes and patience.

use std::cell::Cell;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::Parser;

use crate::figures::Sample;
use crate::machine;

/// Per cent of the CPUs' time; more of it changes the figures.
const MOST_STOLEN: f64 = 1.0;

/// The parts in their order, each with a line about it.
pub(crate) const PARTS: [(&str, &str); 9] = [
    ("rules", "frames denied by rule sets of 10 to 100,000 rules: XDP, TC, xdp-filter, nftables"),
    ("cidrs", "frames denied by prefix lists of 10 to 1,000,000 CIDRs: XDP, TC, nftables"),
    ("publish", "reading, compiling and publishing rule sets; their memory"),
    ("members", "one member more in a group of 100,000"),
    ("reload", "1,000 reloads under full load: what is lost, let in, or judged by a mixture"),
    ("tcp", "TCP over a veth pair with and without fwctl"),
    (
        "connections",
        "tracked connections: their packets, new ones, floods, memory, listing, connections a second",
    ),
    ("runs", "nanoseconds of the programs alone, by test runs"),
    ("memory", "nanoseconds of reading a line of an array, by the array's size"),
];

/// Measures fwctl, against an empty program and other filters on the same machine in the same run.
#[derive(Parser)]
#[command(name = "bench")]
pub(crate) struct Arguments {
    /// Only these parts; all without any
    parts: Vec<String>,
    /// Fewer rounds and shorter ones: for a look, not for publication
    #[arg(long)]
    quick: bool,
    /// Leave out rule sets and lists that are larger
    #[arg(long, default_value_t = 1_000_000)]
    most: usize,
    /// Print the parts
    #[arg(long)]
    pub(crate) list: bool,
}

/// The same, thought through.
pub(crate) struct Options {
    parts: Vec<String>,
    /// Whether less will do.
    pub(crate) quick: bool,
    /// The largest set.
    pub(crate) most: usize,
    /// How long one variant is measured in one round.
    pub(crate) slice: Duration,
    /// Rounds whose figures are thrown away: caches, frequency, page faults.
    pub(crate) warm_up: usize,
    /// Rounds that count.
    pub(crate) measured: usize,
    discarded: Cell<usize>,
}

impl Options {
    /// Refuses a part that there is not.
    pub(crate) fn new(arguments: Arguments) -> Result<Self> {
        let Arguments { parts, quick, most, .. } = arguments;
        let known: Vec<&str> = PARTS.iter().map(|(name, _)| *name).collect();
        if let Some(unknown) = parts.iter().find(|part| !known.contains(&part.as_str())) {
            bail!("there is no part {unknown:?}; the parts are {}", known.join(", "));
        }
        let (slice, warm_up, measured) = if quick { (15, 1, 3) } else { (50, 2, 7) };
        Ok(Self {
            parts,
            quick,
            most,
            slice: Duration::from_millis(slice),
            warm_up,
            measured,
            discarded: Cell::new(0),
        })
    }

    /// Whether a part was asked for.
    pub(crate) fn wants(&self, part: &str) -> bool {
        self.parts.is_empty() || self.parts.iter().any(|name| name == part)
    }

    /// Those of the sizes that are not too large; some are for the curve, which a quick look does without.
    pub(crate) fn sizes(&self, sizes: &[usize], of_the_curve: &[usize]) -> Vec<usize> {
        let is_wanted = |size: &&usize| **size <= self.most && !(self.quick && of_the_curve.contains(size));
        sizes.iter().filter(is_wanted).copied().collect()
    }

    /// Runs rounds, of which each gives one value for every variant. One in which the hypervisor gave more than 1 % of
    /// the CPUs' time to others does not count and is run again, as often as there are rounds at most.
    pub(crate) fn rounds(&self, mut round: impl FnMut() -> Result<Vec<f64>>) -> Result<Vec<Sample>> {
        for _ in 0..self.warm_up {
            round()?;
        }
        let mut samples = Vec::new();
        let mut spare = self.measured;
        let mut taken = 0;
        while taken < self.measured {
            let before = machine::cpu_times();
            let values = round()?;
            let stolen = machine::stolen_since(&before);
            if spare > 0 && stolen.is_some_and(|per_cent| per_cent > MOST_STOLEN) {
                spare -= 1;
                self.discarded.set(self.discarded.get() + 1);
                continue;
            }
            samples.resize(values.len(), Sample::default());
            samples.iter_mut().zip(values).for_each(|(sample, value)| sample.0.push(value));
            taken += 1;
        }
        Ok(samples)
    }

    /// How many rounds did not count.
    pub(crate) fn discarded(&self) -> usize {
        self.discarded.get()
    }
}

//! Rounds of measurements as medians, spreads and ratios. It never judges a figure.

use std::fmt;

/// Rounds whose figures are thrown away: caches, frequency, page faults.
pub(crate) const WARM_UP: usize = 2;
/// Rounds that count.
pub(crate) const MEASURED: usize = 7;

/// The values of one variant, one a round.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sample(Vec<f64>);

impl Sample {
    /// Takes the value of a round, unless it is a warm-up.
    pub(crate) fn take(&mut self, round: usize, value: f64) {
        if round >= WARM_UP {
            self.0.push(value);
        }
    }

    /// The value in the middle.
    pub(crate) fn median(&self) -> f64 {
        median(&self.0)
    }

    /// Ratio of the medians, and the spread of the ratios round by round.
    pub(crate) fn over(&self, other: &Self) -> Ratio {
        let pairs = self.0.iter().zip(&other.0).map(|(ours, theirs)| ours / theirs).collect();
        Ratio { medians: self.median() / other.median(), rounds: Self(pairs) }
    }

    /// The median, then lowest and highest, in another unit.
    pub(crate) fn in_units(&self, unit: f64, decimals: usize) -> String {
        let (median, low, high) = (self.median() / unit, self.lowest() / unit, self.highest() / unit);
        format!("{median:8.decimals$} ({low:.decimals$}-{high:.decimals$})")
    }

    fn lowest(&self) -> f64 {
        self.0.iter().copied().fold(f64::INFINITY, f64::min)
    }

    fn highest(&self) -> f64 {
        self.0.iter().copied().fold(f64::NEG_INFINITY, f64::max)
    }
}

/// The value in the middle, NaN of nothing.
pub(crate) fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

/// How one variant compares with another of the same rounds.
#[derive(Clone, Debug)]
pub(crate) struct Ratio {
    medians: f64,
    rounds: Sample,
}

impl fmt::Display for Ratio {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:.3} ({:.3}-{:.3})", self.medians, self.rounds.lowest(), self.rounds.highest())
    }
}

/// A ratio that was promised.
pub(crate) struct Goal {
    /// What of what.
    pub(crate) what: String,
    /// At least this.
    pub(crate) at_least: f64,
    /// What came out.
    pub(crate) ratio: Ratio,
}

impl fmt::Display for Goal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, at_least, ratio } = self;
        let reached = if ratio.medians >= *at_least { "reached" } else { "MISSED" };
        write!(out, "  {what:<54} {ratio:<22} goal >= {at_least:.2}: {reached}")
    }
}

//! Rounds of measurements as medians, spreads and ratios, and what was promised of them. A figure that misses its goal
//! is said and fails nothing.

use std::fmt;

use serde::Serialize;

/// The values of one variant, one a round.
#[derive(Clone, Debug, Default, Serialize)]
#[serde(transparent)]
pub(crate) struct Sample(pub(crate) Vec<f64>);

impl Sample {
    /// The value in the middle, NaN of nothing.
    pub(crate) fn median(&self) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_unstable_by(f64::total_cmp);
        sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
    }

    /// Round by round with another sample of the same rounds.
    pub(crate) fn with(&self, other: &Self, join: impl Fn(f64, f64) -> f64) -> Self {
        Self(self.0.iter().zip(&other.0).map(|(own, other)| join(*own, *other)).collect())
    }

    /// Each value as something else.
    pub(crate) fn map(&self, change: impl Fn(f64) -> f64) -> Self {
        Self(self.0.iter().map(|value| change(*value)).collect())
    }

    /// Round by round.
    pub(crate) fn over(&self, other: &Self) -> Self {
        self.with(other, |own, other| own / other)
    }

    /// Round by round.
    pub(crate) fn minus(&self, other: &Self) -> Self {
        self.with(other, |own, other| own - other)
    }

    /// The median, then lowest and highest.
    pub(crate) fn show(&self, decimals: usize) -> String {
        let (median, low, high) = (self.median(), self.lowest(), self.highest());
        format!("{median:.decimals$} ({low:.decimals$}-{high:.decimals$})")
    }

    fn lowest(&self) -> f64 {
        self.0.iter().copied().fold(f64::INFINITY, f64::min)
    }

    fn highest(&self) -> f64 {
        self.0.iter().copied().fold(f64::NEG_INFINITY, f64::max)
    }
}

/// What a figure is to be.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Limit {
    /// This or less.
    AtMost(f64),
    /// This or more.
    AtLeast(f64),
}

/// A figure that was promised.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Goal {
    what: String,
    unit: &'static str,
    limit: Limit,
    rounds: Sample,
    reached: bool,
}

impl Goal {
    /// The median of the rounds is to keep the limit.
    pub(crate) fn new(what: impl Into<String>, unit: &'static str, limit: Limit, rounds: Sample) -> Self {
        let median = rounds.median();
        let reached = match limit {
            Limit::AtMost(limit) => median <= limit,
            Limit::AtLeast(limit) => median >= limit,
        };
        Self { what: what.into(), unit, limit, rounds, reached }
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, unit, limit, rounds, reached } = self;
        let decimals = if *unit == "times" { 3 } else { 1 };
        let limit = match limit {
            Limit::AtMost(limit) => format!("<= {limit}"),
            Limit::AtLeast(limit) => format!(">= {limit}"),
        };
        let reached = if *reached { "reached" } else { "MISSED" };
        write!(out, "{what:<66} {:<26} {unit:<6} goal {limit}: {reached}", rounds.show(decimals))
    }
}

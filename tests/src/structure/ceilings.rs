//! The figures that none may rise above, in `tests/structure.toml`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::{fmt, fs};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

/// By the name of the figure.
pub type Figures = BTreeMap<String, u64>;
/// By whose they are: a program, or a program and a packet.
pub type Group = BTreeMap<String, Figures>;

/// Sizes may be so much above their ceilings, calls nothing: another compiler of the same LLVM orders and spills
/// differently, but calls the same.
pub const TOLERANCE_PERCENT: u64 = 3;
const SIZES: [&str; 2] = ["instructions", "stack bytes"];

const HEADER: &str = "\
# Ceilings of `cargo xtask verify`: a figure above its ceiling fails. All but [limits] is written by
# `cargo xtask verify --record`.

";

/// The file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ceilings {
    /// The kernel that the figures of [`Self::translated`] are of.
    pub kernel: String,
    /// Set by hand, for figures whose own values say little. For every program and every kernel.
    pub limits: Figures,
    /// Of the object, by program.
    pub object: Group,
    /// Of packets on their way through the object, by program and packet.
    pub packets: Group,
    /// Of what the kernel made of it, by program.
    pub translated: Group,
}

impl Ceilings {
    /// As recorded.
    pub fn read() -> Result<Self> {
        let path = path();
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        toml::from_str(&text).with_context(|| format!("{} is not as --record writes it", path.display()))
    }

    /// Records, but for what the limits judge.
    pub fn write(&self) -> Result<()> {
        let mut written = self.clone();
        for figures in written.translated.values_mut() {
            figures.retain(|figure, _| !self.limits.contains_key(figure));
        }
        let text = HEADER.to_owned()
            + &toml::to_string(&written).context("the figures cannot be written as TOML")?;
        fs::write(path(), text).with_context(|| format!("cannot write {}", path().display()))
    }

    /// What differs from the record, as far as it can be compared, and what is above a limit.
    #[must_use]
    pub fn compare(&self, seen: &Self) -> Vec<Difference> {
        let mut found = differences(&seen.object, &self.object);
        found.extend(differences(&seen.packets, &self.packets));
        if self.kernel == seen.kernel {
            let translated = differences(&seen.translated, &self.translated).into_iter();
            found.extend(translated.filter(|difference| !self.limits.contains_key(&difference.figure)));
        }
        found.extend(above_limits(&seen.translated, &self.limits));
        found
    }
}

/// Where the file is.
#[must_use]
pub fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("structure.toml")
}

/// A figure that is not as recorded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Whose it is.
    pub whose: String,
    /// Its name.
    pub figure: String,
    /// What it is; 0 if there is none of it.
    pub seen: u64,
    /// What was recorded; 0 if nothing was.
    pub recorded: u64,
}

impl Difference {
    /// Above the ceiling and what is tolerated there.
    #[must_use]
    pub fn is_rise(&self) -> bool {
        let percent =
            if SIZES.iter().any(|size| self.figure.ends_with(size)) { TOLERANCE_PERCENT } else { 0 };
        self.seen * 100 > self.recorded * (100 + percent)
    }

    /// Below the ceiling, which could follow.
    #[must_use]
    pub fn is_fall(&self) -> bool {
        self.seen < self.recorded
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { whose, figure, seen, recorded } = self;
        let side = if seen > recorded { "above" } else { "below" };
        let [by, seen, recorded] = [seen.abs_diff(*recorded), *seen, *recorded].map(grouped);
        write!(f, "{whose}, {figure}: {seen} is {by} {side} the recorded {recorded}")
    }
}

/// Every figure that is not as recorded, those that are in only one of the two included.
fn differences(seen: &Group, recorded: &Group) -> Vec<Difference> {
    let mut found = Vec::new();
    for whose in BTreeSet::from_iter(seen.keys().chain(recorded.keys())) {
        let of = |group: &Group| group.get(whose).cloned().unwrap_or_default();
        let (seen, recorded) = (of(seen), of(recorded));
        for figure in BTreeSet::from_iter(seen.keys().chain(recorded.keys())) {
            let of = |figures: &Figures| figures.get(figure).copied().unwrap_or(0);
            let (seen, recorded) = (of(&seen), of(&recorded));
            if seen != recorded {
                found.push(Difference { whose: whose.clone(), figure: figure.clone(), seen, recorded });
            }
        }
    }
    found
}

fn above_limits(seen: &Group, limits: &Figures) -> Vec<Difference> {
    let mut found = Vec::new();
    for (whose, figures) in seen {
        for (figure, limit) in limits {
            let seen = figures.get(figure).copied().unwrap_or(0);
            if seen > *limit {
                found.push(Difference {
                    whose: whose.clone(),
                    figure: figure.clone(),
                    seen,
                    recorded: *limit,
                });
            }
        }
    }
    found
}

/// With a comma between thousands.
#[must_use]
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn difference(figure: &str, seen: u64, recorded: u64) -> Difference {
        Difference { whose: "program".to_owned(), figure: figure.to_owned(), seen, recorded }
    }

    #[test]
    fn sizes_have_a_tolerance_and_calls_have_none() {
        assert!(!difference("main instructions", 1030, 1000).is_rise());
        assert!(difference("main instructions", 1031, 1000).is_rise());
        assert!(difference("main helper calls", 11, 10).is_rise());
        assert!(difference("main helper calls", 9, 10).is_fall());
    }

    #[test]
    fn what_was_never_recorded_is_a_rise_and_what_is_gone_a_fall() {
        let group = |figure: &str| Group::from([("p".to_owned(), Figures::from([(figure.to_owned(), 3)]))]);
        let found = differences(&group("main tail calls"), &group("main stack bytes"));
        assert_eq!(found.len(), 2);
        assert!(found[0].is_fall() && !found[0].is_rise());
        assert!(found[1].is_rise());
        assert_eq!(found[1].to_string(), "p, main tail calls: 3 is 3 above the recorded 0");
    }

    #[test]
    fn thousands_are_apart() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }
}

//! What must hold whatever bytes come: the bodies of the fuzz targets of `tests/fuzz`.
//!
//! A target panics where something does not hold. They live here and not beside cargo-fuzz's entry points, so that an
//! input once found is replayed by an ordinary test (`tests/tests/regressions.rs`).

mod frame;
mod history;
mod host;

pub mod invariants;
mod policies;
mod rules;
mod seeds;
#[cfg(test)]
mod tests;

pub use seeds::{dictionary, seeds};

/// One fuzz target.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name with cargo-fuzz, and that of its folder of regressions.
    pub name: &'static str,
    /// Panics if something does not hold.
    pub run: fn(&[u8]),
}

/// All of them.
pub const TARGETS: [Target; 3] = [
    Target { name: "frame", run: frame::run },
    Target { name: "history", run: history::run },
    Target { name: "rules", run: rules::run },
];

/// Runs the target of this name.
pub fn run(name: &str, bytes: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name);
    (target.unwrap_or_else(|| panic!("there is no fuzz target {name:?}")).run)(bytes);
}

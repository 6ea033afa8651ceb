//! `cargo xtask ci`: what CI runs, in its order.

use std::time::Instant;

use anyhow::Result;

use crate::{lint, test, verify};

pub(crate) fn run() -> Result<()> {
    timed("lint", lint::run)?;
    timed("test", || test::run(&test::Options::default()))?;
    timed("verify", || verify::run(&verify::Options::default()))
}

fn timed(step: &str, run: impl FnOnce() -> Result<()>) -> Result<()> {
    let start = Instant::now();
    let done = run();
    let word = if done.is_ok() { "passed" } else { "failed" };
    println!("{step}: {word} in {} s", start.elapsed().as_secs());
    done
}

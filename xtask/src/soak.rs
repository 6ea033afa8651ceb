//! `cargo xtask soak`: the program is `tests/src/bin/soak.rs`.

use anyhow::Result;

use crate::{run, setup};

#[derive(clap::Args)]
pub(crate) struct Options {
    /// How long
    #[arg(long, default_value_t = 5)]
    minutes: u64,
    /// Where to begin; a failure names its seed
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    run::require_root("soak")?;
    setup::ensure()?;
    let mut soak =
        run::cargo(["run", "--quiet", "--release", "--package", "fw-tests", "--bin", "soak", "--"]);
    soak.args(["--minutes", &options.minutes.to_string(), "--seed", &options.seed.to_string()]);
    run::visibly(&mut soak)
}

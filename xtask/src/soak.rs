//! `cargo xtask soak`: the programs are `tests/src/bin/soak.rs` and `serve_soak.rs`.

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
    /// `fwctl serve` instead of decisions: reloads, scrapes and traffic, and whether the process grows
    #[arg(long, conflicts_with = "seed")]
    serve: bool,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    run::require_root("soak")?;
    setup::ensure()?;
    if options.serve {
        run::build_fwctl(["--release"])?;
        let mut soak = run::cargo("run --quiet --release --package fw-tests --bin serve_soak --".split(' '));
        return run::visibly(soak.arg(options.minutes.to_string()));
    }
    let mut soak =
        run::cargo(["run", "--quiet", "--release", "--package", "fw-tests", "--bin", "soak", "--"]);
    soak.args(["--minutes", &options.minutes.to_string(), "--seed", &options.seed.to_string()]);
    run::visibly(&mut soak)
}

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
    /// Instead: on so many random sets of rules, whether what `fwctl explain` says is what happens on the wire
    #[arg(long, value_name = "SETS", conflicts_with = "minutes")]
    wire: Option<u64>,
    /// Packets on each of those sets
    #[arg(long, default_value_t = 10_000, requires = "wire")]
    packets: u64,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    run::require_root("soak")?;
    setup::ensure()?;
    run::build_fwctl(["--release"])?;
    if options.serve {
        let mut soak = run::cargo("run --quiet --release --package fw-tests --bin serve_soak --".split(' '));
        return run::visibly(soak.arg(options.minutes.to_string()));
    }
    let mut soak =
        run::cargo(["run", "--quiet", "--release", "--package", "fw-tests", "--bin", "soak", "--"]);
    soak.args(["--minutes", &options.minutes.to_string(), "--seed", &options.seed.to_string()]);
    if let Some(sets) = options.wire {
        soak.args(["--wire", &sets.to_string(), "--packets", &options.packets.to_string()]);
    }
    run::visibly(&mut soak)
}

//! `cargo xtask verify`: the program is `tests/src/bin/verify`.

use anyhow::Result;

use crate::{run, setup};

#[derive(clap::Args, Default)]
pub(crate) struct Options {
    /// Write the figures to tests/structure.toml as the new ceilings, and do not judge them
    #[arg(long)]
    record: bool,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    run::require_root("verify")?;
    setup::ensure()?;
    let mut verify = run::cargo(["run", "--quiet", "--package", "fw-tests", "--bin", "verify", "--"]);
    verify.args(options.record.then_some("--record"));
    run::visibly(&mut verify)
}

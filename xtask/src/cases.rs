//! `cargo xtask cases`: the program is `tests/src/bin/cases.rs`.

use anyhow::Result;

use crate::{run, setup};

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Names of cases or of their files, without .toml; all if there is none
    names: Vec<String>,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    run::require_root("cases")?;
    setup::ensure()?;
    run::build_fwctl([""; 0])?;
    let mut command = run::cargo(["run", "--quiet", "--package", "fw-tests", "--bin", "cases", "--"]);
    run::visibly(command.args(&options.names))
}

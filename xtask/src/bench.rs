//! `cargo xtask bench`: the program is `tests/src/bin/bench`.

use anyhow::Result;

use crate::{run, setup};

pub(crate) fn run() -> Result<()> {
    run::require_root("bench")?;
    setup::ensure()?;
    run::visibly(&mut run::cargo(["run", "--quiet", "--release", "--package", "fw-tests", "--bin", "bench"]))
}

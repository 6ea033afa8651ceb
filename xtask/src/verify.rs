//! `cargo xtask verify`: the program is `tests/src/bin/verify.rs`.

use anyhow::Result;

use crate::{run, setup};

pub(crate) fn run() -> Result<()> {
    run::require_root("verify")?;
    setup::ensure()?;
    run::visibly(&mut run::cargo(["run", "--quiet", "--package", "fw-tests", "--bin", "verify"]))
}

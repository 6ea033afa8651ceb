//! `cargo xtask demo`: the program is `tests/src/bin/demo.rs`.

use anyhow::Result;

use crate::{run, setup};

pub(crate) fn run() -> Result<()> {
    run::require_root("demo")?;
    setup::ensure()?;
    run::visibly(&mut run::cargo(["run", "--quiet", "--package", "fw-tests", "--bin", "demo"]))
}

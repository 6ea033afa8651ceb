//! `cargo xtask demo`: the program is `tests/src/bin/demo`.

use anyhow::Result;

use crate::{run, setup};

pub(crate) fn run() -> Result<()> {
    run::require_root("demo")?;
    setup::ensure()?;
    run::build_fwctl([""; 0])?;
    run::visibly(&mut run::cargo(["run", "--quiet", "--package", "fw-tests", "--bin", "demo"]))
}

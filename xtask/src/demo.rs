//! `cargo xtask demo`: the program is `tests/src/bin/demo`.

use anyhow::Result;

use crate::{run, setup};

pub(crate) fn run() -> Result<()> {
    run::require_root("demo")?;
    setup::ensure()?;
    // The demo runs fwctl as a person does, and cargo builds no binary of a dependency.
    run::visibly(&mut run::cargo(["build", "--quiet", "--package", "fw-userspace", "--bin", "fwctl"]))?;
    run::visibly(&mut run::cargo(["run", "--quiet", "--package", "fw-tests", "--bin", "demo"]))
}

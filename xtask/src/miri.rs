//! `cargo xtask miri`: the core's tests under Miri, where rustup's nightly has it.
//!
//! The core forbids unsafe code, so that little is left to find: arithmetic and indexing in what the tests reach. Not
//! part of CI.

use std::process::Command;

use anyhow::{Result, bail};

use crate::run;

const INSTALL: &str = "rustup component add miri rust-src --toolchain nightly";

pub(crate) fn run() -> Result<()> {
    if run::find_program("rustup").is_none() || run::quietly(&mut nightly(&["--version"])).is_err() {
        bail!("Miri is not installed: `{INSTALL}` installs it");
    }
    // Without aya: it is C and system calls, which Miri does not know.
    let arguments = ["test", "--package", "fw-common", "--features", "std", "--target-dir", "target/miri"];
    run::visibly(&mut nightly(&arguments))
}

fn nightly(arguments: &[&str]) -> Command {
    let mut command = Command::new("rustup");
    command.args(["run", "nightly", "cargo", "miri"]).args(arguments).current_dir(run::workspace());
    // Those of the toolchain that runs us.
    command.env_remove("CARGO").env_remove("RUSTUP_TOOLCHAIN");
    command
}

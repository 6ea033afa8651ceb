//! `cargo xtask test`.

use std::ffi::OsString;

use anyhow::Result;

use crate::{run, setup};

#[derive(clap::Args, Default)]
pub(crate) struct Options {
    /// Passed on to cargo test
    #[arg(last = true)]
    cargo_arguments: Vec<OsString>,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    run::require_root("test")?;
    setup::ensure()?;
    // fw-ebpf exists for the BPF target only.
    let selection: &[&str] = if names_packages(&options.cargo_arguments) {
        &["test"]
    } else {
        &["test", "--workspace", "--exclude", "fw-ebpf"]
    };
    run::visibly(run::cargo(selection).args(&options.cargo_arguments))
}

/// `--workspace` would override a choice of packages.
fn names_packages(arguments: &[OsString]) -> bool {
    let own = arguments.iter().take_while(|argument| *argument != "--");
    own.filter_map(|argument| argument.to_str())
        .any(|argument| argument.starts_with("-p") || argument.starts_with("--package"))
}

//! `cargo xtask build`.

use anyhow::{Context as _, Result};

use crate::{run, setup};

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Optimise
    #[arg(short, long)]
    release: bool,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    setup::ensure()?;
    let profile: &[&str] = if options.release { &["--release"] } else { &[] };
    run::visibly(run::cargo(["build"]).args(profile))?;

    let folder = if options.release { "release" } else { "debug" };
    println!("fwctl is at {}", target_directory()?.join(folder).join("fwctl").display());
    Ok(())
}

/// Asked of cargo, because configuration and environment may move it.
fn target_directory() -> Result<std::path::PathBuf> {
    const KEY: &str = "\"target_directory\":\"";
    let metadata = run::quietly(&mut run::cargo(["metadata", "--no-deps", "--format-version=1"]))?;
    let (_, rest) = metadata.split_once(KEY).context("cargo metadata names no target directory")?;
    Ok(rest.split('"').next().unwrap_or_default().into())
}

//! `cargo xtask attacks`: the program is `tests/src/bin/attacks`.

use anyhow::Result;

use crate::{run, setup};

/// What is compared with, and the Debian package that has it.
const NFT: [(&str, &str); 1] = [("nft", "nftables")];

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Only these parts: blind, handshakes, floods, tricks; all without any
    parts: Vec<String>,
    /// A share of everything: for a look, not for publication
    #[arg(long)]
    quick: bool,
    /// Where the random numbers begin
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let Options { parts, quick, seed } = options;
    run::require_root("attacks")?;
    setup::ensure()?;
    if let Err(error) = setup::need_programs(&NFT) {
        setup::say(&format!("nftables will be left out: {error:#}"));
    }
    run::build_fwctl(["--release"])?;
    let mut attacks =
        run::cargo(["run", "--quiet", "--release", "--package", "fw-tests", "--bin", "attacks", "--"]);
    attacks.args(parts).arg(format!("--seed={seed}"));
    if *quick {
        attacks.arg("--quick");
    }
    run::visibly(&mut attacks)
}

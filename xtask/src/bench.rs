//! `cargo xtask bench`: the program is `tests/src/bin/bench`.

use anyhow::Result;

use crate::{run, setup};

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Only these parts; all without any
    parts: Vec<String>,
    /// Fewer rounds and shorter ones: for a look, not for publication
    #[arg(long)]
    quick: bool,
    /// Leave out rule sets and lists that are larger
    #[arg(long, value_name = "SIZE")]
    most: Option<usize>,
    /// Print the parts
    #[arg(long)]
    list: bool,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let Options { parts, quick, most, list } = options;
    if !list {
        run::require_root("bench")?;
    }
    setup::ensure()?;
    let mut bench =
        run::cargo(["run", "--quiet", "--release", "--package", "fw-tests", "--bin", "bench", "--"]);
    bench.args(parts);
    for (flag, is_given) in [("--quick", *quick), ("--list", *list)] {
        if is_given {
            bench.arg(flag);
        }
    }
    if let Some(most) = most {
        bench.arg(format!("--most={most}"));
    }
    run::visibly(&mut bench)
}

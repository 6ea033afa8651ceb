//! `fwctl stats`: the counters, once or again and again.

use std::path::Path;
use std::time::Duration;

use fw_userspace::datapath;
use fw_userspace::error::Result;

use super::Outcome;
use crate::args::Stats;
use crate::output::{self, Output};

pub(super) fn run(args: &Stats, bpffs: &Path, output: &mut Output) -> Result<Outcome> {
    if let Some(seconds) = args.watch {
        return watch(bpffs, Duration::from_secs(seconds), output);
    }
    let stats = datapath::stats(bpffs)?;
    if args.json {
        output.json(&stats)?;
    } else {
        output::stats::print(output, &stats);
    }
    Ok(Outcome::Done)
}

/// Until the rules are unloaded, the reader is gone or somebody interrupts.
fn watch(bpffs: &Path, pause: Duration, output: &mut Output) -> Result<Outcome> {
    loop {
        let stats = datapath::stats(bpffs)?;
        output.redraw();
        output::stats::print(output, &stats);
        if !output.flush() {
            return Ok(Outcome::Done);
        }
        std::thread::sleep(pause);
    }
}

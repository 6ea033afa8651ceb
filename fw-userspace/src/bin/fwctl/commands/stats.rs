//! `fwctl stats`: the counters, once or again and again.

use std::path::Path;
use std::time::{Duration, Instant};

use fw_userspace::datapath;
use fw_userspace::error::Result;
use fw_userspace::rates::Rates;
use fw_userspace::report::Stats;

use super::Outcome;
use crate::args;
use crate::output::{self, Output};

pub(super) fn run(args: &args::Stats, bpffs: &Path, output: &mut Output) -> Result<Outcome> {
    if let Some(seconds) = args.watch {
        return watch(bpffs, Duration::from_secs(seconds), output);
    }
    let stats = datapath::stats(bpffs)?;
    if args.json {
        output.json(&stats)?;
    } else {
        output::stats::print(output, &stats, None);
    }
    Ok(Outcome::Done)
}

/// Until the rules are unloaded, the reader is gone or somebody interrupts.
fn watch(bpffs: &Path, pause: Duration, output: &mut Output) -> Result<Outcome> {
    let mut before: Option<(Instant, Stats)> = None;
    loop {
        let (now, stats) = (Instant::now(), datapath::stats(bpffs)?);
        let rates = before
            .as_ref()
            .map(|(then, before)| Rates::since(before, now.duration_since(*then).as_secs_f64()));
        output.redraw();
        output::stats::print(output, &stats, rates.as_ref());
        if !output.flush() {
            return Ok(Outcome::Done);
        }
        before = Some((now, stats));
        std::thread::sleep(pause);
    }
}

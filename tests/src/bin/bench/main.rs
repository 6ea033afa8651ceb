//! `cargo xtask bench`: how fast fwctl is, against the same machine without it, in the same run.
//!
//! Rounds of the variants take turns; medians, spreads and ratios are printed. Figures never fail it: the
//! status is 1 only when something cannot be measured, or is not dropped or passed as it should be. It works
//! in namespaces of its own, with programs and pins of its own, and leaves nothing behind.

mod drops;
mod figures;
mod filter;
mod machine;
mod test_runs;
mod throughput;
mod tiny;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use fw_tests::netns::{BpffsDir, Rig};

use figures::{MEASURED, WARM_UP};
use filter::Filter;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: the benchmark cannot go on: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let (start, times, load) = (Instant::now(), machine::cpu_times(), machine::load_average());
    machine::print();
    println!("rules      {}", fw_tests::workload::describe());
    println!("rounds     variants in turn, {WARM_UP} rounds to warm up, {MEASURED} that count");

    let (rig, bpffs) = (Rig::direct()?, BpffsDir::new()?);
    let mut goals = Vec::new();
    if wanted("drops") {
        goals.extend(drops::measure(&rig, &Filter::new(&rig.server, bpffs.path(), "xdp")?)?);
    }
    if wanted("tcp") {
        goals.extend(throughput::measure(&rig, &Filter::new(&rig.server, bpffs.path(), "auto")?)?);
    }
    if wanted("runs") {
        test_runs::measure()?;
    }

    println!("\nGoals: ratio of the medians (lowest-highest of the rounds)\n");
    for goal in goals {
        println!("{goal}");
    }
    println!(
        "\n{} s; load average before: {load}; CPU time stolen meanwhile: {}",
        start.elapsed().as_secs(),
        machine::stolen_since(&times)
    );
    Ok(())
}

/// Whether a part was named on the command line; all are if none was.
fn wanted(part: &str) -> bool {
    let mut named = std::env::args().skip(1).peekable();
    named.peek().is_none() || named.any(|name| name == part)
}

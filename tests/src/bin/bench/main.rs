//! `cargo xtask bench`: how fast fwctl is, against an empty program and other filters, on the same machine in the same
//! run.
//!
//! Rounds of the variants take turns; medians, spreads and ratios are printed, every value of every round is written.
//! Figures never fail it: the status is 1 only when something cannot be measured, or is not dropped or passed as it
//! should be. It works in namespaces of its own, with programs and pins of its own, and leaves nothing behind but files
//! below `target/bench`.

mod arrivals;
mod connections;
mod drops;
mod figures;
mod filter;
mod geo;
mod grid;
mod keys;
mod lane;
mod machine;
mod members;
mod memory;
mod nft;
mod options;
mod plots;
mod publish;
mod reloads;
mod results;
mod sets;
mod test_runs;
mod throughput;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::Result;
use clap::Parser as _;

use machine::Machine;
use options::{Arguments, Options, PARTS};
use results::Results;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if arguments.list {
        PARTS.iter().for_each(|(name, about)| println!("{name:<11} {about}"));
        return ExitCode::SUCCESS;
    }
    match Options::new(arguments).and_then(|options| run(&options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: the benchmark cannot go on: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<()> {
    let (start, times, load) = (Instant::now(), machine::cpu_times(), machine::load_average());
    let mut results = Results::new(Machine::look(), options);
    println!("{}", results.machine());
    println!(
        "rounds     variants in turn, {} to warm up, {} that count, {} ms of each variant in each",
        options.warm_up,
        options.measured,
        options.slice.as_millis()
    );

    type Part = fn(&Options, &mut Results) -> Result<()>;
    let parts: [(&str, Part); PARTS.len()] = [
        ("rules", drops::rules),
        ("cidrs", drops::cidrs),
        ("publish", publish::measure),
        ("members", members::measure),
        ("reload", reloads::measure),
        ("tcp", throughput::measure),
        ("connections", connections::measure),
        ("runs", test_runs::measure),
        ("memory", memory::measure),
    ];
    for (name, part) in parts {
        if options.wants(name) {
            println!("\n## {name}\n");
            part(options, &mut results)?;
        }
    }
    results.finish()?;
    let stolen =
        machine::stolen_since(&times).map_or("unknown".to_owned(), |stolen| format!("{stolen:.1} %"));
    println!(
        "\n{} s; load average before: {load}; CPU time stolen meanwhile: {stolen}; {} rounds thrown away for it",
        start.elapsed().as_secs(),
        options.discarded()
    );
    Ok(())
}

//! Differential decisions for as long as one likes: `cargo xtask soak`. With `--wire N` on N random sets of rules what
//! `fwctl explain` says, and what then happens on the wire.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use fw_tests::differential::wire::Tally;
use fw_tests::differential::{Differential, Failure, Other};
use fw_tests::kernel::Received;

/// Scenarios of one comparison before the next has its turn.
const TURN: u64 = 50;
/// How often to say how far it is.
const SAYS_EVERY: Duration = Duration::from_secs(30);

struct Compared {
    what: &'static str,
    by: Differential,
    scenarios: u64,
    decisions: u64,
    took: Duration,
}

impl Compared {
    fn new(what: &'static str, other: Other) -> Result<Self> {
        let by = Differential::new(other)?;
        Ok(Self { what, by, scenarios: 0, decisions: 0, took: Duration::ZERO })
    }
}

/// What the words say.
struct Arguments {
    minutes: u64,
    seed: u64,
    wire: Option<u64>,
    packets: u64,
}

fn main() -> Result<ExitCode> {
    let arguments = arguments()?;
    match arguments.wire {
        Some(sets) => wire(sets, &arguments),
        None => soak(&arguments),
    }
}

fn soak(&Arguments { minutes, seed: first, .. }: &Arguments) -> Result<ExitCode> {
    let mut all = [
        Compared::new("host core and oracle", Other::Oracle)?,
        Compared::new("host core and bytecode, XDP", Other::Bytecode(Received::Xdp))?,
        Compared::new("host core and bytecode, TC", Other::Bytecode(Received::Tc))?,
        Compared::new("explain and wire, XDP", Other::Wire(Received::Xdp))?,
        Compared::new("explain and wire, TC", Other::Wire(Received::Tc))?,
    ];
    println!("seeds from {first}, for {minutes} minutes");
    let until = Instant::now() + Duration::from_secs(60 * minutes);
    let mut says = Instant::now() + SAYS_EVERY;
    let mut seed = first;
    while Instant::now() < until {
        for compared in &mut all {
            let began = Instant::now();
            for seed in seed..seed.saturating_add(TURN) {
                match compared.by.run(seed) {
                    Ok(decisions) => compared.decisions += decisions,
                    Err(failure) => return Ok(failed(compared.what, &failure, "")),
                }
                compared.scenarios += 1;
            }
            compared.took += began.elapsed();
        }
        seed = seed.saturating_add(TURN);
        if Instant::now() >= says {
            says = Instant::now() + SAYS_EVERY;
            report(&all);
        }
    }
    println!("no difference; seeds {first} to {}", seed - 1);
    report(&all);
    Ok(ExitCode::SUCCESS)
}

fn report(all: &[Compared]) {
    for Compared { what, by, scenarios, decisions, took } in all {
        let rate = *decisions as f64 / took.as_secs_f64().max(0.001);
        println!("{what:30} {decisions:>12} decisions in {scenarios:>8} scenarios, {rate:>9.0} per second");
        if let Some(Tally { packets, passed, by_loaded, by_file, unsendable }) = by.tally() {
            println!(
                "{:30} {packets:>12} packets came to the filter, {passed} passed; explained by what is loaded \
                 {by_loaded}, by the file {by_file}; {unsendable} could not be sent",
                ""
            );
        }
    }
}

/// So many packets on each of so many sets, under XDP and then under TC.
fn wire(sets: u64, &Arguments { seed: first, packets, .. }: &Arguments) -> Result<ExitCode> {
    for (what, received) in [("explain and wire, XDP", Received::Xdp), ("explain and wire, TC", Received::Tc)]
    {
        println!("{what}: {packets} packets on each of {sets} sets, seeds from {first}");
        let mut compared = Compared::new(what, Other::Wire(received))?;
        let began = Instant::now();
        let mut says = Instant::now() + SAYS_EVERY;
        for seed in first..first.saturating_add(sets) {
            match compared.by.run_set(seed, packets) {
                Ok(judged) => compared.decisions += judged,
                Err(failure) => {
                    return Ok(failed(what, &failure, &format!("--wire 1 --packets {packets} ")));
                }
            }
            compared.scenarios += 1;
            compared.took = began.elapsed();
            if Instant::now() >= says {
                says = Instant::now() + SAYS_EVERY;
                report(std::slice::from_ref(&compared));
            }
        }
        report(std::slice::from_ref(&compared));
    }
    println!("no difference");
    Ok(ExitCode::SUCCESS)
}

fn failed(what: &str, failure: &Failure, options: &str) -> ExitCode {
    println!("{what}: seed {}\n{}\n", failure.seed, failure.says);
    println!("{}", failure.case);
    println!("again: cargo xtask soak {options}--seed {}", failure.seed);
    ExitCode::FAILURE
}

/// `--minutes N --seed S --wire N --packets N`, as `cargo xtask soak` passes them.
fn arguments() -> Result<Arguments> {
    let mut found = Arguments { minutes: 5, seed: 0, wire: None, packets: 10_000 };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let value = words.next().with_context(|| format!("{word} needs a number"))?;
        let number: u64 = value.parse().with_context(|| format!("{word} takes a number, not \"{value}\""))?;
        match word.as_str() {
            "--minutes" => found.minutes = number,
            "--seed" => found.seed = number,
            "--wire" => found.wire = Some(number),
            "--packets" => found.packets = number,
            _ => bail!("{word} is not known: --minutes N, --seed S, --wire N and --packets N are"),
        }
    }
    Ok(found)
}

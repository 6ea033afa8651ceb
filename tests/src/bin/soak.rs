//! Differential decisions for as long as one likes: `cargo xtask soak`.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use fw_tests::differential::{Differential, Other};
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

fn main() -> Result<ExitCode> {
    let (minutes, first) = arguments()?;
    let load = |what, other| -> Result<Compared> {
        let by = Differential::new(other)?;
        Ok(Compared { what, by, scenarios: 0, decisions: 0, took: Duration::ZERO })
    };
    let mut all = [
        load("host core and oracle", Other::Oracle)?,
        load("host core and bytecode, XDP", Other::Bytecode(Received::Xdp))?,
        load("host core and bytecode, TC", Other::Bytecode(Received::Tc))?,
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
                    Err(failure) => {
                        println!("{}: seed {}\n{}\n", compared.what, failure.seed, failure.says);
                        println!("{}", failure.case);
                        println!("again: cargo xtask soak --seed {}", failure.seed);
                        return Ok(ExitCode::FAILURE);
                    }
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
    for Compared { what, scenarios, decisions, took, .. } in all {
        let rate = *decisions as f64 / took.as_secs_f64().max(0.001);
        println!("{what:30} {decisions:>12} decisions in {scenarios:>8} scenarios, {rate:>9.0} per second");
    }
}

/// `--minutes N --seed S`, as `cargo xtask soak` passes them.
fn arguments() -> Result<(u64, u64)> {
    let (mut minutes, mut seed) = (5, 0);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let value = words.next().with_context(|| format!("{word} needs a number"))?;
        let number: u64 = value.parse().with_context(|| format!("{word} takes a number, not \"{value}\""))?;
        match word.as_str() {
            "--minutes" => minutes = number,
            "--seed" => seed = number,
            _ => bail!("{word} is not known: --minutes N and --seed S are"),
        }
    }
    Ok((minutes, seed))
}

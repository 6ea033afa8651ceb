//! `cargo xtask verify`: loads each program and judges its structure against `tests/structure.toml`.
//!
//! Nothing is timed: what is counted is the same in every run, and in every place where it says so.

mod measure;
mod tables;

use std::process::ExitCode;

use anyhow::{Result, bail};
use fw_tests::kernel::Kernel;
use fw_tests::structure::ceilings::{Ceilings, Difference, TOLERANCE_PERCENT};

fn main() -> Result<ExitCode> {
    let record = match std::env::args().skip(1).collect::<Vec<_>>().as_slice() {
        [] => false,
        [argument] if argument == "--record" => true,
        other => bail!("{other:?}: nothing or --record is accepted"),
    };
    let recorded = Ceilings::read()?;
    let mut seen = measure::all(&mut Kernel::load()?)?;
    seen.limits.clone_from(&recorded.limits);
    tables::print(&seen, &recorded);
    let found = recorded.compare(&seen);
    if record {
        seen.write()?;
        println!("recorded in tests/structure.toml: look at what changed there before you commit it");
        return Ok(ExitCode::SUCCESS);
    }
    Ok(verdict(&found))
}

fn verdict(found: &[Difference]) -> ExitCode {
    let falls = found.iter().filter(|difference| difference.is_fall()).count();
    if falls > 0 {
        println!("below their ceilings: {falls}; `cargo xtask verify --record` lets the ceilings follow");
    }
    let rises: Vec<&Difference> = found.iter().filter(|difference| difference.is_rise()).collect();
    if rises.is_empty() {
        println!("no figure is above its ceiling");
        return ExitCode::SUCCESS;
    }
    for rise in &rises {
        eprintln!("error: {rise}");
    }
    eprintln!(
        "above their ceilings: {} ({TOLERANCE_PERCENT} % is tolerated for sizes, nothing for calls). Find out why; if it \
         is worth it, `cargo xtask verify --record` writes the new figures, and a limit is set in tests/structure.toml",
        rises.len()
    );
    ExitCode::FAILURE
}

//! `cargo xtask verify`: what the verifier makes of each program, against a recorded ceiling.
//!
//! Instructions processed differ between kernels; the ceiling is for the kernel it was recorded on and a rise above
//! it means that a change made the programs harder to verify. The stack is bounded by the kernel itself (512 bytes
//! over the chain of calls).

use std::process::ExitCode;

use anyhow::Result;
use fw_tests::kernel::Kernel;
use fw_userspace::datapath::PROGRAMS;

/// Recorded on Linux 6.18 (limit 1,000,000), with room for a newer compiler's other choices.
const MOST_INSTRUCTIONS: u32 = 360_000;

/// Translated instructions of 8 bytes, all functions of a program together.
const MOST_TRANSLATED: u32 = 8_000;

fn main() -> Result<ExitCode> {
    let mut kernel = Kernel::load()?;
    println!(
        "{:<14} {:>22} {:>24} {:>14}",
        "program", "instructions verified", "translated instructions", "machine bytes"
    );
    let mut fits = true;
    for name in PROGRAMS {
        let (verified, translated, machine) = kernel.sizes(name)?;
        let translated = translated / 8;
        println!("{name:<14} {verified:>22} {translated:>24} {machine:>14}");
        if verified > MOST_INSTRUCTIONS || translated > MOST_TRANSLATED {
            println!(
                "{name} is above the ceiling of {MOST_INSTRUCTIONS} verified or {MOST_TRANSLATED} translated \
                 instructions; find out why before raising it"
            );
            fits = false;
        }
    }
    Ok(if fits { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

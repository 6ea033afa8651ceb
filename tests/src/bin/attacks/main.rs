//! `cargo xtask attacks`: what strangers can do to connections that they do not see, by real packets against a real
//! `fwctl load`, and against nftables with conntrack on the same rig. What each part does is in `docs/attacks.md`.
//!
//! It knows nothing of how fwctl does it: it sends frames, opens sockets, and reads `fwctl conntrack list`. Only what is
//! counted is right or wrong. The status is 1 if something is wrong with fwctl; nftables is there to be compared with.

mod begin;
mod blind;
mod entries;
mod floods;
mod forge;
mod handshakes;
mod keeper;
mod live;
mod options;
mod outgoing;
mod report;
mod reserved;
mod sequences;
mod target;
mod tricks;

use std::io;
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use clap::Parser as _;

use options::{Arguments, Options, Part};
use report::Report;

fn main() -> ExitCode {
    match attack(&Options::new(Arguments::parse())) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: the attacks cannot go on: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Whether all is right.
fn attack(options: &Options) -> Result<bool> {
    raise_limit_of_files()?;
    if options.lacks_nft() {
        println!("!! left out: nftables: it is not installed");
    }
    let start = Instant::now();
    let mut report = Report::new(options);
    for part in &options.parts {
        for filter in options.filters() {
            println!("   {}: {}", part.name(), filter.name());
            let attacked = match part {
                Part::Blind => blind::attack(options, filter, &mut report),
                Part::Handshakes => handshakes::attack(options, filter, &mut report),
                Part::Floods => floods::attack(options, filter, &mut report),
                Part::Tricks => tricks::attack(options, filter, &mut report),
            };
            attacked.with_context(|| format!("{}, {}", part.name(), filter.name()))?;
        }
    }
    println!("\n{}\n", report.table());
    let missed = report.missed();
    missed.iter().for_each(|line| println!("missed: {line}"));
    let seconds = start.elapsed().as_secs();
    println!(
        "{}, {seconds} s, seed {}. Nothing is left behind.",
        if missed.is_empty() { "All is right".to_owned() } else { format!("{} goals missed", missed.len()) },
        options.seed
    );
    Ok(missed.is_empty())
}

/// Both ends of very many connections are ours: as many files as we may have open.
fn raise_limit_of_files() -> Result<()> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: a structure that outlives the call.
    let asked = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: the same, which is only read.
    let raised = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
    ensure!([asked, raised] == [0, 0], "cannot have more files open: {}", io::Error::last_os_error());
    Ok(())
}

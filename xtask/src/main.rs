//! `cargo xtask`: one command for everything a developer does with this repository.
//!
//! Every verb is a file of its own and begins by making sure of the tools of the eBPF build.

mod attacks;
mod bench;
mod build;
mod cases;
mod ci;
mod demo;
mod dist;
mod fuzz;
mod kernels;
mod lint;
mod miri;
mod mutants;
mod run;
mod setup;
mod soak;
mod test;
mod test_tools;
mod tools;
mod verify;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

const HELP: &str = "\
Examples:
  cargo xtask demo      see it work
  cargo xtask test      prove it
  cargo xtask build -r  an optimised fwctl to install";

const SETUP_HELP: &str = "\
Tools of your own choice, remembered in target/bpf-tools/tools.env:
  FWCTL_BPF_RUSTC  a rustc with the sources of its library
  FWCTL_BPF_CARGO  its cargo (default: the one beside it)
  BPF_LINKER       a bpf-linker of the same LLVM

Example:
  FWCTL_BPF_RUSTC=/opt/rust/bin/rustc BPF_LINKER=/opt/bpf-linker cargo xtask setup";

const FUZZ_HELP: &str = "\
Examples:
  cargo xtask fuzz                       all targets, 5 minutes each
  cargo xtask fuzz history --minutes 30";

const MUTANTS_HELP: &str = "\
Examples:
  cargo xtask mutants
  cargo xtask mutants fragment   those with this word in their sentence or file";

const TEST_HELP: &str = "\
Examples:
  cargo xtask test
  cargo xtask test -- --package fw-common
  cargo xtask test -- --test traffic -- --nocapture";

const CASES_HELP: &str = "\
Examples:
  cargo xtask cases
  cargo xtask cases tracking T01";

const SOAK_HELP: &str = "\
Examples:
  cargo xtask soak --minutes 30
  cargo xtask soak --seed 4711    begin with the seed that a failure named";

const ATTACKS_HELP: &str = "\
Examples:
  cargo xtask attacks                 everything, about 20 minutes
  cargo xtask attacks --quick         a look at everything, about 7 minutes
  cargo xtask attacks blind tricks    these parts";

const BENCH_HELP: &str = "\
Examples:
  cargo xtask bench                  everything, about 15 minutes
  cargo xtask bench --quick          a look at everything
  cargo xtask bench rules reload     these parts; --list prints all";

const VERIFY_HELP: &str = "\
Examples:
  cargo xtask verify
  cargo xtask verify --record    after a change that is worth what it costs, or that made something cheaper";

const DIST_HELP: &str = "\
Everything is left in target/dist. cargo-deb is built into target/bpf-tools if it is missing.

Examples:
  cargo xtask dist
  cargo xtask dist --check   install, upgrade and purge the package, with systemd if it is there";

const KERNELS_HELP: &str = "\
Kernels, and what each printed, are kept in target/kernels; delete it for newer kernels.

Examples:
  cargo xtask kernels
  cargo xtask kernels 6.1 running";

/// Builds, tests, demonstrates and measures fwctl.
#[derive(Parser)]
#[command(
    bin_name = "cargo xtask",
    after_help = HELP
)]
struct Arguments {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Find or install the compiler and the linker of the eBPF programs; every other verb does it first
    #[command(after_help = SETUP_HELP)]
    Setup,
    /// Build fwctl with the eBPF programs in it
    #[command(after_help = "Example:\n  cargo xtask build --release")]
    Build(build::Options),
    /// Check formatting, clippy and the rules of this repository
    Lint,
    /// Run all tests (needs root)
    #[command(after_help = TEST_HELP)]
    Test(test::Options),
    /// Run every case of AWS's semantics in the core, the bytecode and on the wire, print a table (needs root)
    #[command(after_help = CASES_HELP)]
    Cases(cases::Options),
    /// Compare core, oracle and bytecode over random rules and histories (needs root)
    #[command(after_help = SOAK_HELP)]
    Soak(soak::Options),
    /// Attack fwctl and nftables as strangers would who see no packets, print a table (needs root)
    #[command(after_help = ATTACKS_HELP)]
    Attacks(attacks::Options),
    /// Show with real packets what groups and network ACLs do (needs root)
    Demo,
    /// Count what the programs hold and what the verifier spent, against recorded ceilings (needs root)
    #[command(after_help = VERIFY_HELP)]
    Verify(verify::Options),
    /// Measure against an empty program, xdp-filter and nftables; tables, JSON and plots in target/bench (needs root)
    #[command(after_help = BENCH_HELP)]
    Bench(bench::Options),
    /// Boot Debian's older kernels in QEMU and run the cases and the traffic tests there (needs root)
    #[command(after_help = KERNELS_HELP)]
    Kernels(kernels::Options),
    /// Build a static fwctl, its manual pages and completions, and the Debian package
    #[command(after_help = DIST_HELP)]
    Dist(dist::Options),
    /// Run the fuzz targets, keep what they find as regressions
    #[command(after_help = FUZZ_HELP)]
    Fuzz(fuzz::Options),
    /// Make deliberate faults in a copy of the sources: a case must catch each
    #[command(after_help = MUTANTS_HELP)]
    Mutants(mutants::Options),
    /// Run the core's tests under Miri, if it is installed
    Miri,
    /// What CI runs: lint, test, verify
    Ci,
}

fn main() -> ExitCode {
    let done = match Arguments::parse().verb {
        Verb::Setup => setup::run(),
        Verb::Build(options) => build::run(&options),
        Verb::Lint => lint::run(),
        Verb::Test(options) => test::run(&options),
        Verb::Cases(options) => cases::run(&options),
        Verb::Soak(options) => soak::run(&options),
        Verb::Attacks(options) => attacks::run(&options),
        Verb::Demo => demo::run(),
        Verb::Verify(options) => verify::run(&options),
        Verb::Bench(options) => bench::run(&options),
        Verb::Kernels(options) => kernels::run(&options),
        Verb::Dist(options) => dist::run(&options),
        Verb::Fuzz(options) => fuzz::run(&options),
        Verb::Mutants(options) => mutants::run(&options),
        Verb::Miri => miri::run(),
        Verb::Ci => ci::run(),
    };
    let Err(error) = done else { return ExitCode::SUCCESS };
    if let Some(failed) = error.downcast_ref::<run::Failed>() {
        // What failed has said why.
        return ExitCode::from(failed.status);
    }
    eprintln!("error: {error:#}");
    ExitCode::FAILURE
}

//! `cargo xtask kernels`: the tests on other kernels, in QEMU, and on the running one beside them.
//!
//! Debian's packaged kernels boot with an initramfs that holds `fwctl`, the programs of `fw-tests` and what they
//! need. What they print comes back over the serial line, and is read as the same programs' output is here.

mod debian;
mod initramfs;
mod results;
mod watched;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use crate::{run, setup};
use initramfs::{Programs, TESTS};
use results::Row;

/// Series, and the release of Debian that has it.
const KERNELS: [(&str, &str); 2] = [("6.1", "bookworm"), ("6.12", "trixie")];
const RUNNING: &str = "running";

/// What runs the programs here and, but for the first, boots them elsewhere, with the Debian package that has it.
const HOST_PROGRAMS: [(&str, &str); 5] = [
    ("setpriv", "util-linux"),
    ("qemu-system-x86_64", "qemu-system-x86"),
    ("busybox", "busybox-static"),
    ("cpio", "cpio"),
    ("strip", "binutils"),
];

/// Emulated, one takes ten to fifteen minutes, nearly all of them in the verifier; with the cases on the wire, or beside a
/// build, twice that.
const LIMIT: Duration = Duration::from_mins(40);
const MEMORY_MB: &str = "1024";

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Only these: 6.1, 6.12, running
    #[arg(value_parser = ["6.1", "6.12", RUNNING])]
    kernels: Vec<String>,
    /// Every case on the wire as well (twice the time)
    #[arg(long)]
    wire: bool,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    run::require_root("kernels")?;
    if !cfg!(target_arch = "x86_64") {
        bail!("cargo xtask kernels boots Debian's kernels for x86-64 and needs such a machine");
    }
    let minimum = stated_minimum()?;
    setup::ensure()?;
    let wanted = |name: &str| options.kernels.is_empty() || options.kernels.iter().any(|one| one == name);
    let boots = KERNELS.iter().any(|(series, _)| wanted(series));
    setup::need_programs(if boots { &HOST_PROGRAMS } else { &HOST_PROGRAMS[..1] })?;
    let programs = build(options.wire)?;

    let mut kernels = Vec::new();
    for (series, release) in KERNELS.into_iter().filter(|(series, _)| wanted(series)) {
        let kernel = debian::provide(&directory().join(series), release);
        kernels.push(kernel.with_context(|| format!("cannot get Debian's kernel {series}"))?);
    }
    // One after the other: a probe that waits for the other machine's emulator would be taken for blocked.
    let mut rows = Vec::new();
    for kernel in &kernels {
        let started = Instant::now();
        let image = initramfs::pack(kernel, &programs)?;
        let mut row = watch(&mut [machine(&kernel.image, &image)], &kernel.version, options.wire)?;
        row.finish(&kernel.version, version(&kernel.version) >= version(&minimum), started.elapsed());
        rows.push(row);
    }
    if wanted(RUNNING) {
        let started = Instant::now();
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").context("cannot tell the kernel")?;
        let release = release.trim();
        let mut row = watch(&mut programs.commands(), RUNNING, options.wire)?;
        row.finish(&format!("{release} (running)"), version(release) >= version(&minimum), started.elapsed());
        rows.push(row);
    }
    println!("\n{}", results::table(&rows));
    let failed: Vec<&str> =
        rows.iter().filter(|row| row.supported && !row.passed()).map(|row| row.kernel()).collect();
    if !failed.is_empty() {
        bail!("README states Linux {minimum} and later, but these failed: {}", failed.join(", "));
    }
    Ok(())
}

/// Runs the programs, in a machine or here, and reads what they print. It is kept beside the kernels.
fn watch(commands: &mut [Command], name: &str, wire: bool) -> Result<Row> {
    say(&format!("{name}: started"));
    fs::create_dir_all(directory()).context("cannot make target/kernels")?;
    let path = directory().join(format!("{name}.log"));
    let mut log = fs::File::create(&path).with_context(|| format!("cannot write {}", path.display()))?;
    let mut row = Row::new(wire);
    let mut ended = String::new();
    for command in commands {
        ended = watched::run(command, LIMIT, &mut log, |line| {
            if let Some(news) = row.read(line) {
                say(&format!("{name}: {news}"));
            }
        })?;
    }
    if !row.is_complete() {
        eprintln!("{name}: {ended} before everything was run; its last lines:");
        let text = fs::read_to_string(&path).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        for line in lines.iter().skip(lines.len().saturating_sub(25)) {
            eprintln!("  | {line}");
        }
        row.fault(format!("{ended} before everything was run; what it printed is in {}", path.display()));
    }
    Ok(row)
}

/// A program that is told to end when we do, whatever ends us.
fn bound(signal: &str, program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", signal]).arg(program);
    command
}

fn machine(kernel: &Path, initramfs: &Path) -> Command {
    let mut machine = bound("KILL", Path::new("qemu-system-x86_64"));
    // Five levels of page tables, which `max` has, cost the emulator more.
    machine.args(["-m", MEMORY_MB, "-smp", "1", "-cpu", "max,la57=off"]);
    // Not KVM even where there is one: what it can do differs too much from host to host.
    machine.args(["-accel", "tcg"]);
    machine.args(["-display", "none", "-monitor", "none", "-nic", "none", "-serial", "stdio", "-no-reboot"]);
    machine.args(["-append", "console=ttyS0 loglevel=3 panic=-1 mitigations=off", "-kernel"]).arg(kernel);
    machine.arg("-initrd").arg(initramfs).stdin(Stdio::null());
    machine
}

fn build(wire: bool) -> Result<Programs> {
    let fwctl = run::build_fwctl([""; 0])?;
    let check = "build --quiet --package fw-tests --bin kernel_check";
    let mut executables = run::executables(run::cargo(check.split(' ')))?;
    let mut tests = run::cargo("test --quiet --no-run --package fw-tests".split(' '));
    tests.args(TESTS.iter().flat_map(|name| ["--test", name]));
    executables.extend(run::executables(tests)?);
    let find = |name: &str| -> Result<PathBuf> {
        let is_it = |path: &&PathBuf| {
            let file = path.file_name().unwrap_or_default().to_string_lossy();
            file == name || file.strip_prefix(name).is_some_and(|rest| rest.starts_with('-'))
        };
        executables.iter().find(is_it).cloned().with_context(|| format!("cargo built no {name}"))
    };
    let tests = TESTS.iter().map(|name| find(name)).collect::<Result<_>>()?;
    Ok(Programs { fwctl, check: find("kernel_check")?, tests, wire })
}

/// What README promises has to be booted, and has to pass.
fn stated_minimum() -> Result<String> {
    let readme = fs::read_to_string(run::workspace().join("README.md")).context("cannot read README.md")?;
    let stated = readme.split("Linux ").filter_map(|rest| rest.split_once(" and later"));
    let mut stated = stated
        .map(|(version, _)| version)
        .filter(|text| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit() || b == b'.'));
    let stated = stated.next().context("README.md states no \"Linux MAJOR.MINOR and later\"")?;
    if !KERNELS.iter().any(|(series, _)| *series == stated) {
        bail!("README.md states Linux {stated} and later, which is none of those that are booted here");
    }
    Ok(stated.to_owned())
}

/// Major and minor.
fn version(text: &str) -> (u32, u32) {
    let mut numbers = text.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// Kept between runs: a second one needs no network.
fn directory() -> PathBuf {
    run::workspace().join("target/kernels")
}

fn say(what: &str) {
    println!("kernels: {what}");
}

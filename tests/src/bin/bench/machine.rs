//! What the figures were taken on, and whether it was quiet; and which CPU a thread runs on.
//!
//! It only reads: no setting of the machine is changed to look better.

use std::process::Command;
use std::{fmt, fs, io, mem, thread};

use anyhow::{Context as _, Result, ensure};
use serde::Serialize;

/// What a figure must be published with.
#[derive(Serialize)]
pub(crate) struct Machine {
    cpus: usize,
    model: String,
    kernel: String,
    jit: String,
    jit_harden: String,
    bpf_stats: String,
    spectre_v2: String,
    commit: String,
}

impl Machine {
    /// This one.
    pub(crate) fn look() -> Self {
        Self {
            cpus: thread::available_parallelism().map_or(1, std::num::NonZero::get),
            model: cpu_model().unwrap_or_else(|| "model unknown".to_owned()),
            kernel: read("/proc/sys/kernel/osrelease"),
            jit: read("/proc/sys/net/core/bpf_jit_enable"),
            jit_harden: read("/proc/sys/net/core/bpf_jit_harden"),
            bpf_stats: read("/proc/sys/kernel/bpf_stats_enabled"),
            spectre_v2: read("/sys/devices/system/cpu/vulnerabilities/spectre_v2"),
            commit: commit(),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cpus, model, kernel, jit, jit_harden, bpf_stats, spectre_v2, commit } = self;
        writeln!(out, "machine    {cpus} CPUs, {model}")?;
        writeln!(out, "kernel     Linux {kernel}, bpf_jit_enable {jit}, bpf_jit_harden {jit_harden}")?;
        writeln!(out, "           bpf_stats_enabled {bpf_stats}")?;
        writeln!(out, "mitigation {spectre_v2}")?;
        write!(out, "commit     {commit}")
    }
}

/// The load of the last minute: whoever else was at work.
pub(crate) fn load_average() -> String {
    read("/proc/loadavg").split(' ').next().unwrap_or("unknown").to_owned()
}

/// Per cent of the CPUs' time that the hypervisor gave to others since an earlier reading.
pub(crate) fn stolen_since(before: &Option<[u64; 2]>) -> Option<f64> {
    let ([stolen, all], [stolen_now, all_now]) = ((*before)?, cpu_times()?);
    (all_now > all).then(|| 100.0 * (stolen_now - stolen) as f64 / (all_now - all) as f64)
}

/// Stolen and all CPU time so far, in ticks.
pub(crate) fn cpu_times() -> Option<[u64; 2]> {
    let text = read("/proc/stat");
    // user nice system idle iowait irq softirq steal; what follows is part of the first two.
    let times: Vec<u64> =
        text.lines().next()?.split_whitespace().skip(1).map_while(|n| n.parse().ok()).collect();
    let times = times.get(..8)?;
    Some([times[7], times.iter().sum()])
}

/// Keeps this thread on the n-th CPU that it may use, or the last if there are fewer.
pub(crate) fn pin(number: usize) -> Result<()> {
    let size = size_of::<libc::cpu_set_t>();
    // SAFETY: a plain array of bits, for which all zero is the empty set.
    let mut allowed: libc::cpu_set_t = unsafe { mem::zeroed() };
    // SAFETY: 0 is this thread, and there is room for a set of the size given.
    let result = unsafe { libc::sched_getaffinity(0, size, &raw mut allowed) };
    ensure!(result == 0, "cannot ask for the CPUs of a thread: {}", io::Error::last_os_error());
    let all = libc::CPU_SETSIZE as usize;
    // SAFETY: indexes are below the size of the set.
    let cpus: Vec<usize> = (0..all).filter(|cpu| unsafe { libc::CPU_ISSET(*cpu, &allowed) }).collect();
    let cpu = *cpus.get(number).or(cpus.last()).context("a thread without a CPU")?;
    // SAFETY: as above.
    let mut one: libc::cpu_set_t = unsafe { mem::zeroed() };
    // SAFETY: it was in such a set, so it is below its size.
    unsafe { libc::CPU_SET(cpu, &mut one) };
    // SAFETY: 0 is this thread; the set is of the size given and only read.
    let result = unsafe { libc::sched_setaffinity(0, size, &raw const one) };
    ensure!(result == 0, "cannot keep a thread on CPU {cpu}: {}", io::Error::last_os_error());
    Ok(())
}

fn cpu_model() -> Option<String> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

/// The commit, and whether the tree is something else by now.
fn commit() -> String {
    let git = |arguments: &[&str]| {
        let output =
            Command::new("git").args(["-C", env!("CARGO_MANIFEST_DIR")]).args(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let Some(commit) = git(&["rev-parse", "--short=12", "HEAD"]) else { return "unknown".to_owned() };
    let clean =
        git(&["status", "--porcelain", "--untracked-files=no"]).is_some_and(|changes| changes.is_empty());
    if clean { commit } else { format!("{commit} and changes that are not committed") }
}

fn read(path: &str) -> String {
    fs::read_to_string(path).map_or_else(|_| "unknown".to_owned(), |text| text.trim().to_owned())
}

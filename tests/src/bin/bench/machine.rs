//! What the figures were taken on, and whether it was quiet.
//!
//! It only reads: no setting of the machine is changed to look better.

use std::process::Command;
use std::{fmt, fs, thread};

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

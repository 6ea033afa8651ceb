//! What large rules files cost, phase by phase, without a kernel: `cargo run --release -p fw-tests --bin bulk [NAME...]`.
//!
//! `--write DIRECTORY` writes the files instead, for `fwctl load`.

use std::path::Path;
use std::time::Instant;

use anyhow::{Context, Result};
use fw_tests::bulk::{self, Bulk};
use fw_userspace::compile::{Numbering, compile, pretend_bindings};
use fw_userspace::document;
use fw_userspace::lint::Levels;

fn main() -> Result<()> {
    let mut names: Vec<String> = std::env::args().skip(1).collect();
    let directory = (names.first().map(String::as_str) == Some("--write")).then(|| names.remove(0));
    let directory = directory.map(|_| names.remove(0));
    let wanted: Vec<Bulk> = if names.is_empty() {
        bulk::ALL.to_vec()
    } else {
        names.iter().map(|name| bulk::named(name).context(name.clone())).collect::<Result<_>>()?
    };
    if let Some(directory) = directory {
        for bulk in wanted {
            let path = Path::new(&directory).join(format!("{}.json", bulk.name));
            std::fs::write(&path, bulk.text()).with_context(|| path.display().to_string())?;
        }
        return Ok(());
    }
    println!(
        "{:<16} {:>8} {:>9} {:>9} {:>10} {:>10} {:>9} {:>9} {:>9}",
        "file", "MiB", "read ms", "check ms", "first ms", "again ms", "classes", "lines", "peak MiB"
    );
    for bulk in wanted {
        measure(bulk);
    }
    Ok(())
}

fn measure(bulk: Bulk) {
    let text = bulk.text();
    print!("{:<16} {:>8.1}", bulk.name, text.len() as f64 / f64::from(1 << 20));
    let (reading, read_ms) = timed(|| document::read(text.as_bytes()));
    let (_, check_ms) = timed(|| document::check(text.as_bytes(), &Levels::default()));
    print!(" {read_ms:>9.1} {check_ms:>9.1}");
    let Some(policy) = reading.policy else {
        let message = reading.findings.first().map(|finding| finding.message.clone());
        println!(" refused: {}", message.unwrap_or_default());
        return;
    };
    let bindings = pretend_bindings(&policy);
    let (first, first_ms) = timed(|| compile(&policy, &bindings, Numbering::default(), 1));
    print!(" {first_ms:>10.1}");
    let compiled = match first {
        Ok(compiled) => compiled,
        Err(error) => return println!(" refused: {error}"),
    };
    let numbering = compiled.numbering.clone();
    let (again, again_ms) =
        timed(|| compile(&policy, &bindings, numbering, 2).map(|again| again.fresh_slots));
    assert!(again.is_ok_and(|fresh| fresh.is_empty()), "what compiled once compiles again");
    let [ipv4, ipv6] = compiled.classes;
    println!(
        " {again_ms:>10.1} {:>9} {:>9} {:>9}",
        ipv4 + ipv6,
        compiled.patch.lines.len(),
        peak_kib().unwrap_or(0) >> 10
    );
}

fn timed<T>(run: impl FnOnce() -> T) -> (T, f64) {
    let start = Instant::now();
    let value = run();
    (value, start.elapsed().as_secs_f64() * 1000.0)
}

/// The most memory that this process ever had resident.
fn peak_kib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse().ok()
}

//! `cargo xtask mutants`: deliberate faults in a copy of the sources, each of which a case must catch.
//!
//! The faults are in [`faults`]. They are made one by one in a copy below `target/mutants`, never in the working tree,
//! and the cases of `tests/cases` run there on the host. A fault that no case catches is a case that is missing.

mod copy;
mod faults;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, anyhow, bail};

use crate::{run, setup};
use faults::{FAULTS, Fault};

/// Named in the table; there may be more.
const MOST_NAMES: usize = 4;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Only faults whose sentence or file has this in it
    containing: Option<String>,
}

/// What the cases say to the sources in the copy.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    /// All of them hold.
    Survives,
    /// These fail; none has a name if the run broke off.
    Caught(Vec<String>),
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let chosen: Vec<&Fault> = FAULTS
        .iter()
        .filter(|fault| options.containing.as_ref().is_none_or(|part| fault.has(part)))
        .collect();
    if chosen.is_empty() {
        bail!("no fault has {:?} in its sentence or file", options.containing.as_deref().unwrap_or_default());
    }
    let missing: Vec<String> =
        chosen.iter().filter_map(|fault| fault.mutated(&run::workspace()).err()).collect();
    if !missing.is_empty() {
        bail!("xtask/src/mutants/faults.rs does not fit the sources any more:\n{}", missing.join("\n"));
    }
    setup::ensure()?;
    let place = run::workspace().join("target/mutants");
    let tree = place.join("tree");
    copy::sync(&run::workspace(), &tree)?;
    let object = bpf_object()?;
    println!("mutants: building the copy and running the cases without a fault");
    if let Outcome::Caught(names) = cases(&place, &object)? {
        bail!("cases fail already without a fault: {}", names.join(", "));
    }
    let mut survivors = 0;
    for (number, fault) in (1..).zip(&chosen) {
        let outcome = with_fault(fault, &tree, || cases(&place, &object))?;
        survivors += usize::from(outcome == Outcome::Survives);
        println!("{number:2}  {:<64}  {:<36}  {}", fault.says, fault.place(), outcome.text());
    }
    if survivors > 0 {
        bail!("{survivors} of {} faults are caught by no case: write the cases", chosen.len());
    }
    println!("mutants: all {} faults are caught", chosen.len());
    Ok(())
}

/// Makes a fault in the copy, and takes it back.
fn with_fault<T>(fault: &Fault, tree: &Path, judge: impl FnOnce() -> Result<T>) -> Result<T> {
    let file = tree.join(fault.file);
    let original = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let mutated = fault.mutated(tree).map_err(|error| anyhow!(error))?;
    fs::write(&file, mutated).with_context(|| format!("cannot write {}", file.display()))?;
    let judged = judge();
    fs::write(&file, original).with_context(|| format!("cannot write {}", file.display()))?;
    judged.with_context(|| fault.says)
}

/// The bytecode has no part in it: any object will do, so the faults do not get into it.
fn bpf_object() -> Result<PathBuf> {
    if let Some(object) = std::env::var_os("FWCTL_BPF_OBJECT").filter(|path| !path.is_empty()) {
        return Ok(run::workspace().join(object));
    }
    run::visibly(&mut run::cargo(["build", "--quiet", "--package", "fw-userspace", "--lib"]))?;
    let folder = run::workspace().join("target/bpf");
    let objects = ["bpfel", "bpfeb"].map(|target| folder.join(format!("{target}-unknown-none/bpf/fw-ebpf")));
    objects.into_iter().find(|object| object.is_file()).context("the BPF object is not below target/bpf")
}

fn cases(place: &Path, object: &Path) -> Result<Outcome> {
    let cargo = |arguments: &[&str]| -> Command {
        let mut cargo = run::cargo(["test", "--quiet", "--package", "fw-tests", "--test", "semantics"]);
        cargo.args(arguments).current_dir(place.join("tree"));
        cargo.env("CARGO_TARGET_DIR", place.join("target")).env("FWCTL_BPF_OBJECT", object);
        // Faster to link; nobody looks into it with a debugger.
        cargo
            .env("CARGO_PROFILE_DEV_DEBUG", "0")
            .env("CARGO_PROFILE_TEST_DEBUG", "0")
            .env("RUST_BACKTRACE", "0");
        cargo
    };
    run::quietly(&mut cargo(&["--no-run"])).context("the copy does not compile")?;
    let output = cargo(&[]).output().context("cannot run cargo")?;
    if output.status.success() {
        return Ok(Outcome::Survives);
    }
    let text = [output.stdout, output.stderr].concat();
    Ok(Outcome::Caught(case_names(&String::from_utf8_lossy(&text))))
}

/// The names in lines like `tests/cases/tracking.toml:12: T44: a sentence`.
fn case_names(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    for line in text.lines() {
        let Some((_, rest)) = line.split_once(".toml:") else { continue };
        let mut parts = rest.splitn(3, ':').map(str::trim);
        let (Some(number), Some(name)) = (parts.next(), parts.next()) else { continue };
        if number.parse::<u32>().is_ok() && !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
    }
    names
}

impl Outcome {
    fn text(&self) -> String {
        match self {
            Self::Survives => "SURVIVES".to_owned(),
            Self::Caught(names) if names.is_empty() => "caught by a panic".to_owned(),
            Self::Caught(names) => {
                let first = names.get(..MOST_NAMES.min(names.len())).unwrap_or_default().join(", ");
                let more = names.len().saturating_sub(MOST_NAMES);
                if more == 0 { first } else { format!("{first} and {more} more") }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cases_are_named_where_they_fail() {
        let text = "2 of 9 cases fail:\n\
                    /x/tests/cases/tracking.toml:12: T44: a reply passes\n    line 14: web Inbound tcp: expected\n\
                    /x/tests/cases/tracking.toml:20: T45: another: with a colon\n";
        assert_eq!(case_names(text), ["T44", "T45"]);
        assert_eq!(case_names("error: Cargo.toml: no\n"), [""; 0]);
    }

    #[test]
    fn every_fault_fits_the_sources_and_changes_them() {
        for fault in FAULTS {
            let mutated = fault.mutated(&run::workspace()).unwrap_or_else(|error| panic!("{error}"));
            assert!(mutated.contains(fault.after), "{}", fault.says);
        }
    }
}

//! `cargo xtask test`.

use std::ffi::OsString;

use anyhow::Result;

use crate::{run, setup, test_tools};

const OPTIONS: [&str; 3] = ["--profile", "--target", "--target-dir"];

#[derive(clap::Args, Default)]
pub(crate) struct Options {
    /// Passed on to cargo test
    #[arg(last = true)]
    cargo_arguments: Vec<OsString>,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    run::require_root("test")?;
    setup::ensure()?;
    test_tools::provide();
    // fw-ebpf exists for the BPF target only.
    let selection: &[&str] = if names_packages(&options.cargo_arguments) {
        &["test"]
    } else {
        &["test", "--workspace", "--exclude", "fw-ebpf"]
    };
    run::build_fwctl(profile(&options.cargo_arguments))?;
    run::visibly(run::cargo(selection).args(&options.cargo_arguments))?;
    if options.cargo_arguments.is_empty() {
        // What is behind a feature.
        let parquet = "test --package fw-userspace --features parquet --lib flow_log";
        run::visibly(&mut run::cargo(parquet.split(' ')))?;
    }
    Ok(())
}

/// What of cargo's arguments decides where the programs are that the tests find.
fn profile(arguments: &[OsString]) -> Vec<&OsString> {
    let mut chosen = Vec::new();
    let mut own = arguments.iter().take_while(|argument| *argument != "--");
    while let Some(argument) = own.next() {
        let text = argument.to_string_lossy();
        if text == "--release" || text == "-r" || OPTIONS.iter().any(|option| is_given(&text, option)) {
            chosen.push(argument);
        } else if OPTIONS.contains(&&*text) {
            chosen.push(argument);
            chosen.extend(own.next());
        }
    }
    chosen
}

/// `--profile=dev`, in one piece.
fn is_given(argument: &str, option: &str) -> bool {
    argument.strip_prefix(option).is_some_and(|rest| rest.starts_with('='))
}

/// `--workspace` would override a choice of packages.
fn names_packages(arguments: &[OsString]) -> bool {
    let own = arguments.iter().take_while(|argument| *argument != "--");
    own.filter_map(|argument| argument.to_str())
        .any(|argument| argument.starts_with("-p") || argument.starts_with("--package"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fwctl_is_built_as_its_tests_are() {
        let profile_of = |arguments: &str| -> Vec<String> {
            let arguments: Vec<OsString> = arguments.split(' ').map(OsString::from).collect();
            profile(&arguments).into_iter().map(|argument| argument.to_string_lossy().into_owned()).collect()
        };
        assert_eq!(profile_of("--release --test traffic -- --profile x"), ["--release"]);
        assert_eq!(profile_of("--profile bench -p fw-tests -r"), ["--profile", "bench", "-r"]);
        assert_eq!(profile_of("--target-dir=x --targets y"), ["--target-dir=x"]);
    }
}

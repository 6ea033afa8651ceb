//! `cargo xtask lint`: rustfmt, clippy, and the rules of this repository that neither knows.

use std::{fs, process::Command};

use anyhow::{Result, bail};

use crate::{run, setup};

/// What a reader meets first stays short.
const TOP_LEVEL: [&str; 18] = [
    ".cargo",
    ".ci",
    ".editorconfig",
    ".gitignore",
    "CHANGELOG.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "README.md",
    "docs",
    "examples",
    "fw-common",
    "fw-ebpf",
    "fw-userspace",
    "rustfmt.toml",
    "tests",
    "xtask",
];

pub(crate) fn run() -> Result<()> {
    setup::ensure()?;
    run::visibly(&mut run::cargo(["fmt", "--all", "--check"]))?;
    // A workspace of its own.
    run::visibly(&mut run::cargo(["fmt", "--manifest-path", "tests/fuzz/Cargo.toml", "--check"]))?;
    run::visibly(&mut run::cargo(
        // With what is behind a feature: nothing is only without it.
        "clippy --quiet --workspace --exclude fw-ebpf --all-targets --features fw-userspace/parquet -- -D warnings"
            .split(' '),
    ))?;

    let Ok(files) = repository_files() else {
        println!("lint: not a git checkout: rustfmt and clippy hold, the repository's rules are not checked");
        return Ok(());
    };
    let mut findings = Vec::new();
    for file in &files {
        check_place(file, &mut findings);
        // Not text: nothing to read.
        let Ok(text) = fs::read_to_string(run::workspace().join(file)) else { continue };
        check_home_paths(file, &text, &mut findings);
        if file.starts_with("fw-common/src/") {
            check_conditional_code(file, &text, &mut findings);
        }
    }
    findings.dedup();
    for finding in &findings {
        eprintln!("error: {finding}");
    }
    if !findings.is_empty() {
        bail!("{} of the repository's rules are broken, see above", findings.len());
    }
    println!("lint: rustfmt, clippy and the rules for {} files hold", files.len());
    Ok(())
}

/// Tracked files, and those about to be.
fn repository_files() -> Result<Vec<String>> {
    let mut git = Command::new("git");
    // CI checks out as one user and runs as another.
    git.args(["-c", "safe.directory=*", "ls-files", "--cached", "--others", "--exclude-standard"]);
    let list = run::quietly(git.current_dir(run::workspace()))?;
    Ok(list.lines().filter(|file| run::workspace().join(file).exists()).map(str::to_owned).collect())
}

fn check_place(file: &str, findings: &mut Vec<String>) {
    let top = file.split('/').next().unwrap_or_default();
    if !TOP_LEVEL.contains(&top) {
        findings.push(format!("{top}: not in the list of top-level entries (xtask/src/lint.rs)"));
    }
}

/// A path of one developer's machine works nowhere else.
fn check_home_paths(file: &str, text: &str, findings: &mut Vec<String>) {
    for (number, line) in numbered(text) {
        for home in ["root", "home"] {
            let path = format!("/{home}/");
            let begins_a_path = |at: usize| {
                !line[..at].ends_with(|before: char| before.is_alphanumeric() || "_-.}$".contains(before))
            };
            if line.match_indices(&path).any(|(at, _)| begins_a_path(at)) {
                findings.push(format!("{file}:{number}: {path} is a path of one machine"));
            }
        }
    }
}

/// The core that is tested must be the core that is shipped: conditions choose whole items (which begin a
/// line), for tests and features, and never statements.
fn check_conditional_code(file: &str, text: &str, findings: &mut Vec<String>) {
    const ALLOWED: [&str; 4] = ["#[cfg(test)]", "#[cfg(feature", "#[cfg_attr(", "#![cfg_attr("];
    for (number, line) in numbered(text) {
        let code = line.split("//").next().unwrap_or_default();
        let conditional = ["cfg(", "cfg!(", "cfg_attr("].iter().any(|word| code.contains(word));
        if conditional && !ALLOWED.iter().any(|allowed| code.starts_with(allowed)) {
            findings.push(format!(
                "{file}:{number}: cfg inside an item, or of something else than test or feature"
            ));
        }
    }
}

fn numbered(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(index, line)| (index + 1, line))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(check: fn(&str, &str, &mut Vec<String>), text: &str) -> usize {
        let mut findings = Vec::new();
        check("file", text, &mut findings);
        findings.len()
    }

    #[test]
    fn conditions_choose_whole_items_for_tests_and_features() {
        let of = |text| findings(check_conditional_code, text);
        assert_eq!(of("#[cfg(test)]\nmod tests {}"), 0);
        assert_eq!(of("#[cfg(feature = \"std\")]\npub mod memory;"), 0);
        assert_eq!(of("//! never `cfg!(test)`"), 0);
        assert_eq!(of("    #[cfg(feature = \"std\")]"), 1);
        assert_eq!(of("if cfg!(test) {"), 1);
        assert_eq!(of("#[cfg(target_arch = \"bpf\")]"), 1);
    }

    #[test]
    fn only_whole_paths_below_home_directories_are_refused() {
        let home = ["/ho", "me/"].concat();
        let of = |before: &str| findings(check_home_paths, &format!("{before}{home}x"));
        assert_eq!(of("see "), 1);
        assert_eq!(of("\""), 1);
        assert_eq!(of("../shared"), 0);
        assert_eq!(of("docs.example"), 0);
    }
}

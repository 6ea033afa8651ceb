//! `cargo xtask dist`: a static fwctl, what belongs to it, and the Debian package, in `target/dist`.
//!
//! What is in the package: `[package.metadata.deb]` in `fw-userspace/Cargo.toml`, and `fw-userspace/debian`.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, anyhow, bail};

use crate::{run, setup, tools};

const CARGO_DEB_VERSION: &str = "3.8.0";
/// Shells whose completions the package has, and what they call the file.
const COMPLETIONS: [(&str, &str); 3] = [("bash", "fwctl.bash"), ("zsh", "_fwctl"), ("fish", "fwctl.fish")];

#[derive(clap::Args)]
pub(crate) struct Options {
    /// Also install, use, upgrade and purge the package in a throw-away copy of this host's file system (needs root)
    #[arg(long)]
    check: bool,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    if options.check {
        run::require_root("dist --check")?;
    }
    setup::ensure()?;
    let target = static_target()?.filter(|_| has_static_compiler());
    let mut profile = vec!["--release".to_owned()];
    match &target {
        Some(target) => profile.push(format!("--target={target}")),
        None => say(
            "WARNING: fwctl will need this machine's C library or a newer one; for a static one run `rustup target \
             add`, with the musl target of this machine, and install musl-tools",
        ),
    }
    let fwctl = run::build_fwctl(&profile)?;
    let folder = run::workspace().join("target/dist");
    let prepared = prepare(&folder, &fwctl);
    prepared.with_context(|| format!("cannot fill {}", folder.display()))?;

    if run::find_program("dpkg-deb").is_none() {
        say("no Debian package was made: there is no dpkg here");
        if options.check {
            bail!("the package cannot be checked where there is no dpkg");
        }
        return Ok(());
    }
    let cargo_deb = cargo_deb()?;
    let package = pack(&cargo_deb, target.as_deref(), None, &folder)?;
    say(&format!("made {}", package.display()));
    if options.check {
        check(&cargo_deb, target.as_deref(), &package)?;
    }
    Ok(())
}

/// The target of this machine's kind that needs no C library, if its standard library is installed.
fn static_target() -> Result<Option<String>> {
    let sysroot =
        run::quietly(Command::new("rustc").args(["--print", "sysroot"]).current_dir(run::workspace()))?;
    let target = format!("{}-unknown-linux-musl", std::env::consts::ARCH);
    let there = Path::new(sysroot.trim()).join("lib/rustlib").join(&target).is_dir();
    Ok(there.then_some(target))
}

/// What is C or assembly in the program (the ciphers of TLS) is compiled for that target too.
fn has_static_compiler() -> bool {
    let compiler = format!("{}-linux-musl-gcc", std::env::consts::ARCH);
    match setup::need_programs(&[(&compiler, "musl-tools")]) {
        Ok(()) => true,
        Err(error) => {
            say(&format!("no static fwctl: {error:#}"));
            false
        }
    }
}

/// Leaves the stripped program, completions and manual pages of it, and nothing of an earlier run.
fn prepare(folder: &Path, fwctl: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder)?;
    }
    let completions = folder.join("completions");
    fs::create_dir_all(&completions)?;
    for (shell, name) in COMPLETIONS {
        let file = File::create(completions.join(name))?;
        run::visibly(Command::new(fwctl).args(["completions", shell]).stdout(file))?;
    }
    run::quietly(Command::new(fwctl).args(["man", "--dir"]).arg(folder.join("man")))?;
    let program = folder.join("fwctl");
    run::quietly(Command::new("strip").arg("-o").arg(&program).arg(fwctl))?;
    say(&format!("made {}, manual pages and completions", program.display()));
    Ok(())
}

/// cargo-deb of our version, of an earlier setup or on PATH, else built into target/bpf-tools.
fn cargo_deb() -> Result<PathBuf> {
    let own = tools::tools_directory().join("bin/cargo-deb");
    let is_ours = |path: &PathBuf| {
        let answer = run::quietly(Command::new(path).arg("--version")).unwrap_or_default();
        answer.split_whitespace().any(|word| word == CARGO_DEB_VERSION)
    };
    let found = [Some(own.clone()), run::find_program("cargo-deb")].into_iter().flatten().find(is_ours);
    if let Some(found) = found {
        return Ok(found);
    }
    say(&format!("building cargo-deb {CARGO_DEB_VERSION} into target/bpf-tools (minutes, once)"));
    let mut install =
        run::cargo(["install", "cargo-deb", "--version", CARGO_DEB_VERSION, "--locked", "--quiet"]);
    install.args(["--force", "--root"]).arg(tools::tools_directory()).env_remove("LD_LIBRARY_PATH");
    run::visibly(&mut install).map_err(|_| {
        anyhow!(
            "cargo-deb could not be built, see above; put cargo-deb {CARGO_DEB_VERSION} on PATH and run this again"
        )
    })?;
    Ok(own)
}

/// Makes the package of what is built, into a folder.
fn pack(cargo_deb: &Path, target: Option<&str>, version: Option<&str>, folder: &Path) -> Result<PathBuf> {
    let mut pack = Command::new(cargo_deb);
    pack.current_dir(run::workspace()).args(["deb", "--quiet", "--no-build", "--package", "fw-userspace"]);
    pack.arg("--output").arg(folder);
    for (option, value) in [("--target", target), ("--deb-version", version)] {
        if let Some(value) = value {
            pack.args([option, value]);
        }
    }
    let path = run::quietly(&mut pack)?;
    // It prints where it left it.
    Ok(run::workspace().join(path.lines().last().context("cargo-deb named no package")?.trim()))
}

/// The program that does it is `tests/src/bin/package`.
fn check(cargo_deb: &Path, target: Option<&str>, package: &Path) -> Result<()> {
    let version = run::quietly(Command::new("dpkg-deb").arg("--field").arg(package).arg("Version"))?;
    let folder = run::workspace().join("target/dist/check");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let newer = pack(cargo_deb, target, Some(&format!("{}+check", version.trim())), &folder)?;
    let mut check = run::cargo("run --quiet --package fw-tests --bin package --".split(' '));
    let checked = run::visibly(check.arg(package).arg(newer));
    fs::remove_dir_all(&folder).with_context(|| format!("cannot remove {}", folder.display()))?;
    checked
}

fn say(what: &str) {
    println!("dist: {what}");
}

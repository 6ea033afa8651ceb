//! `cargo xtask setup`: the compiler and the linker of the eBPF programs, found or installed.
//!
//! A stable rustup toolchain has no library sources for the BPF target, so the programs need a second
//! compiler. Leaves the user's default toolchain alone.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, anyhow, bail};

use crate::{
    run, test_tools,
    tools::{self, Compiler, Linker},
};

const LINKER_VERSION: &str = "0.13.0";
/// The features `llvm-N` of that release.
const LINKER_LLVMS: std::ops::RangeInclusive<u32> = 21..=23;
/// Conflict with Debian's own `rustc`, not with a rustup installation.
const DEBIAN_COMPILER: [&str; 3] = ["rustc-web", "cargo-web", "rust-web-src"];
/// What the tests and the demo run, with the Debian package that has it.
const HOST_PROGRAMS: [(&str, &str); 3] = [("ip", "iproute2"), ("tc", "iproute2"), ("ping", "iputils-ping")];

/// The verb: says what is used, even when nothing had to be done.
pub(crate) fn run() -> Result<()> {
    let (compiler, linker) = provide()?;
    test_tools::provide();
    say(&format!(
        "ready: rustc {} ({}), bpf-linker {} ({}), LLVM {}",
        compiler.release,
        compiler.rustc.display(),
        linker.version,
        linker.path.display(),
        compiler.llvm
    ));
    Ok(())
}

/// The first step of other verbs: silent when nothing has to be done.
pub(crate) fn ensure() -> Result<()> {
    provide().map(drop)
}

fn provide() -> Result<(Compiler, Linker)> {
    provide_host_programs();
    let (compiler, linker) = match recorded() {
        Some(tools) => tools,
        None => find_or_install()?,
    };
    record(&compiler, &linker)?;
    Ok((compiler, linker))
}

/// The tools of the last setup, if they still answer and the environment asks for no others.
fn recorded() -> Option<(Compiler, Linker)> {
    let text = fs::read_to_string(tools::tools_file()).ok()?;
    let value = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    let compiler = match Compiler::named() {
        Some(named) => named.ok()?,
        None => Compiler::probe(Path::new(value("RUSTC")?), Path::new(value("CARGO")?)).ok()?,
    };
    let linker = match Linker::named(compiler.llvm) {
        Some(named) => named.ok()?,
        None => Linker::probe(Path::new(value("LINKER")?), compiler.llvm).ok()?,
    };
    Some((compiler, linker))
}

fn find_or_install() -> Result<(Compiler, Linker)> {
    Linker::check_named()?;
    if let Some(compiler) = Compiler::named() {
        let compiler = compiler?;
        say(&format!("using rustc {} named by FWCTL_BPF_RUSTC", compiler.release));
        let linker = linker_for(&compiler)?;
        return Ok((compiler, linker));
    }
    type Source = fn() -> Result<Compiler>;
    let sources: [(&str, Source); 4] = [
        ("rustup's nightly", Compiler::nightly),
        ("the distribution's compiler", Compiler::packaged),
        ("installing rust-src for rustup's nightly", install_nightly),
        ("installing Debian's compiler", install_packaged),
    ];
    for (name, source) in sources {
        let found = source().and_then(|compiler| {
            say(&format!("using rustc {} at {}", compiler.release, compiler.rustc.display()));
            let linker = linker_for(&compiler)?;
            Ok((compiler, linker))
        });
        match found {
            Ok(tools) => return Ok(tools),
            Err(error) => say(&format!("not {name}: {error:#}")),
        }
    }
    bail!(
        "no compiler for the BPF target: name one that has rust-src in FWCTL_BPF_RUSTC and a bpf-linker of \
         the same LLVM in BPF_LINKER, and run `cargo xtask setup` again"
    )
}

/// Adds the component to the nightly that is there rather than updating it: it is the user's.
fn install_nightly() -> Result<Compiler> {
    if run::find_program("rustup").is_none() {
        bail!("rustup is not installed");
    }
    let rustup = |arguments: &[&str]| run::quietly(Command::new("rustup").args(arguments));
    if rustup(&["which", "--toolchain", "nightly", "rustc"]).is_ok() {
        say("adding rust-src to rustup's nightly");
        rustup(&["component", "add", "rust-src", "--toolchain", "nightly"])?;
    } else {
        say("installing rustup's nightly with rust-src, beside the default toolchain");
        rustup(&["toolchain", "install", "nightly", "--profile", "minimal", "--component", "rust-src"])?;
    }
    Compiler::nightly()
}

fn install_packaged() -> Result<Compiler> {
    install_packages(&DEBIAN_COMPILER)?;
    Compiler::packaged()
}

fn linker_for(compiler: &Compiler) -> Result<Linker> {
    let llvm = compiler.llvm;
    if let Some(named) = Linker::named(llvm) {
        return named;
    }
    if let Some(linker) = Linker::installed(llvm) {
        say(&format!("using bpf-linker {} at {}", linker.version, linker.path.display()));
        return Ok(linker);
    }
    if !LINKER_LLVMS.contains(&llvm) {
        bail!(
            "bpf-linker {LINKER_VERSION} cannot be built for LLVM {llvm}, which rustc {} has",
            compiler.release
        );
    }
    let prefix = llvm_development_files(llvm)?;
    say(&format!(
        "building bpf-linker {LINKER_VERSION} for LLVM {llvm} into target/bpf-tools (minutes, once)"
    ));
    install_linker(llvm, &prefix)?;
    Linker::probe(&tools::own_linker(), llvm)
}

fn llvm_development_files(llvm: u32) -> Result<PathBuf> {
    // Debian's place, and that of LLVM's own packages for Debian and its kin.
    let prefix = PathBuf::from(format!("/usr/lib/llvm-{llvm}"));
    let library = prefix.join("lib/libLLVM.so");
    if !library.exists() {
        install_packages(&[&format!("llvm-{llvm}-dev")])?;
    }
    if !library.exists() {
        bail!("there is no {}", library.display());
    }
    Ok(prefix)
}

fn install_linker(llvm: u32, prefix: &Path) -> Result<()> {
    let mut install =
        run::cargo(["install", "bpf-linker", "--version", LINKER_VERSION, "--locked", "--quiet"]);
    install.args(["--force", "--no-default-features", "--features", &format!("llvm-{llvm}"), "--root"]);
    install.arg(tools::tools_directory());
    // Without it, it takes the first llvm-config on PATH, whatever its version.
    install.env("LLVM_PREFIX", prefix);
    run::visibly(install.env_remove("LD_LIBRARY_PATH"))
        .map_err(|_| anyhow!("bpf-linker could not be built, see above"))
}

/// Missing ones stop only what needs them, so a failure is said and no more.
fn provide_host_programs() {
    if let Err(error) = need_programs(&HOST_PROGRAMS) {
        say(&format!("tests and demo will lack programs: {error:#}"));
    }
}

/// Installs the packages of those that are missing, each by itself where they do not go together. An error names
/// those that are missing still, and how to get them.
pub(crate) fn need_programs(programs: &[(&str, &str)]) -> Result<()> {
    let missing = || programs.iter().filter(|(program, _)| run::find_program(program).is_none());
    let mut packages: Vec<&str> = missing().map(|(_, package)| *package).collect();
    packages.dedup();
    if packages.is_empty() {
        return Ok(());
    }
    let mut refusals = Vec::new();
    if let Err(error) = install_packages(&packages) {
        let one_by_one = packages.len() > 1 && run::is_root() && run::find_program("apt-get").is_some();
        for package in packages {
            let refusal = if one_by_one { apt_install(&[package]).err() } else { Some(anyhow!("{error:#}")) };
            refusals.extend(refusal.map(|refusal| (package, refusal)));
        }
    }
    let missing: Vec<String> = missing()
        .map(|(program, package)| {
            let refusal = refusals.iter().find(|(refused, _)| refused == package);
            let why = refusal.map_or_else(
                || "the package is installed, but the program is not on PATH".to_owned(),
                |(_, error)| format!("{error:#}"),
            );
            format!("  {program}, of Debian's package {package}: {why}")
        })
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    bail!("these programs are missing; any way to get them on PATH will do:\n{}", missing.join("\n"))
}

/// With apt-get, as root.
pub(crate) fn install_packages(packages: &[&str]) -> Result<()> {
    let list = packages.join(" ");
    if run::find_program("apt-get").is_none() {
        bail!("{list} are Debian's packages and there is no apt-get here");
    }
    if !run::is_root() {
        bail!(
            "installing packages needs root: run `apt-get install --no-install-recommends {list}` as root, then \
             this again"
        );
    }
    say(&format!("installing {list} with apt-get"));
    if apt(&["install"], packages).is_ok() {
        return Ok(());
    }
    update_package_lists();
    apt_install(packages)
}

/// They are missing in a new container, and name deleted versions in an old one. A failure is said and no more.
pub(crate) fn update_package_lists() {
    say("updating the package lists with apt-get");
    if let Err(error) = apt(&["update"], &[]) {
        say(&format!("the package lists could not be updated: {error:#}"));
    }
}

/// An error says what apt-get would have to remove, if that is the reason.
fn apt_install(packages: &[&str]) -> Result<()> {
    let Err(error) = apt(&["install"], packages) else { return Ok(()) };
    let mut simulation = Command::new("apt-get");
    simulation.args(["-qq", "--simulate", "--no-install-recommends", "install"]).args(packages);
    let plan = run::quietly(&mut simulation).unwrap_or_default();
    let removed = removed(&plan);
    if removed.is_empty() {
        return Err(error);
    }
    let (list, removed) = (packages.join(" "), removed.join(" "));
    bail!(
        "installing {list} would remove {removed}, which is yours to decide: \
         `apt-get install --no-install-recommends {list}`"
    )
}

/// From lines like `Remv qemu-utils [1:7.2]`.
fn removed(plan: &str) -> Vec<&str> {
    plan.lines().filter_map(|line| line.strip_prefix("Remv ")?.split(' ').next()).collect()
}

fn apt(verb: &[&str], packages: &[&str]) -> Result<()> {
    let mut apt = Command::new("apt-get");
    // Never at the price of something that the user has installed.
    apt.args(["-qq", "-y", "--no-install-recommends", "--no-remove"]).args(verb).args(packages);
    run::quietly(apt.env("DEBIAN_FRONTEND", "noninteractive")).map(drop)
}

/// Writes only what changed: the build script is run again when the file's time changes.
fn record(compiler: &Compiler, linker: &Linker) -> Result<()> {
    let file = tools::tools_file();
    let text = format!(
        "# Written by `cargo xtask setup`, read by fw-userspace/build.rs.\n\
         CARGO={}\nRUSTC={}\nLINKER={}\nBOOTSTRAP={}\n",
        compiler.cargo.display(),
        compiler.rustc.display(),
        linker.path.display(),
        u8::from(compiler.bootstrap)
    );
    if fs::read_to_string(&file).is_ok_and(|old| old == text) {
        return Ok(());
    }
    fs::create_dir_all(tools::tools_directory())
        .and_then(|()| fs::write(&file, text))
        .with_context(|| format!("cannot write {}", file.display()))
}

pub(crate) fn say(what: &str) {
    println!("setup: {what}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_be_removed_is_named() {
        let plan = "Remv qemu-utils [1:7.2]\nInst qemu-system-x86 (1:7.2 Debian:12)\nRemv other [2]\n";
        assert_eq!(removed(plan), ["qemu-utils", "other"]);
        assert_eq!(removed("Inst cpio (2.13)\n"), [""; 0]);
    }

    #[test]
    fn a_program_that_is_there_needs_no_package() {
        assert!(need_programs(&[("sh", "no-such-package")]).is_ok());
    }
}

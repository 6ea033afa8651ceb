//! The compilers and linkers on this machine that could build for BPF. Looks only, installs nothing.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::run;

/// `rust-version` of the workspace: an older compiler refuses the sources.
const OLDEST_RUSTC: (u32, u32) = (1, 95);

/// A compiler and the cargo that belongs to it.
#[derive(Debug)]
pub(crate) struct Compiler {
    pub(crate) cargo: PathBuf,
    pub(crate) rustc: PathBuf,
    pub(crate) release: String,
    /// Its major version of LLVM, which the linker must share.
    pub(crate) llvm: u32,
    /// Not a nightly: has to be told to accept `-Z build-std`.
    pub(crate) bootstrap: bool,
}

impl Compiler {
    /// Asks a compiler about itself; one that cannot build for BPF is an error.
    pub(crate) fn probe(rustc: &Path, cargo: &Path) -> Result<Self> {
        let about = run::quietly(Command::new(rustc).arg("-vV"))?;
        let field = |name: &str| about.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let release = field("release:").context("rustc -vV names no release")?.to_owned();
        let llvm =
            field("LLVM version:").and_then(leading_number).context("rustc -vV names no LLVM version")?;

        let mut parts = release.split('.').map(|part| leading_number(part).unwrap_or(0));
        if (parts.next().unwrap_or(0), parts.next().unwrap_or(0)) < OLDEST_RUSTC {
            bail!("rustc {release} is older than {}.{}", OLDEST_RUSTC.0, OLDEST_RUSTC.1);
        }
        let sysroot = run::quietly(Command::new(rustc).args(["--print", "sysroot"]))?;
        if !Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/core").is_dir() {
            bail!("rustc {release} comes without rust-src, the sources of its library");
        }
        if !cargo.is_file() {
            bail!("there is no cargo at {}", cargo.display());
        }
        let bootstrap = !release.contains("nightly");
        Ok(Self { cargo: cargo.to_owned(), rustc: rustc.to_owned(), release, llvm, bootstrap })
    }

    /// The compiler named by `FWCTL_BPF_RUSTC`.
    pub(crate) fn named() -> Option<Result<Self>> {
        let rustc = PathBuf::from(non_empty("FWCTL_BPF_RUSTC")?);
        let cargo = non_empty("FWCTL_BPF_CARGO").map_or_else(|| rustc.with_file_name("cargo"), PathBuf::from);
        Some(Self::probe(&rustc, &cargo).context("FWCTL_BPF_RUSTC"))
    }

    /// The nightly of rustup, by its real path: the proxies would ask `RUSTUP_TOOLCHAIN` first.
    pub(crate) fn nightly() -> Result<Self> {
        let rustc = run::quietly(Command::new("rustup").args(["which", "--toolchain", "nightly", "rustc"]))?;
        let rustc = Path::new(rustc.trim());
        Self::probe(rustc, &rustc.with_file_name("cargo"))
    }

    /// The compiler that the distribution packages.
    pub(crate) fn packaged() -> Result<Self> {
        Self::probe(Path::new("/usr/bin/rustc"), Path::new("/usr/bin/cargo"))
    }
}

/// A `bpf-linker`.
pub(crate) struct Linker {
    pub(crate) path: PathBuf,
    pub(crate) version: String,
}

impl Linker {
    /// Asks a linker for its version; one of another LLVM is an error.
    pub(crate) fn probe(path: &Path, llvm: u32) -> Result<Self> {
        let version = Self::version_of(path)?;
        // A static build cannot be asked; its users chose it.
        if let Some(own) = linked_llvm(path)?.filter(|own| *own != llvm) {
            bail!("{} is of LLVM {own}, the compiler of LLVM {llvm}", path.display());
        }
        Ok(Self { path: path.to_owned(), version })
    }

    fn version_of(path: &Path) -> Result<String> {
        let answer = run::quietly(Command::new(path).arg("--version"))?;
        let version = answer.trim().strip_prefix("bpf-linker ");
        version.map(str::to_owned).with_context(|| format!("{} is not a bpf-linker", path.display()))
    }

    /// Refuses a `BPF_LINKER` that no compiler could use, before anything is installed for it.
    pub(crate) fn check_named() -> Result<()> {
        let Some(path) = non_empty("BPF_LINKER") else { return Ok(()) };
        Self::version_of(Path::new(&path)).map(drop).context("BPF_LINKER")
    }

    /// The linker named by `BPF_LINKER`.
    pub(crate) fn named(llvm: u32) -> Option<Result<Self>> {
        let path = PathBuf::from(non_empty("BPF_LINKER")?);
        Some(Self::probe(&path, llvm).context("BPF_LINKER"))
    }

    /// Ours of an earlier setup, or the user's.
    pub(crate) fn installed(llvm: u32) -> Option<Self> {
        let candidates = [Some(own_linker()), run::find_program("bpf-linker")];
        candidates
            .into_iter()
            .flatten()
            .filter(|path| path.is_file())
            .find_map(|path| Self::probe(&path, llvm).ok())
    }
}

/// The major version in the name of the LLVM library that a program loads, if it loads one.
fn linked_llvm(program: &Path) -> Result<Option<u32>> {
    const SONAME: &[u8] = b"libLLVM.so.";
    let image = fs::read(program).with_context(|| format!("cannot read {}", program.display()))?;
    let at = image.windows(SONAME.len()).position(|window| window == SONAME);
    let version = at.and_then(|at| image.get(at + SONAME.len()..at + SONAME.len() + 4));
    Ok(version.and_then(|version| leading_number(&String::from_utf8_lossy(version))))
}

/// Where setup leaves what it installs and what it found. Below the workspace even if the target directory
/// is elsewhere: the build script of fw-userspace has to find it.
pub(crate) fn tools_directory() -> PathBuf {
    run::workspace().join("target/bpf-tools")
}

/// Read by the build script of fw-userspace.
pub(crate) fn tools_file() -> PathBuf {
    tools_directory().join("tools.env")
}

/// The linker that setup installs.
pub(crate) fn own_linker() -> PathBuf {
    tools_directory().join("bin/bpf-linker")
}

fn non_empty(variable: &str) -> Option<String> {
    env::var(variable).ok().filter(|value| !value.is_empty())
}

fn leading_number(text: &str) -> Option<u32> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    text.get(..digits)?.parse().ok()
}

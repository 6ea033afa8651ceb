//! Builds `fw-ebpf` for the BPF target and leaves the object in `$OUT_DIR/fw-ebpf.o`, to be embedded.
//!
//! Never installs anything: the compiler and the linker are those that `cargo xtask setup` wrote down in
//! `<workspace>/target/bpf-tools/tools.env` (there even when `CARGO_TARGET_DIR` points elsewhere), or
//! those of `FWCTL_BPF_RUSTC`, `FWCTL_BPF_CARGO` and `BPF_LINKER`.
//!
//! `FWCTL_BPF_OBJECT` names an object that is there already, to be embedded instead: nothing is built for BPF then, and
//! neither compiler nor linker is asked for. For packagers, and for builds of the host side alone. Whether it was built
//! of these sources is theirs to know.

use std::{
    collections::HashMap,
    env, fs,
    path::{Path, PathBuf},
    process::{Command, exit},
};

const OBJECT_VARIABLE: &str = "FWCTL_BPF_OBJECT";
const TOOLS_FILE: &str = "target/bpf-tools/tools.env";

fn main() {
    let crate_dir = PathBuf::from(cargo_var("CARGO_MANIFEST_DIR"));
    let Some(workspace) = crate_dir.parent() else { fail("the crate has no workspace above it") };

    println!("cargo::rerun-if-env-changed={OBJECT_VARIABLE}");
    if let Some(object) = env::var_os(OBJECT_VARIABLE).filter(|path| !path.is_empty()) {
        return embed_prebuilt(workspace, Path::new(&object));
    }
    let tools = Tools::find(&workspace.join(TOOLS_FILE));
    let target = format!("bpf{}-unknown-none", endian_suffix());
    // Shared by the profiles of the outer build, and never the directory that the outer cargo has locked.
    let target_dir = workspace.join("target/bpf");

    build(workspace, &tools, &target, &target_dir);

    embed(&target_dir.join(&target).join("bpf/fw-ebpf"));
    // Last, for a build script that fails is run again anyhow, and cargo shows all that it printed.
    declare_inputs(workspace);
}

fn embed(object: &Path) {
    let embedded = Path::new(&cargo_var("OUT_DIR")).join("fw-ebpf.o");
    if let Err(error) = fs::copy(object, &embedded) {
        fail(&format!("cannot copy {} to {}: {error}", object.display(), embedded.display()));
    }
}

/// Embeds the object of `FWCTL_BPF_OBJECT`; a relative path counts from the workspace.
fn embed_prebuilt(workspace: &Path, object: &Path) {
    let object = workspace.join(object);
    println!("cargo::rerun-if-changed={}", object.display());
    let image = match fs::read(&object) {
        Ok(image) => image,
        Err(error) => {
            fail(&format!("{OBJECT_VARIABLE}: cannot read {:?}: {error}", object.display().to_string()))
        }
    };
    if let Err(what) = check_elf(&image) {
        fail(&format!(
            "{OBJECT_VARIABLE}: {:?} is {what}, an object is taken that was compiled for bpf{}-unknown-none",
            object.display().to_string(),
            endian_suffix()
        ));
    }
    embed(&object);
}

/// Says what a file is that is no BPF object of the target's byte order (ELF-64: class at 4, byte order at 5, machine
/// at 18).
fn check_elf(image: &[u8]) -> Result<(), &'static str> {
    const EM_BPF: u16 = 247;
    let Some(header) = image.get(..64).filter(|header| header.starts_with(b"\x7fELF")) else {
        return Err("no ELF file");
    };
    let big = match header[5] {
        1 => false,
        2 => true,
        _ => return Err("an ELF file of no known byte order"),
    };
    let machine = [header[18], header[19]];
    let machine = if big { u16::from_be_bytes(machine) } else { u16::from_le_bytes(machine) };
    if machine != EM_BPF || header[4] != 2 {
        return Err("an ELF file of another machine than BPF");
    }
    if big != (endian_suffix() == "eb") { Err("a BPF object of the other byte order") } else { Ok(()) }
}

fn declare_inputs(workspace: &Path) {
    // The workspace's own manifest holds the profile, the lock file the version of aya-ebpf.
    for input in ["fw-ebpf", "fw-common", "Cargo.toml", "Cargo.lock", TOOLS_FILE] {
        println!("cargo::rerun-if-changed={}", workspace.join(input).display());
    }
    for variable in ["FWCTL_BPF_RUSTC", "FWCTL_BPF_CARGO", "BPF_LINKER"] {
        println!("cargo::rerun-if-env-changed={variable}");
    }
}

fn build(workspace: &Path, tools: &Tools, target: &str, target_dir: &Path) {
    let mut cargo = Command::new(&tools.cargo);
    cargo.current_dir(workspace);
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(belongs_to_outer_build) {
            cargo.env_remove(&name);
        }
    }
    cargo.env("RUSTC", &tools.rustc);
    if tools.bootstrap {
        cargo.env("RUSTC_BOOTSTRAP", "1");
    }
    cargo.env("CARGO_ENCODED_RUSTFLAGS", rustflags(tools).join("\u{1f}"));
    // Quiet: what is left on stderr is diagnostics.
    cargo.args(["build", "--quiet", "--locked", "--package", "fw-ebpf", "--bin", "fw-ebpf"]);
    cargo.args(["--profile", "bpf", "-Zbuild-std=core", "--target", target]);
    cargo.arg("--target-dir").arg(target_dir);

    let output = match cargo.output() {
        Ok(output) => output,
        Err(error) => fail(&format!(
            "cannot run {}: {error}: run `cargo xtask setup` to find the tools again",
            tools.cargo
        )),
    };
    let diagnostics = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        eprint!("{diagnostics}");
        exit(1);
    }
    for line in diagnostics.lines().filter(|line| !line.is_empty()) {
        println!("cargo::warning={line}");
    }
}

/// Whether an environment variable describes the host build around us. Where crates come from, and how
/// the network is reached, is the same for both builds.
fn belongs_to_outer_build(name: &str) -> bool {
    const SHARED: [&str; 8] = [
        "CARGO_HOME",
        "CARGO_HTTP_",
        "CARGO_MAKEFLAGS",
        "CARGO_NET_",
        "CARGO_REGISTR",
        "CARGO_SOURCE_",
        "CARGO_TERM_",
        "RUSTUP_HOME",
    ];
    // The outer cargo prepends the library directory of its own compiler, of another LLVM.
    name == "LD_LIBRARY_PATH"
        || (name.starts_with("CARGO") || name.starts_with("RUST"))
            && !SHARED.iter().any(|shared| name.starts_with(shared))
}

fn rustflags(tools: &Tools) -> Vec<String> {
    vec![
        format!("-Clinker={}", tools.linker),
        // aya-ebpf picks the layout of `pt_regs` by it.
        format!("--cfg=bpf_target_arch=\"{}\"", bpf_target_arch()),
        // 32-bit jumps and arithmetic: Linux 5.1, shorter and faster code than the default.
        "-Ctarget-cpu=v3".to_owned(),
        // BTF of maps and programs is made from debug information.
        "-Cdebuginfo=2".to_owned(),
        "-Clink-arg=--btf".to_owned(),
    ]
}

fn bpf_target_arch() -> String {
    let arch = cargo_var("CARGO_CFG_TARGET_ARCH");
    // riscv64gc and its kin are one architecture to aya.
    if arch.starts_with("riscv64") { "riscv64".to_owned() } else { arch }
}

fn endian_suffix() -> &'static str {
    if cargo_var("CARGO_CFG_TARGET_ENDIAN") == "big" { "eb" } else { "el" }
}

/// The compiler pair and the linker of the BPF build.
struct Tools {
    cargo: String,
    rustc: String,
    linker: String,
    /// A stable compiler has to be told to accept `-Z build-std`.
    bootstrap: bool,
}

impl Tools {
    fn find(file: &Path) -> Self {
        let text = fs::read_to_string(file).unwrap_or_default();
        let recorded: HashMap<&str, &str> = text.lines().filter_map(|line| line.split_once('=')).collect();
        let chosen = |variable: &str, key: &str| {
            let from_file = recorded.get(key).map(|value| (*value).to_owned());
            env::var(variable).ok().filter(|value| !value.is_empty()).or(from_file)
        };
        let tools = (
            chosen("FWCTL_BPF_CARGO", "CARGO"),
            chosen("FWCTL_BPF_RUSTC", "RUSTC"),
            chosen("BPF_LINKER", "LINKER"),
        );
        let (Some(cargo), Some(rustc), Some(linker)) = tools else {
            fail("no compiler for the BPF target is known: run `cargo xtask setup` once")
        };
        // Harmless for a nightly, needed by any other: so a compiler named by hand always gets it.
        let bootstrap = recorded.get("BOOTSTRAP") != Some(&"0") || env::var_os("FWCTL_BPF_RUSTC").is_some();
        Self { cargo, rustc, linker, bootstrap }
    }
}

/// A variable that cargo always sets for build scripts.
fn cargo_var(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| fail(&format!("{name} is not set: this is a build script of cargo")))
}

/// Stops the build with one line. Status 0, because for any other cargo adds the path of this script, its
/// status and all it printed; the error alone fails the build.
fn fail(message: &str) -> ! {
    println!("cargo::error={message}");
    exit(0)
}

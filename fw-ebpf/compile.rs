//! Compiles a binary of this crate for BPF: what the build scripts of `fw-userspace` and `tests` share.
//!
//! Never installs anything: the compiler and the linker are those that `cargo xtask setup` wrote down in
//! `<workspace>/target/bpf-tools/tools.env` (there even when `CARGO_TARGET_DIR` points elsewhere), or
//! those of `FWCTL_BPF_RUSTC`, `FWCTL_BPF_CARGO` and `BPF_LINKER`.

use std::{
    collections::HashMap,
    env, fs,
    path::{Path, PathBuf},
    process::{Command, exit},
};

/// Names an object that is there already: nothing is compiled for BPF then.
pub(crate) const OBJECT_VARIABLE: &str = "FWCTL_BPF_OBJECT";
const TOOLS_FILE: &str = "target/bpf-tools/tools.env";

/// The directory above that of the crate that is built.
pub(crate) fn workspace() -> PathBuf {
    let crate_dir = PathBuf::from(cargo_var("CARGO_MANIFEST_DIR"));
    let Some(workspace) = crate_dir.parent() else { fail("the crate has no workspace above it") };
    workspace.to_owned()
}

/// The object that the environment names.
pub(crate) fn prebuilt() -> Option<PathBuf> {
    println!("cargo::rerun-if-env-changed={OBJECT_VARIABLE}");
    env::var_os(OBJECT_VARIABLE).filter(|path| !path.is_empty()).map(PathBuf::from)
}

/// Leaves an empty file in `$OUT_DIR/NAME.o`. `fw-userspace` has no use for it.
#[allow(dead_code, reason = "this file is part of two build scripts")]
pub(crate) fn leave_nothing(name: &str) {
    let empty = Path::new(&cargo_var("OUT_DIR")).join(format!("{name}.o"));
    if let Err(error) = fs::write(&empty, []) {
        fail(&format!("cannot write {}: {error}", empty.display()));
    }
}

/// Compiles the binary and leaves it in `$OUT_DIR/NAME.o`.
pub(crate) fn compile(workspace: &Path, name: &str) {
    let tools = Tools::find(&workspace.join(TOOLS_FILE));
    let target = format!("bpf{}-unknown-none", endian_suffix());
    // Shared by the profiles of the outer build, and never the directory that the outer cargo has locked.
    let target_dir = workspace.join("target/bpf");

    build(workspace, name, &tools, &target, &target_dir);

    leave(&target_dir.join(&target).join("bpf").join(name), name);
    // Last, for a build script that fails is run again anyhow, and cargo shows all that it printed.
    declare_inputs(workspace);
}

/// Copies an object to `$OUT_DIR/NAME.o`.
pub(crate) fn leave(object: &Path, name: &str) {
    let left = Path::new(&cargo_var("OUT_DIR")).join(format!("{name}.o"));
    if let Err(error) = fs::copy(object, &left) {
        fail(&format!("cannot copy {} to {}: {error}", object.display(), left.display()));
    }
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

fn build(workspace: &Path, name: &str, tools: &Tools, target: &str, target_dir: &Path) {
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
    cargo.args(["build", "--quiet", "--locked", "--package", "fw-ebpf", "--bin", name]);
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

pub(crate) fn endian_suffix() -> &'static str {
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
pub(crate) fn cargo_var(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| fail(&format!("{name} is not set: this is a build script of cargo")))
}

/// Stops the build with one line. Status 0, because for any other cargo adds the path of this script, its
/// status and all it printed; the error alone fails the build.
pub(crate) fn fail(message: &str) -> ! {
    println!("cargo::error={message}");
    exit(0)
}

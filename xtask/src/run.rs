//! Running other programs, and where and as whom we run.

use std::{
    env,
    ffi::OsStr,
    fmt, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

/// A program that ended with another status than 0, and has told the user about it itself.
#[derive(Debug)]
pub(crate) struct Failed {
    pub(crate) status: u8,
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a command ended with status {}", self.status)
    }
}

impl std::error::Error for Failed {}

/// The root of the workspace.
pub(crate) fn workspace() -> PathBuf {
    // At run time, if there: two copies of the tree may share one target directory, and so this program.
    let crate_dir = env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    Path::new(&crate_dir).parent().map_or_else(|| PathBuf::from("."), Path::to_path_buf)
}

/// The cargo that runs us, in the workspace.
pub(crate) fn cargo<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(workspace());
    command
}

/// Runs a command on the user's terminal; another status than 0 is [`Failed`].
pub(crate) fn visibly(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot run {}", name(command)))?;
    if status.success() {
        return Ok(());
    }
    let status = status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
    Err(Failed { status }.into())
}

/// Runs a command out of sight and returns its stdout; a failure carries the line that names its cause.
pub(crate) fn quietly(command: &mut Command) -> Result<String> {
    let name = name(command);
    // LD_LIBRARY_PATH of `cargo run` names the libraries of the user's compiler, maybe of another LLVM.
    command.env_remove("LD_LIBRARY_PATH").stdin(Stdio::null());
    let output = command.output().with_context(|| format!("cannot run {name}"))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!("{name}: {}", reason(&stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs a `cargo build` or `cargo test --no-run` on the user's terminal; the programs that it made.
pub(crate) fn executables(mut command: Command) -> Result<Vec<PathBuf>> {
    const KEY: &str = "\"executable\":\"";
    command.arg("--message-format=json-render-diagnostics").stderr(Stdio::inherit());
    let output = command.output().context("cannot run cargo")?;
    if !output.status.success() {
        return Err(Failed { status: 1 }.into());
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let of_line = |line: &str| Some(PathBuf::from(line.split_once(KEY)?.1.split('"').next()?));
    Ok(text.lines().filter_map(of_line).collect())
}

/// Builds `fwctl` for those that run it as a program: cargo builds no binary of a dependency, and an old one that is
/// left there would be run instead. `profile` is of cargo's options. Returns where it is.
pub(crate) fn build_fwctl<S: AsRef<OsStr>>(profile: impl IntoIterator<Item = S>) -> Result<PathBuf> {
    let mut build = cargo("build --quiet --package fw-userspace --bin fwctl".split(' '));
    build.args(profile);
    executables(build)?.pop().context("cargo built no fwctl")
}

/// The line that names the cause: apt and rustup mark it, others end with it.
fn reason(stderr: &str) -> &str {
    let marked = |line: &&str| line.starts_with("error: ") || line.starts_with("E: ");
    let last = || stderr.lines().rfind(|line| !line.trim().is_empty());
    stderr.lines().find(marked).or_else(last).unwrap_or("it says nothing").trim()
}

fn name(command: &Command) -> String {
    command.get_program().to_string_lossy().into_owned()
}

/// Whether we may create network namespaces, load programs and install packages.
pub(crate) fn is_root() -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let uids = status.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap_or_default();
    // Real, effective, saved, filesystem.
    uids.split_whitespace().nth(1) == Some("0")
}

/// Refuses to go on without root.
pub(crate) fn require_root(verb: &str) -> Result<()> {
    if !is_root() {
        bail!("cargo xtask {verb} needs root: it creates network namespaces and loads BPF programs");
    }
    Ok(())
}

/// The first program of this name on `PATH`, or where administrators' programs are.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let directories = env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    directories.map(|directory| directory.join(name)).find(|candidate| candidate.is_file())
}

#[cfg(test)]
mod tests {
    use super::reason;

    #[test]
    fn the_marked_line_is_the_reason_else_the_last() {
        assert_eq!(reason("info: trying\nerror: no route\n  13: <unknown>\n"), "error: no route");
        assert_eq!(
            reason("W: old lists\nE: unable to locate package x\nmore"),
            "E: unable to locate package x"
        );
        assert_eq!(reason("first\nlast \n\n"), "last");
        assert_eq!(reason(""), "it says nothing");
    }
}

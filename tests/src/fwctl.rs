//! `fwctl` as its users run it: the built binary, in a namespace, with a pin directory of its own.
//!
//! Rules go in by standard input, from a file in memory: there is none that an interruption
//! could leave behind. A command that is running is killed when we are interrupted.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::FromRawFd;
use std::path::PathBuf;
use std::process::{Command, ExitStatus, Stdio};
use std::thread;

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::netns::{BpffsDir, Namespace, Process};

/// Where a rules file of ours is for the command that reads it.
pub const RULES: &str = "-";

/// The command in one namespace, with one pin directory.
#[derive(Clone, Copy, Debug)]
pub struct Fwctl<'a> {
    namespace: &'a Namespace,
    bpffs: &'a BpffsDir,
}

/// How a command ended and what it said.
#[derive(Clone, Debug)]
pub struct Output {
    /// Its end.
    pub status: ExitStatus,
    /// What it printed.
    pub stdout: String,
    /// What it complained about.
    pub stderr: String,
}

impl Output {
    /// The exit status; -1 for a command that was killed.
    #[must_use]
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or(-1)
    }

    /// Both streams, for messages.
    #[must_use]
    pub fn said(&self) -> String {
        format!("{}\n{}{}", self.status, self.stdout, self.stderr)
    }

    /// What it printed with `--json`.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.stdout).with_context(|| format!("no JSON: {}", self.said()))
    }

    /// The JSON of a command that succeeded.
    pub fn success(&self) -> Result<Value> {
        ensure!(self.status.success(), "fwctl: {}", self.said());
        self.json()
    }
}

impl<'a> Fwctl<'a> {
    /// For a host that is a namespace. Fails if `fwctl` is not built.
    pub fn new(namespace: &'a Namespace, bpffs: &'a BpffsDir) -> Result<Self> {
        binary()?;
        Ok(Self { namespace, bpffs })
    }

    /// The command, to be changed before it is run with [`Self::finish`].
    #[must_use]
    pub fn command<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Command {
        let program = binary().unwrap_or_else(|_| "fwctl".into());
        let mut command = self.namespace.command(program, ["--bpffs"]);
        command.arg(self.bpffs.path()).args(arguments).stdin(Stdio::null());
        // The environment of the person who tests is no part of the test.
        command.env_remove("FWCTL_BPFFS").env_remove("FWCTL_MAX_MEMORY").env("NO_COLOR", "1");
        command
    }

    /// Runs a command to its end, whatever that is.
    pub fn run<A: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = A>) -> Result<Output> {
        Self::finish(self.command(arguments))
    }

    /// The same with a text that the command reads as the file [`RULES`].
    pub fn run_with<A: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = A>,
        text: &[u8],
    ) -> Result<Output> {
        Self::finish(self.command_with(arguments, text)?)
    }

    /// That command, to be changed before it is run.
    pub fn command_with<A: AsRef<OsStr>>(
        &self,
        arguments: impl IntoIterator<Item = A>,
        text: &[u8],
    ) -> Result<Command> {
        let mut command = self.command(arguments);
        command.stdin(memory_file(text).context("cannot make a memory file")?);
        Ok(command)
    }

    /// Runs a command made by [`Self::command`].
    pub fn finish(mut command: Command) -> Result<Output> {
        let mut process = Process::start(command.stdout(Stdio::piped()).stderr(Stdio::piped()))?;
        let child = process.child();
        let (out, err) = (child.stdout.take(), child.stderr.take());
        let err = thread::spawn(move || text(err));
        let stdout = text(out)?;
        let stderr = err.join().map_err(|_| io::Error::other("reading stderr panicked"))??;
        Ok(Output { status: child.wait()?, stdout, stderr })
    }

    /// Loads rules; a refusal is an error with what was said.
    pub fn load(&self, rules: &Value) -> Result<Value> {
        self.load_with(rules, &[])
    }

    /// The same with further options.
    pub fn load_with(&self, rules: &Value, options: &[&str]) -> Result<Value> {
        self.try_load(rules, options)?.success()
    }

    /// Loads rules, or is refused.
    pub fn try_load(&self, rules: &Value, options: &[&str]) -> Result<Output> {
        let text = serde_json::to_vec_pretty(rules)?;
        self.run_with(["load", RULES, "--json"].iter().chain(options), &text)
    }

    /// `fwctl status --json`, healthy or not.
    pub fn status(&self) -> Result<Value> {
        self.run(["status", "--json"])?.json()
    }

    /// `fwctl conntrack list --json` with these filters.
    pub fn connections(&self, filters: &[&str]) -> Result<Vec<Value>> {
        let output = self.run(["conntrack", "list", "--json"].iter().chain(filters))?;
        ensure!(output.code() == 0, "{}", output.said());
        output.stdout.lines().map(|line| Ok(serde_json::from_str(line)?)).collect()
    }

    /// The counters of now.
    pub fn stats(&self) -> Result<Counters> {
        Ok(Counters(self.run(["stats", "--json"])?.success()?))
    }

    /// Packets that a rule decided about so far; 0 for a rule that is not in force.
    pub fn rule_packets(&self, id: &str, rule: &str) -> Result<u64> {
        Ok(self.stats()?.rule_packets(id, rule))
    }

    /// What decided since then, see [`Counters::since`].
    pub fn deciding_rule_since(&self, before: &Counters) -> Result<Deciders> {
        Ok(self.stats()?.since(before))
    }
}

/// What `fwctl stats --json` said.
#[derive(Clone, Debug)]
pub struct Counters(pub Value);

/// What counted between two readings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Deciders {
    /// `ID DIRECTION RULE` of the rules that let something pass or, for ACLs, dropped it.
    pub rules: Vec<String>,
    /// `DIRECTION REASON` of what passed.
    pub passed: Vec<String>,
    /// What dropped something: `ID DIRECTION RULE` of the ACL's entry, else `DIRECTION REASON`.
    pub dropped: Vec<String>,
}

impl Counters {
    /// Packets that a rule decided about, both directions.
    #[must_use]
    pub fn rule_packets(&self, id: &str, rule: &str) -> u64 {
        let of = |row: &&Value| row["id"] == id && row["rule"] == rule;
        self.rows("rules").filter(of).map(packets).sum()
    }

    /// Packets with this verdict and reason, all interfaces and directions.
    #[must_use]
    pub fn packets(&self, verdict: &str, reason: &str) -> u64 {
        let of = |row: &&Value| row["verdict"] == verdict && row["reason"] == reason;
        self.rows("reasons").filter(of).map(packets).sum()
    }

    /// Packets with this verdict.
    #[must_use]
    pub fn verdict(&self, verdict: &str) -> u64 {
        self.rows("reasons").filter(|row| row["verdict"] == verdict).map(packets).sum()
    }

    /// What counted since another reading. Traffic that always passes (ARP, neighbour discovery) is left out.
    #[must_use]
    pub fn since(&self, before: &Self) -> Deciders {
        let rules: Vec<&Value> = self.more("rules", before, &["kind", "id", "direction", "rule"]).collect();
        let name = |row: &Value| {
            format!("{} {} {}", text_of(row, "id"), text_of(row, "direction"), text_of(row, "rule"))
        };
        let mut found =
            Deciders { rules: rules.iter().map(|row| name(row)).collect(), ..Deciders::default() };
        for row in self.more("reasons", before, &["interface", "direction", "verdict", "layer", "reason"]) {
            let reason = format!("{} {}", text_of(row, "direction"), text_of(row, "reason"));
            if row["verdict"] != "deny" {
                if row["layer"] != "exempt" {
                    found.passed.push(reason);
                }
                continue;
            }
            // The default entry is called `*`, whatever denied by number is not.
            let last = row["reason"] == "network_acl_default";
            let by = rules.iter().filter(|rule| {
                row["layer"] == "network_acl"
                    && rule["kind"] == "network_acl"
                    && rule["direction"] == row["direction"]
                    && (rule["rule"] == "*") == last
            });
            let by: Vec<String> = by.map(|rule| name(rule)).collect();
            found.dropped.extend(if by.is_empty() { vec![reason] } else { by });
        }
        found
    }

    fn rows(&self, list: &str) -> impl Iterator<Item = &Value> {
        self.0[list].as_array().into_iter().flatten()
    }

    /// Rows whose packets are more than those of the row with the same keys before.
    fn more<'a>(&'a self, list: &str, before: &'a Self, keys: &'a [&str]) -> impl Iterator<Item = &'a Value> {
        let old: Vec<&Value> = before.rows(list).collect();
        self.rows(list).filter(move |row| {
            let same = |other: &&&Value| keys.iter().all(|key| other[*key] == row[*key]);
            packets(row) > old.iter().find(same).map_or(0, |row| packets(row))
        })
    }
}

fn packets(row: &Value) -> u64 {
    row["packets"].as_u64().unwrap_or(0)
}

fn text_of<'a>(row: &'a Value, key: &str) -> &'a str {
    row[key].as_str().unwrap_or("?")
}

fn text(pipe: Option<impl Read>) -> io::Result<String> {
    let mut bytes = Vec::new();
    if let Some(mut pipe) = pipe {
        pipe.read_to_end(&mut bytes)?;
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The program: next to a program of the workspace (`target/debug/demo`), above a test
/// (`target/debug/deps/traffic-…`).
pub fn binary() -> Result<PathBuf> {
    let own = std::env::current_exe().context("cannot tell where this program is")?;
    let mut candidates = own.ancestors().skip(1).take(2).map(|folder| folder.join("fwctl"));
    match candidates.find(|path| path.is_file()) {
        Some(path) => Ok(path),
        None => bail!("fwctl is not built next to {}: run `cargo xtask build`", own.display()),
    }
}

/// A file that is nowhere, to be read from its beginning as somebody's standard input.
pub fn memory_file(content: &[u8]) -> io::Result<File> {
    // SAFETY: a NUL-terminated name that lives for ever, and flags.
    let descriptor = unsafe { libc::memfd_create(c"rules.json".as_ptr(), libc::MFD_CLOEXEC) };
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: just made, valid, and nobody else's.
    let mut file = unsafe { File::from_raw_fd(descriptor) };
    file.write_all(content)?;
    file.rewind()?;
    Ok(file)
}

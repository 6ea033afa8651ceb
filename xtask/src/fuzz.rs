//! `cargo xtask fuzz`: cargo-fuzz builds the targets of `tests/fuzz`, this runs them and keeps what they find.
//!
//! Everything but a found input stays below `target/fuzz`. Without a sanitizer: the code under test has no unsafe, and
//! then any compiler will do.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, anyhow, bail};

use crate::{run, setup};

const CARGO_FUZZ_VERSION: &str = "0.13.2";
/// Name and longest input: a frame with 4 KiB of payload says no more, a history reads 96 records of 8 bytes.
const TARGETS: [(&str, u32); 3] = [("frame", 2048), ("history", 769), ("rules", 8192)];
const MINIMISE_SECONDS: u32 = 60;

#[derive(clap::Args)]
pub(crate) struct Options {
    /// frame, history or rules; all of them, one after the other, when left out
    target: Option<String>,
    /// How long each target runs
    #[arg(long, default_value_t = 5)]
    minutes: u32,
}

pub(crate) fn run(options: &Options) -> Result<()> {
    let chosen: Vec<_> = TARGETS
        .into_iter()
        .filter(|(name, _)| options.target.as_ref().is_none_or(|target| target == name))
        .collect();
    if chosen.is_empty() {
        let names = TARGETS.map(|(name, _)| name).join(", ");
        bail!("{:?} is no fuzz target: {names}", options.target.as_deref().unwrap_or_default());
    }
    setup::ensure()?;
    let cargo_fuzz = find_or_install()?;
    let folder = folder();
    let seeds = ["run", "--quiet", "--package", "fw-tests", "--bin", "fuzz_seeds", "--"];
    run::visibly(run::cargo(seeds).arg(folder.join("seeds")))?;
    build(&cargo_fuzz, &chosen)?;

    let mut found = 0;
    for (name, longest) in chosen {
        let target = Target { name, longest, program: program(name)?, folder: folder.clone() };
        println!("fuzz: {name} runs for {} min, its log is {}", options.minutes, target.log().display());
        let passed = target.run(options.minutes)?;
        target.say_figures()?;
        if !passed {
            found += 1;
            target.keep_found()?;
        }
    }
    if found > 0 {
        bail!("{found} of the fuzz targets found an input that breaks something, see above");
    }
    Ok(())
}

fn folder() -> PathBuf {
    run::workspace().join("target/fuzz")
}

fn find_or_install() -> Result<PathBuf> {
    let root = run::workspace().join("target/fuzz-tools");
    let own = root.join("bin/cargo-fuzz");
    if own.is_file() {
        return Ok(own);
    }
    if let Some(found) = run::find_program("cargo-fuzz") {
        return Ok(found);
    }
    println!("fuzz: building cargo-fuzz {CARGO_FUZZ_VERSION} into target/fuzz-tools (a minute, once)");
    let install = ["install", "cargo-fuzz", "--version", CARGO_FUZZ_VERSION, "--locked", "--quiet", "--root"];
    run::visibly(run::cargo(install).arg(root).env_remove("LD_LIBRARY_PATH"))
        .map_err(|_| anyhow!("cargo-fuzz could not be built, see above"))?;
    Ok(own)
}

/// cargo-fuzz knows the flags of the coverage; running is left to the programs themselves, since it would put corpus
/// and artifacts into the sources.
fn build(cargo_fuzz: &Path, chosen: &[(&str, u32)]) -> Result<()> {
    let mut build = Command::new(cargo_fuzz);
    build.current_dir(run::workspace());
    build.args(["fuzz", "build", "--fuzz-dir", "tests/fuzz", "--sanitizer", "none", "--target-dir"]);
    build.arg(folder());
    if let [(name, _)] = chosen {
        build.arg(name);
    }
    run::visibly(&mut build).map_err(|_| {
        anyhow!(
            "the fuzz targets could not be built, see above; libFuzzer needs a C++ compiler (g++ or clang)"
        )
    })
}

/// Where cargo-fuzz leaves a target's program.
fn program(name: &str) -> Result<PathBuf> {
    let about = run::quietly(Command::new("rustc").arg("-vV"))?;
    let host =
        about.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc -vV names no host")?;
    Ok(folder().join(host).join("release").join(name))
}

struct Target {
    name: &'static str,
    longest: u32,
    program: PathBuf,
    folder: PathBuf,
}

impl Target {
    fn log(&self) -> PathBuf {
        self.folder.join(format!("{}.log", self.name))
    }

    /// False if an input was found.
    fn run(&self, minutes: u32) -> Result<bool> {
        let corpus = self.folder.join("corpus").join(self.name);
        let artifacts = self.folder.join("artifacts").join(self.name);
        for folder in [&corpus, &artifacts] {
            fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        }
        let mut command = self.command();
        command.arg(format!("-max_total_time={}", u64::from(minutes) * 60));
        command.arg(format!("-artifact_prefix={}/", artifacts.display()));
        command.args(["-print_final_stats=1", "-timeout=20"]).arg(format!("-max_len={}", self.longest));
        if self.name == "rules" {
            command.arg(format!("-dict={}", self.folder.join("seeds/rules.dict").display()));
        }
        command.args([corpus, self.folder.join("seeds").join(self.name)]);
        let regressions = self.regressions();
        if regressions.is_dir() {
            command.arg(regressions);
        }
        let log =
            File::create(self.log()).with_context(|| format!("cannot write {}", self.log().display()))?;
        command.stdout(log.try_clone()?).stderr(log);
        let status = command.status().with_context(|| format!("cannot run {}", self.program.display()))?;
        Ok(status.success())
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.current_dir(&self.folder);
        command
    }

    fn regressions(&self) -> PathBuf {
        run::workspace().join("tests/fuzz/regressions").join(self.name)
    }

    fn text(&self) -> Result<String> {
        let log = fs::read(self.log()).with_context(|| format!("cannot read {}", self.log().display()))?;
        Ok(String::from_utf8_lossy(&log).into_owned())
    }

    fn say_figures(&self) -> Result<()> {
        let text = self.text()?;
        let figures = Figures::read(&text);
        println!(
            "fuzz: {}: {} executions, {} per second, {} edges, {} inputs in the corpus",
            self.name, figures.executions, figures.per_second, figures.edges, figures.corpus
        );
        Ok(())
    }

    /// Copies the found input to the regressions, smaller if that is possible, and says what to do.
    fn keep_found(&self) -> Result<()> {
        let text = self.text()?;
        let Some(found) = text.lines().find_map(|line| line.split_once("Test unit written to ")) else {
            bail!("{} ended early without an input, see {}", self.name, self.log().display());
        };
        let found = Path::new(found.1.trim());
        let kept = self.regressions().join(short_name(found));
        fs::create_dir_all(self.regressions())?;
        // What takes too long or too much memory does not get shorter by being run a thousand times.
        if kept.file_name().is_some_and(|name| name.to_string_lossy().starts_with("crash")) {
            println!("fuzz: {}: found an input, making it smaller (at most {MINIMISE_SECONDS} s)", self.name);
            let mut minimise = self.command();
            minimise.args(["-minimize_crash=1", &format!("-max_total_time={MINIMISE_SECONDS}")]);
            minimise.arg(format!("-exact_artifact_path={}", kept.display())).arg(found);
            // Its status says only whether the last attempt still crashed.
            let _ = run::quietly(&mut minimise);
        }
        if !kept.is_file() {
            fs::copy(found, &kept)
                .with_context(|| format!("cannot copy {} to {}", found.display(), kept.display()))?;
        }
        for line in text.lines().skip_while(|line| !line.contains("panicked at")).take(4) {
            println!("    {line}");
        }
        println!(
            "fuzz: {}: the input is {}\n\
             fuzz: {}: `cargo xtask test -- --package fw-tests --test regressions` replays it; mend the code, and commit \
             both",
            self.name,
            kept.display(),
            self.name
        );
        Ok(())
    }
}

/// `crash-` and the start of the hash: enough to tell inputs apart.
fn short_name(artifact: &Path) -> String {
    let name = artifact.file_name().unwrap_or_default().to_string_lossy();
    let (kind, hash) = name.rsplit_once('-').unwrap_or(("crash", &name));
    format!("{kind}-{}", hash.get(..12).unwrap_or(hash))
}

/// What libFuzzer says of a run.
#[derive(Debug, PartialEq, Eq)]
struct Figures<'a> {
    executions: &'a str,
    per_second: &'a str,
    edges: &'a str,
    corpus: &'a str,
}

impl<'a> Figures<'a> {
    fn read(log: &'a str) -> Self {
        let stat = |name: &str| {
            let line = log.lines().rev().find_map(|line| line.strip_prefix("stat::")?.strip_prefix(name));
            line.map_or("?", |line| line.trim_start_matches(':').trim())
        };
        // `#2097152 pulse cov: 1234 ft: 5678 corp: 90/12Kb exec/s: 4321 rss: 55Mb`
        let word = |name: &str| {
            let line = log.lines().rev().find_map(|line| line.split_once(name));
            line.and_then(|(_, rest)| rest.split([' ', '/']).next()).unwrap_or("?")
        };
        Self {
            executions: stat("number_of_executed_units"),
            per_second: stat("average_exec_per_sec"),
            edges: word(" cov: "),
            corpus: word(" corp: "),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_those_of_the_last_lines() {
        let log = "#2\tINITED cov: 3 ft: 4 corp: 1/1b exec/s: 0 rss: 30Mb\n\
                   #4096\tDONE   cov: 1234 ft: 9 corp: 90/12Kb lim: 9 exec/s: 512 rss: 55Mb\n\
                   Done 4096 runs in 8 second(s)\n\
                   stat::number_of_executed_units: 4096\nstat::average_exec_per_sec:     512\n";
        let figures = Figures { executions: "4096", per_second: "512", edges: "1234", corpus: "90" };
        assert_eq!(Figures::read(log), figures);
        assert_eq!(Figures::read("").edges, "?");
    }

    #[test]
    fn regressions_have_short_names() {
        let name = "crash-0123456789abcdef0123456789abcdef01234567";
        assert_eq!(short_name(&Path::new("/tmp").join(name)), "crash-0123456789ab");
        assert_eq!(short_name(Path::new("slow-unit-00ff")), "slow-unit-00ff");
    }
}

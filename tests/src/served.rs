//! `fwctl serve` beside a test: its log is read while it runs.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::fwctl::Fwctl;
use crate::netns::Process;

/// Longer than anything that is waited for takes, on a machine that does other things too.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A running `fwctl serve`; killed when the value goes.
#[derive(Debug)]
pub struct Served {
    process: Process,
    lines: Receiver<String>,
    said: Mutex<Vec<String>>,
}

impl Served {
    /// Starts it with these arguments behind `serve`, and waits until it is ready.
    pub fn start(fwctl: &Fwctl<'_>, arguments: &[&str]) -> Result<Self> {
        let served = Self::begin(fwctl, arguments)?;
        served.wait_for("metrics are at")?;
        Ok(served)
    }

    /// Starts it, ready or not.
    pub fn begin(fwctl: &Fwctl<'_>, arguments: &[&str]) -> Result<Self> {
        let mut command = fwctl.command(["serve"].iter().chain(arguments));
        command.env_remove("JOURNAL_STREAM").stdout(Stdio::null()).stderr(Stdio::piped());
        let mut process = Process::start(&mut command)?;
        let stderr = process.child().stderr.take().context("no pipe")?;
        let (line, lines) = mpsc::channel();
        thread::spawn(move || {
            for said in BufReader::new(stderr).lines().map_while(Result::ok) {
                if line.send(said).is_err() {
                    return;
                }
            }
        });
        Ok(Self { process, lines, said: Mutex::default() })
    }

    /// The next line of its log that has this in it.
    pub fn wait_for(&self, part: &str) -> Result<String> {
        let end = Instant::now() + PATIENCE;
        while let Ok(line) = self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) {
            self.note(&line);
            if line.contains(part) {
                return Ok(line);
            }
        }
        bail!("the log has no further line with {part:?}: {}", self.said())
    }

    /// Everything that it has said.
    pub fn said(&self) -> String {
        while let Ok(line) = self.lines.try_recv() {
            self.note(&line);
        }
        self.said.lock().map(|said| said.join("\n")).unwrap_or_default()
    }

    fn note(&self, line: &str) {
        if let Ok(mut said) = self.said.lock() {
            said.push(line.to_owned());
        }
    }

    /// Its process.
    pub fn process(&mut self) -> &mut Process {
        &mut self.process
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: i32) -> Result<()> {
        Ok(self.process.signal(signal)?)
    }

    /// How it ends, which it must within the time.
    pub fn ends(&mut self) -> Result<ExitStatus> {
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            if let Some(status) = self.process.child().try_wait()? {
                return Ok(status);
            }
            thread::sleep(Duration::from_millis(10));
        }
        bail!("it goes on: {}", self.said())
    }
}

/// A directory for the files of a test; removed with the value.
#[derive(Debug)]
pub struct Folder(PathBuf);

impl Folder {
    /// A new one, empty.
    pub fn new(name: &str) -> Result<Self> {
        static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("fwctl-test-{name}-{}-{number}", std::process::id()));
        std::fs::create_dir(&path).with_context(|| format!("cannot make {path:?}"))?;
        Ok(Self(path))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file as editors and `mv` do: in one step.
    pub fn replace(&self, name: &str, content: impl AsRef<[u8]>) -> Result<PathBuf> {
        let (new, path) = (self.0.join(format!("{name}.new")), self.0.join(name));
        std::fs::write(&new, content)?;
        std::fs::rename(&new, &path)?;
        Ok(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

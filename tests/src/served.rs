//! `fwctl serve` beside a test: its log is read while it runs.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use crate::fwctl::Fwctl;
use crate::netns::{BpffsDir, Process, Rig};
use crate::traffic::{Echo, Outcome, tcp_connect};

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
        Self::of(fwctl.command(["serve"].iter().chain(arguments)))
    }

    /// Of a command that was made for it.
    pub fn of(mut command: Command) -> Result<Self> {
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

/// A client on a wire with a server that has a rules file and answers at [`PORTS`].
#[derive(Debug)]
pub struct Scene {
    /// Both hosts.
    pub rig: Rig,
    /// The server's state.
    pub bpffs: BpffsDir,
    /// Where its files are.
    pub folder: Folder,
    _echo: Vec<Echo>,
}

/// Where the server answers.
pub const PORTS: [u16; 2] = [80, 81];

impl Scene {
    /// Nothing is loaded, and there is no file.
    pub fn new() -> Self {
        let rig = Rig::direct().unwrap();
        let echo = PORTS.map(|port| Echo::tcp(&rig.server, (rig.server.v4, port)).unwrap());
        Self {
            rig,
            bpffs: BpffsDir::new().unwrap(),
            folder: Folder::new("serve").unwrap(),
            _echo: echo.into(),
        }
    }

    /// The server's.
    pub fn fwctl(&self) -> Fwctl<'_> {
        Fwctl::new(&self.rig.server, &self.bpffs).unwrap()
    }

    /// Puts rules in place of those of the file.
    pub fn write(&self, rules: &Value) -> PathBuf {
        self.folder.replace("rules.json", rules.to_string()).unwrap()
    }

    /// The rules file.
    pub fn file(&self) -> String {
        self.folder.path().join("rules.json").display().to_string()
    }

    /// Follows the file.
    pub fn serve(&self) -> Served {
        Served::start(&self.fwctl(), &[&self.file(), "--listen", "127.0.0.1:0"]).unwrap()
    }

    /// Which of the ports can be reached.
    pub fn open(&self) -> Vec<u16> {
        let reached = |port: &u16| {
            let (from, to) = (&self.rig.client, (self.rig.server.v4, *port));
            tcp_connect(from, (from.v4, 0), to).unwrap() == Outcome::Reached
        };
        PORTS.into_iter().filter(reached).collect()
    }

    /// Waits until these and no others can be reached.
    pub fn becomes(&self, ports: &[u16]) {
        let end = Instant::now() + PATIENCE;
        while self.open() != ports {
            assert!(Instant::now() < end, "{ports:?} should be open, {:?} are", self.open());
        }
    }
}

impl Default for Scene {
    fn default() -> Self {
        Self::new()
    }
}

/// Rules that let everybody reach these ports.
#[must_use]
pub fn rules(ports: &[u16]) -> Value {
    let rule = |port: &u16| {
        json!({ "id": format!("port-{port}"), "protocol": "tcp", "from_port": port, "to_port": port,
                "cidr_blocks": ["0.0.0.0/0"] })
    };
    let ingress: Vec<Value> = ports.iter().map(rule).collect();
    json!({
        "version": 1,
        "security_groups": { "sg": { "egress": [], "ingress": ingress } },
        "interfaces": { "server": { "device": "eth0", "security_groups": ["sg"] } },
        "settings": { "adopt_seconds": 0 }
    })
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

//! Dropped packets as lines of JSON: what `fwctl monitor --drops --json` prints, in a file.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use fw_common::event::Wanted;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::chores::Wake;
use crate::datapath::Listener;
use crate::error::{Error, Result};
use crate::same_file::has_its_name;

/// How often the end is looked for, and whether the file is still the one with the name.
const PAUSE: Duration = Duration::from_millis(250);
/// How often listening is tried where nothing is loaded, or where `fwctl monitor` listens.
const AGAIN_IN: Duration = Duration::from_secs(2);
const MOST_IN_ONE_PIECE: u32 = 1024;

/// Writes until it is ended.
pub(super) struct Events {
    ends: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Events {
    /// From when on dropped packets are written down.
    pub(super) fn start(bpffs: &Path, log: Log, wake: Sender<Wake>) -> Result<Self> {
        let ends = Arc::new(AtomicBool::new(false));
        let writer = Writer { bpffs: bpffs.to_owned(), log, wake, failed: None, ends: Arc::clone(&ends) };
        let thread = thread::Builder::new()
            .name("events".to_owned())
            .spawn(move || writer.run())
            .map_err(|error| Error::system(format!("cannot begin: {error}")))?;
        Ok(Self { ends, thread })
    }

    pub(super) fn end(self) {
        self.ends.store(true, Ordering::Relaxed);
        let _ = self.thread.join();
    }
}

struct Writer {
    bpffs: PathBuf,
    log: Log,
    wake: Sender<Wake>,
    failed: Option<Error>,
    ends: Arc<AtomicBool>,
}

impl Writer {
    fn run(mut self) {
        while !self.ends.load(Ordering::Relaxed) {
            if let Err(error) = self.listen() {
                if self.failed.as_ref() != Some(&error) {
                    let _ = self.wake.send(Wake::Failed(error.clone()));
                    self.failed = Some(error);
                }
                self.rest(AGAIN_IN);
            }
        }
    }

    fn rest(&self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end && !self.ends.load(Ordering::Relaxed) {
            thread::sleep(PAUSE);
        }
    }

    /// Until the end, or until nothing is to be heard any more.
    fn listen(&mut self) -> Result<()> {
        let mut listener = Listener::open(&self.bpffs, Wanted::Drops)
            .map_err(|error| error.about("dropped packets are not written down"))?;
        self.failed = None;
        let mut lines = Vec::new();
        while !self.ends.load(Ordering::Relaxed) {
            for _ in 0..MOST_IN_ONE_PIECE {
                let Some(event) = listener.next_event()? else { break };
                if serde_json::to_writer(&mut lines, &event).is_ok() {
                    lines.push(b'\n');
                }
            }
            if lines.is_empty() {
                let pause = Timespec { tv_sec: 0, tv_nsec: i64::from(PAUSE.subsec_nanos()) };
                let _ = poll(&mut [PollFd::new(&listener, PollFlags::IN)], Some(&pause));
                continue;
            }
            let written = self.log.write(&lines);
            lines.clear();
            written?;
        }
        Ok(())
    }
}

/// The file, opened again when it was moved away.
pub(super) struct Log {
    path: PathBuf,
    file: File,
}

impl Log {
    /// An error if the file cannot be written.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let file = OpenOptions::new().append(true).create(true).open(path).map_err(|error| {
            Error::system(format!("cannot write events to {:?}: {error}", path.display()))
        })?;
        Ok(Self { path: path.to_owned(), file })
    }

    /// Whole lines or, where there is no room for them, none.
    fn write(&mut self, lines: &[u8]) -> Result<()> {
        if !has_its_name(&self.file, &self.path) {
            *self = Self::open(&self.path)?;
        }
        let before = self.file.metadata().map(|metadata| metadata.len());
        self.file.write_all(lines).map_err(|error| {
            if let Ok(before) = before {
                let _ = self.file.set_len(before);
            }
            Error::system(format!("cannot write events to {:?}: {error}", self.path.display()))
        })
    }
}

//! What a command is doing, on standard error, once it has taken a second; nothing where nobody watches.

use std::io::{IsTerminal as _, stderr};
use std::sync::Mutex;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use fw_userspace::datapath::Phase;
use indicatif::{ProgressBar, ProgressStyle};

/// Whoever waits for less wants to see nothing.
const PATIENCE: Duration = Duration::from_secs(1);
const REDRAW: Duration = Duration::from_millis(100);

/// What is being done now. The library says so through a plain function, which has no other place for it.
static NOW: Mutex<&str> = Mutex::new("");

/// Takes down what a load is at.
pub(crate) fn note(phase: Phase) {
    say(match phase {
        Phase::Compile => "compiling the rules",
        Phase::Install => "installing programs and maps",
        Phase::Publish => "writing the tables",
    });
}

fn say(what: &'static str) {
    if let Ok(mut now) = NOW.lock() {
        *now = what;
    }
}

/// A line that is drawn by a thread of its own.
pub(crate) struct Progress(Option<(Sender<()>, JoinHandle<()>)>);

impl Progress {
    /// Says this until [`note`] has something newer.
    pub(crate) fn start(what: &'static str) -> Self {
        if !stderr().is_terminal() {
            return Self(None);
        }
        say(what);
        let (end, ended) = mpsc::channel();
        let drawing = thread::spawn(move || {
            if ended.recv_timeout(PATIENCE) != Err(RecvTimeoutError::Timeout) {
                return;
            }
            let style = ProgressStyle::with_template("{spinner} {msg}, {elapsed}");
            let line = ProgressBar::new_spinner().with_elapsed(PATIENCE);
            line.set_style(style.unwrap_or_else(|_| ProgressStyle::default_spinner()));
            loop {
                line.set_message(NOW.lock().map_or("", |now| *now));
                line.tick();
                if ended.recv_timeout(REDRAW) != Err(RecvTimeoutError::Timeout) {
                    break;
                }
            }
            line.finish_and_clear();
        });
        Self(Some((end, drawing)))
    }

    /// Takes the line away.
    pub(crate) fn end(self) {
        // The thread goes when its channel does.
        if let Some((end, drawing)) = self.0 {
            drop(end);
            let _ = drawing.join();
        }
    }
}

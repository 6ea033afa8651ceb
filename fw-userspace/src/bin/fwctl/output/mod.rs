//! What the user sees: text, tables and JSON. One file per thing shown.
//!
//! A reader that goes away (`fwctl show | head`) is no error: the rest of the output is dropped and the command's exit
//! status stays what it was.

pub(crate) mod conntrack;
pub(crate) mod diff;
pub(crate) mod explain;
pub(crate) mod findings;
pub(crate) mod load;
pub(crate) mod monitor;
pub(crate) mod policy;
pub(crate) mod progress;
pub(crate) mod serve;
pub(crate) mod stats;
pub(crate) mod status;
mod table;
pub(crate) mod top;
mod units;

use std::io::{self, BufWriter, IsTerminal, Write};

use fw_userspace::error::{Error, Result};
use serde::Serialize;

/// Standard output, collected and written in one piece by `flush`.
pub(crate) struct Output {
    writer: BufWriter<io::Stdout>,
    /// The first failure; nothing is written after it.
    failure: Option<io::Error>,
    terminal: bool,
    /// Whether the reader wants colour.
    pub(crate) colour: bool,
}

impl Output {
    /// The process's standard output.
    pub(crate) fn stdout() -> Self {
        let stdout = io::stdout();
        let terminal = stdout.is_terminal();
        Self { writer: BufWriter::new(stdout), failure: None, terminal, colour: terminal && colour_wanted() }
    }

    /// Text as it is.
    pub(crate) fn text(&mut self, text: impl AsRef<[u8]>) {
        let writer = &mut self.writer;
        Self::note(&mut self.failure, || writer.write_all(text.as_ref()));
    }

    /// Text and the end of its line.
    pub(crate) fn line(&mut self, text: impl AsRef<str>) {
        self.text(text.as_ref());
        self.text("\n");
    }

    /// A value with its keys in their documented order.
    pub(crate) fn json(&mut self, value: &impl Serialize) -> Result<()> {
        let writer = &mut self.writer;
        let mut failed = None;
        let write = || match serde_json::to_writer_pretty(&mut *writer, value) {
            Err(error) if !error.is_io() => {
                failed = Some(Error::system(format!("cannot write as JSON: {error}")));
                Ok(())
            }
            written => written.map_err(io::Error::from),
        };
        Self::note(&mut self.failure, write);
        self.text("\n");
        failed.map_or(Ok(()), Err)
    }

    /// The same in one line.
    pub(crate) fn json_line(&mut self, value: &impl Serialize) {
        let writer = &mut self.writer;
        let write = || serde_json::to_writer(&mut *writer, value).map_err(io::Error::from);
        Self::note(&mut self.failure, write);
        self.text("\n");
    }

    /// Whether nobody reads any more, or nothing can be written.
    pub(crate) fn is_over(&self) -> bool {
        self.failure.is_some()
    }

    /// Text that is made where it is written.
    pub(crate) fn format(&mut self, text: std::fmt::Arguments<'_>) {
        let writer = &mut self.writer;
        Self::note(&mut self.failure, || writer.write_fmt(text));
    }

    /// Starts a new picture of something that is drawn again and again.
    pub(crate) fn redraw(&mut self) {
        // Cursor home, clear to the end of the screen.
        self.text(if self.terminal { "\x1b[H\x1b[2J" } else { "\n" });
    }

    /// Brings everything to the reader; false once there is none left.
    pub(crate) fn flush(&mut self) -> bool {
        let writer = &mut self.writer;
        Self::note(&mut self.failure, || writer.flush());
        self.failure.is_none()
    }

    /// The end of the output, and what went wrong with it.
    pub(crate) fn finish(mut self) -> Result<()> {
        self.flush();
        // What a failed writer still holds is not tried again.
        let (_stdout, _rest) = self.writer.into_parts();
        match self.failure {
            Some(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                Err(Error::system(format!("cannot write to standard output: {error}")))
            }
            _ => Ok(()),
        }
    }

    fn note(failure: &mut Option<io::Error>, write: impl FnOnce() -> io::Result<()>) {
        if failure.is_none() {
            *failure = write().err();
        }
    }
}

/// Text for standard error; a standard error that nobody reads is no error.
pub(crate) fn remark(text: impl AsRef<str>) {
    let _ = io::stderr().write_all(text.as_ref().as_bytes());
}

/// An error in one line on standard error.
pub(crate) fn complain(error: &Error) {
    let label = if colour_on_stderr() { "\x1b[1;31merror\x1b[0m" } else { "error" };
    remark(format!("{label}: {}\n", units::plain(&error.to_string())));
}

/// Whether standard error shows colour.
pub(crate) fn colour_on_stderr() -> bool {
    io::stderr().is_terminal() && colour_wanted()
}

/// <https://no-color.org>: any value but an empty one.
pub(crate) fn colour_wanted() -> bool {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    set("NO_COLOR").is_none() && set("TERM").is_some_and(|term| term != "dumb")
}

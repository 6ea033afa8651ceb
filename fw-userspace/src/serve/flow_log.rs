//! The flow log that is kept beside everything else: begun when there is something to log, and again after it ended.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::flow_log::{Counts, FlowLog, Options};
use crate::metrics::Daemon;

/// When it is tried again to begin.
const AGAIN_IN: Duration = Duration::from_secs(5);

/// A log that is wanted, and kept if it can be.
pub(super) struct Kept {
    bpffs: PathBuf,
    options: Options,
    log: Option<FlowLog>,
    /// What was counted of it so far.
    counted: Counts,
    again_at: Instant,
}

impl Kept {
    pub(super) fn new(bpffs: &Path, options: Options) -> Self {
        let (log, counted) = (None, Counts::default());
        Self { bpffs: bpffs.to_owned(), options, log, counted, again_at: Instant::now() }
    }

    /// When something is due.
    pub(super) fn deadline(&self) -> Instant {
        self.log.as_ref().map_or(self.again_at, FlowLog::deadline)
    }

    /// Does what is due; `None` if nothing came of it. An error is to be told, and no more: it goes on.
    pub(super) fn tick(&mut self, daemon: &Daemon) -> Option<Result<()>> {
        let Some(log) = &mut self.log else {
            return (Instant::now() >= self.again_at).then(|| self.begin(daemon));
        };
        let windows = self.counted.windows;
        let trouble = log.tick();
        count(&mut self.counted, log.counts(), daemon);
        match trouble {
            Ok(None) => (self.counted.windows > windows).then_some(Ok(())),
            Ok(Some(trouble)) => Some(Err(Error::system(trouble))),
            Err(error) => {
                self.log = None;
                self.again_at = Instant::now() + AGAIN_IN;
                Some(Err(error))
            }
        }
    }

    fn begin(&mut self, daemon: &Daemon) -> Result<()> {
        self.again_at = Instant::now() + AGAIN_IN;
        let log = FlowLog::open(&self.bpffs, self.options.clone()).map_err(|error| {
            daemon.flow_log_failed();
            error.about("no flow log is kept")
        });
        self.log = Some(log?);
        self.counted = Counts::default();
        Ok(())
    }

    /// Writes the last window.
    pub(super) fn end(self, daemon: &Daemon) -> Result<()> {
        let Some(log) = self.log else { return Ok(()) };
        let mut counted = self.counted;
        log.end().map(|counts| count(&mut counted, counts, daemon))
    }
}

fn count(counted: &mut Counts, now: Counts, daemon: &Daemon) {
    daemon.flow_log_written(now.records - counted.records);
    daemon.flow_log_skipped(now.skipped_packets - counted.skipped_packets);
    for _ in counted.failed_writes..now.failed_writes {
        daemon.flow_log_failed();
    }
    *counted = now;
}

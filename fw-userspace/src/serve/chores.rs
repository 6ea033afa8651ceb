//! What is done while `fwctl serve` runs, one thing at a time.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

use sd_notify::NotifyState;

use super::flow_log::Kept;
use super::rules_file::RulesFile;
use super::{Note, Options, Say, notices, supervisor};
use crate::datapath::{self, Change, Keeper, LoadOptions, Store, sweep};
use crate::document;
use crate::error::{Error, ErrorKind, Result};
use crate::input;
use crate::metrics::Daemon;

/// What interrupts the rest between chores.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Wake {
    /// Something happened near the rules file.
    File,
    /// Something happened to devices, addresses or hooks.
    Devices,
    /// The rules file is to be loaded, changed or not.
    Reload,
    /// What is to be said of a peer of the HTTP server.
    Peer(String),
    /// Another thread could not do something.
    Failed(Error),
    /// The end.
    End,
}

/// The first change is looked at now, those that follow it within this time together.
const DEVICES_SETTLE_IN: Duration = Duration::from_millis(100);
/// How often all hooks are looked at though nothing stirred: a TCX link is taken away without a word.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// What has expired is found where it is met, sooner or later; this keeps the fill true where it is not met.
const SWEEP_EVERY: Duration = Duration::from_secs(1);
const SWEEP: Duration = Duration::from_millis(5);
/// How soon a load is tried again that the system refused.
const AGAIN_IN: Duration = Duration::from_secs(10);

/// The chores and when they are due.
pub(super) struct Chores {
    options: Options,
    daemon: Arc<Daemon>,
    keeper: Keeper,
    file: Option<RulesFile>,
    /// Cleared as soon as it has been seen: a hundred events are one.
    file_stirred: Arc<AtomicBool>,
    devices_stirred: Arc<AtomicBool>,
    look_at: Instant,
    looked_at: Instant,
    sweep_at: Instant,
    load_again_at: Option<Instant>,
    alive: Option<(Duration, Instant)>,
    looking: Complaint,
    sweeping: Complaint,
    logging: Complaint,
}

/// What failed last of a chore, which is not said twice.
#[derive(Default)]
struct Complaint(Option<Error>);

impl Complaint {
    fn settle<T>(&mut self, result: Result<T>, say: &mut Say) -> Option<T> {
        match result {
            Ok(value) => {
                self.0 = None;
                Some(value)
            }
            Err(error) => {
                if self.0.as_ref() != Some(&error) {
                    say(Note::Failed(&error));
                    self.0 = Some(error);
                }
                None
            }
        }
    }
}

impl Chores {
    pub(super) fn new(
        options: Options,
        daemon: Arc<Daemon>,
        wake: &Sender<Wake>,
        say: &mut Say,
    ) -> Result<Self> {
        let (file_stirred, devices_stirred) = (Arc::default(), Arc::default());
        let file = options.rules.as_deref().map(|path| {
            let (file, watched) = RulesFile::new(path, once(&file_stirred, wake, Wake::File));
            if let Err(error) = watched {
                say(Note::Failed(&error));
            }
            file
        });
        if let Err(error) = notices::follow(once(&devices_stirred, wake, Wake::Devices)) {
            say(Note::Failed(&error));
        }
        let now = Instant::now();
        Ok(Self {
            keeper: Keeper::new(&options.bpffs),
            options,
            daemon,
            file,
            file_stirred,
            devices_stirred,
            look_at: now,
            looked_at: now,
            sweep_at: now,
            load_again_at: None,
            alive: supervisor::alive_every().map(|every| (every, now)),
            looking: Complaint::default(),
            sweeping: Complaint::default(),
            logging: Complaint::default(),
        })
    }

    /// Puts the rules of the file in force. An error if that fails while nothing is: there is no use in going on.
    pub(super) fn begin(&mut self, say: &mut Say) -> Result<()> {
        let Some(result) = self.load(Loads::IfOther, say) else { return Ok(()) };
        match datapath::source(&self.options.bpffs) {
            Ok(_) => {
                self.refuse(&result, say);
                Ok(())
            }
            Err(_) => Err(result),
        }
    }

    /// Until the end is asked for.
    pub(super) fn run(mut self, woken: &Receiver<Wake>, say: &mut Say) -> Result<()> {
        // Not to be lent to another thread, so begun in this one.
        let mut flow_log =
            self.options.flow_log.take().map(|options| Kept::new(&self.options.bpffs, options));
        loop {
            match woken.recv_timeout(self.rest(flow_log.as_ref())) {
                Ok(Wake::End) | Err(RecvTimeoutError::Disconnected) => break,
                Ok(Wake::Reload) => {
                    supervisor::reloading();
                    self.reload(Loads::Always, say);
                    supervisor::tell(&[NotifyState::Ready]);
                }
                Ok(Wake::File) => self.file_stirred.store(false, Ordering::Relaxed),
                Ok(Wake::Devices) => {
                    self.devices_stirred.store(false, Ordering::Relaxed);
                    self.look_at = self.look_at.min(self.looked_at + DEVICES_SETTLE_IN);
                }
                Ok(Wake::Peer(line)) => say(Note::Peer(&line)),
                Ok(Wake::Failed(error)) => say(Note::Failed(&error)),
                Err(RecvTimeoutError::Timeout) => {}
            }
            self.do_what_is_due(say);
            if let Some(done) = flow_log.as_mut().and_then(|kept| kept.tick(&self.daemon)) {
                self.logging.settle(done, say);
            }
        }
        say(Note::Ends);
        flow_log.map_or(Ok(()), |kept| kept.end(&self.daemon))
    }

    /// Until the next chore is due.
    fn rest(&self, flow_log: Option<&Kept>) -> Duration {
        let now = Instant::now();
        let alive = self.alive.map(|(_, at)| at);
        let logs = flow_log.map(Kept::deadline);
        let due = [Some(self.look_at), Some(self.sweep_at), self.load_again_at, alive, logs];
        let due = due.into_iter().flatten().map(|at| at.saturating_duration_since(now));
        let asked = self.file.as_ref().map(RulesFile::ask_in);
        due.chain(asked).min().unwrap_or(LOOK_EVERY)
    }

    fn do_what_is_due(&mut self, say: &mut Say) {
        let now = Instant::now();
        let changed = self.file.as_mut().is_some_and(|file| file.has_changed(now));
        if changed || self.load_again_at.is_some_and(|at| at <= now) {
            self.reload(Loads::IfOther, say);
        }
        if self.look_at <= now {
            self.look(say);
            self.looked_at = Instant::now();
            self.look_at = Instant::now() + LOOK_EVERY;
        }
        if self.sweep_at <= now {
            self.sweep(say);
            self.sweep_at = Instant::now() + SWEEP_EVERY;
        }
        if let Some((every, at)) = &mut self.alive
            && *at <= now
        {
            *at = now + *every;
            supervisor::tell(&[NotifyState::Watchdog]);
        }
    }

    fn reload(&mut self, loads: Loads, say: &mut Say) {
        if let Some(error) = self.load(loads, say) {
            self.refuse(&error, say);
        }
    }

    fn refuse(&mut self, error: &Error, say: &mut Say) {
        // The user's mistakes are mended by another change of the file, the system's may mend themselves.
        let retries = error.kind == ErrorKind::System;
        self.load_again_at = retries.then(|| Instant::now() + AGAIN_IN);
        let name = self.options.rules.as_deref().map(input::name).unwrap_or_default();
        say(Note::Refused(&name, error));
    }

    /// Loads the rules file; why it could not.
    fn load(&mut self, loads: Loads, say: &mut Say) -> Option<Error> {
        let file = self.file.as_ref()?;
        self.load_again_at = None;
        let name = input::name(file.path());
        let result = file.read(self.options.max_memory).and_then(|source| {
            if loads == Loads::IfOther && self.is_in_force(&source) {
                say(Note::InForceAlready(&name));
                return Ok(());
            }
            self.load_source(&name, &source, say)
        });
        self.daemon.reloaded(result.is_ok());
        result.err()
    }

    fn load_source(&self, name: &str, source: &[u8], say: &mut Say) -> Result<()> {
        let reading = document::read(source);
        if !reading.findings.is_empty() {
            say(Note::Read(name, source, &reading.findings));
        }
        let Some(policy) = reading.policy else {
            return Err(Error::input(
                "its rules are wrong, which is said above; mend them and save the file",
            ));
        };
        let max_memory = self.options.max_memory;
        let options = LoadOptions { max_memory, each_alone: true, ..LoadOptions::default() };
        let report = datapath::load(&self.options.bpffs, source, &policy, &options)?;
        say(Note::Loaded(name, &report));
        if let Some(path) = &self.options.last_good
            && let Err(error) = keep(path, source)
        {
            say(Note::Failed(&error));
        }
        Ok(())
    }

    /// Whether these very bytes are. If they wait for a confirmation, they do: whoever loaded them so is to give it.
    fn is_in_force(&self, source: &[u8]) -> bool {
        datapath::source(&self.options.bpffs).is_ok_and(|loaded| loaded == source)
    }

    fn look(&mut self, say: &mut Say) {
        let mended = self.keeper.mend();
        let Some(Some(mended)) = self.looking.settle(mended, say) else { return };
        for change in &mended.changes {
            match change {
                Change::HookLost { .. } => self.daemon.hooks_reattached(1),
                Change::DeviceCame { .. } => self.daemon.device_attached(),
                _ => {}
            }
        }
        // What is tried again and again was told of when it failed first.
        if !mended.changes.iter().all(|change| matches!(change, Change::Refused { .. })) {
            say(Note::Mended(&mended));
        }
    }

    fn sweep(&mut self, say: &mut Say) {
        let swept = match Store::open(&self.options.bpffs) {
            Ok(Some(store)) => sweep(&store, SWEEP),
            Ok(None) => Ok(0),
            Err(error) => Err(error),
        };
        if self.sweeping.settle(swept, say).is_some() {
            self.daemon.swept();
        }
    }
}

/// When a rules file is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Loads {
    Always,
    /// If its bytes are not those in force.
    IfOther,
}

/// What wakes the chores, unless they are woken for the same already and have not come to it.
fn once(stirred: &Arc<AtomicBool>, wake: &Sender<Wake>, what: Wake) -> impl Fn() + Send + 'static {
    let (stirred, wake) = (Arc::clone(stirred), wake.clone());
    move || {
        if !stirred.swap(true, Ordering::Relaxed) {
            // Nobody hears it while the process ends.
            let _ = wake.send(what.clone());
        }
    }
}

/// Replaces a file in one step, on disk before it has its name: power may fail at any time.
fn keep(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut new = PathBuf::from(path).into_os_string();
    new.push(".new");
    let write = || -> std::io::Result<()> {
        let mut file = File::create(&new)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&new, path)
    };
    write().map_err(|error| {
        Error::system(format!(
            "the rules are in force, but could not be kept as {:?} for the next boot: {error}",
            path.display()
        ))
    })
}

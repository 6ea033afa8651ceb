//! `fwctl serve`: what goes on beside the filter. The kernel filters whether this runs or not; here the rules file is
//! watched, what the host changed is put in order, and others are told what is going on.
//!
//! One thread does the chores, one after another, since all of them change or read the same state; what stirs (a file, a
//! device, a signal) only wakes it. The main thread serves HTTP.

mod chores;
mod events;
mod flow_log;
pub mod http;
mod notices;
mod rules_file;
mod stamp;
mod supervisor;

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::oneshot;

use crate::datapath::{Mended, require_root};
use crate::document::Finding;
use crate::error::{Error, Result};
use crate::metrics::{Daemon, Exporter, RuleMetrics};
use crate::report::LoadReport;
use chores::{Chores, Wake};
use events::Events;
use http::{Listen, WebConfig};

/// What to serve, and how.
pub struct Options {
    /// Where the state is pinned.
    pub bpffs: PathBuf,
    /// The file whose rules are to be in force.
    pub rules: Option<PathBuf>,
    /// Most bytes that the tables of the rules may take.
    pub max_memory: u64,
    /// Where rules are kept that were loaded, for the next boot.
    pub last_good: Option<PathBuf>,
    /// What flow log is kept.
    pub flow_log: Option<crate::flow_log::Options>,
    /// Where dropped packets are written down.
    pub events: Option<PathBuf>,
    /// Where metrics are answered.
    pub listen: Listen,
    /// TLS and users.
    pub web: Option<WebConfig>,
    /// Whether each rule has series of its own.
    pub rule_metrics: RuleMetrics,
}

/// What happened, for the log.
#[derive(Debug)]
pub enum Note<'a> {
    /// Everything is ready, and this is where metrics are answered.
    Serves(&'a str),
    /// What reading the rules file found: its name, its text.
    Read(&'a str, &'a [u8], &'a [Finding]),
    /// The rules of the file are in force.
    Loaded(&'a str, &'a LoadReport),
    /// They were already.
    InForceAlready(&'a str),
    /// The file or its rules are not to be had; what was in force still is.
    Refused(&'a str, &'a Error),
    /// Devices or hooks were not as they should be, and are.
    Mended(&'a Mended),
    /// Whoever asks for metrics does something wrong.
    Peer(&'a str),
    /// Something could not be done, and will be tried again.
    Failed(&'a Error),
    /// The end was asked for.
    Ends,
}

/// Where notes go.
pub type Say = Box<dyn FnMut(Note<'_>) + Send>;

/// Runs until SIGTERM or SIGINT. An error if it could not begin; nothing was changed then.
pub fn run(mut options: Options, mut say: Say) -> Result<()> {
    require_root()?;
    let daemon = Arc::new(Daemon::new());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Error::system(format!("cannot begin: {error}")))?;
    let (wake, woken) = channel();
    let log = wake.clone();
    let bound = runtime.block_on(http::bind(&options.listen, options.web.take()))?;
    // Nobody hears it while the process ends.
    let bound = bound.with_log(Arc::new(move |line| drop(log.send(Wake::Peer(line.to_owned())))));
    let exporter = Arc::new(Exporter::new(options.bpffs.clone(), options.rule_metrics, Arc::clone(&daemon)));
    let events = options.events.as_deref().map(events::Log::open).transpose()?;
    let bpffs = options.bpffs.clone();
    let mut chores = Chores::new(options, daemon, &wake, &mut say)?;
    chores.begin(&mut say)?;
    let events = events.map(|log| Events::start(&bpffs, log, wake.clone())).transpose()?;
    say(Note::Serves(&bound.listens_on().to_string()));
    supervisor::tell(&[sd_notify::NotifyState::Ready]);
    let (ended, end) = oneshot::channel();
    let worker = thread::Builder::new()
        .name("chores".to_owned())
        .spawn(move || {
            let result = chores.run(&woken, &mut say);
            // Nobody listens any more if the other side ended first.
            let _ = ended.send(());
            result
        })
        .map_err(|error| Error::system(format!("cannot begin: {error}")))?;
    let served = runtime.block_on(async {
        let shutdown = until_ended(wake.clone(), end)?;
        bound.serve(exporter, shutdown).await;
        Ok(())
    });
    let _ = wake.send(Wake::End);
    if let Some(events) = events {
        events.end();
    }
    let done = worker.join().unwrap_or_else(|_| Err(Error::system("the chores ended by a mistake in fwctl")));
    served.and(done)
}

/// Ends with the first signal that asks for it, or with the chores.
fn until_ended(wake: Sender<Wake>, end: oneshot::Receiver<()>) -> Result<impl Future<Output = ()> + Send> {
    let catch = |kind| signal(kind).map_err(|error| Error::system(format!("cannot catch a signal: {error}")));
    let mut terminate = catch(SignalKind::terminate())?;
    let mut interrupt = catch(SignalKind::interrupt())?;
    let mut hangup = catch(SignalKind::hangup())?;
    let reloads = tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            if wake.send(Wake::Reload).is_err() {
                return;
            }
        }
    });
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            _ = end => {}
        }
        reloads.abort();
        supervisor::tell(&[sd_notify::NotifyState::Stopping]);
    })
}

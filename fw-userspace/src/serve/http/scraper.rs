//! One rendering at a time, on a thread that may block, for all who wait.

use std::sync::Arc;
use std::time::Duration;

use hyper::body::Bytes;
use tokio::sync::Mutex;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout};

use crate::metrics::{Daemon, Exporter, Format};

/// What can be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asked {
    Metrics(Format),
    Health,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NoAnswer {
    /// It could not be read, or is not as it should be.
    Failed(String),
    TimedOut,
}

type Answer = Result<Bytes, String>;

pub(super) struct Scraper {
    exporter: Arc<Exporter>,
    limit: Duration,
    /// Whoever has the lock renders; with the last answer, and when it was begun.
    turn: Arc<Mutex<Option<(Asked, Instant, Answer)>>>,
}

impl Scraper {
    pub(super) fn new(exporter: Arc<Exporter>, limit: Duration) -> Self {
        Self { exporter, limit, turn: Arc::default() }
    }

    pub(super) fn daemon(&self) -> &Arc<Daemon> {
        self.exporter.daemon()
    }

    /// What is true at some moment after this call.
    pub(super) async fn answer(&self, asked: Asked) -> Result<Bytes, NoAnswer> {
        let came = Instant::now();
        let answer = timeout(self.limit, async {
            let mut turn = Arc::clone(&self.turn).lock_owned().await;
            match &*turn {
                // Begun while we waited for our turn.
                Some((same, begun, answer)) if *same == asked && *begun >= came => return answer.clone(),
                _ => {}
            }
            let exporter = Arc::clone(&self.exporter);
            // The turn ends with the thread, not with our patience: there is never a second one.
            let rendering = spawn_blocking(move || {
                let begun = Instant::now();
                let answer = made(&exporter, asked);
                *turn = Some((asked, begun, answer.clone()));
                answer
            });
            rendering
                .await
                .unwrap_or_else(|error| Err(format!("the thread that reads the metrics ended: {error}")))
        });
        match answer.await {
            Ok(answer) => answer.map_err(NoAnswer::Failed),
            Err(_) => Err(NoAnswer::TimedOut),
        }
    }
}

fn made(exporter: &Exporter, asked: Asked) -> Answer {
    match asked {
        Asked::Metrics(format) => exporter.render(format).map(Bytes::from).map_err(|error| error.to_string()),
        Asked::Health => {
            exporter.health().map(|()| Bytes::from_static(b"ok\n")).map_err(|error| error.to_string())
        }
    }
}

//! What is said of connections: each kind of trouble at most every few seconds, however many peers make it.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::Log;
use crate::metrics::{Closed, Daemon};
use crate::printable::plain;

/// Between two lines of the same kind.
const PAUSE: Duration = Duration::from_secs(10);
/// Between two lines about guessed passwords.
const PAUSE_OF_GUESSES: Duration = Duration::from_secs(60);
/// Of what a peer made us say.
const MOST_CHARACTERS: usize = 500;

pub(super) struct Notes {
    log: Log,
    daemon: Arc<Daemon>,
    said: Mutex<BTreeMap<&'static str, Said>>,
}

struct Said {
    at: Instant,
    unsaid: u64,
}

impl Notes {
    pub(super) fn new(log: Log, daemon: Arc<Daemon>) -> Self {
        Self { log, daemon, said: Mutex::default() }
    }

    /// A connection was closed by us.
    pub(super) fn closed(&self, name: &str, why: Closed, detail: Option<&str>) {
        self.daemon.closed(why);
        if matches!(why, Closed::Idle | Closed::Ended) {
            return;
        }
        let detail = detail.unwrap_or_else(|| why.says());
        self.say(PAUSE, why.name(), &format!("closed a connection of {name}: {detail}"));
    }

    pub(super) fn cannot_accept(&self, error: &io::Error) {
        self.say(PAUSE, "accept", &format!("cannot accept a connection: {error}"));
    }

    /// Something about the configuration or the kernel's side.
    pub(super) fn trouble(&self, kind: &'static str, what: &str) {
        self.say(PAUSE, kind, what);
    }

    /// A password was not tried.
    pub(super) fn guesses(&self, name: &str) {
        self.say(
            PAUSE_OF_GUESSES,
            "guesses",
            &format!("a password of {name} was not tried: there are too many"),
        );
    }

    fn say(&self, pause: Duration, kind: &'static str, line: &str) {
        let now = Instant::now();
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let unsaid = match said.get_mut(kind) {
            Some(before) if now.duration_since(before.at) < pause => {
                before.unsaid += 1;
                return;
            }
            Some(before) => before.unsaid,
            None => 0,
        };
        said.insert(kind, Said { at: now, unsaid: 0 });
        drop(said);
        // A line, whatever is in it.
        let line: String = plain(line).chars().take(MOST_CHARACTERS).collect();
        let others = if unsaid > 0 { format!(" (and {unsaid} times before)") } else { String::new() };
        (self.log)(&format!("metrics: {line}{others}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_the_same_is_one_line() {
        let lines: Arc<Mutex<Vec<String>>> = Arc::default();
        let log = Arc::clone(&lines);
        let notes = Notes::new(
            Arc::new(move |line: &str| log.lock().unwrap().push(line.to_owned())),
            Arc::new(Daemon::new()),
        );
        for number in 0..100 {
            notes.closed(&format!("10.0.0.1:{number}"), Closed::Evicted, None);
        }
        for _ in 0..100 {
            notes.guesses("10.0.0.1:7");
        }
        notes.closed("10.0.0.1:9", Closed::Malformed, Some("malformed\nrequest"));
        let lines = lines.lock().unwrap();
        assert_eq!(lines.len(), 3, "{lines:?}");
        assert!(lines[0].starts_with("metrics: closed a connection of 10.0.0.1:0: "), "{lines:?}");
        assert!(lines[1].ends_with("too many"), "{lines:?}");
        assert!(lines[2].ends_with(r"malformed\nrequest"), "{lines:?}");
    }
}

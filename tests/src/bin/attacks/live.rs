//! Connections that live, opened from both sides, over both families.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use crate::entries::{ESTABLISHED, Entry};
use crate::keeper::{Keeper, MOST};
use crate::target::Target;

/// What repeats of lost segments may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(5);
/// Seconds that an established connection may rest, by the defaults of both filters.
const ESTABLISHED_SECONDS: u64 = 432_000;
/// What reading the table may take.
const SLACK: u64 = 5;
/// Until then both ends have acknowledged what they heard; nftables is impatient before.
const ACKNOWLEDGED: Duration = Duration::from_millis(250);

/// Both ends of a connection, as the filter sees them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Ends {
    /// The server's.
    pub(crate) local: SocketAddr,
    /// The one that strangers pass off as theirs.
    pub(crate) remote: SocketAddr,
}

/// Connections and when they last spoke.
pub(crate) struct Live {
    keepers: Vec<Keeper>,
    /// Of each.
    pub(crate) ends: Vec<Ends>,
    /// Of those that were replaced.
    former: HashSet<Ends>,
    spoke: Instant,
}

/// What became of them, by their numbers.
#[derive(Default)]
pub(crate) struct Harm {
    /// Their entry is away, or in a state in which it soon is.
    pub(crate) ended: HashSet<usize>,
    /// Their entry is in another state than before, or rests less long.
    pub(crate) shortened: HashSet<usize>,
    /// Entries that are kept, though nobody has such a connection.
    pub(crate) begun: HashSet<Ends>,
}

impl Live {
    /// So many, both ends of which have spoken.
    pub(crate) fn open(target: &Arc<Target>, count: usize) -> Result<Self> {
        let mut live =
            Self { keepers: Vec::new(), ends: Vec::new(), former: HashSet::new(), spoke: Instant::now() };
        for first in (0..count).step_by(MOST) {
            let (keeper, ends) = Keeper::open(target, first..count.min(first + MOST))?;
            live.keepers.push(keeper);
            live.ends.extend(ends);
        }
        let silent = live.silent()?.len();
        ensure!(silent == 0, "{silent} of {count} connections are silent from the beginning");
        Ok(live)
    }

    /// All of them speak in both directions: those that do not hear each other.
    pub(crate) fn silent(&mut self) -> Result<Vec<usize>> {
        self.spoke = Instant::now();
        let told: Result<Vec<_>> = self.keepers.iter().map(Keeper::talk).collect();
        let mut heard = Vec::new();
        for told in told? {
            heard.extend(told.recv().context("the thread that keeps connections panicked")?);
        }
        thread::sleep(ACKNOWLEDGED);
        Ok((0..heard.len()).filter(|number| !heard[*number]).collect())
    }

    /// Opens others in place of some.
    pub(crate) fn replace(&mut self, mut numbers: Vec<usize>) -> Result<()> {
        numbers.sort_unstable();
        numbers.dedup();
        for some in numbers.chunk_by(|a, b| a / MOST == b / MOST) {
            let ends = self.keepers[some[0] / MOST].replace(some.to_vec())?;
            for (number, ends) in some.iter().zip(ends) {
                self.former.insert(self.ends[*number]);
                self.ends[*number] = ends;
            }
        }
        Ok(())
    }

    /// Adds what the table tells of them now.
    pub(crate) fn look(&self, target: &Target, harm: &mut Harm) -> Result<()> {
        let entries: Vec<Entry> =
            target.entries()?.into_iter().filter(|entry| entry.protocol == "tcp").collect();
        let ends = |entry: &Entry| Ends { local: entry.local, remote: entry.remote };
        let by_ends: HashMap<Ends, &Entry> = entries.iter().map(|entry| (ends(entry), entry)).collect();
        let least = ESTABLISHED_SECONDS.saturating_sub(self.spoke.elapsed().as_secs() + SLACK);
        for (number, ends) in self.ends.iter().enumerate() {
            match by_ends.get(ends) {
                Some(entry) if entry.state == ESTABLISHED && entry.expires >= least => {}
                None => drop(harm.ended.insert(number)),
                Some(entry) if ["reset", "closed", "close"].contains(&entry.state.as_str()) => {
                    harm.ended.insert(number);
                }
                Some(_) => drop(harm.shortened.insert(number)),
            }
        }
        let known: HashSet<&Ends> = self.ends.iter().chain(&self.former).collect();
        let kept = entries.iter().filter(|entry| entry.is_kept).map(ends);
        harm.begun.extend(kept.filter(|ends| !known.contains(ends)));
        harm.shortened.retain(|number| !harm.ended.contains(number));
        Ok(())
    }
}

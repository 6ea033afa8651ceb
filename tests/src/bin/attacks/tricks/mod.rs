//! Attacks that are in no list, each by itself: a sentence, what is right, and what was seen.

mod begins;
mod ends;
mod keeps;
mod room;

use std::sync::Arc;

use anyhow::{Context as _, Result};
use fw_tests::random::Random;
use fw_tests::traffic::Torrent;

use crate::live::{Ends, Harm, Live};
use crate::options::{Options, Part};
use crate::report::Report;
use crate::target::{Filter, Target};

/// Connections that live.
const LIVE: usize = 40;

/// What was seen, and whether that is right.
type Seen = (String, bool);

/// One attack.
struct Trick {
    says: &'static str,
    right: &'static str,
    play: fn(&mut Scene) -> Result<Seen>,
}

const UNHARMED: &str = "none ended, shortened, begun, silent";

const TRICKS: [Trick; 12] = [
    Trick::new("the server's challenge ACK to a forged SYN as accomplice", UNHARMED, ends::challenge_acks),
    Trick::new("first and later fragments with a connection's ports", UNHARMED, ends::fragments),
    Trick::new("the server's own address as sender, from outside", UNHARMED, ends::own_address),
    Trick::new("one side has ended, strangers end the other", "all heard after 12 s", ends::half_closed),
    Trick::new("resets keep a connection that rests", "none refreshed", keeps::resets),
    Trick::new("ICMP errors keep a connection that rests", "none refreshed", keeps::errors),
    Trick::new("SYNs cross those of the server (simultaneous open)", "none lost", begins::simultaneous_open),
    Trick::new("answers, resets and errors to the server's SYNs", "none lost", begins::blind_answers),
    Trick::new("TCP Fast Open with data from nobody, no cookie asked", "none kept", begins::fast_open),
    Trick::new("a connection that was just closed is begun again", "none kept", begins::begun_again),
    Trick::new(
        "8192 answered UDP streams, 4 datagrams in 3 s, table of 4096",
        "0 / 0 lost",
        room::slow_streams,
    ),
    Trick::new(
        "SYNs from the reserved rule's own sources, table of 4096",
        "0 / 0 lost",
        room::reserved_sources,
    ),
];

impl Trick {
    const fn new(says: &'static str, right: &'static str, play: fn(&mut Scene) -> Result<Seen>) -> Self {
        Self { says, right, play }
    }
}

/// Where they are played.
struct Scene {
    target: Arc<Target>,
    strangers: Torrent,
    live: Live,
    random: Random,
}

/// All of them.
pub(crate) fn attack(options: &Options, filter: Filter, report: &mut Report) -> Result<()> {
    let target = Arc::new(Target::new(filter)?);
    let (strangers, live) = (target.strangers()?, Live::open(&target, LIVE)?);
    let mut scene = Scene { target, strangers, live, random: Random(options.seed) };
    for trick in &TRICKS {
        let seen = (trick.play)(&mut scene).context(trick.says)?;
        report.take((Part::Tricks, filter), trick.says, trick.right, seen);
    }
    Ok(())
}

impl Scene {
    /// A number that nobody knows.
    fn any(&mut self) -> u32 {
        self.random.next() as u32
    }

    /// Sends frames about each connection that lives; what they did to them. What was harmed is opened anew.
    fn against_all(&mut self, mut frames: impl FnMut(&mut Random, Ends) -> Vec<Vec<u8>>) -> Result<Seen> {
        let mut harm = Harm::default();
        let silent = self.live.silent()?;
        self.live.replace(silent)?;
        self.live.silent()?;
        for ends in &self.live.ends {
            self.strangers.send(&frames(&mut self.random, *ends))?;
        }
        self.live.look(&self.target, &mut harm)?;
        let (ended, shortened, begun) = (harm.ended.len(), harm.shortened.len(), harm.begun.len());
        let silent = self.live.silent()?;
        let harmed: Vec<usize> =
            harm.ended.into_iter().chain(harm.shortened).chain(silent.iter().copied()).collect();
        self.live.replace(harmed)?;
        let counts = [ended, shortened, begun, silent.len()];
        let [ended, shortened, begun, silent] = counts;
        let seen = format!("{ended}, {shortened}, {begun}, {silent} of {LIVE}");
        Ok((seen, counts == [0; 4]))
    }
}

/// None of so many is right.
fn none(count: u64, of: usize) -> Seen {
    (format!("{count} of {of}"), count == 0)
}

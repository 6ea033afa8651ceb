//! A flood of SYNs from nobody, that a tracked rule lets in, over connections that live: which of them are lost, and how
//! many new ones of real sockets come about meanwhile.
//!
//! The flood comes from one CPU by a wire of its own, as it comes by a receive queue of its own where there are several:
//! those of a veth drop what two CPUs send into one. The sockets are on the other CPU and the other wire, under the same
//! rules and in the same table. What they do without the flood is measured with that CPU as busy: the same flood goes to
//! another pair of hosts then.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use fw_tests::affinity;
use fw_tests::instruments::Instruments;
use fw_tests::netns::{Rig, join};
use serde::Serialize;

use super::frames::{ANYBODY, Kind, TRACKED_PORT};
use super::sockets::{DEFAULT_MAX, Outcome, Sockets};
use super::track::{BESIDE, Face, Filter, Track, generator, generator_at};
use crate::figures::{Goal, Limit, Sample};
use crate::options::Options;

/// Connections that live.
const LIVE: u32 = 10_000;
/// How often each of them has a packet.
const TALK: Duration = Duration::from_secs(10);
/// Frames of one call of the generator: some tens of milliseconds.
const BURST: u32 = 1 << 17;

/// What came of it.
#[derive(Clone, Serialize)]
pub(super) struct Siege {
    /// Who judged.
    pub(super) filter: &'static str,
    /// Seconds of flood.
    pub(super) seconds: f64,
    /// Frames of the flood.
    pub(super) frames: u64,
    /// Connections of before that were none after.
    pub(super) lost: u64,
    /// New connections a second before, meanwhile and after.
    pub(super) rates: [f64; 3],
    /// Of the middle ones, those that came to nothing.
    pub(super) failed: u64,
}

impl Siege {
    /// Nanoseconds of a frame, all included.
    pub(super) fn ns(&self) -> f64 {
        self.seconds * 1e9 / self.frames as f64
    }

    /// New connections, in parts of those without the flood.
    pub(super) fn share(&self) -> f64 {
        let [before, meanwhile, after] = self.rates;
        2.0 * meanwhile / (before + after)
    }

    /// What was promised of fwctl.
    pub(super) fn goals(&self) -> Vec<Goal> {
        let Self { filter, seconds, lost, .. } = self;
        let what = |what: &str| format!("SYN flood of {seconds:.0} s, {filter}: {what}");
        let one = |value| Sample(vec![value]);
        vec![
            Goal::new(
                what(&format!("of {LIVE} connections lost")),
                "",
                Limit::AtMost(0.0),
                one(*lost as f64),
            ),
            Goal::new(what("new connections / without"), "times", Limit::AtLeast(0.9), one(self.share())),
        ]
    }
}

/// fwctl at both of its hooks, nobody (what the veth and its queues do to the sockets), and nftables if it is wanted; a
/// quick look is at XDP alone.
pub(super) fn measure(options: &Options, with_nft: bool) -> Result<Vec<Siege>> {
    let ours = |mode| Filter::Ours { mode, max: DEFAULT_MAX };
    let mut filters = vec![("fwctl, XDP", ours("xdp"))];
    if !options.quick {
        filters.extend([("fwctl, TC", ours("tc")), ("no filter", Filter::Empty)]);
        filters.extend(with_nft.then_some(("nft inet, ct", Filter::Nft)));
    }
    let siege = |(name, filter)| {
        println!("   a flood over connections that live: {name}");
        siege(options, name, filter).context(name)
    };
    filters.into_iter().map(siege).collect()
}

fn siege(options: &Options, name: &'static str, filter: Filter) -> Result<Siege> {
    let (quiet, time) = if options.quick { (1, 10) } else { (10, 60) };
    let (quiet, time) = (Duration::from_secs(quiet), Duration::from_secs(time));
    let (mut track, elsewhere) = (Track::open_beside(filter)?, elsewhere()?);
    if filter != Filter::Empty {
        track.fill(0, LIVE)?;
    }
    let beside_it = track.rig.client.index(BESIDE)?;
    let mut flood = generator_at(beside_it, Kind::Syn(TRACKED_PORT), 0, ANYBODY, true)?;
    let mut talk = generator(Kind::Acknowledges, 0, LIVE, false)?;

    let rig = &track.rig;
    // As it is elsewhere: for real sockets a SYN is remembered.
    rig.server.sysctl("ipv4/tcp_syncookies", "1")?;
    let sockets = Sockets::new(rig)?;
    let idle = || Ok(());
    let (before, _) = beside(&elsewhere.0, &mut flood, || sockets.run(1, quiet, idle))?;
    let mut last = Instant::now();
    let talks = || {
        if last.elapsed() >= TALK {
            last = Instant::now();
            talk.send(LIVE)?;
        }
        Ok(())
    };
    let start = Instant::now();
    let (meanwhile, frames) = beside(rig, &mut flood, || sockets.run(1, time, talks))?;
    let seconds = start.elapsed().as_secs_f64();
    let (after, _) = beside(&elsewhere.0, &mut flood, || sockets.run(1, quiet, idle))?;
    for (outcome, when) in [(before, "before"), (after, "after")] {
        ensure!(outcome.failed == 0, "{} new connections came to nothing {when} the flood", outcome.failed);
    }
    drop(sockets);

    let lost = if filter == Filter::Empty { 0 } else { lost(&mut track, &mut talk)? };
    Ok(Siege {
        filter: name,
        seconds,
        frames,
        lost,
        rates: [before, meanwhile, after].map(|outcome| outcome.rate),
        failed: meanwhile.failed,
    })
}

/// Connections of before whose next packet is none of a connection.
fn lost(track: &mut Track, talk: &mut Instruments) -> Result<u64> {
    let known = track.established()?;
    let (arrived, _) = track.send(Face::Stack, 1, talk, LIVE)?;
    ensure!(arrived >= u64::from(LIVE), "of {LIVE} frames {arrived} arrived");
    Ok(u64::from(LIVE).saturating_sub(track.established()? - known))
}

/// Another pair of hosts, of which the one drops everything.
fn elsewhere() -> Result<(Rig, Instruments)> {
    let rig = Rig::direct()?;
    join(&rig.client, BESIDE, &rig.server, BESIDE)?;
    let mut instruments = Instruments::load(&[], None)?;
    rig.server.run(|| instruments.attach_xdp("drop_xdp", BESIDE))?;
    Ok((rig, instruments))
}

/// Sends frames as fast as one CPU makes them while something is done; how many they were.
fn beside(
    rig: &Rig,
    flood: &mut Instruments,
    work: impl FnOnce() -> Result<Outcome>,
) -> Result<(Outcome, u64)> {
    let (over, frames) = (AtomicBool::new(false), AtomicU64::new(0));
    let outcome = thread::scope(|scope| {
        let sending = scope.spawn(|| {
            rig.client.run(|| {
                affinity::pin(0)?;
                while !over.load(Ordering::Relaxed) {
                    flood.send(BURST)?;
                    frames.fetch_add(BURST.into(), Ordering::Relaxed);
                }
                anyhow::Ok(())
            })
        });
        let outcome = work();
        over.store(true, Ordering::Relaxed);
        sending.join().map_err(|_| anyhow!("the sending thread panicked"))??;
        outcome
    })?;
    Ok((outcome, frames.into_inner()))
}

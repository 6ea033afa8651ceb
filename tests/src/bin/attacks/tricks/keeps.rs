//! Attacks that would keep an entry whose connection rests: who ended it would never get the room back.

use std::thread;
use std::time::Duration;

use anyhow::Result;
use fw_tests::packet::flag::RST;
use fw_tests::random::Random;

use super::{LIVE, Scene, Seen, none};
use crate::live::Ends;
use crate::sequences::{error, segment};

/// Before strangers come.
const REST: Duration = Duration::from_secs(4);
/// An entry that was refreshed has more than this left.
const REFRESHED: u64 = 432_000 - 3;
const EACH: usize = 64;

/// The server says nothing to a reset that does not fit: no segment of its own refreshes the entry.
pub(super) fn resets(scene: &mut Scene) -> Result<Seen> {
    refreshed(scene, |random, ends, _| segment(ends, RST, random.next() as u32, 0).build())
}

/// Nor to an error about what it did not send.
pub(super) fn errors(scene: &mut Scene) -> Result<Seen> {
    refreshed(scene, |random, ends, number| error(ends, number, random.next() as u32).build())
}

fn refreshed(scene: &mut Scene, frame: impl Fn(&mut Random, Ends, usize) -> Vec<u8>) -> Result<Seen> {
    scene.live.silent()?;
    thread::sleep(REST);
    for ends in &scene.live.ends {
        let frames: Vec<Vec<u8>> = (0..EACH).map(|number| frame(&mut scene.random, *ends, number)).collect();
        scene.strangers.send(&frames)?;
    }
    let entries = scene.target.entries()?;
    let is_live = |ends: &Ends| scene.live.ends.contains(ends);
    let live = entries.iter().filter(|entry| is_live(&Ends { local: entry.local, remote: entry.remote }));
    let refreshed = live.filter(|entry| entry.expires > REFRESHED).count();
    Ok(none(refreshed as u64, LIVE))
}

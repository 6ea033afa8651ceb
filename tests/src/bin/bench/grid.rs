//! Drops by every variant, over rule sets, kinds of frames and places of their sources: rounds in which the variants
//! take turns.

use anyhow::{Context as _, Result, ensure};
use fw_tests::instruments::Instruments;
use serde::Serialize;

use crate::figures::Sample;
use crate::keys::{self, Kind, Place};
use crate::lane::{DEVICE, Lane, Variant};
use crate::options::Options;
use crate::sets::Set;

/// Frames of the check before.
const CHECKED: u32 = 10_000;
/// Of a variant that takes tens of microseconds for each.
const CHECKED_SLOW: u32 = 2_000;
/// Packets that the two hosts exchange by themselves meanwhile (neighbour and multicast discovery), at most.
const CHATTER: u64 = 100;

/// What is to be measured.
pub(crate) struct Grid {
    /// Its name in the results.
    pub(crate) part: &'static str,
    /// The rule sets, the smallest first.
    pub(crate) sets: Vec<Set>,
    /// The frames.
    pub(crate) kinds: Vec<Kind>,
    /// Where they come from.
    pub(crate) places: Vec<Place>,
    /// Different frames, where they are not one.
    pub(crate) keys: usize,
    /// Who drops them, and the number of the rule set.
    pub(crate) variants: Vec<(Variant, usize)>,
}

/// The figures of one variant for one kind of frame.
#[derive(Clone, Serialize)]
pub(crate) struct Cell {
    /// Part of the run.
    pub(crate) part: &'static str,
    /// Who dropped, in words.
    pub(crate) variant: &'static str,
    /// Rules or CIDRs.
    pub(crate) size: usize,
    /// The frames, in words.
    pub(crate) kind: &'static str,
    /// Where they came from, in a word.
    pub(crate) place: &'static str,
    /// Nanoseconds a packet, generator and veth included.
    pub(crate) ns: Sample,
    /// The same of the empty program of the hook, just before.
    pub(crate) empty_ns: Sample,
}

impl Cell {
    /// What the filter costs.
    pub(crate) fn over_empty(&self) -> Sample {
        self.ns.minus(&self.empty_ns)
    }

    /// Packets a second, in parts of the empty program's.
    pub(crate) fn rate(&self) -> Sample {
        self.empty_ns.over(&self.ns)
    }
}

impl Grid {
    /// Measures everything.
    pub(crate) fn measure(&self, options: &Options) -> Result<Vec<Cell>> {
        let mut lanes = Vec::new();
        for (variant, number) in &self.variants {
            println!("   {} with {} {}", variant.name(), self.sets[*number].size, self.part);
            if let Some(lane) = Lane::open(*variant, *number, &self.sets[*number])? {
                self.check_allowed(&lane).with_context(|| self.name(&lane))?;
                lanes.push(lane);
            }
        }
        let mut cells = Vec::new();
        for kind in &self.kinds {
            for place in &self.places {
                cells.extend(self.block(options, &lanes, *kind, *place)?);
            }
        }
        Ok(cells)
    }

    /// All variants with one kind of frames.
    fn block(&self, options: &Options, lanes: &[Lane], kind: Kind, place: Place) -> Result<Vec<Cell>> {
        let mut generators = Vec::new();
        for set in &self.sets {
            generators.push(Instruments::load(&keys::denied(set, kind, place, self.keys)?, Some(DEVICE))?);
        }
        let lanes: Vec<&Lane> = lanes.iter().filter(|lane| takes_part(lane, kind, place)).collect();
        let mut counts = Vec::new();
        for lane in &lanes {
            let generator = &mut generators[lane.set];
            counts.push(check_denied(lane, generator, kind, options).with_context(|| {
                format!("before timing: {}, {}, {}", self.name(lane), kind.name(), place.name())
            })?);
        }
        let empty = |lane: &&Lane| lanes.iter().position(|other| other.variant == lane.variant.empty());
        let empties: Vec<usize> = lanes.iter().filter_map(empty).collect();
        // The empty program before every other: machines change their pace within seconds.
        let samples = options.rounds(|| {
            let mut pairs = Vec::new();
            for (at, empty) in empties.iter().enumerate() {
                for at in [*empty, at] {
                    pairs.push(lanes[at].send(&mut generators[lanes[at].set], counts[at])?.1);
                }
            }
            Ok(pairs)
        })?;
        let cells = lanes.iter().zip(samples.chunks_exact(2)).map(|(lane, pair)| Cell {
            part: self.part,
            variant: lane.variant.name(),
            size: self.sets[lane.set].size,
            kind: kind.name(),
            place: place.name(),
            ns: pair[1].clone(),
            empty_ns: pair[0].clone(),
        });
        Ok(cells.collect())
    }

    /// Frames that the rules allow pass: nobody drops everything.
    fn check_allowed(&self, lane: &Lane) -> Result<()> {
        if lane.variant == lane.variant.empty() {
            return Ok(());
        }
        let frames = keys::allowed(&self.sets[lane.set], 1000);
        let mut generator = Instruments::load(&frames, Some(DEVICE))?;
        let before = lane.delivered()?;
        let (arrived, _) = lane.send(&mut generator, frames.len() as u32)?;
        let delivered = lane.delivered()? - before;
        ensure!(
            delivered + CHATTER >= arrived,
            "of {arrived} frames that its rules allow {delivered} passed"
        );
        Ok(())
    }

    fn name(&self, lane: &Lane) -> String {
        format!("{} with {} {}", lane.variant.name(), self.sets[lane.set].size, self.part)
    }
}

/// xdp-filter knows the closed port only, and peers are compared by what is in their tables.
fn takes_part(lane: &Lane, kind: Kind, place: Place) -> bool {
    let is_known = lane.variant != Variant::XdpFilter || kind.layer == keys::Layer::Groups;
    is_known && (!lane.variant.is_peer() || place == Place::Table)
}

/// Every frame arrives and is dropped, by fwctl for the reason expected. How many frames are worth a round.
fn check_denied(lane: &Lane, generator: &mut Instruments, kind: Kind, options: &Options) -> Result<u32> {
    let wanted = if lane.variant.is_peer() { CHECKED_SLOW } else { CHECKED };
    let (delivered, counted) = (lane.delivered()?, lane.counted(kind.reasons())?);
    let (arrived, ns) = lane.send(generator, wanted)?;
    ensure!(arrived >= u64::from(wanted), "of {wanted} frames {arrived} arrived");
    let delivered = lane.delivered()? - delivered;
    ensure!(delivered <= CHATTER, "of {arrived} frames that are to be denied {delivered} passed");
    if let (Some(before), Some(after)) = (counted, lane.counted(kind.reasons())?) {
        let counted = after - before;
        let sent = u64::from(wanted);
        ensure!(counted == sent, "of {sent} frames {counted} were counted as {:?}", kind.reasons());
    }
    Ok((options.slice.as_nanos() as f64 / ns).clamp(f64::from(CHECKED_SLOW), 1e6) as u32)
}

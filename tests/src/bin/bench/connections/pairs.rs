//! Nanoseconds of packets under a filter and, immediately before, under the empty one of its place.

use anyhow::{Result, ensure};
use fw_tests::instruments::Instruments;
use serde::Serialize;

use super::track::{Face, Filter, Track};
use crate::figures::Sample;
use crate::options::Options;

/// Frames of the check before, at least.
const CHECKED: u32 = 10_000;

/// The filters, each with the empty one of its place.
pub(super) struct Tracks {
    tracks: Vec<(Filter, Track)>,
}

/// A filter and where it judges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Judge {
    /// fwctl.
    Ours(Face),
    /// nftables.
    Nft,
}

impl Judge {
    /// As tables call it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Ours(Face::Xdp) => "fwctl, XDP",
            Self::Ours(Face::Stack) => "fwctl, TC",
            Self::Nft => "nft inet, ct",
        }
    }

    fn face(self) -> Face {
        if self == Self::Ours(Face::Xdp) { Face::Xdp } else { Face::Stack }
    }
}

/// What is to be measured.
pub(super) struct Shot {
    /// In words.
    pub(super) packet: String,
    /// Connections among which it is a random one's.
    pub(super) connections: u32,
    /// Who judges.
    pub(super) judge: Judge,
    /// Which of the generators makes it.
    pub(super) generator: usize,
}

/// The figures of one.
#[derive(Serialize)]
pub(super) struct Row {
    /// In words.
    pub(super) packet: String,
    /// Connections among which it is a random one's.
    pub(super) connections: u32,
    /// Who judged.
    pub(super) judge: &'static str,
    /// Nanoseconds a packet, generator and veth included.
    pub(super) ns: Sample,
    /// The same of the empty filter, just before.
    pub(super) empty_ns: Sample,
}

impl Row {
    /// What the filter costs.
    pub(super) fn over_empty(&self) -> Sample {
        self.ns.minus(&self.empty_ns)
    }
}

impl Tracks {
    /// Opens fwctl at TC, where its program at XDP can be asked as well, and nftables if it is wanted.
    pub(super) fn open(max: u32, with_nft: bool) -> Result<Self> {
        let mut filters = vec![Filter::Empty, Filter::Ours { mode: "tc", max }];
        if with_nft {
            filters.extend([Filter::EmptyStack, Filter::Nft]);
        }
        let tracks = filters.into_iter().map(|filter| Ok((filter, Track::open(filter)?)));
        Ok(Self { tracks: tracks.collect::<Result<_>>()? })
    }

    /// The track of a judge.
    pub(super) fn of(&mut self, judge: Judge) -> Result<&mut Track> {
        self.find(|filter| match judge {
            Judge::Ours(_) => matches!(filter, Filter::Ours { .. }),
            Judge::Nft => filter == Filter::Nft,
        })
    }

    fn empty_of(&mut self, judge: Judge) -> Result<&mut Track> {
        let wanted = if judge == Judge::Nft { Filter::EmptyStack } else { Filter::Empty };
        self.find(|filter| filter == wanted)
    }

    fn find(&mut self, wanted: impl Fn(Filter) -> bool) -> Result<&mut Track> {
        let found = self.tracks.iter_mut().find(|(filter, _)| wanted(*filter));
        found.map(|(_, track)| track).ok_or_else(|| anyhow::anyhow!("a filter was not opened"))
    }

    /// Measures in rounds; `check` sees each track get so many packets before.
    pub(super) fn measure(
        &mut self,
        options: &Options,
        generators: &mut [Instruments],
        shots: Vec<Shot>,
        check: impl Fn(&mut Track, &Shot, &mut Instruments, u32) -> Result<f64>,
    ) -> Result<Vec<Row>> {
        let mut counts = Vec::new();
        for shot in &shots {
            let ns = check(self.of(shot.judge)?, shot, &mut generators[shot.generator], CHECKED)?;
            ensure!(ns > 0.0, "{}: no time has passed", shot.packet);
            counts.push((options.slice.as_nanos() as f64 / ns).clamp(2000.0, 2e6) as u32);
        }
        // The empty filter before every other: machines change their pace within seconds.
        let samples = options.rounds(|| {
            let mut round = Vec::new();
            for (shot, count) in shots.iter().zip(&counts) {
                let (face, generator) = (shot.judge.face(), &mut generators[shot.generator]);
                round.push(self.empty_of(shot.judge)?.send(face, 0, generator, *count)?.1);
                round.push(self.of(shot.judge)?.send(face, 0, generator, *count)?.1);
            }
            Ok(round)
        })?;
        let rows = shots.into_iter().zip(samples.chunks_exact(2)).map(|(shot, pair)| Row {
            packet: shot.packet,
            connections: shot.connections,
            judge: shot.judge.name(),
            ns: pair[1].clone(),
            empty_ns: pair[0].clone(),
        });
        Ok(rows.collect())
    }
}

impl Shot {
    /// Sends so many of them; the nanoseconds of each.
    pub(super) fn send(&self, track: &mut Track, generator: &mut Instruments, count: u32) -> Result<f64> {
        let (arrived, ns) = track.send(self.judge.face(), 0, generator, count)?;
        ensure!(arrived >= u64::from(count), "{}: of {count} frames {arrived} arrived", self.packet);
        Ok(ns)
    }
}

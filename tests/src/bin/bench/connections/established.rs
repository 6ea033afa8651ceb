//! Packets of connections: of one, and of a random one of up to a million.

use anyhow::{Context as _, Result, ensure};
use fw_tests::instruments::Instruments;

use super::frames::Kind;
use super::pairs::{Judge, Row, Shot, Tracks};
use super::track::{Face, generator};
use crate::figures::{Goal, Limit};
use crate::options::Options;

/// Connections that live.
pub(super) const SIZES: [u32; 5] = [10_000, 30_000, 100_000, 300_000, 1_000_000];
/// No goal is about these.
const OF_THE_CURVE: [usize; 3] = [30_000, 100_000, 300_000];
/// Of IPv6, and of nftables at most: its limit is that of the machine, which is nobody's to move.
const FEW: u32 = 10_000;
const ONE: &str = "established";
const RANDOM: &str = "established, IPv4, a random one's";
/// Over the empty program, by family.
const MOST_NS: [f64; 2] = [20.0, 30.0];

/// The sizes that were asked for.
pub(super) fn sizes(options: &Options) -> Vec<u32> {
    let all = SIZES.map(|size| size as usize);
    let sizes = options.sizes(&all, &OF_THE_CURVE).into_iter().map(|size| size as u32).collect::<Vec<_>>();
    if sizes.is_empty() { vec![FEW] } else { sizes }
}

/// Opens the connections: of IPv4 as many as the largest size, and some of IPv6.
pub(super) fn fill(options: &Options, tracks: &mut Tracks, peers: u32) -> Result<()> {
    let ours = tracks.of(Judge::Ours(Face::Stack))?;
    let most = sizes(options).into_iter().max().unwrap_or(FEW);
    ours.fill(0, most).context("fwctl")?;
    ours.fill(1, FEW).context("fwctl, IPv6")?;
    if peers > 0 {
        tracks.of(Judge::Nft)?.fill(0, peers).context("nftables")?;
    }
    Ok(())
}

/// Everything about them; `peers` is how many connections nftables has.
pub(super) fn measure(options: &Options, tracks: &mut Tracks, peers: u32) -> Result<Vec<Row>> {
    let mut generators = Vec::new();
    let mut shots = Vec::new();
    for (family, name) in ["IPv4", "IPv6"].into_iter().enumerate() {
        for judge in [Judge::Ours(Face::Xdp), Judge::Ours(Face::Stack), Judge::Nft] {
            if judge != Judge::Nft || (family == 0 && peers > 0) {
                let packet = format!("{ONE}, {name}, always the same");
                shots.push(Shot { packet, connections: 1, judge, generator: generators.len() });
            }
        }
        generators.push(generator(Kind::Acknowledges, family, 1, true)?);
    }
    for connections in sizes(options) {
        for judge in [Judge::Ours(Face::Xdp), Judge::Ours(Face::Stack), Judge::Nft] {
            if judge != Judge::Nft || connections <= peers {
                let packet = RANDOM.to_owned();
                shots.push(Shot { packet, connections, judge, generator: generators.len() });
            } else if peers > 0 {
                println!(
                    "!! left out: nft inet, ct with {connections} connections: nf_conntrack_max is too small"
                );
            }
        }
        generators.push(generator(Kind::Acknowledges, 0, connections, true)?);
    }
    tracks.measure(options, &mut generators, shots, check)
}

/// Every one of them passes as a packet of a connection.
fn check(
    track: &mut super::track::Track,
    shot: &Shot,
    generator: &mut Instruments,
    count: u32,
) -> Result<f64> {
    let (before, connections) = (track.established()?, track.connections()?);
    let ns = shot.send(track, generator, count)?;
    let (passed, now) = (track.established()? - before, track.connections()?);
    let name = shot.judge.name();
    ensure!(
        passed >= u64::from(count),
        "{name}: of {count} packets of connections {passed} were known as such"
    );
    ensure!(now <= connections, "{name}: packets of connections opened {} others", now - connections);
    Ok(ns)
}

/// What was promised.
pub(super) fn goals(rows: &[Row]) -> Vec<Goal> {
    let mut goals = Vec::new();
    for (family, most) in ["IPv4", "IPv6"].into_iter().zip(MOST_NS) {
        for judge in [Judge::Ours(Face::Xdp), Judge::Ours(Face::Stack)] {
            let name = format!("{ONE}, {family}, always the same");
            let row = rows.iter().find(|row| row.packet == name && row.judge == judge.name());
            goals.extend(row.map(|row| {
                let what = format!("{family}, established TCP: {}, over empty", judge.name());
                Goal::new(what, "ns", Limit::AtMost(most), row.over_empty())
            }));
        }
    }
    for judge in [Judge::Ours(Face::Xdp), Judge::Ours(Face::Stack)] {
        let of = |connections: u32| {
            let is_it = |row: &&Row| {
                row.packet == RANDOM && row.judge == judge.name() && row.connections == connections
            };
            rows.iter().find(is_it).map(Row::over_empty)
        };
        let [few, most] = [SIZES[0], SIZES[SIZES.len() - 1]];
        goals.extend(of(few).zip(of(most)).map(|(less, more)| {
            let what = format!("a random one of {most} connections / of {few}: {}", judge.name());
            Goal::new(what, "times", Limit::AtMost(2.0), more.over(&less))
        }));
    }
    goals
}

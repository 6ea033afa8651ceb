//! Packets of senders that nobody met before: new connections, and floods of what opens none.

use anyhow::{Context as _, Result, bail, ensure};
use fw_common::Reason;
use fw_tests::instruments::Instruments;

use super::frames::{self, ANYBODY, Kind, OPEN_PORT, TRACKED_PORT};
use super::pairs::{Judge, Row, Shot, Tracks};
use super::track::{Face, Track, generator};
use crate::figures::{Goal, Limit};
use crate::options::Options;

const NEW: &str = "SYN, tracked rule";
/// By any packet of a flood, over the empty program.
const MOST_FLOOD_NS: f64 = 200.0;
/// By the first packet of a connection, over the empty program.
const MOST_NEW_NS: f64 = 80.0;

/// All kinds, in IPv4; those that open connections in IPv6 as well.
const FLOODS: [(&str, Kind, usize); 8] = [
    (NEW, Kind::Syn(TRACKED_PORT), 0),
    ("SYN, tracked rule, IPv6", Kind::Syn(TRACKED_PORT), 1),
    ("SYN, open rule", Kind::Syn(OPEN_PORT), 0),
    ("SYN, denied", frames::denied(), 0),
    ("SYN-ACK", Kind::SynAck, 0),
    ("RST", Kind::Rst, 0),
    ("UDP, tracked rule", Kind::Udp, 0),
    ("ICMP error, quoting anything", Kind::IcmpError, 0),
];

/// One after the other; nftables where it is.
pub(super) fn measure(options: &Options, tracks: &mut Tracks, with_nft: bool) -> Result<Vec<Row>> {
    let mut generators = Vec::new();
    let mut shots = Vec::new();
    for (name, kind, family) in FLOODS {
        for judge in [Judge::Ours(Face::Xdp), Judge::Ours(Face::Stack), Judge::Nft] {
            // What its rules are, and what its stack does with it: SYNs end at a socket, others would be answered.
            let is_compared = kind == Kind::Syn(TRACKED_PORT) || matches!(kind, Kind::SynAck | Kind::Rst);
            if judge != Judge::Nft || (with_nft && family == 0 && is_compared) {
                shots.push(Shot {
                    packet: name.to_owned(),
                    connections: ANYBODY,
                    judge,
                    generator: generators.len(),
                });
            }
        }
        generators.push(generator(kind, family, ANYBODY, true)?);
    }
    tracks.measure(options, &mut generators, shots, check)
}

/// Every one is judged: what a rule allows passes, or is refused for there being too many, the rest is dropped.
fn check(track: &mut Track, shot: &Shot, generator: &mut Instruments, count: u32) -> Result<f64> {
    let counted = |track: &Track| -> Result<Option<[u64; 2]>> {
        let Some(loaded) = track.loaded() else { return Ok(None) };
        // Of so many random senders some come twice.
        let passed = loaded.counted(&track.rig.server, &[Reason::GroupRule, Reason::Established])?;
        Ok(Some([passed, loaded.dropped(&track.rig.server)?]))
    };
    let before = counted(track)?;
    let ns = shot.send(track, generator, count)?;
    if let (Some(before), Some(after)) = (before, counted(track)?) {
        let [passed, dropped] = [after[0] - before[0], after[1] - before[1]];
        let is_allowed = shot.packet.contains("rule");
        let name = format!("{}, {}", shot.judge.name(), shot.packet);
        if passed + dropped < u64::from(count) {
            let loaded = track.loaded().context("nothing is loaded")?;
            let all = loaded.reasons(&track.rig.server)?;
            bail!("{name}: of {count} packets {passed} passed and {dropped} were dropped; all so far: {all}");
        }
        ensure!(is_allowed || passed == 0, "{name}: {passed} of {count} packets that no rule allows passed");
        ensure!(!is_allowed || passed > 0, "{name}: none of {count} packets that a rule allows passed");
        if is_allowed && dropped > 0 {
            println!("   {name}: {dropped} of {count} are refused");
        }
    }
    Ok(ns)
}

/// What was promised.
pub(super) fn goals(rows: &[Row]) -> Vec<Goal> {
    let ours = [Judge::Ours(Face::Xdp), Judge::Ours(Face::Stack)];
    let mut goals = Vec::new();
    for judge in ours {
        let row = rows.iter().find(|row| row.packet == NEW && row.judge == judge.name());
        goals.extend(row.into_iter().flat_map(|row| {
            let goal = |what: &str, most| {
                let what = format!("IPv4, {what}: {}, over empty", judge.name());
                Goal::new(what, "ns", Limit::AtMost(most), row.over_empty())
            };
            [
                goal("new tracked flow, random senders", MOST_NEW_NS),
                goal("SYN flood, a packet", MOST_FLOOD_NS),
            ]
        }));
    }
    goals
}

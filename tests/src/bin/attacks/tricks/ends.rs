//! Attacks that would end a connection.

use std::net::IpAddr;
use std::thread;
use std::time::Duration;

use anyhow::Result;
use fw_tests::netns::Rig;
use fw_tests::packet::Packet;
use fw_tests::packet::flag::{ACK, FIN, RST, SYN};
use fw_tests::traffic::LiveTcp;

use super::{Scene, Seen};
use crate::live::{Ends, PATIENCE};
use crate::sequences::segment;
use crate::target::LIVE_PORTS;

/// A connection that strangers have closed is over by then.
const REST: Duration = Duration::from_secs(12);
/// Connections of which one side has ended.
const HALVES: usize = 8;

/// A SYN makes the server say its true numbers to its peer. What follows is as though the SYN had begun something.
pub(super) fn challenge_acks(scene: &mut Scene) -> Result<Seen> {
    scene.against_all(|random, ends| {
        let mut all = Vec::new();
        for _ in 0..8 {
            let (seq, ack) = (random.next() as u32, random.next() as u32);
            let next = seq.wrapping_add(1);
            all.push(segment(ends, SYN, seq, 0).build());
            all.push(segment(ends, SYN, next, 0).build());
            all.push(segment(ends, SYN | ACK, ack, next).build());
            all.push(segment(ends, ACK, next, ack).build());
            all.push(segment(ends, RST, next, 0).build());
            all.push(segment(ends, RST | ACK, ack, next).build());
            all.push(segment(ends, FIN | ACK, next, ack).build());
        }
        all
    })
}

/// Of a first fragment a filter sees the ports and the numbers, of a later one nothing.
pub(super) fn fragments(scene: &mut Scene) -> Result<Seen> {
    scene.against_all(|random, ends| {
        let mut all = Vec::new();
        for number in 0..8_u32 {
            let (seq, ack) = ((number << 29).wrapping_add(random.next() as u32), random.next() as u32);
            for flags in [ACK, FIN | ACK, RST] {
                let (whole, id) = (segment(ends, flags, seq, ack).payload(&[b'x'; 64]), random.next() as u32);
                all.push(whole.clone().fragment(id, 0, true).build());
                all.push(whole.fragment(id, 88, false).build());
            }
        }
        all
    })
}

/// As though the server had ended it: what comes in is never what was sent.
pub(super) fn own_address(scene: &mut Scene) -> Result<Seen> {
    scene.against_all(|random, ends| {
        let turned = Ends { local: ends.remote, remote: ends.local };
        let land = Ends { local: ends.local, remote: ends.local };
        let mut all = Vec::new();
        for number in 0..8_u32 {
            let (seq, ack) = ((number << 29).wrapping_add(random.next() as u32), random.next() as u32);
            for flags in [ACK, RST, RST | ACK, FIN | ACK, SYN] {
                all.extend([turned, land].map(|ends| segment(ends, flags, seq, ack).build()));
            }
        }
        all
    })
}

/// A connection of which one side has ended rests less long than others, and a second end would close it.
pub(super) fn half_closed(scene: &mut Scene) -> Result<Seen> {
    let Rig { client, server, .. } = &scene.target.rig;
    let mut halves = Vec::new();
    for number in 0..HALVES {
        let (from, to): (IpAddr, IpAddr) = if number % 2 == 0 {
            (client.v4.into(), server.v4.into())
        } else {
            (client.v6.into(), server.v6.into())
        };
        let live = LiveTcp::open_within(client, (from, 0), server, (to, LIVE_PORTS[0]), PATIENCE)?;
        live.client_ends()?;
        halves.push(live);
    }
    thread::sleep(Duration::from_millis(100));
    for live in &halves {
        let ends = Ends { local: live.server_address()?, remote: live.client_address()? };
        let (offset, ack) = (scene.random.next() as u32, scene.random.next() as u32);
        let tried = (0..8_u32).flat_map(|number| {
            let seq = (number << 29).wrapping_add(offset);
            let turned = segment(ends, FIN | ACK, ack, seq);
            [ACK, FIN | ACK, RST, RST | ACK]
                .map(|flags| segment(ends, flags, seq, ack))
                .into_iter()
                .chain([turned])
        });
        let frames: Vec<Vec<u8>> = tried.map(|packet: Packet| Packet::build(&packet)).collect();
        scene.strangers.send(&frames)?;
    }
    thread::sleep(REST);
    let heard = halves.iter_mut().map(|live| live.server_says(PATIENCE)).filter(|heard| *heard).count();
    Ok((format!("{heard} of {HALVES} heard"), heard == HALVES))
}

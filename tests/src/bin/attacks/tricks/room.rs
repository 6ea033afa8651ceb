//! Attacks that would crowd out others, in a small table of its own.

use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Result, anyhow};
use fw_tests::affinity;
use fw_tests::packet::{self, flag};
use fw_tests::random::Random;
use fw_tests::traffic::Echo;

use super::{LIVE, Scene, Seen};
use crate::forge::Forge;
use crate::live::Live;
use crate::target::{ADMITTED, DATAGRAM_PORT, FAR, RESERVED_PORT, Target};
use crate::{begin, outgoing};

/// Connections that the table is for.
const TABLE: u32 = 4096;
const STREAMS: u32 = 8192;
const DATAGRAMS: usize = 4;
const BETWEEN: Duration = Duration::from_millis(1000);
/// Good connections, and handshakes of the server.
const GOOD: usize = 200;
const OUTGOING: usize = 40;
const SPREAD: Duration = Duration::from_millis(500);

/// A service that answers makes every sender look like one of two who talk, however slowly.
pub(super) fn slow_streams(scene: &mut Scene) -> Result<Seen> {
    let target = Target::with_table(scene.target.filter, Some(TABLE))?;
    let (server, strangers) = (&target.rig.server, target.strangers()?);
    let echo = Echo::udp(server, (server.v4, DATAGRAM_PORT))?;
    let asks = Forge::new(&packet::udp("192.0.2.1:1", (server.v4, DATAGRAM_PORT)).payload(b"and now?"))?;
    let sender = |number| SocketAddrV4::new(Ipv4Addr::from(ADMITTED + number), 4000);
    let frames: Vec<Forge> = (0..STREAMS).map(|number| asks.from(sender(number))).collect();
    for _ in 0..DATAGRAMS {
        // In pieces that the echo's queue has room for.
        for some in frames.chunks(256) {
            strangers.send(some)?;
            thread::sleep(Duration::from_millis(2));
        }
        thread::sleep(BETWEEN);
    }
    let good = begin::some(&target, GOOD);
    let lost = outgoing::lost(&target, OUTGOING, SPREAD, |_, _| Ok(()))?;
    let answered = echo.served();
    let seen = format!("{} / {lost} of {GOOD} / {OUTGOING}   ({answered} answered)", good.failed);
    Ok((seen, good.failed == 0 && lost == 0 && answered >= u64::from(STREAMS)))
}

/// Whoever knows the administrators' network can send SYNs in its name: what is owed to those is theirs to take, not that
/// of established connections and of the server's own handshakes.
pub(super) fn reserved_sources(scene: &mut Scene) -> Result<Seen> {
    let target = Arc::new(Target::with_table(scene.target.filter, Some(TABLE))?);
    let mut live = Live::open(&target, LIVE)?;
    let (over, seed) = (AtomicBool::new(false), scene.random);
    let lost = thread::scope(|scope| {
        let flooding = scope.spawn(|| flood(&target, seed, &over));
        thread::sleep(SPREAD);
        let lost = outgoing::lost(&target, OUTGOING, SPREAD, |_, _| Ok(()));
        over.store(true, Ordering::Relaxed);
        flooding.join().map_err(|_| anyhow!("the sending thread panicked"))??;
        lost
    })?;
    let silent = live.silent()?.len();
    Ok((format!("{silent} / {lost} of {LIVE} / {OUTGOING}"), silent == 0 && lost == 0))
}

fn flood(target: &Target, mut random: Random, over: &AtomicBool) -> Result<()> {
    affinity::pin(0)?;
    let strangers = target.strangers()?;
    let syn = packet::tcp("192.0.2.1:1", (target.rig.server.v4, RESERVED_PORT)).flags(flag::SYN);
    let (syn, [a, b, c]) = (Forge::new(&syn)?, FAR[0]);
    while !over.load(Ordering::Relaxed) {
        let one = |_| {
            let who = random.next();
            let sender = SocketAddrV4::new(Ipv4Addr::new(a, b, c, who as u8), (who >> 32) as u16 | 1);
            syn.from(sender).numbers((who >> 8) as u32, 0)
        };
        let frames: Vec<Forge> = (0..64).map(one).collect();
        strangers.send(&frames)?;
    }
    Ok(())
}

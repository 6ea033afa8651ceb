//! Floods of every kind, admitted and denied, over connections that live and handshakes under way.

use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow};
use fw_tests::affinity;
use fw_tests::packet::{self, Packet, flag};
use fw_tests::random::Random;
use fw_tests::traffic::Echo;

use crate::forge::Forge;
use crate::live::Live;
use crate::options::{Options, Part};
use crate::report::Report;
use crate::target::{ADMITTED, DATAGRAM_PORT, DENIED, Filter, Target, WEB_PORT};
use crate::{outgoing, reserved};

/// Frames that are made before they are sent.
const BATCH: usize = 64;
/// A flood comes before the first handshake.
const BEFORE: Duration = Duration::from_millis(300);

/// What a flood is of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Syn,
    Udp,
    Ping,
    Ack,
    Mixed,
}

impl Kind {
    const ALL: [Self; 5] = [Self::Syn, Self::Udp, Self::Ping, Self::Ack, Self::Mixed];

    fn name(self) -> &'static str {
        match self {
            Self::Syn => "SYN",
            Self::Udp => "UDP",
            Self::Ping => "ping",
            Self::Ack => "ACK",
            Self::Mixed => "mixed",
        }
    }

    /// What is sent, in turn.
    fn forges(self, target: &Target) -> Result<Vec<Forge>> {
        let (from, to) = (("192.0.2.1", 1), target.rig.server.v4);
        let tcp = |flags| packet::tcp(from, (to, WEB_PORT)).flags(flags);
        let packets: Vec<Packet> = match self {
            Self::Syn => vec![tcp(flag::SYN)],
            Self::Udp => vec![packet::udp(from, (to, DATAGRAM_PORT)).payload(b"what?")],
            Self::Ping => vec![packet::icmp(from.0, to, 8, 0)],
            Self::Ack => vec![tcp(flag::ACK).seq(1).ack(1)],
            Self::Mixed => {
                let all = [Self::Syn, Self::Udp, Self::Ping, Self::Ack].map(|kind| kind.forges(target));
                return Ok(all.into_iter().collect::<Result<Vec<_>>>()?.concat());
            }
        };
        packets.iter().map(Forge::new).collect()
    }
}

/// All of them, each against connections and a table of its own: none has to pay for the one before.
pub(crate) fn attack(options: &Options, filter: Filter, report: &mut Report) -> Result<()> {
    for (who, network) in [("denied", DENIED), ("admitted", ADMITTED)] {
        for kind in Kind::ALL {
            let target = Arc::new(Target::new(filter)?);
            let server = &target.rig.server;
            // Those that are admitted are answered.
            let listener =
                server.run(|| TcpListener::bind((server.v4, WEB_PORT))).context("cannot listen")?;
            let echo = Echo::udp(server, (server.v4, DATAGRAM_PORT))?;
            let mut live = Live::open(&target, options.established())?;
            let (lost, rate) = flood(options, &target, kind, network)?;
            drop((listener, echo));
            let silent = live.silent()?.len();
            let [reserved, outgoing] = lost;
            let seen = format!("{silent} / {reserved} / {outgoing}   ({} k/s)", rate / 1000);
            let what = format!(
                "{}, {who}: lost of {} / {2} reserved / {2} outgoing",
                kind.name(),
                options.established(),
                options.under_way()
            );
            let is_right = [silent as u64, reserved, outgoing] == [0; 3];
            report.take((Part::Floods, filter), what, "0 / 0 / 0", (seen, is_right));
        }
    }
    Ok(())
}

/// One flood: reserved and outgoing handshakes that were lost meanwhile, and frames a second.
fn flood(options: &Options, target: &Target, kind: Kind, network: u32) -> Result<([u64; 2], u64)> {
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let sending = scope.spawn(|| send(options, target, kind, network, &over));
        thread::sleep(BEFORE);
        let (count, spread) = (options.under_way(), options.spread());
        let admins = scope.spawn(move || reserved::lost(target, count, spread));
        let outgoing = outgoing::lost(target, count, spread, |_, _| Ok(()));
        let reserved = admins.join().map_err(|_| anyhow!("the thread of administrators panicked"));
        over.store(true, Ordering::Relaxed);
        let rate = sending.join().map_err(|_| anyhow!("the sending thread panicked"))??;
        Ok(([reserved??, outgoing?], rate))
    })
}

/// As fast as one CPU sends, until it is over; frames a second.
fn send(options: &Options, target: &Target, kind: Kind, network: u32, over: &AtomicBool) -> Result<u64> {
    affinity::pin(0)?;
    let (strangers, forges) = (target.strangers()?, kind.forges(target)?);
    let (mut random, start, mut sent) = (Random(options.seed ^ u64::from(network)), Instant::now(), 0);
    while !over.load(Ordering::Relaxed) {
        let frames: Vec<Forge> = (0..BATCH)
            .map(|number| {
                let who = random.next();
                let address = Ipv4Addr::from(network | who as u32 & 0x1_ffff);
                forges[number % forges.len()].from(SocketAddrV4::new(address, (who >> 32) as u16 | 1))
            })
            .collect();
        sent += strangers.send(&frames)?;
    }
    Ok((sent as f64 / start.elapsed().as_secs_f64()) as u64)
}

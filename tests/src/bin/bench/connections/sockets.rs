//! TCP connections a second: connect, a request, an answer, close, by real sockets of both hosts.
//!
//! One thread does both ends' work on one CPU, one connection after the other: what a connection costs in all, without the
//! chance of who waits for whom.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use fw_common::Reason;
use fw_tests::affinity;
use fw_tests::netns::Rig;
use serde::Serialize;
use socket2::SockRef;

use super::rules::{self, SOCKET_PORT};
use crate::figures::{Goal, Limit, Sample};
use crate::filter::Loaded;
use crate::options::Options;

/// A SYN that is lost is sent again after one second.
const PATIENCE: Duration = Duration::from_millis(2500);
/// `conntrack_max` unless the rules say another.
pub(super) const DEFAULT_MAX: u32 = 262_144;
/// A round is so many slices.
const ROUND_SLICES: u32 = 10;
const OURS: &str = "fwctl, auto";
const NFT: &str = "nft inet, ct";
const REQUEST: [u8; 64] = [1; 64];
const ANSWER: [u8; 256] = [2; 256];

/// Both ends.
pub(super) struct Sockets<'a> {
    rig: &'a Rig,
    listener: TcpListener,
}

/// What came of some time of connecting.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outcome {
    /// Connections from beginning to end, a second.
    pub(super) rate: f64,
    /// Those that came to nothing.
    pub(super) failed: u64,
}

impl<'a> Sockets<'a> {
    /// A server that waits.
    pub(super) fn new(rig: &'a Rig) -> Result<Self> {
        let address = SocketAddr::new(rig.server.v4.into(), SOCKET_PORT);
        // The server hangs up first, and remembers for a minute: of so many it keeps the newest.
        rig.server.sysctl("ipv4/tcp_max_tw_buckets", "16384")?;
        let listener = rig.server.run(|| TcpListener::bind(address))?;
        // That of accepting too.
        SockRef::from(&listener).set_read_timeout(Some(PATIENCE))?;
        Ok(Self { rig, listener })
    }

    /// Connects again and again until it is time, on a CPU; `meanwhile` is called between two connections.
    pub(super) fn run(
        &self,
        cpu: usize,
        time: Duration,
        mut meanwhile: impl FnMut() -> Result<()> + Send,
    ) -> Result<Outcome> {
        self.rig.client.run(|| {
            affinity::pin(cpu)?;
            let (start, mut done, mut failed) = (Instant::now(), 0_u64, 0);
            while start.elapsed() < time {
                match self.once() {
                    Ok(()) => done += 1,
                    Err(error) if is_timeout(&error) => failed += 1,
                    Err(error) => return Err(error),
                }
                meanwhile()?;
            }
            Ok(Outcome { rate: done as f64 / start.elapsed().as_secs_f64(), failed })
        })
    }

    fn once(&self) -> Result<()> {
        let mut client = TcpStream::connect_timeout(&self.listener.local_addr()?, PATIENCE)?;
        client.set_read_timeout(Some(PATIENCE))?;
        client.write_all(&REQUEST)?;
        // Others that gave up may wait in the queue before it.
        let mut server = loop {
            let (server, from) = self.listener.accept()?;
            if from == client.local_addr()? {
                break server;
            }
        };
        server.set_read_timeout(Some(PATIENCE))?;
        let mut room = [0; ANSWER.len()];
        server.read_exact(&mut room[..REQUEST.len()])?;
        server.write_all(&ANSWER)?;
        client.read_exact(&mut room)?;
        ensure!(room == ANSWER, "the answer is another");
        drop(server);
        ensure!(client.read(&mut room)? == 0, "more than the answer came");
        Ok(())
    }
}

fn is_timeout(error: &anyhow::Error) -> bool {
    let kind = error.downcast_ref::<std::io::Error>().map(std::io::Error::kind);
    matches!(kind, Some(ErrorKind::TimedOut | ErrorKind::WouldBlock))
}

/// Connections a second of one filter.
#[derive(Serialize)]
pub(super) struct Rate {
    /// In words.
    pub(super) filter: &'static str,
    /// Connections a second.
    pub(super) rate: Sample,
}

/// No program, fwctl in `auto` mode, nftables if it is wanted.
pub(super) fn measure(options: &Options, with_nft: bool) -> Result<Vec<Rate>> {
    let (bare, ours, theirs) = (Rig::direct()?, Rig::direct()?, Rig::direct()?);
    let (source, policy) = rules::ours("auto", DEFAULT_MAX)?;
    let loaded = Loaded::new(&ours.server, &source, &policy)?;
    let mut rigs = vec![("no program", &bare), (OURS, &ours)];
    if with_nft {
        rules::load_nft(&theirs)?;
        rigs.push((NFT, &theirs));
    }
    let hosts = rigs.iter().map(|(_, rig)| Sockets::new(rig)).collect::<Result<Vec<_>>>()?;
    let samples = options.rounds(|| {
        let rate = |sockets: &Sockets<'_>| {
            let Outcome { rate, failed } = sockets.run(1, ROUND_SLICES * options.slice, || Ok(()))?;
            ensure!(failed == 0, "{failed} connections came to nothing");
            Ok(rate)
        };
        hosts.iter().map(rate).collect()
    })?;
    let known = loaded.counted(&ours.server, &[Reason::Established])?;
    let dropped = loaded.dropped(&ours.server)?;
    ensure!(known > 0 && dropped == 0, "{known} packets were those of connections, {dropped} were dropped");
    Ok(rigs.iter().zip(samples).map(|((filter, _), rate)| Rate { filter, rate }).collect())
}

/// What was promised.
pub(super) fn goals(rates: &[Rate]) -> Vec<Goal> {
    let of = |name| rates.iter().find(|rate| rate.filter == name).map(|rate| &rate.rate);
    let Some((none, ours)) = rates.first().map(|rate| &rate.rate).zip(of(OURS)) else { return Vec::new() };
    let goal = |other: &Sample, name, least| {
        let what = format!("TCP connections a second: auto / {name}");
        Goal::new(what, "times", Limit::AtLeast(least), ours.over(other))
    };
    let mut goals = vec![goal(none, "no program", 0.97)];
    goals.extend(of(NFT).map(|theirs| goal(theirs, NFT, 1.1)));
    goals
}

//! Forged handshakes: a SYN of a sender who is not there, and after the server's answer an ACK with a random number.

use std::net::{Ipv4Addr, SocketAddrV4, TcpListener};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use fw_tests::packet::{self, flag};
use fw_tests::random::Random;

use crate::begin;
use crate::forge::Forge;
use crate::options::{Options, Part};
use crate::report::Report;
use crate::target::{ADMITTED, Filter, Target, WEB_PORT};

/// Handshakes whose SYNs are sent before their ACKs are.
const TOGETHER: u32 = 2048;
/// What the server has to answer them.
const PAUSE: Duration = Duration::from_millis(10);

/// Sends them while good connections are begun, and looks at what they leave.
pub(crate) fn attack(options: &Options, filter: Filter, report: &mut Report) -> Result<()> {
    let target = Target::new(filter)?;
    let server = &target.rig.server;
    let listener = server.run(|| TcpListener::bind((server.v4, WEB_PORT))).context("cannot listen")?;
    let before = begin::some(&target, 20);
    ensure!(before.failed == 0, "{} of 20 connections came to nothing before the attack", before.failed);

    let over = AtomicBool::new(false);
    let (during, sent) = thread::scope(|scope| {
        let good = scope.spawn(|| begin::until(&target, &over));
        let sent = forge(&target, options);
        over.store(true, Ordering::Relaxed);
        let during = good.join().map_err(|_| anyhow!("the thread of good connections panicked"));
        during.and_then(|during| Ok((during, sent?)))
    })?;
    let answered = answered(&target)?;
    // Not all: a table that they have filled lets in no more of them.
    ensure!(
        answered * 100 >= sent,
        "the server answered {answered} of {sent} forged SYNs: that is no attack"
    );
    let after = begin::some(&target, options.afterwards());
    thread::sleep(options.rest());
    let [kept, unproven] = target.count("198.1", "198.18.0.0/15")?;
    drop(listener);

    let of = (Part::Handshakes, filter);
    let what = |what: &str| format!("{} forged: {what}", options.handshakes());
    let left = |what: &str| {
        format!("{} forged: {what} left after {} s", options.handshakes(), options.rest().as_secs())
    };
    report.tell(of, what("SYNs that the server answered"), answered.to_string());
    report.take(of, what("good ones begun during it"), "99.9 %", during.judge());
    report.take(of, what("good ones begun after it"), "99.9 %", after.judge());
    report.none(of, left("kept entries"), kept);
    if options.rests_long() {
        report.none(of, left("other entries"), unproven);
    } else {
        report.tell(of, left("other entries"), unproven.to_string());
    }
    Ok(())
}

/// Sends all of them; how many they were.
fn forge(target: &Target, options: &Options) -> Result<u64> {
    let strangers = target.strangers()?;
    let segment = |flags| packet::tcp("192.0.2.1:1", (target.rig.server.v4, WEB_PORT)).flags(flags);
    let (syn, ack) = (Forge::new(&segment(flag::SYN))?, Forge::new(&segment(flag::ACK))?);
    for first in (0..options.handshakes()).step_by(TOGETHER as usize) {
        let last = options.handshakes().min(first + TOGETHER);
        let one = |number: u32| {
            let mut random = Random(options.seed ^ u64::from(number) << 20);
            let (who, numbers) = (random.next(), random.next());
            let address = Ipv4Addr::from(ADMITTED | who as u32 & 0x1_ffff);
            let port = 1024 + ((who >> 32) % 60_000) as u16;
            (SocketAddrV4::new(address, port), numbers as u32, (numbers >> 32) as u32)
        };
        let syns: Vec<Forge> =
            (first..last).map(one).map(|(who, seq, _)| syn.from(who).numbers(seq, 0)).collect();
        strangers.send(&syns)?;
        thread::sleep(PAUSE);
        let acks: Vec<Forge> = (first..last)
            .map(one)
            .map(|(who, seq, ack_)| ack.from(who).numbers(seq.wrapping_add(1), ack_))
            .collect();
        strangers.send(&acks)?;
    }
    Ok(options.handshakes().into())
}

/// SYNs that the server answered with a cookie.
fn answered(target: &Target) -> Result<u64> {
    let text = target.rig.server.run(|| std::fs::read_to_string("/proc/thread-self/net/netstat"))?;
    let mut lines = text.lines().filter(|line| line.starts_with("TcpExt:"));
    let (names, values) = lines.next().zip(lines.next()).context("the kernel counts nothing of TCP")?;
    let mut pairs = names.split_whitespace().zip(values.split_whitespace());
    let (_, value) =
        pairs.find(|(name, _)| *name == "SyncookiesSent").context("the kernel counts no cookies")?;
    Ok(value.parse()?)
}

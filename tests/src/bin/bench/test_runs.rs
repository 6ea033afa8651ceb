//! Nanoseconds a packet costs the programs alone, by test runs: the same packet a million times, caches and
//! branch predictors at their best. Said with each figure, and what an empty program takes in the same rounds.

use anyhow::{Context as _, Result, ensure};
use fw_common::{Hook, Verdict};
use fw_tests::kernel::{IFINDEX, Kernel, Received};
use fw_tests::workload;

use crate::figures::{MEASURED, Sample, WARM_UP, median};
use crate::tiny::{Kind, TC_SHOT, Tiny, XDP_DROP, XDP_PASS};

/// In each round: a million in all.
const REPEAT: u32 = 150_000;
/// Connections opened in each round, each by one run of its own.
const FIRST_PACKETS: u16 = 1000;
/// `TC_ACT_UNSPEC`: on to the next program.
const TC_NEXT: u32 = u32::MAX;

/// A program of ours and the empty one of its hook.
struct Side {
    name: &'static str,
    program: &'static str,
    received: Received,
    /// What it returns to pass and to drop.
    codes: [u32; 2],
    empty: Tiny,
}

/// A packet that is run again and again.
struct Packet {
    name: String,
    frame: Vec<u8>,
    verdict: Verdict,
}

/// Measures and prints.
pub(crate) fn measure() -> Result<()> {
    let mut kernel = Kernel::load()?;
    let zone = publish(&mut kernel)?;
    let sides = [
        Side {
            name: "XDP",
            program: "xdp_received",
            received: Received::Xdp,
            codes: [XDP_PASS, XDP_DROP],
            empty: Tiny::returning(Kind::Xdp, XDP_DROP)?,
        },
        Side {
            name: "TC",
            program: "tc_received",
            received: Received::Tc,
            codes: [TC_NEXT, TC_SHOT],
            empty: Tiny::returning(Kind::Tc, TC_SHOT)?,
        },
    ];
    println!("\n3. ns a packet by test runs: median (lowest-highest)\n");
    println!("  {:<4} {:<34} {:<22} over the empty program", "hook", "packet", "fwctl");
    for side in &sides {
        hot(&mut kernel, zone, side)?;
        first_packets(&mut kernel, side)?;
    }
    println!(
        "\n  Repeated packets find everything in the CPU's caches; first packets are one run each and do not."
    );
    Ok(())
}

/// The same rules, on the one device that test runs have.
fn publish(kernel: &mut Kernel) -> Result<u32> {
    let (compiled, zone) = workload::compiled(IFINDEX)?;
    kernel.publish(&compiled.patch)?;
    Ok(zone)
}

/// A million times the same packet.
fn hot(kernel: &mut Kernel, zone: u32, side: &Side) -> Result<()> {
    let packets = packets(kernel, zone, side)?;
    let mut empty = Sample::default();
    let mut ours = vec![Sample::default(); packets.len()];
    for round in 0..WARM_UP + MEASURED {
        empty.take(round, side.empty.time(&packets[0].frame, REPEAT)?.1 as f64);
        for (packet, sample) in packets.iter().zip(&mut ours) {
            let (code, ns) = kernel.time(side.program, &packet.frame, REPEAT)?;
            expect(side, code, packet.verdict).with_context(|| packet.name.clone())?;
            sample.take(round, ns as f64);
        }
    }
    println!("  {:<4} {:<34} {}", side.name, "empty program", empty.in_units(1.0, 0));
    for (packet, sample) in packets.iter().zip(&ours) {
        print(side, &packet.name, sample, &empty);
    }
    Ok(())
}

/// Packets whose verdict does not change however often they come.
fn packets(kernel: &mut Kernel, zone: u32, side: &Side) -> Result<Vec<Packet>> {
    let mut packets: Vec<Packet> = workload::denied()
        .into_iter()
        .map(|denied| Packet { name: denied.name.to_owned(), frame: denied.frame, verdict: Verdict::Drop })
        .collect();
    kernel.reset()?;
    for (family, name) in ["IPv4", "IPv6"].into_iter().enumerate() {
        let connection = workload::connection(family, 40_000);
        for (frame, hook) in [
            (&connection.syn, Hook::Received),
            (&connection.answer, Hook::Sent),
            (&connection.ack, Hook::Received),
            (&connection.data, Hook::Received),
        ] {
            let seen = kernel.judge(frame, hook, side.received, zone)?;
            ensure!(seen.verdict == Verdict::Pass, "{name}: no connection: {:?}", seen.reason);
        }
        let name = format!("{name}, established TCP");
        packets.push(Packet { name, frame: connection.data, verdict: Verdict::Pass });
    }
    Ok(packets)
}

/// Connections that do not exist yet: each run makes one.
fn first_packets(kernel: &mut Kernel, side: &Side) -> Result<()> {
    for (family, name) in ["IPv4", "IPv6"].into_iter().enumerate() {
        let (mut empty, mut ours) = (Sample::default(), Sample::default());
        for round in 0..WARM_UP + MEASURED {
            kernel.reset()?;
            let (mut nothing, mut opened) = (Vec::new(), Vec::new());
            for port in 0..FIRST_PACKETS {
                let frame = workload::connection(family, 20_000 + port).syn;
                nothing.push(side.empty.time(&frame, 1)?.1 as f64);
                let (code, ns) = kernel.time(side.program, &frame, 1)?;
                expect(side, code, Verdict::Pass)?;
                opened.push(ns as f64);
            }
            empty.take(round, median(&nothing));
            ours.take(round, median(&opened));
        }
        print(side, &format!("{name}, first packet (SYN), cold"), &ours, &empty);
    }
    Ok(())
}

fn expect(side: &Side, code: u32, verdict: Verdict) -> Result<()> {
    let [pass, drop] = side.codes;
    let wanted = if verdict == Verdict::Pass { pass } else { drop };
    ensure!(code == wanted, "{} returned {code}, not {wanted}", side.program);
    Ok(())
}

fn print(side: &Side, name: &str, ours: &Sample, empty: &Sample) {
    let over = ours.median() - empty.median();
    println!("  {:<4} {name:<34} {:<22} {over:>8.0}", side.name, ours.in_units(1.0, 0));
}

//! Nanoseconds a packet costs the programs alone, by test runs: the same packet a million times, caches and
//! branch predictors at their best. Said with each figure, and what an empty program takes in the same rounds.

use anyhow::{Context as _, Result, ensure};
use fw_common::event::Wanted;
use fw_common::{Hook, Verdict};
use fw_tests::instruments::Instruments;
use fw_tests::kernel::{IFINDEX, Kernel, Received};
use fw_tests::workload;
use serde::Serialize;

use crate::figures::Sample;
use crate::options::Options;
use crate::results::{self, Results};

/// In each round: a million in all.
const REPEAT: u32 = 150_000;
/// Connections opened in each round, each by one run of its own.
const FIRST_PACKETS: u16 = 1000;
/// `enum xdp_action`.
const XDP_DROP: u32 = 1;
/// The same.
const XDP_PASS: u32 = 2;
/// `TC_ACT_SHOT` of `linux/pkt_cls.h`.
const TC_SHOT: u32 = 2;
/// `TC_ACT_UNSPEC`: on to the next program.
const TC_NEXT: u32 = u32::MAX;

/// A program of ours and the empty one of its hook.
struct Side {
    name: &'static str,
    program: &'static str,
    received: Received,
    /// What it returns to pass and to drop.
    codes: [u32; 2],
    empty: &'static str,
}

const SIDES: [Side; 2] = [
    Side {
        name: "XDP",
        program: "xdp_received",
        received: Received::Xdp,
        codes: [XDP_PASS, XDP_DROP],
        empty: "drop_xdp",
    },
    Side {
        name: "TC",
        program: "tc_received",
        received: Received::Tc,
        codes: [TC_NEXT, TC_SHOT],
        empty: "drop_tc",
    },
];

/// Who hears of packets.
#[derive(Clone, Copy)]
enum Listener {
    Nobody,
    OfDrops,
    FlowLog,
}

/// Room of a window: the default.
const FLOWS: u32 = 65_536;

/// A packet that is run again and again.
struct Packet {
    name: String,
    frame: Vec<u8>,
    verdict: Verdict,
}

/// The figures of one.
#[derive(Serialize)]
struct Row {
    hook: &'static str,
    packet: String,
    ns: Sample,
    over_empty: Sample,
}

/// Part `runs`.
pub(crate) fn measure(options: &Options, results: &mut Results) -> Result<()> {
    let mut kernel = Kernel::load()?;
    let zone = publish(&mut kernel)?;
    let mut instruments = Instruments::load(&[], None)?;
    let mut rows = Vec::new();
    for side in &SIDES {
        for listener in [Listener::Nobody, Listener::OfDrops, Listener::FlowLog] {
            rows.extend(hot(options, &mut kernel, &mut instruments, zone, side, listener)?);
        }
        rows.extend(first_packets(options, &mut kernel, &mut instruments, side)?);
    }
    let mut table = results::table(&["hook", "packet", "ns", "over the empty program"]);
    for Row { hook, packet, ns, over_empty } in &rows {
        table.add_row([(*hook).to_owned(), packet.clone(), ns.show(0), over_empty.show(0)]);
    }
    println!("{}\n\n{table}", workload::describe());
    println!(
        "\nRepeated packets find everything in the CPU's caches; first packets are one run each and do not."
    );
    results.take("runs", rows, Vec::new())
}

/// The same rules, on the one device that test runs have.
fn publish(kernel: &mut Kernel) -> Result<u32> {
    let (compiled, zone) = workload::compiled(IFINDEX)?;
    kernel.publish(&compiled.patch)?;
    Ok(zone)
}

/// A million times the same packet, told of to nobody, as far as the allowance goes to a listener, or added up.
fn hot(
    options: &Options,
    kernel: &mut Kernel,
    instruments: &mut Instruments,
    zone: u32,
    side: &Side,
    listener: Listener,
) -> Result<Vec<Row>> {
    let mut packets = packets(kernel, zone, side)?;
    let said = match listener {
        Listener::Nobody => "",
        Listener::OfDrops => {
            kernel.listen(Wanted::Drops)?;
            ", drops listened to"
        }
        Listener::FlowLog => {
            kernel.record(FLOWS)?;
            ", in a flow log"
        }
    };
    packets.iter_mut().for_each(|packet| packet.name += said);
    let samples = options.rounds(|| {
        let mut round = vec![instruments.time(side.empty, &packets[0].frame, REPEAT)?.1 as f64];
        for packet in &packets {
            let (code, ns) = kernel.time(side.program, &packet.frame, REPEAT)?;
            expect(side, code, packet.verdict).with_context(|| packet.name.clone())?;
            round.push(ns as f64);
        }
        Ok(round)
    })?;
    kernel.listen(Wanted::Nothing)?;
    let names = packets.into_iter().map(|packet| packet.name);
    Ok(rows(side, names, &samples))
}

/// Rows of packets, of which the empty program has the first sample.
fn rows(side: &Side, packets: impl Iterator<Item = String>, samples: &[Sample]) -> Vec<Row> {
    let Some((empty, ours)) = samples.split_first() else { return Vec::new() };
    let row = |(packet, ns): (String, &Sample)| Row {
        hook: side.name,
        packet,
        ns: ns.clone(),
        over_empty: ns.minus(empty),
    };
    packets.zip(ours).map(row).collect()
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
fn first_packets(
    options: &Options,
    kernel: &mut Kernel,
    instruments: &mut Instruments,
    side: &Side,
) -> Result<Vec<Row>> {
    let mut all = Vec::new();
    for (family, name) in ["IPv4", "IPv6"].into_iter().enumerate() {
        let samples = options.rounds(|| {
            kernel.reset()?;
            let (mut nothing, mut opened) = (Sample::default(), Sample::default());
            for port in 0..FIRST_PACKETS {
                let frame = workload::connection(family, 20_000 + port).syn;
                nothing.0.push(instruments.time(side.empty, &frame, 1)?.1 as f64);
                let (code, ns) = kernel.time(side.program, &frame, 1)?;
                expect(side, code, Verdict::Pass)?;
                opened.0.push(ns as f64);
            }
            Ok(vec![nothing.median(), opened.median()])
        })?;
        all.extend(rows(side, std::iter::once(format!("{name}, first packet (SYN), cold")), &samples));
    }
    Ok(all)
}

fn expect(side: &Side, code: u32, verdict: Verdict) -> Result<()> {
    let [pass, drop] = side.codes;
    let wanted = if verdict == Verdict::Pass { pass } else { drop };
    ensure!(code == wanted, "{} returned {code}, not {wanted}", side.program);
    Ok(())
}

//! Dropped packets a second on a veth: fwctl at XDP against a program that drops everything without a look.
//!
//! Frames are made in the kernel by live test runs in the client's namespace and sent to the server's device.
//! A veth's receiver runs in the softirq of its sender, so generator and filter share one CPU: the time of a
//! packet is both. What the generator costs alone is measured too and printed beside.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use fw_tests::netns::{Namespace, Rig};
use fw_tests::workload::{self, Denied};

use crate::figures::{Goal, MEASURED, Sample, WARM_UP};
use crate::filter::{Filter, Loaded};
use crate::machine;
use crate::tiny::{Kind, Tiny, XDP_DROP};

/// Frames of each variant in each round, in one call: every call costs milliseconds before its first frame.
const FRAMES: u32 = 1_000_000;
/// Frames of the call that tells what those milliseconds are.
const FEW: u32 = 64;
/// Frames of the check before.
const CHECKED: u32 = 10_000;
/// Packets that the two hosts exchange by themselves in a round (neighbour and multicast discovery), at most.
const CHATTER: u64 = 100;

/// One kind of frame and its figures.
struct Row {
    denied: Denied,
    generator: Tiny,
    empty: Sample,
    ours: Sample,
}

/// Measures and prints; the ratios that were promised.
pub(crate) fn measure(rig: &Rig, filter: &Filter<'_>) -> Result<Vec<Goal>> {
    let (ifindex, server) = (rig.client.index("eth0")?, rig.server.index("eth0")?);
    let mut rows = Vec::new();
    for denied in workload::denied() {
        let generator = Tiny::generator(Some(ifindex), denied.places)?;
        rows.push(Row { denied, generator, empty: Sample::default(), ours: Sample::default() });
    }
    let alone = Tiny::generator(None, rows[0].denied.places)?;
    let mut generating = Sample::default();
    let dropper = Tiny::returning(Kind::Xdp, XDP_DROP)?;

    check(rig, filter, &rows).context("before timing")?;
    for round in 0..WARM_UP + MEASURED {
        let link = rig.server.run(|| dropper.attach(server))?;
        for row in &mut rows {
            row.empty.take(round, rate(rig, row)?.0);
        }
        let elapsed = generate(rig, &alone, &rows[0].denied.frame)?;
        generating.take(round, f64::from(FRAMES) / elapsed.as_secs_f64());
        drop(link);
        let loaded = filter.load()?;
        for row in &mut rows {
            row.ours.take(round, counted_rate(rig, &loaded, row)?);
        }
    }
    print(&rows, &generating);
    Ok(rows.into_iter().map(goal).collect())
}

/// Every frame arrives and is dropped for the reason expected.
fn check(rig: &Rig, filter: &Filter<'_>, rows: &[Row]) -> Result<()> {
    let loaded = filter.load()?;
    for Row { denied, generator, .. } in rows {
        let before = loaded.counted(denied.reason)?;
        rig.client.run(|| generator.send(&denied.frame, CHECKED))?;
        settled(&rig.server)?;
        let counted = loaded.counted(denied.reason)? - before;
        ensure!(
            counted == u64::from(CHECKED),
            "of {CHECKED} frames ({}) {counted} were counted as {}: {}",
            denied.name,
            denied.reason.layer().name(),
            denied.reason.name()
        );
    }
    Ok(())
}

/// Frames that arrived, a second, and how many they were.
fn rate(rig: &Rig, row: &Row) -> Result<(f64, u64)> {
    let before = settled(&rig.server)?;
    let elapsed = generate(rig, &row.generator, &row.denied.frame)?;
    let arrived = settled(&rig.server)? - before;
    ensure!(arrived > 0, "no frame ({}) arrived", row.denied.name);
    Ok((arrived as f64 / elapsed.as_secs_f64(), arrived))
}

/// The same, and all of them were dropped as they should be.
fn counted_rate(rig: &Rig, loaded: &Loaded<'_>, row: &Row) -> Result<f64> {
    let before = loaded.counted(row.denied.reason)?;
    let (rate, arrived) = rate(rig, row)?;
    let counted = loaded.counted(row.denied.reason)? - before;
    ensure!(
        arrived.abs_diff(counted) <= CHATTER,
        "of {arrived} frames ({}) that arrived {counted} were counted as dropped",
        row.denied.name
    );
    Ok(rate)
}

/// Runs a generator on one CPU: how long its frames took, without what comes before the first.
fn generate(rig: &Rig, generator: &Tiny, frame: &[u8]) -> Result<Duration> {
    rig.client.run(|| {
        machine::pin(0)?;
        let start = Instant::now();
        generator.send(frame, FEW)?;
        let preparing = start.elapsed();
        let start = Instant::now();
        generator.send(frame, FRAMES)?;
        Ok(start.elapsed().saturating_sub(preparing).max(Duration::from_millis(1)))
    })
}

/// Packets that the device has received, when it has done with all of them.
fn settled(namespace: &Namespace) -> Result<u64> {
    let mut last = received(namespace)?;
    for _ in 0..50 {
        thread::sleep(Duration::from_millis(2));
        let now = received(namespace)?;
        if now == last {
            break;
        }
        last = now;
    }
    Ok(last)
}

fn received(namespace: &Namespace) -> Result<u64> {
    let text = namespace.ip("-statistics -json link show dev eth0")?;
    let links: serde_json::Value = serde_json::from_str(&text)?;
    links[0]["stats64"]["rx"]["packets"].as_u64().context("`ip` told no received packets")
}

fn print(rows: &[Row], generating: &Sample) {
    println!("\n1. Dropped packets on a veth, million a second: median (lowest-highest)\n");
    println!("  {:<28} {:<22} {:<22} ours / empty", "60-byte frames", "empty XDP program", "fwctl, mode xdp");
    for Row { denied, empty, ours, .. } in rows {
        let (name, ratio) = (denied.name, ours.over(empty));
        println!("  {name:<28} {:<22} {:<22} {ratio}", empty.in_units(1e6, 2), ours.in_units(1e6, 2));
    }
    println!("\n  The same as ns a packet, generator and veth included (they run on the same CPU):\n");
    let ns = |sample: &Sample| 1e9 / sample.median();
    println!("  {:<28} {:>8} {:>8} {:>12}", "", "empty", "fwctl", "fwctl-empty");
    for Row { denied, empty, ours, .. } in rows {
        let (empty, ours) = (ns(empty), ns(ours));
        println!("  {:<28} {empty:>8.0} {ours:>8.0} {:>12.0}", denied.name, ours - empty);
    }
    println!("  generator alone, frames made and thrown away: {:.0}", ns(generating));
}

fn goal(row: Row) -> Goal {
    let what = format!("XDP drops / empty program: {}", row.denied.name);
    Goal { what, at_least: 0.5, ratio: row.ours.over(&row.empty) }
}

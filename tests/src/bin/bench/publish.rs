//! Part `publish`: from the text of a rules file to its rules in force, and the memory that they take.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use fw_tests::netns::Rig;
use fw_tests::random::Random;
use fw_tests::workload;
use ipnet::{IpNet, Ipv4Net};
use serde::Serialize;

use crate::figures::{Goal, Limit, Sample};
use crate::filter::Loaded;
use crate::geo;
use crate::options::Options;
use crate::results::{self, Results};
use crate::sets::Set;

/// More reloads are not begun after this, so that large sets keep the run short.
const PATIENCE: Duration = Duration::from_secs(15);
/// Bytes of 1,000,000 IPv4 prefixes.
const MOST_MB: f64 = 32.0;

/// The times of one rule set, milliseconds.
#[derive(Serialize)]
struct Row {
    name: String,
    first: f64,
    read: Sample,
    compile: Sample,
    publish: Sample,
    in_force: Sample,
    all: Sample,
    policy_mb: f64,
}

/// Part `publish`.
pub(crate) fn measure(options: &Options, results: &mut Results) -> Result<()> {
    let mut rows = Vec::new();
    let mut goals = Vec::new();
    for (size, most_ms) in [(1000, 20.0), (100_000, 500.0)] {
        if size <= options.most {
            let row = row(options, format!("{size} rules"), &Set::rules(size))?;
            goals.push(time_goal(&row, most_ms));
            rows.push(row);
        }
    }
    let size = options.most.min(1_000_000);
    let real = Random(1).pick(geo::cidrs()?, size);
    let of_both = row(options, format!("{size} CIDRs of countries"), &Set::cidrs(real))?;
    goals.push(time_goal(&of_both, 2000.0));
    rows.push(of_both);
    let apart = row(options, format!("{size} IPv4 prefixes apart"), &Set::cidrs(apart(size)))?;
    let memory = Sample(vec![apart.policy_mb]);
    goals.push(Goal::new(format!("memory of {}", apart.name), "MB", Limit::AtMost(MOST_MB), memory));
    rows.push(apart);

    let header = [
        "ms, release build",
        "first load",
        "in force",
        "of it: read",
        "compile",
        "publish",
        "returns",
        "rules, MB",
    ];
    let mut table = results::table(&header);
    for row in &rows {
        table.add_row([
            row.name.clone(),
            format!("{:.0}", row.first),
            row.in_force.show(1),
            row.read.show(1),
            row.compile.show(1),
            row.publish.show(1),
            row.all.show(1),
            format!("{:.1}", row.policy_mb),
        ]);
    }
    println!(
        "{table}\n\nA first load includes the kernel's verification of the programs. The call returns when no packet can be in the old \
         rules any more."
    );
    results.take("publish", rows, goals)
}

fn time_goal(row: &Row, most_ms: f64) -> Goal {
    Goal::new(
        format!("{}: read, compile and publish, reload", row.name),
        "ms",
        Limit::AtMost(most_ms),
        row.in_force.clone(),
    )
}

/// A set loaded where nothing was, then over itself, which takes as long as any other of its size.
fn row(options: &Options, name: String, set: &Set) -> Result<Row> {
    println!("   {name}");
    let rig = Rig::direct()?;
    let source = set.file("auto");
    let begun = Instant::now();
    let policy = workload::policy(&source)?;
    let mut loaded = Loaded::new(&rig.server, &source, &policy).with_context(|| name.clone())?;
    let first = milliseconds(begun);
    let [mut read, mut compile, mut publish, mut in_force, mut all] = [const { Sample(Vec::new()) }; 5];
    let start = Instant::now();
    for _ in 0..options.measured {
        let begun = Instant::now();
        let policy = workload::policy(&source)?;
        let reading = milliseconds(begun);
        loaded.replace(&rig.server, &source, &policy)?;
        let total = milliseconds(begun);
        let compiling = loaded.report.compile_ms.context("the report has no time of compiling")?;
        let loading = loaded.report.total_ms.context("the report has no time of loading")?;
        read.0.push(reading);
        compile.0.push(compiling);
        publish.0.push(loading - compiling);
        in_force.0.push(reading + loading);
        all.0.push(total);
        if start.elapsed() > PATIENCE {
            break;
        }
    }
    let policy_mb = loaded.report.policy_bytes as f64 / 1e6;
    Ok(Row { name, first, read, compile, publish, in_force, all, policy_mb })
}

/// IPv4 prefixes of which no two touch, /22 to /32: the worst for the memory, for what touches melts together.
fn apart(size: usize) -> Vec<(IpNet, usize)> {
    let mut random = Random(2);
    // One in the lower half of each /21 from 32.0.0.0 on; 1,000,000 of them end below 160.0.0.0.
    let prefix = |number: usize| {
        let (length, host) = (22 + random.below(11) as u8, random.next() as u32 & 0x3ff);
        let address = Ipv4Addr::from(0x2000_0000 + ((number as u32) << 11) + host);
        (Ipv4Net::new_assert(address, length).trunc().into(), 0)
    };
    (0..size).map(prefix).collect()
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

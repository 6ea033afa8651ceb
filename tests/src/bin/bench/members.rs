//! Part `members`: one member more in a group of 100,000, from the call to the first packet judged by it: an interface
//! more in the file, loaded anew, and an address more on a device, told to a process that has the rules in memory.
//!
//! Its packets come all the time, as fast as one CPU makes them, and are dropped until the new member is in force; a
//! program behind the filter notes when the first passes. They are ICMP messages that no connection answers for.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Instant;

use anyhow::{Context as _, Result, anyhow, ensure};
use fw_tests::affinity;
use fw_tests::instruments::{FRAME, Instruments};
use fw_tests::netns::{Namespace, Rig};
use fw_tests::packet;
use fw_tests::workload;
use fw_userspace::datapath::Published;
use fw_userspace::model::Policy;
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::figures::{Goal, Limit, Sample};
use crate::filter::Loaded;
use crate::options::Options;
use crate::results::{self, Results};

/// Members before.
const MEMBERS: usize = 100_000;
/// From the call to the first packet.
const MOST_MS: f64 = 5.0;
/// A device whose address is to become a member's.
const LATE: &str = "late0";
/// RFC 1256, router advertisement: no request, no reply, no error.
const ICMP_TYPE: u8 = 9;
/// Frames of one call of the generator: about a second. Between two calls no packet comes for some hundredths of one.
const BURST: u32 = 1 << 22;

/// Part `members`.
pub(crate) fn measure(options: &Options, results: &mut Results) -> Result<()> {
    let members = MEMBERS.min(options.most);
    let sets = [set(members)?, set(members + 1)?];
    let rig = Rig::direct()?;
    rig.server.ip(&format!("link add {LATE} type veth peer name peer0"))?;
    let mut loaded = Loaded::new(&rig.server, &sets[0].0, &sets[0].1)?;
    let mut counters = Instruments::load(&[], None)?;
    rig.server.run(|| {
        counters.attach_xdp("pass_xdp", "eth0")?;
        counters.attach_tc("count_tc", "eth0")
    })?;
    let mut generator = Instruments::load(&[frame(members)?], Some(rig.client.index("eth0")?))?;
    let over = AtomicBool::new(false);
    let times = thread::scope(|scope| {
        let sending = scope.spawn(|| {
            rig.client.run(|| {
                affinity::pin(0)?;
                while !over.load(Ordering::Relaxed) {
                    generator.send(BURST)?;
                }
                anyhow::Ok(())
            })
        });
        let times = both(options, &rig.server, &mut loaded, &sets, &mut counters);
        over.store(true, Ordering::Relaxed);
        sending.join().map_err(|_| anyhow!("the sending thread panicked"))??;
        times
    })?;
    let mut table = results::table(&["one member more in a group", "first packet, ms", "call returns, ms"]);
    for Times { how, seen, returned } in &times {
        table.add_row([format!("of {members}, {how}"), seen.show(2), returned.show(2)]);
    }
    println!("{table}");
    let what = format!("one member more in {members}: call to first packet");
    let goal = Goal::new(what, "ms", Limit::AtMost(MOST_MS), times[1].seen.clone());
    results.take("members", times, vec![goal])
}

/// From the call to the first packet and to its return, milliseconds.
#[derive(Serialize)]
struct Times {
    how: &'static str,
    seen: Sample,
    returned: Sample,
}

fn both(
    options: &Options,
    server: &Namespace,
    loaded: &mut Loaded,
    sets: &[(Vec<u8>, Policy); 2],
    counters: &mut Instruments,
) -> Result<[Times; 2]> {
    // Where frames are made the kernel lets nothing else run until a burst is over.
    affinity::pin(1)?;
    let [without, with] = sets;
    let by_load = changes(options, counters, "by datapath::load", |joins| {
        let (source, policy) = if joins { with } else { without };
        loaded.replace(server, source, policy)
    })?;
    let mut resident = loaded.resident(server)?;
    let device = server.index(LATE)?;
    let late = [IpAddr::from(address(MEMBERS.min(options.most)))];
    let by_resident = changes(options, counters, "by datapath::Resident", |joins| {
        let addresses = if joins { &late[..] } else { &[] };
        let published = server.run(|| resident.set_addresses(device, addresses))?;
        ensure!(matches!(published, Published::Lines(_)), "published {published:?}");
        Ok(())
    })?;
    Ok([by_load, by_resident])
}

/// The member comes and goes; its coming is measured.
fn changes(
    options: &Options,
    counters: &mut Instruments,
    how: &'static str,
    mut change: impl FnMut(bool) -> Result<()>,
) -> Result<Times> {
    let (mut seen, mut returned) = (Sample::default(), Sample::default());
    for _ in 0..options.measured {
        counters.watch(0)?;
        ensure!(counters.passed_ns(0)? == 0, "packets pass before their sender is a member");
        let (begun, begun_ns) = (Instant::now(), monotonic_ns());
        change(true)?;
        returned.0.push(begun.elapsed().as_secs_f64() * 1e3);
        // The generator rests between two calls.
        let passed_ns = loop {
            match counters.passed_ns(0)? {
                0 if begun.elapsed().as_secs() > 60 => break Err(anyhow!("no packet of the member passes")),
                0 => thread::yield_now(),
                passed_ns => break Ok(passed_ns),
            }
        }?;
        seen.0.push(passed_ns.saturating_sub(begun_ns) as f64 / 1e6);
        change(false)?;
    }
    Ok(Times { how, seen, returned })
}

/// A rules file with so many members, read.
fn set(members: usize) -> Result<(Vec<u8>, Policy)> {
    let mut interfaces: Map<String, Value> = (0..members)
        .map(|number| {
            let member = json!({ "addresses": [address(number)], "security_groups": ["members"] });
            (format!("member-{number}"), member)
        })
        .collect();
    interfaces.insert(
        "server".to_owned(),
        json!({ "device": "eth0", "mode": "tc", "security_groups": ["server"] }),
    );
    interfaces.insert("late".to_owned(), json!({ "device": LATE, "security_groups": ["members"] }));
    let rule = json!({ "id": "members", "protocol": "icmp", "icmp_type": ICMP_TYPE, "icmp_code": 0,
        "security_groups": ["members"] });
    let file = json!({
        "version": 1,
        "security_groups": { "members": { "ingress": [] }, "server": { "ingress": [rule] } },
        "interfaces": interfaces,
    });
    let source = file.to_string().into_bytes();
    let policy = workload::policy(&source)?;
    Ok((source, policy))
}

/// Every other address, so that no two members are one range.
fn address(number: usize) -> Ipv4Addr {
    Ipv4Addr::from(0x0a80_0000 + 2 * number as u32)
}

fn frame(member: usize) -> Result<[u8; FRAME]> {
    let payload = [0; FRAME - 14 - 20 - 8];
    let frame = packet::icmp(address(member), "10.77.1.3", ICMP_TYPE, 0).payload(&payload).build();
    frame.try_into().ok().context("a frame is not as long as it should be")
}

/// The clock of `bpf_ktime_get_ns`.
fn monotonic_ns() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is a timespec that the call fills.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

//! Reloads under full load: two rule sets take turns while every packet's fate under each is known.
//!
//! Frames of four classes come in turn, as fast as one CPU makes them, while another CPU reloads. The network ACL and
//! the groups of either set let the first class through and stop the second. Of the other two, the ACL of the one set
//! denies one and its groups allow the other, and in the other set it is the other way round: only the ACL of one set
//! with the groups of the other, or with the address classes of the other, gets a frame to the groups and lets it fail
//! there. The frames are ICMP messages that no connection answers for, so that each is judged by the rules.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use fw_common::Reason;
use fw_userspace::datapath::{self, LoadOptions};
use fw_userspace::document;
use fw_userspace::model::Policy;
use serde_json::{Value, json};

use crate::affinity::pin;
use crate::instruments::{FRAME, Instruments};
use crate::netns::{BpffsDir, Rig};
use crate::packet;

/// Sources of the classes.
const SOURCES: [&str; 4] = ["198.18.0.7", "198.18.1.7", "198.18.2.7", "198.18.3.7"];
const ALLOWED: usize = 0;
const DENIED: usize = 1;
const TURNS: [usize; 2] = [2, 3];
/// A message that is no request, no reply and no error (RFC 1256: router advertisement), so it has no connection.
const ICMP_TYPE: u8 = 9;
/// Rules that match nothing and move lines and address classes of one set to other numbers than in the other.
const FILLERS: usize = 200;
/// Frames of one call of the generator: a tenth of a second.
const BURST: u32 = 1 << 18;

/// What came of it.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Outcome {
    /// Reloads that were made.
    pub reloads: usize,
    /// Frames of all classes that came to the filter.
    pub frames: u64,
    /// Frames of the class that either set allows that did not pass. Where the filter is at XDP nothing can count
    /// before it, and those are among `mixed`.
    pub lost: u64,
    /// Frames of the class that either set denies that passed.
    pub let_in: u64,
    /// Frames that were dropped for a reason that neither set has for them.
    pub mixed: u64,
    /// Frames of the classes that take turns that passed: both sets were in force.
    pub turns: [u64; 2],
}

/// Reloads so many times with the filter at `xdp` or `tc`.
pub fn run(mode: &str, reloads: usize) -> Result<Outcome> {
    under_load(mode, reloads, [(0, 0), (1, 1)])
}

/// The same with the ACL of each set and the groups of the other: what a mixture would look like.
pub fn run_mixed(mode: &str, reloads: usize) -> Result<Outcome> {
    under_load(mode, reloads, [(0, 1), (1, 0)])
}

/// With these two in turn: whose ACL, and whose groups.
fn under_load(mode: &str, reloads: usize, sets: [(usize, usize); 2]) -> Result<Outcome> {
    let (rig, bpffs) = (Rig::direct()?, BpffsDir::new()?);
    let sets = [read(mode, sets[0])?, read(mode, sets[1])?];
    let load = |number: usize| -> Result<()> {
        let (source, policy) = &sets[number % 2];
        let options = LoadOptions { require_devices: true, ..LoadOptions::default() };
        rig.server.run(|| datapath::load(bpffs.path(), source, policy, &options))?;
        Ok(())
    };
    load(0)?;
    let mut counters = Instruments::load(&[], None)?;
    rig.server.run(|| {
        if mode == "tc" {
            counters.attach_xdp("count_xdp", "eth0")?;
        }
        counters.attach_tc("count_tc", "eth0")
    })?;

    let device = rig.client.index("eth0")?;
    let mut generator = Instruments::load(&frames()?, Some(device))?;
    let over = AtomicBool::new(false);
    thread::scope(|scope| -> Result<()> {
        let sending = scope.spawn(|| {
            rig.client.run(|| {
                pin(0)?;
                while !over.load(Ordering::Relaxed) {
                    generator.send(BURST)?;
                }
                anyhow::Ok(())
            })
        });
        let reloading = scope.spawn(|| {
            pin(1)?;
            (1..=reloads).try_for_each(load)
        });
        let reloaded = reloading.join();
        over.store(true, Ordering::Relaxed);
        sending.join().map_err(|_| anyhow!("the sending thread panicked"))??;
        reloaded.map_err(|_| anyhow!("the reloading thread panicked"))?
    })?;
    // What a ksoftirqd has still to do.
    thread::sleep(Duration::from_millis(50));

    let [before, behind] = counters.counted()?;
    let stats = rig.server.run(|| datapath::stats(bpffs.path()))?;
    let ingress = || stats.reasons.iter().filter(|row| row.direction == "ingress");
    let judged = ingress().map(|row| row.packets).sum();
    let expected = [Reason::AclDeny.name()];
    let mixed = ingress().filter(|row| row.verdict == "deny" && !expected.contains(&row.reason));
    let passed: u64 = behind.iter().sum();
    ensure!(passed > 0, "none of {judged} frames passed");
    Ok(Outcome {
        reloads,
        frames: judged,
        lost: before[ALLOWED].saturating_sub(behind[ALLOWED]),
        let_in: behind[DENIED],
        mixed: mixed.map(|row| row.packets).sum(),
        turns: TURNS.map(|class| behind[class]),
    })
}

/// A frame of each class, which its last byte names.
fn frames() -> Result<Vec<[u8; FRAME]>> {
    let mut frames = Vec::new();
    for (source, class) in SOURCES.iter().zip(0u8..) {
        // Behind Ethernet, IPv4 and ICMP.
        let mut payload = [0; FRAME - 14 - 20 - 8];
        payload[payload.len() - 1] = class;
        let frame = packet::icmp(*source, "10.77.1.3", ICMP_TYPE, 0).payload(&payload).build();
        frames.push(frame.try_into().map_err(|_| anyhow!("a frame has not {FRAME} bytes"))?);
    }
    Ok(frames)
}

fn read(mode: &str, (acl, groups): (usize, usize)) -> Result<(Vec<u8>, Policy)> {
    let source = file(mode, acl, groups).to_string().into_bytes();
    let reading = document::read(&source);
    let policy = reading.policy.with_context(|| document::render("reload", &reading.findings))?;
    Ok((source, policy))
}

/// The ACL of one of the two sets and the groups of one.
fn file(mode: &str, acl: usize, groups: usize) -> Value {
    let host = |class: usize| format!("{}/32", SOURCES[class]);
    let filler = |set: usize, at: usize| format!("{}.{}.{at}.0/24", 100 + set, 2 * set + 1);

    let mut entries = vec![("deny", host(DENIED)), ("deny", host(TURNS[acl]))];
    entries.extend((0..FILLERS).map(|at| ("deny", filler(acl, at))));
    entries.push(("allow", "0.0.0.0/0".to_owned()));
    let entry = |(number, (action, block)): (usize, (&str, String))| json!({ "rule_number": number, "action": action, "protocol": "all", "cidr_block": block });
    let entries: Vec<Value> = (1..).zip(entries).map(entry).collect();
    let all = entry((1, ("allow", "0.0.0.0/0".to_owned())));

    let rule = |id: String, block: String| json!({ "id": id, "protocol": "icmp", "icmp_type": ICMP_TYPE, "icmp_code": 0, "cidr_blocks": [block] });
    let mut rules: Vec<Value> =
        (0..FILLERS / 2).map(|at| rule(format!("filler-{at}"), filler(groups, at))).collect();
    // At another place among the others in each set.
    rules.insert(groups * FILLERS / 3, rule("always".to_owned(), host(ALLOWED)));
    rules.insert(groups * FILLERS / 4, rule("turn".to_owned(), host(TURNS[1 - groups])));
    json!({
        "version": 1,
        "subnets": { "subnet": { "cidr_blocks": ["10.77.1.0/24"], "network_acl": "acl" } },
        "network_acls": { "acl": { "ingress": entries, "egress": [all] } },
        "security_groups": { "group": { "ingress": rules } },
        "interfaces": { "server": {
            "subnet": "subnet", "security_groups": ["group"], "device": "eth0", "mode": mode,
        } },
    })
}

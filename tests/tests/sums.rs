//! What was sent is what was passed and what was dropped, to the packet, by the metrics and by the flow log. Needs root.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use fw_tests::filtered::Filtered;
use fw_tests::packet::{self, flag};
use fw_tests::samples::Samples;
use fw_tests::served::{Folder, PATIENCE, Served};
use fw_tests::traffic::send_all;
use serde_json::json;

/// Of each kind below.
const FLOWS: usize = 125;
const ROUNDS: usize = 1_000;
const KINDS: u64 = 8;
const PORTS: [&str; 4] = ["53", "54", "80", "81"];
/// Fields of a record of version 2.
const DSTPORT: usize = 6;
const PACKETS: usize = 8;
const ACTION: usize = 12;

/// Frames of eight kinds in turn, a flow each: the even kinds are allowed, the odd ones are not.
fn frames() -> Vec<Vec<u8>> {
    let of = |flow: usize| {
        let port = 20_000 + flow as u16;
        let at = |address: &str| format!("{address}:{port}");
        let (v4, v6, stranger) = (at("10.77.1.2"), at("[fd77:1::2]"), at("198.18.0.7"));
        let syn = |from: &str, to: &str| packet::tcp(from, to).flags(flag::SYN);
        [
            packet::udp(&*v4, "10.77.1.3:53"),
            packet::udp(&*stranger, "10.77.1.3:53"),
            packet::udp(&*v6, "[fd77:1::3]:53"),
            packet::udp(&*v6, "[fd77:1::3]:54"),
            syn(&v4, "10.77.1.3:80"),
            syn(&v4, "10.77.1.3:81"),
            syn(&v6, "[fd77:1::3]:80"),
            syn(&stranger, "10.77.1.3:80"),
        ]
    };
    (0..FLOWS).flat_map(of).map(|packet| packet.payload(&[7; 18]).build()).collect()
}

fn sums_agree(mode: &str) {
    let open = |id: &str, protocol: &str, port: u16| {
        json!({ "id": id, "protocol": protocol, "from_port": port, "to_port": port,
                "cidr_blocks": ["0.0.0.0/0", "::/0"] })
    };
    let entry = |number: u32, action: &str, block: &str| json!({ "rule_number": number, "action": action, "protocol": "all", "cidr_block": block });
    let all = [entry(100, "allow", "0.0.0.0/0"), entry(101, "allow", "::/0")];
    let ingress = [entry(90, "deny", "198.18.0.0/15"), all[0].clone(), all[1].clone()];
    let filtered = Filtered::new(&json!({
        "version": 1,
        "subnets": { "subnet": { "cidr_blocks": ["10.77.1.3/32", "fd77:1::3/128"], "network_acl": "acl" } },
        "network_acls": { "acl": { "ingress": ingress, "egress": all } },
        "security_groups": { "sg": { "egress": [], "ingress": [open("dns", "udp", 53), open("web", "tcp", 80)] } },
        "interfaces": { "eni": { "device": "eth0", "mode": mode, "subnet": "subnet", "security_groups": ["sg"] } },
        "settings": { "adopt_seconds": 0, "conntrack_max": 4096 }
    }));
    let folder = Folder::new("sums").unwrap();
    let log = folder.path().join("flows.log");
    let arguments = ["--listen", "127.0.0.1:0", "--flow-log", log.to_str().unwrap()];
    let mut served = Served::start(&filtered.fwctl(), &arguments).unwrap();
    let end = Instant::now() + PATIENCE;
    while !filtered.is_recording() {
        assert!(Instant::now() < end, "no flow log is kept: {}", served.said());
        thread::sleep(Duration::from_millis(10));
    }
    let samples = || Samples::of(&filtered.rig.server, &filtered.bpffs).unwrap();
    let before = samples();
    let start = Instant::now();
    let sent = send_all(&filtered.rig.client, "eth0", &frames(), ROUNDS).unwrap();
    println!("{mode}: {sent} frames in {:?}", start.elapsed());
    assert_eq!(sent, 1_000_000);

    // Neighbour discovery and the like may come at any time, and always passes.
    let judged = |samples: &Samples, verdict: &str| -> u64 {
        let all = [("direction", "ingress"), ("verdict", verdict)];
        let exempt = [all[0], all[1], ("layer", "exempt")];
        samples.sum("fwctl_packets_total", &all) - samples.sum("fwctl_packets_total", &exempt)
    };
    let end = Instant::now() + PATIENCE;
    let mut after = samples();
    let more = |after: &Samples, verdict: &str| judged(after, verdict) - judged(&before, verdict);
    // What is still on its way.
    while more(&after, "allow") + more(&after, "deny") < sent && Instant::now() < end {
        thread::sleep(Duration::from_millis(10));
        after = samples();
    }
    let dropped =
        |reason| after.sum("fwctl_dropped_packets_total", &[("direction", "ingress"), ("reason", reason)]);
    assert_eq!((more(&after, "allow"), more(&after, "deny")), (sent / 2, sent / 2), "{after:#?}");
    assert_eq!(dropped("network_acl_rule"), 2 * sent / KINDS, "{after:#?}");
    assert_eq!(dropped("no_group_rule"), 2 * sent / KINDS, "{after:#?}");
    let bytes = after.sum("fwctl_bytes_total", &[("direction", "ingress"), ("verdict", "deny")]);
    let odd: usize = frames().iter().skip(1).step_by(2).map(Vec::len).sum();
    assert_eq!(bytes, (odd * ROUNDS) as u64);

    served.signal(libc::SIGTERM).unwrap();
    assert!(served.ends().unwrap().success(), "{}", served.said());
    let records = fs::read_to_string(&log).unwrap();
    let records: Vec<Vec<&str>> = records.lines().map(|line| line.split(' ').collect()).collect();
    let packets = |action: &str| -> Vec<u64> {
        let is_ours = |record: &&Vec<&str>| PORTS.contains(&record[DSTPORT]) && record[ACTION] == action;
        records.iter().filter(is_ours).map(|record| record[PACKETS].parse().unwrap()).collect()
    };
    let (accepted, rejected) = (packets("ACCEPT"), packets("REJECT"));
    assert_eq!((accepted.len(), rejected.len()), (FLOWS * 4, FLOWS * 4), "{records:?}");
    assert!(accepted.iter().chain(&rejected).all(|packets| *packets == ROUNDS as u64), "{records:?}");
    assert!(!records.iter().any(|record| record.last() == Some(&"SKIPDATA")), "{records:?}");
}

#[test]
fn a_million_packets_of_a_thousand_flows_are_counted_at_tc() {
    sums_agree("tc");
}

#[test]
fn a_million_packets_of_a_thousand_flows_are_counted_at_xdp() {
    sums_agree("xdp");
}

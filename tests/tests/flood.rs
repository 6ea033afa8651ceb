//! Both CPUs flood the store in the real kernel while connections are opened and used: none that lives is lost, and the
//! table is as it should be afterwards.

use std::net::Ipv4Addr;
use std::ops::Range;

use fw_common::{Hook, Reason};
use fw_tests::kernel::{Kernel, Received};
use fw_tests::packet;
use fw_tests::soundness;
use fw_tests::workload::kernel_with;

const RULES: &str = r#"{
  "version": 1,
  "security_groups": { "g": { "egress": [], "ingress": [
    { "id": "https", "protocol": "tcp", "from_port": 443, "to_port": 443,
      "cidr_blocks": ["10.0.0.0/8", "2001:db8::/32"] },
    { "id": "dns", "protocol": "udp", "from_port": 53, "to_port": 53, "cidr_blocks": ["10.0.0.0/8"] }
  ] } },
  "interfaces": { "nic": { "device": "nic0", "security_groups": ["g"] } }
}"#;

const LIVE: u32 = 400;
const FLOOD: u32 = 60_000;

fn frame(text: &str) -> Vec<u8> {
    packet::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// The frames of a handshake, with the programs that they go through.
fn handshake(client: &str, server: &str) -> [(&'static str, Vec<u8>); 3] {
    [
        ("xdp_received", frame(&format!("tcp {client} > {server} syn seq=100"))),
        ("tc_sent", frame(&format!("tcp {server} > {client} syn+ack seq=500 ack=101"))),
        ("xdp_received", frame(&format!("tcp {client} > {server} ack seq=101 ack=501"))),
    ]
}

fn client(number: u32) -> (String, &'static str) {
    let [.., high, low] = number.to_be_bytes();
    if number.is_multiple_of(2) {
        (format!("10.1.{high}.{low}:4000"), "10.99.0.2:443")
    } else {
        (format!("[2001:db8:1::{number:x}]:4000"), "[2001:db8:99::2]:443")
    }
}

/// A flood from sources of its own, by SYNs, datagrams, and answers that nobody asked for.
fn flood(seed: u32) -> Vec<(&'static str, Vec<u8>)> {
    let numbers = (0..FLOOD).map(|number| number.wrapping_mul(0x9e37_79b1) ^ seed.wrapping_mul(0x85eb_ca6b));
    let frames = numbers.map(|random| {
        let source = Ipv4Addr::from(0x0a80_0000 | random >> 9);
        let port = 1024 + random % 60_000;
        match random % 4 {
            0 | 1 => frame(&format!("tcp {source}:{port} > 10.99.0.2:443 syn seq={random}")),
            2 => frame(&format!("udp {source}:{port} > 10.99.0.2:53")),
            _ => frame(&format!("tcp {source}:{port} > 10.99.0.2:443 rst seq={random}")),
        }
    });
    frames.map(|frame| ("xdp_received", frame)).collect()
}

/// Opens connections, one after the other.
fn open(kernel: &mut Kernel, numbers: Range<u32>) {
    for number in numbers {
        let (client, server) = client(number);
        for (name, frame) in handshake(&client, server) {
            kernel.time(name, &frame, 1).unwrap();
        }
    }
}

/// All of them are still there, by the next segment of each.
fn all_live(kernel: &mut Kernel, numbers: Range<u32>, zone: u32) {
    for number in numbers {
        let (client, server) = client(number);
        let data = frame(&format!("tcp {client} > {server} ack seq=101 ack=501"));
        let seen = kernel.judge(&data, Hook::Received, Received::Xdp, zone).unwrap();
        assert_eq!(seen.reason, Reason::Established, "{client}");
    }
}

#[test]
fn a_flood_on_both_cpus_loses_no_live_connection() {
    let (mut kernel, compiled) = kernel_with(RULES.as_bytes()).unwrap();
    let zone = compiled.zones[0].0;

    open(&mut kernel, 0..LIVE);
    assert_eq!(kernel.counted_connections(), u64::from(LIVE));

    // Both CPUs also open the same new connections, step by step.
    let mut cpus = [flood(1), flood(2)];
    for number in LIVE..LIVE + 200 {
        let (client, server) = client(number);
        for (step, one) in handshake(&client, server).into_iter().enumerate() {
            for frames in &mut cpus {
                frames.insert((number - LIVE) as usize * 250 + step, one.clone());
            }
        }
    }
    kernel.race([&cpus[0], &cpus[1]]).unwrap();

    soundness::check(kernel.table()).unwrap();
    let confirmed = kernel.counted_connections();
    assert!(confirmed >= u64::from(LIVE), "{confirmed} of {LIVE} are left");
    // What both CPUs opened at once is mostly there; under the flood some handshakes may have been recycled.
    assert!(confirmed >= u64::from(LIVE) + 150, "{confirmed}: the flood kept good connections out");
    all_live(&mut kernel, 0..LIVE, zone);
}

#[test]
fn segments_of_nobodys_connections_that_are_picked_up_fill_no_table() {
    let rules = RULES.replace(r#""version": 1,"#, r#""version": 1, "settings": { "mid_stream": "pickup" },"#);
    let (mut kernel, compiled) = kernel_with(rules.as_bytes()).unwrap();
    let zone = compiled.zones[0].0;
    open(&mut kernel, 0..LIVE);

    let flood = |seed: u32| -> Vec<(&str, Vec<u8>)> {
        let segment = |number: u32| {
            let source = Ipv4Addr::from(0x0a80_0000 | (number.wrapping_mul(0x9e37_79b1) ^ seed) >> 9);
            ("xdp_received", frame(&format!("tcp {source}:4000 > 10.99.0.2:443 ack seq={number} ack=9")))
        };
        (0..FLOOD / 4).map(segment).collect()
    };
    kernel.race([&flood(1), &flood(0x5555_5555)]).unwrap();
    assert_eq!(kernel.counted_connections(), u64::from(LIVE), "nobody has answered them");
    all_live(&mut kernel, 0..LIVE, zone);

    // One that the other end speaks on as well is one.
    let ours = frame("tcp 10.1.200.1:4000 > 10.99.0.2:443 ack seq=100 ack=500");
    let seen = kernel.judge(&ours, Hook::Received, Received::Xdp, zone).unwrap();
    assert_eq!(seen.reason, Reason::GroupRule);
    let answer = frame("tcp 10.99.0.2:443 > 10.1.200.1:4000 ack seq=500 ack=100");
    let seen = kernel.judge(&answer, Hook::Sent, Received::Xdp, zone).unwrap();
    assert_eq!(seen.reason, Reason::Established);
    assert_eq!(kernel.counted_connections(), u64::from(LIVE), "whoever was first may be anybody");
    let seen = kernel.judge(&ours, Hook::Received, Received::Xdp, zone).unwrap();
    assert_eq!(seen.reason, Reason::Established);
    assert_eq!(kernel.counted_connections(), u64::from(LIVE) + 1);
}

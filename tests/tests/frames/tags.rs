//! VLAN tags in the frame and in skb metadata. TC always finds the outermost in metadata: the kernel takes it out of what
//! arrives before it asks.
//!
//! Tags of VLAN 0 (priority tags) are the ones to fear: Linux looks behind any number of them, and delivers.

use fw_tests::packet::{self, Packet, ethertype};
use fw_tests::skb::Watch;
use fw_tests::traffic::{capture, send_frame};
use serde_json::json;

use super::kinds;
use super::wire::{Receiver, Wire, gathered, settle};

/// All stacks of so many tags.
fn stacks(depth: usize) -> Vec<Vec<u16>> {
    (0..depth).fold(vec![vec![]], |stacks, _| {
        let longer = |stack: &Vec<u16>| {
            [ethertype::VLAN, ethertype::SERVICE_VLAN].map(|kind| [stack.clone(), vec![kind]].concat())
        };
        stacks.iter().flat_map(longer).collect()
    })
}

fn tagged(packet: Packet, stack: &[u16], id: u16) -> Vec<u8> {
    stack.iter().fold(packet, |packet, kind| packet.tag(*kind, id)).build()
}

/// Datagrams behind up to three tags of VLAN 0, to a socket that would get them all.
fn priority_tags(mode: &str) {
    let wire = Wire::new(true);
    let mac = wire.far.mac("eth0").unwrap();
    let sockets = ["10.20.1.10:53", "10.20.1.10:54"].map(|at| Receiver::new(&wire.far, at));
    let mut rules = kinds::some();
    rules["security_groups"]["sg"]["ingress"][1]["cidr_blocks"] = json!(["10.20.1.0/24"]);
    let mut sent = 0;
    for (turn, rules, open) in [(1, None, true), (2, Some(rules), true), (3, Some(kinds::none()), false)] {
        if let Some(rules) = &rules {
            wire.load(rules.clone(), mode);
        }
        let mut expected = Vec::new();
        for stack in (0..=3).flat_map(stacks) {
            for port in [53, 54] {
                let payload = format!("{turn} {stack:04x?} {port}").into_bytes();
                // A port of its own for each turn: no connection of an earlier one answers for it.
                let packet = packet::udp(("10.20.1.7", turn), ("10.20.1.10", port)).payload(&payload);
                send_frame(&wire.near, "eth0", &tagged(packet.destination_mac(mac), &stack, 0)).unwrap();
                if rules.is_none() || (open && stack.len() <= 2 && port == 53) {
                    expected.push(payload);
                }
                sent += u64::from(rules.is_some());
            }
        }
        if rules.is_some() {
            wire.counts(sent);
            settle();
        }
        expected.sort();
        assert_eq!(gathered(&sockets, expected.len()), expected, "{mode}");
    }
    let stats = wire.fwctl().stats().unwrap();
    assert_eq!(stats.packets("deny", "too_many_vlan_tags"), 2 * 8 * 2, "{}", stats.0);
}

#[test]
fn packets_behind_priority_tags_are_judged_at_xdp_and_three_tags_are_too_many() {
    priority_tags("xdp");
}

#[test]
fn packets_behind_priority_tags_are_judged_at_tc_and_three_tags_are_too_many() {
    priority_tags("tc");
}

#[test]
fn at_tc_the_outermost_tag_is_in_metadata_and_the_others_are_in_the_frame() {
    let wire = Wire::new(false);
    let watch = Watch::received(&wire.far, "eth0").unwrap();
    for (depth, longest) in [(0, 60), (1, 60), (2, 64), (3, 68)] {
        for stack in stacks(depth) {
            let packet = packet::udp("10.20.1.7:4000", "10.20.1.10:53").payload(&[0; 18]);
            send_frame(&wire.near, "eth0", &tagged(packet, &stack, 7)).unwrap();
            let seen = watch.seen().unwrap();
            assert_eq!(
                (seen.count, seen.tagged, seen.longest),
                (1, u64::from(depth > 0), longest),
                "{stack:04x?}"
            );
        }
    }
}

/// What the filtering host itself sends with tags in the frame.
#[test]
fn packets_sent_with_three_tags_do_not_leave() {
    let wire = Wire::new(false);
    let mut rules = kinds::some();
    rules["security_groups"]["sg"]["egress"] = json!([
        { "protocol": "udp", "from_port": 53, "to_port": 53, "cidr_blocks": ["198.51.100.0/24"] }
    ]);
    wire.load(rules, "tc");
    let seen = capture(&wire.near, "eth0").unwrap();
    let mut expected = Vec::new();
    for stack in (0..=3).flat_map(stacks) {
        for port in [54, 53] {
            let packet = packet::udp("10.20.1.10:4000", ("198.51.100.7", port)).payload(b"out");
            let frame = tagged(packet, &stack, 7);
            send_frame(&wire.far, "eth0", &frame).unwrap();
            if stack.len() <= 2 && port == 53 {
                expected.push(frame);
            }
        }
    }
    let last = kinds::frame("arp 10.20.1.10 > 10.20.1.7");
    settle();
    send_frame(&wire.far, "eth0", &last).unwrap();
    expected.push(last.clone());
    let mut came = seen.until(&last).unwrap();
    // The host speaks for itself as well, with an address of its own.
    came.retain(|frame| frame[6..12] == [2, 0, 0, 0, 0, 1]);
    assert_eq!(came, expected);
    let stats = wire.fwctl().stats().unwrap();
    assert_eq!(stats.packets("deny", "too_many_vlan_tags"), 16, "{}", stats.0);
}

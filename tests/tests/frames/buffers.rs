//! Jumbo frames and frames in several buffers.

use fw_common::Reason;
use fw_tests::kernel::Received;
use fw_tests::packet::{self, Extension, Packet};
use fw_tests::traffic::send_frame;

use super::kinds::{self, KINDS};
use super::twin::{Trial, Twin, is_bypass};
use super::wire::{Receiver, Wire};

#[test]
fn a_frame_whose_first_buffer_ends_at_any_byte_is_judged_at_xdp_like_a_whole_one() {
    for (rules, open) in [(kinds::some(), true), (kinds::none(), false)] {
        let mut twin = Twin::new(Received::Xdp, &rules);
        for (text, reason) in KINDS {
            let frame = kinds::frame(text);
            let trials: Vec<_> = (14..=frame.len()).map(|first| Trial::split(&frame, first)).collect();
            let decisions = twin.agree(text, &trials);
            let same = |decision: &fw_common::Decision| decision.verdict() == reason.verdict();
            assert!(!open || decisions.iter().all(same), "{text}: {decisions:?}");
            assert!(open || !decisions.iter().any(is_bypass), "{text}: {decisions:?}");
        }
    }
}

/// UDP behind as many extension headers of 2048 bytes.
fn deep(headers: usize, from: u16, port: u16, payload: &[u8]) -> Packet {
    let packet = packet::udp(("2001:db8::7", from), ("fd20::10", port)).payload(payload);
    (0..headers).fold(packet, |packet, _| packet.extension(long_options()))
}

/// Destination options with eight options, the most that Linux accepts, of an experimental type that is skipped.
fn long_options() -> Extension {
    let mut bytes = vec![0, 255];
    for len in [255, 255, 255, 255, 255, 255, 255, 245] {
        bytes.extend([0x1e, len]);
        bytes.extend(vec![0; usize::from(len)]);
    }
    assert_eq!(bytes.len(), 2048);
    Extension::Other { protocol: 60, bytes }
}

#[test]
fn frames_of_many_buffers_are_judged_at_xdp_by_headers_in_whichever_they_lie() {
    let mut twin = Twin::new(Received::Xdp, &kinds::some());
    for (port, reason) in [(53, Reason::GroupRule), (54, Reason::NoGroupRule)] {
        for len in [3_000, 3_600, 9_000, 60_000] {
            let large =
                packet::udp("198.51.100.7:40000", ("10.20.1.10", port)).payload(&vec![7; len]).build();
            let cut = Trial::whole(&large[..large.len() - 1]);
            let decisions = twin.agree("large", &[Trial::whole(&large), cut]);
            assert_eq!(decisions[0].reason, reason, "{len}");
            assert_eq!(decisions[1].reason, Reason::Ipv4Length, "{len}");
        }
        // The ports lie at 14 + 40 + 2048 times the number of headers.
        for headers in 1..=8 {
            let frame = deep(headers, 40000, port, b"deep").build();
            let decisions = twin.agree("deep", &[Trial::whole(&frame), Trial::split(&frame, 54)]);
            assert_eq!(decisions[0].reason, reason, "{headers} headers");
            assert_eq!(decisions[0].verdict(), decisions[1].verdict(), "{headers} headers");
        }
        let frame = deep(9, 40000, port, b"too deep").build();
        assert_eq!(twin.agree("nine", &[Trial::whole(&frame)])[0].reason, Reason::Ipv6TooManyExtensions);
    }
}

/// Datagrams that fill a frame of 9014 bytes, and ones whose ports lie 8 KiB into it.
fn jumbo(mode: &str) {
    let wire = Wire::new(true);
    wire.near.ip("link set eth0 mtu 9000").unwrap();
    wire.far.ip("link set eth0 mtu 9000").unwrap();
    let receivers = [
        ("10.20.1.10:53", true),
        ("10.20.1.10:54", false),
        ("[fd20::10]:53", true),
        ("[fd20::10]:54", false),
    ]
    .map(|(at, allowed)| (Receiver::new(&wire.far, at), at, allowed));
    let mac = wire.far.mac("eth0").unwrap();
    // Ports of its own for each turn: no connection of an earlier one answers for it.
    let send = |from: u16| {
        for port in [53, 54] {
            let v4 = packet::udp(("10.20.1.7", from), ("10.20.1.10", port)).payload(&[4; 9000 - 28]);
            let v6 = deep(4, from, port, b"deep");
            for packet in [v4, v6] {
                send_frame(&wire.near, "eth0", &packet.destination_mac(mac).build()).unwrap();
            }
        }
    };
    let got = |at: &str, receiver: &Receiver| {
        if at.starts_with('[') { receiver.gets(b"deep") } else { receiver.gets(&[4; 9000 - 28]) }
    };
    send(1);
    for (receiver, at, _) in &receivers {
        assert!(got(at, receiver), "{mode}: {at} before any rules");
    }
    let mut rules = kinds::some();
    rules["security_groups"]["sg"]["ingress"][1]["cidr_blocks"] =
        serde_json::json!(["10.20.1.0/24", "2001:db8::/32"]);
    wire.load(rules, mode);
    send(2);
    for (receiver, at, allowed) in &receivers {
        assert_eq!(got(at, receiver), *allowed, "{mode}: {at}");
    }
    let counts = wire.counts(4);
    assert_eq!((counts["rule"], counts["no_group_rule"]), (2, 2), "{mode}: {counts:?}");
    wire.load(kinds::none(), mode);
    send(3);
    for (receiver, at, _) in &receivers {
        assert!(!got(at, receiver), "{mode}: {at}, nothing allowed");
    }
}

#[test]
fn jumbo_frames_of_a_real_device_are_judged_at_xdp_like_others() {
    jumbo("xdp");
}

#[test]
fn jumbo_frames_of_a_real_device_are_judged_at_tc_like_others() {
    jumbo("tc");
}

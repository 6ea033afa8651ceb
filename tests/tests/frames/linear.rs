//! Skbs whose headers lie outside the linear part, from a tap device that builds them as told.

use fw_common::Direction;
use fw_tests::fwctl::Fwctl;
use fw_tests::netns::{BpffsDir, Namespace};
use fw_tests::packet;
use fw_tests::skb::Watch;
use fw_tests::tun::{Carries, Tun};
use fw_userspace::document;
use fw_userspace::simulate::Simulation;
use serde_json::Value;
use std::collections::BTreeMap;

use super::kinds::{self, KINDS, NIC};
use super::wire::{Receiver, address, counts};

fn tap() -> (Namespace, Tun) {
    let host = Namespace::new("tap").unwrap();
    let tap = Tun::new(&host, "tap0", Carries::Frames).unwrap();
    (host, tap)
}

/// Lets a frame come in with so many bytes in the linear part.
fn write(tap: &Tun, frame: &[u8], linear: usize) {
    let (first, rest) = frame.split_at(linear);
    tap.write_pieces(&[first, rest]).unwrap();
}

fn simulation(rules: &Value) -> Simulation {
    Simulation::new(document::read(rules.to_string().as_bytes()).policy.unwrap()).unwrap()
}

#[test]
fn the_linear_part_of_an_skb_ends_where_the_test_wants_it() {
    let (host, tap) = tap();
    let watch = Watch::received(&host, "tap0").unwrap();
    let frame = kinds::frame("tcp 198.51.100.7:40000 > 10.20.1.10:443 syn");
    for linear in 14..=frame.len() {
        write(&tap, &frame, linear);
        let seen = watch.seen().unwrap();
        assert_eq!((seen.count, seen.linear, seen.longest), (1, linear as u64, frame.len() as u64));
    }
}

#[test]
fn headers_outside_the_linear_part_are_judged_at_tc_wherever_it_ends() {
    for rules in [kinds::some(), kinds::none()] {
        let (host, tap) = tap();
        let bpffs = BpffsDir::new().unwrap();
        let fwctl = Fwctl::new(&host, &bpffs).unwrap();
        fwctl.load(&kinds::at(rules.clone(), "tap0", "tc")).unwrap();
        let simulation = simulation(&rules);
        let mut expected = BTreeMap::new();
        for (text, _) in KINDS {
            let frame = kinds::frame(text);
            for linear in 14..=frame.len() {
                write(&tap, &frame, linear);
                let judged = simulation.judge(NIC, Direction::Ingress, &frame).unwrap();
                *expected.entry(judged.decision.reason.name().to_owned()).or_default() += 1;
            }
        }
        let total = expected.values().sum();
        assert_eq!(counts(&fwctl, total), expected, "by the device, and on the host");
        let passed = ["rule", "established"].map(|reason| expected.contains_key(reason));
        assert_eq!(passed.contains(&true), rules["subnets"].is_object(), "{expected:?}");
    }
}

#[test]
fn what_is_allowed_reaches_its_socket_wherever_the_linear_part_ends_and_nothing_else_does() {
    let (host, tap) = tap();
    address(&host, "tap0");
    host.ip("neigh add 10.20.1.7 lladdr 02:00:00:00:00:01 dev tap0").unwrap();
    let mac = host.mac("tap0").unwrap();
    // A port of its own for each turn: no connection of an earlier one answers for it.
    let frames = |from: u16| {
        [("10.20.1.7", "10.20.1.10"), ("fd20::7", "fd20::10")].into_iter().flat_map(move |(other, own)| {
            [53, 54].map(|port| {
                let packet = packet::udp((other, from), (own, port)).payload(b"x");
                (port == 53, packet.destination_mac(mac).build())
            })
        })
    };
    let sockets =
        ["0.0.0.0:53", "0.0.0.0:54", "[fd20::10]:53", "[fd20::10]:54"].map(|at| Receiver::new(&host, at));
    let bpffs = BpffsDir::new().unwrap();
    let fwctl = Fwctl::new(&host, &bpffs).unwrap();
    let mut open = kinds::some();
    open["security_groups"]["sg"]["ingress"][1]["cidr_blocks"] =
        serde_json::json!(["10.20.1.0/24", "fd20::/64"]);
    let turns = [(1, None, true), (2, Some(open), true), (3, Some(kinds::none()), false)];
    for (turn, rules, some) in turns {
        if let Some(rules) = &rules {
            fwctl.load(&kinds::at(rules.clone(), "tap0", "tc")).unwrap();
        }
        for ((allowed, frame), socket) in frames(turn).zip(&sockets) {
            for linear in 14..=frame.len() {
                write(&tap, &frame, linear);
            }
            let sent = frame.len() - 13;
            let expected = if some && (allowed || rules.is_none()) { sent } else { 0 };
            assert_eq!(socket.all().len(), expected, "{frame:02x?}, rules {rules:?}");
        }
    }
}

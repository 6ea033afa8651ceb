//! Every frame of the cases, cut at every byte: nothing that misses a byte of its packet is let through to the rules.

use std::collections::{BTreeMap, BTreeSet};

use fw_common::Reason;
use fw_common::frame::Link;
use fw_common::memory::SliceFrame;
use fw_common::wire::{self, Parsed};
use fw_tests::case::{self, Step};

/// What the parser says, and where the packet ends.
fn parse(bytes: &[u8]) -> (Result<Parsed, Reason>, usize) {
    let mut room = wire::Room::EMPTY;
    let parsed = wire::parse(&SliceFrame::new(bytes), Link::Ethernet { tags: 0 }, &mut room);
    (parsed, room.packet.end as usize)
}

#[test]
fn a_packet_that_misses_a_byte_is_refused() {
    let cases = case::load().expect("the cases are well-formed");
    let mut frames = BTreeSet::new();
    for step in cases.iter().flat_map(|case| &case.steps) {
        if let Step::Packet(packet) = step {
            frames.insert(packet.frame.clone());
        }
    }
    let mut refusals: BTreeMap<&str, usize> = BTreeMap::new();
    for frame in &frames {
        let (Ok(Parsed::Ip), end) = parse(frame) else { continue };
        assert_eq!(parse(&frame[..end]).0, Ok(Parsed::Ip), "{frame:02x?} up to its packet's end");
        for cut in 0..end {
            match parse(&frame[..cut]).0 {
                Err(reason) => *refusals.entry(reason.name()).or_default() += 1,
                Ok(parsed) => panic!("{parsed:?}, though only {cut} bytes of {frame:02x?} are there"),
            }
        }
    }
    let reasons: Vec<&str> = refusals.into_keys().collect();
    let expected = ["ethernet_truncated", "ipv4_length", "ipv4_truncated", "ipv6_length", "ipv6_truncated"];
    assert_eq!(reasons, expected);
}

#[test]
fn a_frame_shorter_than_its_header_is_refused() {
    let frame = fw_tests::packet::parse("arp 10.20.1.20 > 10.20.1.10").expect("a packet");
    for cut in 0..14 {
        assert_eq!(parse(&frame[..cut]).0, Err(Reason::EthernetTruncated), "{cut} bytes");
    }
    assert_eq!(parse(&frame[..14]).0, Ok(Parsed::Other));
}

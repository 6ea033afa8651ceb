//! One frame, as a first packet, by every rule set at both hooks.
//!
//! The first byte chooses metadata (bit 0: a VLAN tag taken out of the frame; bits 1 and 2: segments to come), the
//! rest is the frame.

use std::cell::RefCell;

use fw_common::frame::Link;
use fw_common::memory::SliceFrame;
use fw_common::wire::{self, Parsed};
use fw_common::{Decision, Hook, Layer, Reason, Scratch, Verdict};

use super::host::{Host, Seen};
use super::invariants;
use super::policies;

const SEGMENTS: [u32; 4] = [1, 2, 45, 1000];

/// A rule set at a device with an Ethernet header and at one without.
struct World {
    ethernet: Host,
    bare: Host,
}

struct Worlds {
    closed: World,
    closed_group: World,
    closed_instance: World,
    open: World,
    mixed: World,
    mixed_instance: World,
    observed: World,
    leg: World,
    /// Never cleared: what is left in it of one judgement must not matter in the next.
    used: Scratch,
}

thread_local! {
    static WORLDS: RefCell<Worlds> = RefCell::new(Worlds::new());
}

pub(super) fn run(bytes: &[u8]) {
    let Some((control, frame)) = bytes.split_first() else { return };
    let segments = SEGMENTS[usize::from(control >> 1) % SEGMENTS.len()];
    WORLDS.with_borrow_mut(|worlds| {
        for hook in [Hook::Received, Hook::Sent] {
            worlds.check(Seen { bytes: frame, segments, tags: control & 1, hook });
        }
    });
}

impl World {
    fn new(rules: &serde_json::Value) -> Self {
        Self { ethernet: Host::new(rules, false), bare: Host::new(rules, true) }
    }
}

impl Worlds {
    fn new() -> Self {
        let mixed = policies::mixed();
        Self {
            closed: World::new(&policies::closed()),
            closed_group: World::new(&policies::closed_group()),
            closed_instance: World::new(&policies::facing_instance(policies::closed_group())),
            open: World::new(&policies::open()),
            mixed: World::new(&mixed),
            mixed_instance: World::new(&policies::facing_instance(mixed.clone())),
            observed: World::new(&policies::observing(mixed)),
            leg: World::new(&policies::leg()),
            used: Scratch::EMPTY,
        }
    }

    fn check(&mut self, seen: Seen<'_>) {
        let Self { closed, closed_group, closed_instance, open, mixed, mixed_instance, observed, leg, used } =
            self;
        let other_hook = Seen { hook: reverse(seen.hook), ..seen };
        let by_closed = judge(closed, seen, used);
        let by_closed_group = judge(closed_group, seen, used);
        let by_open = judge(open, seen, used);
        let by_mixed = judge(mixed, seen, used);
        let by_leg = judge(leg, seen, used);
        for by in [by_closed, by_closed_group, judge(closed_instance, seen, used)] {
            let passes = by.reason.verdict() == Verdict::Pass;
            assert!(!passes || invariants::is_always(by.reason), "passes where nothing is allowed: {by:?}");
        }
        let drops = by_open.reason.verdict() == Verdict::Drop;
        assert!(
            !drops || by_open.reason.layer() == Layer::Parse,
            "dropped where all is allowed: {by_open:?}"
        );
        let by_group = matches!(by_leg.reason.layer(), Layer::SecurityGroup | Layer::Conntrack);
        assert!(!by_group, "a leg has no groups: {by_leg:?}");
        // What the frame alone decides, it decides alike for all rules. Whether a later fragment passes without its first is a
        // matter of rules.
        let is_refused =
            by_closed.reason.layer() == Layer::Parse && by_closed.reason != Reason::FragmentWithoutFirst;
        if is_refused || invariants::is_always(by_closed.reason) {
            for by in [by_closed_group, by_open, by_mixed] {
                assert_eq!(by.reason, by_closed.reason, "the rules matter for a frame that they cannot see");
            }
        }
        if is_refused {
            assert_eq!(by_leg.reason, by_closed.reason, "a leg parses alike");
        }
        let observed = judge(observed, seen, used);
        assert_eq!(Decision { observed: true, ..by_mixed }, observed, "a device that only counts");
        assert_eq!(observed.verdict(), Verdict::Pass);
        faces_alike(by_mixed, judge(mixed_instance, other_hook, used));
        invariants::plain(seen.bytes);
        // Not for all rules: the parser is the same.
        same_in_metadata(mixed, seen, by_mixed, used);
        same_without_link_layer(mixed, seen, by_mixed, used);
        same_beyond_the_end(mixed, seen, by_mixed, used);
        same_in_segments(mixed, seen, by_mixed, used);
    }
}

/// Judges by fresh tables, in clean room and in used room.
fn judge(world: &World, seen: Seen<'_>, used: &mut Scratch) -> Decision {
    judge_at(&world.ethernet, seen, used)
}

fn judge_at(host: &Host, seen: Seen<'_>, used: &mut Scratch) -> Decision {
    let (decision, connections) = host.judge(seen, &mut Scratch::EMPTY.clone());
    let (again, tracked_again) = host.judge(seen, used);
    assert_eq!(decision, again, "the same frame, the same tables, but a used scratch");
    assert_eq!(connections, tracked_again);
    invariants::decision(&decision, &host.compiled);
    let may_track = matches!(decision.reason, Reason::GroupRule | Reason::ExemptService | Reason::Adopted);
    assert!(connections.len() <= usize::from(may_track), "{decision:?} leaves {connections:?}");
    let is_known = matches!(decision.reason, Reason::Established | Reason::Related | Reason::Adopted);
    assert!(!is_known, "nothing was tracked: {decision:?}");
    decision
}

/// A device that faces the instance sees the same traffic at the other hook; there instances are clients only.
fn faces_alike(network: Decision, instance: Decision) {
    assert_eq!(network.direction, instance.direction);
    let is_server = matches!(network.reason, Reason::AlwaysNeighbourDiscovery | Reason::AlwaysDhcp);
    if instance.reason != network.reason {
        assert!(is_server && instance.direction == fw_common::Direction::Egress, "{network:?} {instance:?}");
    }
}

/// A tag in metadata counts like one in the frame.
fn same_in_metadata(world: &World, seen: Seen<'_>, decision: Decision, used: &mut Scratch) {
    if seen.tags == 0 || seen.bytes.len() < 12 {
        return;
    }
    let (addresses, rest) = seen.bytes.split_at(12);
    let tagged = [addresses, &[0x81, 0x00, 0x00, 0x07], rest].concat();
    let in_frame = judge(world, Seen { bytes: &tagged, tags: 0, ..seen }, used);
    assert_eq!(decision, in_frame, "a VLAN tag in metadata and the same one in the frame");
}

/// Behind its Ethernet header a packet is judged like one that has none.
fn same_without_link_layer(world: &World, seen: Seen<'_>, decision: Decision, used: &mut Scratch) {
    let Some((header, packet)) = seen.bytes.split_at_checked(14) else { return };
    let is_ip = match (&header[12..], packet.first()) {
        ([0x08, 0x00], Some(first)) => first >> 4 == 4,
        ([0x86, 0xdd], Some(first)) => first >> 4 == 6,
        _ => false,
    };
    if is_ip {
        let by = judge_at(&world.bare, Seen { bytes: packet, tags: 0, ..seen }, used);
        assert_eq!(decision, by, "an IP packet with and without its Ethernet header");
    }
    // Whatever it is, no byte of it makes a device without Ethernet pass more than IP.
    let by = judge_at(&world.bare, seen, used);
    let link = matches!(by.reason, Reason::AlwaysArp | Reason::AlwaysLinkControl | Reason::OtherEthertype);
    assert!(!link, "a device without link layer: {by:?}");
}

/// What stands behind the IP packet is padding: it is never read.
fn same_beyond_the_end(world: &World, seen: Seen<'_>, decision: Decision, used: &mut Scratch) {
    let Some((length, end)) = parsed(seen) else { return };
    if length == 0 && seen.segments > 1 {
        return;
    }
    let cut = judge(world, Seen { bytes: &seen.bytes[..end], ..seen }, used);
    assert_eq!(decision, cut, "padding behind the packet");
    let padded = [&seen.bytes[..end], &[0x5a; 64]].concat();
    let padded = judge(world, Seen { bytes: &padded, ..seen }, used);
    assert_eq!(decision, padded, "more padding behind the packet");
}

/// Pending segmentation matters for a packet that gives no length and for no other.
fn same_in_segments(world: &World, seen: Seen<'_>, decision: Decision, used: &mut Scratch) {
    let Some((length, _)) = parsed(seen) else { return };
    if length != 0 {
        let other = judge(world, Seen { segments: if seen.segments > 1 { 1 } else { 9 }, ..seen }, used);
        assert_eq!(decision, other, "segmentation pending or not");
    }
}

/// The length field of an IP packet that can be parsed, and where it ends in the frame.
fn parsed(seen: Seen<'_>) -> Option<(u16, usize)> {
    let frame = SliceFrame { bytes: seen.bytes, segments: seen.segments };
    let mut room = wire::Room::EMPTY;
    let parsed = wire::parse(&frame, Link::Ethernet { tags: seen.tags }, &mut room);
    if parsed != Ok(Parsed::Ip) {
        return None;
    }
    let at =
        room.link.payload as usize + if seen.bytes[room.link.payload as usize] >> 4 == 4 { 2 } else { 4 };
    Some((u16::from_be_bytes([seen.bytes[at], seen.bytes[at + 1]]), room.packet.end as usize))
}

fn reverse(hook: Hook) -> Hook {
    match hook {
        Hook::Received => Hook::Sent,
        Hook::Sent => Hook::Received,
    }
}

//! What holds for every decision by itself: verdict, reason and the rules named with it agree; and for every frame.

use fw_common::frame::Link;
use fw_common::memory::SliceFrame;
use fw_common::packet::Packet;
use fw_common::wire::{self, Parsed};
use fw_common::{Decision, Layer, Reason, Verdict};
use fw_userspace::compile::{Compiled, RuleKind};

/// What passes whatever the rules say.
pub(super) fn is_always(reason: Reason) -> bool {
    reason.verdict() == Verdict::Pass
        && reason.layer() == Layer::Exempt
        && !matches!(reason, Reason::ExemptService | Reason::OtherEthertype)
}

/// Panics where a decision contradicts itself or the rules in force.
pub(super) fn decision(decision: &Decision, compiled: &Compiled) {
    let reason = decision.reason;
    let verdict = if decision.observed { Verdict::Pass } else { reason.verdict() };
    assert_eq!(decision.verdict(), verdict, "{decision:?}");
    assert!(
        !matches!(reason, Reason::TablesDamaged | Reason::NotConfigured),
        "compiled rules are whole and know their device: {decision:?}"
    );
    assert!(compiled.zones.iter().any(|(zone, ..)| *zone == decision.zone), "no such zone: {decision:?}");
    rule(decision.acl_rule, RuleKind::NetworkAcl, decision, compiled);
    rule(decision.group_rule, RuleKind::SecurityGroup, decision, compiled);
    match reason {
        Reason::AclAllow | Reason::AclDeny | Reason::AclDefault => {
            assert!(decision.acl_rule != 0 && decision.group_rule == 0, "{decision:?}");
        }
        Reason::GroupRule | Reason::Adopted => assert!(decision.group_rule != 0, "{decision:?}"),
        Reason::Established | Reason::OneSided | Reason::OutOfWindow | Reason::Related => {
            assert_eq!(decision.group_rule, 0, "{decision:?}")
        }
        _ => assert_eq!((decision.acl_rule, decision.group_rule), (0, 0), "{decision:?}"),
    }
}

/// A slot is 0 or that of a rule of this kind; and of the packet's direction, but for what is taken over as a reply.
fn rule(slot: u32, kind: RuleKind, decision: &Decision, compiled: &Compiled) {
    if slot == 0 {
        return;
    }
    let info = compiled.rules.iter().find(|info| info.slot == slot);
    let info = info.unwrap_or_else(|| panic!("no rule has slot {slot}: {decision:?}"));
    assert_eq!(info.kind, kind, "{decision:?} names {info:?}");
    if decision.reason != Reason::Adopted || kind == RuleKind::NetworkAcl {
        assert_eq!(info.direction, decision.direction, "{decision:?} names {info:?}");
    }
}

/// What is recognised as a usual packet is read as the parser reads it.
pub fn plain(bytes: &[u8]) -> bool {
    let frame = SliceFrame::new(bytes);
    let mut packet = Packet::EMPTY;
    let is_plain = wire::plain(&frame, &mut packet);
    if is_plain {
        let mut room = wire::Room::EMPTY;
        let parsed = wire::parse(&frame, Link::Ethernet { tags: 0 }, &mut room);
        assert_eq!((parsed, room.packet), (Ok(Parsed::Ip), packet), "a usual packet");
    }
    is_plain
}

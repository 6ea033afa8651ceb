//! The twins of the programs at TC: for `fwctl explain`, which runs them by `BPF_PROG_TEST_RUN` and never attaches them.
//! They decide by the same core on the same maps, count nothing and remember nothing; what was decided is left in the
//! control buffer of the skb (`__sk_buff.cb`, which a test run gives back).

use aya_ebpf::bindings::TC_ACT_SHOT;
use aya_ebpf::macros::classifier;
use aya_ebpf::programs::TcContext;
use fw_common::{Frame as _, Hook, Sighting, rehearse as decide};

use crate::frame::SkbFrame;
use crate::maps::{self, Maps};
use crate::tc_action;

/// What [`crate::tc_received`] and [`crate::xdp_received`] would do.
#[classifier]
pub fn explain_received(ctx: TcContext) -> i32 {
    rehearse(&ctx, Hook::Received)
}

/// What [`crate::tc_sent`] would do.
#[classifier]
pub fn explain_sent(ctx: TcContext) -> i32 {
    rehearse(&ctx, Hook::Sent)
}

#[inline(always)]
fn rehearse(ctx: &TcContext, hook: Hook) -> i32 {
    let (Some(room), Some(maps)) = (maps::rehearsal_room(), Maps::new()) else { return TC_ACT_SHOT };
    let frame = SkbFrame::new(ctx, &mut room.memory);
    // Not to be known to the verifier: with the sent side as a constant it went through twice as many instructions (880,000,
    // Linux 6.18).
    let hook = if frame.forget(u32::from(hook == Hook::Sent)) != 0 { Hook::Sent } else { Hook::Received };
    let seen = Sighting { ifindex: frame.ifindex(), hook, vlan_tags: frame.tags() };
    let rehearsed = decide(&frame, maps, seen, &mut room.scratch);
    frame.leave(rehearsed.to_words());
    tc_action(rehearsed.decision.verdict())
}

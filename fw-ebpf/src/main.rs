//! The programs of fwctl: each turns its context into a [`fw_common::Frame`], asks the decision core, counts, and
//! returns the verdict in its hook's words. Nothing here decides anything.

#![no_std]
#![no_main]
#![allow(missing_docs, unreachable_pub, reason = "the program macros export undocumented symbols")]
// Inline assembly for BPF is not stable yet; see `frame::opaque` and `shared`.
#![feature(asm_experimental_arch)]

mod apart;
mod flows;
mod frame;
mod maps;
mod rehearse;
mod report;
mod shared;
mod upkeep;

use aya_ebpf::bindings::{TC_ACT_SHOT, TC_ACT_UNSPEC, xdp_action};
use aya_ebpf::macros::{classifier, xdp};
use aya_ebpf::programs::{TcContext, XdpContext};
use fw_common::{Hook, Sighting, Verdict};

use crate::frame::{SkbFrame, XdpFrame};

/// What a device receives, at XDP.
#[xdp(frags)]
pub fn xdp_received(ctx: XdpContext) -> u32 {
    let seen = Sighting { ifindex: ctx.ingress_ifindex() as u32, hook: Hook::Received, vlan_tags: 0 };
    // Cannot fail: the map has one element. Dropped all the same if it did.
    let Some(room) = maps::room() else { return xdp_action::XDP_DROP };
    match report::judge(&XdpFrame::new(&ctx, &mut room.memory), seen, &mut room.scratch) {
        Verdict::Pass => xdp_action::XDP_PASS,
        Verdict::Drop => xdp_action::XDP_DROP,
    }
}

/// What a device receives, at TC.
#[classifier]
pub fn tc_received(ctx: TcContext) -> i32 {
    judge_skb(&ctx, Hook::Received)
}

/// What the host sends through a device, at TC.
#[classifier]
pub fn tc_sent(ctx: TcContext) -> i32 {
    judge_skb(&ctx, Hook::Sent)
}

#[inline(always)]
fn judge_skb(ctx: &TcContext, hook: Hook) -> i32 {
    // Cannot fail: the map has one element. Dropped all the same if it did.
    let Some(room) = maps::room() else { return TC_ACT_SHOT };
    let frame = SkbFrame::new(ctx, &mut room.memory);
    let seen = Sighting { ifindex: frame.ifindex(), hook, vlan_tags: frame.tags() };
    tc_action(report::judge(&frame, seen, &mut room.scratch))
}

/// A verdict in TC's words.
#[inline(always)]
fn tc_action(verdict: Verdict) -> i32 {
    match verdict {
        // Not TC_ACT_OK: that would end the chain and skip other people's filters behind ours.
        Verdict::Pass => TC_ACT_UNSPEC,
        Verdict::Drop => TC_ACT_SHOT,
    }
}

/// Removes what has expired; see [`upkeep`], as for the next two. Attached nowhere.
#[classifier]
pub fn sweep(_: TcContext) -> i32 {
    upkeep::sweep()
}

/// Removes the connections that it is given.
#[classifier]
pub fn flush(ctx: TcContext) -> i32 {
    upkeep::flush(&ctx)
}

/// Takes over the connections that it is given from another table.
#[classifier]
pub fn move_in(ctx: TcContext) -> i32 {
    upkeep::move_in(&ctx)
}

/// The kernel grants GPL programs every helper that is used here.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

/// A reachable panic ends in this loop, which the verifier refuses: a panic cannot be loaded.
#[cfg(not(test))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}

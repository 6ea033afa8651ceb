//! Measuring instruments of the tests and the benchmark: a generator of frames, programs that decide without a look,
//! and counters before and behind a filter. No part of fwctl: `fw_tests::instruments` loads them.

#![no_std]
#![no_main]
#![allow(missing_docs, unreachable_pub, reason = "the program macros export undocumented symbols")]

use core::ptr::read_volatile;

use aya_ebpf::bindings::{BPF_F_MMAPABLE, TC_ACT_SHOT, xdp_action};
use aya_ebpf::helpers::{bpf_ktime_get_ns, bpf_redirect};
use aya_ebpf::macros::{classifier, map, xdp};
use aya_ebpf::maps::{Array, PerCpuArray};
use aya_ebpf::programs::{TcContext, XdpContext};

/// A whole frame, in words that are copied one by one: the headers of IPv6 and TCP are 74 bytes. Its last byte is its
/// class.
type Frame = [u64; 10];

/// The frames that are sent in turn; user space makes room and fills it.
#[map]
static FRAMES: Array<Frame> = Array::with_max_entries(1, 0);
/// Where the generator is, in the words of [`state`].
#[map]
static STATE: Array<[u64; 4]> = Array::with_max_entries(1, 0);
/// Frames that came to a filter, by class.
#[map]
static BEFORE: PerCpuArray<u64> = PerCpuArray::with_max_entries(8, 0);
/// Frames that passed it, by class.
#[map]
static BEHIND: PerCpuArray<u64> = PerCpuArray::with_max_entries(8, 0);
/// When the first frame of a class passed it since user space set this to 0, nanoseconds.
#[map]
static PASSED_NS: Array<u64> = Array::with_max_entries(8, 0);

/// Lines of which each names another as the next; user space makes as many as it likes. In small pages, as the rules are.
#[map]
static LINES: Array<[u64; 8]> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// The words of [`STATE`]; user space sets all but the first back before it sends.
mod state {
    /// Which of the frames is next.
    pub const NEXT: usize = 0;
    /// Frames so far.
    pub const SENT: usize = 1;
    /// When the first was made, nanoseconds.
    pub const FIRST_NS: usize = 2;
    /// When the last was made whose number is a multiple of [`super::STAMP_EVERY`].
    pub const LAST_NS: usize = 3;
}
/// The clock costs as much as a small program: it is asked once a batch.
const STAMP_EVERY: u64 = 64;

/// How many frames there are; set when it is loaded.
#[unsafe(no_mangle)]
static COUNT: u32 = 1;
/// The device that they leave by; 0 throws them away: what generating alone costs.
#[unsafe(no_mangle)]
static DEVICE: u32 = 0;

/// Writes the whole frame, for the kernel uses its pages again as they are, and sends it.
#[xdp]
pub fn generate(ctx: XdpContext) -> u32 {
    // SAFETY: statics; volatile, because the loader changes what the compiler sees.
    let (count, device) = unsafe { (read_volatile(&raw const COUNT), read_volatile(&raw const DEVICE)) };
    let Some(state) = STATE.get_ptr_mut(0) else { return xdp_action::XDP_ABORTED };
    // SAFETY: an element of a map, which lives as long as the program; one thread generates at a time.
    let state = unsafe { &mut *state };
    let at = state[state::NEXT] as u32;
    state[state::NEXT] = if at + 1 < count { u64::from(at + 1) } else { 0 };
    if state[state::SENT] % STAMP_EVERY == 0 {
        // SAFETY: a helper that takes nothing.
        let now_ns = unsafe { bpf_ktime_get_ns() };
        if state[state::SENT] == 0 {
            state[state::FIRST_NS] = now_ns;
        }
        state[state::LAST_NS] = now_ns;
    }
    state[state::SENT] += 1;
    let Some(frame) = FRAMES.get(at) else { return xdp_action::XDP_ABORTED };
    if ctx.data() + size_of::<Frame>() > ctx.data_end() {
        return xdp_action::XDP_ABORTED;
    }
    // SAFETY: inside the packet, as just compared; test runs lay packets at multiples of 8.
    unsafe { *(ctx.data() as *mut Frame) = *frame };
    if device == 0 {
        return xdp_action::XDP_DROP;
    }
    // SAFETY: a helper that takes two numbers.
    unsafe { bpf_redirect(device, 0) as u32 }
}

/// Lines that one run of [`chase`] reads.
const READS: u32 = 1024;

/// Reads lines one after the other, each where the one before says: what memory costs, whatever is done with it.
#[xdp]
pub fn chase(_: XdpContext) -> u32 {
    let Some(state) = STATE.get_ptr_mut(0) else { return xdp_action::XDP_ABORTED };
    // SAFETY: an element of a map, which lives as long as the program; one thread at a time runs it.
    let state = unsafe { &mut *state };
    let mut at = state[state::NEXT];
    for _ in 0..READS {
        let Some(line) = LINES.get(at as u32) else { return xdp_action::XDP_ABORTED };
        at = line[0];
    }
    state[state::NEXT] = at;
    xdp_action::XDP_DROP
}

/// The empty program at XDP.
#[xdp]
pub fn drop_xdp(_: XdpContext) -> u32 {
    xdp_action::XDP_DROP
}

/// Turns live frames into packets of the stack: a veth takes them only where a program is at XDP.
#[xdp]
pub fn pass_xdp(_: XdpContext) -> u32 {
    xdp_action::XDP_PASS
}

/// The empty program at TC.
#[classifier]
pub fn drop_tc(_: TcContext) -> i32 {
    TC_ACT_SHOT
}

/// Counts what comes to a filter at TC.
#[xdp]
pub fn count_xdp(ctx: XdpContext) -> u32 {
    if let Some(class) = class(ctx.data(), ctx.data_end()) {
        count(&BEFORE, class);
    }
    xdp_action::XDP_PASS
}

/// Counts what passed a filter, and ends its way.
#[classifier]
pub fn count_tc(ctx: TcContext) -> i32 {
    // Frames of the generator lie in one piece.
    let Some(class) = class(ctx.data(), ctx.data_end()) else { return TC_ACT_SHOT };
    count(&BEHIND, class);
    if let Some(passed_ns) = PASSED_NS.get_ptr_mut(class) {
        // SAFETY: an element of a map; frames come by one CPU.
        let passed_ns = unsafe { &mut *passed_ns };
        if *passed_ns == 0 {
            // SAFETY: a helper that takes nothing.
            *passed_ns = unsafe { bpf_ktime_get_ns() };
        }
    }
    TC_ACT_SHOT
}

/// The class of a frame of the generator.
#[inline(always)]
fn class(data: usize, end: usize) -> Option<u32> {
    if data + size_of::<Frame>() > end {
        return None;
    }
    // SAFETY: inside the packet, as just compared.
    Some(u32::from(unsafe { *((data + size_of::<Frame>() - 1) as *const u8) }))
}

#[inline(always)]
fn count(counters: &PerCpuArray<u64>, class: u32) {
    if let Some(counter) = counters.get_ptr_mut(class) {
        // SAFETY: this CPU's own element, and softirqs do not interrupt each other.
        unsafe { *counter += 1 };
    }
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

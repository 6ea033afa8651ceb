//! Measuring instruments of the tests and the benchmark: a generator of frames, programs that decide without a look,
//! and counters before and behind a filter. No part of fwctl: `fw_tests::instruments` loads them.

#![no_std]
#![no_main]
#![allow(missing_docs, unreachable_pub, reason = "the program macros export undocumented symbols")]

use core::ptr::read_volatile;

use aya_ebpf::bindings::{BPF_F_MMAPABLE, TC_ACT_SHOT, TC_ACT_UNSPEC, xdp_action, xdp_md};
use aya_ebpf::helpers::{bpf_get_prandom_u32, bpf_ktime_get_ns, bpf_redirect};
use aya_ebpf::macros::{classifier, map, xdp};
use aya_ebpf::maps::{Array, PerCpuArray, ProgramArray};
use aya_ebpf::programs::{TcContext, XdpContext};

/// A whole frame, in words that are copied one by one: the headers of IPv6 and TCP are 74 bytes. Its last byte is its
/// class.
type Frame = [u64; 10];

/// The frames that are sent in turn; user space makes room and fills it.
#[map]
static FRAMES: Array<Frame> = Array::with_max_entries(1, 0);
/// Where the generator is, in the words of [`state`].
#[map]
static STATE: Array<[u64; 5]> = Array::with_max_entries(1, 0);
/// Frames that came to a filter, by class.
#[map]
static BEFORE: PerCpuArray<u64> = PerCpuArray::with_max_entries(8, 0);
/// Frames that passed it, by class.
#[map]
static BEHIND: PerCpuArray<u64> = PerCpuArray::with_max_entries(8, 0);
/// When the first frame of a class passed it since user space set this to 0, nanoseconds.
#[map]
static PASSED_NS: Array<u64> = Array::with_max_entries(8, 0);

/// The program that [`through_xdp`] asks.
#[map]
static JUDGE: ProgramArray = ProgramArray::with_max_entries(1, 0);
/// What it says without one; and whether marked frames end there that the program lets through.
#[map]
static THROUGH: Array<[u32; 2]> = Array::with_max_entries(1, 0);

/// Lines of which each names another as the next; user space makes as many as it likes. In small pages, as the rules are.
#[map]
static LINES: Array<[u64; 8]> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// The words of [`STATE`]; user space sets all but the first and the last back before it sends.
mod state {
    /// Which of the frames is next.
    pub const NEXT: usize = 0;
    /// Frames so far.
    pub const SENT: usize = 1;
    /// When the first was made, nanoseconds.
    pub const FIRST_NS: usize = 2;
    /// When the last was made whose number is a multiple of [`super::STAMP_EVERY`].
    pub const LAST_NS: usize = 3;
    /// The number of the first sender, where one follows the other.
    pub const FIRST_SENDER: usize = 4;
}
/// The clock costs as much as a small program: it is asked once a batch.
const STAMP_EVERY: u64 = 64;

/// How many frames there are; set when it is loaded.
#[unsafe(no_mangle)]
static COUNT: u32 = 1;
/// The device that they leave by; 0 throws them away: what generating alone costs.
#[unsafe(no_mangle)]
static DEVICE: u32 = 0;

/// Over how many senders the frames are spread: as many numbers are added to the word at [`SPREAD_AT`]; 0 leaves them
/// alone. What does not change is known to the verifier, so other generators carry no instruction of this.
#[unsafe(no_mangle)]
static SPREAD: u32 = 0;
/// Where the lower half of an address is, in the frame.
#[unsafe(no_mangle)]
static SPREAD_AT: u32 = 0;
/// The checksums that cover it; 0 for none.
#[unsafe(no_mangle)]
static SUMS_AT: [u32; 2] = [0; 2];
/// The numbers are random; else one follows the other, each after all frames have been sent with the one before.
#[unsafe(no_mangle)]
static IS_RANDOM: u32 = 0;

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
    let sent = state[state::SENT];
    state[state::SENT] = sent + 1;
    let Some(frame) = FRAMES.get(at) else { return xdp_action::XDP_ABORTED };
    if ctx.data() + size_of::<Frame>() > ctx.data_end() {
        return xdp_action::XDP_ABORTED;
    }
    // SAFETY: inside the packet, as just compared; test runs lay packets at multiples of 8.
    unsafe { *(ctx.data() as *mut Frame) = *frame };
    // SAFETY: a static, as above.
    let over = unsafe { read_volatile(&raw const SPREAD) };
    let turn = state[state::FIRST_SENDER] + sent / u64::from(count.max(1));
    if over != 0 && spread(&ctx, over, turn).is_none() {
        return xdp_action::XDP_ABORTED;
    }
    if device == 0 {
        return xdp_action::XDP_DROP;
    }
    // SAFETY: a helper that takes two numbers.
    unsafe { bpf_redirect(device, 0) as u32 }
}

/// Makes the frame one of another sender, checksums included.
#[inline(always)]
fn spread(ctx: &XdpContext, over: u32, turn: u64) -> Option<()> {
    // SAFETY: statics; volatile, because the loader changes what the compiler sees.
    let (at, sums, is_random) = unsafe {
        (
            read_volatile(&raw const SPREAD_AT),
            read_volatile(&raw const SUMS_AT),
            read_volatile(&raw const IS_RANDOM),
        )
    };
    // SAFETY: a helper that takes nothing.
    let number = if is_random != 0 { unsafe { bpf_get_prandom_u32() } } else { turn as u32 };
    let word = place::<[u8; 4]>(ctx, at)?;
    // SAFETY: inside the packet.
    let before = u32::from_be_bytes(unsafe { *word });
    let after = before.wrapping_add(number % over);
    // SAFETY: as above.
    unsafe { *word = after.to_be_bytes() };
    for sum_at in sums {
        if sum_at == 0 {
            continue;
        }
        let sum = place::<[u8; 2]>(ctx, sum_at)?;
        // SAFETY: inside the packet.
        let old = u16::from_be_bytes(unsafe { *sum });
        // SAFETY: as above.
        unsafe { *sum = updated(old, before, after).to_be_bytes() };
    }
    Some(())
}

/// A checksum after a word of what it covers has changed (RFC 1624, equation 3).
#[inline(always)]
fn updated(sum: u16, before: u32, after: u32) -> u16 {
    let halves = |word: u32| (word >> 16) + (word & 0xffff);
    let mut all = u32::from(!sum) + halves(!before) + halves(after);
    all = halves(all);
    all = halves(all);
    !(all as u16)
}

/// Some bytes of a frame of the generator.
#[inline(always)]
fn place<T>(ctx: &XdpContext, at: u32) -> Option<*mut T> {
    let at = ctx.data() + at as usize;
    if at + size_of::<T>() > ctx.data_end() { None } else { Some(at as *mut T) }
}

/// The last four bytes of frames that are to go no further than the filter under test.
const MARK: u32 = 0x6677_6d6b;

#[inline(always)]
fn is_marked(data: usize, end: usize) -> bool {
    // SAFETY: inside the packet, as just compared.
    data + size_of::<Frame>() <= end
        && unsafe { *((data + size_of::<Frame>() - 4) as *const [u8; 4]) } == MARK.to_be_bytes()
}

/// Asks another program and does what it says, but for the marked frames that it lets through: nothing that happens
/// behind an XDP program is then part of what it takes.
#[xdp(frags)]
pub fn through_xdp(ctx: XdpContext) -> u32 {
    let is_marked = is_marked(ctx.data(), ctx.data_end());
    let verdict = judged(ctx.ctx);
    match THROUGH.get(0) {
        Some([_, 0]) => verdict,
        Some(_) if !is_marked => verdict,
        _ => xdp_action::XDP_DROP,
    }
}

/// A function of its own: to this caller, and not to the kernel, the other program returns.
#[inline(never)]
fn judged(ctx: *mut xdp_md) -> u32 {
    // SAFETY: both are of the kernel.
    unsafe { JUDGE.tail_call(&XdpContext::new(ctx), 0) };
    THROUGH.get(0).map_or(xdp_action::XDP_ABORTED, |[without, _]| *without)
}

/// The empty program that is asked in a filter's place.
#[xdp(frags)]
pub fn empty_xdp(_: XdpContext) -> u32 {
    xdp_action::XDP_PASS
}

/// Ends the way of marked frames.
#[classifier]
pub fn sink_tc(ctx: TcContext) -> i32 {
    // Frames of the generator lie in one piece.
    if is_marked(ctx.data(), ctx.data_end()) { TC_ACT_SHOT } else { TC_ACT_UNSPEC }
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

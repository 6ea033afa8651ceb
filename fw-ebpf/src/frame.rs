//! Packet access, the only unsafe around packet memory.
//!
//! The bounds are read anew, volatile, for each access: LLVM otherwise rewrites later checks in terms of earlier ones,
//! and the verifier, which follows only the plain form `data + offset + N > data_end`, refuses the result ("offset is
//! outside of the packet", "pointer arithmetic on pkt_end prohibited", Linux 6.18).

use aya_ebpf::bindings::{__sk_buff, xdp_md};
use aya_ebpf::helpers::{bpf_skb_load_bytes, bpf_xdp_get_buff_len, bpf_xdp_load_bytes};
use aya_ebpf::programs::{TcContext, XdpContext};
use fw_common::{Frame, rehearsed};

/// The verifier follows packet pointers up to this offset (`MAX_PACKET_OFF` 0xffff, include/linux/bpf_verifier.h,
/// 6.18); headers further in are read by helper.
const MAX_DIRECT_OFFSET: u32 = 0x7fff;

/// A frame at XDP, possibly in several buffers.
pub(crate) struct XdpFrame<'a> {
    ctx: &'a XdpContext,
    memory: *mut u32,
}

impl<'a> XdpFrame<'a> {
    #[inline(always)]
    pub(crate) fn new(ctx: &'a XdpContext, memory: &'a mut u32) -> Self {
        Self { ctx, memory }
    }
}

impl Frame for XdpFrame<'_> {
    #[inline(always)]
    fn load<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        // The checks below would otherwise teach the verifier about the caller's offset, differently on each path.
        let offset = by_way_of(self.memory, offset);
        if let Some(bytes) = direct::<N>(xdp_bounds(self.ctx.ctx), offset) {
            return Some(bytes);
        }
        by_helper(self.len(), offset, |offset, len| xdp_load(self.ctx.ctx, offset, len))
    }

    #[inline(always)]
    fn words<const N: usize>(&self, offset: u32) -> Option<[u64; N]> {
        words(xdp_bounds(self.ctx.ctx), offset)
    }

    #[inline(always)]
    fn len(&self) -> u32 {
        xdp_len(self.ctx.ctx)
    }

    /// Of the first buffer if the packet ends in it: asking for all of them is a call.
    #[inline(always)]
    fn len_from(&self, end: u32) -> u32 {
        let (data, data_end) = xdp_bounds(self.ctx.ctx);
        let first = opaque(data_end).wrapping_sub(opaque(data)) as u32;
        if end <= first { first } else { self.len() }
    }

    #[inline(always)]
    fn forget(&self, value: u32) -> u32 {
        by_way_of(self.memory, value)
    }

    #[inline(always)]
    fn segments(&self) -> u32 {
        1
    }
}

/// A frame at TC: an skb, its VLAN tag possibly in metadata, its headers possibly outside the linear part.
pub(crate) struct SkbFrame<'a> {
    ctx: &'a TcContext,
    memory: *mut u32,
}

impl<'a> SkbFrame<'a> {
    #[inline(always)]
    pub(crate) fn new(ctx: &'a TcContext, memory: &'a mut u32) -> Self {
        Self { ctx, memory }
    }

    #[inline(always)]
    pub(crate) fn ifindex(&self) -> u32 {
        // SAFETY: the context is the one this program was called with; the verifier rewrites the access.
        unsafe { (*self.ctx.skb.skb).ifindex }
    }

    /// Leaves words in the control buffer.
    #[inline(always)]
    pub(crate) fn leave(&self, words: [u32; rehearsed::WORDS]) {
        // SAFETY: as above.
        unsafe { (*self.ctx.skb.skb).cb = words };
    }

    /// VLAN tags that were taken out of the frame.
    #[inline(always)]
    pub(crate) fn tags(&self) -> u8 {
        // SAFETY: as above.
        unsafe { (*self.ctx.skb.skb).vlan_present as u8 }
    }
}

impl Frame for SkbFrame<'_> {
    #[inline(always)]
    fn load<const N: usize>(&self, offset: u32) -> Option<[u8; N]> {
        // The checks below would otherwise teach the verifier about the caller's offset, differently on each path.
        let offset = by_way_of(self.memory, offset);
        if let Some(bytes) = direct::<N>(skb_bounds(self.ctx.skb.skb), offset) {
            return Some(bytes);
        }
        by_helper(self.ctx.len(), offset, |offset, len| skb_load(self.ctx.skb.skb, offset, len))
    }

    #[inline(always)]
    fn words<const N: usize>(&self, offset: u32) -> Option<[u64; N]> {
        words(skb_bounds(self.ctx.skb.skb), offset)
    }

    #[inline(always)]
    fn len(&self) -> u32 {
        self.ctx.len()
    }

    #[inline(always)]
    fn len_from(&self, _end: u32) -> u32 {
        self.len()
    }

    #[inline(always)]
    fn forget(&self, value: u32) -> u32 {
        by_way_of(self.memory, value)
    }

    #[inline(always)]
    fn segments(&self) -> u32 {
        // SAFETY: the context is the one this program was called with; the verifier rewrites the access.
        let segments = unsafe { (*self.ctx.skb.skb).gso_segs };
        if segments == 0 { 1 } else { segments }
    }
}

/// The same value, of which LLVM knows nothing. It otherwise compares only the low halves of pointers, since the context
/// shows them as 32-bit words ("w2 >= w3"), or turns `at + N > data_end` around into arithmetic on `data_end` (LLVM 22,
/// cpu v3); the verifier understands neither.
#[inline(always)]
pub(crate) fn opaque(mut value: usize) -> usize {
    // SAFETY: the register keeps its value. Not an empty template: two line records at one instruction are refused
    // ("Invalid line_info", Linux 6.18).
    unsafe { core::arch::asm!("{0} = {0}", inout(reg) value, options(nomem, nostack, preserves_flags)) };
    value
}

/// The same memory, which LLVM must take for written anew.
#[inline(always)]
pub(crate) fn reread<M>(memory: &mut M) {
    // SAFETY: nothing is written. Not an empty template, as above.
    unsafe {
        core::arch::asm!("{0} = {0}", in(reg) core::ptr::from_mut(memory), options(nostack, preserves_flags))
    };
}

#[inline(always)]
fn by_way_of(memory: *mut u32, value: u32) -> u32 {
    // SAFETY: `memory` was made of a reference that outlives the frame.
    unsafe { core::ptr::write_volatile(memory, value) };
    // SAFETY: as above; it was written just now.
    unsafe { core::ptr::read_volatile(memory) }
}

/// Start and end of the linear part.
#[inline(always)]
fn xdp_bounds(ctx: *mut xdp_md) -> (usize, usize) {
    // SAFETY: the context is the program's own; the verifier rewrites the access.
    let data = unsafe { core::ptr::read_volatile(&raw const (*ctx).data) };
    // SAFETY: as above.
    let data_end = unsafe { core::ptr::read_volatile(&raw const (*ctx).data_end) };
    (opaque(data as usize), opaque(data_end as usize))
}

/// Start and end of the linear part.
#[inline(always)]
fn skb_bounds(skb: *mut __sk_buff) -> (usize, usize) {
    // SAFETY: the context is the program's own; the verifier rewrites the access.
    let data = unsafe { core::ptr::read_volatile(&raw const (*skb).data) };
    // SAFETY: as above.
    let data_end = unsafe { core::ptr::read_volatile(&raw const (*skb).data_end) };
    (opaque(data as usize), opaque(data_end as usize))
}

/// Reads from the linear part.
#[inline(always)]
fn direct<const N: usize>((data, data_end): (usize, usize), offset: u32) -> Option<[u8; N]> {
    if offset > MAX_DIRECT_OFFSET {
        return None;
    }
    // The mask changes nothing, but Linux 6.1 does not know what was compared once the offset has been on the stack.
    let at = data + (opaque(offset as usize) & MAX_DIRECT_OFFSET as usize);
    if opaque(at + N) > data_end {
        return None;
    }
    // SAFETY: the N bytes at `at` lie between data and data_end; byte arrays have no alignment.
    Some(unsafe { *(at as *const [u8; N]) })
}

/// Reads words from the linear part, all of them or none.
#[inline(always)]
fn words<const N: usize>((data, data_end): (usize, usize), offset: u32) -> Option<[u64; N]> {
    let at = data + offset as usize;
    if opaque(at + 8 * N) > data_end {
        return None;
    }
    let mut words = [0; N];
    for (word, place) in words.iter_mut().zip((at..).step_by(8)) {
        *word = word_at(place);
    }
    Some(words)
}

/// A word in network order. In assembly: of a load that may not be aligned LLVM makes one for each byte, while every
/// architecture with a JIT takes it as it is (the verifier allows it where the kernel has
/// `HAVE_EFFICIENT_UNALIGNED_ACCESS`).
#[inline(always)]
fn word_at(place: usize) -> u64 {
    let word: u64;
    // SAFETY: the caller has compared the end of the word with the end of the packet.
    unsafe {
        core::arch::asm!("{word} = *(u64 *)({place} + 0)", word = out(reg) word, place = in(reg) place, options(readonly, nostack, preserves_flags));
    }
    u64::from_be(word)
}

/// Bytes in all buffers of a frame.
#[inline(never)]
fn xdp_len(ctx: *mut xdp_md) -> u32 {
    // SAFETY: the context is the one this program was called with.
    unsafe { bpf_xdp_get_buff_len(ctx) as u32 }
}

/// Reads what is not in the linear part, in pieces that fit a register: a buffer per read would fill the stack.
#[inline(always)]
fn by_helper<const N: usize>(len: u32, offset: u32, load: impl Fn(u32, u32) -> u64) -> Option<[u8; N]> {
    if offset > len || len - offset < N as u32 {
        return None;
    }
    let mut bytes = [0; N];
    let mut done = 0;
    for piece in bytes.chunks_mut(8) {
        let word = load(offset + done, piece.len() as u32).to_le_bytes();
        for (byte, read) in piece.iter_mut().zip(word) {
            *byte = read;
        }
        done += 8;
    }
    Some(bytes)
}

/// Up to 8 bytes of a multi-buffer frame, the first in the lowest byte; 0 past the end.
#[inline(never)]
fn xdp_load(ctx: *mut xdp_md, offset: u32, len: u32) -> u64 {
    let mut bytes = [0u8; 8];
    let len = len.min(8);
    // SAFETY: the helper writes at most `len` bytes to the 8 of `bytes`; the context is the program's own.
    let failed = unsafe { bpf_xdp_load_bytes(ctx, offset, bytes.as_mut_ptr().cast(), len) };
    if failed == 0 { u64::from_le_bytes(bytes) } else { 0 }
}

/// Up to 8 bytes outside the linear part, the first in the lowest byte; 0 past the end.
#[inline(never)]
fn skb_load(skb: *mut __sk_buff, offset: u32, len: u32) -> u64 {
    let mut bytes = [0u8; 8];
    let len = len.min(8);
    // SAFETY: the helper writes at most `len` bytes to the 8 of `bytes`; the context is the program's own.
    let failed = unsafe { bpf_skb_load_bytes(skb.cast(), offset, bytes.as_mut_ptr().cast(), len) };
    if failed == 0 { u64::from_le_bytes(bytes) } else { 0 }
}

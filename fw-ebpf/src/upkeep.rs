//! The store of connections kept in order, on behalf of user space (`BPF_PROG_TEST_RUN`): a process may be killed
//! between any two of its instructions, a program cannot, so no process changes a table that packets use.

use core::mem::MaybeUninit;

use aya_ebpf::helpers::{bpf_ktime_get_ns, bpf_skb_load_bytes};
use aya_ebpf::programs::TcContext;
use fw_common::FlowKey;
use fw_common::conntrack::Connection;
use fw_common::store::Place;
use fw_common::store::upkeep::{FLUSHED, MOVED, Moved, OFFSET, Swept};

use crate::apart;

/// How long one call sweeps, at most, but for its last stride: nothing else runs on its CPU meanwhile.
const SWEEP_NS: u64 = 20_000;
/// Strides of one call, at most; a result has room for what they remove.
const STRIDES: u32 = 128;

/// As far as one call goes.
#[inline(always)]
pub(crate) fn sweep() -> i32 {
    let start_ns = clock_ns();
    let mut removed = 0u32;
    let mut strides = 0u32;
    while strides < STRIDES {
        removed = removed.wrapping_add(apart::sweep_stride());
        strides += 1;
        if clock_ns().wrapping_sub(start_ns) > SWEEP_NS {
            break;
        }
    }
    Swept::new(strides, removed).0 as i32
}

/// How many of these keys were there.
#[inline(always)]
pub(crate) fn flush(ctx: &TcContext) -> i32 {
    let mut flushed = 0u32;
    let mut room = MaybeUninit::<FlowKey>::uninit();
    for number in 0..FLUSHED {
        let Some(key) = read(ctx, number, &mut room) else { break };
        flushed = flushed.wrapping_add(apart::remove(key));
    }
    flushed as i32
}

/// How many of these connections had no room.
#[inline(always)]
pub(crate) fn move_in(ctx: &TcContext) -> i32 {
    let mut lost = 0u32;
    let mut room = MaybeUninit::<Moved>::uninit();
    for number in 0..MOVED {
        let Some(moved) = read(ctx, number, &mut room) else { break };
        let Moved { key, connection, flags } = moved;
        let class = moved.class().code();
        lost = lost.wrapping_add(if flags & Moved::LIMITED == 0 {
            apart::move_one_in(key, connection, class)
        } else {
            insert(key, connection, class)
        });
    }
    lost as i32
}

/// 1 if a connection had no room.
#[inline(always)]
fn insert(key: &FlowKey, connection: &Connection, class: u32) -> u32 {
    apart::remove(key);
    let place = apart::place(key, connection, class);
    if Place::from_word(place).is_nowhere() {
        return 1;
    }
    apart::settle(key, place)
}

/// One of the values in a frame, brought into `room`: moved out of it, it would be on the stack twice. `None` behind
/// the last.
#[inline(always)]
fn read<'a, T: Integers>(ctx: &TcContext, number: u32, room: &'a mut MaybeUninit<T>) -> Option<&'a T> {
    let size = size_of::<T>() as u32;
    let offset = OFFSET + number * size;
    // SAFETY: the helper writes as many bytes as there is room for, or zeroes and fails; the context is the program's
    // own.
    let failed = unsafe { bpf_skb_load_bytes(ctx.skb.skb.cast(), offset, room.as_mut_ptr().cast(), size) };
    // SAFETY: written above; every bit pattern is a value.
    if failed == 0 { Some(unsafe { room.assume_init_ref() }) } else { None }
}

/// Promises that a type is made of integers: every bit pattern is a value.
///
/// # Safety
///
/// It is.
unsafe trait Integers {}

// SAFETY: `repr(C)`, of integers.
unsafe impl Integers for FlowKey {}
// SAFETY: `repr(C)`, of integers.
unsafe impl Integers for Moved {}

#[inline(always)]
fn clock_ns() -> u64 {
    // SAFETY: takes nothing, returns an integer. Not the coarse clock of packets, which steps by milliseconds.
    unsafe { bpf_ktime_get_ns() }
}

//! Functions that the verifier takes one by one: global ones, of which it assumes nothing but the types of their
//! arguments (Documentation/bpf/verifier.rst; pointers to structures since Linux 5.12). What they do is then verified
//! once and not at each of their calls, in each of the states that a program may be in there.
//!
//! A pointer may be null for all that it knows, so that is asked for.

use aya_ebpf::helpers::bpf_jiffies64;
use fw_common::conntrack::{self, Class, Connection, WORDS};
use fw_common::event::{Event, Wanted};
use fw_common::layout::head;
use fw_common::packet::Packet;
use fw_common::store::upkeep::STRIDE;
use fw_common::store::{self, Place, Store};
use fw_common::{Direction, FlowKey};

use crate::flows;
use crate::maps::{self, EVENTS, Maps, TELLERS};
use crate::shared::{Connections, Shared};

const STORE: Store<Connections> = Store(Connections);

/// Where the connection of a key is: [`Place::to_word`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn find(key: *const FlowKey) -> u64 {
    borrow(key).map_or(Place::NOWHERE, |key| store::find(Connections, key)).to_word()
}

/// A place in one of two buckets: [`Place::to_word`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn choose(first: u32, second: u32, class: u32) -> u64 {
    store::choose(Connections, first, second, class).to_word()
}

/// [`conntrack::begin_or_end`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn begin_or_end(
    words: *const Connection,
    packet: *const Packet,
    is_egress: u32,
    is_quiet: u32,
) -> u32 {
    let (Some(words), Some(packet)) = (borrow(words.cast::<[Shared; WORDS]>()), borrow(packet)) else {
        return 0;
    };
    let direction = if is_egress != 0 { Direction::Egress } else { Direction::Ingress };
    conntrack::begin_or_end(&mut Connection(words), packet, direction, is_quiet != 0)
}

/// The oldest entry of a class in a bucket: [`Place::to_word`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn oldest(bucket: u32, class: u32) -> u64 {
    store::oldest(Connections, bucket, class).to_word()
}

/// Kept connections after a search for expired ones, where this key may lie and elsewhere.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn reclaim(key: *const FlowKey) -> u64 {
    borrow(key).map_or(u64::MAX, |key| store::reclaim(Connections, key))
}

/// Removes all that has expired from a bucket; how many that were.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn clear_expired(bucket: u32) -> u32 {
    store::clear_expired(Connections, bucket)
}

/// [`Store::sweep`] of [`STRIDE`] buckets.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn sweep_stride() -> u32 {
    STORE.sweep(STRIDE)
}

/// 1 if a connection was there, and is there no more.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn remove(key: *const FlowKey) -> u32 {
    borrow(key).map_or(0, |key| u32::from(STORE.remove(key)))
}

/// 1 if a connection had no room.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn move_one_in(key: *const FlowKey, connection: *const Connection, class: u32) -> u32 {
    let (Some(key), Some(connection)) = (borrow(key), borrow(connection)) else { return 1 };
    u32::from(STORE.move_in(key, connection, Class::from_code(class)).is_err())
}

/// Puts a connection somewhere, to be settled there: [`Place::to_word`], nowhere if there was no room.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn place(key: *const FlowKey, connection: *const Connection, class: u32) -> u64 {
    let (Some(key), Some(connection)) = (borrow(key), borrow(connection)) else {
        return Place::NOWHERE.to_word();
    };
    STORE.place(key, connection, class, true).unwrap_or(Place::NOWHERE).to_word()
}

/// 1 if [`Store::place`] would find room.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn takes(key: *const FlowKey, flags: u32, class: u32) -> u32 {
    borrow(key).map_or(0, |key| u32::from(STORE.takes(key, flags as u8, class)))
}

/// [`Store::settle`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn settle(key: *const FlowKey, place: u64) -> u32 {
    if let Some(key) = borrow(key) {
        STORE.settle(key, Place::from_word(place));
    }
    0
}

/// 1 if there was room for another connection that is kept.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn promote(key: *const FlowKey, class: u32) -> u32 {
    borrow(key).map_or(0, |key| u32::from(STORE.promote_to(key, class).is_ok()))
}

/// Tells of the packet that was judged last on this CPU, if that is still wanted and may be: [`Event::words`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn tell(head: u32, zone: u32, acl_rule: u32, group_rule: u32, ifindex: u32) -> u32 {
    let Some(teller) = TELLERS.get_ptr_mut(0) else { return 0 };
    // SAFETY: as for the counters in `report`.
    let teller = unsafe { &mut *teller };
    // SAFETY: takes nothing, returns an integer; the verifier makes a load of it.
    let jiffy = unsafe { bpf_jiffies64() };
    if teller.is_spent(jiffy) {
        teller.suppress();
        return 0;
    }
    let (Some(room), Some(maps)) = (maps::room(), Maps::new()) else { return 0 };
    let now_ns = maps::now_ns();
    if !Wanted::lasts(maps.head(head::EVENTS_UNTIL), now_ns) {
        return 0;
    }
    if teller.take(jiffy, now_ns)
        && let Some(mut place) = EVENTS.reserve::<Event>(0)
    {
        let words = [head, zone, acl_rule, group_rule, ifindex];
        place.write(Event::new(words, &room.scratch, now_ns));
        place.submit(0);
    } else {
        teller.suppress();
    }
    0
}

/// Adds the packet that was judged last on this CPU to its flow, while flows are recorded:
/// [`fw_common::flow_log::words`].
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn record(head: u32, zone: u32, acl_rule: u32, group_rule: u32, packets: u32) -> u32 {
    flows::record([head, zone, acl_rule, group_rule, packets]);
    0
}

#[inline(always)]
fn borrow<'a, T>(pointer: *const T) -> Option<&'a T> {
    // SAFETY: made of a reference by the callers, who are all in this program.
    unsafe { pointer.as_ref() }
}

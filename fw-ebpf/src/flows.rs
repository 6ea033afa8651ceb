//! Adding packets up by flow, while somebody keeps a flow log.
//!
//! A window's map is filled and never emptied by programs: an entry stays what it is until the reader, who has put another
//! map in its place, has read it.

use aya_ebpf::bindings::BPF_NOEXIST;
use fw_common::event::Wanted;
use fw_common::flow_log::{self, Flow, Tally, Words};
use fw_common::layout::head;

use crate::maps::{self, FLOWS, Flows, Maps};
use crate::shared;

/// Adds the packet that was judged last on this CPU to its flow.
#[inline(always)]
pub(crate) fn record(words: Words) {
    let (Some(room), Some(maps)) = (maps::room(), Maps::new()) else { return };
    let now_ns = maps::now_ns();
    if !Wanted::lasts(maps.head(head::FLOWS_UNTIL), now_ns) {
        return;
    }
    let (Some((flow, tally)), Some(flows)) = (flow_log::of(words, &room.scratch, now_ns), FLOWS.get(0))
    else {
        return;
    };
    if add(flows, &flow, &tally) || flows.insert(flow, tally, u64::from(BPF_NOEXIST)).is_ok() {
        return;
    }
    // Another CPU was first, or there is no room.
    if !add(flows, &flow, &tally) && !add(flows, &Flow::skipped(flow.zone), &tally) {
        add(flows, &Flow::skipped(0), &tally);
    }
}

/// Whether the flow has an entry, which then has the packet.
#[inline(always)]
fn add(flows: &Flows, flow: &Flow, packet: &Tally) -> bool {
    let Some(sum) = flows.get_ptr_mut(flow) else { return false };
    // SAFETY: the fields of an entry, which is never removed; words of 8 bytes are added to by single instructions. Where
    // two CPUs store at a time either's time and rule is as good.
    unsafe {
        shared::add(&raw mut (*sum).packets, packet.packets);
        shared::add(&raw mut (*sum).bytes, packet.bytes);
        (&raw mut (*sum).last_ns).write_volatile(packet.last_ns);
        if packet.tcp_flags != 0 {
            shared::set_bits(&raw mut (*sum).tcp_flags, packet.tcp_flags);
        }
        if packet.speaks() {
            (&raw mut (*sum).reason).write_volatile(packet.reason);
            (&raw mut (*sum).group_rule).write_volatile(packet.group_rule);
        }
        if packet.acl_rule != 0 {
            (&raw mut (*sum).acl_rule).write_volatile(packet.acl_rule);
        }
    }
    true
}

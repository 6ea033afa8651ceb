//! Adding packets up by flow, while somebody keeps a flow log.
//!
//! A window's map is filled and never emptied by programs: an entry stays what it is until the reader, who has put another
//! map in its place, has read it.

use aya_ebpf::bindings::BPF_NOEXIST;
use fw_common::event::Wanted;
use fw_common::flow_log::{self, Flow, Tally, WORDS, Words};
use fw_common::layout::head;
use fw_common::store::Cell as _;

use crate::maps::{self, FLOWS, Flows, Maps};
use crate::shared::Shared;

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
    let Some(sum) = flows.get_ptr(flow) else { return false };
    // SAFETY: an entry lives as long as its map, since programs remove none; its words are shared.
    let sum = unsafe { &*sum.cast::<[Shared; WORDS]>() };
    let [packets, bytes, _, last_ns, tcp_flags, decided, entered] = sum;
    packets.add(packet.packets.cast_signed());
    bytes.add(packet.bytes.cast_signed());
    // Where two CPUs store at a time, the time and the rule of either are as good.
    last_ns.store(packet.last_ns);
    if packet.tcp_flags != 0 {
        tcp_flags.set_bits(packet.tcp_flags);
    }
    if packet.speaks() {
        decided.store(packet.decided());
    }
    if packet.acl_rule != 0 {
        entered.store(packet.entered());
    }
    true
}

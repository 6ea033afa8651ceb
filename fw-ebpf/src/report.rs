//! Counting what was decided, and telling of it.

use fw_common::event::{Event, Wanted};
use fw_common::flow_log;
use fw_common::layout::head;
use fw_common::verdict::Counter;
use fw_common::{Frame, Scratch, Sighting, Verdict, judge as decide};

use crate::apart;
use crate::frame::reread;
use crate::maps::{COUNTERS, Maps, RULES};

/// Judges a frame and counts it: by interface, direction and reason, and by each rule that spoke. Whoever listens hears
/// of it.
#[inline(always)]
pub(crate) fn judge<F: Frame>(frame: &F, seen: Sighting, scratch: &mut Scratch) -> Verdict {
    // Cannot fail: the map has one element. Dropped all the same if it did.
    let Some(maps) = Maps::new() else { return Verdict::Drop };
    let decision = decide(frame, maps, seen, scratch);
    let packets = u64::from(frame.segments());
    let bytes = u64::from(scratch.bytes());
    add(COUNTERS.get_ptr_mut(decision.counter_index()), packets, bytes);
    if decision.acl_rule != 0 {
        add(RULES.get_ptr_mut(decision.acl_rule), packets, bytes);
    }
    if decision.group_rule != 0 {
        add(RULES.get_ptr_mut(decision.group_rule), packets, bytes);
    }
    // A load and a branch while nobody listens.
    let wanted = maps.head(head::EVENTS);
    if wanted != 0 {
        // Both find it by way of the map.
        reread(scratch);
        if Wanted::names(wanted, decision.reason.verdict()) {
            let [head, zone, acl_rule, group_rule, ifindex] = Event::words(&decision, seen.ifindex);
            apart::tell(head, zone, acl_rule, group_rule, ifindex);
        }
        if wanted & flow_log::RECORDING != 0 {
            let [head, zone, acl_rule, group_rule, packets] = flow_log::words(&decision, packets as u32);
            apart::record(head, zone, acl_rule, group_rule, packets);
        }
    }
    decision.verdict()
}

#[inline(always)]
fn add(counter: Option<*mut Counter>, packets: u64, bytes: u64) {
    let Some(counter) = counter else { return };
    // SAFETY: a per-CPU element: valid for the program's run and written by this CPU alone. TC may interrupt
    // nothing that counts on the same CPU: both hooks run with softirqs off.
    let counter = unsafe { &mut *counter };
    counter.packets += packets;
    counter.bytes += bytes;
}

//! Time that passes although nobody waits: what the kernel's maps remember is made older. Its clock is nobody's to
//! move.

use std::borrow::BorrowMut;
use std::collections;

use anyhow::{Result, anyhow};
use aya::maps::{HashMap, MapData};
use fw_common::conntrack::{ns_between, tick};
use fw_common::fragment::{Datagram, FragmentKey};
use fw_common::limits::FRAGMENT_SECONDS;
use fw_userspace::datapath::ConnectionTable;

const NS_PER_S: u64 = 1_000_000_000;

/// Makes every connection older. Their ticks go round: what a machine that has just started cannot have seen lies before
/// its first one.
pub fn wait(connections: &ConnectionTable, seconds: u64) {
    let ticks = tick(seconds.saturating_mul(NS_PER_S));
    connections.move_times(|last_seen| last_seen.wrapping_sub(ticks), |created| created.wrapping_sub(ticks));
}

/// Lets time pass for a kernel that is compared with a clock of whole seconds: entries have then been idle for half a
/// second less than they should, and are half a second older. What ends in the very second that they reach, or in the next, ends for both, as long
/// as less than half a second of the machine's own time passes between two calls.
pub fn make_older<T: BorrowMut<MapData>>(
    connections: &ConnectionTable,
    datagrams: &mut HashMap<T, FragmentKey, Datagram>,
    seconds: u64,
) -> Result<()> {
    const HALF_NS: u64 = NS_PER_S / 2;
    let now_ns = now_ns();
    let older = |then_ns: u64| {
        let whole_s = (now_ns.saturating_sub(then_ns) + HALF_NS) / NS_PER_S;
        let age_ns = ((whole_s + seconds) * NS_PER_S).saturating_sub(HALF_NS);
        now_ns.checked_sub(age_ns).ok_or_else(|| {
            anyhow!("this machine has not been up for {seconds} s: entries cannot be made that old")
        })
    };
    let last_seen = |last_seen| {
        // Each move may have lost a tick.
        let idle_ns = ns_between(last_seen, tick(now_ns)) + ns_between(0, 4);
        let whole_s = (idle_ns + HALF_NS) / NS_PER_S;
        tick(now_ns).wrapping_sub(tick(((whole_s + seconds) * NS_PER_S).saturating_sub(HALF_NS)))
    };
    // What begins at an age has begun in that very second: so that is half a second more.
    let created = |created| {
        let whole_s = ns_between(created, tick(now_ns)) / NS_PER_S;
        tick(now_ns).wrapping_sub(tick((whole_s + seconds) * NS_PER_S + HALF_NS))
    };
    connections.move_times(last_seen, created);
    let entries: Vec<(FragmentKey, Datagram)> = datagrams.iter().collect::<Result<_, _>>()?;
    for (key, mut datagram) in entries {
        datagram.judged_ns = older(datagram.judged_ns)?;
        datagrams.insert(key, datagram, 0)?;
    }
    Ok(())
}

/// What datagrams are older than their entries can say, in nanoseconds: their clock starts with the machine.
#[derive(Debug, Default)]
pub struct Age {
    datagrams: collections::HashMap<FragmentKey, u64>,
}

impl Age {
    /// Makes every datagram of a map older; one that is over is removed.
    pub fn wait_for_datagrams<T: BorrowMut<MapData>>(
        &mut self,
        map: &mut HashMap<T, FragmentKey, Datagram>,
        seconds: u64,
        now_ns: u64,
    ) -> Result<()> {
        let entries: Vec<_> = map.iter().collect::<Result<_, _>>()?;
        for (key, mut datagram) in entries {
            if self.make_datagram_older(&key, &mut datagram, seconds, now_ns) {
                map.insert(key, datagram, 0)?;
            } else {
                map.remove(&key)?;
            }
        }
        Ok(())
    }

    /// Whether it is still worth keeping.
    fn make_datagram_older(
        &mut self,
        key: &FragmentKey,
        datagram: &mut Datagram,
        seconds: u64,
        now_ns: u64,
    ) -> bool {
        // The clock's very first nanosecond is no packet's.
        let lacked_ns = if datagram.judged_ns == 0 { self.datagrams.remove(key).unwrap_or(0) } else { 0 };
        let age_ns = seconds.saturating_mul(NS_PER_S).saturating_add(lacked_ns);
        if now_ns.saturating_sub(datagram.judged_ns).saturating_add(age_ns)
            > u64::from(FRAGMENT_SECONDS) * NS_PER_S
        {
            return false;
        }
        if age_ns >= datagram.judged_ns {
            self.datagrams.insert(*key, age_ns - datagram.judged_ns);
        }
        datagram.judged_ns = datagram.judged_ns.saturating_sub(age_ns);
        true
    }
}

/// `CLOCK_MONOTONIC`, which the programs read too.
#[must_use]
pub fn now_ns() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is a timespec that the call fills; this clock always exists.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    (now.tv_sec as u64).saturating_mul(NS_PER_S).saturating_add(now.tv_nsec as u64)
}

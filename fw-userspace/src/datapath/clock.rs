//! The clocks of the data plane and of people.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fw_common::conntrack::{ns_between, tick};

/// Nanoseconds in a second.
pub(super) const NS_PER_S: u64 = 1_000_000_000;

/// What connections tell time in.
pub(super) const TICK_NS: u64 = ns_between(0, 1);

/// `CLOCK_MONOTONIC`, nanoseconds: what `bpf_ktime_get_coarse_ns` reads, up to a tick.
pub(crate) fn monotonic_ns() -> u64 {
    read(libc::CLOCK_MONOTONIC)
}

/// What the programs read: some milliseconds behind.
pub(super) fn coarse_ns() -> u64 {
    read(libc::CLOCK_MONOTONIC_COARSE)
}

/// Waits until no program sees an earlier time than this one, which is near.
pub(super) fn wait_until(ns: u64) {
    loop {
        let left = ns.saturating_sub(coarse_ns());
        if left == 0 {
            return;
        }
        std::thread::sleep(Duration::from_nanos(left));
    }
}

/// The time of a tick; one that seems to come, as one of more than 1.1 years ago does, is taken as now.
pub(super) fn time_of_tick(then: u32, now_ns: u64) -> u64 {
    let since = ns_between(then, tick(now_ns));
    (now_ns / TICK_NS * TICK_NS).saturating_sub(since)
}

fn read(clock: libc::clockid_t) -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is a timespec that the call fills; both clocks always exist.
    unsafe { libc::clock_gettime(clock, &raw mut now) };
    (now.tv_sec as u64).saturating_mul(1_000_000_000).saturating_add(now.tv_nsec as u64)
}

/// Seconds since the epoch.
pub(crate) fn epoch_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Nanoseconds since the epoch.
pub(crate) fn epoch_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_secs().saturating_mul(NS_PER_S).saturating_add(since.subsec_nanos().into())
}

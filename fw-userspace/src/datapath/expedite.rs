//! Many hooks at once: each link that comes or goes waits for a grace period of RCU, under a lock that all share.
//!
//! `tcx_entry_sync` (include/net/tcx.h, Linux 6.6) calls `synchronize_rcu`, which takes 10 to 20 ms: 27 s for 1,000
//! devices. Expedited it takes a tenth of a millisecond and interrupts the other CPUs for it, as the kernel does itself
//! while it boots.

use std::fs;

/// <https://docs.kernel.org/admin-guide/kernel-parameters.html>, `rcupdate.rcu_expedited`.
const SWITCH: &str = "/sys/kernel/rcu_expedited";
/// Below, nobody notices.
const MANY: usize = 8;

/// Grace periods are expedited while this lives.
pub(super) struct Expedited(());

impl Expedited {
    /// If so many hooks are worth it, and nobody else has switched it on, who would miss it afterwards.
    pub(super) fn for_hooks(hooks: usize) -> Option<Self> {
        let is_off = || fs::read_to_string(SWITCH).is_ok_and(|text| text.trim() == "0");
        (hooks >= MANY && is_off() && fs::write(SWITCH, "1").is_ok()).then_some(Self(()))
    }
}

impl Drop for Expedited {
    fn drop(&mut self) {
        let _ = fs::write(SWITCH, "0");
    }
}

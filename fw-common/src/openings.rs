//! How many flows one CPU may begin: more than that is a flood, and then costs no more than it must.
//!
//! The count is of each CPU's own, so a flood in one receive queue takes nothing from flows that arrive in another.

use crate::conntrack::tick;

/// Flows that may be begun in a tick of 2²⁴ ns: a million a second, a few times what one CPU can also serve.
const PER_TICK: u32 = 1 << 14;
/// Ticks that may be caught up on: a burst of a quarter of a second.
const TICKS: u32 = 16;
/// Flows that may be begun at once.
pub const MOST_AT_ONCE: u32 = PER_TICK * TICKS;

/// What a CPU has begun lately, as a bucket of tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Openings {
    /// Tick of the last flow.
    last: u32,
    /// Tokens that are missing.
    spent: u32,
}

impl Openings {
    /// None yet.
    pub(crate) const NONE: Self = Self { last: 0, spent: 0 };

    /// Begins another flow, if that may be.
    #[inline(always)]
    pub(crate) fn begin(&mut self, now_ns: u64) -> bool {
        let now = tick(now_ns);
        let passed = now.wrapping_sub(self.last);
        if passed != 0 {
            let filled = PER_TICK.wrapping_mul(passed);
            let is_full = passed >= TICKS || filled >= self.spent;
            self.spent = if is_full { 0 } else { self.spent.wrapping_sub(filled) };
            self.last = now;
        }
        if self.spent >= MOST_AT_ONCE {
            return false;
        }
        self.spent = self.spent.wrapping_add(1);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK_NS: u64 = 1 << 24;

    fn begun(openings: &mut Openings, now_ns: u64) -> u32 {
        (0..2 * MOST_AT_ONCE).map(|_| u32::from(openings.begin(now_ns))).sum()
    }

    #[test]
    fn a_burst_then_a_sixteenth_of_it_a_tick() {
        let mut openings = Openings::NONE;
        let start = 1_000 * TICK_NS;
        assert_eq!(begun(&mut openings, start), MOST_AT_ONCE);
        assert_eq!(begun(&mut openings, start), 0);
        assert_eq!(begun(&mut openings, start + TICK_NS), MOST_AT_ONCE / 16);
        assert_eq!(begun(&mut openings, start + 3 * TICK_NS), MOST_AT_ONCE / 8);
        assert_eq!(begun(&mut openings, start + 10_000 * TICK_NS), MOST_AT_ONCE, "never more than at first");
    }

    #[test]
    fn a_clock_that_stands_or_wraps_gives_nothing_away() {
        let mut openings = Openings { last: u32::MAX, spent: MOST_AT_ONCE };
        assert!(!openings.begin(u64::from(u32::MAX) * TICK_NS));
        assert_eq!(begun(&mut openings, (u64::from(u32::MAX) + 1) * TICK_NS), MOST_AT_ONCE / 16);
    }
}

//! What one CPU may do of a thing: a bucket of tokens that fills with time.

use crate::conntrack::tick;

/// `PER_TICK` tokens come in a tick of 2²⁴ ns (a sixtieth of a second), up to those of `TICKS` ticks. All zeroes is full.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tokens<const PER_TICK: u32, const TICKS: u32> {
    /// Tick of the last token that was taken.
    last: u32,
    /// Tokens that are missing.
    spent: u32,
}

impl<const PER_TICK: u32, const TICKS: u32> Tokens<PER_TICK, TICKS> {
    /// None is missing.
    pub const FULL: Self = Self { last: 0, spent: 0 };
    /// Tokens that may be taken at once.
    pub const MOST_AT_ONCE: u32 = PER_TICK * TICKS;

    /// Takes a token, if there is one.
    #[inline(always)]
    pub fn take(&mut self, now_ns: u64) -> bool {
        let now = tick(now_ns);
        let passed = now.wrapping_sub(self.last);
        if passed != 0 {
            let filled = PER_TICK.wrapping_mul(passed);
            let is_full = passed >= TICKS || filled >= self.spent;
            self.spent = if is_full { 0 } else { self.spent.wrapping_sub(filled) };
            self.last = now;
        }
        if self.spent >= Self::MOST_AT_ONCE {
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
    type Bucket = Tokens<1000, 16>;
    const MOST: u32 = Bucket::MOST_AT_ONCE;

    fn taken(bucket: &mut Bucket, now_ns: u64) -> u32 {
        (0..2 * MOST).map(|_| u32::from(bucket.take(now_ns))).sum()
    }

    #[test]
    fn a_burst_then_a_sixteenth_of_it_a_tick() {
        let mut bucket = Bucket::FULL;
        let start = 1_000 * TICK_NS;
        assert_eq!(taken(&mut bucket, start), MOST);
        assert_eq!(taken(&mut bucket, start), 0);
        assert_eq!(taken(&mut bucket, start + TICK_NS), MOST / 16);
        assert_eq!(taken(&mut bucket, start + 3 * TICK_NS), MOST / 8);
        assert_eq!(taken(&mut bucket, start + 10_000 * TICK_NS), MOST, "never more than at first");
    }

    #[test]
    fn a_clock_that_stands_or_wraps_gives_nothing_away() {
        let mut bucket = Bucket { last: u32::MAX, spent: MOST };
        assert!(!bucket.take(u64::from(u32::MAX) * TICK_NS));
        assert_eq!(taken(&mut bucket, (u64::from(u32::MAX) + 1) * TICK_NS), MOST / 16);
    }
}

//! The word that says where a connection comes from, and in its last bits what is unusual about its stream.

use crate::flow::Direction;

/// First packet, in ticks (32 bits); counter slot of the rule that admitted it (25); flags of TCP (7).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin(pub u64);

impl Origin {
    const RULE: u32 = 32;
    const RULE_MASK: u64 = crate::layout::Rule::MAX_SLOT as u64;
    const GAP: u64 = 1 << 57;
    const LATE_FIN: u64 = 1 << 59;
    const SYN_PENDING: u64 = 1 << 61;
    const SHIFT_KNOWN: u64 = 1 << 62;
    /// Without the last two.
    const STREAM: u64 = 0x1f << 57;

    /// Of a connection that begins.
    #[inline(always)]
    pub const fn new(tick: u32, rule: u32) -> Self {
        Self(tick as u64 | (rule as u64 & Self::RULE_MASK) << Self::RULE)
    }

    /// First packet, in ticks.
    #[inline(always)]
    pub const fn created(self) -> u32 {
        self.0 as u32
    }

    /// Counter slot of the rule that admitted it.
    #[inline(always)]
    pub const fn rule(self) -> u32 {
        (self.0 >> Self::RULE & Self::RULE_MASK) as u32
    }

    /// Something of this direction has passed beyond what it has sent in sequence.
    #[inline(always)]
    pub const fn has_gap(self, direction: Direction) -> bool {
        self.0 & Self::GAP << direction.code() != 0
    }

    /// Says so.
    #[inline(always)]
    pub const fn set_gap(&mut self, direction: Direction, is_set: bool) {
        self.set(Self::GAP << direction.code(), is_set);
    }

    /// A FIN of this direction, at the end of what it has sent, waits for its acknowledgement.
    #[inline(always)]
    pub const fn has_late_fin(self, direction: Direction) -> bool {
        self.0 & Self::LATE_FIN << direction.code() != 0
    }

    /// Says so.
    #[inline(always)]
    pub const fn set_late_fin(&mut self, direction: Direction, is_set: bool) {
        self.set(Self::LATE_FIN << direction.code(), is_set);
    }

    /// The opener's acknowledgement is not known: in its place is the end of a SYN that has had no effect yet.
    #[inline(always)]
    pub const fn has_syn_pending(self) -> bool {
        self.0 & Self::SYN_PENDING != 0
    }

    /// Says so.
    #[inline(always)]
    pub const fn set_syn_pending(&mut self, is_set: bool) {
        self.set(Self::SYN_PENDING, is_set);
    }

    /// A SYN of this direction has told how it shifts its windows.
    #[inline(always)]
    pub const fn knows_shift(self, direction: Direction) -> bool {
        self.0 & Self::SHIFT_KNOWN << direction.code() != 0
    }

    /// Says so.
    #[inline(always)]
    pub const fn set_shift_known(&mut self, direction: Direction, is_set: bool) {
        self.set(Self::SHIFT_KNOWN << direction.code(), is_set);
    }

    /// The stream is as it should be: neither a gap, nor a late FIN, nor a pending SYN.
    #[inline(always)]
    pub const fn is_plain(self) -> bool {
        self.0 & Self::STREAM == 0
    }

    /// Nothing is unusual any more.
    #[inline(always)]
    pub const fn clear_stream(&mut self) {
        self.0 &= !Self::STREAM;
    }

    #[inline(always)]
    const fn set(&mut self, bit: u64, is_set: bool) {
        self.0 = if is_set { self.0 | bit } else { self.0 & !bit };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_of_the_word_keep_to_themselves() {
        let mut origin = Origin::new(u32::MAX, crate::layout::Rule::MAX_SLOT);
        for direction in [Direction::Ingress, Direction::Egress] {
            origin.set_gap(direction, true);
            origin.set_late_fin(direction, true);
            assert!(origin.has_gap(direction) && origin.has_late_fin(direction));
        }
        origin.set_syn_pending(true);
        assert_eq!((origin.created(), origin.rule()), (u32::MAX, crate::layout::Rule::MAX_SLOT));
        origin.set_gap(Direction::Ingress, false);
        assert!(!origin.has_gap(Direction::Ingress) && origin.has_gap(Direction::Egress));
        origin.clear_stream();
        assert_eq!(origin, Origin::new(u32::MAX, crate::layout::Rule::MAX_SLOT));
    }
}

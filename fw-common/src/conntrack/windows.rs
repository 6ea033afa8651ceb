//! How far ahead each side may be: the largest window that the other has advertised (RFC 9293 section 3.8.6, RFC 7323
//! section 2), as a power of two, beside the count of packets.

use crate::flow::Direction;

/// Four times four bits: the shifts of both directions' windows, ingress first, and the exponents of the largest ones. Then
/// the packets of both directions (48 bits, which go round after 9 years of a million a second).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Windows(pub u64);

impl Windows {
    const PACKETS: u32 = 16;
    const SHIFTS: u32 = 0;
    const EXPONENTS: u32 = 8;
    /// The largest shift (RFC 7323 section 2.3). With it a window of 16 bits is below 2³⁰.
    const MOST: u64 = 14;
    /// Every window counts as this large at least; netfilter's MAXACKWINCONST is 66,000
    /// (net/netfilter/nf_conntrack_proto_tcp.c).
    const LEAST_BITS: u32 = 16;
    /// What counts where the shift is not known: 4 MiB, which is in the middle of what Linux grants by default
    /// (`net.ipv4.tcp_rmem`, 6 MiB). No window reaches so far without a shift.
    const UNSEEN_EXPONENT: u64 = 22 - 16;

    /// No packet, and no shift is known.
    pub const UNSEEN: Self =
        Self(Self::UNSEEN_EXPONENT << Self::EXPONENTS | Self::UNSEEN_EXPONENT << Self::EXPONENTS << 4);

    /// One packet more.
    #[inline(always)]
    pub const fn count(&mut self) {
        self.0 = self.0.wrapping_add(1 << Self::PACKETS);
    }

    /// Packets of both directions.
    #[inline(always)]
    pub const fn packets(self) -> u64 {
        self.0 >> Self::PACKETS
    }

    /// The shift that a SYN of this direction tells; more than 14 is 14 (RFC 7323 section 2.3).
    #[inline(always)]
    pub const fn set_shift(&mut self, direction: Direction, shift: u8) {
        let shift = if shift as u64 > Self::MOST { Self::MOST } else { shift as u64 };
        let part = Self::part(direction);
        self.0 &= !((0xf << Self::SHIFTS | 0xf << Self::EXPONENTS) << part);
        self.0 |= shift << Self::SHIFTS.wrapping_add(part);
    }

    /// Nothing is known of either side's windows.
    #[inline(always)]
    pub const fn forget(&mut self) {
        self.0 = self.packets() << Self::PACKETS | Self::UNSEEN.0;
    }

    /// One side has not offered to shift windows, so neither does.
    #[inline(always)]
    pub const fn shift_none(&mut self) {
        self.0 = self.packets() << Self::PACKETS;
    }

    /// How far the other side of this direction may be ahead of what is known.
    #[inline(always)]
    pub const fn reach(self, direction: Direction) -> u32 {
        1u32.wrapping_shl((self.exponent(direction) as u32).wrapping_add(Self::LEAST_BITS))
    }

    /// Notes the window of a segment that is no SYN. A larger one counts step by step: whoever sends more than fits yet is
    /// in sequence, which counts as well.
    #[inline(always)]
    pub const fn note(&mut self, direction: Direction, window: u16) {
        let scaled = (window as u32).wrapping_shl(self.shift(direction) as u32);
        let grows = scaled > self.reach(direction);
        let place = Self::EXPONENTS.wrapping_add(Self::part(direction));
        self.0 = self.0.wrapping_add((grows as u64) << place);
    }

    #[inline(always)]
    const fn shift(self, direction: Direction) -> u64 {
        self.0 >> Self::SHIFTS.wrapping_add(Self::part(direction)) & 0xf
    }

    #[inline(always)]
    const fn exponent(self, direction: Direction) -> u64 {
        self.0 >> Self::EXPONENTS.wrapping_add(Self::part(direction)) & 0xf
    }

    #[inline(always)]
    const fn part(direction: Direction) -> u32 {
        (direction.code() as u32).wrapping_mul(4)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_reaches_as_far_as_was_advertised_and_64_kib_at_least() {
        let mut windows = Windows(0);
        windows.set_shift(Direction::Ingress, 7);
        assert_eq!([Direction::Ingress, Direction::Egress].map(|it| windows.reach(it)), [1 << 16; 2]);
        for _ in 0..20 {
            windows.note(Direction::Ingress, 0xffff);
            windows.note(Direction::Egress, 0xffff);
        }
        assert_eq!(windows.reach(Direction::Ingress), 1 << 23, "65,535 << 7");
        assert_eq!(windows.reach(Direction::Egress), 1 << 16, "no shift");
        windows.set_shift(Direction::Egress, 99);
        for _ in 0..20 {
            windows.note(Direction::Egress, 0xffff);
        }
        assert_eq!(windows.reach(Direction::Egress), 1 << 30, "the largest there is");
        windows.forget();
        assert_eq!(windows.reach(Direction::Ingress), 1 << 22);
        assert_eq!(windows.packets(), 0);
    }

    #[test]
    fn the_count_goes_round_without_touching_the_windows() {
        let mut windows = Windows(Windows::UNSEEN.0 | !0xffff);
        windows.count();
        assert_eq!(windows, Windows::UNSEEN);
        windows.count();
        assert_eq!(windows.packets(), 1);
    }
}

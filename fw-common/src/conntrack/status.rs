//! The word of a connection that decides: when it was last seen, how far it is, how long it may be idle.

use super::{Class, Connection, State, TICK_SHIFT, tick, timeout};
use crate::flow::Direction;
use crate::layout::InterfaceLine;
use crate::packet::{Packet, protocol};

/// Ticks that an entry may be ahead of the clock: 2 s (and below 2³¹ ns, an immediate of the bytecode). CPUs differ by
/// less than one tick; half of all ticks, as a signed difference would have it, would bring to life again what has expired
/// more than a year ago and was never swept.
const AHEAD: u32 = 120;
const AHEAD_NS: u64 = AHEAD as u64 * TICK_NS;
const TICK_NS: u64 = 1 << TICK_SHIFT;
/// How long nothing must have fitted before the interface's own side is believed against what is known: longer than a
/// retransmission takes (RFC 6298: 1 s, doubled each time).
const QUIET_NS: u64 = 30_000_000_000;

/// Last packet that had an effect, in ticks (32 bits); idle seconds after which it is over (19); [`State`] (4);
/// [`Direction`] of the first packet (1); flags (8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Status(pub u64);

impl Status {
    const TIMEOUT: u32 = 32;
    /// The longest idle time that AWS lets be set for TCP is 432,000 s.
    const TIMEOUT_MASK: u64 = (1 << 19) - 1;
    const STATE: u32 = 51;
    const OPENED_BY: u32 = 55;
    /// Where the flags are.
    pub(super) const FLAGS: u32 = 56;

    /// Last packet that had an effect, in ticks.
    #[inline(always)]
    pub const fn last_seen(self) -> u32 {
        self.0 as u32
    }

    /// Moves it.
    #[inline(always)]
    pub const fn set_last_seen(&mut self, tick: u32) {
        self.0 = (self.0 & !0xffff_ffff) | tick as u64;
    }

    /// Idle seconds after which it is over.
    #[inline(always)]
    pub const fn timeout_s(self) -> u32 {
        (self.0 >> Self::TIMEOUT & Self::TIMEOUT_MASK) as u32
    }

    /// How far it is.
    #[inline(always)]
    pub const fn state(self) -> State {
        State::from_code((self.0 >> Self::STATE) as u8 & 0xf)
    }

    /// [`Direction::code`] of the first packet.
    #[inline(always)]
    pub const fn opened_by(self) -> u8 {
        (self.0 >> Self::OPENED_BY) as u8 & 1
    }

    /// Flag bits.
    #[inline(always)]
    pub const fn flags(self) -> u8 {
        (self.0 >> Self::FLAGS) as u8
    }

    #[inline(always)]
    pub(super) const fn set_flags(&mut self, flags: u8) {
        self.0 |= (flags as u64) << Self::FLAGS;
    }

    #[inline(always)]
    pub(super) const fn set_opened_by(&mut self, direction: Direction) {
        self.0 = (self.0 & !(1 << Self::OPENED_BY)) | (direction.code() as u64) << Self::OPENED_BY;
    }

    #[inline(always)]
    pub(super) const fn clear_flags(&mut self, flags: u8) {
        self.0 &= !((flags as u64) << Self::FLAGS);
    }

    /// What requests and replies earn that have gone on for a while: that somebody was asked proves him, that he was
    /// answered does not.
    #[inline(always)]
    pub(super) const fn lasting_class(self) -> Class {
        let is_asked = self.opened_by() == Direction::Egress.code();
        if is_asked || self.flags() & Connection::RESERVED != 0 { Class::Assured } else { Class::Stream }
    }

    /// Whether so much idleness, with [`AHEAD`] in addition, is more than [`QUIET_NS`].
    #[inline(always)]
    pub(super) const fn is_quiet(idle_ns: u64) -> bool {
        // A tick that has begun is none that has passed.
        idle_ns > AHEAD_NS + QUIET_NS + TICK_NS
    }

    /// The state with its timeout.
    #[inline(always)]
    pub(super) fn set_state(&mut self, state: State, packet: &Packet, timers: InterfaceLine<'_>) {
        let timeout_s = match state {
            State::SynSent => timeout::SYN,
            State::SynReceived => timeout::SYN_ACK,
            State::OneSided => timeout::ONE_SIDED,
            State::Adopted => timeout::ADOPTED,
            State::Established => timers.tcp_established(),
            State::HalfClosed => timeout::FIN,
            State::Closed => timeout::CLOSED,
            State::Reset => timeout::RESET,
            State::Stream | State::Lasting if packet.protocol == protocol::UDP => timers.udp_stream(),
            State::Unreplied | State::Replied | State::RepliedAgain | State::Stream | State::Lasting => {
                if packet.protocol == protocol::UDP {
                    timers.udp()
                } else if packet.is_icmp() {
                    timeout::ICMP
                } else {
                    timeout::OTHER
                }
            }
        };
        let kept = self.0 & !(Self::TIMEOUT_MASK << Self::TIMEOUT | 0xf << Self::STATE);
        let timeout = (u64::from(timeout_s) & Self::TIMEOUT_MASK) << Self::TIMEOUT;
        self.0 = kept | timeout | (state as u64) << Self::STATE;
    }

    /// Nanoseconds that it has been idle and may be. Less than none where another CPU has seen it after we have looked at
    /// the clock: by [`AHEAD`] at most. What lies further ahead has been idle since the ticks last went round.
    #[inline(always)]
    pub const fn idle(self, now_ns: u64) -> (i64, i64) {
        let (idle_ns, allowed_ns) = self.idle_and_ahead(now_ns);
        (idle_ns.wrapping_sub(AHEAD_NS).cast_signed(), allowed_ns.wrapping_sub(AHEAD_NS).cast_signed())
    }

    /// Both, and [`AHEAD`] in addition, so that neither is negative.
    #[inline(always)]
    pub(crate) const fn idle_and_ahead(self, now_ns: u64) -> (u64, u64) {
        let idle = tick(now_ns).wrapping_sub(self.last_seen()).wrapping_add(AHEAD);
        // A tick that has begun is none that has passed.
        let allowed_ns =
            (self.timeout_s() as u64).wrapping_mul(1_000_000_000).wrapping_add(AHEAD_NS + TICK_NS);
        ((idle as u64) << TICK_SHIFT, allowed_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: u64 = 1_000_000_000;

    fn is_over(last_seen_ns: u64, now_ns: u64, timeout_s: u64) -> bool {
        let (idle_ns, allowed_ns) = Status(u64::from(tick(last_seen_ns)) | timeout_s << 32).idle(now_ns);
        idle_ns > allowed_ns
    }

    #[test]
    fn a_timeout_is_never_early_and_hardly_late() {
        for timeout_s in [10, 30, 350, 432_000] {
            for start_ns in [0, 1, S / 3, 5 * S + 7, 86_400 * 365 * S] {
                assert!(!is_over(start_ns, start_ns + timeout_s * S, timeout_s), "{start_ns}, {timeout_s} s");
                let late_ns = start_ns + timeout_s * S + (3 << TICK_SHIFT);
                assert!(is_over(start_ns, late_ns, timeout_s), "{start_ns}, {timeout_s} s");
            }
        }
    }

    #[test]
    fn what_was_seen_after_now_has_not_been_idle() {
        assert!(!is_over(100 * S, 99 * S, 10));
        assert!(!is_over(1 << TICK_SHIFT, 0, 10));
    }

    #[test]
    fn ticks_go_round() {
        let round_ns = 1 << (32 + TICK_SHIFT);
        assert!(!is_over(round_ns - 5 * S, round_ns + 5 * S, 10));
        assert!(is_over(round_ns - 5 * S, round_ns + 6 * S, 10));
    }

    #[test]
    fn what_is_far_ahead_is_over_and_what_is_over_stays_so_until_the_ticks_go_round() {
        let now_ns = 5 << (31 + TICK_SHIFT);
        let ahead = |ticks: u64| is_over(now_ns + (ticks << TICK_SHIFT), now_ns, 350);
        let near = u64::from(AHEAD);
        assert_eq!([1, near, near + 1, 1 << 30, 1 << 31].map(ahead), [false, false, true, true, true]);
        let ago = |ticks: u64| is_over(now_ns - (ticks << TICK_SHIFT), now_ns, 350);
        assert_eq!(
            [0, 20_000, 30_000, 1 << 31, (1 << 32) - near - 1].map(ago),
            [false, false, true, true, true]
        );
        // After 2.3 years without a sweep, for as long as it may be ahead and idle: two seconds and its timeout.
        assert_eq!([(1 << 32) - near, (1 << 32) + 20_000, (1 << 32) + 30_000].map(ago), [false, false, true]);
    }

    #[test]
    fn the_parts_of_the_word_keep_to_themselves() {
        let mut status = Status(0);
        status.set_last_seen(u32::MAX);
        status.set_opened_by(Direction::Egress);
        status.set_flags(0xff);
        assert_eq!((status.last_seen(), status.timeout_s()), (u32::MAX, 0));
        assert_eq!((status.state(), status.opened_by(), status.flags()), (State::SynSent, 1, 0xff));
        status.set_opened_by(Direction::Ingress);
        status.set_last_seen(0);
        status.clear_flags(0xf0);
        assert_eq!(status.0, 0x0f << Status::FLAGS);
    }
}

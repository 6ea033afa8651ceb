//! The word of a connection that decides: when it was last seen, how far it is, how long it may be idle.

use super::{State, TICK_SHIFT, tick, timeout};
use crate::flow::Direction;
use crate::layout::InterfaceLine;
use crate::packet::{Packet, protocol};

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
    pub(super) const fn set_state_alone(&mut self, state: State) {
        self.0 = (self.0 & !(0xf << Self::STATE)) | (state as u64) << Self::STATE;
    }

    #[inline(always)]
    pub(super) const fn differs_in_state(self, other: Self) -> bool {
        (self.0 ^ other.0) >> Self::STATE & 0xf != 0
    }

    /// The state with its timeout.
    #[inline(always)]
    pub(super) fn set_state(&mut self, state: State, packet: &Packet, timers: InterfaceLine<'_>) {
        let timeout_s = match state {
            State::SynSent => timeout::SYN,
            State::SynReceived => timeout::SYN_ACK,
            State::Established => timers.tcp_established(),
            State::HalfClosed => timeout::FIN,
            State::Closed => timeout::CLOSED,
            State::Reset => timeout::RESET,
            State::Stream => timers.udp_stream(),
            State::Unreplied | State::Replied | State::RepliedAgain => {
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

    /// Nanoseconds that it has been idle and may be: both below 2⁶³.
    #[inline(always)]
    pub const fn idle(self, now_ns: u64) -> (u64, u64) {
        let idle_ns = (tick(now_ns).wrapping_sub(self.last_seen()) as u64) << TICK_SHIFT;
        // A tick that has begun is none that has passed.
        (idle_ns, (self.timeout_s() as u64).wrapping_mul(1_000_000_000).wrapping_add(1 << TICK_SHIFT))
    }
}

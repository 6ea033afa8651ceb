//! TCP: which segments move a connection on, and which may have been sent by somebody who does not see it.
//!
//! Whoever knows the addresses and ports of a connection, and not its numbers, must not begin, keep or end it. So a
//! handshake is done when each side has acknowledged the very SYN of the other; a segment counts if it lies in the window
//! that the other side has opened and acknowledges what that has sent (RFC 9293 section 3.10.7.4, RFC 5961 section 5); a RST
//! or FIN ends something only at the place that the receiver expects, or where this side has got to (RFC 5961 section 3).
//! Everything else passes without effect: the endpoint has better knowledge, and refuses it.
//!
//! | state | opener's end | opener's acknowledgement | other's end | other's acknowledgement |
//! | --- | --- | --- | --- | --- |
//! | SYN sent | behind the SYN | the largest right one | behind a second SYN | the largest right one |
//! | one-sided | behind the SYN | of what it has sent | behind a second SYN | the largest right one |
//! | SYN received | behind what is acknowledged | not known | the largest right one | another right one |
//! | established on | of what it has sent in sequence | its last one | of what it has sent | its last one |
//!
//! In place of the opener's acknowledgement there may be the end of a SYN that has had no effect
//! ([`Origin::has_syn_pending`](super::Origin::has_syn_pending)): if a SYN-ACK acknowledges just that, both ends have begun
//! anew, and so does the entry.

mod handshake;
mod stream;
#[cfg(test)]
mod tests;

use super::{Connection, Effect, Record, State, Status, is_handshake};
use crate::flow::Direction;
use crate::packet::{Packet, tcp_flags};

impl<R: Record> Connection<R> {
    /// Applies a segment. `is_quiet`: nothing has had an effect for a while.
    #[inline(always)]
    pub(super) fn follow_tcp(
        &mut self,
        status: &mut Status,
        packet: &Packet,
        direction: Direction,
        is_quiet: bool,
    ) -> Effect {
        let state = status.state();
        if matches!(state, State::Reset) {
            return Effect::Nothing;
        }
        let is_control = packet.tcp_flags & (tcp_flags::SYN | tcp_flags::RST) != 0;
        if !is_handshake(state) {
            return if is_control {
                self.control(status, packet, direction)
            } else {
                self.flow(status, state, packet, direction, is_quiet)
            };
        }
        let effect = if matches!(state, State::SynReceived) {
            self.complete(status, packet, direction)
        } else {
            self.answer(status, packet, direction)
        };
        if !matches!(effect, Effect::Moves(State::Established)) || is_control {
            return effect;
        }
        // It may carry data or a FIN already. Numbers that do not fit undo no proof.
        match self.flow(status, State::Established, packet, direction, false) {
            Effect::Moves(state) => Effect::Moves(state),
            Effect::Nothing | Effect::Unfit => effect,
        }
    }

    /// Whether the flag of a direction is set.
    #[inline(always)]
    fn has(status: Status, flag: u8, direction: Direction) -> bool {
        status.flags() & (flag << direction.code()) != 0
    }
}

/// Whether a sequence number lies behind another, on a circle.
#[inline(always)]
const fn is_ahead(new: u32, old: u32) -> bool {
    new.wrapping_sub(old).cast_signed() > 0
}

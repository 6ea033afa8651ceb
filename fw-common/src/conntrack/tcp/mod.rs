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
pub(super) mod stream;
#[cfg(test)]
mod tests;

use super::{Connection, Effect, Record, State, Status, Windows, is_handshake};
use crate::flow::Direction;
use crate::packet::{Packet, tcp_flags};

impl<R: Record> Connection<R> {
    /// Applies a segment. `windows` are the connection's, with this packet; so long ago something had an effect.
    #[inline(always)]
    pub(super) fn follow_tcp<const IS_FAST: bool>(
        &mut self,
        status: &mut Status,
        windows: Windows,
        packet: &Packet,
        direction: Direction,
        idle_ns: u64,
        rare: impl FnOnce(&mut Self, &Packet, Direction, bool) -> u32,
    ) -> Effect {
        let state = status.state();
        let is_usual = !is_control(packet) && matches!(state, State::Established | State::HalfClosed);
        if IS_FAST && is_usual {
            return self.flow(status, state, windows, packet, direction, || Status::is_quiet(idle_ns));
        }
        self.set_windows(windows);
        let effect = Effect::from_code(rare(self, packet, direction, Status::is_quiet(idle_ns)));
        *status = self.status();
        effect
    }

    /// What few segments of a connection do.
    #[inline(always)]
    fn begin_or_end(
        &mut self,
        status: &mut Status,
        packet: &Packet,
        direction: Direction,
        is_quiet: bool,
    ) -> Effect {
        let state = status.state();
        let is_control = is_control(packet);
        if matches!(state, State::Reset) {
            return Effect::Nothing;
        }
        let (effect, state) = match (is_handshake(state), is_control) {
            (false, true) => (self.control(status, packet, direction), state),
            (false, false) => (Effect::Moves(state), state),
            (true, _) => (self.handshake(status, state, packet, direction), State::Established),
        };
        let goes_on = matches!(effect, Effect::Moves(moved) if moved as u8 == state as u8);
        if is_control || !goes_on {
            return effect;
        }
        // It may carry data or a FIN already. Numbers that do not fit undo no proof.
        let is_new = is_handshake(status.state());
        match self.flow(status, state, self.windows(), packet, direction, || is_quiet && !is_new) {
            Effect::Moves(state) => Effect::Moves(state),
            _ if is_new => effect,
            misfit => misfit,
        }
    }

    #[inline(always)]
    fn handshake(
        &mut self,
        status: &mut Status,
        state: State,
        packet: &Packet,
        direction: Direction,
    ) -> Effect {
        if matches!(state, State::SynReceived) {
            self.complete(status, packet, direction)
        } else {
            self.answer(status, packet, direction)
        }
    }

    /// Whether the flag of a direction is set.
    #[inline(always)]
    fn has(status: Status, flag: u8, direction: Direction) -> bool {
        status.flags() & (flag << direction.code()) != 0
    }
}

/// What the few segments do that are not simply the next ones of a connection: how its entry goes on, as a word that
/// [`Connection::step`] reads.
#[inline(always)]
pub fn begin_or_end<R: Record>(
    connection: &mut Connection<R>,
    packet: &Packet,
    direction: Direction,
    is_quiet: bool,
) -> u32 {
    let mut status = connection.status();
    let effect = connection.begin_or_end(&mut status, packet, direction, is_quiet);
    connection.set_status(status);
    effect.code()
}

#[inline(always)]
fn is_control(packet: &Packet) -> bool {
    packet.tcp_flags & (tcp_flags::SYN | tcp_flags::RST) != 0
}

/// Whether a sequence number lies behind another, on a circle.
#[inline(always)]
const fn is_ahead(new: u32, old: u32) -> bool {
    new.wrapping_sub(old).cast_signed() > 0
}

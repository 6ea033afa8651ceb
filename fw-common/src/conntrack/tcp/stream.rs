//! Behind the handshake: what moves the marks of a connection, and what ends it.

use super::super::{Connection, Effect, MARKS, Origin, Record, State, Status, Windows};
use super::is_ahead;
use crate::flow::Direction;
use crate::packet::{Fragment, Packet, tcp_flags};

impl<R: Record> Connection<R> {
    /// A SYN or RST on a connection that is past its handshake.
    #[inline(always)]
    pub(super) fn control(&mut self, status: &mut Status, packet: &Packet, direction: Direction) -> Effect {
        let flags = packet.tcp_flags;
        if flags & tcp_flags::RST != 0 {
            return self.reset(*status, packet, direction);
        }
        if !Self::is_anchored(*status) && matches!(direction, Direction::Ingress) {
            return Effect::Nothing;
        }
        let is_opener = direction.code() == status.opened_by();
        match (flags & tcp_flags::ACK != 0, is_opener) {
            (false, true) => self.note_syn(packet, direction),
            (true, false) => self.begin_anew(status, packet, direction),
            _ => Effect::Unfit,
        }
    }

    /// A RST counts where the receiver expects the next byte, or at the end of what its sender has sent: which the receiver
    /// may expect, if it has not acknowledged it yet.
    #[inline(always)]
    fn reset(&self, status: Status, packet: &Packet, direction: Direction) -> Effect {
        let is_local = matches!(direction, Direction::Egress);
        if !Self::is_anchored(status) {
            // The interface's own side has no such connection. What the other says of it nobody can tell.
            return if is_local { Effect::Moves(State::Reset) } else { Effect::Nothing };
        }
        let (end, _) = self.marks(direction);
        let (_, acked) = self.marks(direction.reverse());
        let is_acked = packet.sequence == acked && self.is_acked(status, direction.reverse());
        if is_acked || packet.sequence == end { Effect::Moves(State::Reset) } else { Effect::Unfit }
    }

    /// Any other segment. `state` is the connection's, as this packet has made it.
    #[inline(always)]
    pub(super) fn flow(
        &mut self,
        status: &mut Status,
        state: State,
        mut windows: Windows,
        packet: &Packet,
        direction: Direction,
        is_quiet: impl FnOnce() -> bool,
    ) -> Effect {
        let other = direction.reverse();
        // All of it once: what CPUs share is read again each time.
        let origin = self.origin();
        let [ingress, egress] = MARKS.map(|word| self.0.word(word));
        let (own, others) = match direction {
            Direction::Ingress => (ingress, egress),
            Direction::Egress => (egress, ingress),
        };
        let (end, other_end) = (own as u32, others as u32);
        let (reach, granted) = (windows.reach(direction), windows.reach(other));
        let start = packet.sequence.wrapping_sub(end).wrapping_add(granted);
        let ack = packet.acknowledgement.wrapping_sub(other_end).wrapping_add(reach);
        let most = if origin.has_gap(other) { reach.wrapping_shl(1) } else { reach };
        // No segment of a live connection is without ACK (RFC 9293 section 3.5.2).
        let has_ack = packet.tcp_flags & tcp_flags::ACK != 0;
        if !has_ack || !Self::is_anchored(*status) || start > granted.wrapping_shl(1) || ack > most {
            self.set_windows(windows);
            return self.misfit(status, state, packet, direction, is_quiet());
        }
        windows.note(direction, packet.window);
        self.set_windows(windows);
        let acked = (own >> 32) as u32;
        let is_fin = packet.tcp_flags & tcp_flags::FIN != 0;
        let is_usual = origin.is_plain()
            && !is_fin
            && Self::has(*status, Connection::ACKED, direction)
            && !is_ahead(packet.sequence, end)
            && packet.fragment == Fragment::Whole;
        if is_usual {
            // Both only ever move forward.
            let behind = packet.sequence.wrapping_add(packet.payload_len);
            let end = if is_ahead(behind, end) { behind } else { end };
            let ack = packet.acknowledgement;
            let acked = if is_ahead(ack, acked) { ack } else { acked };
            self.set_marks(direction, end, acked);
        } else {
            self.note_unusual(status, origin, packet, direction);
        }
        let next = match state_by_fins(*status, state) {
            // Heard from a side that nobody has to believe: what it says fits what the other has said.
            State::Adopted if matches!(direction, Direction::Ingress) => State::Established,
            next => next,
        };
        if matches!(state, State::Closed) && !is_fin { Effect::Nothing } else { Effect::Moves(next) }
    }

    /// A segment whose numbers do not fit. The interface's own side knows better, where nothing has fitted for a while: the
    /// other side cannot speak for it.
    #[inline(always)]
    fn misfit(
        &mut self,
        status: &mut Status,
        state: State,
        packet: &Packet,
        direction: Direction,
        is_quiet: bool,
    ) -> Effect {
        let is_anchored = Self::is_anchored(*status);
        if matches!(direction, Direction::Ingress) {
            return if is_anchored { Effect::Unfit } else { Effect::Nothing };
        }
        let is_believed = (is_quiet || !is_anchored) && !matches!(state, State::Closed);
        if packet.tcp_flags & tcp_flags::ACK == 0 || !is_believed {
            return Effect::Unfit;
        }
        self.anchor(status, packet);
        Effect::Moves(state_by_fins(*status, state))
    }

    /// Takes all marks from a segment of the interface's own side.
    #[inline(always)]
    pub(in super::super) fn anchor(&mut self, status: &mut Status, packet: &Packet) {
        let mut origin = self.origin();
        origin.clear_stream();
        self.set_origin(origin);
        status.clear_flags(Connection::ACKED);
        status.set_flags(Connection::SEEN | Connection::SEEN << 1 | Connection::ACKED << 1);
        if packet.tcp_flags & tcp_flags::FIN != 0 {
            status.set_flags(Connection::FIN << 1);
        }
        let end = packet.sequence.wrapping_add(packet.stream_len());
        self.set_marks(Direction::Egress, end, packet.acknowledgement);
        self.set_marks(Direction::Ingress, packet.acknowledgement, 0);
        let mut windows = self.windows();
        windows.note(Direction::Egress, packet.window);
        self.set_windows(windows);
    }

    /// Moves the marks by a segment that fits, and is not simply the next one.
    #[inline(always)]
    fn note_unusual(&mut self, status: &mut Status, was: Origin, packet: &Packet, direction: Direction) {
        let other = direction.reverse();
        let mut origin = was;
        let (mut end, mut acked) = self.marks(direction);
        let (mut other_end, other_acked) = self.marks(other);
        let start = packet.sequence;
        let behind = start.wrapping_add(packet.stream_len());
        if packet.tcp_flags & tcp_flags::FIN != 0 {
            let is_expected = start == other_acked && self.is_acked(*status, other);
            let is_next = start == end || behind == end || is_expected;
            // Its acknowledgement will tell whether it was true.
            origin.set_late_fin(direction, !is_next);
            end = behind;
            if is_next {
                origin.set_gap(direction, false);
                status.set_flags(Connection::FIN << direction.code());
            }
        } else if is_ahead(start, end) {
            origin.set_gap(direction, true);
        }
        if packet.fragment != Fragment::Whole {
            // Of its data only a part is seen.
            origin.set_gap(direction, true);
        }
        if !is_ahead(start, end) && is_ahead(behind, end) {
            origin.set_late_fin(direction, false);
            end = behind;
        }
        let ack = packet.acknowledgement;
        if is_ahead(ack, acked) || !self.is_acked(*status, direction) {
            if direction.code() == status.opened_by() {
                origin.set_syn_pending(false);
            }
            status.set_flags(Connection::ACKED << direction.code());
            acked = ack;
        }
        if is_ahead(ack, other_end) {
            origin.set_gap(other, false);
            other_end = ack;
            self.set_marks(other, other_end, other_acked);
        }
        if origin.has_late_fin(other) && ack == other_end {
            origin.set_late_fin(other, false);
            status.set_flags(Connection::FIN << other.code());
        }
        self.set_marks(direction, end, acked);
        if origin != was {
            self.set_origin(origin);
        }
    }

    /// Whether both sides' ends are known.
    #[inline(always)]
    fn is_anchored(status: Status) -> bool {
        let both = Connection::SEEN | Connection::SEEN << 1;
        status.flags() & both == both
    }

    /// Whether the acknowledgement of a direction is known.
    #[inline(always)]
    fn is_acked(&self, status: Status, direction: Direction) -> bool {
        let is_lent = direction.code() == status.opened_by() && self.origin().has_syn_pending();
        Self::has(status, Connection::ACKED, direction) && !is_lent
    }
}

/// How far a connection is by those who have closed.
#[inline(always)]
pub(in super::super) fn state_by_fins(status: Status, state: State) -> State {
    match (status.flags() / Connection::FIN) & 3 {
        0 => state,
        3 => State::Closed,
        _ => State::HalfClosed,
    }
}

//! TCP: which segments move a connection on, and which may have been injected by somebody who does not see it.

use super::{Connection, Record, State, Status, is_handshake};
use crate::flow::Direction;
use crate::packet::{Packet, tcp_flags};

impl<R: Record> Connection<R> {
    /// The next state, or `None` for a segment that must have no effect: a SYN, RST or FIN that may have been
    /// injected by somebody who does not see the connection (RFC 5961).
    #[inline(always)]
    pub(super) fn next_tcp(&self, status: Status, packet: &Packet, direction: Direction) -> Option<State> {
        let state = status.state();
        let flags = packet.tcp_flags;
        let from_opener = direction.code() == status.opened_by();
        if flags & tcp_flags::RST != 0 {
            return if self.fits(status, packet, direction) { Some(State::Reset) } else { None };
        }
        if flags & tcp_flags::SYN != 0 {
            return match (state, from_opener) {
                (State::SynSent, true) => Some(State::SynSent),
                // The SYN-ACK, or the SYN of a simultaneous open (RFC 9293 section 3.5).
                (State::SynSent, false) => {
                    self.acknowledges_syn(packet, direction).then_some(State::SynReceived)
                }
                (State::SynReceived, true) if flags & tcp_flags::ACK != 0 => Some(State::Established),
                (State::SynReceived, _) => Some(State::SynReceived),
                _ => None,
            };
        }
        if flags & tcp_flags::FIN != 0 && !is_handshake(state) {
            if !self.fits(status, packet, direction) {
                return None;
            }
            let other_has_closed = status.flags() & (Connection::FIN << direction.reverse().code()) != 0;
            return Some(match state {
                State::Established | State::Adopted => State::HalfClosed,
                State::HalfClosed if other_has_closed => State::Closed,
                state => state,
            });
        }
        match (state, from_opener) {
            (State::SynReceived, true) if flags & tcp_flags::ACK != 0 => Some(State::Established),
            // Data before the handshake is done, or a challenge ACK: neither prolongs the half-open entry.
            (State::SynSent | State::SynReceived, _) => None,
            (State::Adopted, _) => {
                let is_return = status.flags() & (Connection::SEEN << direction.code()) == 0;
                let is_proof = is_return && flags & tcp_flags::ACK != 0;
                Some(if is_proof { State::Established } else { State::Adopted })
            }
            // What is over is not kept alive by late segments.
            (State::Closed | State::Reset, _) => None,
            (state, _) => Some(state),
        }
    }

    /// A SYN-ACK must acknowledge the SYN; a bare SYN (simultaneous open) acknowledges nothing.
    #[inline(always)]
    fn acknowledges_syn(&self, packet: &Packet, direction: Direction) -> bool {
        if packet.tcp_flags & tcp_flags::ACK == 0 {
            return true;
        }
        self.is_acknowledged_syn(packet, direction)
    }

    /// From the SYN to the end of the data that it may have carried (TCP Fast Open, RFC 7413), which the other side
    /// may or may not take.
    #[inline(always)]
    fn is_acknowledged_syn(&self, packet: &Packet, direction: Direction) -> bool {
        packet.acknowledgement.wrapping_sub(self.marks(direction.reverse()).0) <= MOST_SYN_DATA
    }

    /// Whether a RST or FIN continues the stream: from what the other side last acknowledged up to the end of
    /// what this side has sent. What neither bound is known for does not fit.
    #[inline(always)]
    fn fits(&self, status: Status, packet: &Packet, direction: Direction) -> bool {
        let code = direction.code();
        let other = direction.reverse().code();
        let seen = status.flags() & (Connection::SEEN << code) != 0;
        let acked = status.flags() & (Connection::ACKED << other) != 0;
        let (sent, _) = self.marks(direction);
        let (_, ack) = self.marks(direction.reverse());
        match (acked, seen) {
            (true, true) => {
                packet.sequence.wrapping_sub(ack) <= sent.wrapping_sub(ack)
                    && sent.wrapping_sub(ack) < PLAUSIBLE_WINDOW
            }
            (true, false) => packet.sequence == ack,
            (false, true) => packet.sequence == sent,
            // A RST in answer to a SYN has sequence 0 and acknowledges the SYN (RFC 9293 section 3.5.2).
            (false, false) => {
                packet.tcp_flags & tcp_flags::ACK != 0
                    && status.flags() & (Connection::SEEN << other) != 0
                    && self.is_acknowledged_syn(packet, direction)
            }
        }
    }

    /// Moves the marks of what was sent and acknowledged, forward only and by plausible amounts.
    #[inline(always)]
    pub(super) fn note_sequence(&mut self, status: &mut Status, packet: &Packet, direction: Direction) {
        let code = direction.code();
        let flags = packet.tcp_flags;
        let controls =
            u32::from(flags & tcp_flags::SYN != 0).wrapping_add(u32::from(flags & tcp_flags::FIN != 0));
        let is_syn = flags & tcp_flags::SYN != 0;
        // Data on a SYN may be ignored and sent again.
        let len = if is_syn { 0 } else { packet.payload_len };
        let end = packet.sequence.wrapping_add(len).wrapping_add(controls);
        let (mut sent, mut acked) = self.marks(direction);
        let is_first = status.flags() & (Connection::SEEN << code) == 0;
        // A SYN that is sent again may start with another number.
        let restarts = is_syn && status.state() == State::SynSent && code == status.opened_by();
        if is_first || restarts || is_ahead(end, sent) {
            status.set_flags(Connection::SEEN << code);
            sent = end;
        }
        if flags & tcp_flags::ACK != 0 && flags & tcp_flags::RST == 0 {
            let is_first = status.flags() & (Connection::ACKED << code) == 0;
            if is_first || is_ahead(packet.acknowledgement, acked) {
                status.set_flags(Connection::ACKED << code);
                acked = packet.acknowledgement;
            }
        }
        self.set_marks(direction, sent, acked);
    }
}

/// What a SYN can carry in one packet of an Ethernet: 1500 bytes less the headers.
const MOST_SYN_DATA: u32 = 1460;

/// The largest window of RFC 7323 is 1 GiB; marks that jump further are not the stream's.
const PLAUSIBLE_WINDOW: u32 = 1 << 30;

#[inline(always)]
fn is_ahead(new: u32, old: u32) -> bool {
    new != old && new.wrapping_sub(old) < PLAUSIBLE_WINDOW
}

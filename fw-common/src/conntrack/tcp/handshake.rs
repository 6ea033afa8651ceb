//! The handshake: each side acknowledges the other's SYN, or it is none.

use super::super::{Connection, Effect, Origin, Record, State, Status};
use super::is_ahead;
use crate::flow::Direction;
use crate::packet::{Packet, tcp_flags};

/// Data that a server may have sent before its SYN-ACK is acknowledged (TCP Fast Open): what lies further behind one right
/// acknowledgement belongs to another.
const MOST_EARLY_DATA: u32 = 1 << 17;

/// How far an opener may be ahead of what was seen of it, while nobody is seen who opens a window for it.
const ALONE: u32 = 1 << 16;

impl<R: Record> Connection<R> {
    /// The first SYN. All of the data on it may be acknowledged or none (TCP Fast Open, RFC 7413).
    #[inline(always)]
    pub(in super::super) fn begin(&mut self, status: &mut Status, packet: &Packet, direction: Direction) {
        let end = packet.sequence.wrapping_add(1);
        status.set_flags(Connection::SEEN << direction.code());
        self.set_marks(direction, end, end.wrapping_add(packet.payload_len));
        self.note_shift(packet, direction);
    }

    /// A segment of a connection of which only the opener has been heard.
    #[inline(always)]
    pub(super) fn answer(&mut self, status: &mut Status, packet: &Packet, direction: Direction) -> Effect {
        if direction.code() == status.opened_by() {
            self.go_on_alone(status, packet, direction)
        } else {
            self.reply(status, packet, direction)
        }
    }

    /// The opener again: another SYN, or what it sends when it has been answered by another way.
    #[inline(always)]
    fn go_on_alone(&mut self, status: &mut Status, packet: &Packet, opener: Direction) -> Effect {
        let flags = packet.tcp_flags;
        let (first, most) = self.marks(opener);
        let (second, second_most) = self.marks(opener.reverse());
        let has_second = Self::has(*status, Connection::SEEN, opener.reverse());
        let start = packet.sequence;
        if flags & tcp_flags::RST != 0 {
            let fits = start == first || (has_second && start == second);
            return if fits { Effect::Moves(State::Reset) } else { Effect::Unfit };
        }
        if packet.is_first_syn() {
            let end = start.wrapping_add(1);
            if end != first {
                // It may be forged, or the first one may be: the other side says which of them it has heard.
                status.set_flags(Connection::SEEN << opener.reverse().code());
                self.set_marks(opener.reverse(), end, end.wrapping_add(packet.payload_len));
            }
            return Effect::Moves(status.state());
        }
        if flags & tcp_flags::ACK == 0 {
            return Effect::Nothing;
        }
        let room = if matches!(status.state(), State::OneSided) { ALONE } else { 0 };
        let is_of_first = start.wrapping_sub(first) <= most.wrapping_sub(first).wrapping_add(room);
        let is_of_second = has_second && start.wrapping_sub(second) <= second_most.wrapping_sub(second);
        if !is_of_first && !is_of_second {
            return Effect::Unfit;
        }
        let (first, most) = if is_of_second { (second, second_most) } else { (first, most) };
        if is_of_second {
            self.forget_windows();
            status.clear_flags(Connection::SEEN << opener.reverse().code());
        }
        let is_syn = flags & tcp_flags::SYN != 0;
        let end = start.wrapping_add(packet.stream_len()).wrapping_sub(u32::from(is_syn));
        self.set_marks(opener, first, if is_ahead(end, most) { end } else { most });
        Effect::Moves(State::OneSided)
    }

    /// The other side's first word.
    #[inline(always)]
    fn reply(&mut self, status: &mut Status, packet: &Packet, direction: Direction) -> Effect {
        let flags = packet.tcp_flags;
        // Without ACK it is a simultaneous open (RFC 9293 section 3.5), or somebody who forges one: the SYN-ACK that
        // follows tells.
        if flags & (tcp_flags::SYN | tcp_flags::RST) == 0 || packet.is_first_syn() {
            return Effect::Nothing;
        }
        let opener = direction.reverse();
        let (first, most) = self.marks(opener);
        let (second, second_most) = self.marks(direction);
        let has_second = Self::has(*status, Connection::SEEN, direction);
        let ack = packet.acknowledgement;
        let data = if matches!(status.state(), State::OneSided) { 0 } else { most.wrapping_sub(first) };
        let is_of_first = ack.wrapping_sub(first) <= data;
        let is_of_second = has_second && ack.wrapping_sub(second) <= second_most.wrapping_sub(second);
        if flags & tcp_flags::ACK == 0 || !(is_of_first || is_of_second) {
            return Effect::Unfit;
        }
        if flags & tcp_flags::RST != 0 {
            return Effect::Moves(State::Reset);
        }
        if !is_of_first {
            self.forget_windows();
        }
        self.receive(status, packet, direction)
    }

    /// A SYN-ACK that acknowledges a SYN of the opener.
    #[inline(always)]
    pub(super) fn receive(&mut self, status: &mut Status, packet: &Packet, direction: Direction) -> Effect {
        let end = packet.sequence.wrapping_add(1);
        let mut origin = self.origin();
        origin.clear_stream();
        self.set_origin(origin);
        status.clear_flags(!(Connection::SERVICE | Connection::RESERVED));
        status.set_flags(Connection::SEEN | Connection::SEEN << 1);
        status.set_flags(Connection::ACKED << direction.code());
        self.set_marks(direction.reverse(), packet.acknowledgement, 0);
        self.set_marks(direction, end, end);
        self.note_shift(packet, direction);
        Effect::Moves(State::SynReceived)
    }

    /// A segment of a connection that was answered and is not done.
    #[inline(always)]
    pub(super) fn complete(&mut self, status: &mut Status, packet: &Packet, direction: Direction) -> Effect {
        if direction.code() == status.opened_by() {
            self.acknowledge(status, packet, direction)
        } else {
            self.reply_again(status, packet, direction)
        }
    }

    /// The opener, who is to acknowledge the other side's SYN.
    #[inline(always)]
    fn acknowledge(&mut self, status: &mut Status, packet: &Packet, opener: Direction) -> Effect {
        let flags = packet.tcp_flags;
        let (end, _) = self.marks(opener);
        let (high, low) = self.marks(opener.reverse());
        if flags & tcp_flags::RST != 0 {
            return if packet.sequence == end { Effect::Moves(State::Reset) } else { Effect::Unfit };
        }
        let is_syn = flags & tcp_flags::SYN != 0;
        let repeats = packet.sequence.wrapping_add(1) == end;
        if flags & tcp_flags::ACK == 0 {
            return match (is_syn, repeats) {
                (true, true) => Effect::Moves(State::SynReceived),
                (true, false) => self.note_syn(packet, opener),
                (false, _) => Effect::Nothing,
            };
        }
        let ack = packet.acknowledgement;
        if (ack != high && ack != low) || (is_syn && !repeats) {
            return Effect::Unfit;
        }
        status.set_flags(Connection::ACKED << opener.code());
        self.change_origin(|origin| origin.set_syn_pending(false));
        let theirs = if high.wrapping_sub(ack) < MOST_EARLY_DATA { high } else { ack };
        self.set_marks(opener, end, ack);
        self.set_marks(opener.reverse(), theirs, end);
        Effect::Moves(State::Established)
    }

    /// The other side: its SYN-ACK again, or what it sends before it is acknowledged.
    #[inline(always)]
    fn reply_again(&mut self, status: &mut Status, packet: &Packet, direction: Direction) -> Effect {
        let flags = packet.tcp_flags;
        let opener = direction.reverse();
        let (end, _) = self.marks(opener);
        let (high, low) = self.marks(direction);
        let behind = packet.sequence.wrapping_add(1);
        if flags & tcp_flags::RST != 0 {
            let fits = packet.sequence == high || packet.sequence == low;
            return if fits { Effect::Moves(State::Reset) } else { Effect::Unfit };
        }
        let acknowledges = flags & tcp_flags::ACK != 0 && packet.acknowledgement == end;
        if flags & tcp_flags::SYN == 0 {
            // Data before the handshake is done prolongs nothing.
            if acknowledges && packet.sequence == high && packet.stream_len() != 0 {
                self.set_marks(direction, high.wrapping_add(packet.stream_len()), low);
                let is_fin = flags & tcp_flags::FIN != 0;
                self.change_origin(|origin| origin.set_late_fin(direction, is_fin));
            }
            return Effect::Nothing;
        }
        if flags & tcp_flags::ACK == 0 {
            return if behind == high { Effect::Moves(State::SynReceived) } else { Effect::Nothing };
        }
        if !acknowledges {
            return self.begin_anew(status, packet, direction);
        }
        if behind != high && behind != low {
            // With SYN cookies each SYN-ACK has another number, and all of them are right (RFC 4987 section 3.6).
            self.set_marks(direction, behind, high);
        }
        Effect::Moves(State::SynReceived)
    }

    /// A SYN of the opener on a connection that lives, as far as is known. It has no effect until it is acknowledged.
    #[inline(always)]
    pub(super) fn note_syn(&mut self, packet: &Packet, opener: Direction) -> Effect {
        let (end, _) = self.marks(opener);
        self.set_marks(opener, end, packet.sequence.wrapping_add(1));
        self.change_origin(|origin| origin.set_syn_pending(true));
        Effect::Nothing
    }

    /// A SYN-ACK on a connection that lives: both ends have begun anew if it acknowledges the SYN that was noted.
    #[inline(always)]
    pub(super) fn begin_anew(
        &mut self,
        status: &mut Status,
        packet: &Packet,
        direction: Direction,
    ) -> Effect {
        let opener = direction.reverse();
        let (_, pending) = self.marks(opener);
        if !self.origin().has_syn_pending() || packet.acknowledgement != pending {
            return Effect::Unfit;
        }
        self.forget_windows();
        self.receive(status, packet, direction)
    }

    /// Notes what the first SYN or SYN-ACK of a side says of the windows that it will advertise. Both sides shift theirs or
    /// neither does (RFC 7323 section 2.2).
    #[inline(always)]
    pub(crate) fn note_shift(&mut self, packet: &Packet, direction: Direction) {
        let mut origin = self.origin();
        if origin.knows_shift(direction) || packet.window_shift == Packet::SHIFT_UNREAD {
            return;
        }
        let mut windows = self.windows();
        origin.set_shift_known(direction, true);
        if packet.window_shift == Packet::SHIFT_NONE {
            origin.set_shift_known(direction.reverse(), true);
            windows.shift_none();
        } else {
            windows.set_shift(direction, packet.window_shift);
        }
        self.set_origin(origin);
        self.set_windows(windows);
    }

    /// Of a SYN that had no effect nothing was read.
    #[inline(always)]
    pub(in super::super) fn forget_windows(&mut self) {
        let (mut origin, mut windows) = (self.origin(), self.windows());
        origin.set_shift_known(Direction::Ingress, false);
        origin.set_shift_known(Direction::Egress, false);
        windows.forget();
        self.set_origin(origin);
        self.set_windows(windows);
    }

    /// Changes what is unusual about the stream; nothing is written where nothing changes.
    #[inline(always)]
    fn change_origin(&mut self, change: impl FnOnce(&mut Origin)) {
        let was = self.origin();
        let mut origin = was;
        change(&mut origin);
        if origin != was {
            self.set_origin(origin);
        }
    }
}

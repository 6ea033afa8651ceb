//! What comes after the handshake, and connections whose handshake was not seen.

use fw_common::Direction;

use super::connections::State;
use super::segments::{Fin, Means, Talk, after, ahead, has};
use crate::packet::{Tcp, flag};

impl Talk {
    pub(super) fn flows(
        &mut self,
        state: State,
        tcp: &Tcp,
        from: Direction,
        idle: u64,
        is_first_piece: bool,
    ) -> Means {
        let is_local = from == Direction::Egress;
        let is_placed = self.ingress.end.is_some() && self.egress.end.is_some();
        if !is_placed && !is_local {
            return Means::Nothing;
        }
        match (has(tcp, flag::SYN), has(tcp, flag::RST), has(tcp, flag::ACK)) {
            (true, _, false) => return self.put_off(tcp),
            (true, _, true) if from != self.opener => return self.begin_anew(tcp),
            (true, ..) => return Means::Misfits,
            (_, true, _) => {
                let places = [self.side(from).end, self.side(from.reverse()).acked];
                let fits = !is_placed || places.contains(&Some(tcp.seq));
                return if fits { Means::Becomes(State::Reset) } else { Means::Misfits };
            }
            (.., false) => return Means::Misfits,
            _ => {}
        }
        if is_placed && self.fits(tcp, from) {
            self.note(tcp, from, is_first_piece);
        } else if is_local && (!is_placed || idle > 30) {
            self.believe(tcp);
        } else {
            return Means::Misfits;
        }
        let proves = state == State::Adopted && !is_local && is_placed;
        self.proven |= proves;
        let open = if proves { State::Established } else { state };
        match self.closing().unwrap_or(open) {
            // What is over is not kept by late segments, but by a FIN that is sent again.
            State::Closed if state == State::Closed && !has(tcp, flag::FIN) => Means::Moves,
            next => Means::Becomes(next),
        }
    }

    /// How far it is by the FINs that count.
    pub(super) fn closing(&self) -> Option<State> {
        match [self.ingress.fin, self.egress.fin].iter().filter(|fin| **fin == Fin::Counts).count() {
            0 => None,
            1 => Some(State::HalfClosed),
            _ => Some(State::Closed),
        }
    }

    /// Within what the other side lets it send, and acknowledging what the other side has sent.
    pub(super) fn fits(&mut self, tcp: &Tcp, from: Direction) -> bool {
        let (own, other) = (*self.side(from), *self.side(from.reverse()));
        let (Some(end), Some(other_end)) = (own.end, other.end) else { return false };
        let beyond = if other.has_gap { own.window() } else { 0 };
        ahead(tcp.seq, end).abs() <= other.window()
            && (-own.window()..=beyond).contains(&ahead(tcp.ack, other_end))
    }

    /// Moves what a segment that fits moves.
    pub(super) fn note(&mut self, tcp: &Tcp, from: Direction, is_first_piece: bool) {
        let acknowledged = self.side(from.reverse()).acked;
        let own = self.side(from);
        let end = own.end.unwrap_or(tcp.seq);
        own.note_window(tcp);
        if has(tcp, flag::FIN) {
            let counts = tcp.seq == end || Some(tcp.seq) == acknowledged || after(tcp) == end;
            own.end = Some(after(tcp));
            if counts {
                (own.fin, own.has_gap) = (Fin::Counts, false);
            } else if own.fin == Fin::None {
                own.fin = Fin::Waits;
            }
        } else if ahead(tcp.seq, end) > 0 {
            own.has_gap = true;
        } else if ahead(after(tcp), end) > 0 {
            own.end = Some(after(tcp));
            if own.fin == Fin::Waits {
                own.fin = Fin::None;
            }
        }
        own.has_gap |= is_first_piece;
        if own.acked.is_none_or(|acked| ahead(tcp.ack, acked) > 0) {
            own.acked = Some(tcp.ack);
            if from == self.opener {
                self.pending = None;
            }
        }
        let other = self.side(from.reverse());
        if other.end.is_some_and(|end| ahead(tcp.ack, end) > 0) {
            (other.end, other.has_gap) = (Some(tcp.ack), false);
        }
        if other.fin == Fin::Waits && other.end == Some(tcp.ack) {
            other.fin = Fin::Counts;
        }
    }

    /// The interface's own end knows where both are.
    pub(super) fn believe(&mut self, tcp: &Tcp) {
        let syn = u32::from(has(tcp, flag::SYN));
        self.egress.end = Some(after(tcp).wrapping_add(syn));
        self.egress.acked = Some(tcp.ack);
        self.ingress.end = Some(tcp.ack);
        self.ingress.acked = None;
        self.pending = None;
        self.egress.note_window(tcp);
        for side in [&mut self.ingress, &mut self.egress] {
            side.has_gap = false;
            if side.fin == Fin::Waits {
                side.fin = Fin::None;
            }
        }
        if has(tcp, flag::FIN) {
            self.egress.fin = Fin::Counts;
        }
    }
}

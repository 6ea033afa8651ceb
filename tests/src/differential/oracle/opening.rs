//! The handshake: which SYNs, answers and acknowledgements belong together.

use super::connections::State;
use super::segments::{Fin, Means, Offer, Side, Syn, Talk, after, ahead, has};
use crate::packet::{Tcp, flag};

impl Talk {
    /// The opener, before its SYN is seen to be answered.
    pub(super) fn goes_on_opening(&mut self, state: State, tcp: &Tcp) -> Means {
        let is_ours = |next: u32| self.syns.iter().any(|syn| syn.next == next);
        if has(tcp, flag::RST) {
            return if is_ours(tcp.seq) { Means::Becomes(State::Reset) } else { Means::Misfits };
        }
        if has(tcp, flag::ACK) {
            return self.goes_on_alone(state, tcp);
        }
        if !has(tcp, flag::SYN) {
            return Means::Nothing;
        }
        let syn = Syn::of(tcp);
        if syn.next != self.syns[0].next {
            self.syns.truncate(1);
            self.syns.push(Syn { offer: Offer::Unknown, ..syn });
        }
        Means::Keeps
    }

    /// The answer takes another way: where the stream is nobody can say, but it begins behind a SYN and does not leap.
    fn goes_on_alone(&mut self, state: State, tcp: &Tcp) -> Means {
        let leap = if state == State::OneSided { 1 << 16 } else { 0 };
        if self.syns[1..].iter().any(|syn| syn.is_answered_by(tcp.seq)) {
            self.syns.remove(0);
        } else if self.syns[0].distance(tcp.seq) > i64::from(self.syns[0].data) + leap {
            return Means::Misfits;
        }
        let syn = &mut self.syns[0];
        if ahead(after(tcp), syn.next.wrapping_add(syn.data)) > 0 {
            syn.data = after(tcp).wrapping_sub(syn.next);
        }
        Means::Becomes(State::OneSided)
    }

    pub(super) fn is_answered(&mut self, state: State, tcp: &Tcp) -> Means {
        // What has gone on since its first SYN is no data of the SYN.
        let first = match state {
            State::OneSided => Syn { data: 0, ..self.syns[0] },
            _ => self.syns[0],
        };
        let mut syns = [first].into_iter().chain(self.syns[1..].iter().copied());
        let answered = syns.find(|syn| syn.is_answered_by(tcp.ack)).filter(|_| has(tcp, flag::ACK));
        match (has(tcp, flag::SYN), has(tcp, flag::RST), answered) {
            (true, _, Some(syn)) => self.begin_answer(syn.offer, tcp),
            (_, true, Some(_)) => Means::Becomes(State::Reset),
            // Its own SYN, where both open at once: anybody may send one.
            (true, ..) if !has(tcp, flag::ACK) => Means::Nothing,
            (true, ..) | (_, true, _) => Means::Misfits,
            _ => Means::Nothing,
        }
    }

    /// A SYN-ACK that is right, as the first that comes.
    pub(super) fn begin_answer(&mut self, offer: Offer, tcp: &Tcp) -> Means {
        let opener = self.opener;
        *self.side(opener) = Side { end: Some(tcp.ack), ..Side::SILENT };
        *self.side(opener.reverse()) = Side { acked: Some(tcp.ack), ..Side::SILENT };
        self.stand_at(tcp.seq.wrapping_add(1));
        self.agree_on_scale(offer, tcp);
        self.pending = None;
        Means::Becomes(State::SynReceived)
    }

    pub(super) fn stand_at(&mut self, place: u32) {
        self.answers = [place; 2];
        self.side(self.opener.reverse()).end = Some(place);
    }

    /// Windows are scaled if both say how, which the first answer settles.
    fn agree_on_scale(&mut self, offer: Offer, tcp: &Tcp) {
        let most = |shift: u8| Some(shift.min(14));
        let (opener, other) = match (offer, tcp.window_scale) {
            (Offer::None, _) | (_, None) => (Some(0), Some(0)),
            (Offer::Unknown, Some(own)) => (None, most(own)),
            (Offer::Scale(offered), Some(own)) => (most(offered), most(own)),
        };
        self.side(self.opener).scale = opener;
        self.side(self.opener.reverse()).scale = other;
    }

    pub(super) fn answers_again(&mut self, tcp: &Tcp) -> Means {
        let expected = self.side(self.opener).end;
        let (next, [low, high]) = (tcp.seq.wrapping_add(1), self.answers);
        if has(tcp, flag::RST) {
            let fits = tcp.seq == low || tcp.seq == high;
            return if fits { Means::Becomes(State::Reset) } else { Means::Misfits };
        }
        let answers = has(tcp, flag::ACK) && Some(tcp.ack) == expected;
        if !has(tcp, flag::SYN) {
            // What comes with the answer keeps nothing, but is acknowledged with it.
            if answers && tcp.seq == high && after(tcp) != high {
                self.answers[1] = after(tcp);
                let fin = if has(tcp, flag::FIN) { Fin::Waits } else { Fin::None };
                let side = self.side(self.opener.reverse());
                (side.end, side.fin) = (Some(after(tcp)), fin);
                return Means::Moves;
            }
            return Means::Nothing;
        }
        if !has(tcp, flag::ACK) {
            return if next == high { Means::Keeps } else { Means::Nothing };
        }
        if !answers {
            return self.begin_anew(tcp);
        }
        if next != low && next != high {
            self.answers = [high, next];
            self.side(self.opener.reverse()).end = Some(next);
        }
        Means::Keeps
    }

    pub(super) fn acknowledges_answer(&mut self, tcp: &Tcp, is_first_piece: bool) -> Means {
        let opener = self.opener;
        let stands_at = self.side(opener).end;
        if has(tcp, flag::RST) {
            return if Some(tcp.seq) == stands_at { Means::Becomes(State::Reset) } else { Means::Misfits };
        }
        let is_syn = has(tcp, flag::SYN);
        let begins_there = Some(tcp.seq.wrapping_add(1)) == stands_at;
        match (is_syn, has(tcp, flag::ACK)) {
            (true, false) if begins_there => return Means::Keeps,
            (true, false) => return self.put_off(tcp),
            (false, false) => return Means::Nothing,
            (_, true) => {}
        }
        if !self.answers.contains(&tcp.ack) || is_syn && !begins_there {
            return Means::Misfits;
        }
        let [_, high] = self.answers;
        let place = if (0..1 << 17).contains(&ahead(high, tcp.ack)) { high } else { tcp.ack };
        self.side(opener.reverse()).end = Some(place);
        self.side(opener.reverse()).acked = stands_at;
        self.side(opener).acked = Some(tcp.ack);
        (self.pending, self.proven) = (None, true);
        if !is_syn && self.fits(tcp, opener) {
            self.note(tcp, opener, is_first_piece);
        }
        Means::Becomes(self.closing().unwrap_or(State::Established))
    }
}

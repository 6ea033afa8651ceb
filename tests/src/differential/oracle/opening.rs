//! The handshake: which SYNs, answers and acknowledgements belong together.

use super::connections::State;
use super::segments::{Means, Offer, Side, Syn, Talk, after, ahead, has};
use crate::packet::{Tcp, flag};

impl Talk {
    pub(super) fn goes_on_opening(&mut self, tcp: &Tcp) -> Means {
        let is_ours = |next: u32| self.syns.iter().any(|syn| syn.next == next);
        if has(tcp, flag::RST) {
            return if is_ours(tcp.seq) { Means::Becomes(State::Reset) } else { Means::Misfits };
        }
        if has(tcp, flag::ACK) {
            return Means::Becomes(State::OneSided);
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

    pub(super) fn is_answered(&mut self, tcp: &Tcp) -> Means {
        let answered = self.syns.iter().find(|syn| syn.is_answered_by(tcp.ack)).copied();
        match (has(tcp, flag::SYN), has(tcp, flag::RST), has(tcp, flag::ACK), answered) {
            (true, _, true, Some(syn)) => self.begin_answer(syn.offer, tcp),
            (true, _, false, _) => {
                // Both open at once.
                self.side(self.opener).end = Some(self.syns[0].next);
                self.offer = self.syns[0].offer;
                self.stand_at(tcp.seq.wrapping_add(1));
                Means::Becomes(State::SynReceived)
            }
            (_, true, true, Some(_)) => Means::Becomes(State::Reset),
            (true, ..) | (_, true, ..) => Means::Misfits,
            _ => Means::Nothing,
        }
    }

    /// A SYN-ACK that is right, as the first that comes.
    pub(super) fn begin_answer(&mut self, offer: Offer, tcp: &Tcp) -> Means {
        let opener = self.opener;
        self.offer = offer;
        *self.side(opener) = Side { end: Some(tcp.ack), ..Side::SILENT };
        *self.side(opener.reverse()) = Side { acked: Some(tcp.ack), ..Side::SILENT };
        self.stand_at(tcp.seq.wrapping_add(1));
        self.agree_on_scale(tcp);
        (self.pending, self.is_acknowledged) = (None, false);
        Means::Becomes(State::SynReceived)
    }

    pub(super) fn stand_at(&mut self, place: u32) {
        self.answers = [place; 2];
        self.side(self.opener.reverse()).end = Some(place);
    }

    /// Windows are scaled if both say how, which the first answer settles.
    pub(super) fn agree_on_scale(&mut self, tcp: &Tcp) {
        let most = |shift: u8| Some(shift.min(14));
        let (opener, other) = match (self.offer, tcp.window_scale) {
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
            // Data that comes with the answer.
            if answers && tcp.seq == high {
                self.answers[1] = after(tcp);
                self.side(self.opener.reverse()).end = Some(after(tcp));
                return Means::Moves;
            }
            return Means::Nothing;
        }
        if !has(tcp, flag::ACK) {
            return if next == high { Means::Keeps } else { Means::Nothing };
        }
        if !answers {
            return Means::Misfits;
        }
        let had_answered = self.side(self.opener.reverse()).acked.is_some();
        if next != low && next != high {
            self.answers = [if had_answered { high } else { next }, next];
            self.side(self.opener.reverse()).end = Some(next);
        }
        self.side(self.opener.reverse()).acked = expected;
        if !had_answered {
            self.agree_on_scale(tcp);
        }
        if self.is_acknowledged { self.is_open() } else { Means::Keeps }
    }

    pub(super) fn is_open(&mut self) -> Means {
        self.proven = true;
        self.side(self.opener.reverse()).acked = self.side(self.opener).end;
        Means::Becomes(State::Established)
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
        self.answers[1] = place;
        self.side(opener.reverse()).end = Some(place);
        self.side(opener).acked = Some(tcp.ack);
        (self.pending, self.is_acknowledged) = (None, true);
        if self.side(opener.reverse()).acked.is_none() {
            return Means::Keeps;
        }
        let opens = self.is_open();
        if !is_syn && self.fits(tcp, opener) {
            self.note(tcp, opener, is_first_piece);
        }
        self.closing().map_or(opens, Means::Becomes)
    }
}

//! TCP as somebody sees it who stands between both ends, by numbers on a circle: `opening` and `flowing` are its parts.
//!
//! Nothing here moves by a segment that could come from somebody who does not see the connection: he would have to
//! guess where both sides are.

use fw_common::Direction;

use super::connections::State;
use crate::packet::{Tcp, flag};

/// What a segment means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Means {
    /// Nothing.
    Nothing,
    /// Nothing, since its numbers do not fit.
    Misfits,
    /// Something, but it does not keep the entry.
    Moves,
    /// It keeps the entry.
    Keeps,
    /// The entry is now this far, which keeps it too.
    Becomes(State),
}

/// A TCP connection.
#[derive(Clone, Debug)]
pub(super) struct Talk {
    pub(super) opener: Direction,
    /// SYNs that wait for their answer: the first one, and the latest of others.
    pub(super) syns: Vec<Syn>,
    /// Where the other side may stand by its answer: the lower and the higher place.
    pub(super) answers: [u32; 2],
    /// What came of a SYN of the opener while the entry stood for an older connection: the place behind it.
    pub(super) pending: Option<u32>,
    /// Both sides are where they say they are.
    pub(super) proven: bool,
    pub(super) ingress: Side,
    pub(super) egress: Side,
}

/// What one side has sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Side {
    /// The number after the last in sequence.
    pub(super) end: Option<u32>,
    /// What it has acknowledged.
    pub(super) acked: Option<u32>,
    /// The shift of its windows, if that is known.
    pub(super) scale: Option<u8>,
    /// How often its largest window has outgrown 64 KiB.
    pub(super) growth: u8,
    pub(super) has_gap: bool,
    pub(super) fin: Fin,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fin {
    None,
    /// It counts when what it ends is acknowledged.
    Waits,
    Counts,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Syn {
    /// The number after it.
    pub(super) next: u32,
    /// Bytes that it carries, all of which may be acknowledged, or none of them; and what has followed since.
    pub(super) data: u32,
    pub(super) offer: Offer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Offer {
    None,
    Scale(u8),
    Unknown,
}

/// How far a number is ahead of another, less than nothing if it is behind.
pub(super) fn ahead(number: u32, of: u32) -> i64 {
    let round = 1_i64 << 32;
    let forward = (i64::from(number) - i64::from(of)).rem_euclid(round);
    if forward < round / 2 { forward } else { forward - round }
}

pub(super) fn has(tcp: &Tcp, flags: u8) -> bool {
    tcp.flags & flags == flags
}

/// The number after a segment without SYN.
pub(super) fn after(tcp: &Tcp) -> u32 {
    tcp.seq.wrapping_add(tcp.payload.len() as u32).wrapping_add(u32::from(has(tcp, flag::FIN)))
}

impl Syn {
    pub(super) fn of(tcp: &Tcp) -> Self {
        let offer = tcp.window_scale.map_or(Offer::None, Offer::Scale);
        Self { next: tcp.seq.wrapping_add(1), data: tcp.payload.len() as u32, offer }
    }

    /// How far a number is behind it, all the way round.
    pub(super) fn distance(&self, number: u32) -> i64 {
        (i64::from(number) - i64::from(self.next)).rem_euclid(1 << 32)
    }

    pub(super) fn is_answered_by(&self, ack: u32) -> bool {
        self.distance(ack) <= i64::from(self.data)
    }
}

impl Side {
    pub(super) const SILENT: Self =
        Self { end: None, acked: None, scale: None, growth: 0, has_gap: false, fin: Fin::None };

    /// How far the other side may be ahead.
    pub(super) fn window(&self) -> i64 {
        match self.scale {
            Some(_) => 0x1_0000 << self.growth,
            None => 4 << 20,
        }
    }

    pub(super) fn note_window(&mut self, tcp: &Tcp) {
        let Some(scale) = self.scale else { return };
        if i64::from(tcp.window) << scale > self.window() && self.growth < 14 {
            self.growth += 1;
        }
    }
}

impl Talk {
    /// By its first SYN.
    pub(super) fn begun(tcp: &Tcp, opener: Direction) -> Self {
        let mut talk = Self::taken_over(opener);
        talk.syns = vec![Syn::of(tcp)];
        talk
    }

    /// Of which nothing is known but who opened it.
    pub(super) fn taken_over(opener: Direction) -> Self {
        Self {
            opener,
            syns: Vec::new(),
            answers: [0; 2],
            pending: None,
            proven: false,
            ingress: Side::SILENT,
            egress: Side::SILENT,
        }
    }

    pub(super) fn side(&mut self, direction: Direction) -> &mut Side {
        match direction {
            Direction::Ingress => &mut self.ingress,
            Direction::Egress => &mut self.egress,
        }
    }

    /// The segment that it was taken over by: how far it is after that, if the segment says so.
    pub(super) fn believe_first(&mut self, tcp: &Tcp, from: Direction) -> Option<State> {
        if from == Direction::Ingress || !has(tcp, flag::ACK) {
            return None;
        }
        self.believe(tcp);
        self.closing()
    }

    /// What a segment means to it after `idle` seconds.
    pub(super) fn hear(
        &mut self,
        state: State,
        tcp: &Tcp,
        from: Direction,
        idle: u64,
        is_first_piece: bool,
    ) -> Means {
        match (state, from == self.opener) {
            (State::SynSent | State::OneSided, true) => self.goes_on_opening(state, tcp),
            (State::SynSent | State::OneSided, false) => self.is_answered(state, tcp),
            (State::SynReceived, true) => self.acknowledges_answer(tcp, is_first_piece),
            (State::SynReceived, false) => self.answers_again(tcp),
            (State::Reset, _) => Means::Nothing,
            _ => self.flows(state, tcp, from, idle, is_first_piece),
        }
    }

    /// An answer to a SYN that was put off.
    pub(super) fn begin_anew(&mut self, tcp: &Tcp) -> Means {
        if self.pending == Some(tcp.ack) { self.begin_answer(Offer::Unknown, tcp) } else { Means::Misfits }
    }

    /// A SYN of the opener that has no effect, unless it is answered.
    pub(super) fn put_off(&mut self, tcp: &Tcp) -> Means {
        self.pending = Some(tcp.seq.wrapping_add(1));
        self.side(self.opener).acked = None;
        Means::Nothing
    }
}

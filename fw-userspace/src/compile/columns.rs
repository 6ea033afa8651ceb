//! The first match of an ordered list, flattened: which entry decides at each key of a column.
//!
//! What a set of addresses adds to a column is flattened once. Addresses in several sets have the columns of fewer
//! sets and one more laid over them, so that nothing is flattened again.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// An entry of a column: its keys, both ends included, its place in the list, whether it is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) from: u16,
    pub(super) to: u16,
    pub(super) place: u32,
    pub(super) is_open: bool,
}

/// From this key on, up to the next piece, the entry at `place` decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) from: u16,
    /// One of the matching entries is open, whichever decides.
    pub(super) is_open: bool,
    pub(super) place: u32,
}

impl Piece {
    /// No entry matches.
    pub(super) const NO_PLACE: u32 = u32::MAX;
    /// What a column begins as.
    pub(super) const NOTHING: Self = Self { from: 0, is_open: false, place: Self::NO_PLACE };

    fn over(self, other: Self, from: u16) -> Self {
        Self { from, is_open: self.is_open || other.is_open, place: self.place.min(other.place) }
    }

    fn says_as(self, other: Self) -> bool {
        (self.is_open, self.place) == (other.is_open, other.place)
    }
}

/// The pieces of a column with these entries.
pub(super) fn flatten(mut spans: Vec<Span>) -> Vec<Piece> {
    spans.sort_unstable_by_key(|span| (span.from, span.place));
    let mut borders: Vec<u16> = vec![0];
    for span in &spans {
        borders.push(span.from);
        borders.extend(span.to.checked_add(1));
    }
    borders.sort_unstable();
    borders.dedup();
    let mut starting = spans.iter().peekable();
    let mut covering: BinaryHeap<Reverse<(u32, u16)>> = BinaryHeap::new();
    let mut open_until: Option<u16> = None;
    let mut pieces = Vec::with_capacity(borders.len());
    for border in borders {
        while let Some(span) = starting.next_if(|span| span.from <= border) {
            covering.push(Reverse((span.place, span.to)));
            if span.is_open {
                open_until = open_until.max(Some(span.to));
            }
        }
        while covering.peek().is_some_and(|Reverse((_, to))| *to < border) {
            covering.pop();
        }
        let is_open = open_until.is_some_and(|to| to >= border);
        let place = covering.peek().map_or(Piece::NO_PLACE, |Reverse((place, _))| *place);
        push(&mut pieces, Piece { from: border, is_open, place });
    }
    pieces
}

/// The pieces of a column whose addresses lie in the sets of both; `None` if that is `below` again.
pub(super) fn overlay(below: &[Piece], above: &[Piece]) -> Option<Vec<Piece>> {
    // Most sets say something about few keys: nothing else is looked at.
    let first = above.iter().position(|piece| piece.place != Piece::NO_PLACE)?;
    let last = above.iter().rposition(|piece| piece.place != Piece::NO_PLACE)?;
    let start = above[first].from;
    let end = above.get(last + 1).map(|piece| piece.from);
    let from = below.partition_point(|piece| piece.from <= start) - 1;
    let to = end.map_or(below.len(), |end| below.partition_point(|piece| piece.from < end));
    let (inside, above) = (&below[from..to], &above[first..=last]);
    if merged(inside, above, start).all(|(piece, old)| piece.says_as(old)) {
        return None;
    }
    let mut pieces = Vec::with_capacity(below.len() + 2 * above.len());
    pieces.extend_from_slice(&below[..from]);
    if below[from].from < start {
        pieces.push(below[from]);
    }
    for (piece, _) in merged(inside, above, start) {
        push(&mut pieces, piece);
    }
    // What was cut at the end goes on behind it.
    if let (Some(end), Some(cut)) = (end, below[..to].last()) {
        if below.get(to).is_none_or(|next| next.from > end) {
            push(&mut pieces, Piece { from: end, ..*cut });
        }
        if let Some((next, rest)) = below[to..].split_first() {
            push(&mut pieces, *next);
            pieces.extend_from_slice(rest);
        }
    }
    Some(pieces)
}

/// Both from `start` on, where `above` begins and `below` has begun: what they say together, and what `below` says.
fn merged(below: &[Piece], above: &[Piece], start: u16) -> impl Iterator<Item = (Piece, Piece)> {
    let (mut one, mut other) = (0, 0);
    let mut at = Some(start);
    std::iter::from_fn(move || {
        let from = at?;
        let pair = (above[other].over(below[one], from), below[one]);
        let next_below = below.get(one + 1).map(|piece| piece.from);
        let next_above = above.get(other + 1).map(|piece| piece.from);
        at = match (next_below, next_above) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (next, None) | (None, next) => next,
        };
        one += usize::from(at.is_some() && next_below == at);
        other += usize::from(at.is_some() && next_above == at);
        Some(pair)
    })
}

/// Appends a piece; one that says what the one before it says is not needed.
fn push(pieces: &mut Vec<Piece>, piece: Piece) {
    if pieces.last().is_none_or(|last| !last.says_as(piece)) {
        pieces.push(piece);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compile::lcg::Lcg;

    fn spans(random: &mut Lcg, places: std::ops::Range<u32>) -> Vec<Span> {
        let mut spans = Vec::new();
        for place in places {
            if random.below(3) == 0 {
                continue;
            }
            let ends = [random.below(60) as u16, random.below(60) as u16];
            let (from, to) = match random.below(8) {
                0 => (0, 0xffff),
                1 => (ends[0], 0xffff),
                _ => (ends[0].min(ends[1]), ends[0].max(ends[1])),
            };
            spans.push(Span { from, to, place, is_open: random.below(4) == 0 });
        }
        spans
    }

    fn at(pieces: &[Piece], key: u16) -> (u32, bool) {
        let piece = pieces[pieces.partition_point(|piece| piece.from <= key) - 1];
        (piece.place, piece.is_open)
    }

    #[test]
    fn layers_say_what_a_linear_search_says() {
        let mut random = Lcg::new(7);
        for _ in 0..2_000 {
            let layers = [spans(&mut random, 0..5), spans(&mut random, 2..9), spans(&mut random, 0..3)];
            let all: Vec<Span> = layers.iter().flatten().copied().collect();
            let mut column = vec![Piece::NOTHING];
            for layer in &layers {
                let layer = flatten(layer.clone());
                if let Some(pieces) = overlay(&column, &layer) {
                    assert_ne!(pieces, column);
                    column = pieces;
                }
            }
            assert_eq!(column, flatten(all.clone()));
            for key in (0..64).chain([0xfffe, 0xffff]) {
                let matching = || all.iter().filter(|span| span.from <= key && key <= span.to);
                let place = matching().map(|span| span.place).min().unwrap_or(Piece::NO_PLACE);
                assert_eq!(
                    at(&column, key),
                    (place, matching().any(|span| span.is_open)),
                    "{key} of {all:?}"
                );
            }
        }
    }
}

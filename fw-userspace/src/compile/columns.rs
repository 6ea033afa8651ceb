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

/// Place of a column in its [`Columns`].
pub(super) type ColumnId = u32;

/// Columns, one behind the other.
pub(super) struct Columns {
    pieces: Vec<Piece>,
    ends: Vec<usize>,
    scratch: Vec<Piece>,
}

impl Columns {
    /// The column in which nothing matches.
    pub(super) const NOTHING: ColumnId = 0;

    pub(super) fn new() -> Self {
        Self { pieces: vec![Piece::NOTHING], ends: vec![1], scratch: Vec::new() }
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// How many pieces all of them have.
    pub(super) fn pieces(&self) -> u64 {
        self.pieces.len() as u64
    }

    pub(super) fn get(&self, column: ColumnId) -> &[Piece] {
        let start = if column == 0 { 0 } else { self.ends[column as usize - 1] };
        &self.pieces[start..self.ends[column as usize]]
    }

    /// A column with these entries.
    pub(super) fn add(&mut self, spans: &mut [Span]) -> ColumnId {
        flatten(spans, &mut self.pieces);
        self.end()
    }

    /// The column of addresses that both are said of.
    pub(super) fn over(&mut self, below: ColumnId, above: ColumnId) -> ColumnId {
        match (below, above) {
            (_, Self::NOTHING) => below,
            (Self::NOTHING, _) => above,
            _ => {
                let mut pieces = std::mem::take(&mut self.scratch);
                pieces.clear();
                let changes = overlay(self.get(below), self.get(above), &mut pieces);
                self.pieces.extend_from_slice(&pieces);
                self.scratch = pieces;
                if changes { self.end() } else { below }
            }
        }
    }

    fn end(&mut self) -> ColumnId {
        self.ends.push(self.pieces.len());
        (self.ends.len() - 1) as ColumnId
    }
}

/// Appends the pieces of a column with these entries.
fn flatten(spans: &mut [Span], pieces: &mut Vec<Piece>) {
    spans.sort_unstable_by_key(|span| (span.from, span.place));
    let mut borders: Vec<u16> = vec![0];
    for span in spans.iter() {
        borders.push(span.from);
        borders.extend(span.to.checked_add(1));
    }
    borders.sort_unstable();
    borders.dedup();
    let mut starting = spans.iter().peekable();
    let mut covering: BinaryHeap<Reverse<(u32, u16)>> = BinaryHeap::new();
    let mut open_until: Option<u16> = None;
    let start = pieces.len();
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
        push(pieces, start, Piece { from: border, is_open, place });
    }
}

/// The pieces of a column whose addresses lie in the sets of both, in an empty list; false if that is `below` again.
fn overlay(below: &[Piece], above: &[Piece], pieces: &mut Vec<Piece>) -> bool {
    // Most sets say something about few keys: nothing else is looked at.
    let says = |piece: &Piece| piece.place != Piece::NO_PLACE;
    let (Some(first), Some(last)) = (above.iter().position(says), above.iter().rposition(says)) else {
        return false;
    };
    let start = above[first].from;
    let end = above.get(last + 1).map(|piece| piece.from);
    let from = below.partition_point(|piece| piece.from <= start) - 1;
    let to = end.map_or(below.len(), |end| below.partition_point(|piece| piece.from < end));
    let (inside, above) = (&below[from..to], &above[first..=last]);
    if merged(inside, above, start).all(|(piece, old)| piece.says_as(old)) {
        return false;
    }
    pieces.extend_from_slice(&below[..from]);
    if below[from].from < start {
        pieces.push(below[from]);
    }
    for (piece, _) in merged(inside, above, start) {
        push(pieces, 0, piece);
    }
    // What was cut at the end goes on behind it.
    if let (Some(end), Some(cut)) = (end, inside.last()) {
        if below.get(to).is_none_or(|next| next.from > end) {
            push(pieces, 0, Piece { from: end, ..*cut });
        }
        if let Some((next, rest)) = below[to..].split_first() {
            push(pieces, 0, *next);
            pieces.extend_from_slice(rest);
        }
    }
    true
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

/// Appends a piece to a column that begins at `start`; one that says what the one before it says is not needed.
fn push(pieces: &mut Vec<Piece>, start: usize, piece: Piece) {
    if pieces.len() == start || pieces.last().is_none_or(|last| !last.says_as(piece)) {
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
            let mut columns = Columns::new();
            let mut column = Columns::NOTHING;
            for layer in &layers {
                let before = columns.get(column).to_vec();
                let layer = if layer.is_empty() { Columns::NOTHING } else { columns.add(&mut layer.clone()) };
                let combined = columns.over(column, layer);
                assert_eq!(combined == column, columns.get(combined) == before);
                column = combined;
            }
            let at_once = columns.add(&mut all.clone());
            let column = columns.get(column);
            assert_eq!(column, columns.get(at_once));
            for key in (0..64).chain([0xfffe, 0xffff]) {
                let matching = || all.iter().filter(|span| span.from <= key && key <= span.to);
                let place = matching().map(|span| span.place).min().unwrap_or(Piece::NO_PLACE);
                assert_eq!(at(column, key), (place, matching().any(|span| span.is_open)), "{key} of {all:?}");
            }
        }
    }
}

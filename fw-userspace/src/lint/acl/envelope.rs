//! Functions of the traffic axis that are constant in pieces: the lowest number at each place.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::ops::Range;

/// A number for some places. A list of them is sorted and does not overlap; between them there is no number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) places: Range<usize>,
    pub(super) number: u16,
}

/// The lowest number at each place of pieces in any order.
pub(super) fn lowest(mut pieces: Vec<Piece>) -> Vec<Piece> {
    pieces.sort_by_key(|piece| piece.places.start);
    let mut coming = pieces.into_iter().peekable();
    let mut open: BinaryHeap<Reverse<(u16, usize)>> = BinaryHeap::new();
    let mut lowest: Vec<Piece> = Vec::new();
    let mut at = 0;
    loop {
        while open.peek().is_some_and(|Reverse((_, end))| *end <= at) {
            open.pop();
        }
        if open.is_empty() {
            match coming.peek() {
                Some(piece) => at = piece.places.start,
                None => return lowest,
            }
        }
        while let Some(piece) = coming.next_if(|piece| piece.places.start <= at) {
            open.push(Reverse((piece.number, piece.places.end)));
        }
        let Some(&Reverse((number, end))) = open.peek() else { continue };
        let end = coming.peek().map_or(end, |piece| end.min(piece.places.start));
        match lowest.last_mut() {
            Some(last) if last.number == number && last.places.end == at => last.places.end = end,
            _ => lowest.push(Piece { places: at..end, number }),
        }
        at = end;
    }
}

/// The higher number where both have one.
pub(super) fn higher_of_both(one: &[Piece], other: &[Piece]) -> Vec<Piece> {
    let mut both: Vec<Piece> = Vec::new();
    let (mut i, mut j) = (0, 0);
    while let (Some(a), Some(b)) = (one.get(i), other.get(j)) {
        let places = a.places.start.max(b.places.start)..a.places.end.min(b.places.end);
        if !places.is_empty() {
            both.push(Piece { places, number: a.number.max(b.number) });
        }
        if a.places.end <= b.places.end {
            i += 1;
        } else {
            j += 1;
        }
    }
    both
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compile::lcg::Lcg;

    const PLACES: usize = 12;

    fn written(pieces: &[Piece]) -> Vec<Option<u16>> {
        let of = |place| pieces.iter().filter(move |piece: &&Piece| piece.places.contains(&place));
        (0..PLACES).map(|place| of(place).map(|piece| piece.number).min()).collect()
    }

    fn random(random: &mut Lcg) -> Vec<Piece> {
        let piece = |random: &mut Lcg| {
            let start = random.below(PLACES as u32) as usize;
            let end = start + 1 + random.below((PLACES - start) as u32) as usize;
            Piece { places: start..end, number: random.below(20) as u16 }
        };
        (0..random.below(8)).map(|_| piece(random)).collect()
    }

    #[test]
    fn pieces_are_the_numbers_at_their_places() {
        for seed in 0..2000 {
            let mut lcg = Lcg::new(seed);
            let (one, other) = (random(&mut lcg), random(&mut lcg));
            let (a, b) = (lowest(one.clone()), lowest(other.clone()));
            assert_eq!(written(&a), written(&one));
            assert!(a.windows(2).all(|pair| pair[0].places.end <= pair[1].places.start), "{a:?}");
            let both: Vec<_> = written(&one)
                .into_iter()
                .zip(written(&other))
                .map(|(one, other)| Some(one?.max(other?)))
                .collect();
            assert_eq!(written(&higher_of_both(&a, &b)), both);
        }
    }
}

//! A step function cut at the borders of equal blocks.

use std::ops::Range;

use super::Step;

/// A run of keys that one value holds for, or one block with steps inside.
pub(super) struct Piece {
    pub(super) first: u128,
    pub(super) last: u128,
    pub(super) content: Content,
}

/// What stands there.
pub(super) enum Content {
    Value(u32),
    /// These steps, the one in force at the start included.
    Steps(Range<usize>),
}

/// The pieces of the function from `low` on for `bits` bits, in blocks of `block` bits; `None` if they are more than
/// `most`.
pub(super) fn pieces(steps: &[Step], low: u128, bits: u32, block: u32, most: usize) -> Option<Vec<Piece>> {
    let end = low | ones(bits);
    let mut pieces: Vec<Piece> = Vec::new();
    // The step in force at `first`.
    let mut at = 0;
    let mut first = low;
    loop {
        if pieces.len() == most {
            return None;
        }
        let Some((next, _)) = steps.get(at + 1) else {
            pieces.push(Piece { first, last: end, content: Content::Value(steps.get(at)?.1) });
            return Some(pieces);
        };
        let block_first = next & !ones(block);
        if block_first > first {
            let content = Content::Value(steps[at].1);
            pieces.push(Piece { first, last: block_first - 1, content });
            first = block_first;
            continue;
        }
        let last = block_first | ones(block);
        if *next == first {
            at += 1;
        }
        let inside = steps[at + 1..].partition_point(|(key, _)| *key <= last);
        if inside == 0 {
            // The value holds beyond this block, up to the one of the next step.
            continue;
        }
        pieces.push(Piece { first, last, content: Content::Steps(at..at + inside + 1) });
        at += inside;
        if last == end {
            return Some(pieces);
        }
        first = last + 1;
    }
}

/// So many ones.
pub(super) fn ones(bits: u32) -> u128 {
    u128::MAX.checked_shr(128 - bits).unwrap_or(0)
}

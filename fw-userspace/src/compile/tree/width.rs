//! How many bits of an address a table takes at once.

use fw_common::layout::{LEAF_INTERVALS, Link, wide};

use super::Step;
use super::pieces::ones;

/// Steps from which on an IPv6 address has a table for 16 bits, which is 4,096 lines.
const MANY: usize = 4096;

/// Of the table for IPv4: more than 16 bits where then nearly every network is one leaf.
pub(super) fn ipv4_width(steps: &[Step]) -> u32 {
    let fits = |width: &u32| is_worth(steps, *width) && settled(steps, 32 - width, LEAF_INTERVALS);
    (16..=Link::MAX_WIDTH).find(fits).unwrap_or(16)
}

/// Of a table for the first of `bits` bits of an IPv6 address, of which `left` are of the same half, if there is to be one.
/// Where an address begins it may be of any width, if nearly all that is behind it is then one line.
pub(super) fn ipv6_width(steps: &[Step], bits: u32, left: u32) -> Option<u32> {
    let fits = |width: &u32| is_worth(steps, *width) && settled(steps, 128 - width, wide::IPV6_INTERVALS);
    let any = (Link::MIN_WIDTH..=Link::MAX_WIDTH).find(fits).filter(|_| bits == 128);
    any.or((left >= 16 && steps.len() >= MANY).then_some(16))
}

/// A table of so many bits takes no more room than what is behind it.
fn is_worth(steps: &[Step], width: u32) -> bool {
    steps.len() >> (width - Link::MIN_WIDTH) > 0
}

/// Four fifths of the steps are in blocks of `rest` bits with no more than `most` intervals.
fn settled(steps: &[Step], rest: u32, most: usize) -> bool {
    let inside = |block: &&[Step]| block.iter().filter(|(key, _)| key & ones(rest) != 0).count();
    let blocks = steps.chunk_by(|(one, _), (other, _)| one >> rest == other >> rest);
    let few: usize = blocks.filter(|block| inside(block) < most).map(<[Step]>::len).sum();
    few * 5 >= steps.len() * 4
}

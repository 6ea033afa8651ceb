//! Step functions over a key become searches.
//!
//! A step function is a sorted list of (first key, value): each value holds up to the next step. A part of the key over
//! whose whole range the value is the same needs no search, few intervals are settled by one line, and what many
//! addresses have in common is skipped.

mod lines;
mod pieces;
mod width;

use fw_common::layout::{Kind, LEAF_INTERVALS, LEAF_LINKS, Link, Rule, table_lines, wide};

use super::heap::{Full, Heap};
use lines::{address_tree, chunk_tree, table, wide_ipv4, wide_ipv6};
use pieces::{Content, Piece, ones, pieces};
use width::{ipv4_width, ipv6_width};

/// From this key on, this value.
pub(super) type Step = (u128, u32);

/// Appends a step; equal neighbours become one, a step at the same key replaces the one before.
pub(super) fn push_step(steps: &mut Vec<Step>, key: u128, value: u32) {
    if steps.last().is_some_and(|last| last.0 == key) {
        steps.pop();
    }
    if steps.last().is_none_or(|last| last.1 != value) {
        steps.push((key, value));
    }
}

/// The search of a step function over addresses of a family, 0 for IPv4, 1 for IPv6. Values are put in as payloads.
pub(super) fn addresses(heap: &mut Heap<'_>, steps: &[Step], family: usize) -> Result<Link, Full> {
    let part = Part { steps, low: 0 };
    if family == 0 { ipv4(heap, part) } else { ipv6(heap, part, 128) }
}

/// The search of a step function over IPv4 addresses that differs from the one at `before` at these keys only: what
/// leads to other networks of a table's bits is used again.
pub(super) fn change_ipv4(
    heap: &mut Heap<'_>,
    before: Link,
    steps: &[Step],
    keys: &[u128],
) -> Result<Link, Full> {
    let Some((mut links, width)) = networks(heap, before) else { return addresses(heap, steps, 0) };
    let rest = 32 - width;
    let mut changed: Vec<u128> = keys.iter().map(|key| key >> rest).collect();
    changed.sort_unstable();
    changed.dedup();
    for network in changed {
        let (low, end) = (network << rest, (network + 1) << rest);
        let start = steps.partition_point(|(key, _)| *key <= low).saturating_sub(1);
        let end = steps.partition_point(|(key, _)| *key < end);
        let part = Part { steps: &steps[start..end], low };
        let link = match part.steps {
            [(_, value)] => Link::value(*value),
            _ => ipv4_network(heap, part, rest)?,
        };
        links[network as usize] = link;
    }
    let mut intervals = Vec::new();
    for (network, link) in links.into_iter().enumerate() {
        push_link(&mut intervals, network as u32, link);
    }
    by_network(heap, &intervals, width)
}

/// Where each network leads to, and how many bits tell them apart; `None` if one line settles more than networks.
fn networks(heap: &Heap<'_>, link: Link) -> Option<(Vec<Link>, u32)> {
    let line = |number| heap.held(link.line() + number);
    let mut links = Vec::with_capacity(1 << 16);
    match link.kind() {
        Kind::Table(width) => {
            for number in 0..table_lines(width) {
                let line = line(number)?;
                links.extend((0..16).map(|word| Link(line.word(word))));
            }
            Some((links, width))
        }
        Kind::Tree(0) => {
            let line = line(0)?;
            for interval in 0..LEAF_INTERVALS as u32 {
                let ends = line.word(interval / 2) >> (interval % 2 * 16);
                let end = if interval + 1 < LEAF_INTERVALS as u32 { ends as u16 } else { 0xffff };
                links.resize((usize::from(end) + 1).max(links.len()), Link(line.word(LEAF_LINKS + interval)));
            }
            Some((links, 16))
        }
        _ => None,
    }
}

/// The search of a step function over 16-bit keys, whose values are rules.
pub(super) fn keys(heap: &mut Heap<'_>, steps: &[Step]) -> Result<Link, Full> {
    let end = |step: usize| steps.get(step).map_or(0xffff, |(key, _)| (key - 1) as u16);
    match *steps {
        [] => Ok(Link::value(0)),
        [(_, value)] => Ok(Link::value(value)),
        [(_, inside), (_, outside)] => heap.range((0, end(1)), Rule(outside), Rule(inside)),
        [(_, outside), (from, inside), (_, again)] if outside == again => {
            heap.range((from as u16, end(2)), Rule(outside), Rule(inside))
        }
        _ => {
            let value = |(at, (_, value)): (usize, &Step)| (end(at + 1), Link::value(*value));
            chunk_tree(heap, &steps.iter().enumerate().map(value).collect::<Vec<_>>())
        }
    }
}

/// A step function from `low` on; the first step starts at or before it.
#[derive(Clone, Copy)]
struct Part<'s> {
    steps: &'s [Step],
    low: u128,
}

fn ipv4(heap: &mut Heap<'_>, part: Part<'_>) -> Result<Link, Full> {
    if let [(_, value)] = part.steps {
        return Ok(Link::value(*value));
    }
    if part.steps.len() <= wide::IPV4_INTERVALS {
        return wide_ipv4(heap, part.steps);
    }
    let width = ipv4_width(part.steps);
    let links = links(heap, part, 32, width, &mut |heap, part| ipv4_network(heap, part, 32 - width))?;
    by_network(heap, &links, width)
}

/// The last `bits` bits of an IPv4 address, 16 at most.
fn ipv4_network(heap: &mut Heap<'_>, part: Part<'_>, bits: u32) -> Result<Link, Full> {
    let links = links(heap, part, bits, bits, &mut |_, _| Ok(Link::value(0)))?;
    chunk(heap, &links, bits)
}

/// A tree over so many bits. If they are not a whole chunk, they stand in front of zeroes.
fn chunk(heap: &mut Heap<'_>, links: &[(u32, Link)], bits: u32) -> Result<Link, Full> {
    let behind = 16 - bits;
    address_tree(heap, &ends(links, |end| end << behind | ones(behind) as u32))
}

/// Above more than one leaf a table is one line against two or more.
fn by_network(heap: &mut Heap<'_>, links: &[(u32, Link)], width: u32) -> Result<Link, Full> {
    if links.len() > LEAF_INTERVALS || width != 16 {
        return table(heap, links, width);
    }
    chunk_tree(heap, &ends(links, |end| end))
}

/// Intervals of 16-bit keys, of which the last goes on to the last key.
fn ends(links: &[(u32, Link)], end: impl Fn(u32) -> u32) -> Vec<(u16, Link)> {
    links.iter().map(|(last, link)| (end(*last) as u16, *link)).collect()
}

/// The last `bits` bits of an IPv6 address.
fn ipv6(heap: &mut Heap<'_>, part: Part<'_>, bits: u32) -> Result<Link, Full> {
    let link = ipv6_half(heap, part, bits)?;
    Ok(if bits == 64 && !link.is_value() { link.crossing() } else { link })
}

fn ipv6_half(heap: &mut Heap<'_>, part: Part<'_>, bits: u32) -> Result<Link, Full> {
    if let [(_, value)] = part.steps {
        return Ok(Link::value(*value));
    }
    let half = if bits > 64 { 64 } else { 0 };
    let left = bits - half;
    // As many bits at once as five intervals tell apart. One chunk alone has its tree, whose leaf has eleven.
    for skipped in (17..=left).rev().step_by(16) {
        let rest = bits - skipped;
        let Some(found) = pieces(part.steps, part.low, bits, rest, wide::IPV6_INTERVALS) else { continue };
        let mut links = Vec::new();
        for piece in found {
            let link = link(heap, &piece, part.steps, &mut |heap, part| ipv6(heap, part, rest))?;
            push_link(&mut links, (piece.last >> half) as u64, link);
        }
        return wide_ipv6(heap, &links, 64 - left + skipped);
    }
    let first = left.min(16);
    let width = ipv6_width(part.steps, bits, left);
    let taken = width.unwrap_or(first);
    let links = links(heap, part, bits, taken, &mut |heap, part| ipv6(heap, part, bits - taken))?;
    match (links.as_slice(), width) {
        ([(_, link)], _) if link.is_value() => Ok(*link),
        (_, Some(width)) => table(heap, &links, width),
        (_, None) => chunk(heap, &links, first),
    }
}

/// What the first `taken` of `bits` bits lead to, with `below` for what is behind them.
fn links(
    heap: &mut Heap<'_>,
    part: Part<'_>,
    bits: u32,
    taken: u32,
    below: &mut dyn FnMut(&mut Heap<'_>, Part<'_>) -> Result<Link, Full>,
) -> Result<Vec<(u32, Link)>, Full> {
    let rest = bits - taken;
    let mut links = Vec::new();
    for piece in pieces(part.steps, part.low, bits, rest, usize::MAX).unwrap_or_default() {
        let link = link(heap, &piece, part.steps, below)?;
        push_link(&mut links, ((piece.last & ones(bits)) >> rest) as u32, link);
    }
    Ok(links)
}

fn link(
    heap: &mut Heap<'_>,
    piece: &Piece,
    steps: &[Step],
    below: &mut dyn FnMut(&mut Heap<'_>, Part<'_>) -> Result<Link, Full>,
) -> Result<Link, Full> {
    match &piece.content {
        Content::Value(value) => Ok(Link::value(*value)),
        Content::Steps(range) => below(heap, Part { steps: &steps[range.clone()], low: piece.first }),
    }
}

/// Appends an interval; equal neighbours become one.
fn push_link<K>(links: &mut Vec<(K, Link)>, last: K, link: Link) {
    if links.last().is_some_and(|before| before.1 == link) {
        links.pop();
    }
    links.push((last, link));
}

#[cfg(test)]
mod tests;

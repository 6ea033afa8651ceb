//! Step functions over a key become chains of chunk trees.
//!
//! A step function is a sorted list of (first key, value): each value holds up to the next step. A chunk over whose
//! whole range the value is the same needs no tree, and equal chunk trees are stored once.

use fw_common::layout::{INNER_CHILDREN, LEAF_INTERVALS, LEAF_LINKS, Line, Link};

use super::heap::{Full, Heap};

/// From this key on, this value.
pub(super) type Step = (u128, u32);

/// One interval of a chunk: its inclusive end and what stands there.
pub(super) type Interval = (u16, u32);

/// Appends a step; equal neighbours become one, a step at the same key replaces the one before.
pub(super) fn push_step(steps: &mut Vec<Step>, key: u128, value: u32) {
    if steps.last().is_some_and(|last| last.0 == key) {
        steps.pop();
    }
    if steps.last().is_none_or(|last| last.1 != value) {
        steps.push((key, value));
    }
}

/// The search tree of a step function over keys of `bits` bits, a multiple of 16. Values are put in as payloads.
pub(super) fn tree(heap: &mut Heap, steps: &[Step], bits: u32) -> Result<Link, Full> {
    subtree(heap, steps, 0, bits)
}

/// The function from `low` on for `bits` bits; the first of `steps` starts at or before `low`.
fn subtree(heap: &mut Heap, steps: &[Step], low: u128, bits: u32) -> Result<Link, Full> {
    let Some(((_, value), later)) = steps.split_first() else { return Ok(Link::value(0)) };
    if later.is_empty() {
        return Ok(Link::value(*value));
    }
    let shift = bits - 16;
    let mut intervals: Vec<Interval> = Vec::new();
    let mut push = |end: u32, link: Link| {
        if intervals.last().is_some_and(|last| last.1 == link.0) {
            intervals.pop();
        }
        intervals.push((end as u16, link.0));
    };
    let mut at = 0;
    let mut chunk: u32 = 0;
    while chunk <= 0xffff {
        let uniform = Link::value(steps[at].1);
        let Some((next, _)) = steps.get(at + 1) else {
            push(0xffff, uniform);
            break;
        };
        let next_chunk = ((next - low) >> shift) as u32;
        if next_chunk > chunk {
            push(next_chunk - 1, uniform);
            chunk = next_chunk;
        }
        let chunk_low = low + (u128::from(chunk) << shift);
        if *next == chunk_low {
            at += 1;
            if steps.get(at + 1).is_some_and(|(after, _)| ((after - low) >> shift) as u32 != chunk) {
                continue;
            }
        }
        let inside = steps[at + 1..].partition_point(|(key, _)| ((key - low) >> shift) as u32 == chunk);
        if inside > 0 {
            push(chunk, subtree(heap, &steps[at..=at + inside], chunk_low, shift)?);
            at += inside;
            chunk += 1;
        }
    }
    match intervals.as_slice() {
        [(_, link)] if !Link(*link).is_tree() => Ok(Link(*link)),
        _ => heap.chunk_tree(intervals, lay_out),
    }
}

/// Leaves side by side, then level by level what stands above them.
fn lay_out(heap: &mut Heap, intervals: &[Interval]) -> Result<Link, Full> {
    let mut first = heap.next_line();
    let mut ends = Vec::new();
    for few in intervals.chunks(LEAF_INTERVALS) {
        heap.push(leaf(few))?;
        ends.extend(few.last().map(|(end, _)| *end));
    }
    let mut inner_levels = 0;
    while ends.len() > 1 {
        let above = heap.next_line();
        let mut ends_above = Vec::new();
        for children in ends.chunks(INNER_CHILDREN) {
            heap.push(inner(first, children))?;
            ends_above.extend(children.last().copied());
            first += children.len() as u32;
        }
        first = above;
        ends = ends_above;
        inner_levels += 1;
    }
    Ok(Link::tree(first, inner_levels))
}

fn leaf(intervals: &[Interval]) -> Line {
    let mut line = Line::default();
    let last = intervals.last().map_or(0, |(_, link)| *link);
    for index in 0..LEAF_INTERVALS {
        let (end, link) = intervals.get(index).copied().unwrap_or((0xffff, last));
        if index + 1 < LEAF_INTERVALS {
            set_end(&mut line, index, end);
        }
        line.set_word(LEAF_LINKS + index as u32, link);
    }
    line
}

fn inner(first_child: u32, ends: &[u16]) -> Line {
    let mut line = Line::default();
    line.set_word(0, first_child);
    for index in 0..INNER_CHILDREN - 1 {
        // The last child takes all that is left, so its end is not asked for.
        let end = if index + 1 < ends.len() { ends[index] } else { 0xffff };
        // The ends start at the second u64: four u16 later.
        set_end(&mut line, index + 4, end);
    }
    line
}

fn set_end(line: &mut Line, index: usize, end: u16) {
    let shift = index % 4 * 16;
    line.0[index / 4] |= u64::from(end) << shift;
}

#[cfg(test)]
mod tests {
    use fw_common::classify::Generation;
    use fw_common::layout::{Root, RootLine};
    use fw_common::memory::MemoryTables;
    use fw_common::{Address, Family, Tables};

    use super::*;
    use crate::compile::lcg::Lcg;

    fn value_at(steps: &[Step], key: u128) -> u32 {
        steps.iter().take_while(|(start, _)| *start <= key).last().map_or(0, |(_, value)| *value)
    }

    fn check(random: &mut Lcg, steps: &[Step], family: Family) {
        let mut heap = Heap::new();
        let bits = if matches!(family, Family::V4) { 32 } else { 128 };
        let link = tree(&mut heap, steps, bits).expect("it fits");
        let mut tables = MemoryTables::new(1);
        let base = tables.publish(&heap.finish(Root::default()));
        let root = RootLine(tables.line(base).expect("just published"));
        let generation = Generation { tables: &tables, base, root };
        let last = if bits == 128 { u128::MAX } else { u128::from(u32::MAX) };
        let mut keys: Vec<u128> = vec![0, last];
        for (start, _) in steps {
            keys.extend([*start, start.saturating_sub(1), start.saturating_add(1).min(last)]);
        }
        keys.extend((0..100).map(|_| random.wide() & last));
        for key in keys {
            let address = match family {
                Family::V4 => Address::from_ipv4((key as u32).to_be_bytes()),
                Family::V6 => Address::from_ipv6(key.to_be_bytes()),
            };
            assert_eq!(generation.search(link, family, &address), value_at(steps, key), "{key:#x}");
        }
    }

    #[test]
    fn trees_find_what_a_linear_search_finds() {
        let mut random = Lcg::new(1);
        for round in 0..200 {
            let family = if round % 2 == 0 { Family::V4 } else { Family::V6 };
            let last = if round % 2 == 0 { u128::from(u32::MAX) } else { u128::MAX };
            // Keys that share chunks, keys on chunk borders, keys anywhere.
            let mut keys: Vec<u128> = (0..random.below(400))
                .map(|_| match random.below(4) {
                    0 => random.wide() & last & !0xffff,
                    1 => (0x0a14_0000 | (random.wide() & 0xffff)) & last,
                    2 => ((random.wide() & 7) << 16 | (random.wide() & 0xff)) & last,
                    _ => random.wide() & last,
                })
                .collect();
            keys.sort_unstable();
            let mut steps = vec![(0, 0)];
            for key in keys {
                push_step(&mut steps, key, random.below(9));
            }
            check(&mut random, &steps, family);
        }
    }

    #[test]
    fn a_full_chunk_takes_three_inner_levels() {
        let steps: Vec<Step> = (0..65_536).map(|key| (key << 16, key as u32 % 7)).collect();
        check(&mut Lcg::new(2), &steps[..3_000], Family::V4);
        let mut heap = Heap::new();
        let link = tree(&mut heap, &steps, 32).expect("it fits");
        assert_eq!(link.inner_levels(), 3);
    }

    #[test]
    fn equal_chunks_share_their_tree_and_uniform_ones_need_none() {
        let mut heap = Heap::new();
        assert_eq!(tree(&mut heap, &[(0, 5)], 128), Ok(Link::value(5)));
        assert_eq!(heap.lines().len(), 1);
        let mut steps = vec![(0, 0)];
        for network in 1..=9u128 {
            push_step(&mut steps, network << 16 | 0x10, 1);
            push_step(&mut steps, network << 16 | 0x20, 0);
        }
        tree(&mut heap, &steps, 32).expect("it fits");
        // The root line, one tree of the second chunk, one leaf above.
        assert_eq!(heap.lines().len(), 3);
    }

    #[test]
    fn a_function_that_repeats_in_every_chunk_stays_a_tree() {
        let mut steps = Vec::new();
        for network in 0..65_536u128 {
            push_step(&mut steps, network << 16, 0);
            push_step(&mut steps, network << 16 | 1, 1);
        }
        let mut heap = Heap::new();
        let link = tree(&mut heap, &steps, 32).expect("it fits");
        assert!(link.is_tree());
        assert_eq!(heap.lines().len(), 3);
    }
}

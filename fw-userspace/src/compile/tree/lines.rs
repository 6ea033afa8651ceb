//! How intervals lie in lines.

use fw_common::layout::{INNER_CHILDREN, LEAF_INTERVALS, LEAF_LINKS, Line, Link, palette, table_lines, wide};

use super::Step;
use crate::compile::heap::{Full, Heap};

/// What is to be found by a chunk. Intervals are inclusive ends with their links.
pub(super) fn chunk_tree(heap: &mut Heap<'_>, intervals: &[(u16, Link)]) -> Result<Link, Full> {
    tree(heap, intervals.chunks(LEAF_INTERVALS), leaf)
}

/// The same in lines of [`palette`] where that is fewer: for the search by address.
pub(super) fn address_tree(heap: &mut Heap<'_>, intervals: &[(u16, Link)]) -> Result<Link, Full> {
    let few = intervals.len().div_ceil(LEAF_INTERVALS);
    let groups = if few > 1 { palettes(intervals, few - 1) } else { None };
    match groups {
        Some(groups) => Ok(tree(heap, groups.into_iter(), palette_leaf)?.above_palettes()),
        None => chunk_tree(heap, intervals),
    }
}

/// Leaves side by side, then level by level what stands above them.
fn tree<'i>(
    heap: &mut Heap<'_>,
    groups: impl Iterator<Item = &'i [(u16, Link)]> + Clone,
    leaf: impl Fn(&[(u16, Link)]) -> Line,
) -> Result<Link, Full> {
    let leaves: Vec<Line> = groups.clone().map(leaf).collect();
    let mut ends: Vec<u16> = groups.filter_map(|few| Some(few.last()?.0)).collect();
    let mut first = heap.piece(&leaves)?;
    let mut inner_levels = 0;
    while ends.len() > 1 {
        let firsts = (first..).step_by(INNER_CHILDREN);
        let level: Vec<Line> =
            ends.chunks(INNER_CHILDREN).zip(firsts).map(|(children, first)| inner(first, children)).collect();
        ends = ends.chunks(INNER_CHILDREN).filter_map(|children| children.last().copied()).collect();
        first = heap.piece(&level)?;
        inner_levels += 1;
    }
    Ok(Link::tree(first, inner_levels))
}

/// Cuts intervals into as few as can be that each fit a line of [`palette`]; `None` if they are more than `most`.
fn palettes(intervals: &[(u16, Link)], most: usize) -> Option<Vec<&[(u16, Link)]>> {
    let mut groups = Vec::new();
    let mut rest = intervals;
    while !rest.is_empty() {
        let mut links: Vec<Link> = Vec::new();
        let fits = |(_, link): &&(u16, Link)| {
            if !links.contains(link) {
                links.push(*link);
            }
            links.len() <= palette::LINKS as usize
        };
        let count = rest.iter().take(palette::INTERVALS).take_while(fits).count();
        let (group, behind) = rest.split_at(count);
        if groups.len() == most {
            return None;
        }
        groups.push(group);
        rest = behind;
    }
    Some(groups)
}

/// A link for every value of so many bits.
pub(super) fn table(heap: &mut Heap<'_>, intervals: &[(u32, Link)], width: u32) -> Result<Link, Full> {
    let mut lines = vec![Line::default(); table_lines(width) as usize];
    let mut key = 0u32;
    for (end, link) in intervals {
        while key <= *end {
            lines[(key >> 4) as usize].set_word(key, link.0);
            key += 1;
        }
    }
    Ok(Link::table(heap.piece(&lines)?, width))
}

/// One line for all of IPv4.
pub(super) fn wide_ipv4(heap: &mut Heap<'_>, steps: &[Step]) -> Result<Link, Full> {
    let mut line = Line::default();
    for index in 0..wide::IPV4_INTERVALS {
        let (_, value) = steps[index.min(steps.len() - 1)];
        if index + 1 < wide::IPV4_INTERVALS {
            let end = steps.get(index + 1).map_or(u32::MAX, |(next, _)| (next - 1) as u32);
            line.set_word(index as u32, end);
        }
        line.set_word(wide::IPV4_LINKS + index as u32, Link::value(value).0);
    }
    Ok(Link::wide(heap.piece(&[line])?))
}

/// One line for a half of an IPv6 address, or what is left of it. Searches behind it go on behind so many bits.
pub(super) fn wide_ipv6(heap: &mut Heap<'_>, intervals: &[(u64, Link)], done: u32) -> Result<Link, Full> {
    let mut line = Line::default();
    for index in 0..wide::IPV6_INTERVALS {
        let (end, link) = intervals[index.min(intervals.len() - 1)];
        if index + 1 < wide::IPV6_INTERVALS {
            // The last interval takes all that is left, so its end is not asked for.
            line.set_long(index as u32, if index + 1 < intervals.len() { end } else { u64::MAX });
        }
        line.set_word(wide::IPV6_LINKS + index as u32, link.0);
    }
    line.set_word(wide::IPV6_DONE, done);
    Ok(Link::wide(heap.piece(&[line])?))
}

fn leaf(intervals: &[(u16, Link)]) -> Line {
    let mut line = Line::default();
    for index in 0..LEAF_INTERVALS {
        let (end, link) = intervals[index.min(intervals.len() - 1)];
        if index + 1 < LEAF_INTERVALS {
            set_end(&mut line, index, if index < intervals.len() { end } else { 0xffff });
        }
        line.set_word(LEAF_LINKS + index as u32, link.0);
    }
    line
}

fn palette_leaf(intervals: &[(u16, Link)]) -> Line {
    let mut line = Line::default();
    let mut links: Vec<Link> = Vec::new();
    let mut selectors = 0u64;
    for index in 0..palette::INTERVALS {
        let (end, link) = intervals[index.min(intervals.len() - 1)];
        let place = links.iter().position(|known| *known == link).unwrap_or_else(|| {
            links.push(link);
            links.len() - 1
        });
        selectors |= (place as u64) << (2 * index);
        if index + 1 < palette::INTERVALS {
            // As with wide lines.
            let end = if index + 1 < intervals.len() { end } else { 0xffff };
            set_end(&mut line, index + 4 * palette::SELECTORS as usize + 3, end);
        }
    }
    line.set_long(palette::SELECTORS, line.long(palette::SELECTORS) | selectors);
    for word in 0..palette::LINKS {
        line.set_word(word, links[(word as usize).min(links.len() - 1)].0);
    }
    line
}

fn inner(first_child: u32, ends: &[u16]) -> Line {
    let mut line = Line::default();
    line.set_word(0, first_child);
    for index in 0..INNER_CHILDREN - 1 {
        // As with wide lines.
        let end = if index + 1 < ends.len() { ends[index] } else { 0xffff };
        // The ends start at the second u64: four u16 later.
        set_end(&mut line, index + 4, end);
    }
    line
}

fn set_end(line: &mut Line, index: usize, end: u16) {
    line.0[index / 2] |= u32::from(end) << (index % 2 * 16);
}

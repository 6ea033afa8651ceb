//! What lies in a policy array: the pieces that generations in it lead to, to be shared with the next one, and the lines
//! that none leads to, which are free.

use std::ops::Range;

use fw_common::layout::{
    DEVICES_PER_BUCKET, INNER_CHILDREN, InterfaceLine, Kind, LEAF_INTERVALS, LEAF_LINKS, Line, Link,
    PolicyLine, RootLine, RowTable, palette, range, table_lines, wide,
};
use fw_common::{Direction, Family};

/// An array and what is held in it.
#[derive(Debug, Default)]
pub struct Held<'a> {
    pub(super) lines: &'a [Line],
    /// Lines that belong together.
    pub(super) pieces: Vec<Range<u32>>,
    /// Ranges of keys by their words.
    pub(super) ranges: Vec<([u32; 3], Link)>,
    pub(super) is_held: Vec<bool>,
}

/// The lines of a generation point outside of the array, or back to themselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the tables in the kernel are damaged")]
pub struct Damaged;

impl<'a> Held<'a> {
    /// An array that nobody reads.
    #[must_use]
    pub fn nothing() -> Self {
        Self::default()
    }

    /// What these roots lead to.
    pub fn by(lines: &'a [Line], roots: &[u32]) -> Result<Self, Damaged> {
        let is_held = vec![false; lines.len()];
        let mut held = Self { lines, pieces: Vec::new(), ranges: Vec::new(), is_held };
        for root in roots {
            held.root(*root)?;
        }
        Ok(held)
    }

    /// Lines that nobody holds, line 0 aside, ascending; the last range ends at `end`.
    pub(super) fn free(&self, end: u32) -> Vec<Range<u32>> {
        let mut free = Vec::new();
        let mut start = 1;
        for (number, is_held) in (0..).zip(&self.is_held) {
            if !is_held {
                continue;
            }
            if number > start {
                free.push(start..number);
            }
            start = start.max(number + 1);
        }
        free.push(start..end);
        free
    }

    fn root(&mut self, number: u32) -> Result<(), Damaged> {
        if !self.take(number, 1)? {
            return Ok(());
        }
        // Of one generation only.
        self.pieces.pop();
        let lines = self.lines;
        let root = RootLine(self.line(number)?);
        let buckets = root.devices()..root.devices() + root.device_mask() + 1;
        if self.take(buckets.start, root.device_mask() + 1)? {
            for bucket in buckets {
                for pair in 0..DEVICES_PER_BUCKET {
                    let interface = (lines[bucket as usize].long(pair) >> 32) as u32;
                    if interface != 0 {
                        self.interface(interface)?;
                    }
                }
            }
        }
        self.follow(root.tree(Family::V4), Family::V4)?;
        self.follow(root.tree(Family::V6), Family::V6)
    }

    fn interface(&mut self, number: u32) -> Result<(), Damaged> {
        if !self.take(number, 5)? {
            return Ok(());
        }
        let lines = self.lines;
        for family in [Family::V4, Family::V6] {
            for direction in [Direction::Ingress, Direction::Egress] {
                let policy = PolicyLine(&lines[InterfaceLine::policy(number, family, direction) as usize]);
                self.follow(policy.own(), family)?;
                for rows in [policy.acl(), policy.groups(), policy.services()] {
                    self.rows(rows, family)?;
                }
            }
        }
        Ok(())
    }

    fn rows(&mut self, rows: RowTable, family: Family) -> Result<(), Damaged> {
        if rows.line == 0 {
            return Ok(());
        }
        let count = (RowTable::FIXED + rows.count).div_ceil(4);
        if self.take(rows.line, count)? {
            let lines = self.lines;
            for line in &lines[rows.line as usize..(rows.line + count) as usize] {
                self.links(line, 0, 16, family)?;
            }
        }
        Ok(())
    }

    fn follow(&mut self, link: Link, family: Family) -> Result<(), Damaged> {
        let first = link.payload();
        match link.kind() {
            Kind::Value => Ok(()),
            Kind::Tree(levels) => {
                let leaf = (LEAF_LINKS, LEAF_INTERVALS as u32);
                let links = if link.is_above_palettes() { (0, palette::LINKS) } else { leaf };
                self.tree(link.line(), levels, links, family)
            }
            Kind::Table(width) => self.all(link.line(), table_lines(width), (0, 16), family),
            Kind::Wide => {
                let (links, count) = match family {
                    Family::V4 => (wide::IPV4_LINKS, wide::IPV4_INTERVALS),
                    Family::V6 => (wide::IPV6_LINKS, wide::IPV6_INTERVALS),
                };
                self.all(first, 1, (links, count as u32), family)
            }
            Kind::Range => self.quarters(first >> 2),
        }
    }

    /// Level by level, each with its lines side by side.
    fn tree(&mut self, first: u32, levels: u32, links: (u32, u32), family: Family) -> Result<(), Damaged> {
        let (mut first, mut count) = (first, 1);
        for _ in 0..levels {
            if !self.take(first, count)? {
                return Ok(());
            }
            let level = &self.lines[first as usize..(first + count) as usize];
            count = level.iter().map(children).sum();
            first = level[0].word(0);
        }
        self.all(first, count, links, family)
    }

    /// Lines side by side, and what so many links in each lead to.
    fn all(
        &mut self,
        first: u32,
        count: u32,
        (start, links): (u32, u32),
        family: Family,
    ) -> Result<(), Damaged> {
        if self.take(first, count)? {
            let lines = self.lines;
            for line in &lines[first as usize..(first + count) as usize] {
                self.links(line, start, links, family)?;
            }
        }
        Ok(())
    }

    fn links(&mut self, line: &Line, start: u32, count: u32, family: Family) -> Result<(), Damaged> {
        let mut before = Link::value(0);
        for word in start..start + count {
            let link = Link(line.word(word));
            if link != before {
                self.follow(link, family)?;
            }
            before = link;
        }
        Ok(())
    }

    fn quarters(&mut self, number: u32) -> Result<(), Damaged> {
        if !self.take(number, 1)? {
            return Ok(());
        }
        self.pieces.pop();
        let line = self.line(number)?;
        for quarter in 0..4 {
            let words = [0, 1, 2].map(|word| line.word(quarter * 4 + range::KEYS + word));
            // An unused one says nothing.
            if words != [0; 3] {
                self.ranges.push((words, Link::range(number, quarter)));
            }
        }
        Ok(())
    }

    fn line(&self, number: u32) -> Result<&'a Line, Damaged> {
        self.lines.get(number as usize).ok_or(Damaged)
    }

    /// Holds lines; false if they are held already.
    fn take(&mut self, first: u32, count: u32) -> Result<bool, Damaged> {
        let end = first.checked_add(count).ok_or(Damaged)?;
        let taken = self.is_held.get_mut(first as usize..end as usize).ok_or(Damaged)?;
        if first == 0 || taken.is_empty() {
            return Err(Damaged);
        }
        if taken[0] {
            return Ok(false);
        }
        taken.fill(true);
        self.pieces.push(first..end);
        Ok(true)
    }
}

/// Children of an inner line: its last one's end is not written, and unused ends are the largest.
fn children(line: &Line) -> u32 {
    let ends = (0..INNER_CHILDREN as u32 - 1).map(|index| {
        let word = line.word(2 + index / 2);
        (word >> (index % 2 * 16)) as u16
    });
    ends.take_while(|end| *end != 0xffff).count() as u32 + 1
}

//! The lines of a generation as they are filled, every equal piece stored once.

use std::collections::HashMap;

use fw_common::layout::{Interface, Line, Link, Root, RowRef, Rule};

use super::tree::Interval;

/// Lines that a generation may take, whoever asks for more: 1 GiB.
const MAX_LINES: usize = 1 << 24;

/// What is being built does not fit the policy array.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Full;

/// The lines of a generation. Line 0 is kept for the root.
pub(super) struct Heap {
    lines: Vec<Line>,
    chunk_trees: HashMap<Vec<Interval>, Link>,
    rows: HashMap<[u32; 4], RowRef>,
    open_line: Option<(u32, u32)>,
    tables: HashMap<Vec<u32>, u32>,
    max_lines: usize,
}

impl Heap {
    #[cfg(test)]
    pub(super) fn new() -> Self {
        Self::within(MAX_LINES)
    }

    /// At most `max_lines` lines.
    pub(super) fn within(max_lines: usize) -> Self {
        Self {
            lines: vec![Line::default()],
            chunk_trees: HashMap::new(),
            rows: HashMap::new(),
            open_line: None,
            tables: HashMap::new(),
            max_lines: max_lines.min(MAX_LINES),
        }
    }

    /// Number of the next line.
    pub(super) fn next_line(&self) -> u32 {
        self.lines.len() as u32
    }

    pub(super) fn push(&mut self, line: Line) -> Result<u32, Full> {
        if self.lines.len() >= self.max_lines {
            return Err(Full);
        }
        let number = self.next_line();
        self.lines.push(line);
        Ok(number)
    }

    /// The tree of one chunk, built by `build` where there is none like it yet.
    pub(super) fn chunk_tree(
        &mut self,
        intervals: Vec<Interval>,
        build: impl FnOnce(&mut Self, &[Interval]) -> Result<Link, Full>,
    ) -> Result<Link, Full> {
        if let Some(link) = self.chunk_trees.get(&intervals) {
            return Ok(*link);
        }
        let link = build(self, &intervals)?;
        self.chunk_trees.insert(intervals, link);
        Ok(link)
    }

    /// Where a row of four links is, without the bit that says what is inside the subnet.
    pub(super) fn row(&mut self, links: [Link; 4]) -> Result<(u32, u32), Full> {
        let words = links.map(|link| link.0);
        if let Some(row) = self.rows.get(&words) {
            return Ok((row.line(), row.first_word() / 4));
        }
        let (line, quarter) = match self.open_line {
            Some(place) => place,
            None => (self.push(Line::default())?, 0),
        };
        for (word, value) in (quarter * 4..).zip(words) {
            self.lines[line as usize].set_word(word, value);
        }
        self.open_line = (quarter < 3).then_some((line, quarter + 1));
        self.rows.insert(words, RowRef::new(line, quarter, false));
        Ok((line, quarter))
    }

    /// The first line of a row table.
    pub(super) fn table(&mut self, rows: Vec<u32>) -> Result<u32, Full> {
        if let Some(line) = self.tables.get(&rows) {
            return Ok(*line);
        }
        let first = self.next_line();
        for sixteen in rows.chunks(16) {
            let mut line = Line::default();
            for (word, row) in (0..).zip(sixteen) {
                line.set_word(word, *row);
            }
            self.push(line)?;
        }
        self.tables.insert(rows, first);
        Ok(first)
    }

    /// Two lines, side by side.
    pub(super) fn interface(&mut self, interface: Interface) -> Result<u32, Full> {
        let [first, second] = interface.to_lines();
        let number = self.push(first)?;
        self.push(second)?;
        Ok(number)
    }

    /// All lines, with the root as the first.
    pub(super) fn finish(mut self, root: Root) -> Vec<Line> {
        let root = Root { lines: self.next_line(), ..root };
        self.lines[0] = root.to_line();
        self.lines
    }

    #[cfg(test)]
    pub(super) fn lines(&self) -> &[Line] {
        &self.lines
    }
}

/// The link that ends a search at a rule.
pub(super) fn rule_link(rule: Rule) -> Link {
    Link::value(rule.0)
}

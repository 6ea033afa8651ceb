//! The lines of a generation as they are filled: every equal piece is stored once, and what the array holds already is
//! not stored again.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};
use std::hash::BuildHasher;
use std::ops::Range;

use fw_common::layout::{Line, Link, Root, Rule, head, range};
use rustc_hash::FxBuildHasher;

use super::image::Held;

/// Lines that an array may have: 1 GiB.
const MAX_LINES: u32 = 1 << 24;

/// What is being built does not fit the policy array.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Full;

/// The lines to be written for a generation.
pub(super) struct Heap<'a> {
    held: &'a [Line],
    /// Lines that nobody holds, ascending; the last range goes on behind the array.
    free: Vec<Range<u32>>,
    written: Vec<(u32, Line)>,
    /// Pieces by the hash of their content: where they lie, and in `written` where that is.
    pieces: HashMap<u64, Piece, FxBuildHasher>,
    ranges: HashMap<[u32; 3], Link, FxBuildHasher>,
    /// A line of ranges that is not full yet: its place in `written`, and the next quarter.
    open: Option<(usize, u32)>,
    /// Lines in use of those that were there already.
    shared: u32,
    /// Lines of ranges that were there already and are not in use yet.
    held_ranges: HashSet<u32, FxBuildHasher>,
    limit: u32,
}

#[derive(Clone, Copy)]
struct Piece {
    first: u32,
    at: At,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    /// In the array, and not in use yet.
    Held,
    /// In the array and in use.
    Shared,
    /// At this place in `written`.
    Written(u32),
}

/// What is to be written to the array, and the root that then leads to it.
#[derive(Debug, Clone, Default)]
pub struct Patch {
    /// The line of the root.
    pub root: u32,
    /// Lines by number, ascending.
    pub lines: Vec<(u32, Line)>,
    /// Lines that the array must have.
    pub end: u32,
    /// Lines that the root leads to, itself included.
    pub held: u32,
}

impl Patch {
    /// The whole array, for a patch of an empty one: its first line names the root.
    #[must_use]
    pub fn image(&self) -> Vec<Line> {
        let mut image = vec![Line::default(); self.end as usize];
        image[0].set_word(head::LIVE, self.root);
        for (number, line) in &self.lines {
            image[*number as usize] = *line;
        }
        image
    }

    /// When the generation stops being in force unless it is confirmed, `CLOCK_MONOTONIC`.
    pub fn set_deadline(&mut self, deadline_ns: u64) {
        if let Ok(place) = self.lines.binary_search_by_key(&self.root, |(number, _)| *number) {
            self.lines[place].1.set_long(Root::DEADLINE, deadline_ns);
        }
    }
}

impl<'a> Heap<'a> {
    /// Beside what an array holds, in at most so many lines.
    pub(super) fn beside(held: &'a Held<'_>, limit: usize) -> Self {
        let mut heap = Self {
            held_ranges: held.ranges.iter().map(|(_, link)| link.payload() >> 2).collect(),
            limit: u32::try_from(limit).map_or(MAX_LINES, |limit| limit.min(MAX_LINES)),
            ..Self::sharing(held, 0)
        };
        for piece in &held.pieces {
            let hash = hash(&held.lines[piece.start as usize..piece.end as usize]);
            heap.pieces.entry(hash).or_insert(Piece { first: piece.start, at: At::Held });
        }
        for (words, link) in &held.ranges {
            heap.ranges.entry(*words).or_insert(*link);
        }
        heap
    }

    /// As [`Self::beside`], for a generation that differs little from one that is held and has nearly all its lines: they
    /// are not looked through for equal ones. It is known to use `shared` of them.
    pub(super) fn sharing(held: &'a Held<'_>, shared: u32) -> Self {
        Self {
            held: held.lines,
            free: held.free(MAX_LINES),
            written: Vec::new(),
            pieces: HashMap::default(),
            ranges: HashMap::default(),
            open: None,
            shared,
            held_ranges: HashSet::default(),
            limit: MAX_LINES,
        }
    }

    /// A line that is there already.
    pub(super) fn held(&self, number: u32) -> Option<&'a Line> {
        self.held.get(number as usize)
    }

    /// Lines that the generation takes so far.
    pub(super) fn taken(&self) -> u32 {
        self.written.len() as u32 + self.shared
    }

    /// Lines side by side, the first one's number: those that are there already, if there are any like them.
    pub(super) fn piece(&mut self, lines: &[Line]) -> Result<u32, Full> {
        let hash = hash(lines);
        if let Some(piece) = self.pieces.get(&hash).copied()
            && self.is_at(piece, lines)
        {
            if piece.at == At::Held {
                self.shared += lines.len() as u32;
                self.pieces.insert(hash, Piece { at: At::Shared, ..piece });
            }
            return Ok(piece.first);
        }
        let place = self.written.len() as u32;
        let first = self.put(lines)?;
        // Another piece with this hash keeps it: this one is then just not found again.
        if let Entry::Vacant(vacant) = self.pieces.entry(hash) {
            vacant.insert(Piece { first, at: At::Written(place) });
        }
        Ok(first)
    }

    /// One range of 16-bit keys, its ends included, with the values outside and inside.
    pub(super) fn range(
        &mut self,
        (from, to): (u16, u16),
        outside: Rule,
        inside: Rule,
    ) -> Result<Link, Full> {
        let words = [u32::from(from) | u32::from(to - from) << 16, outside.0, inside.0];
        if let Some(link) = self.ranges.get(&words) {
            let number = link.payload() >> 2;
            if self.held_ranges.remove(&number) {
                self.shared += 1;
            }
            return Ok(*link);
        }
        let (place, quarter) = match self.open {
            Some(open) => open,
            None => {
                self.put(&[Line::default()])?;
                (self.written.len() - 1, 0)
            }
        };
        let (number, line) = &mut self.written[place];
        for (word, value) in (quarter * 4 + range::KEYS..).zip(words) {
            line.set_word(word, value);
        }
        let link = Link::range(*number, quarter);
        self.open = (quarter < 3).then_some((place, quarter + 1));
        self.ranges.insert(words, link);
        Ok(link)
    }

    /// What there is to write. The root's line is never shared: each generation has its own.
    pub(super) fn finish(mut self, root: Root) -> Result<Patch, Full> {
        let number = self.put(&[Line::default()])?;
        let held = self.taken();
        if let Some((_, line)) = self.written.last_mut() {
            *line = Root { lines: held, ..root }.to_line();
        }
        self.written.sort_unstable_by_key(|(number, _)| *number);
        // Where the last free range begins: behind all that is held or written.
        let end = self.free.last().map_or(MAX_LINES, |free| free.start);
        Ok(Patch { root: number, lines: self.written, end, held })
    }

    fn put(&mut self, lines: &[Line]) -> Result<u32, Full> {
        let count = lines.len() as u32;
        let place = self.free.iter().position(|free| free.end - free.start >= count).ok_or(Full)?;
        let first = self.free[place].start;
        if self.taken().saturating_add(count) > self.limit {
            return Err(Full);
        }
        self.free[place].start += count;
        if self.free[place].is_empty() {
            self.free.remove(place);
        }
        self.written.extend((first..).zip(lines.iter().copied()));
        Ok(first)
    }

    fn is_at(&self, piece: Piece, lines: &[Line]) -> bool {
        match piece.at {
            At::Written(place) => {
                let there = self.written[place as usize..].iter().map(|(_, line)| line);
                there.zip(lines).all(|(there, line)| there == line)
                    && self.written.len() - place as usize >= lines.len()
            }
            At::Held | At::Shared => {
                let first = piece.first as usize;
                self.held.get(first..first + lines.len()) == Some(lines)
            }
        }
    }
}

fn hash(lines: &[Line]) -> u64 {
    FxBuildHasher.hash_one(lines)
}

/// The link that ends a search at a rule.
pub(super) fn rule_link(rule: Rule) -> Link {
    Link::value(rule.0)
}

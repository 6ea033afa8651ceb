//! Two generations, set against each other: for which remote addresses what passes now that did not, and the other way
//! round. Both partition the remote addresses into classes; the common refinement of both partitions has one verdict per
//! key on either side.

use std::rc::Rc;

use fw_common::Direction;
use fw_common::address::Family;
use rustc_hash::FxHashMap;

use super::ends::{self, Ends, Intervals, Local, MAPPED};
use super::keys::{KeySets, Row};
use super::regions;
use super::shared::{Shape, Shared};
use crate::compile::{CompileError, Filter, Flattened, ListId, Passing};

/// Remote addresses for which the same keys change their verdict.
#[derive(Clone, Copy)]
pub(super) struct Cell {
    pub(super) first: u128,
    pub(super) last: u128,
    /// Keys that pass now and did not before.
    pub(super) opened: Row,
    /// Keys that passed before and do not now.
    pub(super) closed: Row,
}

/// The change for some addresses of the interface's end.
pub(super) struct Changed {
    pub(super) local: Intervals,
    pub(super) shapes: Rc<[Rc<Shape>]>,
}

/// The lists behind a verdict, and whether the interface's end lies inside its subnet.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Lists {
    family: usize,
    services: Option<ListId>,
    acl: Option<ListId>,
    groups: Option<ListId>,
    inside: bool,
}

/// What is kept of lists and comparisons that others may share; when it gets too large, all is forgotten.
const KEPT: usize = 1 << 24;

/// An old and a new generation.
pub(super) struct Comparison<'g> {
    sides: [&'g Flattened; 2],
    keys: KeySets,
    shared: &'g mut Shared,
    passing: FxHashMap<(usize, ListId, usize), Rc<Passing>>,
    inside: FxHashMap<(usize, ListId, usize), Rc<Intervals>>,
    shapes: FxHashMap<[Option<Lists>; 2], Rc<[Rc<Shape>]>>,
    kept: usize,
    /// By family, from which remote address on which class on either side.
    refinement: [Vec<(u128, [u32; 2])>; 2],
}

impl<'g> Comparison<'g> {
    pub(super) fn new(old: &'g Flattened, new: &'g Flattened, shared: &'g mut Shared) -> Self {
        Self {
            sides: [old, new],
            keys: KeySets::new(),
            shared,
            passing: FxHashMap::default(),
            inside: FxHashMap::default(),
            shapes: FxHashMap::default(),
            kept: 0,
            refinement: [0, 1].map(|family| refined(old.steps(family), new.steps(family))),
        }
    }

    /// What changes at an interface, by addresses of its end; and which of those the source/destination check lets
    /// through on both sides.
    pub(super) fn changed(
        &mut self,
        filters: [&Filter; 2],
        direction: Direction,
        family: Family,
    ) -> Result<(Intervals, Vec<Changed>), CompileError> {
        let number = number(family);
        let mut ends = Vec::with_capacity(2);
        for (side, filter) in filters.into_iter().enumerate() {
            let inside = match filter.acl[place(direction)] {
                Some(acl) => self.inside(side, acl, number)?,
                None => Rc::default(),
            };
            ends.push(Ends::new(filter, direction, family, inside));
        }
        let (mut usual, mut changed) = (Vec::new(), Vec::new());
        for (local, intervals) in Ends::told_apart(&ends, family) {
            if local.iter().all(|local| !local.is_foreign) {
                usual.extend(&intervals);
            }
            let lists = [0, 1].map(|side| lists(filters[side], direction, number, local[side]));
            let shapes = self.shapes(lists, family)?;
            if !shapes.is_empty() {
                changed.push(Changed { local: intervals, shapes });
            }
        }
        Ok((ends::merged(usual), changed))
    }

    /// Addresses inside a subnet.
    fn inside(&mut self, side: usize, acl: ListId, family: usize) -> Result<Rc<Intervals>, CompileError> {
        if let Some(known) = self.inside.get(&(side, acl, family)) {
            return Ok(Rc::clone(known));
        }
        let passing = self.passing(side, acl, family)?;
        let steps = self.sides[side].steps(family);
        self.shared.walk(steps.len());
        let ends = steps.iter().skip(1).map(|(next, _)| next - 1).chain([last(family)]);
        let mut inside: Intervals = Vec::new();
        for ((first, class), last) in steps.iter().zip(ends) {
            if !passing.row_of_class[*class as usize].1 {
                continue;
            }
            match inside.last_mut() {
                Some(before) if before.1 + 1 == *first => before.1 = last,
                _ => inside.push((*first, last)),
            }
        }
        let inside = Rc::new(inside);
        self.keep(inside.len());
        self.inside.insert((side, acl, family), Rc::clone(&inside));
        Ok(inside)
    }

    fn passing(&mut self, side: usize, list: ListId, family: usize) -> Result<Rc<Passing>, CompileError> {
        if let Some(known) = self.passing.get(&(side, list, family)) {
            return Ok(Rc::clone(known));
        }
        let keys = &mut self.keys;
        let passing = self.sides[side].passing(list, family, &mut |ranges| keys.number(ranges))?;
        let passing = Rc::new(passing);
        self.keep(passing.row_of_class.len() + passing.rows.len());
        self.passing.insert((side, list, family), Rc::clone(&passing));
        Ok(passing)
    }

    fn keep(&mut self, more: usize) {
        self.kept += more;
        if self.kept > KEPT {
            self.passing.clear();
            self.inside.clear();
            self.shapes.clear();
            self.kept = more;
        }
    }

    /// By class of a side what passes; `None` for what the source/destination check drops.
    fn verdicts(
        &mut self,
        side: usize,
        lists: Option<Lists>,
        family: Family,
    ) -> Result<Vec<Row>, CompileError> {
        let number = number(family);
        let Some(lists) = lists else {
            let classes = self.sides[side].steps(number).iter().map(|(_, class)| *class).max().unwrap_or(0);
            return Ok(vec![KeySets::NOTHING; classes as usize + 1]);
        };
        let mut asked = Vec::with_capacity(3);
        for list in [lists.services, lists.acl, lists.groups] {
            asked.push(list.map(|list| self.passing(side, list, number)).transpose()?);
        }
        let classes = self.sides[side].steps(number).iter().map(|(_, class)| *class).max().unwrap_or(0);
        let openings = self.keys.openings(family);
        // By rows of all lists: few classes differ in all of them.
        let mut known: FxHashMap<[(u32, bool); 3], Row> = FxHashMap::default();
        let mut verdicts = Vec::with_capacity(classes as usize + 1);
        for class in 0..=classes as usize {
            let rows = [0, 1, 2].map(|list: usize| {
                asked[list].as_ref().map_or((0, false), |passing| passing.row_of_class[class])
            });
            let verdict = match known.get(&rows) {
                Some(verdict) => *verdict,
                None => {
                    let row = |list: usize, nothing_said: Row| match &asked[list] {
                        Some(passing) => passing.rows[rows[list].0 as usize].unwrap_or(KeySets::NOTHING),
                        None => nothing_said,
                    };
                    let services = self.keys.and(row(0, KeySets::NOTHING), openings);
                    let stays_inside = lists.inside && rows[1].1;
                    let acl = if stays_inside { KeySets::EVERYTHING } else { row(1, KeySets::EVERYTHING) };
                    let both = self.keys.and(acl, row(2, KeySets::EVERYTHING));
                    let verdict = self.keys.or(both, services);
                    known.insert(rows, verdict);
                    verdict
                }
            };
            verdicts.push(verdict);
        }
        Ok(verdicts)
    }

    /// What changes between lists, as few shapes as there are.
    fn shapes(&mut self, lists: [Option<Lists>; 2], family: Family) -> Result<Rc<[Rc<Shape>]>, CompileError> {
        if let Some(known) = self.shapes.get(&lists) {
            return Ok(Rc::clone(known));
        }
        let cells = self.cells(lists, family)?;
        let shapes: Rc<[Rc<Shape>]> = regions::shapes(&cells, family, &mut self.keys, self.shared).into();
        self.keep(shapes.len() + 1);
        self.shapes.insert(lists, Rc::clone(&shapes));
        Ok(shapes)
    }

    fn cells(&mut self, lists: [Option<Lists>; 2], family: Family) -> Result<Vec<Cell>, CompileError> {
        let [old, new] = [self.verdicts(0, lists[0], family)?, self.verdicts(1, lists[1], family)?];
        let possible = self.keys.possible(family);
        let number = number(family);
        self.shared.walk(self.refinement[number].len());
        let mut cells: Vec<Cell> = Vec::new();
        let mut steps = self.refinement[number].iter().peekable();
        while let Some((first, classes)) = steps.next() {
            let (before, after) = (old[classes[0] as usize], new[classes[1] as usize]);
            if before == after {
                continue;
            }
            let last = steps.peek().map_or(last(number), |(next, _)| next - 1);
            // Dropped whatever the rules say.
            if family == Family::V6 && MAPPED.0 <= *first && last <= MAPPED.1 {
                continue;
            }
            let opened = self.keys.without(after, before);
            let opened = self.keys.and(opened, possible);
            let closed = self.keys.without(before, after);
            let closed = self.keys.and(closed, possible);
            if opened == KeySets::NOTHING && closed == KeySets::NOTHING {
                continue;
            }
            match cells.last_mut() {
                Some(cell) if (cell.opened, cell.closed) == (opened, closed) && cell.last + 1 == *first => {
                    cell.last = last;
                }
                _ => cells.push(Cell { first: *first, last, opened, closed }),
            }
        }
        Ok(cells)
    }
}

fn lists(filter: &Filter, direction: Direction, family: usize, local: Local) -> Option<Lists> {
    if local.is_foreign {
        return None;
    }
    let place = place(direction);
    // What comes in from a service is the reply of a connection, or like anything else.
    let services = filter.services.filter(|_| direction == Direction::Egress);
    let (acl, groups) = (filter.acl[place], filter.groups[place]);
    Some(Lists { family, services, acl, groups, inside: local.is_inside })
}

/// Where both say the same class each.
fn refined(old: &[(u128, u32)], new: &[(u128, u32)]) -> Vec<(u128, [u32; 2])> {
    let mut refined = Vec::with_capacity(old.len() + new.len());
    let (mut i, mut j) = (0, 0);
    // Both begin at address 0.
    while let (Some(one), Some(other)) = (old.get(i), new.get(j)) {
        refined.push((one.0.max(other.0), [one.1, other.1]));
        let next = |steps: &[(u128, u32)], at: usize| steps.get(at + 1).map(|(first, _)| *first);
        match (next(old, i), next(new, j)) {
            (Some(one), Some(other)) => {
                i += usize::from(one <= other);
                j += usize::from(other <= one);
            }
            (Some(_), None) => i += 1,
            (None, Some(_)) => j += 1,
            (None, None) => break,
        }
    }
    refined
}

fn last(family: usize) -> u128 {
    if family == 0 { u128::from(u32::MAX) } else { u128::MAX }
}

fn number(family: Family) -> usize {
    match family {
        Family::V4 => 0,
        Family::V6 => 1,
    }
}

fn place(direction: Direction) -> usize {
    match direction {
        Direction::Ingress => 0,
        Direction::Egress => 1,
    }
}

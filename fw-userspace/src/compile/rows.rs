//! Rows: for each address class, what the entries of a list say that match it.
//!
//! A class lies in a union of sets, which is a smaller union and one set more: its row is the row of the smaller one
//! with what the set adds laid over it. Rows multiply with what is in them, so both memory and work are bounded.

use std::cmp::Reverse;
use std::collections::HashMap;

use fw_common::layout::{Column, Line, Link, RowTable, Rule};

use super::book::List;
use super::classes::Classes;
use super::columns::{ColumnId, Columns, Piece, Span};
use super::entry::{Entry, EntryId, ListKind, keys};
use super::heap::{Full, Heap, rule_link};
use super::layers::{LayerId, Layers};
use super::sources::EntrySets;
use super::tree::{self, Step, push_step};

const COLUMNS: [Column; 4] = [Column::Tcp, Column::Udp, Column::Icmp, Column::Other];

/// Pieces that are looked at for all tables together: some seconds.
const MAX_WORK: u64 = 1 << 30;

/// Place of a row in [`Rows`]; 0 is the one in which nothing matches.
type RowId = u32;

/// Builds row tables; equal columns, rows and tables are one.
pub(super) struct Tables<'a> {
    entries: &'a [Entry],
    sets: &'a EntrySets,
    classes: &'a [Classes; 2],
    max_bytes: u64,
    work: u64,
}

/// A table that is too large, or too much work.
pub(super) struct Blowup {
    /// What the tables would take, as far as can be told from what was built.
    pub(super) bytes: u64,
    /// Sets of addresses that the list tells apart, so far.
    pub(super) rows: usize,
    /// The entries of the set that has the most.
    pub(super) widest: Vec<EntryId>,
}

impl<'a> Tables<'a> {
    /// `max_bytes` is what a table may take while it is being built.
    pub(super) fn new(
        entries: &'a [Entry],
        sets: &'a EntrySets,
        classes: &'a [Classes; 2],
        max_bytes: u64,
    ) -> Self {
        Self { entries, sets, classes, max_bytes, work: 0 }
    }

    /// The table of a list for a family, 0 for IPv4, 1 for IPv6.
    pub(super) fn table(
        &mut self,
        heap: &mut Heap<'_>,
        list: &List,
        family: usize,
    ) -> Result<RowTable, Blowup> {
        let classes = &self.classes[family];
        let layers = Layers::of(self.sets, list);
        let before = heap_bytes(heap);
        let Found { mut rows, row_of, is_inside } = self.find(list, &layers, family, before)?;
        let mut table = Vec::with_capacity(classes.len());
        for union in classes.of_class() {
            let row = rows.write(heap, row_of[*union as usize]);
            let taken = heap_bytes(heap);
            let row = row.map_err(|Full| rows.blowup(before, taken, table.len(), classes.len()))?;
            table.push(if is_inside[*union as usize] { row.map(Link::inside) } else { row });
        }
        let work = rows.work;
        let row_bytes = (table.len() as u64 + u64::from(RowTable::FIXED)) * size_of::<[Link; 4]>() as u64;
        let table = lay_out(heap, &table).map_err(|Full| {
            let taken = heap_bytes(heap);
            Blowup { bytes: taken.saturating_add(row_bytes), ..rows.blowup(before, taken, 1, 1) }
        })?;
        self.work = work;
        Ok(table)
    }

    /// What a list lets pass in a family. `keep` is given sets of keys, as merged ranges, and numbers them.
    pub(super) fn passing(
        &mut self,
        list: &List,
        family: usize,
        keep: &mut dyn FnMut(Vec<(u16, u16)>) -> u32,
    ) -> Result<Passing, Blowup> {
        let layers = Layers::of(self.sets, list);
        let Found { rows, row_of, is_inside } = self.find(list, &layers, family, 0)?;
        let mut of_column: Vec<Option<u32>> = vec![None; rows.columns.len()];
        let mut passing = Passing {
            row_of_class: Vec::with_capacity(self.classes[family].len()),
            rows: vec![None; rows.rows.len()],
        };
        for union in self.classes[family].of_class() {
            let row = row_of[*union as usize];
            passing.row_of_class.push((row, is_inside[*union as usize]));
            passing.rows[row as usize].get_or_insert_with(|| {
                rows.rows[row as usize].map(|column| {
                    *of_column[column as usize].get_or_insert_with(|| keep(rows.allowed(column)))
                })
            });
        }
        Ok(passing)
    }

    /// By union of sets its row, and whether it lies inside the subnet. `before` is what the heap has taken.
    fn find<'l>(
        &self,
        list: &'l List,
        layers: &'l Layers,
        family: usize,
        before: u64,
    ) -> Result<Found<'l>, Blowup>
    where
        'a: 'l,
    {
        let unions = self.classes[family].unions();
        let mut rows = Rows::new(self, list, layers, family);
        let mut row_of: Vec<RowId> = vec![0];
        let mut is_inside = vec![false];
        for (less, set) in unions.iter() {
            let below = row_of[less as usize];
            let row = match layers.of_set(set) {
                Some(layer) => rows.with(below, layer),
                None => Ok(below),
            };
            row_of.push(row.map_err(|Full| rows.blowup(before, before, row_of.len(), unions.len()))?);
            is_inside.push(is_inside[less as usize] || list.inside == Some(set));
        }
        Ok(Found { rows, row_of, is_inside })
    }
}

/// What a list lets pass.
pub(crate) struct Passing {
    /// By address class its row, and whether it lies inside the subnet.
    pub(crate) row_of_class: Vec<(u32, bool)>,
    /// By row, for each [`Column`] the set of keys that pass; of rows that no class has, nothing.
    pub(crate) rows: Vec<Option<[u32; 4]>>,
}

/// The rows of a list before they are written.
struct Found<'l> {
    rows: Rows<'l>,
    row_of: Vec<RowId>,
    is_inside: Vec<bool>,
}

fn heap_bytes(heap: &Heap<'_>) -> u64 {
    u64::from(heap.taken()) * size_of::<Line>() as u64
}

/// See [`RowTable`].
fn lay_out(heap: &mut Heap<'_>, rows: &[[Link; 4]]) -> Result<RowTable, Full> {
    const SHARED: usize = RowTable::SHARED as usize;
    let common = most_common(rows);
    let others = rows.get(SHARED..).unwrap_or_default();
    let first = others.iter().position(|row| *row != common).unwrap_or(0);
    let end = others.iter().rposition(|row| *row != common).map_or(first, |last| last + 1);
    let shared = (0..SHARED).map(|class| rows.get(class).copied().unwrap_or(common));
    let listed: Vec<[Link; 4]> =
        std::iter::once(common).chain(shared).chain(others[first..end].iter().copied()).collect();
    let lines: Vec<Line> = listed
        .chunks(4)
        .map(|four| {
            let mut line = Line::default();
            for (word, link) in (0..).zip(four.as_flattened()) {
                line.set_word(word, link.0);
            }
            line
        })
        .collect();
    let line = heap.piece(&lines)?;
    Ok(RowTable { line, first: (SHARED + first) as u32, count: (end - first) as u32 })
}

/// Of equally many the first, so that the same rules always give the same lines.
fn most_common(rows: &[[Link; 4]]) -> [Link; 4] {
    let mut counts: HashMap<[u32; 4], (u32, Reverse<usize>)> = HashMap::new();
    for (place, row) in rows.iter().enumerate() {
        counts.entry(row.map(|link| link.0)).or_insert((0, Reverse(place))).0 += 1;
    }
    counts.into_values().max().map_or(rows[0], |(_, Reverse(place))| rows[place])
}

/// The rows of one list for one family as they are found.
struct Rows<'l> {
    entries: &'l [Entry],
    list: &'l List,
    layers: &'l Layers,
    family: usize,
    rows: Vec<[ColumnId; 4]>,
    columns: Columns,
    of_layer: Vec<Option<RowId>>,
    combined: HashMap<(RowId, RowId), RowId>,
    max_pieces: u64,
    work: u64,
    /// Where columns and rows lie, once written.
    links: Vec<Option<Link>>,
    written: Vec<Option<[Link; 4]>>,
    /// Of the column at hand.
    spans: Vec<Span>,
    steps: Vec<Step>,
}

impl<'l> Rows<'l> {
    fn new(tables: &Tables<'l>, list: &'l List, layers: &'l Layers, family: usize) -> Self {
        Self {
            entries: tables.entries,
            list,
            layers,
            family,
            rows: vec![[0; 4]],
            columns: Columns::new(),
            of_layer: vec![None; layers.len()],
            combined: HashMap::new(),
            max_pieces: tables.max_bytes / size_of::<Piece>() as u64,
            work: tables.work,
            links: Vec::new(),
            written: Vec::new(),
            spans: Vec::new(),
            steps: Vec::new(),
        }
    }

    fn bytes(&self) -> u64 {
        self.columns.pieces() * size_of::<Piece>() as u64
    }

    /// With `done` of `of` built, what all will take; the heap had taken `before` bytes and has now `taken`.
    fn blowup(&self, before: u64, taken: u64, done: usize, of: usize) -> Blowup {
        let part = (taken - before).max(self.bytes());
        let bytes = before + (part as f64 * of as f64 / done.max(1) as f64) as u64;
        Blowup { bytes, rows: self.rows.len(), widest: self.layers.widest(self.list) }
    }

    /// The keys of a column that pass, as merged ranges.
    fn allowed(&self, column: ColumnId) -> Vec<(u16, u16)> {
        let pieces = self.columns.get(column);
        let ends = pieces[1..].iter().map(|next| next.from - 1).chain([0xffff]);
        let mut allowed: Vec<(u16, u16)> = Vec::new();
        for (piece, to) in pieces.iter().zip(ends) {
            if !self.rule(*piece, false).allows() {
                continue;
            }
            match allowed.last_mut() {
                Some(last) if last.1.checked_add(1) == Some(piece.from) => last.1 = to,
                _ => allowed.push((piece.from, to)),
            }
        }
        allowed
    }

    /// The row of addresses that `below` matches and that lie in the set of a layer too.
    fn with(&mut self, below: RowId, layer: LayerId) -> Result<RowId, Full> {
        let above = self.layer(layer)?;
        if below == 0 {
            return Ok(above);
        }
        if let Some(row) = self.combined.get(&(below, above)) {
            return Ok(*row);
        }
        let mut columns = self.rows[below as usize];
        for (below, above) in columns.iter_mut().zip(self.rows[above as usize]) {
            let before = self.columns.pieces();
            *below = self.columns.over(*below, above);
            let looked_at = self.columns.get(above).len() as u64;
            self.spend(self.columns.pieces() - before + looked_at)?;
        }
        let row = if columns == self.rows[below as usize] { below } else { self.add_row(columns) };
        self.combined.insert((below, above), row);
        Ok(row)
    }

    /// The row of addresses in the set of a layer alone.
    fn layer(&mut self, layer: LayerId) -> Result<RowId, Full> {
        if let Some(row) = self.of_layer[layer as usize] {
            return Ok(row);
        }
        let is_acl = matches!(self.list.kind, ListKind::Acl { .. });
        let mut columns = [0; 4];
        for (id, column) in columns.iter_mut().zip(COLUMNS) {
            self.spans.clear();
            for place in self.layers.places(layer) {
                let entry = &self.entries[self.list.entries[place as usize] as usize];
                if let Some((from, to)) = keys(entry.traffic, self.family, column, is_acl) {
                    self.spans.push(Span { from, to, place, is_open: entry.is_open[self.family] });
                }
            }
            if !self.spans.is_empty() {
                *id = self.columns.add(&mut self.spans);
                self.spend(self.columns.get(*id).len() as u64)?;
            }
        }
        let row = self.add_row(columns);
        self.of_layer[layer as usize] = Some(row);
        Ok(row)
    }

    fn add_row(&mut self, columns: [ColumnId; 4]) -> RowId {
        self.rows.push(columns);
        (self.rows.len() - 1) as RowId
    }

    fn spend(&mut self, work: u64) -> Result<(), Full> {
        self.work += work;
        if self.columns.pieces() > self.max_pieces || self.work > MAX_WORK { Err(Full) } else { Ok(()) }
    }

    /// A row's links; what they lead to is written the first time.
    fn write(&mut self, heap: &mut Heap<'_>, row: RowId) -> Result<[Link; 4], Full> {
        self.written.resize(self.rows.len(), None);
        if let Some(links) = self.written[row as usize] {
            return Ok(links);
        }
        let mut links = [Link::value(0); 4];
        for ((link, column), id) in links.iter_mut().zip(COLUMNS).zip(self.rows[row as usize]) {
            *link = self.write_column(heap, column, id)?;
        }
        self.written[row as usize] = Some(links);
        Ok(links)
    }

    fn write_column(&mut self, heap: &mut Heap<'_>, column: Column, id: ColumnId) -> Result<Link, Full> {
        self.links.resize(self.columns.len(), None);
        if let Some(link) = self.links[id as usize] {
            return Ok(link);
        }
        let untracks = self.list.responses.allowed(column, self.family);
        let mut steps = std::mem::take(&mut self.steps);
        steps.clear();
        for piece in self.columns.get(id) {
            let link = rule_link(self.rule(*piece, untracks));
            push_step(&mut steps, u128::from(piece.from), link.payload());
        }
        let link = tree::keys(heap, &steps);
        self.steps = steps;
        let link = link?;
        self.links[id as usize] = Some(link);
        Ok(link)
    }

    /// `untracks`: flows that an open rule admits are not tracked here.
    fn rule(&self, piece: Piece, untracks: bool) -> Rule {
        if piece.place == Piece::NO_PLACE {
            return match self.list.kind {
                ListKind::Acl { implicit_slot } => Rule::implicit_deny(implicit_slot),
                ListKind::Groups => Rule::NONE,
            };
        }
        let rule = self.entries[self.list.entries[piece.place as usize] as usize].rule;
        let untracked = rule.allows() && untracks && piece.is_open;
        Rule::new(rule.allows(), untracked, rule.is_reserved(), rule.slot())
    }
}

//! Rows: for each address class, what the entries of a list say that match it.

use std::collections::HashMap;

use fw_common::layout::{Line, Link, RowTable};

use super::book::List;
use super::classes::{Classes, SetId};
use super::columns;
use super::entry::Entry;
use super::heap::{Full, Heap};
use super::tree::Step;

/// Builds row tables; equal columns, rows and tables are one.
pub(super) struct Tables<'a> {
    entries: &'a [Entry],
    classes: &'a [Classes; 2],
    columns: HashMap<Vec<Step>, Link>,
}

impl<'a> Tables<'a> {
    pub(super) fn new(entries: &'a [Entry], classes: &'a [Classes; 2]) -> Self {
        Self { entries, classes, columns: HashMap::new() }
    }

    /// The table of a list for a family, 0 for IPv4, 1 for IPv6.
    pub(super) fn table(
        &mut self,
        heap: &mut Heap<'_>,
        list: &List,
        family: usize,
    ) -> Result<RowTable, Full> {
        let mut places: HashMap<SetId, Vec<u32>> = HashMap::new();
        for (place, entry) in (0..).zip(&list.entries) {
            for set in &self.entries[*entry as usize].sets {
                places.entry(*set).or_default().push(place);
            }
        }
        // Classes that the list does not tell apart share their row.
        let mut known: HashMap<Vec<SetId>, [Link; 4]> = HashMap::new();
        let classes = &self.classes[family];
        let mut rows = Vec::with_capacity(classes.len());
        let mut seen = Vec::new();
        for members in classes.members() {
            seen.clear();
            seen.extend(members.iter().copied().filter(|set| places.contains_key(set)));
            let row = match known.get(&seen) {
                Some(row) => *row,
                None => {
                    let row = self.row(heap, list, family, &places, &seen)?;
                    known.insert(seen.clone(), row);
                    row
                }
            };
            let is_inside = list.inside.is_some_and(|inside| members.binary_search(&inside).is_ok());
            rows.push(if is_inside { row.map(Link::inside) } else { row });
        }
        lay_out(heap, &rows)
    }

    fn row(
        &mut self,
        heap: &mut Heap<'_>,
        list: &List,
        family: usize,
        places: &HashMap<SetId, Vec<u32>>,
        sets: &[SetId],
    ) -> Result<[Link; 4], Full> {
        let mut matching: Vec<u32> =
            sets.iter().filter_map(|set| places.get(set)).flatten().copied().collect();
        matching.sort_unstable();
        matching.dedup();
        let entries: Vec<(u32, &Entry)> = matching
            .into_iter()
            .map(|place| (place, &self.entries[list.entries[place as usize] as usize]))
            .collect();
        columns::row(heap, &mut self.columns, &entries, list.kind, family, list.responses)
    }
}

/// The row of class 0, for all that it serves too, and behind it those of the classes between the first and the last
/// that have another.
fn lay_out(heap: &mut Heap<'_>, rows: &[[Link; 4]]) -> Result<RowTable, Full> {
    let common = rows[0];
    let first = rows.iter().position(|row| *row != common).unwrap_or(0);
    let end = rows.iter().rposition(|row| *row != common).map_or(first, |last| last + 1);
    let listed: Vec<[Link; 4]> = std::iter::once(common).chain(rows[first..end].iter().copied()).collect();
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
    Ok(RowTable { line, first: first as u32, count: (end - first) as u32 })
}

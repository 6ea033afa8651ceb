//! The first match of an ordered list, flattened: which entry decides at each key of a column.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use fw_common::layout::{Column, Link, Rule};

use super::entry::{Entry, ListKind, keys};
use super::heap::{Full, Heap, rule_link};
use super::tracking::Responses;
use super::tree::{self, Step, push_step};

const COLUMNS: [Column; 4] = [Column::Tcp, Column::Udp, Column::Icmp, Column::Other];

/// An entry of a column: its keys, its place in the list, what it says.
struct Span {
    from: u16,
    to: u16,
    place: u32,
    rule: Rule,
    is_open: bool,
}

/// The row of the entries that match an address, in their order; `family` is 0 for IPv4, 1 for IPv6. `trees` keeps
/// what was built before: equal columns of different rows are the rule, not the exception.
pub(super) fn row(
    heap: &mut Heap<'_>,
    trees: &mut HashMap<Vec<Step>, Link>,
    entries: &[(u32, &Entry)],
    kind: ListKind,
    family: usize,
    responses: Responses,
) -> Result<[Link; 4], Full> {
    let mut links = [Link::value(0); 4];
    for (link, column) in links.iter_mut().zip(COLUMNS) {
        let spans: Vec<Span> = spans(entries, kind, family, column);
        let steps = flatten(spans, kind, responses.allowed(column, family));
        *link = match trees.get(&steps) {
            Some(link) => *link,
            None => {
                let link = tree::keys(heap, &steps)?;
                trees.insert(steps, link);
                link
            }
        };
    }
    Ok(links)
}

fn spans(entries: &[(u32, &Entry)], kind: ListKind, family: usize, column: Column) -> Vec<Span> {
    let is_acl = matches!(kind, ListKind::Acl { .. });
    entries
        .iter()
        .filter_map(|(place, entry)| {
            let (from, to) = keys(entry.traffic, family, column, is_acl)?;
            Some(Span { from, to, place: *place, rule: entry.rule, is_open: entry.is_open[family] })
        })
        .collect()
}

/// From which key on which rule decides. `untracks`: flows that an open rule admits are not tracked here.
fn flatten(mut spans: Vec<Span>, kind: ListKind, untracks: bool) -> Vec<Step> {
    spans.sort_unstable_by_key(|span| (span.from, span.place));
    let mut borders: Vec<u32> = vec![0];
    for span in &spans {
        borders.extend([u32::from(span.from), u32::from(span.to) + 1]);
    }
    borders.sort_unstable();
    borders.dedup();
    let mut starting = spans.iter().peekable();
    let mut covering: BinaryHeap<Reverse<(u32, u16, u32)>> = BinaryHeap::new();
    let mut open_until: Option<u16> = None;
    let mut steps = Vec::new();
    for border in borders {
        if border > 0xffff {
            break;
        }
        while let Some(span) = starting.next_if(|span| u32::from(span.from) <= border) {
            covering.push(Reverse((span.place, span.to, span.rule.0)));
            if span.is_open {
                open_until = open_until.max(Some(span.to));
            }
        }
        while covering.peek().is_some_and(|Reverse((_, to, _))| u32::from(*to) < border) {
            covering.pop();
        }
        let is_open = open_until.is_some_and(|to| u32::from(to) >= border);
        let rule = match (covering.peek(), kind) {
            (Some(Reverse((_, _, rule))), _) => with_tracking(Rule(*rule), untracks && is_open),
            (None, ListKind::Acl { implicit_slot }) => Rule::implicit_deny(implicit_slot),
            (None, ListKind::Groups) => Rule::NONE,
        };
        push_step(&mut steps, u128::from(border), rule_link(rule).payload());
    }
    steps
}

fn with_tracking(rule: Rule, untracked: bool) -> Rule {
    Rule::new(rule.allows(), rule.allows() && untracked, rule.is_reserved(), rule.slot())
}

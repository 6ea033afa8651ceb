//! The entries of one direction of a network ACL and one family, as rectangles: addresses by traffic.

use std::ops::Range;

use super::axis::{Family, Span, span};
use super::trie::Prefix;
use crate::model::{AclEntry, Action};

/// One entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) number: u16,
    pub(super) action: Action,
    pub(super) prefix: Prefix,
    pub(super) span: Span,
}

/// Those of one family, sorted by number.
pub(super) fn entries(list: &[AclEntry], family: Family) -> Vec<Entry> {
    let of_family = |entry: &&AclEntry| entry.cidr.addr().is_ipv4() == (family == Family::Ipv4);
    let entry = |entry: &AclEntry| Entry {
        number: entry.rule_number,
        action: entry.action,
        prefix: Prefix::of(entry.cidr),
        span: span(entry.traffic, family),
    };
    list.iter().filter(of_family).map(entry).collect()
}

/// The traffic axis cut at every border of some spans: places that no span tells apart are one.
#[derive(Debug)]
pub(super) struct Places(Vec<u32>);

impl Places {
    pub(super) fn of(spans: impl Iterator<Item = Span>) -> Self {
        let mut cuts: Vec<u32> = spans.flat_map(|span| [span.from, span.to + 1]).collect();
        cuts.sort_unstable();
        cuts.dedup();
        Self(cuts)
    }

    pub(super) fn count(&self) -> usize {
        self.0.len().saturating_sub(1)
    }

    /// The places of one of those spans.
    pub(super) fn range(&self, span: Span) -> Range<usize> {
        let place = |cut: u32| self.0.partition_point(|other| *other < cut);
        place(span.from)..place(span.to + 1)
    }
}

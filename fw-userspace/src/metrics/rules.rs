//! What each rule has counted: as many series as there are rules, up to a limit.

use std::collections::hash_map::Entry;
use std::fmt;

use prometheus_client::registry::Unit;
use rustc_hash::FxHashMap;

use super::families::{Families, Label};
use crate::report::RuleStats;

/// So many rules have series of their own, two each: the first ones of the file. A scrape of all takes 4 MB.
pub const MAX_RULES: usize = 20_000;

/// What is told of a rule, and what it has counted.
type Row<'a> = ([Label<'a>; 4], [u64; 2]);

pub(super) fn encode(families: &mut Families<'_>, rules: &[RuleStats]) -> fmt::Result {
    let (rows, left_out) = rows(rules, MAX_RULES);
    let of = |which: usize| rows.iter().map(move |(labels, counted)| (*labels, counted[which]));
    families.counter(
        "fwctl_rule_packets",
        "Of a group's rule first packets of connections, and packets that no connection answered for; of an ACL's \
         entry every packet that it denies, or lets on and that passes",
        None,
        of(0),
    )?;
    families.counter(
        "fwctl_rule",
        "Bytes of these packets, from the link-layer header on",
        Some(&Unit::Bytes),
        of(1),
    )?;
    families.gauge(
        "fwctl_rules_without_series",
        "Rules in force that have no series of their own because there are too many",
        None,
        [([], left_out as u64)],
    )
}

/// The first so many rules, each name once, and how many are left out. What has the same name counts together: the ACL
/// that AWS makes and one that is called `default`.
fn rows(rules: &[RuleStats], most: usize) -> (Vec<Row<'_>>, usize) {
    let mut places: FxHashMap<(&str, &str, &str, &str), usize> = FxHashMap::default();
    let mut rows: Vec<Row<'_>> = Vec::with_capacity(rules.len().min(most));
    let mut left_out = 0;
    for rule in rules {
        let RuleStats { kind, id, direction, rule: name, packets, bytes, .. } = rule;
        match places.entry((kind, id, direction, name)) {
            Entry::Occupied(place) => {
                let (_, counted) = &mut rows[*place.get()];
                *counted = [counted[0] + packets, counted[1] + bytes];
            }
            Entry::Vacant(_) if rows.len() == most => left_out += 1,
            Entry::Vacant(place) => {
                place.insert(rows.len());
                let labels = [("kind", *kind), ("id", id), ("direction", direction), ("rule", name)];
                rows.push((labels, [*packets, *bytes]));
            }
        }
    }
    (rows, left_out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(id: &str, rule: &str, packets: u64) -> RuleStats {
        RuleStats {
            kind: "network_acl",
            id: id.to_owned(),
            direction: "ingress",
            rule: rule.to_owned(),
            description: None,
            packets,
            bytes: packets * 100,
        }
    }

    #[test]
    fn the_first_have_series_and_each_name_has_one() {
        let rules =
            [rule("default", "*", 1), rule("a", "100", 2), rule("default", "*", 4), rule("a", "*", 8)];
        let (rows, left_out) = rows(&rules, 2);
        let counted: Vec<_> =
            rows.iter().map(|(labels, counted)| (labels[1].1, labels[3].1, *counted)).collect();
        assert_eq!(counted, [("default", "*", [5, 500]), ("a", "100", [2, 200])]);
        assert_eq!(left_out, 1);
    }
}

//! What differs as it is written: objects by their names, rules by their ids, entries by their numbers. The order of
//! rules in a group changes no verdict and is not looked at.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::report::{ObjectChange, PartChange};
use super::words::{self, Words};
use crate::model::{AclEntry, GroupRule, Interface, NetworkAcl, Policy, PrefixList, SecurityGroup, Subnet};

/// All differences, sections in the order of the file's contract.
pub(super) fn changes(old: &Policy, new: &Policy) -> Vec<ObjectChange> {
    let mut changes = Vec::new();
    section(&mut changes, "vpc", [&old.vpcs, &new.vpcs], |[old, new]| {
        fields([words::vpc(old), words::vpc(new)])
    });
    section(&mut changes, "peering", [&old.peerings, &new.peerings], |[old, new]| {
        fields([words::peering(old), words::peering(new)])
    });
    section(&mut changes, "subnet", [&old.subnets, &new.subnets], |[old, new]: [&Subnet; 2]| {
        fields([words::subnet(old), words::subnet(new)])
    });
    section(&mut changes, "network_acl", [&old.network_acls, &new.network_acls], network_acl);
    section(&mut changes, "prefix_list", [&old.prefix_lists, &new.prefix_lists], prefix_list);
    section(&mut changes, "security_group", [&old.security_groups, &new.security_groups], security_group);
    let interfaces = [old, new].map(|policy| policy.interfaces.iter().collect::<BTreeMap<_, _>>());
    section(&mut changes, "interface", [&interfaces[0], &interfaces[1]], |[old, new]: [&&Interface; 2]| {
        fields([words::interface(old), words::interface(new)])
    });
    let parts = fields([words::settings(&old.settings), words::settings(&new.settings)]);
    if !parts.is_empty() {
        changes.push(ObjectChange { kind: "settings", name: String::new(), change: "changed", parts });
    }
    changes
}

/// Objects by name. What is the same in both is not put into words.
fn section<'p, K: AsRef<str> + Ord, T: PartialEq>(
    changes: &mut Vec<ObjectChange>,
    kind: &'static str,
    [old, new]: [&'p BTreeMap<K, T>; 2],
    parts: impl Fn([&'p T; 2]) -> Vec<PartChange>,
) {
    let names: BTreeSet<&K> = old.keys().chain(new.keys()).collect();
    for name in names {
        let (change, parts) = match (old.get(name), new.get(name)) {
            (Some(old), Some(new)) if old == new => continue,
            (Some(old), Some(new)) => ("changed", parts([old, new])),
            (None, _) => ("added", Vec::new()),
            (_, None) => ("removed", Vec::new()),
        };
        // Rules that only stand in another order.
        if change == "changed" && parts.is_empty() {
            continue;
        }
        changes.push(ObjectChange { kind, name: name.as_ref().to_owned(), change, parts });
    }
}

fn network_acl([old, new]: [&NetworkAcl; 2]) -> Vec<PartChange> {
    let mut parts = fields([words::network_acl(old), words::network_acl(new)]);
    let number = |entry: &AclEntry| entry.rule_number;
    for (direction, lists) in
        [("ingress", [&old.ingress, &new.ingress]), ("egress", [&old.egress, &new.egress])]
    {
        items(&mut parts, direction, lists.map(Vec::as_slice), number, words::entry);
    }
    parts
}

fn security_group([old, new]: [&SecurityGroup; 2]) -> Vec<PartChange> {
    let mut parts = fields([words::security_group(old), words::security_group(new)]);
    let id = |rule: &GroupRule| rule.id.clone();
    for (direction, lists) in
        [("ingress", [&old.ingress, &new.ingress]), ("egress", [&old.egress, &new.egress])]
    {
        items(&mut parts, direction, lists.map(Vec::as_slice), id, words::rule);
    }
    parts
}

fn prefix_list([old, new]: [&PrefixList; 2]) -> Vec<PartChange> {
    let mut parts = fields([words::prefix_list(old), words::prefix_list(new)]);
    items(&mut parts, "entry", [&old.entries, &new.entries], ToString::to_string, |_| "listed".to_owned());
    parts
}

/// Values by their names, which are the same in both.
fn fields([old, new]: [Words; 2]) -> Vec<PartChange> {
    let both = old.into_iter().zip(new);
    let differ = both.filter(|((_, old), (_, new))| old != new);
    differ.map(|((name, before), (_, after))| PartChange { part: name.to_owned(), before, after }).collect()
}

/// Items of two lists by what names them; of several that are named alike, the last.
fn items<T: PartialEq, N: std::hash::Hash + Eq + ToString>(
    parts: &mut Vec<PartChange>,
    list: &str,
    [old, new]: [&[T]; 2],
    name: impl Fn(&T) -> N,
    words: impl Fn(&T) -> String,
) {
    if old == new {
        return;
    }
    let by_name = |items: &'_ [T]| -> HashMap<N, usize> { items.iter().map(&name).zip(0..).collect() };
    let (before, after) = (by_name(old), by_name(new));
    let part = |item: &T| format!("{list} {}", name(item).to_string());
    for item in old {
        let other = after.get(&name(item)).and_then(|place| new.get(*place));
        if other != Some(item) {
            parts.push(PartChange { part: part(item), before: Some(words(item)), after: other.map(&words) });
        }
    }
    for item in new.iter().filter(|item| !before.contains_key(&name(item))) {
        parts.push(PartChange { part: part(item), before: None, after: Some(words(item)) });
    }
}

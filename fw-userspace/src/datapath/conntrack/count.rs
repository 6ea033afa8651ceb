//! How many connections there are, and who holds them.

use std::hash::Hash;
use std::str::FromStr;

use fw_common::Address;
use fw_common::conntrack::{Class, State};
use rustc_hash::FxHashMap;

use super::{Conntrack, Filter, ip, protocol};
use crate::error::Result;
use crate::report::{ConnectionCount, Holder, Protocol};

/// What groups are made by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Grouping {
    /// Interface, or subnet of a router's leg.
    Interface,
    /// How far connections are.
    State,
    /// IP protocol.
    Protocol,
}

impl FromStr for Grouping {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        match text {
            "interface" => Ok(Self::Interface),
            "state" => Ok(Self::State),
            "protocol" => Ok(Self::Protocol),
            _ => Err("must be \"interface\", \"state\" or \"protocol\"".to_owned()),
        }
    }
}

/// Confirmed connections and half-open ones.
type Held = [u64; 2];

#[derive(PartialEq, Eq, Hash)]
enum Group {
    Interface(u32),
    State(&'static str),
    Protocol(Protocol),
}

impl Conntrack {
    /// Counts what the filter matches; with `top` also the remote addresses and the rules that hold most, at most so
    /// many of each.
    pub fn count(
        &self,
        filter: &Filter,
        by: Option<Grouping>,
        top: Option<usize>,
    ) -> Result<ConnectionCount> {
        let mut all = Held::default();
        let mut groups: FxHashMap<Group, Held> = FxHashMap::default();
        let mut addresses: FxHashMap<Address, Held> = FxHashMap::default();
        let mut rules: FxHashMap<Option<u32>, Held> = FxHashMap::default();
        for seen in self.matches(filter)? {
            let class = seen.class;
            add(&mut all, class);
            if let Some(by) = by {
                let state = seen.connection.status().state();
                let group = group(by, seen.key.zone, state, protocol(&seen.key));
                add(groups.entry(group).or_default(), class);
            }
            if top.is_some() {
                add(addresses.entry(seen.key.remote).or_default(), class);
                add(rules.entry(self.rule(&seen)).or_default(), class);
            }
        }
        let layout = self.table.founded().layout;
        let [confirmed, half_open] = all;
        let rule = |slot: Option<u32>| {
            slot.and_then(|slot| self.names.rule(slot))
                .map_or_else(|| "-".to_owned(), |rule| rule.to_string())
        };
        let most = top.unwrap_or(0);
        Ok(ConnectionCount {
            confirmed,
            confirmed_limit: layout.connections.into(),
            half_open,
            half_open_limit: layout.unproven().into(),
            groups: largest(groups, usize::MAX, |group| match group {
                Group::Interface(zone) => self.names.interface(zone).to_owned(),
                Group::State(name) => name.to_owned(),
                Group::Protocol(protocol) => protocol.to_string(),
            }),
            top_addresses: largest(addresses, most, |address| ip(address).to_string()),
            top_rules: largest(rules, most, rule),
        })
    }
}

fn group(by: Grouping, zone: u32, state: State, protocol: Protocol) -> Group {
    match by {
        Grouping::Interface => Group::Interface(zone),
        Grouping::State => Group::State(state.name()),
        Grouping::Protocol => Group::Protocol(protocol),
    }
}

fn add([confirmed, half_open]: &mut Held, class: Class) {
    *if class.is_kept() { confirmed } else { half_open } += 1;
}

/// The `most` that hold most; what holds as much as another by its name.
fn largest<K: Hash + Eq>(held: FxHashMap<K, Held>, most: usize, name: impl Fn(K) -> String) -> Vec<Holder> {
    let total = |[confirmed, half_open]: &Held| confirmed + half_open;
    let mut held: Vec<(K, Held)> = held.into_iter().collect();
    // Only what may be printed gets a name: there may be as many as there are connections.
    if most < held.len() {
        held.select_nth_unstable_by_key(most, |(_, held)| std::cmp::Reverse(total(held)));
        held.truncate(most);
    }
    let named = held.into_iter().map(|(key, [confirmed, half_open])| Holder {
        name: name(key),
        confirmed,
        half_open,
    });
    let mut holders: Vec<Holder> = named.collect();
    let total = |holder: &Holder| holder.confirmed + holder.half_open;
    holders.sort_by(|a, b| total(b).cmp(&total(a)).then_with(|| a.name.cmp(&b.name)));
    holders
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_come_first() {
        let held: FxHashMap<u32, Held> =
            [(1, [5, 0]), (2, [0, 9]), (3, [5, 0]), (4, [1, 1])].into_iter().collect();
        let names = |most| -> Vec<String> {
            largest(held.clone(), most, |key| key.to_string()).into_iter().map(|holder| holder.name).collect()
        };
        assert_eq!(names(3), ["2", "1", "3"]);
        assert_eq!(names(10), ["2", "1", "3", "4"]);
        assert!(names(0).is_empty());
    }
}

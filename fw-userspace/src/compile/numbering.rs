//! Numbers that stay over loads: connections are keyed by zone, counters lie in slots.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use fw_common::Direction;
use fw_common::layout::Rule;
use serde::{Deserialize, Serialize};

use super::{CompileError, RuleKind};

/// Connections and flow logs have 16 bits for it.
const MAX_ZONE: u32 = 65_535;

/// The numbers that were given out. To be kept with the generation that they were compiled into.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Numbering {
    zones: BTreeMap<String, u32>,
    /// In the order of the rules.
    lists: Vec<NumberedList>,
    free: BTreeSet<u32>,
}

/// A list of rules with their slots.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct NumberedList {
    pub(super) key: ListKey,
    /// What each slot belongs to, in the order of the list.
    pub(super) slots: Vec<(String, u32)>,
}

/// Which list it is, whatever else changes around it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(super) struct ListKey {
    pub(super) kind: RuleKind,
    #[serde(with = "super::direction")]
    pub(super) direction: Direction,
    pub(super) name: String,
}

/// One load's view of a [`Numbering`]: what is not asked for becomes free when it ends.
pub(super) struct Renumbering {
    numbering: Numbering,
    used_zones: BTreeSet<u32>,
    before: HashMap<ListKey, Vec<(String, u32)>>,
    vanished: Vec<u32>,
    next_slot: u32,
    fresh: Vec<u32>,
}

impl Renumbering {
    pub(super) fn new(mut numbering: Numbering) -> Self {
        let lists = std::mem::take(&mut numbering.lists);
        let highest = highest(&lists).max(numbering.free.last().copied().unwrap_or(0));
        Self {
            numbering,
            used_zones: BTreeSet::new(),
            before: lists.into_iter().map(|list| (list.key, list.slots)).collect(),
            vanished: Vec::new(),
            next_slot: highest + 1,
            fresh: Vec::new(),
        }
    }

    /// The numbers of `names`, in their order. A zone that no name has any more is given to another one only when
    /// no other is left, since connections may still carry it.
    pub(super) fn zones(&mut self, names: &[String]) -> Result<Vec<u32>, CompileError> {
        let kept = |zones: &BTreeMap<String, u32>, name: &String| zones.get(name).copied();
        self.used_zones = names.iter().filter_map(|name| kept(&self.numbering.zones, name)).collect();
        let mut next = self.numbering.zones.values().max().copied().unwrap_or(0) + 1;
        let mut left_over = 1..=MAX_ZONE;
        let mut zones = Vec::with_capacity(names.len());
        for name in names {
            if let Some(zone) = kept(&self.numbering.zones, name) {
                zones.push(zone);
                continue;
            }
            let zone = if next <= MAX_ZONE {
                next += 1;
                next - 1
            } else {
                let used = &self.used_zones;
                let zone = left_over.find(|zone| !used.contains(zone));
                let zone = zone.ok_or(CompileError::TooManyInterfaces { max: MAX_ZONE })?;
                self.numbering.zones.retain(|_, taken| *taken != zone);
                zone
            };
            self.used_zones.insert(zone);
            self.numbering.zones.insert(name.clone(), zone);
            zones.push(zone);
        }
        Ok(zones)
    }

    /// The slots of a list whose rules have these contents.
    pub(super) fn slots(
        &mut self,
        key: ListKey,
        contents: impl ExactSizeIterator<Item = String>,
    ) -> Result<Vec<u32>, CompileError> {
        let before = self.before.remove(&key).unwrap_or_default();
        // With whether it is still in use.
        let mut known: HashMap<String, (u32, bool)> =
            before.into_iter().map(|(content, slot)| (content, (slot, false))).collect();
        let mut slots = Vec::with_capacity(contents.len());
        for content in contents {
            let slot = match known.get_mut(&content) {
                Some((slot, used)) => {
                    *used = true;
                    *slot
                }
                None => {
                    let slot = self.fresh_slot()?;
                    known.insert(content.clone(), (slot, true));
                    slot
                }
            };
            slots.push((content, slot));
        }
        self.vanished.extend(known.values().filter(|(_, used)| !used).map(|(slot, _)| *slot));
        let numbers = slots.iter().map(|(_, slot)| *slot).collect();
        self.numbering.lists.push(NumberedList { key, slots });
        Ok(numbers)
    }

    fn fresh_slot(&mut self) -> Result<u32, CompileError> {
        let slot = self.numbering.free.pop_first().unwrap_or(self.next_slot);
        if slot == self.next_slot {
            self.next_slot += 1;
        }
        if slot > Rule::MAX_SLOT {
            return Err(CompileError::TooManyRules { max: Rule::MAX_SLOT });
        }
        self.fresh.push(slot);
        Ok(slot)
    }

    /// The numbering for the next load, and the slots that were newly given out. Slots of vanished rules become
    /// free only now: until this generation is in force, the one before still counts in them.
    pub(super) fn finish(mut self) -> (Numbering, Vec<u32>) {
        self.numbering.free.extend(self.before.into_values().flatten().map(|(_, slot)| slot));
        self.numbering.free.extend(self.vanished);
        (self.numbering, self.fresh)
    }
}

impl Numbering {
    /// Highest slot in use, plus one.
    pub(super) fn rule_slots(&self) -> u32 {
        highest(&self.lists) + 1
    }

    /// The lists, in the order of the rules.
    pub(super) fn lists(&self) -> &[NumberedList] {
        &self.lists
    }
}

fn highest(lists: &[NumberedList]) -> u32 {
    lists.iter().flat_map(|list| &list.slots).map(|(_, slot)| *slot).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slots(numbering: Numbering, rules: &[&str]) -> (Vec<u32>, Numbering, Vec<u32>) {
        let mut numbers = Renumbering::new(numbering);
        let key =
            ListKey { kind: RuleKind::SecurityGroup, direction: Direction::Ingress, name: "g".to_owned() };
        let slots = numbers.slots(key, rules.iter().map(|rule| (*rule).to_owned())).expect("there is room");
        let (numbering, fresh) = numbers.finish();
        (slots, numbering, fresh)
    }

    #[test]
    fn slots_stay_and_vanished_ones_serve_again_one_load_later() {
        let (first, numbering, fresh) = slots(Numbering::default(), &["a", "b", "c"]);
        assert_eq!((first, fresh), (vec![1, 2, 3], vec![1, 2, 3]));
        let (second, numbering, fresh) = slots(numbering, &["c", "d"]);
        assert_eq!((second, fresh), (vec![3, 4], vec![4]));
        let (third, numbering, fresh) = slots(numbering, &["e", "d", "f", "g"]);
        assert_eq!((third, fresh), (vec![1, 4, 2, 5], vec![1, 2, 5]));
        assert_eq!(numbering.rule_slots(), 6);
    }

    #[test]
    fn zones_stay_even_when_their_interface_is_away_for_a_while() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        let mut numbers = Renumbering::new(Numbering::default());
        assert_eq!(numbers.zones(&names(&["a", "b"])), Ok(vec![1, 2]));
        let mut numbers = Renumbering::new(numbers.finish().0);
        assert_eq!(numbers.zones(&names(&["b", "c"])), Ok(vec![2, 3]));
        let mut numbers = Renumbering::new(numbers.finish().0);
        assert_eq!(numbers.zones(&names(&["c", "a"])), Ok(vec![3, 1]));
    }

    #[test]
    fn zones_are_reused_when_none_is_left() {
        let names: Vec<String> = (0..MAX_ZONE).map(|number| format!("i{number}")).collect();
        let mut numbers = Renumbering::new(Numbering::default());
        numbers.zones(&names).expect("just enough");
        let mut numbers = Renumbering::new(numbers.finish().0);
        let mut fewer = names[1..].to_vec();
        fewer.push("new".to_owned());
        assert_eq!(numbers.zones(&fewer).expect("one is left").last(), Some(&1));
        fewer.push("one too many".to_owned());
        let error = Renumbering::new(numbers.finish().0).zones(&fewer);
        assert_eq!(error, Err(CompileError::TooManyInterfaces { max: MAX_ZONE }));
    }
}

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

/// What a load numbers with: what was given out before it, and when it gives out more.
#[derive(Debug, Clone, Default)]
pub struct Numbers {
    /// Of the load before, whether it is in force or not: what it gave out stays given out.
    pub last: Numbering,
    /// Of a generation before that, which hooks may follow now or go back to: nobody else gets its slots meanwhile, and
    /// a rule of it that comes again gets its own.
    pub kept: Option<Numbering>,
    /// From when a slot that was another rule's is its new one's: nanoseconds of `CLOCK_MONOTONIC`. What the former
    /// rule admitted was admitted before.
    pub since_ns: u64,
}

impl From<Numbering> for Numbers {
    /// Of a host whose connections nobody lists.
    fn from(last: Numbering) -> Self {
        Self { last, ..Self::default() }
    }
}

/// A list of rules with their slots.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct NumberedList {
    pub(super) key: ListKey,
    /// What each slot belongs to, in the order of the list.
    pub(super) slots: Vec<(String, Slot)>,
}

/// A counter slot, as one rule has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Slot {
    pub(super) number: u32,
    /// What is older and has this number is of a rule that had it before; 0 if none had.
    pub(super) born_ns: u64,
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
    before: HashMap<ListKey, Vec<(String, Slot)>>,
    vanished: Vec<u32>,
    next_slot: u32,
    fresh: Vec<u32>,
    since_ns: u64,
}

impl Renumbering {
    pub(super) fn new(numbers: impl Into<Numbers>) -> Self {
        let Numbers { last: mut numbering, kept, since_ns } = numbers.into();
        let lists = std::mem::take(&mut numbering.lists);
        let highest = highest(&lists).max(numbering.free.last().copied().unwrap_or(0));
        let mut before: HashMap<_, _> = lists.into_iter().map(|list| (list.key, list.slots)).collect();
        for list in kept.into_iter().flat_map(|kept| kept.lists) {
            let known: &mut Vec<(String, Slot)> = before.entry(list.key).or_default();
            // What the load before has kept is not free.
            known.extend(list.slots.into_iter().filter(|(_, slot)| numbering.free.remove(&slot.number)));
        }
        let (used_zones, vanished, fresh) = (BTreeSet::new(), Vec::new(), Vec::new());
        Self { numbering, used_zones, before, vanished, next_slot: highest + 1, fresh, since_ns }
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
    ) -> Result<Vec<Slot>, CompileError> {
        let before = self.before.remove(&key).unwrap_or_default();
        // With whether it is still in use.
        let mut known: HashMap<String, (Slot, bool)> =
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
        self.vanished.extend(known.values().filter(|(_, used)| !used).map(|(slot, _)| slot.number));
        let numbers = slots.iter().map(|(_, slot)| *slot).collect();
        self.numbering.lists.push(NumberedList { key, slots });
        Ok(numbers)
    }

    fn fresh_slot(&mut self) -> Result<Slot, CompileError> {
        let slot = match self.numbering.free.pop_first() {
            Some(number) => Slot { number, born_ns: self.since_ns },
            None => {
                self.next_slot += 1;
                Slot { number: self.next_slot - 1, born_ns: 0 }
            }
        };
        if slot.number > Rule::MAX_SLOT {
            return Err(CompileError::TooManyRules { max: Rule::MAX_SLOT });
        }
        self.fresh.push(slot.number);
        Ok(slot)
    }

    /// The numbering for the next load, and the slots that were newly given out. Slots of vanished rules become
    /// free only now: until this generation is in force, the one before still counts in them.
    pub(super) fn finish(mut self) -> (Numbering, Vec<u32>) {
        self.numbering.free.extend(self.before.into_values().flatten().map(|(_, slot)| slot.number));
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
    lists.iter().flat_map(|list| &list.slots).map(|(_, slot)| slot.number).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slots(numbers: impl Into<Numbers>, rules: &[&str]) -> (Vec<u32>, Numbering, Vec<u32>) {
        let mut numbers = Renumbering::new(numbers);
        let key =
            ListKey { kind: RuleKind::SecurityGroup, direction: Direction::Ingress, name: "g".to_owned() };
        let slots = numbers.slots(key, rules.iter().map(|rule| (*rule).to_owned())).expect("there is room");
        let (numbering, fresh) = numbers.finish();
        (slots.into_iter().map(|slot| slot.number).collect(), numbering, fresh)
    }

    fn births(numbering: &Numbering) -> Vec<(&str, u64)> {
        let slots = numbering.lists().iter().flat_map(|list| &list.slots);
        slots.map(|(content, slot)| (content.as_str(), slot.born_ns)).collect()
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
    fn a_slot_that_serves_again_tells_since_when() {
        let at = |last: &Numbering, since_ns| Numbers { last: last.clone(), kept: None, since_ns };
        let (_, first, _) = slots(at(&Numbering::default(), 10), &["a", "b"]);
        assert_eq!(births(&first), [("a", 0), ("b", 0)], "nobody had them before");
        let (_, second, _) = slots(at(&first, 20), &["b"]);
        let (again, third, _) = slots(at(&second, 30), &["b", "c", "d"]);
        assert_eq!(again, [2, 1, 3]);
        assert_eq!(births(&third), [("b", 0), ("c", 30), ("d", 0)]);
        assert_eq!(births(&slots(at(&third, 40), &["c", "b"]).1), [("c", 30), ("b", 0)], "it is kept");
    }

    #[test]
    fn a_generation_that_may_come_back_keeps_its_slots() {
        let after = |last: &Numbering, kept: &Numbering| Numbers {
            last: last.clone(),
            kept: Some(kept.clone()),
            since_ns: 30,
        };
        let (_, confirmed, _) = slots(Numbering::default(), &["a", "b"]);
        // Waits for its confirmation: hooks go back to the first, or are there already.
        let (_, tried, _) = slots(confirmed.clone(), &["b"]);
        let (given, next, fresh) = slots(after(&tried, &confirmed), &["b", "c"]);
        assert_eq!(
            (given, fresh),
            (vec![2, 3], vec![3]),
            "the slot of a is a's as long as a may count in it"
        );
        assert_eq!(slots(next, &["b", "c", "d"]).0, [2, 3, 1], "and serves again when a cannot");
        let (back, numbering, fresh) = slots(after(&tried, &confirmed), &["a", "b"]);
        assert_eq!((back, fresh), (vec![1, 2], vec![]), "what comes back has what it had");
        assert_eq!(births(&numbering), [("a", 0), ("b", 0)]);
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

//! Which sets of addresses the generation tells apart.
//!
//! A prefix list, the members of a group and the inside of a subnet are one set each. CIDRs that rules name are
//! put together by who names them: CIDRs that the very same rules name are one set, so that neither a rule with a
//! million CIDRs nor a CIDR that stands in a million rules makes many sets.

use std::collections::HashMap;

use ipnet::IpNet;

use super::classes::{Range, SetId};
use super::entry::EntryId;

/// A set that has a name.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Named {
    PrefixList(String),
    Members(String),
    Inside(String),
}

/// The sets that were asked for so far.
#[derive(Default)]
pub(super) struct Sources {
    named: HashMap<Named, SetId>,
    ranges: [Vec<Range>; 2],
    /// CIDRs, each with an entry that names it.
    uses: [Vec<Range>; 2],
    pairs: Vec<(EntryId, SetId)>,
    next: SetId,
}

/// By entry, the sets whose addresses it matches.
pub(super) struct EntrySets {
    ends: Vec<u32>,
    sets: Vec<SetId>,
}

impl EntrySets {
    fn new(mut pairs: Vec<(EntryId, SetId)>, entries: usize) -> Self {
        pairs.sort_unstable();
        let mut ends = Vec::with_capacity(entries);
        let mut rest = pairs.iter().peekable();
        for entry in 0..entries as EntryId {
            let mut end = ends.last().copied().unwrap_or(0);
            while rest.next_if(|(of, _)| *of == entry).is_some() {
                end += 1;
            }
            ends.push(end);
        }
        Self { ends, sets: pairs.into_iter().map(|(_, set)| set).collect() }
    }

    pub(super) fn of(&self, entry: EntryId) -> &[SetId] {
        let start = if entry == 0 { 0 } else { self.ends[entry as usize - 1] };
        &self.sets[start as usize..self.ends[entry as usize] as usize]
    }
}

impl Sources {
    /// A named set; `nets` is asked for its CIDRs the first time.
    pub(super) fn named<I>(&mut self, name: Named, nets: impl FnOnce() -> I) -> SetId
    where
        I: IntoIterator<Item = IpNet>,
    {
        if let Some(set) = self.named.get(&name) {
            return *set;
        }
        let set = self.new_set();
        self.named.insert(name, set);
        put(&mut self.ranges, nets(), set);
        set
    }

    /// By group, the set of its members.
    pub(super) fn groups(&self) -> HashMap<String, SetId> {
        let groups = self.named.iter().filter_map(|(name, set)| match name {
            Named::Members(group) => Some((group.clone(), *set)),
            Named::PrefixList(_) | Named::Inside(_) => None,
        });
        groups.collect()
    }

    /// An entry matches the addresses of these CIDRs.
    pub(super) fn of_entry(&mut self, entry: EntryId, nets: impl IntoIterator<Item = IpNet>) {
        put(&mut self.uses, nets, entry);
    }

    /// An entry matches the addresses of this set.
    pub(super) fn entry_has(&mut self, entry: EntryId, set: SetId) {
        self.pairs.push((entry, set));
    }

    /// The sets of the entries; the CIDRs of both families with the sets that they make up.
    pub(super) fn finish(mut self, entries: usize) -> (EntrySets, [Vec<Range>; 2]) {
        let mut alone: Vec<Option<SetId>> = vec![None; entries];
        let mut together: HashMap<Vec<EntryId>, SetId> = HashMap::new();
        let first = self.next;
        // Of each set from `first` on, the first entry that has it.
        let mut owners: Vec<EntryId> = Vec::new();
        for (family, mut uses) in std::mem::take(&mut self.uses).into_iter().enumerate() {
            Range::sort(&mut uses);
            for same in uses.chunk_by(Range::same_net) {
                let users = same.iter().map(|range| range.of);
                let known = match same {
                    [range] => alone[range.of as usize],
                    _ => together.get(&users.clone().collect::<Vec<_>>()).copied(),
                };
                let set = known.unwrap_or_else(|| {
                    let set = self.new_set();
                    owners.push(same[0].of);
                    self.pairs.extend(users.clone().map(|entry| (entry, set)));
                    match same {
                        [range] => alone[range.of as usize] = Some(set),
                        _ => {
                            together.insert(users.collect(), set);
                        }
                    }
                    set
                });
                self.ranges[family].push(Range { of: set, ..same[0] });
            }
        }
        self.in_order_of(&owners, first);
        (EntrySets::new(self.pairs, entries), self.ranges)
    }

    /// Renumbers the sets from `first` on by their owners: those of one list then follow each other, see
    /// [`super::unions::Unions::in_use`].
    fn in_order_of(&mut self, owners: &[EntryId], first: SetId) {
        let mut order: Vec<usize> = (0..owners.len()).collect();
        order.sort_by_key(|set| owners[*set]);
        let mut numbers = vec![0; owners.len()];
        for (set, number) in order.into_iter().zip(first..) {
            numbers[set] = number;
        }
        let renumber = |set: &mut SetId| {
            if let Some(number) = set.checked_sub(first).and_then(|set| numbers.get(set as usize)) {
                *set = *number;
            }
        };
        self.pairs.iter_mut().for_each(|(_, set)| renumber(set));
        self.ranges.iter_mut().flatten().for_each(|range| renumber(&mut range.of));
    }

    fn new_set(&mut self) -> SetId {
        self.next += 1;
        self.next - 1
    }
}

fn put(ranges: &mut [Vec<Range>; 2], nets: impl IntoIterator<Item = IpNet>, of: u32) {
    for net in nets {
        let (family, range) = Range::new(&net, of);
        ranges[family].push(range);
    }
}

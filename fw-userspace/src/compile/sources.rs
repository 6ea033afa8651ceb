//! Which sets of addresses the generation tells apart.
//!
//! A prefix list, the members of a group and the inside of a subnet are one set each. CIDRs that rules name are
//! put together by who names them: CIDRs that the very same rules name are one set, so that neither a rule with a
//! million CIDRs nor a CIDR that stands in a million rules makes many sets.

use std::collections::HashMap;

use ipnet::IpNet;

use super::classes::{Range, SetId};
use super::entry::{Entry, EntryId};

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
    next: SetId,
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

    /// An entry names these CIDRs.
    pub(super) fn of_entry(&mut self, entry: EntryId, nets: impl IntoIterator<Item = IpNet>) {
        put(&mut self.uses, nets, entry);
    }

    /// Tells every entry its sets; the CIDRs of both families with the sets that they make up.
    pub(super) fn finish(mut self, entries: &mut [Entry]) -> [Vec<Range>; 2] {
        let mut sets: HashMap<Vec<EntryId>, SetId> = HashMap::new();
        for (family, mut uses) in std::mem::take(&mut self.uses).into_iter().enumerate() {
            Range::sort(&mut uses);
            for same in uses.chunk_by(Range::same_net) {
                let users: Vec<EntryId> = same.iter().map(|range| range.of).collect();
                let set = match sets.get(&users) {
                    Some(set) => *set,
                    None => {
                        let set = self.new_set();
                        for entry in &users {
                            entries[*entry as usize].sets.push(set);
                        }
                        sets.insert(users, set);
                        set
                    }
                };
                self.ranges[family].push(Range { of: set, ..same[0] });
            }
        }
        self.ranges
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

//! The ordered lists that the devices need, each once, and the entries in them.

use std::collections::HashMap;
use std::net::IpAddr;

use fw_common::Direction;
use ipnet::IpNet;

use super::classes::{Range, SetId};
use super::entry::{Entry, EntryId, ListKind};
use super::rules::{Rules, acl_key};
use super::sources::{EntrySets, Named, Sources};
use super::tracking::Responses;
use super::{Binding, Carries, services};
use crate::model::{AclEntry, Action, GroupRule, Policy, Traffic};

/// What counts as inside every subnet: it never crosses a router.
const INSIDE_EVERY_SUBNET: [&str; 7] = [
    "255.255.255.255/32",
    "0.0.0.0/32",
    "169.254.0.0/16",
    "224.0.0.0/24",
    "::/128",
    "fe80::/10",
    "ff02::/16",
];

/// Place of a list in its [`Book`].
pub(crate) type ListId = usize;

/// An ordered list of entries that is asked as a whole.
pub(super) struct List {
    pub(super) kind: ListKind,
    pub(super) entries: Vec<EntryId>,
    /// Addresses that lie inside the subnet.
    pub(super) inside: Option<SetId>,
    pub(super) responses: Responses,
    /// For messages.
    pub(super) what: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Key {
    Acl { subnet: String, direction: Direction },
    Groups { names: Vec<String>, direction: Direction },
    Services { vpc: Option<String> },
}

/// Lists and entries of everything that a device needs.
pub(super) struct Book<'a> {
    policy: &'a Policy,
    rules: &'a Rules<'a>,
    members: HashMap<&'a str, Vec<IpNet>>,
    sources: Sources,
    entries: Vec<Entry>,
    of_group: HashMap<(String, Direction), Vec<EntryId>>,
    of_acl: HashMap<(String, Direction), (Vec<EntryId>, u32)>,
    keys: HashMap<Key, ListId>,
    lists: Vec<List>,
}

impl<'a> Book<'a> {
    pub(super) fn new(policy: &'a Policy, bindings: &'a [Binding], rules: &'a Rules<'a>) -> Self {
        Self {
            policy,
            rules,
            members: members(policy, bindings),
            sources: Sources::default(),
            entries: Vec::new(),
            of_group: HashMap::new(),
            of_acl: HashMap::new(),
            keys: HashMap::new(),
            lists: Vec::new(),
        }
    }

    /// The ACL at the border of a subnet.
    pub(super) fn acl(&mut self, subnet: &str, direction: Direction) -> Option<ListId> {
        let policy = self.policy;
        let found = policy.subnets.get(subnet)?;
        let key = Key::Acl { subnet: subnet.to_owned(), direction };
        if let Some(list) = self.keys.get(&key) {
            return Some(*list);
        }
        let (entries, implicit_slot) = self.acl_entries(acl_key(&found.network_acl), direction);
        let everywhere = INSIDE_EVERY_SUBNET.iter().filter_map(|net| net.parse().ok());
        let inside = self
            .sources
            .named(Named::Inside(subnet.to_owned()), || found.cidr_blocks.iter().copied().chain(everywhere));
        let what = format!("the {} entries of the network ACL of subnet {subnet}", direction.name());
        let kind = ListKind::Acl { implicit_slot };
        Some(
            self.add(
                key,
                List { kind, entries, inside: Some(inside), responses: Responses::default(), what },
            ),
        )
    }

    /// By family, the slot of the entry that allows everything with none of its family before it; 0 if there is none such.
    pub(super) fn everywhere(&self, subnet: &str, direction: Direction) -> [u32; 2] {
        let Some(found) = self.policy.subnets.get(subnet) else { return [0; 2] };
        let (entries, _) = self.rules.acl(acl_key(&found.network_acl), direction);
        [true, false].map(|is_ipv4| {
            let first = entries.iter().find(|(entry, _)| entry.cidr.addr().is_ipv4() == is_ipv4);
            let allows = |entry: &AclEntry| {
                (entry.action, entry.traffic, entry.cidr.prefix_len()) == (Action::Allow, Traffic::All, 0)
            };
            first.filter(|(entry, _)| allows(entry)).map_or(0, |(_, slot)| *slot)
        })
    }

    /// The pooled rules of groups, in their order. `None` if there are no groups.
    pub(super) fn groups(&mut self, names: &[String], direction: Direction) -> Option<ListId> {
        if names.is_empty() {
            return None;
        }
        let key = Key::Groups { names: names.to_vec(), direction };
        if let Some(list) = self.keys.get(&key) {
            return Some(*list);
        }
        let entries = self.pooled(names, direction);
        let other = self.pooled(names, direction.reverse());
        let responses = Responses::of(other.iter().map(|entry| &self.entries[*entry as usize]));
        let what = format!("the {} rules of the groups {}", direction.name(), names.join(", "));
        Some(self.add(key, List { kind: ListKind::Groups, entries, inside: None, responses, what }))
    }

    /// The services that always pass. `None` if the settings name none.
    pub(super) fn services(&mut self, vpc: Option<&str>) -> Option<ListId> {
        let services = services::of(self.policy, vpc);
        if services.is_empty() {
            return None;
        }
        let key = Key::Services { vpc: vpc.map(str::to_owned) };
        if let Some(list) = self.keys.get(&key) {
            return Some(*list);
        }
        let entries = services.into_iter().map(|(entry, nets)| self.enter(entry, nets)).collect();
        let what = "the exempt services".to_owned();
        let kind = ListKind::Groups;
        Some(self.add(key, List { kind, entries, inside: None, responses: Responses::default(), what }))
    }

    /// All entries and their sets, all lists, and the CIDRs of both families.
    pub(super) fn finish(self) -> (Vec<Entry>, EntrySets, Vec<List>, [Vec<Range>; 2]) {
        let (sets, ranges) = self.sources.finish(self.entries.len());
        (self.entries, sets, self.lists, ranges)
    }

    /// The sets of members of the groups that rules refer to.
    pub(super) fn member_sets(&self) -> HashMap<String, SetId> {
        self.sources.groups()
    }

    fn add(&mut self, key: Key, list: List) -> ListId {
        let id = self.lists.len();
        self.lists.push(list);
        self.keys.insert(key, id);
        id
    }

    fn enter(&mut self, entry: Entry, nets: impl IntoIterator<Item = IpNet>) -> EntryId {
        let id = self.entries.len() as EntryId;
        self.sources.of_entry(id, nets);
        self.entries.push(entry);
        id
    }

    fn acl_entries(&mut self, key: &str, direction: Direction) -> (Vec<EntryId>, u32) {
        let place = (key.to_owned(), direction);
        if let Some(known) = self.of_acl.get(&place) {
            return known.clone();
        }
        let (written, implicit_slot) = self.rules.acl(key, direction);
        let entries: Vec<EntryId> = written
            .into_iter()
            .map(|(entry, slot)| self.enter(Entry::of_acl(entry, slot), [entry.cidr]))
            .collect();
        self.of_acl.insert(place, (entries.clone(), implicit_slot));
        (entries, implicit_slot)
    }

    fn pooled(&mut self, names: &[String], direction: Direction) -> Vec<EntryId> {
        let mut pooled = Vec::new();
        for name in names {
            let place = (name.clone(), direction);
            if let Some(entries) = self.of_group.get(&place) {
                pooled.extend(entries);
                continue;
            }
            let rules = self.rules.group(name, direction);
            let entries: Vec<EntryId> = rules.map(|(rule, slot)| self.group_rule(rule, slot)).collect();
            pooled.extend(&entries);
            self.of_group.insert(place, entries);
        }
        pooled
    }

    fn group_rule(&mut self, rule: &GroupRule, slot: u32) -> EntryId {
        let entry = self.enter(Entry::of_group(rule, slot), rule.cidr_blocks.iter().copied());
        let policy = self.policy;
        for name in &rule.prefix_lists {
            let nets =
                || policy.prefix_lists.get(name).into_iter().flat_map(|list| list.entries.iter().copied());
            let set = self.sources.named(Named::PrefixList(name.clone()), nets);
            self.sources.entry_has(entry, set);
        }
        for name in &rule.security_groups {
            let members = &self.members;
            let nets = || members.get(name.as_str()).into_iter().flatten().copied();
            let set = self.sources.named(Named::Members(name.clone()), nets);
            self.sources.entry_has(entry, set);
        }
        entry
    }
}

/// By group, the addresses of all interfaces that carry it: those in the rules, else those of their devices.
fn members<'a>(policy: &'a Policy, bindings: &[Binding]) -> HashMap<&'a str, Vec<IpNet>> {
    let mut of_devices: HashMap<&str, Vec<IpAddr>> = HashMap::new();
    for binding in bindings {
        if let Carries::Interface(name) = &binding.carries {
            of_devices.entry(name).or_default().extend(&binding.addresses);
        }
    }
    let mut members: HashMap<&str, Vec<IpNet>> = HashMap::new();
    for (name, interface) in &policy.interfaces {
        let addresses = match of_devices.get(name.as_str()) {
            Some(addresses) if interface.addresses.is_empty() => addresses,
            _ => &interface.addresses,
        };
        for group in &interface.security_groups {
            members.entry(group).or_default().extend(addresses.iter().copied().map(IpNet::from));
        }
    }
    members
}

//! Where in the file the things of the model were written.

use std::collections::HashMap;

use fw_common::Direction;
use ipnet::IpNet;

use super::scalar::Name;
use super::types::{
    Document, DocumentEntry, DocumentInterface, DocumentNetworkAcl, DocumentPrefixList, DocumentRule,
    DocumentSecurityGroup,
};
use super::value::{At, Field, List, Named, NamedItem};
use crate::lint::Place;

/// What is named in a document, to be found again.
pub(super) struct Places<'d> {
    acls: Index<'d, DocumentNetworkAcl>,
    groups: Index<'d, DocumentSecurityGroup>,
    lists: Index<'d, DocumentPrefixList>,
    interfaces: Index<'d, DocumentInterface>,
    /// The CIDRs of the rules that something was said of, without host bits.
    nets: HashMap<(&'d str, Direction, usize), HashMap<IpNet, usize>>,
    /// The entries of the ACLs that something was said of, by their numbers.
    entries: HashMap<(&'d str, Direction), HashMap<u16, usize>>,
}

type Index<'d, T> = HashMap<&'d str, &'d NamedItem<T>>;

impl<'d> Places<'d> {
    pub(super) fn of(document: &'d Document) -> Self {
        fn index<T>(field: &Field<Named<T>>) -> Index<'_, T> {
            field.items().iter().map(|item| (item.name.as_str(), item)).collect()
        }
        Self {
            acls: index(&document.network_acls),
            groups: index(&document.security_groups),
            lists: index(&document.prefix_lists),
            interfaces: index(&document.interfaces),
            nets: HashMap::new(),
            entries: HashMap::new(),
        }
    }

    /// The byte where it begins; the start of the file for what is not in it, which nothing is.
    pub(super) fn offset(&mut self, place: Place<'_>) -> usize {
        match place {
            Place::Acl(name) => self.acls.get(name).map(|acl| acl.key_at),
            Place::Entry(name, direction, number) => self.entry(name, direction, number),
            Place::Group(name) => self.offset_of_group(name),
            Place::Rule(name, direction, index) => {
                self.rule(name, direction, index).map(|rule| rule.at).or_else(|| self.offset_of_group(name))
            }
            Place::RuleNet(name, direction, index, net) => self.rule_net(name, direction, index, net),
            Place::RuleGroup(name, direction, index, group) => {
                self.in_rule(name, direction, index, |rule| named(&rule.security_groups, group))
            }
            Place::RuleList(name, direction, index, list) => {
                self.in_rule(name, direction, index, |rule| named(&rule.prefix_lists, list))
            }
            Place::PrefixList(name) => self.lists.get(name).map(|list| list.key_at),
            Place::Interface(name) => self.interfaces.get(name).map(|interface| interface.key_at),
        }
        .unwrap_or_default()
    }

    fn entry(&mut self, name: &str, direction: Direction, number: u16) -> Option<usize> {
        let (name, acl) = self.acls.get_key_value(name)?;
        let acl = acl.item.as_ref()?;
        let entries = self.entries.entry((name, direction)).or_insert_with(|| {
            let list: &Field<List<DocumentEntry>> = match direction {
                Direction::Ingress => &acl.value.ingress,
                Direction::Egress => &acl.value.egress,
            };
            let number =
                |entry: &At<DocumentEntry>| entry.value.rule_number.value().map(|number| number.to());
            list.list().iter().filter_map(|entry| Some((number(entry)?, entry.at))).collect()
        });
        entries.get(&number).copied()
    }

    fn rule(&self, name: &str, direction: Direction, index: usize) -> Option<&'d At<DocumentRule>> {
        let group = self.groups.get(name)?.item.as_ref()?;
        let list = match direction {
            Direction::Ingress => &group.value.ingress,
            Direction::Egress => &group.value.egress,
        };
        list.list().get(index)
    }

    fn rule_net(&mut self, name: &str, direction: Direction, index: usize, net: IpNet) -> Option<usize> {
        let rule = self.rule(name, direction, index)?;
        let (name, _) = self.groups.get_key_value(name)?;
        let nets = self.nets.entry((*name, direction, index)).or_insert_with(|| {
            // Backwards: of equal ones the first counts.
            rule.value.cidr_blocks.list().iter().rev().map(|cidr| (cidr.value.0.trunc(), cidr.at)).collect()
        });
        nets.get(&net).copied().or(Some(rule.at))
    }

    /// A part of a rule, the rule if it was written otherwise, as `self` is.
    fn in_rule(
        &self,
        name: &str,
        direction: Direction,
        index: usize,
        part: impl FnOnce(&'d DocumentRule) -> Option<usize>,
    ) -> Option<usize> {
        let rule = self.rule(name, direction, index)?;
        part(&rule.value).or(Some(rule.at))
    }

    fn offset_of_group(&self, name: &str) -> Option<usize> {
        self.groups.get(name).map(|group| group.key_at)
    }
}

fn named(list: &Field<List<Name>>, name: &str) -> Option<usize> {
    list.list().iter().find(|written| written.value.0 == name).map(|written| written.at)
}

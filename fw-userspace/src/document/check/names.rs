//! What each name of the file stands for, and in which VPC it is.

use indexmap::IndexMap;

use super::super::report::Report;
use super::super::scalar::Name;
use super::super::types::{
    Document, DocumentNetworkAcl, DocumentPrefixList, DocumentSecurityGroup, DocumentSubnet, DocumentVpc,
};
use super::super::value::{At, Field, Named};
use crate::lint::Code;

/// Every name that other objects may refer to.
pub(super) struct Names<'d> {
    pub(super) vpcs: Index<'d, DocumentVpc>,
    pub(super) subnets: Index<'d, DocumentSubnet>,
    pub(super) network_acls: Index<'d, DocumentNetworkAcl>,
    pub(super) prefix_lists: Index<'d, DocumentPrefixList>,
    pub(super) security_groups: Index<'d, DocumentSecurityGroup>,
    /// Whether this file speaks of VPCs at all; then every object that takes one names one.
    has_vpcs: bool,
}

impl<'d> Names<'d> {
    pub(super) fn of(document: &'d Document) -> Self {
        let vpcs = Index::of("VPC", &document.vpcs);
        let has_vpcs = !vpcs.items.is_empty()
            || document.subnets.readable().any(|(_, subnet)| !subnet.value.vpc.is_absent())
            || document.network_acls.readable().any(|(_, acl)| !acl.value.vpc.is_absent())
            || document.security_groups.readable().any(|(_, group)| !group.value.vpc.is_absent());
        Self {
            vpcs,
            subnets: Index::of("subnet", &document.subnets),
            network_acls: Index::of("network ACL", &document.network_acls),
            prefix_lists: Index::of("prefix list", &document.prefix_lists),
            security_groups: Index::of("security group", &document.security_groups),
            has_vpcs,
        }
    }

    /// Checks the `vpc` key of an object that starts at `at`; the name for the model.
    pub(super) fn check_vpc(&self, at: usize, vpc: &Field<Name>, report: &mut Report<'_>) -> Option<String> {
        if self.has_vpcs && vpc.is_absent() {
            report.say(
                at,
                Code::KeyMissing,
                "\"vpc\" is missing, either every object of a file names its VPC or none does",
            );
        }
        let given = vpc.get()?;
        self.vpcs.find("vpc", given, report);
        Some(given.value.0.clone())
    }

    /// Whether two objects are known to be in different VPCs.
    pub(super) fn differ(one: &Field<Name>, other: &Field<Name>) -> bool {
        matches!((one.value(), other.value()), (Some(one), Some(other)) if one != other)
    }
}

/// The objects of one section by name.
pub(super) struct Index<'d, T> {
    kind: &'static str,
    items: IndexMap<&'d str, Option<&'d At<T>>>,
    /// The section itself could not be read: nobody knows what is in it.
    unreadable: bool,
}

/// What a name stands for.
pub(super) enum Found<'d, T> {
    Object(&'d At<T>),
    /// It is there, but could not be read.
    Unreadable,
    Missing,
}

impl<'d, T> Index<'d, T> {
    fn of(kind: &'static str, section: &'d Field<Named<T>>) -> Self {
        let items = section.items().iter().map(|named| (named.name.as_str(), named.item.as_ref())).collect();
        Self { kind, items, unreadable: section.is_wrong() }
    }

    pub(super) fn look_up(&self, name: &str) -> Found<'d, T> {
        match self.items.get(name) {
            Some(Some(object)) => Found::Object(object),
            Some(None) => Found::Unreadable,
            None if self.unreadable => Found::Unreadable,
            None => Found::Missing,
        }
    }

    /// What the value of `key` refers to; an error if there is no such thing.
    pub(super) fn find(&self, key: &str, name: &At<Name>, report: &mut Report<'_>) -> Option<&'d At<T>> {
        match self.look_up(&name.value.0) {
            Found::Object(object) => Some(object),
            Found::Unreadable => None,
            Found::Missing => {
                let hint = self.did_you_mean(&name.value.0, report);
                let message =
                    format!("{key:?} names {:?}, there is no such {}{hint}", name.value.0, self.kind);
                report.say(name.at, Code::NameUnknown, message);
                None
            }
        }
    }

    pub(super) fn did_you_mean(&self, name: &str, report: &mut Report<'_>) -> String {
        report.did_you_mean(name, self.items.keys().copied())
    }
}

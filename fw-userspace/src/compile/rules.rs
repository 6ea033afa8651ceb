//! Every rule of the policy with its counter slot, whether a device needs it or not.

use std::collections::HashMap;

use fw_common::Direction;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::numbering::{ListKey, Numbering, Renumbering, Slot};
use super::{CompileError, RuleInfo, RuleKind};
use crate::model::{AclChoice, AclEntry, Action, GroupRule, NetworkAcl, Policy, Traffic};

/// What AWS's default ACL is called in reports.
const AWS_DEFAULT_NAME: &str = "default";
/// What it is kept under: an ACL of the file may be called "default" too.
const AWS_DEFAULT_KEY: &str = "\0aws";
/// What the implicit last entry of an ACL is called.
const IMPLICIT: &str = "*";

/// The key of the ACL that a subnet has.
pub(super) fn acl_key(choice: &AclChoice) -> &str {
    match choice {
        AclChoice::Named(name) => name,
        AclChoice::AwsDefault => AWS_DEFAULT_KEY,
    }
}

/// AWS's default ACL: everything passes, by entries that can be counted.
/// <https://docs.aws.amazon.com/vpc/latest/userguide/default-network-acl.html>
pub(super) fn aws_default_acl() -> NetworkAcl {
    let entry = |rule_number: u16, cidr: IpNet| AclEntry {
        rule_number,
        action: Action::Allow,
        traffic: Traffic::All,
        cidr,
        id: rule_number.to_string(),
        description: None,
    };
    let both = vec![entry(100, Ipv4Net::default().into()), entry(101, Ipv6Net::default().into())];
    NetworkAcl { vpc: None, default: false, ingress: both.clone(), egress: both }
}

/// By name and direction: the list and the slots of what is in it.
type Slots<'p, T> = HashMap<(&'p str, Direction), (&'p [T], Vec<Slot>)>;

/// The slots of the rules.
pub(super) struct Rules<'p> {
    /// In the order of the file, groups first.
    pub(super) infos: Vec<RuleInfo>,
    groups: Slots<'p, GroupRule>,
    acls: Slots<'p, AclEntry>,
}

impl<'p> Rules<'p> {
    pub(super) fn number(
        policy: &'p Policy,
        aws_default: &'p NetworkAcl,
        numbers: &mut Renumbering,
    ) -> Result<Self, CompileError> {
        let mut rules = Self { infos: Vec::new(), groups: HashMap::new(), acls: HashMap::new() };
        for (name, group) in &policy.security_groups {
            for (direction, list) in
                [(Direction::Ingress, group.ingress.as_slice()), (Direction::Egress, &group.egress)]
            {
                rules.number_group(name, direction, list, numbers)?;
            }
        }
        let has_default = policy.subnets.values().any(|subnet| subnet.network_acl == AclChoice::AwsDefault);
        let aws_default = has_default.then_some((AWS_DEFAULT_KEY, AWS_DEFAULT_NAME, aws_default));
        let named = policy.network_acls.iter().map(|(name, acl)| (name.as_str(), name.as_str(), acl));
        for (key, name, acl) in named.chain(aws_default) {
            for (direction, list) in
                [(Direction::Ingress, acl.ingress.as_slice()), (Direction::Egress, &acl.egress)]
            {
                rules.number_acl((key, name), direction, list, numbers)?;
            }
        }
        Ok(rules)
    }

    /// The rules of a group in one direction with their slots.
    pub(super) fn group(
        &self,
        name: &str,
        direction: Direction,
    ) -> impl Iterator<Item = (&'p GroupRule, u32)> {
        let (list, slots) =
            self.groups.get(&(name, direction)).map_or((&[][..], &[][..]), |(list, slots)| (*list, slots));
        list.iter().zip(slots.iter().map(|slot| slot.number).collect::<Vec<_>>())
    }

    /// The entries of an ACL in one direction with their slots, and the slot of the implicit last one.
    pub(super) fn acl(&self, key: &str, direction: Direction) -> (Vec<(&'p AclEntry, u32)>, u32) {
        let Some((list, slots)) = self.acls.get(&(key, direction)) else { return (Vec::new(), 0) };
        let mut entries: Vec<_> = list.iter().zip(slots.iter().map(|slot| slot.number)).collect();
        entries.sort_by_key(|(entry, _)| entry.rule_number);
        (entries, slots.last().map_or(0, |slot| slot.number))
    }

    fn number_group(
        &mut self,
        name: &'p str,
        direction: Direction,
        list: &'p [GroupRule],
        numbers: &mut Renumbering,
    ) -> Result<(), CompileError> {
        let key = ListKey { kind: RuleKind::SecurityGroup, direction, name: name.to_owned() };
        let slots = numbers.slots(key, list.iter().map(|rule| rule.id.clone()))?;
        for (rule, slot) in list.iter().zip(&slots) {
            self.infos.push(RuleInfo {
                slot: slot.number,
                born_ns: slot.born_ns,
                kind: RuleKind::SecurityGroup,
                id: name.to_owned(),
                direction,
                rule: rule.id.clone(),
                description: rule.description.clone(),
            });
        }
        self.groups.insert((name, direction), (list, slots));
        Ok(())
    }

    /// With the slot of the implicit last entry behind those of the written ones.
    fn number_acl(
        &mut self,
        (key, name): (&'p str, &str),
        direction: Direction,
        list: &'p [AclEntry],
        numbers: &mut Renumbering,
    ) -> Result<(), CompileError> {
        let kind = RuleKind::NetworkAcl;
        let mut contents: Vec<String> =
            list.iter().map(|entry| format!("{} {}", entry.rule_number, entry.id)).collect();
        contents.push(IMPLICIT.to_owned());
        let slots = numbers.slots(ListKey { kind, direction, name: key.to_owned() }, contents.into_iter())?;
        let written = list.iter().map(|entry| (entry.rule_number.to_string(), entry.description.clone()));
        for ((rule, description), slot) in written.chain([(IMPLICIT.to_owned(), None)]).zip(&slots) {
            let id = name.to_owned();
            let Slot { number: slot, born_ns } = *slot;
            self.infos.push(RuleInfo { slot, born_ns, kind, id, direction, rule, description });
        }
        self.acls.insert((key, direction), (list, slots));
        Ok(())
    }
}

impl Numbering {
    /// The rules that were numbered, in their order, without their descriptions.
    pub fn rules(&self) -> impl Iterator<Item = RuleInfo> {
        self.lists().iter().flat_map(|list| {
            let ListKey { kind, direction, name } = &list.key;
            let id = if name == AWS_DEFAULT_KEY { AWS_DEFAULT_NAME } else { name };
            list.slots.iter().map(move |(content, slot)| {
                let rule = match kind {
                    RuleKind::SecurityGroup => content,
                    RuleKind::NetworkAcl => {
                        content.split_once(' ').map_or(content.as_str(), |(number, _)| number)
                    }
                };
                RuleInfo {
                    slot: slot.number,
                    born_ns: slot.born_ns,
                    kind: *kind,
                    id: id.to_owned(),
                    direction: *direction,
                    rule: rule.to_owned(),
                    description: None,
                }
            })
        })
    }
}

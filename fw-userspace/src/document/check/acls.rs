//! Network ACLs: numbered entries, one default per VPC.

use std::collections::{BTreeMap, HashMap, HashSet};

use ipnet::IpNet;

use super::super::report::Report;
use super::super::types::{Document, DocumentEntry};
use super::super::value::{Field, List};
use super::identity::{Content, Ids, TAG_ALLOW, TAG_RULE_NUMBER};
use super::names::Names;
use super::nets::net;
use super::quotas;
use super::traffic::TrafficFields;
use crate::lint::Code;
use crate::model::{AclEntry, Action, NetworkAcl, Traffic};

pub(super) fn network_acls(
    document: &Document,
    names: &Names<'_>,
    report: &mut Report<'_>,
) -> BTreeMap<String, NetworkAcl> {
    let mut acls = BTreeMap::new();
    for (name, acl) in document.network_acls.readable() {
        let vpc = names.check_vpc(acl.at, &acl.value.vpc, report);
        let default = acl.value.default.value().is_some_and(|flag| flag.0);
        let ingress = entries("ingress", &acl.value.ingress, report);
        let egress = entries("egress", &acl.value.egress, report);
        acls.insert(name.to_owned(), NetworkAcl { vpc, default, ingress, egress });
    }
    acls
}

/// The default ACL of each VPC.
pub(super) fn defaults<'d>(
    document: &'d Document,
    report: &mut Report<'_>,
) -> HashMap<Option<&'d str>, &'d str> {
    let mut defaults: HashMap<Option<&str>, &str> = HashMap::new();
    for (name, acl) in document.network_acls.readable() {
        let Some(flag) = acl.value.default.get().filter(|flag| flag.value.0) else { continue };
        let vpc = acl.value.vpc.value().map(|vpc| vpc.0.as_str());
        if let Some(first) = defaults.get(&vpc) {
            let message =
                format!("\"default\" is true, but network ACL {first:?} is this VPC's default already");
            report.say(flag.at, Code::ValueConflict, message);
        } else {
            defaults.insert(vpc, name);
        }
    }
    defaults
}

fn entries(key: &str, list: &Field<List<DocumentEntry>>, report: &mut Report<'_>) -> Vec<AclEntry> {
    let mut ids = Ids::with_given(list.list().iter().map(|entry| &entry.value.id), report);
    let mut numbers: HashSet<u16> = HashSet::new();
    let mut entries = Vec::with_capacity(list.list().len());
    for written in list.list() {
        let number = written.value.rule_number.get();
        if let Some(given) = number
            && !numbers.insert(given.value.to())
        {
            let number: u16 = given.value.to();
            let message = format!(
                "\"rule_number\" is {number}, must be unique in its direction, both families share them"
            );
            report.say(given.at, Code::ValueConflict, message);
        }
        let traffic = TrafficFields::of_entry(written).check(report);
        let cidr = written.value.cidr_block.get().map(|cidr| (cidr.at, net("cidr_block", cidr, report)));
        if let (Some(traffic), Some((at, cidr))) = (traffic, cidr) {
            warn_of_family(at, traffic, cidr, report);
        }
        let (Some(number), Some(action), Some(traffic), Some((_, cidr))) =
            (number, written.value.action.value(), traffic, cidr)
        else {
            continue;
        };
        let rule_number = number.value.to();
        let content = content(rule_number, action.0, traffic, cidr);
        let id = ids.next(&written.value.id, content);
        let description = written.value.description.value().map(|text| text.0.clone());
        entries
            .push((written.at, AclEntry { rule_number, action: action.0, traffic, cidr, id, description }));
    }
    entries.sort_by_key(|(_, entry)| entry.rule_number);
    warn_of_unreachable(&entries, report);
    if let Some(list) = list.get() {
        quotas::entries(key, list.at, entries.len(), report);
    }
    entries.into_iter().map(|(_, entry)| entry).collect()
}

fn content(rule_number: u16, action: Action, traffic: Traffic, cidr: IpNet) -> Content {
    let content = Content::of_traffic(traffic).and_net(cidr).and(TAG_RULE_NUMBER, &rule_number.to_be_bytes());
    match action {
        Action::Allow => content.and(TAG_ALLOW, &[]),
        Action::Deny => content,
    }
}

fn warn_of_family(at: usize, traffic: Traffic, cidr: IpNet, report: &mut Report<'_>) {
    match (traffic, cidr) {
        (Traffic::Icmp(_), IpNet::V6(_)) => {
            let message =
                format!("\"cidr_block\" is {cidr}, protocol icmp is IPv4 only: the entry matches nothing");
            report.say(at, Code::FamilyMismatch, message);
        }
        // https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_CreateNetworkAclEntry.html
        (Traffic::Icmpv6(matched), IpNet::V4(_)) if matched.kind.is_some() => {
            let message = format!(
                "\"cidr_block\" is {cidr}, type and code are ignored: icmpv6 with an IPv4 CIDR is protocol 58 over IPv4"
            );
            report.say(at, Code::IcmpFieldsIgnored, message);
        }
        _ => {}
    }
}

/// An entry that says the same as one with a lower number never decides.
fn warn_of_unreachable(sorted: &[(usize, AclEntry)], report: &mut Report<'_>) {
    let mut first: HashMap<Content, u16> = HashMap::new();
    for (at, entry) in sorted {
        let matched = Content::of_traffic(entry.traffic).and_net(entry.cidr);
        match first.get(&matched) {
            Some(number) if *number != entry.rule_number => {
                let message = format!(
                    "entry {} is a duplicate, entry {number} matches the same packets first",
                    entry.rule_number
                );
                report.say(*at, Code::AclEntryDuplicate, message);
            }
            Some(_) => {}
            None => {
                first.insert(matched, entry.rule_number);
            }
        }
    }
}

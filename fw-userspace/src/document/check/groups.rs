//! Security groups: rules and the peers they name.

use std::collections::{BTreeMap, HashMap, HashSet};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::super::report::Report;
use super::super::scalar::{Name, PeeringStatus};
use super::super::types::{Document, DocumentRule, DocumentSecurityGroup};
use super::super::value::{At, Field, List};
use super::identity::{Content, Ids, TAG_GROUP, TAG_PREFIX_LIST, TAG_RESERVED, TAG_SELF};
use super::names::{Found, Names};
use super::nets::net_list;
use super::quotas::RuleCount;
use super::traffic::TrafficFields;
use crate::lint::Code;
use crate::model::{GroupRule, PrefixList, SecurityGroup, Traffic};

pub(super) fn security_groups(
    document: &Document,
    names: &Names<'_>,
    prefix_lists: &BTreeMap<String, PrefixList>,
    report: &mut Report<'_>,
) -> BTreeMap<String, SecurityGroup> {
    let peers = Peers::of(document);
    let mut groups = BTreeMap::new();
    for (name, group) in document.security_groups.readable() {
        let vpc = names.check_vpc(group.at, &group.value.vpc, report);
        let owner = Owner { name, group: &group.value, names, peers: &peers, prefix_lists };
        let ingress = owner.rules("ingress", &group.value.ingress, report);
        let egress = match group.value.egress {
            Field::Absent => default_egress(),
            Field::Wrong | Field::Given(_) => owner.rules("egress", &group.value.egress, report),
        };
        let description = group.value.description.value().map(|text| text.0.clone());
        groups.insert(name.to_owned(), SecurityGroup { vpc, description, ingress, egress });
    }
    groups
}

/// A new group lets everything out.
/// <https://docs.aws.amazon.com/vpc/latest/userguide/creating-security-groups.html>
fn default_egress() -> Vec<GroupRule> {
    let everywhere =
        [("default-ipv4", IpNet::V4(Ipv4Net::default())), ("default-ipv6", IpNet::V6(Ipv6Net::default()))];
    let rule = |(id, net): (&str, IpNet)| GroupRule {
        id: id.to_owned(),
        traffic: Traffic::All,
        cidr_blocks: vec![net],
        security_groups: Vec::new(),
        prefix_lists: Vec::new(),
        reserved: false,
        description: None,
    };
    everywhere.into_iter().map(rule).collect()
}

/// Which VPCs may name each other's groups.
struct Peers<'d> {
    active: HashSet<(&'d str, &'d str)>,
    regions: HashMap<&'d str, Option<&'d str>>,
}

impl<'d> Peers<'d> {
    fn of(document: &'d Document) -> Self {
        let mut active = HashSet::new();
        for (_, peering) in document.peerings.readable() {
            if let (Some(requester), Some(accepter), Some(status)) = (
                peering.value.requester.value(),
                peering.value.accepter.value(),
                peering.value.status.value(),
            ) && status.0 == PeeringStatus::Active
            {
                active.insert((requester.0.as_str(), accepter.0.as_str()));
                active.insert((accepter.0.as_str(), requester.0.as_str()));
            }
        }
        let region = |vpc: &'d At<super::super::types::DocumentVpc>| vpc.value.region.value();
        let regions = document
            .vpcs
            .readable()
            .map(|(name, vpc)| (name, region(vpc).map(|region| region.0.as_str())))
            .collect();
        Self { active, regions }
    }
}

/// The group whose rules are being checked.
struct Owner<'o, 'd> {
    name: &'o str,
    group: &'o DocumentSecurityGroup,
    names: &'o Names<'d>,
    peers: &'o Peers<'d>,
    prefix_lists: &'o BTreeMap<String, PrefixList>,
}

impl Owner<'_, '_> {
    fn rules(&self, key: &str, list: &Field<List<DocumentRule>>, report: &mut Report<'_>) -> Vec<GroupRule> {
        let mut ids = Ids::with_given(list.list().iter().map(|rule| &rule.value.id), report);
        let mut seen = HashSet::new();
        let mut count = RuleCount::default();
        let mut rules = Vec::with_capacity(list.list().len());
        for rule in list.list() {
            let traffic = TrafficFields::of_rule(rule).check(report);
            let peers = self.rule_peers(rule, report);
            let Some(traffic) = traffic else { continue };
            warn_of_family(traffic, &rule.value, report);
            let reserved = rule.value.reserved.value().is_some_and(|flag| flag.0);
            let says = Content::of_traffic(traffic);
            let says = peers.cidr_blocks.iter().fold(says, |says, net| says.and_net(*net));
            let says = peers.written.iter().fold(says, |says, (tag, name)| says.and(*tag, name.as_bytes()));
            let says = if reserved { says.and(TAG_RESERVED, &[]) } else { says };
            if seen.insert(says) {
                self.count(&peers, &mut count);
            } else {
                report.say(
                    rule.at,
                    Code::GroupRuleDuplicate,
                    "this rule is a duplicate of one above it, remove one",
                );
            }
            rules.push(GroupRule {
                id: ids.next(&rule.value.id, says),
                traffic,
                cidr_blocks: peers.cidr_blocks,
                security_groups: peers.security_groups,
                prefix_lists: peers.prefix_lists,
                reserved,
                description: rule.value.description.value().map(|text| text.0.clone()),
            });
        }
        if let Some(list) = list.get() {
            count.check(key, list.at, report);
        }
        rules
    }

    /// Stale references count too: they stay in the group until somebody removes them.
    fn count(&self, peers: &RulePeers, count: &mut RuleCount) {
        count.add_nets(&peers.cidr_blocks);
        for (tag, name) in &peers.written {
            match (*tag, self.prefix_lists.get(name)) {
                (TAG_PREFIX_LIST, Some(list)) => count.add_prefix_list(list),
                (TAG_PREFIX_LIST, None) => {}
                _ => count.add_group(),
            }
        }
    }

    fn rule_peers(&self, rule: &At<DocumentRule>, report: &mut Report<'_>) -> RulePeers {
        let DocumentRule { cidr_blocks, security_groups, prefix_lists, itself, .. } = &rule.value;
        let mut peers =
            RulePeers { cidr_blocks: net_list("cidr_blocks", cidr_blocks, report), ..RulePeers::default() };
        if itself.value().is_some_and(|flag| flag.0) {
            peers.security_groups.push(self.name.to_owned());
            peers.written.push((TAG_SELF, String::new()));
        }
        for group in unique("security_groups", security_groups, report) {
            if group.value.0 == self.name {
                if peers.security_groups.iter().any(|name| name == self.name) {
                    report.say(
                        group.at,
                        Code::ValueRepeated,
                        "\"security_groups\" has the group itself, as \"self\" says too",
                    );
                    continue;
                }
                peers.written.push((TAG_SELF, String::new()));
            } else {
                peers.written.push((TAG_GROUP, group.value.0.clone()));
            }
            if self.resolves(group, report) {
                peers.security_groups.push(group.value.0.clone());
            }
        }
        for list in unique("prefix_lists", prefix_lists, report) {
            self.names.prefix_lists.find("prefix_lists", list, report);
            peers.written.push((TAG_PREFIX_LIST, list.value.0.clone()));
            peers.prefix_lists.push(list.value.0.clone());
        }
        let complete = cidr_blocks.is_complete()
            && security_groups.is_complete()
            && prefix_lists.is_complete()
            && !itself.is_wrong();
        if complete && peers.cidr_blocks.is_empty() && peers.written.is_empty() {
            report.say(
                rule.at,
                Code::KeyMissing,
                "the rule has no peer, it needs one of cidr_blocks, security_groups, prefix_lists, self",
            );
        }
        peers
    }

    /// Whether members of a group can match a rule of this one; if not, the rule is stale.
    /// <https://docs.aws.amazon.com/vpc/latest/peering/vpc-peering-security-groups.html>
    fn resolves(&self, reference: &At<Name>, report: &mut Report<'_>) -> bool {
        let name = &reference.value.0;
        let found = match self.names.security_groups.look_up(name) {
            Found::Object(found) => found,
            Found::Unreadable => return false,
            Found::Missing => {
                let hint = self.names.security_groups.did_you_mean(name, report);
                let message =
                    format!("stale rule: security group {name:?} does not exist and matches nothing{hint}");
                report.say(reference.at, Code::GroupReferenceStale, message);
                return false;
            }
        };
        let (Some(own), Some(foreign)) = (self.group.vpc.value(), found.value.vpc.value()) else {
            return true;
        };
        let (own, foreign) = (own.0.as_str(), foreign.0.as_str());
        if own == foreign {
            return true;
        }
        let why = if !self.peers.active.contains(&(own, foreign)) {
            "which has no active peering with"
        } else if self.peers.regions.get(own) != self.peers.regions.get(foreign) {
            "which is in another region than"
        } else {
            return true;
        };
        let message = format!(
            "stale rule: security group {name:?} is of VPC {foreign:?}, {why} {own:?}, and matches nothing"
        );
        report.say(reference.at, Code::GroupReferenceStale, message);
        false
    }
}

/// Whom one rule names.
#[derive(Default)]
struct RulePeers {
    cidr_blocks: Vec<IpNet>,
    security_groups: Vec<String>,
    prefix_lists: Vec<String>,
    /// As the file has them, stale ones included: a peering that comes or goes does not rename a rule.
    written: Vec<(u8, String)>,
}

/// The names of a list without repetitions.
pub(super) fn unique<'d>(
    key: &str,
    list: &'d Field<List<Name>>,
    report: &mut Report<'_>,
) -> Vec<&'d At<Name>> {
    let mut seen = HashSet::new();
    let mut unique = Vec::new();
    for name in list.list() {
        if seen.insert(&name.value.0) {
            unique.push(name);
        } else {
            report.say(
                name.at,
                Code::ValueRepeated,
                format!("{key:?} has {:?} twice, remove one", name.value.0),
            );
        }
    }
    unique
}

fn warn_of_family(traffic: Traffic, rule: &DocumentRule, report: &mut Report<'_>) {
    let (protocol, only) = match traffic {
        Traffic::Icmp(_) => ("icmp", "IPv4"),
        Traffic::Icmpv6(_) => ("icmpv6", "IPv6"),
        _ => return,
    };
    for cidr in rule.cidr_blocks.list() {
        if matches!(cidr.value.0, IpNet::V4(_)) != (only == "IPv4") {
            let net = cidr.value.0.trunc();
            let message = format!(
                "\"cidr_blocks\" has {net}, protocol {protocol} is {only} only: this peer matches nothing"
            );
            report.say(cidr.at, Code::FamilyMismatch, message);
        }
    }
}

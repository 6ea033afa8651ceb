//! VPCs, the peerings between them and the subnets in them.

use std::collections::{BTreeMap, HashMap};

use ipnet::IpNet;

use super::super::report::Report;
use super::super::scalar::PeeringStatus;
use super::super::types::{Document, DocumentPeering, DocumentSubnet, DocumentVpc};
use super::super::value::At;
use super::names::Names;
use super::nets::{listed, net_list, overlap};
use super::{acls, devices};
use crate::lint::Code;
use crate::model::{AclChoice, Faces, Peering, Subnet, Vpc};

pub(super) fn vpcs(document: &Document, report: &mut Report<'_>) -> BTreeMap<String, Vpc> {
    let mut vpcs = BTreeMap::new();
    for (name, vpc) in document.vpcs.readable() {
        let cidr_blocks = net_list("cidr_blocks", &vpc.value.cidr_blocks, report);
        if let Some(list) = vpc.value.cidr_blocks.get()
            && vpc.value.cidr_blocks.is_complete()
            && !cidr_blocks.iter().any(|net| matches!(net, IpNet::V4(_)))
        {
            report.say(
                list.at,
                Code::ValueConflict,
                "\"cidr_blocks\" has no IPv4 block, a VPC needs at least one",
            );
        }
        let region = vpc.value.region.value().map(|region| region.0.clone());
        vpcs.insert(name.to_owned(), Vpc { cidr_blocks, region });
    }
    vpcs
}

pub(super) fn peerings(
    document: &Document,
    names: &Names<'_>,
    report: &mut Report<'_>,
) -> BTreeMap<String, Peering> {
    let mut peerings = BTreeMap::new();
    for (name, peering) in document.peerings.readable() {
        let DocumentPeering { requester, accepter, status, .. } = &peering.value;
        let one = requester.get().and_then(|vpc| names.vpcs.find("requester", vpc, report));
        let other = accepter.get().and_then(|vpc| names.vpcs.find("accepter", vpc, report));
        let (Some(requester), Some(accepter), Some(status)) =
            (requester.get(), accepter.get(), status.value())
        else {
            continue;
        };
        if requester.value == accepter.value {
            let message =
                format!("\"accepter\" is {:?} like the requester, must be another VPC", accepter.value.0);
            report.say(accepter.at, Code::ValueConflict, message);
        } else if let (Some(one), Some(other)) = (one, other)
            && status.0 != PeeringStatus::Ended
            && let Some((block, peer_block)) = overlapping(&one.value, &other.value)
        {
            let message = format!(
                "peered VPCs must not overlap: {:?} has {block}, {:?} has {peer_block}",
                requester.value.0, accepter.value.0
            );
            report.say(peering.at, Code::ValueConflict, message);
        }
        let active = status.0 == PeeringStatus::Active;
        let (requester, accepter) = (requester.value.0.clone(), accepter.value.0.clone());
        peerings.insert(name.to_owned(), Peering { requester, accepter, active });
    }
    peerings
}

fn overlapping(one: &DocumentVpc, other: &DocumentVpc) -> Option<(IpNet, IpNet)> {
    let blocks = |vpc: &DocumentVpc| -> Vec<IpNet> {
        vpc.cidr_blocks.list().iter().map(|cidr| cidr.value.0.trunc()).collect()
    };
    let others = blocks(other);
    blocks(one).into_iter().find_map(|block| {
        let peer_block = others.iter().find(|peer_block| overlap(&block, peer_block))?;
        Some((block, *peer_block))
    })
}

pub(super) fn subnets(
    document: &Document,
    names: &Names<'_>,
    report: &mut Report<'_>,
) -> BTreeMap<String, Subnet> {
    let defaults = acls::defaults(document, report);
    let mut subnets = BTreeMap::new();
    for (name, subnet) in document.subnets.readable() {
        let DocumentSubnet { vpc, cidr_blocks: written, network_acl, device, faces, mode, .. } =
            &subnet.value;
        let cidr_blocks = net_list("cidr_blocks", written, report);
        if let Some(list) = written.get()
            && written.is_complete()
            && cidr_blocks.is_empty()
        {
            report.say(
                list.at,
                Code::ValueConflict,
                "\"cidr_blocks\" is empty, a subnet needs at least one block",
            );
        }
        check_inside_vpc(&subnet.value, names, report);
        let network_acl = match network_acl.get() {
            None => {
                let key = vpc.value().map(|vpc| vpc.0.as_str());
                defaults.get(&key).map_or(AclChoice::AwsDefault, |acl| AclChoice::Named((*acl).to_owned()))
            }
            Some(acl) => {
                if let Some(found) = names.network_acls.find("network_acl", acl, report)
                    && Names::differ(vpc, &found.value.vpc)
                {
                    let message = format!("\"network_acl\" names {:?} of another VPC", acl.value.0);
                    report.say(acl.at, Code::ValueConflict, message);
                }
                AclChoice::Named(acl.value.0.clone())
            }
        };
        let vpc = names.check_vpc(subnet.at, vpc, report);
        let leg = devices::attachment(device, faces, mode, Faces::Instance, report);
        subnets.insert(name.to_owned(), Subnet { vpc, cidr_blocks, network_acl, leg });
    }
    check_no_overlap(document, report);
    subnets
}

fn check_inside_vpc(subnet: &DocumentSubnet, names: &Names<'_>, report: &mut Report<'_>) {
    let Some(vpc_name) = subnet.vpc.value() else { return };
    let super::names::Found::Object(vpc) = names.vpcs.look_up(&vpc_name.0) else { return };
    if !vpc.value.cidr_blocks.is_complete() {
        return;
    }
    let blocks: Vec<IpNet> = vpc.value.cidr_blocks.list().iter().map(|cidr| cidr.value.0.trunc()).collect();
    for cidr in subnet.cidr_blocks.list() {
        let net = cidr.value.0.trunc();
        if !blocks.iter().any(|block| block.contains(&net)) {
            let message = format!(
                "\"cidr_blocks\" has {net}, must be inside VPC {:?}: {}",
                vpc_name.0,
                listed(&blocks)
            );
            report.say(cidr.at, Code::ValueConflict, message);
        }
    }
}

/// Sorted, blocks that overlap follow one another: a block either holds the next one or ends before it.
fn check_no_overlap(document: &Document, report: &mut Report<'_>) {
    let mut by_vpc: HashMap<Option<&str>, Vec<(IpNet, usize, &str)>> = HashMap::new();
    for (name, subnet) in document.subnets.readable() {
        let At { value: subnet, .. } = subnet;
        let blocks = by_vpc.entry(subnet.vpc.value().map(|vpc| vpc.0.as_str())).or_default();
        blocks.extend(subnet.cidr_blocks.list().iter().map(|cidr| (cidr.value.0.trunc(), cidr.at, name)));
    }
    for blocks in by_vpc.values_mut() {
        blocks.sort();
        let mut open: Option<(IpNet, usize, &str)> = None;
        for &(net, at, name) in blocks.iter() {
            match open {
                Some((outer, outer_at, outer_name)) if outer.contains(&net) => {
                    if outer_name != name {
                        // Whichever comes later in the file is the one to change.
                        let (mine, (theirs, whose)) = match at > outer_at {
                            true => (net, (outer, outer_name)),
                            false => (outer, (net, name)),
                        };
                        let message =
                            format!("\"cidr_blocks\" has {mine}, overlaps {theirs} of subnet {whose:?}");
                        report.say(at.max(outer_at), Code::ValueConflict, message);
                    }
                }
                _ => open = Some((net, at, name)),
            }
        }
    }
}

//! Interfaces: groups, subnet and addresses that belong together.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;

use indexmap::IndexMap;
use ipnet::IpNet;

use super::super::report::Report;
use super::super::scalar::Flag;
use super::super::types::{Document, DocumentInterface, DocumentSubnet};
use super::super::value::{At, Field};
use super::groups::unique;
use super::names::{Found, Names};
use super::nets::listed;
use super::{devices, number, quotas};
use crate::lint::Code;
use crate::model::{Faces, Interface, Timeouts};

pub(super) fn interfaces(
    document: &Document,
    names: &Names<'_>,
    report: &mut Report<'_>,
) -> IndexMap<String, Interface> {
    let mut interfaces = IndexMap::new();
    let mut owners = HashMap::new();
    for (name, interface) in document.interfaces.readable() {
        let written = &interface.value;
        let subnet = written.subnet.get().and_then(|subnet| names.subnets.find("subnet", subnet, report));
        let security_groups = groups(written, subnet, names, report);
        let addresses = addresses(written, subnet, report);
        check_one_owner(name, written, subnet, names, &mut owners, report);
        if written.device.is_absent() && written.addresses.is_complete() && addresses.is_empty() {
            report.say(
                interface.at,
                Code::KeyMissing,
                "an interface without \"device\" needs \"addresses\" to lend to its groups",
            );
        }
        let attachment =
            devices::attachment(&written.device, &written.faces, &written.mode, Faces::Network, report);
        if let Some(list) = written.security_groups.get()
            && written.security_groups.is_complete()
            && security_groups.is_empty()
            && written.subnet.is_absent()
            && attachment.is_some()
        {
            report.say(
                list.at,
                Code::InterfaceUnfiltered,
                "neither a group nor a subnet's network ACL filters this interface",
            );
        }
        let interface = Interface {
            attachment,
            subnet: written.subnet.value().map(|subnet| subnet.0.clone()),
            addresses,
            security_groups,
            enforce: flag(&written.enforce),
            source_dest_check: flag(&written.source_dest_check),
            timeouts: timeouts(written),
        };
        interfaces.insert(name.to_owned(), interface);
    }
    interfaces
}

/// The groups, all there and all of one VPC: the subnet's, else the first group's.
fn groups(
    interface: &DocumentInterface,
    subnet: Option<&At<DocumentSubnet>>,
    names: &Names<'_>,
    report: &mut Report<'_>,
) -> Vec<String> {
    let mut home = subnet.map(|subnet| (&subnet.value.vpc, "its subnet"));
    let mut groups = Vec::new();
    for group in unique("security_groups", &interface.security_groups, report) {
        if let Some(found) = names.security_groups.find("security_groups", group, report) {
            let vpc = &found.value.vpc;
            match home {
                Some((home, whose)) if Names::differ(home, vpc) => {
                    let message = format!(
                        "\"security_groups\" names {:?} of another VPC than {whose}, must be of the same",
                        group.value.0
                    );
                    report.say(group.at, Code::ValueConflict, message);
                }
                Some(_) => {}
                None => home = Some((vpc, "the first group")),
            }
        }
        groups.push(group.value.0.clone());
    }
    if let Some(list) = interface.security_groups.get() {
        quotas::groups(list.at, groups.len(), report);
    }
    groups
}

fn addresses(
    interface: &DocumentInterface,
    subnet: Option<&At<DocumentSubnet>>,
    report: &mut Report<'_>,
) -> Vec<IpAddr> {
    let blocks: Option<Vec<IpNet>> = subnet
        .map(|subnet| &subnet.value.cidr_blocks)
        .filter(|blocks| blocks.is_complete())
        .map(|blocks| blocks.list().iter().map(|cidr| cidr.value.0.trunc()).collect());
    let mut seen = HashSet::new();
    let mut addresses = Vec::new();
    for written in interface.addresses.list() {
        let address = written.value.0;
        if !seen.insert(address) {
            report.say(
                written.at,
                Code::ValueRepeated,
                format!("\"addresses\" has {address} twice, remove one"),
            );
            continue;
        }
        if let (Some(blocks), Some(subnet)) = (&blocks, interface.subnet.value())
            && !blocks.iter().any(|block| block.contains(&address))
        {
            let message = format!(
                "\"addresses\" has {address}, must be inside subnet {:?}: {}",
                subnet.0,
                listed(blocks)
            );
            report.say(written.at, Code::ValueConflict, message);
        }
        addresses.push(address);
    }
    addresses
}

/// VPCs may overlap, so an address alone names nobody; in one VPC it names one interface.
fn check_one_owner<'d>(
    name: &'d str,
    interface: &'d DocumentInterface,
    subnet: Option<&'d At<DocumentSubnet>>,
    names: &Names<'d>,
    owners: &mut HashMap<(Option<&'d str>, IpAddr), &'d str>,
    report: &mut Report<'_>,
) {
    let first_group = || {
        interface.security_groups.list().iter().find_map(|group| {
            match names.security_groups.look_up(&group.value.0) {
                Found::Object(found) => found.value.vpc.value(),
                Found::Unreadable | Found::Missing => None,
            }
        })
    };
    let vpc = subnet.and_then(|subnet| subnet.value.vpc.value()).or_else(first_group);
    let vpc = vpc.map(|vpc| vpc.0.as_str());
    for address in interface.addresses.list() {
        match owners.insert((vpc, address.value.0), name) {
            Some(owner) if owner != name => {
                let message = format!(
                    "\"addresses\" has {}, which interface {owner:?} of the same VPC has",
                    address.value.0
                );
                report.say(address.at, Code::ValueConflict, message);
            }
            _ => {}
        }
    }
}

fn timeouts(interface: &DocumentInterface) -> Timeouts {
    let default = Timeouts::default();
    Timeouts {
        tcp_established: number(&interface.tcp_established_timeout, default.tcp_established),
        udp: number(&interface.udp_timeout, default.udp),
        udp_stream: number(&interface.udp_stream_timeout, default.udp_stream),
    }
}

/// Both switches are on unless the file says otherwise.
fn flag(field: &Field<Flag>) -> bool {
    field.value().is_none_or(|flag| flag.0)
}

//! Two devices of this host in one subnet.
//!
//! Linux chooses the device of an answer by its routes, not by where the request came in. Then one device sees the
//! requests alone, and the other one answers without a SYN.

use std::collections::BTreeMap;

use super::{Code, Lints, Place};
use crate::compile::tracks_tcp;
use crate::model::{Faces, Interface, MidStream, Policy};

pub(super) fn check<'p>(policy: &'p Policy, lints: &mut Lints<'_, 'p>) {
    if policy.settings.mid_stream == MidStream::Pickup {
        return;
    }
    let mut by_subnet: BTreeMap<&str, Vec<(&'p str, &'p Interface)>> = BTreeMap::new();
    for (name, interface) in &policy.interfaces {
        if interface.attachment.as_ref().is_some_and(|attachment| attachment.faces == Faces::Network) {
            for subnet in subnets(policy, interface) {
                by_subnet.entry(subnet).or_default().push((name, interface));
            }
        }
    }
    for (subnet, interfaces) in by_subnet.into_iter().filter(|(_, interfaces)| interfaces.len() > 1) {
        let tracks = |(_, interface): &(&str, &Interface)| tracks_tcp(policy, &interface.security_groups);
        let Some(index) = interfaces.iter().position(tracks) else { continue };
        let (name, _) = interfaces[index];
        let (other, _) = interfaces[usize::from(index == 0)];
        let message = format!(
            "interface {other:?} is in subnet {subnet:?} too: where answers leave by the other device, a connection is \
             one_sided; it lives while its opener sends at least every 120 s, after that its packets are dropped as \
             mid_stream, as are answers at a device that tracks and saw no SYN"
        );
        lints.say(Place::Interface(name), Code::ConnectionsOneSided, message);
    }
}

/// The one that it names, else those that its addresses lie in.
fn subnets<'p>(policy: &'p Policy, interface: &'p Interface) -> Vec<&'p str> {
    if let Some(subnet) = &interface.subnet {
        return vec![subnet];
    }
    let has = |cidr: &ipnet::IpNet| interface.addresses.iter().any(|address| cidr.contains(address));
    let around = policy.subnets.iter().filter(|(_, subnet)| subnet.cidr_blocks.iter().any(has));
    around.map(|(name, _)| name.as_str()).collect()
}

//! AWS's services that neither layer filters, as far as the settings exempt them.
//! <https://docs.aws.amazon.com/vpc/latest/userguide/vpc-network-acls.html>

use std::net::IpAddr;

use fw_common::layout::Rule;
use ipnet::IpNet;

use super::entry::Entry;
use crate::model::{ExemptServices, Policy, PortRange, Traffic};

const fn port(port: u16) -> PortRange {
    PortRange { from: port, to: port }
}

/// Resolver, instance metadata, ECS task metadata, Windows activation, time.
const LINK_LOCAL: [(&[&str], &[Traffic]); 5] = [
    (&["169.254.169.253/32", "fd00:ec2::253/128"], &[Traffic::Tcp(port(53)), Traffic::Udp(port(53))]),
    (&["169.254.169.254/32", "fd00:ec2::254/128"], &[Traffic::Tcp(port(80))]),
    (&["169.254.170.2/32"], &[Traffic::Tcp(port(80))]),
    (&["169.254.169.250/32", "169.254.169.251/32", "fd00:ec2::250/128"], &[Traffic::Tcp(port(1688))]),
    (&["169.254.169.123/32", "fd00:ec2::123/128"], &[Traffic::Udp(port(123))]),
];

/// Entries with their addresses, for interfaces in a VPC (`None`: the implicit one).
pub(super) fn of(policy: &Policy, vpc: Option<&str>) -> Vec<(Entry, Vec<IpNet>)> {
    let mut services = Vec::new();
    let mut exempt = |nets: Vec<IpNet>, traffics: &[Traffic]| {
        for traffic in traffics {
            let rule = Rule::new(true, false, false, 0);
            let entry = Entry { traffic: *traffic, rule, is_open: [false; 2] };
            services.push((entry, nets.clone()));
        }
    };
    if policy.settings.exempt_services == ExemptServices::None {
        return services;
    }
    for (nets, traffics) in LINK_LOCAL {
        exempt(nets.iter().filter_map(|net| net.parse().ok()).collect(), traffics);
    }
    if policy.settings.exempt_services == ExemptServices::Aws {
        let blocks = vpc.and_then(|vpc| policy.vpcs.get(vpc)).map_or(&[][..], |vpc| &vpc.cidr_blocks);
        let primary = blocks.iter().find(|net| net.addr().is_ipv4());
        let resolver = primary.and_then(|net| address_in(net, 2));
        exempt(resolver.into_iter().collect(), &[Traffic::Tcp(port(53)), Traffic::Udp(port(53))]);
        let subnets = policy.subnets.values().filter(|subnet| subnet.vpc.as_deref() == vpc);
        let routers = subnets.flat_map(|subnet| &subnet.cidr_blocks).filter_map(|net| address_in(net, 1));
        exempt(routers.collect(), &[Traffic::All]);
    }
    services
}

/// The `offset`-th address of a network, as a CIDR; `None` if it is not that large.
fn address_in(net: &IpNet, offset: u32) -> Option<IpNet> {
    let address: IpAddr = match net {
        IpNet::V4(net) => std::net::Ipv4Addr::from(u32::from(net.network()).checked_add(offset)?).into(),
        IpNet::V6(net) => {
            std::net::Ipv6Addr::from(u128::from(net.network()).checked_add(u128::from(offset))?).into()
        }
    };
    net.contains(&address).then(|| address.into())
}

//! Objects in words: by the keys of the rules file, in its values.

use std::fmt::Display;

use crate::model::{
    AclChoice, AclEntry, Action, Attachment, ExemptServices, Faces, GroupRule, IcmpMatch, Interface,
    MidStream, Mode, NetworkAcl, OtherEthertypes, Peering, PortRange, PrefixList, SecurityGroup, Settings,
    Subnet, Traffic, Vpc,
};

/// Key and value; the same keys for all objects of a kind.
pub(super) type Words = Vec<(&'static str, Option<String>)>;

pub(super) fn vpc(vpc: &Vpc) -> Words {
    vec![("cidr_blocks", list(&vpc.cidr_blocks)), ("region", vpc.region.clone())]
}

pub(super) fn peering(peering: &Peering) -> Words {
    let active = if peering.active { "active" } else { "not active" };
    vec![
        ("requester", Some(peering.requester.clone())),
        ("accepter", Some(peering.accepter.clone())),
        ("status", Some(active.to_owned())),
    ]
}

pub(super) fn subnet(subnet: &Subnet) -> Words {
    let acl = match &subnet.network_acl {
        AclChoice::Named(name) => name.clone(),
        AclChoice::AwsDefault => "(AWS default)".to_owned(),
    };
    let mut words = vec![
        ("vpc", subnet.vpc.clone()),
        ("cidr_blocks", list(&subnet.cidr_blocks)),
        ("network_acl", Some(acl)),
    ];
    words.extend(attachment(subnet.leg.as_ref()));
    words
}

pub(super) fn network_acl(acl: &NetworkAcl) -> Words {
    vec![("vpc", acl.vpc.clone()), ("default", Some(acl.default.to_string()))]
}

pub(super) fn security_group(group: &SecurityGroup) -> Words {
    vec![("vpc", group.vpc.clone()), ("description", group.description.clone())]
}

pub(super) fn prefix_list(prefixes: &PrefixList) -> Words {
    vec![("max_entries", Some(prefixes.max_entries.to_string()))]
}

pub(super) fn interface(interface: &Interface) -> Words {
    let timeouts = interface.timeouts;
    let mut words = attachment(interface.attachment.as_ref()).to_vec();
    words.extend([
        ("subnet", interface.subnet.clone()),
        ("addresses", list(&interface.addresses)),
        ("security_groups", list(&interface.security_groups)),
        ("enforce", Some(interface.enforce.to_string())),
        ("source_dest_check", Some(interface.source_dest_check.to_string())),
        ("tcp_established_timeout", Some(timeouts.tcp_established.to_string())),
        ("udp_timeout", Some(timeouts.udp.to_string())),
        ("udp_stream_timeout", Some(timeouts.udp_stream.to_string())),
    ]);
    words
}

pub(super) fn settings(settings: &Settings) -> Words {
    let mid_stream = match settings.mid_stream {
        MidStream::Drop => "drop",
        MidStream::Pickup => "pickup",
    };
    let services = match settings.exempt_services {
        ExemptServices::None => "none",
        ExemptServices::LinkLocal => "link_local",
        ExemptServices::Aws => "aws",
    };
    let ethertypes = settings.other_ethertypes.map(|choice| match choice {
        OtherEthertypes::Drop => "drop".to_owned(),
        OtherEthertypes::Pass => "pass".to_owned(),
    });
    vec![
        ("conntrack_max", Some(settings.conntrack_max.to_string())),
        ("mid_stream", Some(mid_stream.to_owned())),
        ("adopt_seconds", Some(settings.adopt_seconds.to_string())),
        ("exempt_services", Some(services.to_owned())),
        ("other_ethertypes", ethertypes),
    ]
}

/// `allow tcp 443 0.0.0.0/0`
pub(super) fn entry(entry: &AclEntry) -> String {
    let action = match entry.action {
        Action::Allow => "allow",
        Action::Deny => "deny",
    };
    described(format!("{action} {} {}", traffic(entry.traffic), entry.cidr), entry.description.as_deref())
}

/// `tcp 443 0.0.0.0/0, sg-lb`
pub(super) fn rule(rule: &GroupRule) -> String {
    let cidrs = rule.cidr_blocks.iter().map(ToString::to_string);
    let peers: Vec<String> =
        cidrs.chain(rule.security_groups.iter().cloned()).chain(rule.prefix_lists.iter().cloned()).collect();
    let reserved = if rule.reserved { ", reserved" } else { "" };
    described(
        format!("{} {}{reserved}", traffic(rule.traffic), peers.join(", ")),
        rule.description.as_deref(),
    )
}

fn described(words: String, description: Option<&str>) -> String {
    match description {
        Some(text) => format!("{words} ({text})"),
        None => words,
    }
}

fn traffic(traffic: Traffic) -> String {
    match traffic {
        Traffic::All => "all".to_owned(),
        Traffic::Tcp(range) => format!("tcp {}", ports(range)),
        Traffic::Udp(range) => format!("udp {}", ports(range)),
        Traffic::Icmp(icmp) => format!("icmp {}", types(icmp)),
        Traffic::Icmpv6(icmp) => format!("icmpv6 {}", types(icmp)),
        Traffic::Protocol(number) => format!("protocol {number}"),
    }
}

fn ports(PortRange { from, to }: PortRange) -> String {
    if from == to { from.to_string() } else { format!("{from}-{to}") }
}

fn types(IcmpMatch { kind, code }: IcmpMatch) -> String {
    match (kind, code) {
        (Some(kind), Some(code)) => format!("{kind}/{code}"),
        (Some(kind), None) => kind.to_string(),
        (None, _) => "all".to_owned(),
    }
}

fn attachment(attachment: Option<&Attachment>) -> [(&'static str, Option<String>); 3] {
    let faces = attachment.map(|attachment| match attachment.faces {
        Faces::Network => "network".to_owned(),
        Faces::Instance => "instance".to_owned(),
    });
    let mode = attachment.map(|attachment| match attachment.mode {
        Mode::Auto => "auto".to_owned(),
        Mode::Xdp => "xdp".to_owned(),
        Mode::Tc => "tc".to_owned(),
    });
    let device = attachment.map(|attachment| attachment.device.to_string());
    [("device", device), ("faces", faces), ("mode", mode)]
}

fn list<T: Display>(items: &[T]) -> Option<String> {
    let items: Vec<String> = items.iter().map(ToString::to_string).collect();
    (!items.is_empty()).then(|| items.join(", "))
}

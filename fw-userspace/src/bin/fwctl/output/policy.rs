//! The rules in force as tables: interfaces, security groups, network ACLs.

use fw_userspace::model::{
    AclChoice, AclEntry, Action, Attachment, DeviceSelector, Faces, GroupRule, IcmpMatch, Interface, Mode,
    Policy, PortRange, Subnet, Traffic,
};
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::Output;
use super::table::{Field, Table, Tone, list, words};
use super::units::count;

/// Everything in the order in which a packet meets it.
pub(crate) fn print(output: &mut Output, policy: &Policy) {
    output.line(format!(
        "{}, {}, {}",
        count(policy.interfaces.len(), "interface"),
        count(policy.security_groups.len(), "security group"),
        count(policy.network_acls.len(), "network ACL")
    ));
    interfaces(output, policy);
    network_acls(output, policy);
    security_groups(output, policy);
    prefix_lists(output, policy);
}

fn interfaces(output: &mut Output, policy: &Policy) {
    let columns = &[
        "interface",
        "device",
        "faces",
        "mode",
        "drops",
        "addresses",
        "subnet",
        "network acl",
        "security groups",
    ];
    let mut table = Table::new("interfaces", columns);
    for (name, interface) in &policy.interfaces {
        let Interface { attachment, subnet, addresses, security_groups, enforce, .. } = interface;
        let [device, faces, mode] = attached(attachment.as_ref());
        let subnet_of = subnet.as_ref().and_then(|name| policy.subnets.get(name));
        table.row([
            words(name),
            device,
            faces,
            mode,
            match (attachment, enforce) {
                (None, _) => words(""),
                (Some(_), true) => words("enforced"),
                (Some(_), false) => words("counted only").tone(Tone::Doubtful),
            },
            list(addresses.iter().map(ToString::to_string)),
            words(subnet.as_deref().unwrap_or_default()),
            words(subnet_of.map(acl_name).unwrap_or_default()),
            list(security_groups),
        ]);
    }
    for (name, subnet) in policy.subnets.iter().filter(|(_, subnet)| subnet.leg.is_some()) {
        let [device, faces, mode] = attached(subnet.leg.as_ref());
        table.row([
            words(format!("{name} (subnet)")),
            device,
            faces,
            mode,
            words("enforced"),
            list(subnet.cidr_blocks.iter().map(ToString::to_string)),
            words(name),
            words(acl_name(subnet)),
            words(""),
        ]);
    }
    table.print(output);
}

fn network_acls(output: &mut Output, policy: &Policy) {
    let columns =
        &["network acl", "direction", "number", "protocol", "ports", "remote", "action", "description"];
    let mut table = Table::new("network ACLs: the first match decides", columns);
    for (name, acl) in &policy.network_acls {
        acl_rows(&mut table, name, "ingress", &acl.ingress);
        acl_rows(&mut table, name, "egress", &acl.egress);
    }
    if policy.subnets.values().any(|subnet| subnet.network_acl == AclChoice::AwsDefault) {
        let entries = [allow_all(100, Ipv4Net::default().into()), allow_all(101, Ipv6Net::default().into())];
        acl_rows(&mut table, AWS_DEFAULT, "ingress", &entries);
        acl_rows(&mut table, AWS_DEFAULT, "egress", &entries);
    }
    table.print(output);
}

fn acl_rows(table: &mut Table, name: &str, direction: &str, entries: &[AclEntry]) {
    for entry in entries {
        let (protocol, ports) = traffic(entry.traffic);
        table.row([
            words(name),
            words(direction),
            words(entry.rule_number.to_string()),
            words(protocol),
            words(ports),
            words(entry.cidr.to_string()),
            match entry.action {
                Action::Allow => words("allow").tone(Tone::Good),
                Action::Deny => words("deny").tone(Tone::Bad),
            },
            words(entry.description.as_deref().unwrap_or_default()),
        ]);
    }
    // Every ACL ends with it, for both families; nobody can change it.
    table.row([
        words(name),
        words(direction),
        words("*"),
        words("all"),
        words("all"),
        words("any"),
        words("deny").tone(Tone::Bad),
        words(""),
    ]);
}

fn security_groups(output: &mut Output, policy: &Policy) {
    let columns = &["security group", "direction", "rule", "protocol", "ports", "peers", "description"];
    let mut table = Table::new("security groups: any match allows, replies pass", columns);
    for (name, group) in &policy.security_groups {
        group_rows(&mut table, name, "ingress", &group.ingress);
        group_rows(&mut table, name, "egress", &group.egress);
    }
    table.print(output);
}

fn group_rows(table: &mut Table, name: &str, direction: &str, rules: &[GroupRule]) {
    for rule in rules {
        let (protocol, ports) = traffic(rule.traffic);
        let cidrs = rule.cidr_blocks.iter().map(ToString::to_string);
        let peers =
            cidrs.chain(rule.security_groups.iter().cloned()).chain(rule.prefix_lists.iter().cloned());
        table.row([
            words(name),
            words(direction),
            words(&rule.id),
            words(protocol),
            words(ports),
            list(peers),
            words(rule.description.as_deref().unwrap_or_default()),
        ]);
    }
    if rules.is_empty() {
        let none = "no rule: nothing but replies";
        table.row([words(name), words(direction), words(""), words(""), words(""), words(""), words(none)]);
    }
}

fn prefix_lists(output: &mut Output, policy: &Policy) {
    let mut table = Table::new("prefix lists", &["prefix list", "entries"]);
    for (name, prefixes) in &policy.prefix_lists {
        table.row([words(name), list(prefixes.entries.iter().map(ToString::to_string))]);
    }
    table.print(output);
}

/// Device, faces and mode.
fn attached(attachment: Option<&Attachment>) -> [Field; 3] {
    let Some(Attachment { device, faces, mode }) = attachment else {
        return [words("(remote)"), words(""), words("")];
    };
    let device = match device {
        DeviceSelector::Name(name) | DeviceSelector::Glob(name) => name.clone(),
        DeviceSelector::Mac([a, b, c, d, e, f]) => {
            format!("mac {a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{f:02x}")
        }
        DeviceSelector::Altname(name) => format!("altname {name}"),
    };
    let faces = match faces {
        Faces::Network => "network",
        Faces::Instance => "instance",
    };
    let mode = match mode {
        Mode::Auto => "auto",
        Mode::Xdp => "xdp",
        Mode::Tc => "tc",
    };
    [words(device), words(faces), words(mode)]
}

fn acl_name(subnet: &Subnet) -> &str {
    match &subnet.network_acl {
        AclChoice::Named(name) => name,
        AclChoice::AwsDefault => AWS_DEFAULT,
    }
}

/// Protocol, and its ports or ICMP type and code.
fn traffic(traffic: Traffic) -> (String, String) {
    match traffic {
        Traffic::All => ("all".to_owned(), "all".to_owned()),
        Traffic::Tcp(range) => ("tcp".to_owned(), ports(range)),
        Traffic::Udp(range) => ("udp".to_owned(), ports(range)),
        Traffic::Icmp(icmp) => ("icmp".to_owned(), types(icmp)),
        Traffic::Icmpv6(icmp) => ("icmpv6".to_owned(), types(icmp)),
        Traffic::Protocol(number) => (number.to_string(), "all".to_owned()),
    }
}

fn ports(PortRange { from, to }: PortRange) -> String {
    match (from, to) {
        (0, u16::MAX) => "all".to_owned(),
        _ if from == to => from.to_string(),
        _ => format!("{from}-{to}"),
    }
}

fn types(IcmpMatch { kind, code }: IcmpMatch) -> String {
    match (kind, code) {
        (Some(kind), Some(code)) => format!("type {kind} code {code}"),
        (Some(kind), None) => format!("type {kind}"),
        (None, _) => "all".to_owned(),
    }
}

fn allow_all(rule_number: u16, cidr: IpNet) -> AclEntry {
    let (action, traffic, id) = (Action::Allow, Traffic::All, rule_number.to_string());
    AclEntry { rule_number, action, traffic, cidr, id, description: None }
}

/// The ACL of subnets for which the file has none.
const AWS_DEFAULT: &str = "(AWS default)";

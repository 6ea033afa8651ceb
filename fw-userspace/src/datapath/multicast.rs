//! Protocols without ports that a device speaks and its rules stop: VRRP, OSPF, IGMP. Nobody misses a rule for them until
//! an address moves or a route goes, so a load says so. A device that speaks one has joined its multicast group.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::compile::{Binding, Carries};
use crate::model::{Faces, Interface, Policy, Traffic};

/// What the rules stop on the devices of this network namespace. What cannot be read is not said.
pub(super) fn stopped(policy: &Policy, bindings: &[Binding]) -> Vec<String> {
    // /proc/net is that of the process's first thread.
    let read =
        |name: &str| std::fs::read_to_string(format!("/proc/thread-self/net/{name}")).unwrap_or_default();
    let mut joined = joined_ipv4(&read("igmp"));
    joined.extend(joined_ipv6(&read("igmp6")));
    notes(policy, bindings, &joined)
}

fn notes(policy: &Policy, bindings: &[Binding], joined: &[(u32, IpAddr)]) -> Vec<String> {
    let mut notes = Vec::new();
    for binding in bindings {
        let Carries::Interface(name) = &binding.carries else { continue };
        let Some(interface) = policy.interfaces.get(name).filter(|interface| is_judged(interface)) else {
            continue;
        };
        let mut told = Vec::new();
        for (_, group) in joined.iter().filter(|(ifindex, _)| *ifindex == binding.ifindex) {
            let Some((protocol, number)) = protocol_of(*group) else { continue };
            if told.contains(&protocol) || lets_in(policy, interface, number) {
                continue;
            }
            told.push(protocol);
            notes.push(format!(
                "{:?} has joined {group}, and no ingress rule of {name:?} allows protocol {number}: {protocol} stops \
                 there; allow it from the neighbours",
                binding.device
            ));
        }
    }
    notes
}

/// What the host's own NIC receives is for the host; on an instance's other end nobody of this host speaks.
fn is_judged(interface: &Interface) -> bool {
    let own = interface.attachment.as_ref().is_some_and(|attachment| attachment.faces == Faces::Network);
    own && interface.enforce && !interface.security_groups.is_empty()
}

fn lets_in(policy: &Policy, interface: &Interface, number: u8) -> bool {
    let groups = interface.security_groups.iter().filter_map(|name| policy.security_groups.get(name));
    let allows = |traffic| traffic == Traffic::All || traffic == Traffic::Protocol(number);
    groups.flat_map(|group| &group.ingress).any(|rule| allows(rule.traffic))
}

/// <https://www.iana.org/assignments/multicast-addresses/multicast-addresses.xhtml>
fn protocol_of(group: IpAddr) -> Option<(&'static str, u8)> {
    match group {
        IpAddr::V4(group) => match group.octets() {
            [224, 0, 0, 18] => Some(("VRRP", 112)),
            [224, 0, 0, 5 | 6] => Some(("OSPF", 89)),
            // Switches send these everywhere, joined or not: https://www.rfc-editor.org/rfc/rfc4541, section 2.1.2
            [224, 0, 0, _] => None,
            _ => Some(("IGMP", 2)),
        },
        // MLD, IPv6's IGMP, always passes.
        IpAddr::V6(group) => match group.segments() {
            [0xff02, 0, 0, 0, 0, 0, 0, 0x12] => Some(("VRRP", 112)),
            [0xff02, 0, 0, 0, 0, 0, 0, 5 | 6] => Some(("OSPF", 89)),
            _ => None,
        },
    }
}

/// Interface index and group. A line per device, then one per group that begins with a tab; the address is the word of
/// the header as this machine reads it (net/ipv4/igmp.c, `igmp_mc_seq_show`).
fn joined_ipv4(text: &str) -> Vec<(u32, IpAddr)> {
    let mut ifindex = None;
    let mut joined = Vec::new();
    for line in text.lines().skip(1) {
        let Some(first) = line.split_whitespace().next() else { continue };
        if !line.starts_with('\t') {
            ifindex = first.parse().ok();
        } else if let (Some(ifindex), Ok(word)) = (ifindex, u32::from_str_radix(first, 16)) {
            joined.push((ifindex, IpAddr::V4(Ipv4Addr::from(word.to_ne_bytes()))));
        }
    }
    joined
}

/// The same, one line per group: index, device, group (net/ipv6/mcast.c, `igmp6_mc_seq_show`).
fn joined_ipv6(text: &str) -> Vec<(u32, IpAddr)> {
    let joined = |line: &str| {
        let mut words = line.split_whitespace();
        let ifindex = words.next()?.parse().ok()?;
        let group = u128::from_str_radix(words.nth(1)?, 16).ok()?;
        Some((ifindex, IpAddr::V6(Ipv6Addr::from(group))))
    };
    text.lines().filter_map(joined).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document;

    #[test]
    fn groups_are_read_as_the_kernel_writes_them() {
        let word = |address: [u8; 4]| format!("{:08X}", u32::from_ne_bytes(address));
        let text = format!(
            "Idx\tDevice    : Count Querier\tGroup    Users Timer\tReporter\n\
             1\tlo        :     1      V3\n\t\t\t\t{}     1 0:00000000\t\t0\n\
             4\teth0      :     2      V3\n\t\t\t\t{}     1 0:00000000\t\t0\n\t\t\t\t{}     1 0:00000000\t\t0\n",
            word([224, 0, 0, 1]),
            word([224, 0, 0, 18]),
            word([239, 1, 2, 3]),
        );
        let group = |ifindex, text: &str| (ifindex, text.parse().unwrap());
        let expected = [group(1, "224.0.0.1"), group(4, "224.0.0.18"), group(4, "239.1.2.3")];
        assert_eq!(joined_ipv4(&text), expected);
        let text = "4    eth0            ff020000000000000000000000000012     1 00000004 0\n";
        assert_eq!(joined_ipv6(text), [group(4, "ff02::12")]);
        assert_eq!((joined_ipv4(""), joined_ipv6("nonsense\n")), (Vec::new(), Vec::new()));
    }

    #[test]
    fn what_is_spoken_and_not_allowed_is_said_once() {
        let said = |protocol: &str, more: &str, groups: &[&str]| {
            let rules = format!(
                r#"{{"version": 1, "security_groups": {{"a": {{"ingress": [
                {{"protocol": {protocol}, "cidr_blocks": ["10.0.0.0/8"]}}]}}}},
                "interfaces": {{"eni": {{"device": "eth0", "security_groups": ["a"]{more}}}}}}}"#
            );
            let policy = document::read(rules.as_bytes()).policy.unwrap();
            let bindings = crate::compile::pretend_bindings(&policy);
            let joined: Vec<_> =
                groups.iter().map(|group| (bindings[0].ifindex, group.parse().unwrap())).collect();
            notes(&policy, &bindings, &joined)
        };
        let vrrp = ["224.0.0.1", "224.0.0.18", "ff02::12", "224.0.0.251"];
        let notes = said("89", "", &vrrp);
        assert_eq!(notes.len(), 1, "{notes:?}");
        assert!(notes[0].contains("224.0.0.18") && notes[0].contains("VRRP"), "{notes:?}");
        assert_eq!(said("112", "", &vrrp), [""; 0]);
        assert_eq!(said("\"all\"", "", &vrrp), [""; 0]);
        assert_eq!(said("89", r#", "faces": "instance""#, &vrrp), [""; 0]);
        assert_eq!(said("89", r#", "enforce": false"#, &vrrp), [""; 0]);
        assert_eq!(said("89", "", &["224.0.0.5", "ff02::6"]), [""; 0]);
        assert!(said("112", "", &["224.0.0.5"])[0].contains("OSPF"));
        assert!(said("112", "", &["239.1.2.3"])[0].contains("IGMP"));
    }
}

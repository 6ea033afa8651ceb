//! The same rule sets for nftables, in the forms that its users know: rule after rule, and sets of intervals.
//!
//! A set that looks at source, protocol and port at once (`ipv4_addr . inet_proto . inet_service`) is its best for
//! rules, a verdict map of intervals for prefix lists. No counters, and nothing for ARP and neighbour discovery, which
//! our filter always looks for: every rule that is not there makes nftables faster.

use std::fmt::Write as _;

use anyhow::Result;
use fw_tests::netns::Namespace;
pub(crate) use fw_tests::nft::{is_installed, put};
use ipnet::IpNet;

use crate::sets::{LIST_PORTS, Set, Term};

/// How the rules are written, and where they hook in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// One rule after the other, netdev ingress.
    Linear,
    /// Sets, netdev ingress.
    Sets,
    /// Sets behind `ct state`, inet input.
    Tracked,
}

/// Puts a set in force for `eth0` of the namespace.
pub(crate) fn load(namespace: &Namespace, set: &Set, form: Form) -> Result<()> {
    put(namespace, &ruleset(set, form))
}

fn ruleset(set: &Set, form: Form) -> String {
    let mut text = String::new();
    let family = if form == Form::Tracked { "inet" } else { "netdev" };
    let _ = writeln!(text, "table {family} bench {{");
    for (list, port) in LIST_PORTS.iter().enumerate() {
        let _ = writeln!(text, "chain list{list} {{\ntcp dport {port} accept\ndrop\n}}");
    }
    if form != Form::Linear {
        for (name, terms) in [("acl", &set.acl), ("groups", &set.groups)] {
            for (ip, version) in [("ipv4_addr", 4), ("ipv6_addr", 6)] {
                let elements = terms.iter().filter(|term| version_of(&term.net) == version).map(element);
                let kind = format!("{ip} . inet_proto . inet_service");
                declare(&mut text, "set", &format!("{name}{version}"), &kind, elements);
            }
        }
    }
    for (ip, version) in [("ipv4_addr", 4), ("ipv6_addr", 6)] {
        let cidrs = set.cidrs.iter().filter(|(net, _)| version_of(net) == version);
        let elements = cidrs.map(|(net, list)| format!("{net} : goto list{list}"));
        declare(&mut text, "map", &format!("lists{version}"), &format!("{ip} : verdict"), elements);
    }
    let _ = writeln!(text, "chain groups {{");
    terms(&mut text, form, "groups", &set.groups, "accept");
    if !set.cidrs.is_empty() {
        // The port first would spare our frames the look-up, which is what is compared here.
        let _ = writeln!(text, "ip saddr vmap @lists4\nip6 saddr vmap @lists6");
    }
    let _ = writeln!(text, "drop\n}}\nchain judge {{");
    let _ = match form {
        Form::Tracked => writeln!(text, "type filter hook input priority 0; policy accept;"),
        _ => writeln!(text, "type filter hook ingress device \"eth0\" priority 0; policy accept;"),
    };
    let tracked = "ct state established,related accept";
    if set.acl.is_empty() {
        let tracked = if form == Form::Tracked { tracked } else { "" };
        let _ = writeln!(text, "{tracked}\ngoto groups\n}}\n}}");
        return text;
    }
    terms(&mut text, form, "acl", &set.acl, "drop");
    if form == Form::Tracked {
        let _ = writeln!(text, "{tracked}");
    }
    let [ipv4, ipv6] = set.let_on();
    let _ = writeln!(text, "ip saddr {ipv4} goto groups\nip6 saddr {ipv6} goto groups\ndrop\n}}\n}}");
    text
}

/// A set or a map of intervals; nft takes no empty list of elements.
fn declare(text: &mut String, what: &str, name: &str, kind: &str, elements: impl Iterator<Item = String>) {
    let elements: Vec<String> = elements.collect();
    let elements = match elements.as_slice() {
        [] => String::new(),
        some => format!(" elements = {{ {} }}", some.join(", ")),
    };
    let _ = writeln!(text, "{what} {name} {{ type {kind}; flags interval;{elements} }}");
}

/// The terms of one layer, as rules or as the look-up in its sets.
fn terms(text: &mut String, form: Form, name: &str, terms: &[Term], verdict: &str) {
    if terms.is_empty() {
        return;
    }
    if form == Form::Linear {
        for term in terms {
            let ip = if version_of(&term.net) == 4 { "ip" } else { "ip6" };
            let (net, protocol, (low, high)) = (term.net, term.transport.protocol(), term.ports);
            let _ = writeln!(text, "{ip} saddr {net} {protocol} dport {low}-{high} {verdict}");
        }
        return;
    }
    for (ip, version) in [("ip", 4), ("ip6", 6)] {
        let _ = writeln!(text, "{ip} saddr . meta l4proto . th dport @{name}{version} {verdict}");
    }
}

fn element(term: &Term) -> String {
    let (low, high) = term.ports;
    format!("{} . {} . {low}-{high}", term.net, term.transport.protocol())
}

fn version_of(net: &IpNet) -> u8 {
    if net.addr().is_ipv4() { 4 } else { 6 }
}

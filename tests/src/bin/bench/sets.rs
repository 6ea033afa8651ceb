//! Rule sets by size. One of N rules is half a network ACL and half the rules of five groups; one of N CIDRs is two
//! prefix lists, each named by a rule of a group. Both families take turns, so do UDP and TCP.
//!
//! Sources are apart, so that one rule and no other can match: the ACL denies networks of 128.0.0.0/4 and 3000::/4 and
//! lets no other source of theirs in either; the groups allow networks of 32.0.0.0/3 and 2000::/4.

use std::net::{Ipv4Addr, Ipv6Addr};

use fw_tests::workload;
use fw_userspace::model::Policy;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde_json::{Value, json};

/// The address of the server of [`fw_tests::netns::Rig::direct`], by family.
pub(crate) const SERVER: [&str; 2] = ["10.77.1.3", "fd77:1::3"];
/// Prefix lists.
pub(crate) const LISTS: usize = 2;
/// The ports that the rules of the lists open.
pub(crate) const LIST_PORTS: [u16; LISTS] = [443, 8443];
/// A port that no rule names.
pub(crate) const CLOSED_PORT: u16 = 9;
/// What the ACL may let on to the groups, by family: all that is not its own.
const LET_ON: [&str; 2] = ["0.0.0.0/1", "2000::/4"];

/// AWS lets an interface have five groups.
const GROUPS: usize = 5;
/// `rule_number` ends at 32766.
const MOST_ENTRIES: usize = 30_000;

/// TCP is a SYN here: a first packet, which the rules decide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Transport {
    /// A datagram.
    Udp,
    /// A segment that opens a connection.
    Syn,
}

impl Transport {
    /// As rules name it.
    pub(crate) fn protocol(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Syn => "tcp",
        }
    }
}

/// What a rule matches.
#[derive(Clone, Debug)]
pub(crate) struct Term {
    /// The source.
    pub(crate) net: IpNet,
    /// The protocol.
    pub(crate) transport: Transport,
    /// The destination ports.
    pub(crate) ports: (u16, u16),
}

/// A rule set.
pub(crate) struct Set {
    /// Rules or CIDRs.
    pub(crate) size: usize,
    /// What the ACL denies.
    pub(crate) acl: Vec<Term>,
    /// What the groups allow.
    pub(crate) groups: Vec<Term>,
    /// CIDRs, each with the number of its list.
    pub(crate) cidrs: Vec<(IpNet, usize)>,
}

impl Set {
    /// N rules.
    pub(crate) fn rules(size: usize) -> Self {
        let entries = (size / 2).min(MOST_ENTRIES);
        let acl = (0..entries).map(|number| term(number, 0x8000_0000, 0x3000)).collect();
        let groups = (0..size - entries).map(|number| term(number, 0x2000_0000, 0x2000)).collect();
        Self { size, acl, groups, cidrs: Vec::new() }
    }

    /// N CIDRs.
    pub(crate) fn cidrs(cidrs: Vec<(IpNet, usize)>) -> Self {
        Self { size: cidrs.len(), acl: Vec::new(), groups: Vec::new(), cidrs }
    }

    /// Those of one list.
    pub(crate) fn list(&self, number: usize) -> impl Iterator<Item = &IpNet> {
        self.cidrs.iter().filter(move |(_, list)| *list == number).map(|(net, _)| net)
    }

    /// The rules file for `eth0` of the server.
    pub(crate) fn file(&self, mode: &str) -> Vec<u8> {
        let mut groups = vec![Vec::new(); GROUPS];
        for (number, term) in self.groups.iter().enumerate() {
            groups[number % GROUPS].push(json!({
                "id": format!("rule-{number}"), "protocol": term.transport.protocol(),
                "from_port": term.ports.0, "to_port": term.ports.1, "cidr_blocks": [term.net],
            }));
        }
        let mut lists = serde_json::Map::new();
        for (number, port) in LIST_PORTS.iter().enumerate() {
            let (name, entries) = (format!("list-{number}"), self.list(number).collect::<Vec<_>>());
            if !entries.is_empty() {
                groups[number]
                    .push(json!({ "id": name, "protocol": "tcp", "from_port": port, "to_port": port,
                    "prefix_lists": [name] }));
                lists.insert(name, json!({ "entries": entries }));
            }
        }
        let names: Vec<String> = (0..GROUPS).map(|group| format!("group-{group}")).collect();
        let groups: serde_json::Map<String, Value> =
            names.iter().cloned().zip(groups.into_iter().map(|rules| json!({ "ingress": rules }))).collect();
        let mut file = json!({
            "version": 1,
            "security_groups": groups,
            "interfaces": { "server": {
                "addresses": SERVER, "security_groups": names, "device": "eth0", "mode": mode,
            } },
        });
        if !lists.is_empty() {
            file["prefix_lists"] = Value::Object(lists);
        }
        if !self.acl.is_empty() {
            let all = json!([{ "rule_number": 1, "action": "allow", "protocol": "all", "cidr_block": "0.0.0.0/0" },
                { "rule_number": 2, "action": "allow", "protocol": "all", "cidr_block": "::/0" }]);
            file["subnets"] = json!({ "bench": { "cidr_blocks": ["10.77.1.0/24", "fd77:1::/64"], "network_acl": "bench" } });
            file["network_acls"] = json!({ "bench": { "ingress": self.entries(), "egress": all } });
            file["interfaces"]["server"]["subnet"] = json!("bench");
        }
        file.to_string().into_bytes()
    }

    /// The same, read.
    pub(crate) fn policy(&self, mode: &str) -> anyhow::Result<(Vec<u8>, Policy)> {
        let source = self.file(mode);
        let policy = workload::policy(&source)?;
        Ok((source, policy))
    }

    fn entries(&self) -> Vec<Value> {
        let denies = self.acl.iter().map(|term| {
            json!({ "action": "deny", "protocol": term.transport.protocol(), "from_port": term.ports.0,
                "to_port": term.ports.1, "cidr_block": term.net })
        });
        let allows =
            LET_ON.iter().map(|net| json!({ "action": "allow", "protocol": "all", "cidr_block": net }));
        let mut entries: Vec<Value> = denies.chain(allows).collect();
        for (entry, number) in entries.iter_mut().zip(1..) {
            entry["rule_number"] = json!(number);
        }
        entries
    }

    /// What the ACL lets on to the groups, by family.
    pub(crate) fn let_on(&self) -> [&'static str; 2] {
        LET_ON
    }
}

/// The n-th term from these bases: a /24 or a /48 of its own, and 51 ports above 1023.
fn term(number: usize, ipv4: u32, ipv6: u16) -> Term {
    // Odd multipliers are permutations of the numbers below a power of two: no network comes twice.
    let scattered = (number as u32).wrapping_mul(0x9e37_79b1);
    let net = if number.is_multiple_of(2) {
        Ipv4Net::new_assert(Ipv4Addr::from(ipv4 | (scattered & 0x000f_ffff) << 8), 24).into()
    } else {
        let [high, low] = [(scattered >> 16 & 0x0fff) as u16, scattered as u16];
        Ipv6Net::new_assert(Ipv6Addr::new(ipv6 | high, low, 0, 0, 0, 0, 0, 0), 48).into()
    };
    let transport = if (number / 2).is_multiple_of(2) { Transport::Udp } else { Transport::Syn };
    let port = 1024 + (number * 17 % 60_000) as u16;
    Term { net, transport, ports: (port, port + 50) }
}

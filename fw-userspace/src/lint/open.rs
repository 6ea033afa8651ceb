//! Ports of administration and of databases that are open to every address.
//!
//! An address range counts as every address if the CIDRs of a rule, those of its prefix lists included, together have
//! all of a family: two halves are no less open than one whole.

use fw_common::Direction;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use super::{Code, Lints, Place, rules};
use crate::model::{GroupRule, Policy, PortRange, Traffic};

pub(super) fn check<'p>(policy: &'p Policy, lints: &mut Lints<'_, 'p>) {
    for (group, direction, index, rule) in rules(policy) {
        if direction == Direction::Egress {
            continue;
        }
        let Some((code, what)) = exposed(rule.traffic) else { continue };
        if let Some(everywhere) = everywhere(rule, policy) {
            let message = format!("{what} open to {everywhere}");
            lints.say(Place::Rule(group, direction, index), code, message);
        }
    }
}

/// What the traffic of a rule gives away, the gravest first.
fn exposed(traffic: Traffic) -> Option<(Code, String)> {
    let (protocol, PortRange { from, to }) = match traffic {
        Traffic::All => return Some((Code::OpenEverything, "every protocol and port is".to_owned())),
        Traffic::Tcp(ports) => (Protocol::Tcp, ports),
        Traffic::Udp(ports) => (Protocol::Udp, ports),
        _ => return None,
    };
    if (from, to) == (0, 0xffff) {
        return Some((Code::OpenEverything, format!("every {} port is", protocol.name())));
    }
    let of = |services: &[Service]| -> Option<String> {
        let open: Vec<String> = services
            .iter()
            .filter(|service| service.1 == protocol && (from..=to).contains(&service.0))
            .map(|(port, _, name)| format!("{} {port} ({name})", protocol.name()))
            .collect();
        match open.as_slice() {
            [] => None,
            [only] => Some(format!("{only} is")),
            [first, others @ ..] => Some(format!("{first} and {} more such ports are", others.len())),
        }
    };
    let administration = of(ADMINISTRATION).map(|what| (Code::OpenAdministration, what));
    administration.or_else(|| of(DATABASES).map(|what| (Code::OpenDatabase, what)))
}

/// `0.0.0.0/0`, `::/0` or both.
fn everywhere(rule: &GroupRule, policy: &Policy) -> Option<String> {
    let lists = rule.prefix_lists.iter().filter_map(|name| policy.prefix_lists.get(name));
    let nets: Vec<IpNet> = lists.flat_map(|list| &list.entries).chain(&rule.cidr_blocks).copied().collect();
    let all = IpNet::aggregate(&nets);
    let [ipv4, ipv6] = [IpNet::V4(Ipv4Net::default()), IpNet::V6(Ipv6Net::default())];
    match (all.contains(&ipv4), all.contains(&ipv6)) {
        (true, true) => Some(format!("{ipv4} and {ipv6}")),
        (true, false) => Some(ipv4.to_string()),
        (false, true) => Some(ipv6.to_string()),
        (false, false) => None,
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Protocol {
    Tcp,
    Udp,
}

impl Protocol {
    fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
        }
    }
}

type Service = (u16, Protocol, &'static str);

/// <https://docs.aws.amazon.com/securityhub/latest/userguide/ec2-controls.html>, EC2.19, without web servers' ports
const ADMINISTRATION: &[Service] = &[
    (20, Protocol::Tcp, "FTP"),
    (21, Protocol::Tcp, "FTP"),
    (22, Protocol::Tcp, "SSH"),
    (23, Protocol::Tcp, "Telnet"),
    (135, Protocol::Tcp, "RPC"),
    (161, Protocol::Udp, "SNMP"),
    (445, Protocol::Tcp, "SMB"),
    (623, Protocol::Udp, "IPMI"),
    (2375, Protocol::Tcp, "Docker"),
    (2376, Protocol::Tcp, "Docker"),
    (3389, Protocol::Tcp, "RDP"),
    (3389, Protocol::Udp, "RDP"),
    (5900, Protocol::Tcp, "VNC"),
    (5985, Protocol::Tcp, "WinRM"),
    (5986, Protocol::Tcp, "WinRM"),
    (6443, Protocol::Tcp, "Kubernetes"),
    (10250, Protocol::Tcp, "kubelet"),
];

/// The ports that prowler checks as `ec2_securitygroup_allow_ingress_from_internet_to_tcp_port_*`, and etcd's.
const DATABASES: &[Service] = &[
    (1433, Protocol::Tcp, "SQL Server"),
    (1434, Protocol::Udp, "SQL Server"),
    (1521, Protocol::Tcp, "Oracle"),
    (2379, Protocol::Tcp, "etcd"),
    (2483, Protocol::Tcp, "Oracle"),
    (3306, Protocol::Tcp, "MySQL"),
    (5432, Protocol::Tcp, "PostgreSQL"),
    (5601, Protocol::Tcp, "Kibana"),
    (6379, Protocol::Tcp, "Redis"),
    (7199, Protocol::Tcp, "Cassandra"),
    (9042, Protocol::Tcp, "Cassandra"),
    (9092, Protocol::Tcp, "Kafka"),
    (9160, Protocol::Tcp, "Cassandra"),
    (9200, Protocol::Tcp, "Elasticsearch"),
    (9300, Protocol::Tcp, "Elasticsearch"),
    (11211, Protocol::Tcp, "memcached"),
    (11211, Protocol::Udp, "memcached"),
    (27017, Protocol::Tcp, "MongoDB"),
    (27018, Protocol::Tcp, "MongoDB"),
];

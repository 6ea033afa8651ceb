//! Lists of CIDRs: host bits cleared, duplicates dropped, both said.

use std::collections::HashSet;

use ipnet::IpNet;

use super::super::network::Cidr;
use super::super::report::Report;
use super::super::value::{At, Field, List};

/// The blocks of the list under `key`.
pub(super) fn net_list(key: &str, field: &Field<List<Cidr>>, report: &mut Report<'_>) -> Vec<IpNet> {
    nets(key, field.list().iter(), report)
}

/// The blocks of some written CIDRs.
pub(super) fn nets<'d>(
    key: &str,
    written: impl ExactSizeIterator<Item = &'d At<Cidr>>,
    report: &mut Report<'_>,
) -> Vec<IpNet> {
    let mut seen = HashSet::with_capacity(written.len());
    let mut nets = Vec::with_capacity(written.len());
    for cidr in written {
        let net = net(key, cidr, report);
        if seen.insert(net) {
            nets.push(net);
        } else {
            report.warning(cidr.at, format!("{key:?} has {net} twice, remove one"));
        }
    }
    nets
}

/// One block. AWS clears host bits in the same way.
/// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_IpRange.html>
pub(super) fn net(key: &str, cidr: &At<Cidr>, report: &mut Report<'_>) -> IpNet {
    let written = cidr.value.0;
    let net = written.trunc();
    if net != written {
        report.note(cidr.at, format!("{key:?} has {written} with host bits set, taken as {net}"));
    }
    net
}

/// Whether two blocks share an address.
pub(super) fn overlap(one: &IpNet, other: &IpNet) -> bool {
    one.contains(other) || other.contains(one)
}

/// `10.0.0.0/8, 2001:db8::/32`, shortened.
pub(super) fn listed(nets: &[IpNet]) -> String {
    let mut shown: Vec<String> = nets.iter().take(MAX_LISTED).map(IpNet::to_string).collect();
    if nets.len() > MAX_LISTED {
        shown.push(format!("and {} more", nets.len() - MAX_LISTED));
    }
    shown.join(", ")
}

const MAX_LISTED: usize = 8;

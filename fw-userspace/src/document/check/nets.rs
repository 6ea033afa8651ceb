//! Lists of CIDRs: host bits cleared, duplicates dropped, both said.

use ipnet::IpNet;

use super::super::network::Cidr;
use super::super::report::Report;
use super::super::value::{At, Field, List};
use crate::lint::Code;

/// The blocks of the list under `key`.
pub(super) fn net_list(key: &str, field: &Field<List<Cidr>>, report: &mut Report<'_>) -> Vec<IpNet> {
    nets(key, field.list().iter(), report)
}

/// The blocks of some written CIDRs.
pub(super) fn nets<'d>(
    key: &str,
    written: impl ExactSizeIterator<Item = &'d At<Cidr>> + Clone,
    report: &mut Report<'_>,
) -> Vec<IpNet> {
    let mut nets: Vec<IpNet> = Vec::with_capacity(written.len());
    for cidr in written.clone() {
        nets.push(net(key, cidr, report));
    }
    let mut again = repeated(&nets).into_iter().peekable();
    if again.peek().is_none() {
        return nets;
    }
    let mut unique = Vec::with_capacity(nets.len());
    for (place, (net, cidr)) in nets.into_iter().zip(written).enumerate() {
        if again.next_if_eq(&place).is_some() {
            report.say(cidr.at, Code::ValueRepeated, format!("{key:?} has {net} twice, remove one"));
        } else {
            unique.push(net);
        }
    }
    unique
}

/// Places of the blocks that stand further in front already, sorted.
fn repeated(nets: &[IpNet]) -> Vec<usize> {
    if nets.len() < 2 {
        return Vec::new();
    }
    // Sorting packed numbers takes half as long as a set of a million, which the caches do not hold.
    let mut ipv4: Vec<(u64, usize)> = Vec::new();
    let mut ipv6: Vec<((u128, u8), usize)> = Vec::new();
    for (place, net) in nets.iter().enumerate() {
        match net {
            IpNet::V4(net) => {
                let key = u64::from(u32::from(net.addr())) << 8 | u64::from(net.prefix_len());
                ipv4.push((key, place));
            }
            IpNet::V6(net) => ipv6.push(((u128::from(net.addr()), net.prefix_len()), place)),
        }
    }
    let mut places = repeats(ipv4);
    places.extend(repeats(ipv6));
    places.sort_unstable();
    places
}

fn repeats<K: Ord>(mut keys: Vec<(K, usize)>) -> Vec<usize> {
    keys.sort_unstable();
    keys.windows(2).filter(|pair| pair[0].0 == pair[1].0).map(|pair| pair[1].1).collect()
}

/// One block. AWS clears host bits in the same way.
/// <https://docs.aws.amazon.com/AWSEC2/latest/APIReference/API_IpRange.html>
pub(super) fn net(key: &str, cidr: &At<Cidr>, report: &mut Report<'_>) -> IpNet {
    let written = cidr.value.0;
    let net = written.trunc();
    if net != written {
        report.say(
            cidr.at,
            Code::HostBitsCleared,
            format!("{key:?} has {written} with host bits set, taken as {net}"),
        );
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

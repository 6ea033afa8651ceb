//! AWS's quotas. Whoever exceeds one is warned and nothing more: this host has no such limit, most of AWS's can be
//! raised, and rules that are to be taken over into an account should be seen not to fit it.
//! <https://docs.aws.amazon.com/vpc/latest/userguide/amazon-vpc-limits.html>

use ipnet::IpNet;

use super::super::report::Report;
use crate::lint::Code;
use crate::model::PrefixList;

/// A quota and the error that AWS's API answers with.
struct Quota {
    default: u64,
    /// As far as it can be raised.
    most: u64,
    error: &'static str,
}

/// Each direction, each family by itself. `most` is that of an interface with one group: the quota times the groups
/// per interface may not exceed 1000.
const RULES: Quota = Quota { default: 60, most: 1000, error: "RulesPerSecurityGroupLimitExceeded" };
/// Each direction, both families together.
const ENTRIES: Quota = Quota { default: 20, most: 40, error: "NetworkAclEntryLimitExceeded" };
/// `most` is the only quota that is enforced here too, see [`groups`].
const GROUPS: Quota = Quota { default: 5, most: 16, error: "SecurityGroupsPerInterfaceLimitExceeded" };

impl Quota {
    /// What to say about `count`, if it is too high.
    fn exceeded(&self, count: u64) -> Option<String> {
        let Self { default, most, error } = self;
        if count > *most {
            Some(format!("AWS takes at most {most} even if the quota was raised ({error})"))
        } else if count > *default {
            Some(format!("AWS takes {default} unless the quota was raised ({error})"))
        } else {
            None
        }
    }
}

/// What the rules of one direction of a group count: IPv4, IPv6. Every peer is a rule of its own.
#[derive(Default)]
pub(super) struct RuleCount([u64; 2]);

impl RuleCount {
    pub(super) fn add_nets(&mut self, nets: &[IpNet]) {
        let [ipv4, ipv6] = by_family(nets);
        self.add(ipv4, ipv6);
    }

    /// A reference to a group matches both families, so it counts in both.
    pub(super) fn add_group(&mut self) {
        self.add(1, 1);
    }

    /// A list counts `max_entries`, however many it has now. AWS's have one family; one of both families here counts
    /// its entries each in theirs, and the room that is left in both.
    pub(super) fn add_prefix_list(&mut self, list: &PrefixList) {
        let entries = by_family(&list.entries);
        let room = u64::from(list.max_entries).saturating_sub(list.entries.len() as u64);
        let counts = |family: usize| match entries[family] {
            0 if !list.entries.is_empty() => 0,
            own => own.saturating_add(room),
        };
        self.add(counts(0), counts(1));
    }

    /// `key` is the direction, whose list starts at `at`.
    pub(super) fn check(&self, key: &str, at: usize, report: &mut Report<'_>) {
        for (family, count) in ["IPv4", "IPv6"].into_iter().zip(self.0) {
            if let Some(quota) = RULES.exceeded(count) {
                report.say(
                    at,
                    Code::QuotaExceeded,
                    format!("{key:?} counts as {count} {family} rules, {quota}"),
                );
            }
        }
    }

    fn add(&mut self, ipv4: u64, ipv6: u64) {
        let [own4, own6] = self.0;
        self.0 = [own4.saturating_add(ipv4), own6.saturating_add(ipv6)];
    }
}

fn by_family(nets: &[IpNet]) -> [u64; 2] {
    let ipv4 = nets.iter().filter(|net| net.addr().is_ipv4()).count();
    [ipv4 as u64, (nets.len() - ipv4) as u64]
}

/// The entries of one direction of a network ACL; the implicit last ones are not among them.
pub(super) fn entries(key: &str, at: usize, count: usize, report: &mut Report<'_>) {
    if let Some(quota) = ENTRIES.exceeded(count as u64) {
        report.say(at, Code::QuotaExceeded, format!("{key:?} has {count} entries, {quota}"));
    }
}

/// The groups of an interface. No account has more than the highest quota, and no AWS host judged by so many.
pub(super) fn groups(at: usize, count: usize, report: &mut Report<'_>) {
    let Some(quota) = GROUPS.exceeded(count as u64) else { return };
    if count as u64 > GROUPS.most {
        let message = format!(
            "\"security_groups\" has {count} groups, must be at most {} ({})",
            GROUPS.most, GROUPS.error
        );
        report.say(at, Code::ValueConflict, message);
    } else {
        report.say(at, Code::QuotaExceeded, format!("\"security_groups\" has {count} groups, {quota}"));
    }
}

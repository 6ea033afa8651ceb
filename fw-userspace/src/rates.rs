//! Packets and bits per second, between two readings of the counters.

use std::hash::Hash;

use rustc_hash::FxHashMap;

use crate::report::{ReasonStats, RuleStats, Stats};

/// How fast something counts.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Rate {
    /// Packets per second.
    pub packets: f64,
    /// Bits per second.
    pub bits: f64,
}

impl std::ops::AddAssign for Rate {
    fn add_assign(&mut self, other: Self) {
        self.packets += other.packets;
        self.bits += other.bits;
    }
}

/// What had been counted before, and how long ago that was.
pub struct Rates<'a> {
    reasons: FxHashMap<ReasonKey<'a>, (u64, u64)>,
    rules: FxHashMap<RuleKey<'a>, (u64, u64)>,
    seconds: f64,
}

type ReasonKey<'a> = (&'a str, &'a str, &'a str, &'a str, &'a str);
type RuleKey<'a> = (&'a str, &'a str, &'a str, &'a str);

impl<'a> Rates<'a> {
    /// Since an earlier reading.
    pub fn since(before: &'a Stats, seconds: f64) -> Self {
        let reasons = before.reasons.iter().map(|row| (reason_key(row), (row.packets, row.bytes)));
        let rules = before.rules.iter().map(|row| (rule_key(row), (row.packets, row.bytes)));
        Self { reasons: reasons.collect(), rules: rules.collect(), seconds }
    }

    /// Of a counter of an interface; one that was not there before has counted from zero on.
    pub fn of_reason(&self, row: &'a ReasonStats) -> Rate {
        self.rate(&self.reasons, reason_key(row), row.packets, row.bytes)
    }

    /// Of a rule. One that was not there before may have counted in an earlier life: it is given a rate the next time.
    pub fn of_rule(&self, row: &'a RuleStats) -> Rate {
        let key = rule_key(row);
        if self.rules.contains_key(&key) {
            self.rate(&self.rules, key, row.packets, row.bytes)
        } else {
            Rate::default()
        }
    }

    fn rate<K: Eq + Hash>(
        &self,
        before: &FxHashMap<K, (u64, u64)>,
        key: K,
        packets: u64,
        bytes: u64,
    ) -> Rate {
        if self.seconds <= 0.0 {
            return Rate::default();
        }
        let (old_packets, old_bytes) = before.get(&key).copied().unwrap_or_default();
        // Counters that began anew, after an unload, are less than they were.
        let per_second = |now: u64, old: u64| now.saturating_sub(old) as f64 / self.seconds;
        Rate { packets: per_second(packets, old_packets), bits: per_second(bytes, old_bytes) * 8.0 }
    }
}

fn reason_key(row: &ReasonStats) -> ReasonKey<'_> {
    (&row.interface, row.direction, row.verdict, row.layer, row.reason)
}

fn rule_key(row: &RuleStats) -> RuleKey<'_> {
    (row.kind, &row.id, row.direction, &row.rule)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stats(packets: u64, bytes: u64) -> Stats {
        let reason = ReasonStats {
            interface: "web".to_owned(),
            direction: "ingress",
            verdict: "deny",
            layer: "security_group",
            reason: "no_group_rule",
            says: "",
            packets,
            bytes,
        };
        let rule = RuleStats {
            kind: "security_group",
            id: "sg".to_owned(),
            direction: "ingress",
            rule: "http".to_owned(),
            description: None,
            packets,
            bytes,
        };
        Stats { generation: 1, reasons: vec![reason], rules: vec![rule] }
    }

    #[test]
    fn what_was_counted_between_by_the_time_between() {
        let (before, now) = (stats(10, 1000), stats(30, 5000));
        let rates = Rates::since(&before, 2.0);
        let rate = Rate { packets: 10.0, bits: 16_000.0 };
        assert_eq!(rates.of_reason(&now.reasons[0]), rate);
        assert_eq!(rates.of_rule(&now.rules[0]), rate);
    }

    #[test]
    fn what_is_new_or_began_anew_has_no_wild_rate() {
        let (before, now) = (stats(10, 1000), stats(3, 300));
        assert_eq!(Rates::since(&before, 1.0).of_reason(&now.reasons[0]), Rate::default());
        assert_eq!(Rates::since(&before, 0.0).of_reason(&stats(20, 2000).reasons[0]), Rate::default());
        let nothing = Stats { reasons: Vec::new(), rules: Vec::new(), ..before };
        let rates = Rates::since(&nothing, 1.0);
        assert_eq!(rates.of_reason(&now.reasons[0]).packets, 3.0);
        assert_eq!(rates.of_rule(&now.rules[0]), Rate::default());
    }
}

//! What `stats` says: counters by interface, direction and reason, and by rule.

use std::collections::BTreeMap;

use fw_userspace::report::{ReasonStats, RuleStats, Stats};

use super::Output;
use super::monitor::tone;
use super::table::{Field, Table, number, words};
use super::units::bytes;

/// Both tables.
pub(crate) fn print(output: &mut Output, stats: &Stats) {
    output.line(format!("generation {}", stats.generation));
    if stats.reasons.is_empty() {
        output.line("no packet has been judged yet");
    }
    reasons(output, &stats.reasons);
    rules(output, &stats.rules);
}

fn reasons(output: &mut Output, reasons: &[ReasonStats]) {
    let columns = &["interface", "direction", "verdict", "layer", "reason", "packets", "bytes"];
    let mut table = Table::new("packets", columns);
    for reason in reasons {
        table.row([
            words(&reason.interface),
            words(reason.direction),
            verdict(reason.verdict),
            words(reason.layer),
            words(reason.reason),
            number(reason.packets),
            number(bytes(reason.bytes)),
        ]);
    }
    table.print(output);
    explain_denials(output, reasons);
}

/// The sentence behind each word of a denial: whoever reads this was paged for them.
fn explain_denials(output: &mut Output, reasons: &[ReasonStats]) {
    let denied = reasons.iter().filter(|reason| reason.verdict != "allow");
    let meanings: BTreeMap<&str, &str> = denied.map(|reason| (reason.reason, reason.says)).collect();
    if meanings.is_empty() {
        return;
    }
    let mut table = Table::new("what the denials mean", &["reason", "says"]);
    for (reason, says) in meanings {
        table.row([words(reason), words(says)]);
    }
    table.print(output);
}

fn rules(output: &mut Output, rules: &[RuleStats]) {
    let columns = &["layer", "name", "direction", "rule", "packets", "bytes", "description"];
    let mut table =
        Table::new("rules: first packets of connections, and packets no connection answered for", columns);
    for rule in rules {
        table.row([
            words(rule.kind),
            words(&rule.id),
            words(rule.direction),
            words(&rule.rule),
            number(rule.packets),
            number(bytes(rule.bytes)),
            words(rule.description.as_deref().unwrap_or_default()),
        ]);
    }
    table.print(output);
}

fn verdict(verdict: &str) -> Field {
    words(verdict).tone(tone(verdict))
}

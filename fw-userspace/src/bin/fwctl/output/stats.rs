//! What `stats` says: counters by interface, direction and reason, and by rule.

use fw_userspace::report::{ReasonStats, RuleStats, Stats};

use super::Output;
use super::table::{Field, Table, Tone, number, words};
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
    let tone = match verdict {
        "allow" => Tone::Good,
        "deny" => Tone::Bad,
        _ => Tone::Doubtful,
    };
    words(verdict).tone(tone)
}

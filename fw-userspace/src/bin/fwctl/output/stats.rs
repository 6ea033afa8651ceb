//! What `stats` says: counters by interface, direction and reason, and by rule.

use std::collections::BTreeMap;

use fw_userspace::rates::{Rate, Rates};
use fw_userspace::report::{ReasonStats, RuleStats, Stats};

use super::Output;
use super::monitor::tone;
use super::table::{Field, Table, number, words};
use super::units::{bytes, si};

/// Both tables; the second drawing and those after it have rates.
pub(crate) fn print(output: &mut Output, stats: &Stats, rates: Option<&Rates<'_>>) {
    output.line(format!("generation {}", stats.generation));
    if stats.reasons.is_empty() {
        output.line("no packet has been judged yet");
    }
    reasons(output, &stats.reasons, rates);
    rules(output, &stats.rules, rates);
}

fn reasons(output: &mut Output, reasons: &[ReasonStats], rates: Option<&Rates<'_>>) {
    let columns =
        &["interface", "direction", "verdict", "layer", "reason", "packets", "bytes", "packets/s", "bit/s"];
    let mut table = Table::new("packets", of_watch(columns, rates));
    for reason in reasons {
        table.row_of(
            [
                words(&reason.interface),
                words(reason.direction),
                verdict(reason.verdict),
                words(reason.layer),
                words(reason.reason),
                number(reason.packets),
                number(bytes(reason.bytes)),
            ]
            .into_iter()
            .chain(rates.into_iter().flat_map(|rates| rate(rates.of_reason(reason)))),
        );
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

fn rules(output: &mut Output, rules: &[RuleStats], rates: Option<&Rates<'_>>) {
    let columns =
        &["layer", "name", "direction", "rule", "packets", "bytes", "description", "packets/s", "bit/s"];
    // An ACL has no state: its entries see every packet.
    let has_entries = rules.iter().any(|rule| rule.kind == "network_acl");
    let title = if has_entries {
        "rules: of groups first packets of connections, and packets no connection answered for; of network ACLs every \
         packet that an entry denies, or lets on and that passes"
    } else {
        "rules: first packets of connections, and packets no connection answered for"
    };
    let mut table = Table::new(title, of_watch(columns, rates));
    for rule in rules {
        table.row_of(
            [
                words(rule.kind),
                words(&rule.id),
                words(rule.direction),
                words(&rule.rule),
                number(rule.packets),
                number(bytes(rule.bytes)),
                words(rule.description.as_deref().unwrap_or_default()),
            ]
            .into_iter()
            .chain(rates.into_iter().flat_map(|rates| rate(rates.of_rule(rule)))),
        );
    }
    table.print(output);
}

/// The columns without those of the rates, which are the last two, unless there are any.
fn of_watch(columns: &'static [&'static str], rates: Option<&Rates<'_>>) -> &'static [&'static str] {
    if rates.is_some() { columns } else { columns.get(..columns.len() - 2).unwrap_or_default() }
}

fn rate(rate: Rate) -> [Field; 2] {
    [rate.packets, rate.bits].map(|rate| number(si(rate)))
}

fn verdict(verdict: &str) -> Field {
    words(verdict).tone(tone(verdict))
}

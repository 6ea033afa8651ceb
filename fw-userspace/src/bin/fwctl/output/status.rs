//! What `status` says: is everything enforced that should be, since when, and is there room left.

use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use fw_userspace::report::{EthertypeStatus, InterfaceStatus, Status, TableStatus};

use super::Output;
use super::load::{Effect, command, hooks, named, pending};
use super::table::{Table, Tone, list, number, words};
use super::units::{count, plain, seconds, share, utc};

/// The verdict first, then what it rests on.
pub(crate) fn print(output: &mut Output, status: &Status, bpffs: &Path) {
    let health = match (status.in_force, status.healthy) {
        (false, _) => {
            "not healthy: nothing is in force, the rules were not confirmed in time and there were none before"
        }
        (true, true) => "healthy",
        (true, false) => "not healthy: a hook that should be there is not",
    };
    output.line(format!(
        "{health}; generation {}, {} in force since {}, {} ago, state in {}",
        status.generation,
        count(status.rules, "rule"),
        utc(status.loaded_at),
        seconds(age(status.loaded_at)),
        plain(&status.bpffs)
    ));
    if let Some(left) = status.confirm_within_s {
        let confirm = command(bpffs, "confirm");
        output.line(format!("not confirmed: run `{confirm}` within {left} s, or the rules before come back"));
    }
    if status.reverted && status.in_force {
        output.line("the last load was not confirmed in time: the rules before it are in force again");
    }
    hooks(output, &status.hooks, Effect::Done);
    pending(output, &status.pending);
    interfaces(output, &status.interfaces);
    tables(output, &status.tables);
    ethertypes(output, &status.ethertypes);
    if !status.healthy {
        output.line("");
        output.line(format!("run `{}` to attach again", command(bpffs, "load FILE")));
    }
}

fn interfaces(output: &mut Output, interfaces: &[InterfaceStatus]) {
    let columns = &["interface", "devices", "faces", "drops", "addresses", "security groups", "network acl"];
    let mut table = Table::new("interfaces", columns);
    for interface in interfaces {
        table.row([
            named(&interface.interface, interface.kind),
            list(&interface.devices),
            words(interface.faces),
            if interface.enforce { words("enforced") } else { words("counted only").tone(Tone::Doubtful) },
            list(&interface.addresses),
            list(&interface.security_groups),
            words(interface.network_acl.as_deref().unwrap_or_default()),
        ]);
    }
    table.print(output);
}

fn tables(output: &mut Output, tables: &[TableStatus]) {
    let mut table = Table::new("tables", &["table", "used", "capacity", "full"]);
    for TableStatus { table: name, used, capacity } in tables {
        let tone = match used * 100 / (*capacity).max(1) {
            0..80 => Tone::Neutral,
            80..95 => Tone::Doubtful,
            _ => Tone::Bad,
        };
        table.row([
            words(name.replace('_', " ")),
            number(used),
            number(capacity),
            number(share(*used, *capacity)).tone(tone),
        ]);
    }
    table.print(output);
}

fn ethertypes(output: &mut Output, ethertypes: &[EthertypeStatus]) {
    let mut table = Table::new("dropped ethertypes", &["interface", "ethertype", "frames"]);
    for EthertypeStatus { interface, ethertype, frames } in ethertypes {
        table.row([words(interface), words(ethertype), number(frames)]);
    }
    table.print(output);
}

/// Seconds since then; none if the clock was set back.
fn age(since_epoch: u64) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.as_secs().saturating_sub(since_epoch)
}

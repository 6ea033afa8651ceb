//! What `load`, `confirm`, `rollback`, `attach` and `detach` did.

use std::path::Path;

use fw_userspace::report::{HookReport, LoadReport, PendingDevice, TakenOver};

use super::Output;
use super::table::{Field, Table, Tone, number, words};
use super::units::{bytes, count, milliseconds, plain, seconds};
use crate::args::DEFAULT_BPFFS;

/// Whether it was done, or only tried out.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    Done,
    DryRun,
}

/// The summary, `said` first: `loaded "rules.json"`.
pub(crate) fn print(output: &mut Output, said: &str, report: &LoadReport, effect: Effect, bpffs: &Path) {
    let LoadReport { generation, rules, hooks: all, .. } = report;
    output.line(format!(
        "{}: generation {generation}, {} at {}",
        plain(said),
        count(*rules, "rule"),
        count(all.len(), "hook")
    ));
    hooks(output, all, effect);
    pending(output, &report.pending);
    output.line("");
    if !report.detached.is_empty() {
        let devices = report.detached.join("\", \"");
        let devices = plain(&devices);
        let when = match (effect, report.confirm_within_s) {
            (Effect::DryRun, _) => "would no longer be filtered",
            (Effect::Done, Some(_)) => "filtered until the rules are confirmed",
            (Effect::Done, None) => "no longer filtered",
        };
        output.line(format!("devices that left the rules, {when}: \"{devices}\""));
    }
    cost(output, report);
    taken_over(output, &report.taken_over_by);
    if report.adopt_s > 0 {
        output
            .line(format!("connections older than the rules are taken over for {}", seconds(report.adopt_s)));
    }
    for note in &report.notes {
        output.line(format!("note: {}", plain(note)));
    }
    if let (Some(left), Effect::Done) = (report.confirm_within_s, effect) {
        output.line(format!(
            "run `{}` within {left} s, or the kernel goes back to what was enforced before",
            command(bpffs, "confirm")
        ));
    }
}

fn cost(output: &mut Output, report: &LoadReport) {
    let rules = bytes(report.policy_bytes);
    let memory = match report.memory_bytes {
        Some(all) => format!("memory {}, rules {rules} of it", bytes(all)),
        None => format!("memory for rules {rules}"),
    };
    let times = match (report.compile_ms, report.total_ms) {
        (Some(compile), Some(total)) => {
            format!("; compiled in {}, done in {}", milliseconds(compile), milliseconds(total))
        }
        _ => String::new(),
    };
    output.line(format!("{memory}{times}"));
}

/// A line for each kind of knowledge, and of each instance.
fn taken_over(output: &mut Output, taken: &[TakenOver]) {
    let same = |one: &TakenOver, next: &TakenOver| {
        (one.knowledge, &one.instance) == (next.knowledge, &next.instance)
    };
    for alike in taken.chunk_by(same) {
        let Some(TakenOver { knowledge, instance, .. }) = alike.first() else { continue };
        let whose = instance.as_ref().map_or_else(
            || "this host".to_owned(),
            |instance| format!("the instance \"{}\"", plain(instance)),
        );
        let counts: Vec<String> =
            alike.iter().map(|TakenOver { protocol, entries, .. }| format!("{entries} {protocol}")).collect();
        let counts = counts.join(", ");
        output.line(match *knowledge {
            "sockets" => format!("taken over, as sockets of {whose}: {counts}"),
            "connection_tracking" => {
                format!("taken over, as the kernel tracks them for {whose}: {counts}")
            }
            _ => format!("awaited for 10 s, answers to questions of {whose}: {counts}"),
        });
    }
}

/// A line per hook, and what sees packets before it.
pub(super) fn hooks(output: &mut Output, hooks: &[HookReport], effect: Effect) {
    let mut table = Table::new("hooks", &["interface", "device", "index", "side", "hook", "state", "why"]);
    for hook in hooks {
        table.row([
            named(&hook.interface, hook.kind),
            words(&hook.device),
            number(hook.ifindex),
            words(hook.side),
            words(hook.hook),
            state(hook, effect),
            words(&hook.why),
        ]);
    }
    table.print(output);
    for hook in hooks.iter().filter(|hook| !hook.ahead.is_empty()) {
        let (device, side, ahead) = (plain(&hook.device), hook.side, hook.ahead.join("\", \""));
        let ahead = plain(&ahead);
        output.line(format!("  {device:?} {side}: \"{ahead}\" sees packets first and may decide about them"));
    }
}

/// A line per device that does not exist yet.
pub(super) fn pending(output: &mut Output, pending: &[PendingDevice]) {
    let mut table =
        Table::new("pending: filtered as soon as the device is attached", &["interface", "device"]);
    for PendingDevice { interface, device } in pending {
        table.row([words(interface), words(device).tone(Tone::Doubtful)]);
    }
    table.print(output);
}

/// `eni-web`, or `subnet-a (subnet)` for a router's leg.
pub(super) fn named(name: &str, kind: &str) -> Field {
    if kind == "interface" { words(name) } else { words(format!("{name} ({kind})")) }
}

/// The command line for `verb` of this instance.
pub(super) fn command(bpffs: &Path, verb: &str) -> String {
    if bpffs == Path::new(DEFAULT_BPFFS) {
        format!("fwctl {verb}")
    } else {
        format!("fwctl --bpffs {} {verb}", bpffs.display())
    }
}

fn state(hook: &HookReport, effect: Effect) -> Field {
    match (&hook.problem, hook.attached, effect) {
        (Some(problem), _, _) => words(problem).tone(Tone::Bad),
        (None, true, _) => words("attached").tone(Tone::Good),
        (None, false, Effect::DryRun) => words("would attach"),
        (None, false, Effect::Done) => words("not attached").tone(Tone::Bad),
    }
}

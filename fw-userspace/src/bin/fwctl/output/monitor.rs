//! What `monitor` says: a line for each packet. What is known of it comes first, at fixed places; the packet itself, which
//! is of any length, last.

use fw_userspace::report::PacketEvent;

use super::table::{Tone, toned};
use super::units::{clock, plain};
use super::{Output, remark};

/// The names of the columns.
pub(crate) fn heading(output: &mut Output, width: usize) {
    let (dim, end) = if output.colour { ("\x1b[2m", "\x1b[0m") } else { ("", "") };
    let width = width.max("INTERFACE".len());
    output.format(format_args!(
        "{dim}{:<12}  {:<10}  {:<width$}  {:<9}  {:<10}  {:<17}  {:<28}  {:>5}  PACKET{end}\n",
        "TIME (UTC)", "DEVICE", "INTERFACE", "DIRECTION", "VERDICT", "LAYER", "RULE OR REASON", "BYTES",
    ));
}

/// One packet.
pub(crate) fn line(output: &mut Output, event: &PacketEvent<'_>, width: usize) {
    let width = width.max("INTERFACE".len());
    let verdict = toned(&format!("{:<10}", event.verdict), tone(event.verdict), output.colour);
    output.format(format_args!(
        "{:<12}  {:<10}  {:<width$}  {:<9}  {verdict}  {:<17}  {:<28}  {:>5}  {}\n",
        clock(event.time_ns),
        plain(event.device),
        plain(event.interface),
        event.direction,
        event.layer,
        by(event),
        event.bytes,
        event.packet(),
    ));
}

/// Said where it does not come between the lines.
pub(crate) fn suppressed(count: u64) {
    remark(format!("{count} more packets, too many to tell of each\n"));
}

/// The rule, else the reason.
pub(super) fn by(event: &PacketEvent<'_>) -> String {
    event.rule().map_or_else(|| event.reason.to_owned(), |rule| plain(&rule.to_string()).into_owned())
}

pub(super) fn tone(verdict: &str) -> Tone {
    match verdict {
        "allow" => Tone::Good,
        "deny" => Tone::Bad,
        _ => Tone::Doubtful,
    }
}

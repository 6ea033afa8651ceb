//! What is loaded, and what packets met: everything but single rules.

use std::collections::BTreeMap;
use std::fmt;

use fw_common::{Direction, Reason};
use prometheus_client::registry::Unit;

use super::families::Families;
use crate::datapath::Scraped;
use crate::report::{ReasonStats, verdict_name};

pub(super) fn encode(families: &mut Families<'_>, scraped: &Scraped) -> fmt::Result {
    loaded(families, scraped)?;
    packets(families, scraped)?;
    tables(families, scraped)
}

fn loaded(families: &mut Families<'_>, scraped: &Scraped) -> fmt::Result {
    let one = |value: u64| [([], value)];
    families.gauge(
        "fwctl_ruleset_generation",
        "Number of the rules in force",
        None,
        one(scraped.generation.into()),
    )?;
    families.gauge(
        "fwctl_ruleset_load_timestamp",
        "When the rules in force were loaded, since the epoch",
        Some(&Unit::Seconds),
        one(scraped.loaded_at),
    )?;
    families.gauge(
        "fwctl_ruleset_rules",
        "Security group rules and network ACL entries in force",
        None,
        one(scraped.rules as u64),
    )?;
    families.gauge(
        "fwctl_ruleset_awaits_confirmation",
        "1 while the kernel will go back to the rules before unless these are confirmed",
        None,
        one(scraped.awaits_confirmation.into()),
    )?;
    let hooks = scraped.hooks.iter().map(|hook| {
        let labels = [
            ("interface", hook.interface.as_str()),
            ("device", &hook.device),
            ("side", hook.side),
            ("hook", hook.hook),
        ];
        (labels, u64::from(hook.attached))
    });
    families.gauge(
        "fwctl_hook_attached",
        "1 if the kernel confirms that the program is at its hook, 0 if it should be there and is not",
        None,
        hooks,
    )?;
    families.gauge(
        "fwctl_devices_pending",
        "Devices that the rules name and that do not exist",
        None,
        one(scraped.pending as u64),
    )
}

fn packets(families: &mut Families<'_>, scraped: &Scraped) -> fmt::Result {
    let sums = sums(scraped);
    let of = |which: usize| {
        sums.iter().map(move |((interface, direction, verdict, layer), counted)| {
            let labels = [
                ("interface", *interface),
                ("direction", *direction),
                ("verdict", *verdict),
                ("layer", *layer),
            ];
            (labels, counted[which])
        })
    };
    families.counter("fwctl_packets", "Packets judged, as they are on the wire", None, of(0))?;
    families.counter(
        "fwctl",
        "Bytes of the packets judged, from the link-layer header on",
        Some(&Unit::Bytes),
        of(1),
    )?;
    let dropped = scraped.reasons.iter().filter(|row| row.verdict == "deny").map(|row| {
        (
            [("interface", row.interface.as_str()), ("direction", row.direction), ("reason", row.reason)],
            row.packets,
        )
    });
    families.counter("fwctl_dropped_packets", "Packets dropped, by reason", None, dropped)?;
    let frames = scraped
        .ethertypes
        .iter()
        .map(|row| ([("interface", row.interface.as_str()), ("ethertype", &row.ethertype)], row.frames));
    families.counter(
        "fwctl_dropped_ethertype_frames",
        "Frames dropped because they are neither IP nor ARP, by ethertype",
        None,
        frames,
    )?;
    families.counter(
        "fwctl_events_suppressed",
        "Events of single packets that somebody wanted and that are lost",
        None,
        [([], scraped.suppressed)],
    )
}

fn tables(families: &mut Families<'_>, scraped: &Scraped) -> fmt::Result {
    let states = scraped.connections.iter().map(|(state, count)| ([("state", *state)], *count));
    families.gauge(
        "fwctl_conntrack_entries",
        "Connections and half-open flows that have not expired",
        None,
        states,
    )?;
    let max = scraped.tables.iter().find(|table| table.table == "connections");
    families.gauge(
        "fwctl_conntrack_max",
        "Connections that are kept at most; half-open flows have room of their own",
        None,
        max.map(|table| ([], table.capacity)),
    )?;
    let exceeded = scraped.reasons.iter().filter(|row| row.reason == Reason::AllowanceExceeded.name());
    families.counter(
        "fwctl_conntrack_allowance_exceeded",
        "Packets that no rule refused and whose connection found no room in the table",
        None,
        [([], exceeded.map(|row| row.packets).sum())],
    )?;
    let of = |value: fn(&crate::report::TableStatus) -> u64| {
        scraped.tables.iter().map(move |table| ([("table", table.table)], value(table)))
    };
    families.gauge("fwctl_table_entries", "Entries in use", None, of(|table| table.used))?;
    families.gauge("fwctl_table_capacity", "Entries that fit", None, of(|table| table.capacity))?;
    families.gauge(
        "fwctl_maps_memory",
        "What all maps take, by the kernel's own account",
        Some(&Unit::Bytes),
        [([], scraped.memory_bytes)],
    )
}

/// Interface, direction, verdict, layer.
type Key<'a> = (&'a str, &'static str, &'static str, &'static str);

/// Packets and bytes. What an interface may allow and deny is there from the beginning on, for a rate needs two values;
/// what it would deny is there when it has.
fn sums(scraped: &Scraped) -> BTreeMap<Key<'_>, [u64; 2]> {
    let mut sums: BTreeMap<Key<'_>, [u64; 2]> = BTreeMap::new();
    for interface in &scraped.interfaces {
        for direction in [Direction::Ingress, Direction::Egress] {
            for reason in Reason::ALL.iter().filter(|reason| **reason != Reason::NotConfigured) {
                let verdict = verdict_name(*reason, false);
                sums.entry((interface, direction.name(), verdict, reason.layer().name())).or_default();
            }
        }
    }
    for ReasonStats { interface, direction, verdict, layer, packets, bytes, .. } in &scraped.reasons {
        let sum = sums.entry((interface, direction, verdict, layer)).or_default();
        *sum = [sum[0] + packets, sum[1] + bytes];
    }
    sums
}

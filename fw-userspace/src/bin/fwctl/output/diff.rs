//! What `diff` says: what differs as written, then the traffic, with an example of each region.

use fw_userspace::diff::{
    ChangedTraffic, DiffReport, IcmpSpan, InterfaceChange, ObjectChange, Span, all_but,
};
use fw_userspace::explain::Explanation;
use ipnet::IpNet;

use super::Output;
use super::explain::by;
use super::table::{Tone, toned};
use super::units::{count, plain};

/// How many of a kind are printed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Rules and values of one object, regions of one interface.
    items: usize,
    /// CIDRs, ranges of ports.
    words: usize,
}

impl Limits {
    pub(crate) const DEFAULT: Self = Self { items: 50, words: 8 };
    pub(crate) const NONE: Self = Self { items: usize::MAX, words: usize::MAX };
}

/// Everything; `only` is the interface that was asked about.
pub(crate) fn print(output: &mut Output, report: &DiffReport, only: Option<&str>, limits: Limits) {
    if report.objects.is_empty() {
        output.line("the rules are the same");
    }
    for object in &report.objects {
        self::object(output, object, limits);
    }
    for change in &report.interfaces {
        interface(output, change, limits);
    }
    output.line("");
    let where_asked = only.map(|only| format!(" at {}", plain(only))).unwrap_or_default();
    if report.verdicts_change {
        let regions = report.interfaces.iter().map(|change| change.regions.len()).sum();
        let interfaces = count(report.interfaces.len(), "interface");
        output.line(format!("verdicts change{where_asked}: {} at {interfaces}", count(regions, "region")));
    } else {
        output.line(format!("no verdict changes{where_asked}"));
    }
}

fn object(output: &mut Output, object: &ObjectChange, limits: Limits) {
    let sign = sign(object.change);
    let named = if object.name.is_empty() { String::new() } else { format!(" {}", plain(&object.name)) };
    output.line(format!("{sign} {}{named}", object.kind.replace('_', " ")));
    for part in object.parts.iter().take(limits.items) {
        let name = plain(&part.part);
        let line = match (&part.before, &part.after) {
            (Some(before), Some(after)) => format!("    ~ {name}: {} -> {}", plain(before), plain(after)),
            (None, Some(after)) => format!("    + {name}: {}", plain(after)),
            (Some(before), None) => format!("    - {name}: {}", plain(before)),
            (None, None) => continue,
        };
        output.line(line);
    }
    rest(output, object.parts.len(), limits.items, "    ");
}

fn sign(change: &str) -> char {
    match change {
        "added" => '+',
        "removed" => '-',
        _ => '~',
    }
}

fn interface(output: &mut Output, change: &InterfaceChange, limits: Limits) {
    output.line("");
    let leg = if change.kind == "subnet" { " (subnet)" } else { "" };
    let name = format!("{}{leg}", plain(&change.interface));
    match change.filter {
        "added" => {
            output.line(format!("{name} is filtered for the first time: what no rule allows is dropped"))
        }
        "removed" => output.line(format!("{name} is filtered no more: everything passes")),
        _ => {}
    }
    match change.enforced {
        [Some(true), Some(false)] => output.line(format!("{name} only counts what it denies: it will pass")),
        [Some(false), Some(true)] => output.line(format!("{name} enforces: what it denies will be dropped")),
        [_, Some(false)] => output.line(format!("{name} only counts what it denies: it passes")),
        _ => {}
    }
    for (place, region) in change.regions.iter().take(limits.items).enumerate() {
        let before = place.checked_sub(1).and_then(|before| change.regions.get(before));
        if before.is_none_or(|before| before.direction != region.direction) {
            output.line(format!("{name} {}", region.direction));
        }
        self::region(output, region, limits);
    }
    rest(output, change.regions.len(), limits.items, "  ");
}

fn region(output: &mut Output, region: &ChangedTraffic, limits: Limits) {
    let (sign, tone) = if region.verdict == "allow" { ("+", Tone::Good) } else { ("-", Tone::Bad) };
    let verdict = toned(&format!("{sign} {}", region.verdict), tone, output.colour);
    let (from, to) = if region.direction == "ingress" { ("from", "to") } else { ("to", "from") };
    let mut line =
        format!("  {verdict}  {} {from} {}", service(region, limits), nets(&region.remote, limits));
    if !region.local_is_usual {
        line.push_str(&format!(" {to} {}", nets(&region.local, limits)));
    }
    line.push_str(match region.packets {
        "all" => ", connections included",
        "established" => ", connections only",
        _ => "",
    });
    output.line(line);
    let example = &region.example;
    output.line(format!("         {}", plain(&example.packet)));
    output.line(format!("         {} -> {}", said(&example.before), said(&example.after)));
}

/// `deny (no_group_rule)`, `allow (sg-web ingress https)`
fn said(explanation: &Explanation) -> String {
    format!("{} ({})", explanation.verdict, by(explanation))
}

/// `tcp 22, 80-443`, `icmp 8/0`, `all other protocols`.
fn service(region: &ChangedTraffic, limits: Limits) -> String {
    let family = region.family;
    match (region.protocol, &region.ports, &region.icmp, &region.numbers) {
        ("all", ..) => format!("all {family}"),
        ("other", ..) if region.all_keys => format!("all other {family}"),
        (protocol, ..) if region.all_keys => protocol.to_owned(),
        (.., Some(numbers)) => format!("{family} protocol {}", spans(numbers, limits)),
        (protocol, Some(ports), ..) => format!("{protocol} {}", spans(ports, limits)),
        (protocol, _, Some(icmp), _) => format!("{protocol} {}", types(icmp, limits)),
        (protocol, ..) => protocol.to_owned(),
    }
}

fn spans(spans: &[Span], limits: Limits) -> String {
    let one = |Span { from, to }: &Span| if from == to { from.to_string() } else { format!("{from}-{to}") };
    listed(&spans.iter().map(one).collect::<Vec<_>>(), limits)
}

/// Types, with `/codes` where not all of them.
fn types(spans: &[IcmpSpan], limits: Limits) -> String {
    let range = |from: u8, to: u8| if from == to { from.to_string() } else { format!("{from}-{to}") };
    let one = |span: &IcmpSpan| {
        let types = range(span.from_type, span.to_type);
        match (span.from_code, span.to_code) {
            (0, u8::MAX) => types,
            (from, to) => format!("{types}/{}", range(from, to)),
        }
    };
    listed(&spans.iter().map(one).collect::<Vec<_>>(), limits)
}

/// CIDRs, as a network and its exceptions where that is shorter.
fn nets(nets: &[IpNet], limits: Limits) -> String {
    match all_but(nets) {
        Some((net, out)) => format!("{net} except {}", listed(&out, limits)),
        None => listed(nets, limits),
    }
}

fn listed<T: ToString>(items: &[T], limits: Limits) -> String {
    let shown: Vec<String> = items.iter().take(limits.words).map(ToString::to_string).collect();
    match items.len().saturating_sub(limits.words) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

fn rest(output: &mut Output, there: usize, shown: usize, indent: &str) {
    if there > shown {
        output.line(format!("{indent}and {} more: --all prints them", there - shown));
    }
}

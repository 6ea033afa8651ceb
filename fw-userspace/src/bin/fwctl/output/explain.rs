//! What `explain` says.

use fw_common::Direction;
use fw_common::conntrack::State;
use fw_userspace::explain::{CaptureReport, Explanation, FamilyPath, PathReport};

use super::Output;
use super::table::{Table, Tone, number, toned, words};
use super::units::{count, plain};

const ONE_SIDED: &str = State::OneSided.name();
const WHAT_ONE_SIDED_MEANS: &str =
    "its answers are not seen here, so it ends after 120 s in which its opener sends nothing";

/// One packet: the verdict, then what it rests on, a line each.
pub(crate) fn packet(
    output: &mut Output,
    interface: &str,
    direction: Direction,
    packet: &str,
    explanation: &Explanation,
) {
    let verdict = toned(explanation.verdict, tone(explanation), output.colour);
    output.line(format!("{verdict}  {} {} {packet}", plain(interface), direction.name()));
    let mut line = |name: &str, text: String| output.line(format!("  {name:<15} {text}"));
    line("layer", explanation.layer.to_owned());
    line("reason", format!("{}: {}", explanation.reason, explanation.says));
    if let Some(entry) = acl(explanation) {
        line("network ACL", entry);
    }
    if let Some(rule) = group(explanation) {
        line("security group", rule);
    }
    if let Some(state) = explanation.state {
        let clause = if state == ONE_SIDED { format!(": {WHAT_ONE_SIDED_MEANS}") } else { String::new() };
        line("connection", format!("{state}{clause}"));
    } else if explanation.tracked {
        line("connection", "begins one, so replies pass".to_owned());
    }
    if explanation.observed && explanation.verdict == "deny" {
        line("enforce", "false: it is counted and passes all the same".to_owned());
    }
}

/// Filter by filter, then what would help.
pub(crate) fn path(output: &mut Output, report: &PathReport) {
    let PathReport { from, to, service, families } = report;
    for family in families {
        let (verdict, tone_of_all) = match family.verdict {
            "allow" => ("reachable", Tone::Good),
            "deny" => ("not reachable", Tone::Bad),
            _ => ("partly reachable, not from every port of a client", Tone::Doubtful),
        };
        let verdict = toned(verdict, tone_of_all, output.colour);
        output.line(format!(
            "{}: {service} from {} to {} is {verdict}",
            family.family,
            plain(from),
            plain(to)
        ));
        let mut table =
            Table::new("filters on the way", &["way", "interface", "direction", "verdict", "by", "packet"]);
        for step in &family.steps {
            table.row([
                words(step.way),
                words(&step.interface),
                words(step.direction),
                words(step.explanation.verdict).tone(tone(&step.explanation)),
                words(by(&step.explanation)),
                words(&step.packet),
            ]);
        }
        table.print(output);
        if family.verdict != "deny" {
            clients(output, family);
        }
        output.line("");
        if family.verdict != "allow" {
            remedies(output, &family.changes);
        }
    }
}

/// From which ports it is reachable.
fn clients(output: &mut Output, family: &FamilyPath) {
    if family.clients.is_empty() {
        return;
    }
    let mut table = Table::new("clients, by the ports that they choose", &["client", "ports", "verdict"]);
    let tone_of = |verdict| match verdict {
        "allow" => Tone::Good,
        "deny" => Tone::Bad,
        _ => Tone::Doubtful,
    };
    for client in &family.clients {
        let ports = format!("{}-{}", client.from, client.to);
        let verdict = words(client.verdict).tone(tone_of(client.verdict));
        table.row([words(client.system), words(ports), verdict]);
    }
    table.print(output);
    if family.verdict == "allow" {
        return;
    }
    let columns = &["ports", "verdict", "way", "interface", "direction", "by"];
    let mut table = Table::new("client ports", columns);
    for ports in &family.client_ports {
        let range = if ports.from == ports.to {
            ports.from.to_string()
        } else {
            format!("{}-{}", ports.from, ports.to)
        };
        let verdict = words(ports.verdict).tone(tone_of(ports.verdict));
        let [way, interface, direction, by] = match &ports.blocked {
            Some(step) => [step.way, &step.interface, step.direction, &by(&step.explanation)].map(words),
            None => [""; 4].map(words),
        };
        table.row([words(range), verdict, way, interface, direction, by]);
    }
    table.print(output);
}

fn remedies(output: &mut Output, changes: &[fw_userspace::explain::Change]) {
    match changes {
        [] => output.line("no rule of this file would let it through: see the reason above"),
        [_] => output.line("one change lets it through:"),
        all => output.line(format!("{} changes together let it through:", all.len())),
    }
    for change in changes {
        output.line(format!("  {}", change.says));
        output.line(format!("    {}: {}", plain(&change.at), change.value));
    }
    output.line("");
}

/// Groups of packets, most first.
pub(crate) fn capture(output: &mut Output, name: &str, report: &CaptureReport) {
    output.line(format!("{}: {}", plain(name), count(report.packets as usize, "packet")));
    let mut table = Table::new(
        "what happens to them",
        &["packets", "direction", "verdict", "reason", "by", "first", "example"],
    );
    for group in &report.groups {
        table.row([
            number(group.packets),
            words(group.direction),
            words(group.explanation.verdict).tone(tone(&group.explanation)),
            words(group.explanation.reason),
            words(by(&group.explanation)),
            number(group.first),
            words(&group.example),
        ]);
    }
    table.print(output);
    if report.groups.iter().any(|group| group.explanation.state == Some(ONE_SIDED)) {
        output.line("");
        output.line(format!("one_sided: {WHAT_ONE_SIDED_MEANS}"));
    }
    if report.elsewhere > 0 {
        output.line("");
        output.line(format!(
            "{} neither to nor from an address of the interface; --ingress or --egress says which way they go",
            count(report.elsewhere as usize, "packet")
        ));
    }
    if let Some(why) = &report.cut_off {
        super::remark(format!("error: {:?}: {why}\n", plain(name)));
    }
}

/// Who decided.
pub(super) fn by(explanation: &Explanation) -> String {
    let rule = match explanation.layer {
        "network_acl" => acl(explanation),
        _ => group(explanation),
    };
    rule.unwrap_or_else(|| explanation.reason.to_owned())
}

fn acl(explanation: &Explanation) -> Option<String> {
    let entry = explanation.network_acl.as_ref()?;
    Some(described(
        format!("{} {} {}", entry.id, entry.rule_number, entry.action),
        entry.description.as_deref(),
    ))
}

fn group(explanation: &Explanation) -> Option<String> {
    let rule = explanation.security_group.as_ref()?;
    Some(described(format!("{} {} {}", rule.id, rule.direction, rule.rule), rule.description.as_deref()))
}

fn described(name: String, description: Option<&str>) -> String {
    let text = description.map_or(name.clone(), |description| format!("{name} ({description})"));
    plain(&text).into_owned()
}

fn tone(explanation: &Explanation) -> Tone {
    match (explanation.verdict, explanation.observed) {
        ("allow", _) => Tone::Good,
        (_, true) => Tone::Doubtful,
        _ => Tone::Bad,
    }
}

//! A scenario as a case of `tests/cases/`.

use std::fmt::Write as _;

use fw_common::{Direction, Reason, Verdict};
use serde_json::{Map, Value};

use super::history::{Crossing, Quote, Said, Step};
use super::oracle::Answer;
use super::{Difference, Scenario};
use crate::packet::{Body, Extension, Ip, Network, Tcp, flag, parse};
use crate::run::names_acl;

/// The case, with what should come of each packet.
pub fn case(seed: u64, scenario: &Scenario, difference: &Difference) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "[[case]]\nname = \"differential-{seed}\"");
    let _ = writeln!(text, "says = \"\"\nbasis = \"chosen\"");
    for (path, value) in flat("rules", &scenario.rules) {
        let _ = writeln!(text, "{path} = {}", lined(value));
    }
    let _ = writeln!(text, "step = [");
    for (number, step) in scenario.steps.iter().enumerate() {
        let line = match step {
            Step::Wait(seconds) => format!("wait = {seconds}"),
            Step::Load(patch) => {
                let all: Vec<String> = flat("load", patch)
                    .iter()
                    .map(|(path, value)| format!("{path} = {}", inline(value)))
                    .collect();
                all.join(", ")
            }
            // Nobody judged it: too short for a test run, or after the difference.
            Step::Packet(crossing) => match difference.answers.iter().find(|(step, _)| *step == number) {
                Some((_, answer)) => packet(crossing, answer),
                None => continue,
            },
        };
        let _ = writeln!(text, "  {{ {line} }},");
    }
    text.push_str("]\n");
    text
}

fn packet(crossing: &Crossing, answer: &Answer) -> String {
    let way = if crossing.direction == Direction::Ingress { "inbound" } else { "outbound" };
    let text = crossing
        .what
        .as_ref()
        .and_then(text_of)
        .filter(|text| parse(text).is_ok_and(|frame| frame == crossing.frame))
        .unwrap_or_else(|| {
            let digits: String = crossing.frame.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("hex {digits}")
        });
    let expect = if answer.verdict == Verdict::Pass { "allow" } else { "deny" };
    let mut line = format!(
        "at = \"{}\", {way} = \"{text}\", expect = \"{expect}\", by = \"{}\"",
        crossing.at,
        by(answer)
    );
    if let Some(acl) = acl(answer) {
        let _ = write!(line, ", acl = \"{acl}\"");
    }
    line
}

/// The `acl` of a case.
pub fn acl(answer: &Answer) -> Option<String> {
    let (acl, number, _) = answer.acl.as_ref()?;
    names_acl(answer.reason).then(|| format!("{acl} {number}"))
}

/// The `by` of a case.
pub fn by(answer: &Answer) -> String {
    let reason = answer.reason;
    let rule = match reason {
        Reason::AclAllow | Reason::AclDeny | Reason::AclDefault => &answer.acl,
        Reason::GroupRule => &answer.group,
        _ => &None,
    };
    match rule {
        Some((list, name, _)) => format!("{} {list} {name}", reason.layer().name()),
        None => format!("{} {}", reason.layer().name(), reason.name()),
    }
}

/// Members by their dotted paths, down to what is no table or an empty one.
fn flat<'v>(path: &str, value: &'v Value) -> Vec<(String, &'v Value)> {
    match value {
        Value::Object(members) if !members.is_empty() => {
            members.iter().flat_map(|(key, value)| flat(&format!("{path}.{key}"), value)).collect()
        }
        _ => vec![(path.to_owned(), value)],
    }
}

/// A list of tables with one on each line.
fn lined(value: &Value) -> String {
    match value {
        Value::Array(elements) if elements.iter().any(Value::is_object) => {
            let lines: String = elements.iter().map(|element| format!("  {},\n", inline(element))).collect();
            format!("[\n{lines}]")
        }
        _ => inline(value),
    }
}

/// JSON as TOML. Rules files have no null.
fn inline(value: &Value) -> String {
    let table = |members: &Map<String, Value>| {
        let members: Vec<String> =
            members.iter().map(|(key, value)| format!("{key} = {}", inline(value))).collect();
        members.join(", ")
    };
    match value {
        Value::Object(members) if members.is_empty() => "{}".to_owned(),
        Value::Object(members) => format!("{{ {} }}", table(members)),
        Value::Array(elements) => {
            let elements: Vec<String> = elements.iter().map(inline).collect();
            format!("[{}]", elements.join(", "))
        }
        // Strings of rules have no control characters, so that both have the same escapes.
        scalar => scalar.to_string(),
    }
}

/// The packet in words, where there are words for it.
fn text_of(said: &Said) -> Option<String> {
    let packet = &said.packet;
    let mut text = match &packet.network {
        Network::Ip(ip) => text_of_ip(ip, said.quote.as_ref())?,
        Network::Other { ethertype, .. } => format!("ethertype {ethertype:#06x}"),
        Network::Whole(_) => return None,
    };
    for (_, id) in &packet.link.tags {
        let _ = write!(text, " vlan={id}");
    }
    if let Some(mac) = packet.link.destination {
        let mac: Vec<String> = mac.iter().map(|byte| format!("{byte:02x}")).collect();
        let _ = write!(text, " dst-mac={}", mac.join(":"));
    }
    Some(text)
}

fn text_of_ip(ip: &Ip, quote: Option<&Quote>) -> Option<String> {
    let (source, destination) = (ip.source, ip.destination);
    let with_port = |address: std::net::IpAddr, port| std::net::SocketAddr::new(address, port);
    let (mut text, len) = match &ip.body {
        Body::Tcp(tcp) => {
            let (from, to) = (with_port(source, tcp.source), with_port(destination, tcp.destination));
            let mut text = format!("tcp {from} > {to} {} seq={}", flags(tcp.flags), tcp.seq);
            if tcp.flags & flag::ACK != 0 {
                let _ = write!(text, " ack={}", tcp.ack);
            }
            if tcp.window != Tcp::default().window {
                let _ = write!(text, " win={}", tcp.window);
            }
            if let Some(shift) = tcp.window_scale {
                let _ = write!(text, " wscale={shift}");
            }
            (text, tcp.payload.len())
        }
        Body::Udp { source: from, destination: to, payload } => {
            let (from, to) = (with_port(source, *from), with_port(destination, *to));
            (format!("udp {from} > {to}"), payload.len())
        }
        Body::Icmp(icmp) => {
            let word = if source.is_ipv4() { "icmp" } else { "icmpv6" };
            let mut text = format!("{word} {source} > {destination} {}/{}", icmp.kind, icmp.code);
            for (key, number) in [("id", icmp.id), ("seq", icmp.seq)] {
                if number != 0 {
                    let _ = write!(text, " {key}={number}");
                }
            }
            if let Some(quote) = quote {
                let Network::Ip(quoted) = &quote.packet.network else { return None };
                let _ = write!(text, " quote ({})", text_of_ip(quoted, None)?);
            }
            (text, if quote.is_some() { 0 } else { icmp.payload.len() })
        }
        Body::Other { protocol, payload } => {
            (format!("proto {protocol} {source} > {destination}"), payload.len())
        }
    };
    if len > 0 || ip.fragment.is_some() {
        let _ = write!(text, " len={len}");
    }
    if ip.ttl != 64 {
        let _ = write!(text, " ttl={}", ip.ttl);
    }
    if let Some(fragment) = ip.fragment {
        let more = if fragment.more { "+" } else { "" };
        let _ = write!(text, " frag={}:{}{more}", fragment.id, fragment.offset_bytes);
    }
    if !ip.options.is_empty() {
        let _ = write!(text, " options={}", ip.options.len());
    }
    if !ip.extensions.is_empty() {
        let words: Option<Vec<&str>> = ip.extensions.iter().map(word).collect();
        let _ = write!(text, " ext={}", words?.join(","));
    }
    Some(text)
}

fn flags(flags: u8) -> String {
    let all = [
        (flag::SYN, "syn"),
        (flag::ACK, "ack"),
        (flag::FIN, "fin"),
        (flag::RST, "rst"),
        (flag::PSH, "psh"),
        (flag::URG, "urg"),
    ];
    let words: Vec<&str> = all.iter().filter(|(bit, _)| flags & bit != 0).map(|(_, word)| *word).collect();
    if words.is_empty() { "none".to_owned() } else { words.join("+") }
}

fn word(extension: &Extension) -> Option<&'static str> {
    Some(match extension {
        Extension::HopByHop => "hop",
        Extension::Destination => "dst",
        Extension::Routing { kind: 253, segments_left: 0 } => "routing",
        Extension::Routing { kind: 0, segments_left: 0 } => "routing0",
        Extension::Fragment => "frag",
        Extension::Authentication => "ah",
        Extension::Routing { .. } | Extension::Other { .. } => return None,
    })
}

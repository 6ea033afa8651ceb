//! The history of a case out of TOML.

use serde_json::Value;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::read::{Fields, Source, Span};
use super::{Direction, Expect, PacketStep, Step, merge};

/// The steps in order; each load changes what the one before it left.
pub(super) fn steps(
    source: Source<'_>,
    value: &Spanned<DeValue<'_>>,
    rules: &Value,
    mistakes: &mut Vec<String>,
) -> Vec<Step> {
    let Some(array) = value.get_ref().as_array() else {
        mistakes.push(source.mistake(value.span(), "\"step\" is written [[case.step]] or step = [{...}]"));
        return Vec::new();
    };
    let mut rules = rules.clone();
    let mut steps = Vec::new();
    for item in array.iter() {
        match item.get_ref().as_table() {
            Some(table) if has(table, "repeat") => {
                steps.extend(repeated(source, table, item.span(), mistakes));
            }
            Some(table) => steps.extend(step(source, table, item.span(), &mut rules, None, mistakes)),
            None => mistakes.push(source.mistake(item.span(), "a step is a table")),
        }
    }
    steps
}

fn has(table: &DeTable<'_>, key: &str) -> bool {
    table.iter().any(|(name, _)| name.get_ref() == key)
}

/// Packets and waits that come again and again, `{n}` in a packet's text being the number of the round, from 1. Who
/// runs the steps sees them one after the other.
fn repeated(source: Source<'_>, table: &DeTable<'_>, span: Span, mistakes: &mut Vec<String>) -> Vec<Step> {
    let mut fields = Fields::new(source, table, span);
    let rounds = fields.required("repeat", Fields::rounds).unwrap_or(0);
    let mut steps = Vec::new();
    match fields.known("step").map(|value| value.get_ref().as_array()) {
        Some(Some(array)) => {
            for round in 1..=rounds {
                let before = fields.mistakes.len();
                for item in array.iter() {
                    match item.get_ref().as_table() {
                        Some(table) if !has(table, "load") && !has(table, "repeat") => {
                            let rules = &mut Value::Null;
                            let mistakes = &mut fields.mistakes;
                            steps.extend(step(source, table, item.span(), rules, Some(round), mistakes));
                        }
                        _ => {
                            let mistake =
                                source.mistake(item.span(), "packets and waits are repeated, nothing else");
                            fields.mistakes.push(mistake);
                        }
                    }
                }
                if fields.mistakes.len() > before {
                    // What is wrong in one round is wrong in all.
                    break;
                }
            }
        }
        _ => fields.refuse("\"repeat\" goes with step = [{...}]".into()),
    }
    fields.finish(mistakes);
    steps
}

fn step(
    source: Source<'_>,
    table: &DeTable<'_>,
    span: Span,
    rules: &mut Value,
    round: Option<u16>,
    mistakes: &mut Vec<String>,
) -> Option<Step> {
    let mut fields = Fields::new(source, table, span);
    let step = if has(table, "wait") {
        fields.required("wait", Fields::seconds).map(Step::Wait)
    } else if has(table, "load") {
        fields.required("load", Fields::table).map(|changes| {
            merge(rules, &changes);
            Step::Load(rules.clone())
        })
    } else {
        packet_step(&mut fields, round).map(Step::Packet)
    };
    fields.finish(mistakes);
    step
}

fn packet_step(fields: &mut Fields<'_>, round: Option<u16>) -> Option<PacketStep> {
    let line = fields.source.line(&fields.span);
    let at = fields.required("at", Fields::text);
    let both = (fields.known("inbound"), fields.known("outbound"));
    let (direction, key) = match both {
        (Some(_), None) => (Direction::Inbound, "inbound"),
        (None, Some(_)) => (Direction::Outbound, "outbound"),
        _ => {
            fields.refuse("a step has one of inbound, outbound, wait, load, repeat".into());
            return None;
        }
    };
    let packet = fields.required(key, Fields::text).and_then(|text| fields.frame(key, text, round));
    let expect = fields.required("expect", expect);
    let by = fields.required("by", Fields::text);
    let acl = fields.optional("acl", Fields::text);
    let tracked = fields.optional("tracked", Fields::flag);
    let (text, frame) = packet?;
    Some(PacketStep { line, at: at?, direction, text, frame, expect: expect?, by: by?, acl, tracked })
}

fn expect(value: &DeValue<'_>) -> Result<Expect, String> {
    match Fields::text(value)?.as_str() {
        "allow" => Ok(Expect::Allow),
        "deny" => Ok(Expect::Deny),
        other => Err(format!("\"{other}\" is not allow or deny")),
    }
}

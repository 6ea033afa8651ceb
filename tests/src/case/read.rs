//! One case and its steps out of TOML, with the place of every mistake.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;

use serde_json::Value;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::{Basis, Case, Direction, Expect, PacketStep, Step, merge, value};
use crate::packet;

type Span = Range<usize>;

/// The file being read: turns spans into lines.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) path: &'a Path,
    pub(super) text: &'a str,
}

impl Source<'_> {
    pub(super) fn line(self, span: &Span) -> usize {
        1 + self.text.as_bytes()[..span.start.min(self.text.len())].iter().filter(|b| **b == b'\n').count()
    }

    pub(super) fn mistake(self, span: Span, message: impl std::fmt::Display) -> String {
        format!("{}:{}: {message}", self.path.display(), self.line(&span))
    }

    pub(super) fn syntax(self, error: &toml::de::Error) -> String {
        self.mistake(error.span().unwrap_or(0..0), error.message())
    }
}

/// The keys of one table: each is asked for once, those nobody asked for are mistakes.
pub(super) struct Fields<'a> {
    source: Source<'a>,
    table: &'a DeTable<'a>,
    span: Span,
    known: BTreeSet<&'static str>,
    mistakes: Vec<String>,
}

type Reader<T> = fn(&DeValue<'_>) -> Result<T, String>;

impl<'a> Fields<'a> {
    pub(super) fn new(source: Source<'a>, table: &'a DeTable<'a>, span: Span) -> Self {
        Self { source, table, span, known: BTreeSet::new(), mistakes: Vec::new() }
    }

    pub(super) fn known(&mut self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.known.insert(key);
        self.table.iter().find(|(name, _)| name.get_ref() == key).map(|(_, value)| value)
    }

    pub(super) fn optional<T>(&mut self, key: &'static str, read: Reader<T>) -> Option<T> {
        let value = self.known(key)?;
        match read(value.get_ref()) {
            Ok(read) => Some(read),
            Err(message) => {
                self.mistakes.push(self.source.mistake(value.span(), format!("{key}: {message}")));
                None
            }
        }
    }

    pub(super) fn required<T>(&mut self, key: &'static str, read: Reader<T>) -> Option<T> {
        let known = self.mistakes.len();
        let value = self.optional(key, read);
        if value.is_none() && self.mistakes.len() == known {
            self.refuse(format!("\"{key}\" is missing"));
        }
        value
    }

    fn refuse(&mut self, message: String) {
        self.mistakes.push(self.source.mistake(self.span.clone(), message));
    }

    pub(super) fn finish(mut self, mistakes: &mut Vec<String>) {
        for (key, _) in self.table.iter().filter(|(key, _)| !self.known.contains(key.get_ref().as_ref())) {
            let names: Vec<&str> = self.known.iter().copied().collect();
            let message = format!("unknown key \"{}\": {} are known", key.get_ref(), names.join(", "));
            self.mistakes.push(self.source.mistake(key.span(), message));
        }
        mistakes.append(&mut self.mistakes);
    }

    pub(super) fn text(value: &DeValue<'_>) -> Result<String, String> {
        value.as_str().map(str::to_owned).ok_or_else(|| wants("a string", value))
    }

    pub(super) fn table(value: &DeValue<'_>) -> Result<Value, String> {
        value::table(value.as_table().ok_or_else(|| wants("a table", value))?)
    }

    fn flag(value: &DeValue<'_>) -> Result<bool, String> {
        value.as_bool().ok_or_else(|| wants("true or false", value))
    }

    fn seconds(value: &DeValue<'_>) -> Result<u64, String> {
        let integer = value.as_integer().ok_or_else(|| wants("a number of seconds", value))?;
        u64::from_str_radix(integer.as_str(), integer.radix())
            .map_err(|_| format!("\"{}\" is not a number of seconds", integer.as_str()))
    }
}

fn wants(what: &str, value: &DeValue<'_>) -> String {
    format!("{what} is expected, not a value of type {}", value.type_str())
}

fn basis(value: &DeValue<'_>) -> Result<Basis, String> {
    match Fields::text(value)?.as_str() {
        "documented" => Ok(Basis::Documented),
        "inferred" => Ok(Basis::Inferred),
        "chosen" => Ok(Basis::Chosen),
        other => Err(format!("\"{other}\" is not documented, inferred or chosen")),
    }
}

fn expect(value: &DeValue<'_>) -> Result<Expect, String> {
    match Fields::text(value)?.as_str() {
        "allow" => Ok(Expect::Allow),
        "deny" => Ok(Expect::Deny),
        other => Err(format!("\"{other}\" is not allow or deny")),
    }
}

fn frame(value: &DeValue<'_>) -> Result<(String, Vec<u8>), String> {
    let text = Fields::text(value)?;
    let frame = packet::parse(&text).map_err(|error| format!("{error:#}"))?;
    Ok((text, frame))
}

/// One case; `None` if there were mistakes in it.
pub(super) fn case(
    source: Source<'_>,
    table: &DeTable<'_>,
    span: Span,
    base: &Value,
    mistakes: &mut Vec<String>,
) -> Option<Case> {
    let before = mistakes.len();
    let mut fields = Fields::new(source, table, span.clone());
    let name = fields.required("name", Fields::text);
    let says = fields.required("says", Fields::text);
    let basis = fields.required("basis", basis);
    let mut rules = base.clone();
    if let Some(changes) = fields.optional("rules", Fields::table) {
        merge(&mut rules, &changes);
    }
    let refused = fields.optional("refused", Fields::text);
    let warns = fields.optional("warns", Fields::text);
    let steps = match fields.known("step") {
        Some(value) => steps(source, value, &rules, &mut fields.mistakes),
        None => Vec::new(),
    };
    match (&refused, steps.is_empty()) {
        (Some(_), false) => fields.refuse("a refused case has no steps".into()),
        (None, true) if warns.is_none() && fields.mistakes.is_empty() => {
            fields.refuse("a case has steps, or it is refused, or it warns".into());
        }
        _ => {}
    }
    fields.finish(mistakes);
    if mistakes.len() > before {
        return None;
    }
    let (file, line) = (source.path.to_owned(), source.line(&span));
    Some(Case { file, line, name: name?, says: says?, basis: basis?, rules, refused, warns, steps })
}

/// The steps in order; each load changes what the one before it left.
fn steps(
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
            Some(table) => steps.extend(step(source, table, item.span(), &mut rules, mistakes)),
            None => mistakes.push(source.mistake(item.span(), "a step is a table")),
        }
    }
    steps
}

fn step(
    source: Source<'_>,
    table: &DeTable<'_>,
    span: Span,
    rules: &mut Value,
    mistakes: &mut Vec<String>,
) -> Option<Step> {
    let mut fields = Fields::new(source, table, span);
    let has = |key: &str| table.iter().any(|(name, _)| name.get_ref() == key);
    let step = if has("wait") {
        fields.required("wait", Fields::seconds).map(Step::Wait)
    } else if has("load") {
        fields.required("load", Fields::table).map(|changes| {
            merge(rules, &changes);
            Step::Load(rules.clone())
        })
    } else {
        packet_step(&mut fields).map(Step::Packet)
    };
    fields.finish(mistakes);
    step
}

fn packet_step(fields: &mut Fields<'_>) -> Option<PacketStep> {
    let line = fields.source.line(&fields.span);
    let at = fields.required("at", Fields::text);
    let both = (fields.known("inbound"), fields.known("outbound"));
    let (direction, key) = match both {
        (Some(_), None) => (Direction::Inbound, "inbound"),
        (None, Some(_)) => (Direction::Outbound, "outbound"),
        _ => {
            fields.refuse("a step has one of inbound, outbound, wait, load".into());
            return None;
        }
    };
    let packet = fields.required(key, frame);
    let expect = fields.required("expect", expect);
    let by = fields.required("by", Fields::text);
    let acl = fields.optional("acl", Fields::text);
    let tracked = fields.optional("tracked", Fields::flag);
    let (text, frame) = packet?;
    Some(PacketStep { line, at: at?, direction, text, frame, expect: expect?, by: by?, acl, tracked })
}

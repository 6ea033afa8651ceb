//! One case and its steps out of TOML, with the place of every mistake.

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;

use serde_json::Value;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::steps::steps;
use super::{Basis, Case, merge, value};
use crate::packet;

pub(super) type Span = Range<usize>;

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
    pub(super) source: Source<'a>,
    table: &'a DeTable<'a>,
    pub(super) span: Span,
    known: BTreeSet<&'static str>,
    pub(super) mistakes: Vec<String>,
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

    pub(super) fn refuse(&mut self, message: String) {
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

    /// The packet that a text describes; `{n}` in it is the number of the round.
    pub(super) fn frame(
        &mut self,
        key: &'static str,
        text: String,
        round: Option<u16>,
    ) -> Option<(String, Vec<u8>)> {
        let text = round.map_or(text.clone(), |round| text.replace("{n}", &round.to_string()));
        match packet::parse(&text) {
            Ok(frame) => Some((text, frame)),
            Err(error) => {
                let span = self.known(key).map_or(self.span.clone(), Spanned::span);
                self.mistakes.push(self.source.mistake(span, format!("{key}: {error:#}")));
                None
            }
        }
    }

    pub(super) fn flag(value: &DeValue<'_>) -> Result<bool, String> {
        value.as_bool().ok_or_else(|| wants("true or false", value))
    }

    pub(super) fn rounds(value: &DeValue<'_>) -> Result<u16, String> {
        let seconds = Self::seconds(value).ok().and_then(|rounds| u16::try_from(rounds).ok());
        seconds.filter(|rounds| *rounds > 0).ok_or_else(|| "1 to 65535 rounds are expected".to_owned())
    }

    pub(super) fn seconds(value: &DeValue<'_>) -> Result<u64, String> {
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

//! Reads a rules file into a [`Policy`], or says everything that is wrong with it.
//!
//! Three steps: the text becomes the types of `types`, which mirror the file, every value with its place; `check`
//! turns them into the checked types of [`crate::model`]; `report` gives every finding its line, column and path.
//! `places` does the same for what [`crate::lint`] finds in the model. A mistake never hides another one. Nothing here touches the host.

mod check;
mod device;
mod json;
mod network;
mod object;
mod places;
mod prefix_entry;
mod report;
mod scalar;
mod schema;
mod types;
mod value;

use std::fmt::Write as _;

use serde::Serialize;

use crate::lint::{self, Code, Levels};
use crate::model::Policy;
use crate::printable::plain;
use json::Json;
use places::Places;
use report::Report;
use types::Document;
use value::{Label, Read};

pub use schema::{schema, schema_text};

/// What came of reading a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// `None` exactly when there is an error among the findings that is one without being denied.
    pub policy: Option<Policy>,
    /// In the order of the file.
    pub findings: Vec<Finding>,
}

impl Reading {
    /// The findings of one severity.
    pub fn of(&self, severity: Severity) -> impl Iterator<Item = &Finding> {
        self.findings.iter().filter(move |finding| finding.severity == severity)
    }
}

/// Something worth saying about one place of the file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What kind it is.
    pub code: Code,
    /// `security_groups.sg-web.ingress[1].from_port`; empty for the file as a whole.
    pub path: String,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
    /// What is wrong, and what would be accepted.
    pub message: String,
    /// How to fix it.
    pub remedy: &'static str,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The file is not loaded.
    Error,
    /// Loaded, but probably not what was meant.
    Warning,
    /// Loaded, slightly different from how it was written.
    Note,
}

impl Severity {
    /// In lower case, as messages and JSON have it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

/// Reads a rules file. Any bytes are fine; whatever is wrong with them is among the findings.
pub fn read(source: &[u8]) -> Reading {
    look_at(source, &Levels::default(), Depth::Reading)
}

/// Reads a rules file and, where it can be loaded, judges its rules too.
pub fn check(source: &[u8], levels: &Levels) -> Reading {
    look_at(source, levels, Depth::Lints)
}

/// How much is said of a file.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Depth {
    /// What keeps it from being loaded, and what is taken otherwise than it was written.
    Reading,
    /// Also what is [`lint`] about.
    Lints,
}

fn look_at(source: &[u8], levels: &Levels, depth: Depth) -> Reading {
    let text = match std::str::from_utf8(source) {
        Ok(text) => text,
        Err(error) => return not_utf8(source, error.valid_up_to(), levels),
    };
    let mut report = Report::new(text, levels);
    // Some editors put a byte order mark first; RFC 8259, section 8.1 lets a reader skip it.
    let json = text.strip_prefix('\u{feff}').unwrap_or(text);
    if json.trim_ascii().is_empty() {
        report.say(0, Code::NotJson, "the file is empty, the smallest one is {\"version\": 1}");
        return Reading { policy: None, findings: report.finish(None) };
    }
    if json.len() > Json::MAX_BYTES {
        let message = format!("the file has {} bytes, must have less than 4 GiB", json.len());
        report.say(0, Code::NotJson, message);
        return Reading { policy: None, findings: report.finish(None) };
    }
    // One look at the whole text first: past it, every part of the text is known to be JSON.
    let json = match Json::parse(json) {
        Ok(json) => json,
        Err(error) => {
            let at = report.offset_of(json) + offset_in(json, error.line(), error.column());
            report.say(at, Code::NotJson, syntax_message(text, at, &error));
            return Reading { policy: None, findings: report.finish(None) };
        }
    };
    let root = json.root();
    let document = Document::read(root, Label::File, &mut report);
    let policy = document.as_ref().map(|document| check::policy_of(document, &mut report));
    let policy = policy.filter(|_| !report.is_refused());
    if let (Some(document), Some(policy), Depth::Lints) = (&document, &policy, depth) {
        let mut places = Places::of(document);
        lint::run(policy, &mut |place, code, message| report.say(places.offset(place), code, message));
    }
    Reading { policy, findings: report.finish(Some(root)) }
}

/// `rules.json:12:7: error: security_groups.sg-web.ingress[1].from_port: ... [value-invalid]`, one line per finding.
pub fn render(file: &str, findings: &[Finding]) -> String {
    let mut text = String::new();
    let file = plain(file);
    for Finding { severity, code, path, line, column, message, .. } in findings {
        let severity = severity.as_str();
        let path = if path.is_empty() { String::new() } else { format!("{path}: ") };
        let (path, message) = (plain(&path), plain(message));
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{file}:{line}:{column}: {severity}: {path}{message} [{}]", code.name());
    }
    text
}

fn not_utf8(source: &[u8], valid_up_to: usize, levels: &Levels) -> Reading {
    let valid = std::str::from_utf8(&source[..valid_up_to]).unwrap_or_default();
    let mut report = Report::new(valid, levels);
    let byte = source[valid_up_to];
    report.say(
        valid_up_to,
        Code::NotJson,
        format!("byte 0x{byte:02x} is not UTF-8, a rules file is UTF-8 text"),
    );
    Reading { policy: None, findings: report.finish(None) }
}

/// The byte that serde_json means by a line and a column, which count bytes from 1; column 0 is the line's end.
fn offset_in(text: &str, line: usize, column: usize) -> usize {
    let mut start = 0;
    for _ in 1..line {
        match text.as_bytes()[start..].iter().position(|byte| *byte == b'\n') {
            Some(end) => start += end + 1,
            None => break,
        }
    }
    let offset = (start + column.saturating_sub(1)).min(text.len());
    // Never inside a character.
    (0..=offset).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

fn syntax_message(text: &str, at: usize, error: &serde_json::Error) -> String {
    let full = error.to_string();
    let message = full.split(" at line ").next().unwrap_or(&full);
    let hint = match text.as_bytes().get(at) {
        Some(b'/' | b'#') => ", JSON has no comments: use \"description\" keys",
        Some(b'\'') => ", JSON takes double quotes only",
        Some(b'}' | b']') if text[..at].trim_ascii_end().ends_with(',') => ", remove the comma before it",
        _ => "",
    };
    format!("not JSON: {}{hint}", message.replace("EOF", "the file ends"))
}

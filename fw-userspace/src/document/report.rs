//! Collects what is wrong with a file, then finds line, column and path for all of it in one walk.
//!
//! The reader and the checks only know byte offsets: a place costs nothing until something is wrong there.

use super::json::{Raw, elements, entries, key_text};
use super::{Finding, Severity};
use crate::lint::{Code, Levels};
use crate::nearest::{are_compared, nearest};

/// The findings of one file as they come.
pub(super) struct Report<'a> {
    source: &'a str,
    levels: &'a Levels,
    found: Vec<Found>,
    /// Whether something was found that no `--deny` makes an error: it is one.
    refused: bool,
    comparisons_left: usize,
    listed: [usize; 3],
    /// Those of each severity that are not listed, where the first of them is and what.
    unlisted: [(usize, usize, Code); 3],
}

struct Found {
    at: usize,
    severity: Severity,
    code: Code,
    message: String,
    path: String,
}

impl<'a> Report<'a> {
    pub(super) fn new(source: &'a str, levels: &'a Levels) -> Self {
        Self {
            source,
            levels,
            found: Vec::new(),
            refused: false,
            comparisons_left: MAX_COMPARISONS,
            listed: [0; 3],
            unlisted: [(0, 0, Code::ValueInvalid); 3],
        }
    }

    /// Something is found at a byte of the source.
    pub(super) fn say(&mut self, at: usize, code: Code, message: impl Into<String>) {
        self.refused |= code.severity() == Severity::Error;
        if let Some(severity) = self.levels.severity(code) {
            self.push(severity, at, code, message.into());
        }
    }

    /// Where a value that was borrowed from the source begins.
    pub(super) fn offset_of(&self, borrowed: &str) -> usize {
        borrowed.as_ptr() as usize - self.source.as_ptr() as usize
    }

    /// Whether the file is not to be loaded, whatever was denied.
    pub(super) fn is_refused(&self) -> bool {
        self.refused
    }

    /// `, did you mean "x"?` when one of the candidates is near, else nothing.
    ///
    /// A file may hold a million wrong names; after a while they go without a suggestion.
    pub(super) fn did_you_mean<'c>(
        &mut self,
        word: &str,
        candidates: impl IntoIterator<Item = &'c str>,
    ) -> String {
        let left = &mut self.comparisons_left;
        let compared =
            candidates.into_iter().filter(|candidate| are_compared(word, candidate)).take_while(|_| {
                let is_left = *left > 0;
                *left = left.saturating_sub(1);
                is_left
            });
        nearest(word, compared).map_or_else(String::new, |candidate| format!(", did you mean {candidate:?}?"))
    }

    /// All findings in the order of the file. `document` is the whole value, `None` where the text is not JSON.
    pub(super) fn finish(mut self, document: Option<Raw<'_>>) -> Vec<Finding> {
        for (severity, (count, at, code)) in SEVERITIES.into_iter().zip(self.unlisted) {
            if count > 0 {
                let message = format!("{count} more {}s like these are not listed", severity.as_str());
                self.found.push(Found { at, severity, code, message, path: String::new() });
            }
        }
        self.found.sort_by_key(|found| found.at);
        if let Some(document) = document {
            let start = self.source.as_ptr() as usize;
            name_places(document, start, &mut String::new(), &mut self.found);
        }
        // No editor counts a byte order mark.
        let start = if self.source.starts_with('\u{feff}') { '\u{feff}'.len_utf8() } else { 0 };
        let mut cursor = Cursor { source: self.source, at: start, line: 1, column: 1 };
        let mut findings = Vec::with_capacity(self.found.len());
        for Found { at, severity, code, message, path } in self.found {
            cursor.advance_to(at);
            let (line, column) = (cursor.line, cursor.column);
            let remedy = code.remedy();
            findings.push(Finding { severity, code, path, line, column, message, remedy });
        }
        findings
    }

    fn push(&mut self, severity: Severity, at: usize, code: Code, message: String) {
        let listed = &mut self.listed[severity as usize];
        let (count, first, of) = &mut self.unlisted[severity as usize];
        if *listed == MAX_LISTED {
            if *count == 0 || at < *first {
                (*first, *of) = (at, code);
            }
            *count += 1;
            return;
        }
        *listed += 1;
        self.found.push(Found { at, severity, code, message, path: String::new() });
    }
}

/// Gives a path to all findings inside `value`; they are sorted. Goes only as deep as findings lie, and those
/// lie no deeper than the format.
fn name_places(value: Raw<'_>, start: usize, path: &mut String, mut found: &mut [Found]) {
    let text = value.get();
    let here = text.as_ptr() as usize - start;
    let length = path.len();
    let own = found.partition_point(|found| found.at <= here);
    let (at_value, inside) = found.split_at_mut(own);
    at_value.iter_mut().for_each(|found| found.path.clone_from(path));
    found = inside;
    if found.is_empty() {
        return;
    }
    let end_of = |value: Raw<'_>| value.get().as_ptr() as usize - start + value.get().len();
    if text.starts_with('[') {
        for (index, element) in elements(value).enumerate() {
            let (inside, rest) = split_before(found, end_of(element));
            if !inside.is_empty() {
                path.push_str(&format!("[{index}]"));
                name_places(element, start, path, inside);
                path.truncate(length);
            }
            found = rest;
        }
    } else {
        for (key, member) in entries(value) {
            let (inside, rest) = split_before(found, end_of(member));
            if !inside.is_empty() {
                push_key(path, &key_text(key));
                let (at_key, at_member) = split_before(inside, end_of(key));
                at_key.iter_mut().for_each(|found| found.path.clone_from(path));
                name_places(member, start, path, at_member);
                path.truncate(length);
            }
            found = rest;
        }
    }
    // A place between two values belongs to the value around them.
    found.iter_mut().for_each(|found| found.path.clone_from(path));
}

fn split_before(found: &mut [Found], end: usize) -> (&mut [Found], &mut [Found]) {
    let inside = found.partition_point(|found| found.at < end);
    found.split_at_mut(inside)
}

/// Plain names are joined by dots; anything else is quoted, so that a path reads one way only.
fn push_key(path: &mut String, key: &str) {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if key.is_empty() || !key.bytes().all(plain) {
        path.push_str(&format!("[{key:?}]"));
        return;
    }
    if !path.is_empty() {
        path.push('.');
    }
    path.push_str(key);
}

/// Counts lines and characters forwards only, so that a million findings still cost one walk.
struct Cursor<'a> {
    source: &'a str,
    at: usize,
    line: usize,
    column: usize,
}

impl Cursor<'_> {
    fn advance_to(&mut self, at: usize) {
        let bytes = self.source.as_bytes();
        for &byte in &bytes[self.at..at.clamp(self.at, bytes.len())] {
            if byte == b'\n' {
                self.line += 1;
                self.column = 1;
            } else if byte & 0xc0 != 0x80 {
                // Continuation bytes of UTF-8 are no characters of their own.
                self.column += 1;
            }
        }
        self.at = at.clamp(self.at, bytes.len());
    }
}

/// About a second's worth.
const MAX_COMPARISONS: usize = 200_000;

/// Nobody reads more of one severity, and a file may have millions.
const MAX_LISTED: usize = 10_000;

/// In the order of their numbers.
const SEVERITIES: [Severity; 3] = [Severity::Error, Severity::Warning, Severity::Note];

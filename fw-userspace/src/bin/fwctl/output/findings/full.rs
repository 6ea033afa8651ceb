//! Findings as a compiler shows them: what, where, the line itself, what helps.

use std::borrow::Cow;
use std::ops::Range;

use annotate_snippets::{AnnotationKind, Level, Origin, Renderer, Snippet};
use fw_userspace::document::{Finding, Severity};

use crate::output::remark;
use crate::output::units::plain;

/// One after another, an empty line behind each.
pub(super) fn print(file: &str, source: &[u8], findings: &[Finding], colour: bool) {
    let renderer = if colour { Renderer::styled() } else { Renderer::plain() };
    let renderer = renderer.term_width(WIDTH);
    let mut lines = Lines::new(source);
    for finding in findings {
        let (line, at) = lines.place(finding.line, finding.column);
        remark(format!("{}\n\n", shown(&renderer, file, excerpt(line, at), finding)));
    }
}

fn shown(renderer: &Renderer, file: &str, excerpt: Excerpt<'_>, finding: &Finding) -> String {
    let level = match finding.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
        Severity::Note => Level::NOTE,
    };
    let Excerpt { text, marked, is_cut } = excerpt;
    let [before, value, behind] =
        [&text[..marked.start], &text[marked.clone()], &text[marked.end..]].map(shows);
    let marked = before.len()..before.len() + value.len();
    let shown = [before, value, behind].concat();
    let (file, message, path) = (plain(file), plain(&finding.message), plain(&finding.path));
    let snippet =
        Snippet::source(&shown).line_start(finding.line).annotation(AnnotationKind::Primary.span(marked));
    let title = level.primary_title(message).id(finding.code.name());
    let report = if is_cut || shown != text {
        // The renderer would count columns in the excerpt.
        title.element(Origin::path(file).line(finding.line).char_column(finding.column)).element(snippet)
    } else {
        title.element(snippet.path(file))
    };
    let report =
        if path.is_empty() { report } else { report.element(Level::NOTE.with_name("path").message(path)) };
    renderer.render(&[report.element(Level::HELP.message(finding.remedy))])
}

/// A part of a line as it is shown; of tabs the renderer makes spaces.
fn shows(text: &str) -> String {
    text.split('\t').map(plain).collect::<Vec<_>>().join("\t")
}

/// Finds lines, and characters in them, forwards only, so that ten thousand findings still cost one walk: a file may have
/// all its bytes in one line.
struct Lines<'s> {
    source: &'s [u8],
    number: usize,
    /// Where the line begins in the source.
    start: usize,
    text: Cow<'s, str>,
    /// The character that was asked for last, counted from 1, and its byte in the line.
    column: usize,
    at: usize,
}

impl<'s> Lines<'s> {
    fn new(source: &'s [u8]) -> Self {
        let mut lines = Self { source, number: 1, start: 0, text: Cow::Borrowed(""), column: 1, at: 0 };
        lines.begin();
        lines
    }

    /// A line without its end, nothing behind the last one; and the byte of a character in it, counted from 1.
    fn place(&mut self, line: usize, column: usize) -> (&str, usize) {
        if self.number < line {
            while self.number < line {
                self.start = self.end() + 1;
                self.number += 1;
            }
            self.begin();
        }
        let column = column.max(1);
        if column < self.column {
            (self.column, self.at) = (1, 0);
        }
        let mut rest = self.text[self.at..].char_indices();
        self.at = rest.nth(column - self.column).map_or(self.text.len(), |(at, _)| self.at + at);
        self.column = column;
        (&self.text, self.at)
    }

    fn begin(&mut self) {
        let line = self.source.get(self.start..self.end()).unwrap_or_default();
        // No editor counts a byte order mark.
        let line = line.strip_prefix(b"\xef\xbb\xbf").filter(|_| self.start == 0).unwrap_or(line);
        self.text = String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line));
        (self.column, self.at) = (1, 0);
    }

    fn end(&self) -> usize {
        let rest = self.source.get(self.start..).unwrap_or_default();
        rest.iter().position(|byte| *byte == b'\n').map_or(self.source.len(), |end| self.start + end)
    }
}

/// A part of a line, and the bytes of it that are meant.
struct Excerpt<'l> {
    text: &'l str,
    marked: Range<usize>,
    /// Whether it begins behind the line's beginning.
    is_cut: bool,
}

/// What is around a byte of a line.
fn excerpt(line: &str, at: usize) -> Excerpt<'_> {
    let (before, rest) = line.split_at(at);
    let start = before.char_indices().rev().take(MAX_BESIDE).last().map_or(at, |(start, _)| start);
    let marked = value_length(rest);
    let end = rest.char_indices().nth(marked + MAX_BESIDE).map_or(line.len(), |(end, _)| at + end);
    let marked = at - start..(at - start + marked).min(end - start);
    Excerpt { text: &line[start..end], marked, is_cut: start > 0 }
}

/// Bytes of the JSON value or the key at the start of a text; of a long object or list the bracket alone.
fn value_length(text: &str) -> usize {
    let first = text.chars().next().map_or(0, char::len_utf8);
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for (at, character) in text.char_indices().take(MAX_MARKED) {
        let behind = at + character.len_utf8();
        match character {
            _ if escaped => escaped = false,
            '\\' if in_string => escaped = true,
            '"' => {
                in_string = !in_string;
                if !in_string && depth == 0 {
                    return behind;
                }
            }
            _ if in_string => {}
            '{' | '[' => depth += 1,
            '}' | ']' if depth > 1 => depth -= 1,
            '}' | ']' if depth == 1 => return behind,
            '}' | ']' | ',' | ':' | ' ' | '\t' if depth == 0 => return at.max(first),
            _ => {}
        }
    }
    if depth > 0 {
        return first;
    }
    text.char_indices().nth(MAX_MARKED).map_or(text.len(), |(end, _)| end)
}

/// Columns, of which a line of the file gets what is left beside its number; the part with the marker is shown.
const WIDTH: usize = 100;

/// Characters of one value.
const MAX_MARKED: usize = 60;

/// Characters before and behind it that are shown.
const MAX_BESIDE: usize = 200;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_marked_to_its_end() {
        for (text, marked) in [
            (r#""a\"b": 1"#, r#""a\"b""#),
            ("70000, \"x\"", "70000"),
            ("true}", "true"),
            (r#"{ "a": [1, "]"] }, 7"#, r#"{ "a": [1, "]"] }"#),
            ("{ \"a\": 1, ", "{"),
            ("}", "}"),
            (", ]", ","),
            ("", ""),
            ("é", "é"),
        ] {
            assert_eq!(&text[..value_length(text)], marked, "{text}");
        }
        assert_eq!(value_length(&"[".repeat(1000)), 1);
        assert_eq!(value_length(&"x".repeat(1000)), MAX_MARKED);
    }

    #[test]
    fn nothing_of_a_file_steers_the_terminal() {
        let line = "\t{ \"\u{202e}a\": \"\u{1b}[2J\", \"b\": 1 }\u{9b}";
        let finding = Finding {
            severity: Severity::Error,
            code: fw_userspace::lint::Code::NotJson,
            path: "a\u{202e}".to_owned(),
            line: 1,
            column: 9,
            message: "\u{1b}[31m".to_owned(),
            remedy: "",
        };
        let shown = shown(
            &Renderer::plain(),
            "r\u{1b}\u{2066}.json",
            excerpt(line, line.find("\"\u{1b}").unwrap()),
            &finding,
        );
        assert!(shown.chars().all(|c| c == '\n' || fw_userspace::printable::is_plain(c)), "{shown:?}");
        assert!(shown.contains("r\\u{1b}\\u{2066}.json:1:9") && shown.contains("\"\\u{1b}[2J\""), "{shown}");
    }

    #[test]
    fn lines_and_columns_are_those_of_editors() {
        let source = "\u{feff}{ \"é\": 1,\r\n\"b\": 22 }".as_bytes();
        let mut lines = Lines::new(source);
        for (number, column, value, whole) in [(1, 8, "1", "{ \"é\": 1,"), (2, 6, "22", "\"b\": 22 }")] {
            let (line, at) = lines.place(number, column);
            let Excerpt { text, marked, .. } = excerpt(line, at);
            assert_eq!((&text[marked], text), (value, whole));
        }
        assert_eq!(lines.place(9, 1).0, "");
    }
}

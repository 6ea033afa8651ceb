//! What `check` and `load` say about a rules file: its findings on standard error, then their number.

mod full;
mod sarif;

use fw_userspace::document::{self, Finding, Severity};

use super::units::{count, plain};
use super::{colour_on_stderr, remark};

pub(crate) use sarif::log as sarif;

/// How a finding is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// The line of the file with a marker, and what helps.
    Full,
    /// One line.
    Short,
}

/// Every finding of a file.
pub(crate) fn print(file: &str, source: &[u8], findings: &[Finding], form: Form) {
    match form {
        Form::Full => full::print(file, source, findings, colour_on_stderr()),
        Form::Short => remark(document::render(file, findings)),
    }
}

/// `rules.json: 3 errors, 1 warning`
pub(crate) fn print_count(file: &str, findings: &[Finding]) {
    let number = |severity| findings.iter().filter(|finding| finding.severity == severity).count();
    let file = plain(file);
    let errors = count(number(Severity::Error), "error");
    let warnings = count(number(Severity::Warning), "warning");
    let notes = match number(Severity::Note) {
        0 => String::new(),
        notes => format!(", {}", count(notes, "note")),
    };
    remark(format!("{file}: {errors}, {warnings}{notes}\n"));
}

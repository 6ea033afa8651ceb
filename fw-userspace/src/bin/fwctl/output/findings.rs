//! What `check` and `load` say about a rules file: a line per finding on standard error, then the count.

use fw_userspace::document::{self, Finding, Severity};

use super::units::count;
use super::{colour_on_stderr, remark};

/// Every finding, one per line.
pub(crate) fn print(file: &str, findings: &[Finding]) {
    let colour = colour_on_stderr();
    for finding in findings {
        remark(line(file, finding, colour));
    }
}

/// `rules.json: 3 errors, 1 warning`
pub(crate) fn print_count(file: &str, findings: &[Finding]) {
    let number = |severity| findings.iter().filter(|finding| finding.severity == severity).count();
    let errors = count(number(Severity::Error), "error");
    let warnings = count(number(Severity::Warning), "warning");
    let notes = match number(Severity::Note) {
        0 => String::new(),
        notes => format!(", {}", count(notes, "note")),
    };
    remark(format!("{file}: {errors}, {warnings}{notes}\n"));
}

fn line(file: &str, finding: &Finding, colour: bool) -> String {
    let line = document::render(file, std::slice::from_ref(finding));
    if !colour {
        return line;
    }
    let severity = finding.severity.as_str();
    let code = match finding.severity {
        Severity::Error => "1;31",
        Severity::Warning => "1;33",
        Severity::Note => "1;36",
    };
    line.replacen(&format!(" {severity}: "), &format!(" \x1b[{code}m{severity}\x1b[0m: "), 1)
}

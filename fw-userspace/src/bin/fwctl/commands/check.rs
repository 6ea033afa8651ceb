//! `fwctl check`: every mistake of every file. Never looks at the host.

use fw_userspace::document::{self, Finding, Severity};
use fw_userspace::error::{Error, ErrorKind, Result};
use fw_userspace::lint::{Code, Levels};
use serde::Serialize;

use super::Outcome;
use crate::args::{Check, Format};
use crate::output::findings::{self, Form};
use crate::output::{self, Output};
use fw_userspace::input;

/// What `--json` prints per file.
#[derive(Serialize)]
struct Checked {
    file: String,
    findings: Vec<Finding>,
}

pub(super) fn run(args: &Check, output: &mut Output) -> Result<Outcome> {
    input::refuse_stdin_twice(&args.files)?;
    let levels = Levels::new(&args.deny, &args.allow)?;
    let form = match args.format {
        _ if args.json => None,
        Format::Full => Some(Form::Full),
        Format::Short => Some(Form::Short),
        Format::Json | Format::Sarif => None,
    };
    // An unreadable file says nothing about the rules, a wrong one does: 2 outweighs 1.
    let (mut wrong, mut refused) = (false, false);
    let mut all = Vec::new();
    for path in &args.files {
        let file = input::name(path);
        let findings = match input::read(path, args.memory.max) {
            Ok(source) => {
                let findings = document::check(&source, &levels).findings;
                if let Some(form) = form {
                    findings::print(&file, &source, &findings, form);
                    findings::print_count(&file, &findings);
                }
                wrong |= findings.iter().any(|finding| finding.severity == Severity::Error);
                findings
            }
            Err(error) => {
                if form.is_some() {
                    output::complain(&error);
                }
                wrong |= error.kind == ErrorKind::Input;
                refused |= error.kind == ErrorKind::System;
                vec![unread(&error)]
            }
        };
        all.push(Checked { file, findings });
    }
    if args.format == Format::Sarif {
        output.json(&findings::sarif(
            all.iter().map(|checked| (checked.file.as_str(), &checked.findings[..])),
        ))?;
    } else if form.is_none() {
        output.json(&all)?;
    }
    Ok(match (wrong, refused) {
        (true, _) => Outcome::Invalid,
        (false, true) => Outcome::Refused,
        (false, false) => Outcome::Done,
    })
}

/// A file that could not be read, as a finding about its start.
fn unread(error: &Error) -> Finding {
    let code = Code::FileUnreadable;
    Finding {
        severity: Severity::Error,
        code,
        path: String::new(),
        line: 1,
        column: 1,
        message: error.to_string(),
        remedy: code.remedy(),
    }
}

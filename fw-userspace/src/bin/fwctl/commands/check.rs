//! `fwctl check`: every mistake of every file. Never looks at the host.

use std::path::Path;

use fw_userspace::document::{self, Finding, Severity};
use fw_userspace::error::{Error, ErrorKind, Result};
use serde::Serialize;

use super::Outcome;
use crate::args::Check;
use crate::input;
use crate::output::{self, Output, findings};

/// What `--json` prints per file.
#[derive(Serialize)]
struct Checked {
    file: String,
    findings: Vec<Finding>,
}

pub(super) fn run(args: &Check, output: &mut Output) -> Result<Outcome> {
    if args.files.iter().filter(|file| *file == Path::new("-")).count() > 1 {
        return Err(Error::input("\"-\" is named twice, standard input can be read only once"));
    }
    // An unreadable file says nothing about the rules, a wrong one does: 2 outweighs 1.
    let (mut wrong, mut refused) = (false, false);
    let mut all = Vec::new();
    for path in &args.files {
        let file = input::name(path);
        let findings = match input::read(path, args.memory.max) {
            Ok(source) => {
                let findings = document::read(&source).findings;
                if !args.json {
                    findings::print(&file, &findings);
                    findings::print_count(&file, &findings);
                }
                wrong |= findings.iter().any(|finding| finding.severity == Severity::Error);
                findings
            }
            Err(error) => {
                if !args.json {
                    output::complain(&error);
                }
                wrong |= error.kind == ErrorKind::Input;
                refused |= error.kind == ErrorKind::System;
                vec![unread(&error)]
            }
        };
        all.push(Checked { file, findings });
    }
    if args.json {
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
    Finding { severity: Severity::Error, path: String::new(), line: 1, column: 1, message: error.to_string() }
}

//! `fwctl diff`: what would change.

use std::path::Path;

use fw_userspace::diff::{Side, diff};
use fw_userspace::error::{Error, Result};
use fw_userspace::model::Policy;

use super::{Outcome, rules};
use crate::args::Diff;
use crate::output::diff::Limits;
use crate::output::{self, Output};
use fw_userspace::input;

pub(super) fn run(args: &Diff, bpffs: &Path, output: &mut Output) -> Result<Outcome> {
    input::refuse_stdin_twice(&args.files)?;
    let mut policies = Vec::with_capacity(2);
    for file in &args.files {
        policies.push(rules(file, args.memory.max)?);
    }
    // Mistakes of both files are said before the first one ends it.
    let policies: Option<Vec<Policy>> = policies.into_iter().collect();
    let Some(policies) = policies else { return Ok(Outcome::Invalid) };
    let mut policies = policies.into_iter();
    let (old, new) = match (policies.next(), policies.next()) {
        (Some(old), Some(new)) => (Side::of_rules(old), Side::of_rules(new)),
        (Some(new), None) => (Side::in_force(bpffs)?, Side::to_be_loaded(new, bpffs)?),
        (None, _) => return Err(Error::input("which rules? name a file, or an old one and a new one")),
    };
    let report = diff(old, new, args.interface.as_deref(), args.memory.max)?;
    if args.json {
        output.json(&report)?;
    } else {
        let limits = if args.all { Limits::NONE } else { Limits::DEFAULT };
        output::diff::print(output, &report, args.interface.as_deref(), limits);
    }
    Ok(if args.exit_code && report.verdicts_change { Outcome::Changes } else { Outcome::Done })
}

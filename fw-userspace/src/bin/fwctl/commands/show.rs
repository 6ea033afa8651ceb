//! `fwctl show`: the rules in force, from the source that was loaded with them.

use std::path::Path;

use fw_userspace::error::{Error, Result};
use fw_userspace::{datapath, document};
use serde_json::Value;

use super::Outcome;
use crate::args::Show;
use crate::output::{self, Output};

pub(super) fn run(args: &Show, bpffs: &Path, output: &mut Output) -> Result<Outcome> {
    let source = datapath::source(bpffs)?;
    if args.source {
        output.text(&source);
    } else if args.json {
        output.json(&value_of(&source)?)?;
    } else {
        let policy = document::read(&source).policy.ok_or_else(unreadable)?;
        output::policy::print(output, &policy);
    }
    Ok(Outcome::Done)
}

fn value_of(source: &[u8]) -> Result<Value> {
    // `document::read` takes a byte order mark too.
    let json = source.strip_prefix("\u{feff}".as_bytes()).unwrap_or(source);
    serde_json::from_slice(json).map_err(|_| unreadable())
}

fn unreadable() -> Error {
    Error::system("this fwctl cannot read the loaded rules, see them with `fwctl show --source`")
}

//! `fwctl status`: whether everything is enforced that should be.

use std::path::Path;

use fw_userspace::datapath;
use fw_userspace::error::Result;

use super::Outcome;
use crate::args::Status;
use crate::output::{self, Output};

pub(super) fn run(args: &Status, bpffs: &Path, output: &mut Output) -> Result<Outcome> {
    let status = datapath::status(bpffs)?;
    if args.json {
        output.json(&status)?;
    } else {
        output::status::print(output, &status, bpffs);
    }
    Ok(if status.healthy { Outcome::Done } else { Outcome::Refused })
}

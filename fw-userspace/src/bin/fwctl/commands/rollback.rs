//! `fwctl rollback`: the rules before the last load come back.

use std::path::Path;

use fw_userspace::datapath;
use fw_userspace::error::Result;

use super::{Outcome, summarise};
use crate::args::Rollback;
use crate::output::Output;

pub(super) fn run(args: &Rollback, bpffs: &Path, output: &mut Output) -> Result<Outcome> {
    let report = datapath::rollback(bpffs)?;
    summarise(output, "rolled back", &report, bpffs, args.json)
}

//! `fwctl confirm`: the rules just loaded stay.

use std::path::Path;

use fw_userspace::datapath;
use fw_userspace::error::Result;

use super::{Outcome, summarise};
use crate::args::Confirm;
use crate::output::Output;

pub(super) fn run(args: &Confirm, bpffs: &Path, output: &mut Output) -> Result<Outcome> {
    let report = datapath::confirm(bpffs)?;
    summarise(output, "confirmed", &report, bpffs, args.json)
}

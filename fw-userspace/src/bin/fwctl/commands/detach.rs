//! `fwctl detach`: a device that goes is filtered no more.

use std::path::Path;

use fw_userspace::datapath;
use fw_userspace::error::Result;

use super::{Outcome, summarise};
use crate::args::Detach;
use crate::output::Output;

pub(super) fn run(args: &Detach, bpffs: &Path, output: &mut Output) -> Result<Outcome> {
    let report = datapath::detach(bpffs, &args.device)?;
    summarise(output, &format!("detached {:?}", args.device), &report, bpffs, args.json)
}

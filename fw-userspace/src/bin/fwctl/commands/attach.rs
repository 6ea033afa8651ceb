//! `fwctl attach`: a device that came is filtered.

use std::path::Path;

use fw_userspace::datapath;
use fw_userspace::error::Result;

use super::{Outcome, summarise};
use crate::args::Attach;
use crate::output::Output;

pub(super) fn run(args: &Attach, bpffs: &Path, output: &mut Output) -> Result<Outcome> {
    let report = datapath::attach(bpffs, &args.device, &args.interface)?;
    summarise(
        output,
        &format!("attached {:?} as {:?}", args.device, args.interface),
        &report,
        bpffs,
        args.json,
    )
}

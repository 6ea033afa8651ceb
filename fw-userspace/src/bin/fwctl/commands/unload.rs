//! `fwctl unload`: nothing is filtered any more, or one device is not.

use std::path::Path;

use fw_userspace::datapath;
use fw_userspace::error::Result;

use super::Outcome;
use crate::args::Unload;
use crate::output::Output;

pub(super) fn run(args: &Unload, bpffs: &Path, output: &mut Output) -> Result<Outcome> {
    for done in datapath::unload(bpffs, args.device.as_deref(), args.force)? {
        output.line(done);
    }
    Ok(Outcome::Done)
}

//! `fwctl attach`: a device that came is filtered.

use std::path::Path;

use fw_userspace::datapath;
use fw_userspace::error::Result;

use super::{Outcome, summarise};
use crate::args::Attach;
use crate::output::Output;

pub(super) fn run(args: &Attach, bpffs: &Path, output: &mut Output) -> Result<Outcome> {
    let device = &args.device;
    let (said, report) = match &args.interface {
        Some(interface) => {
            (format!("attached {device:?} as {interface:?}"), datapath::attach(bpffs, device, interface)?)
        }
        None => match datapath::attach_named(bpffs, device)? {
            Some(report) => (format!("attached {device:?}"), report),
            None => {
                // With --json too: there is no summary of nothing.
                output.line(if args.json { "null".to_owned() } else { untouched(device) });
                return Ok(Outcome::Done);
            }
        },
    };
    summarise(output, &said, &report, bpffs, args.json)
}

fn untouched(device: &str) -> String {
    format!("the rules in force do not name {device:?}, nothing was done; --interface says what it carries")
}

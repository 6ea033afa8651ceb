//! `fwctl load`: the file's rules become the enforced ones, or nothing changes.

use std::path::Path;
use std::time::Duration;

use fw_userspace::datapath::{self, LoadOptions};
use fw_userspace::document;
use fw_userspace::error::Result;

use super::Outcome;
use crate::args::Load;
use crate::output::findings::{self, Form};
use crate::output::load::Effect;
use crate::output::progress::{self, Progress};
use crate::output::{self, Output};
use fw_userspace::input;

pub(super) fn run(args: &Load, bpffs: &Path, output: &mut Output) -> Result<Outcome> {
    let source = input::read(&args.file, args.memory.max)?;
    let file = input::name(&args.file);
    let progress = Progress::start("reading the rules");
    let reading = document::read(&source);
    progress.end();
    findings::print(&file, &source, &reading.findings, Form::Full);
    let Some(policy) = reading.policy else {
        findings::print_count(&file, &reading.findings);
        return Ok(Outcome::Invalid);
    };
    let options = LoadOptions {
        confirm: args.confirm.map(Duration::from_secs),
        require_devices: args.require_devices,
        dry_run: args.dry_run,
        max_memory: args.memory.max,
        progress: Some(progress::note),
        ..LoadOptions::default()
    };
    let progress = Progress::start("looking at the devices");
    let report = datapath::load(bpffs, &source, &policy, &options);
    progress.end();
    let report = report?;
    if args.json {
        output.json(&report)?;
    } else if args.dry_run {
        let said = format!("would load {file:?}, nothing was changed");
        output::load::print(output, &said, &report, Effect::DryRun, bpffs);
    } else {
        output::load::print(output, &format!("loaded {file:?}"), &report, Effect::Done, bpffs);
    }
    Ok(Outcome::Done)
}

//! One file per verb: each takes what was typed, calls the library and hands the answer to `output`.

mod attach;
mod check;
mod completions;
mod confirm;
mod conntrack;
mod detach;
mod diff;
mod explain;
mod flow_log;
mod help;
mod load;
mod man;
mod monitor;
mod rollback;
mod serve;
mod show;
mod stats;
mod status;
mod top;
mod unload;

use std::path::Path;

use fw_userspace::document;
use fw_userspace::error::Result;
use fw_userspace::model::Policy;
use fw_userspace::report::LoadReport;

use crate::args::{Arguments, Verb};
use crate::output::findings::{self, Form};
use crate::output::load::Effect;
use crate::output::{self, Output};
use fw_userspace::input;

/// How a command ended that has said everything itself.
pub(crate) enum Outcome {
    /// Exit status 0.
    Done,
    /// Exit status 1.
    Refused,
    /// Exit status 2.
    Invalid,
    /// Exit status 3.
    Changes,
}

/// Runs the verb that was typed.
pub(crate) fn run(arguments: &Arguments, output: &mut Output) -> Result<Outcome> {
    let bpffs = &arguments.bpffs;
    match &arguments.verb {
        Verb::Check(args) => check::run(args, output),
        Verb::Load(args) => load::run(args, bpffs, output),
        Verb::Confirm(args) => confirm::run(args, bpffs, output),
        Verb::Rollback(args) => rollback::run(args, bpffs, output),
        Verb::Attach(args) => attach::run(args, bpffs, output),
        Verb::Detach(args) => detach::run(args, bpffs, output),
        Verb::Unload(args) => unload::run(args, bpffs, output),
        Verb::Show(args) => show::run(args, bpffs, output),
        Verb::Status(args) => status::run(args, bpffs, output),
        Verb::Stats(args) => stats::run(args, bpffs, output),
        Verb::Monitor(args) => monitor::run(args, bpffs, output),
        Verb::Top(args) => top::run(args, bpffs),
        Verb::FlowLog(args) => flow_log::run(args, bpffs, output),
        Verb::Explain(args) => explain::run(args, bpffs, output),
        Verb::Diff(args) => diff::run(args, bpffs, output),
        Verb::Conntrack(args) => conntrack::run(args, bpffs, output),
        Verb::Serve(args) => serve::run(args, bpffs),
        Verb::Help(args) => help::run(args, output),
        Verb::Completions(args) => completions::run(args, output),
        Verb::Man(args) => man::run(args, output),
    }
}

/// The rules of a file; `None` if they are wrong, which was then said.
fn rules(file: &Path, max_memory: u64) -> Result<Option<Policy>> {
    let source = input::read(file, max_memory)?;
    let reading = document::read(&source);
    if reading.policy.is_none() {
        let name = input::name(file);
        findings::print(&name, &source, &reading.findings, Form::Full);
        findings::print_count(&name, &reading.findings);
    }
    Ok(reading.policy)
}

/// The summary of a command that changed what is enforced.
fn summarise(
    output: &mut Output,
    said: &str,
    report: &LoadReport,
    bpffs: &Path,
    json: bool,
) -> Result<Outcome> {
    if json {
        output.json(report)?;
    } else {
        output::load::print(output, said, report, Effect::Done, bpffs);
    }
    Ok(Outcome::Done)
}

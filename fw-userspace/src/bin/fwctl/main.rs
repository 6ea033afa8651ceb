//! `fwctl`: AWS security groups and network ACLs on Linux hosts, from the command line.
//!
//! Parse, dispatch, exit status. What the user can type is in `args`, what each verb does in `commands`, how it looks
//! in `output`, what `fwctl help` knows besides the verbs in `topics`; nothing here knows the kernel, that is `fw_userspace::datapath`.

mod args;
mod commands;
mod interrupt;
mod output;
mod topics;

use std::io::Write as _;
use std::process::ExitCode;

use clap::Parser as _;
use fw_userspace::error::ErrorKind;

use args::Arguments;
use commands::Outcome;
use output::Output;

fn main() -> ExitCode {
    std::panic::set_hook(Box::new(report_panic));
    let arguments = Arguments::parse();
    std::panic::catch_unwind(|| run(&arguments)).unwrap_or(ExitCode::from(SYSTEM))
}

fn run(arguments: &Arguments) -> ExitCode {
    let mut output = Output::stdout();
    let outcome = commands::run(arguments, &mut output);
    let printed = output.finish();
    let outcome = outcome.and_then(|outcome| printed.map(|()| outcome));
    match outcome {
        Ok(Outcome::Done) => ExitCode::SUCCESS,
        Ok(Outcome::Refused) => ExitCode::from(SYSTEM),
        Ok(Outcome::Invalid) => ExitCode::from(INPUT),
        Ok(Outcome::Changes) => ExitCode::from(CHANGES),
        Err(error) => {
            output::complain(&error);
            ExitCode::from(match error.kind {
                ErrorKind::System => SYSTEM,
                ErrorKind::Input => INPUT,
            })
        }
    }
}

/// One line, whatever `RUST_BACKTRACE` says.
fn report_panic(panic: &std::panic::PanicHookInfo<'_>) {
    let message = fw_userspace::printable::plain(panic.payload_as_str().unwrap_or("no message"));
    let place = panic.location().map(|place| format!(" at {place}")).unwrap_or_default();
    let _ = writeln!(std::io::stderr(), "error: a mistake in fwctl{place}, please report it: {message}");
}

/// The system refused.
const SYSTEM: u8 = 1;
/// The input is wrong; clap's status for bad usage too.
const INPUT: u8 = 2;
/// `diff --exit-code` found a change.
const CHANGES: u8 = 3;

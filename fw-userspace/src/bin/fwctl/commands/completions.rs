//! `fwctl completions`: what a shell needs to complete our words.

use clap::CommandFactory as _;
use fw_userspace::error::Result;

use super::Outcome;
use crate::args::{Arguments, Completions};
use crate::output::Output;

pub(super) fn run(args: &Completions, output: &mut Output) -> Result<Outcome> {
    let mut text = Vec::new();
    clap_complete::generate(args.shell, &mut Arguments::command(), "fwctl", &mut text);
    output.text(text);
    Ok(Outcome::Done)
}

//! `fwctl conntrack`: the tracked connections.

use std::path::Path;

use fw_userspace::datapath::{self, Conntrack};
use fw_userspace::error::{Error, Result};

use super::Outcome;
use crate::args::{self, ConntrackVerb, Count, Flush, List};
use crate::output::{self, Output};

pub(super) fn run(args: &args::Conntrack, bpffs: &Path, output: &mut Output) -> Result<Outcome> {
    match &args.verb {
        ConntrackVerb::List(args) => list(args, bpffs, output),
        ConntrackVerb::Count(args) => count(args, bpffs, output),
        ConntrackVerb::Flush(args) => flush(args, bpffs, output),
    }
}

fn list(args: &List, bpffs: &Path, output: &mut Output) -> Result<Outcome> {
    let conntrack = Conntrack::open(bpffs)?;
    let connections = conntrack.list(&args.filters.filter())?;
    let width = conntrack.widest_name();
    if !args.json {
        output::conntrack::heading(output, width);
    }
    for connection in connections {
        if args.json {
            output.json_line(&connection);
        } else {
            output::conntrack::line(output, &connection, width);
        }
        if output.is_over() {
            break;
        }
    }
    Ok(Outcome::Done)
}

fn count(args: &Count, bpffs: &Path, output: &mut Output) -> Result<Outcome> {
    let top = args.top.map(|top| top as usize);
    let count = Conntrack::open(bpffs)?.count(&args.filters.filter(), args.by, top)?;
    if args.json {
        output.json(&count)?;
    } else {
        output::conntrack::count(output, &count);
    }
    Ok(Outcome::Done)
}

fn flush(args: &Flush, bpffs: &Path, output: &mut Output) -> Result<Outcome> {
    let filter = args.filters.filter();
    if filter.is_empty() != args.all {
        let filters = "\"--interface\", \"--address\", \"--port\", \"--protocol\", \"--state\"";
        return Err(Error::input(if args.all {
            format!("\"--all\" does not go with {filters}: give one or the other")
        } else {
            format!("which connections? give at least one of {filters}, or \"--all\"")
        }));
    }
    let flushed = datapath::flush(bpffs, &filter)?;
    if args.json {
        output.json(&flushed)?;
    } else {
        output::conntrack::flushed(output, &flushed);
    }
    Ok(Outcome::Done)
}

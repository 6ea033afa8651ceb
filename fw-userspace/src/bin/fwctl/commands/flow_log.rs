//! `fwctl flow-log`: VPC Flow Log records.

use std::os::fd::AsFd;
use std::path::Path;
use std::time::{Duration, Instant};

use fw_userspace::error::{Error, Result};
use fw_userspace::flow_log::{Destination, FlowLog, Form, Options, Rotation, TrafficType};
use fw_userspace::printable::plain;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::Outcome;
use crate::args;
use crate::interrupt::Interrupt;
use crate::output::{self, Output};

/// How often a directory gets a file at AWS; seconds.
const EVERY: u64 = 300;
/// How often a signal is looked for that came just before the wait.
const PAUSE: Duration = Duration::from_millis(250);

pub(super) fn run(args: &args::FlowLog, bpffs: &Path, output: &mut Output) -> Result<Outcome> {
    let interrupt = Interrupt::catch()?;
    // Records bypass it.
    output.flush();
    let options = options(&args.records, &args.output)?;
    let to_stdout = options.destination == Destination::Stdout;
    let mut log = FlowLog::open(bpffs, options)?;
    while !interrupt.came() && !log.is_over() {
        if let Some(trouble) = log.tick()? {
            output::remark(format!("fwctl: {}\n", plain(&trouble)));
        }
        if !wait(log.deadline(), to_stdout)? {
            break;
        }
    }
    match log.end() {
        Ok(_) => Ok(Outcome::Done),
        Err(error) => Err(error),
    }
}

/// What was typed, for the library.
pub(super) fn options(args: &args::Records, output: &Path) -> Result<Options> {
    let is_stdout = output.as_os_str() == "-";
    let rotates = args.rotate_size.is_some() || args.rotate_every.is_some() || args.keep.is_some();
    if is_stdout && rotates {
        return Err(Error::input(
            "standard output has no files: --rotate-size, --rotate-every and --keep need --output with a file or a directory",
        ));
    }
    let destination = if is_stdout {
        Destination::Stdout
    } else {
        let mut rotation = Rotation {
            path: output.to_owned(),
            size: args.rotate_size,
            seconds: args.rotate_every,
            keep: args.keep,
        };
        if rotation.is_directory() {
            rotation.seconds.get_or_insert(EVERY);
        }
        Destination::Files(rotation)
    };
    Ok(Options {
        format: args.format.clone(),
        traffic_type: match args.traffic_type {
            args::TrafficType::Accept => TrafficType::Accept,
            args::TrafficType::Reject => TrafficType::Reject,
            args::TrafficType::All => TrafficType::All,
        },
        max_aggregation_interval: Duration::from_secs(args.max_aggregation_interval),
        max_flows: args.max_flows,
        account_id: args.account_id.clone(),
        form: form(args),
        gzip: args.gzip,
        destination,
    })
}

fn form(args: &args::Records) -> Form {
    #[cfg(feature = "parquet")]
    if args.parquet {
        return Form::Parquet;
    }
    if args.json { Form::Json } else { Form::Text }
}

/// Until something is due or a while has passed; false once nobody reads what is printed.
fn wait(deadline: Instant, to_stdout: bool) -> Result<bool> {
    let pause = deadline.saturating_duration_since(Instant::now()).min(PAUSE);
    let pause = Timespec { tv_sec: 0, tv_nsec: pause.subsec_nanos().into() };
    let stdout = std::io::stdout();
    // Of standard output only that it is broken or hung up, which is always told.
    let mut ends = [PollFd::from_borrowed_fd(stdout.as_fd(), PollFlags::empty())];
    let watched = if to_stdout { &mut ends[..] } else { &mut [] };
    match poll(watched, Some(&pause)) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(error) => return Err(Error::system(format!("cannot wait: {error}"))),
    }
    let [stdout] = ends;
    Ok(!stdout.revents().intersects(PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL))
}

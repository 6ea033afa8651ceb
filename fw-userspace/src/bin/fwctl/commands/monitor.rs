//! `fwctl monitor`: decisions as they are made.

use std::path::Path;
use std::time::{Duration, Instant};

use fw_common::event::Wanted;
use fw_userspace::datapath::Listener;
use fw_userspace::error::{Error, Result};
use fw_userspace::report::Suppressed;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::Outcome;
use crate::args::Monitor;
use crate::interrupt::Interrupt;
use crate::output::{self, Output};

/// How often what is not events is looked at.
const PAUSE: Duration = Duration::from_millis(250);
/// How often it is said how many were suppressed.
const SAY_EVERY: Duration = Duration::from_secs(1);

pub(super) fn run(args: &Monitor, bpffs: &Path, output: &mut Output) -> Result<Outcome> {
    let interrupt = Interrupt::catch()?;
    let wanted = if args.drops { Wanted::Drops } else { Wanted::Everything };
    let mut listener = Listener::open(bpffs, wanted)?;
    if let Some(name) = &args.interface {
        listener.need_interface(name)?;
    }
    let width = listener.widest_name();
    if !args.json {
        output::monitor::heading(output, width);
    }
    let mut said = Said { suppressed: 0, at: Instant::now(), json: args.json };
    let ended = follow(args, &mut listener, &interrupt, output, width, &mut said);
    said.catch_up(&listener, output)?;
    ended.map(|()| Outcome::Done)
}

fn follow(
    args: &Monitor,
    listener: &mut Listener,
    interrupt: &Interrupt,
    output: &mut Output,
    width: usize,
    said: &mut Said,
) -> Result<()> {
    let mut left = args.count.unwrap_or(u64::MAX);
    while left > 0 && !interrupt.came() {
        // In one piece as many as there are, so that a flood is not written line by line.
        for _ in 0..MOST_IN_ONE_PIECE {
            let Some(event) = listener.next_event()? else { break };
            if args.interface.as_deref().is_some_and(|name| name != event.interface) {
                continue;
            }
            if args.json {
                output.json_line(&event);
            } else {
                output::monitor::line(output, &event, width);
            }
            left -= 1;
            if left == 0 {
                break;
            }
        }
        if said.at.elapsed() >= SAY_EVERY {
            said.catch_up(listener, output)?;
        }
        if !output.flush() || left > 0 && !wait(listener)? {
            break;
        }
    }
    Ok(())
}

const MOST_IN_ONE_PIECE: u32 = 1024;

/// Until there are events or time has passed; false once nobody reads what is printed.
fn wait(listener: &Listener) -> Result<bool> {
    let stdout = std::io::stdout();
    // Of standard output only that it is broken or hung up, which is always told.
    let mut ends =
        [PollFd::new(listener, PollFlags::IN), PollFd::from_borrowed_fd(fd(&stdout), PollFlags::empty())];
    let pause = Timespec { tv_sec: 0, tv_nsec: i64::from(PAUSE.subsec_nanos()) };
    match poll(&mut ends, Some(&pause)) {
        Ok(_) | Err(Errno::INTR) => {}
        Err(error) => return Err(Error::system(format!("cannot wait for events: {error}"))),
    }
    let [_, stdout] = ends;
    Ok(!stdout.revents().intersects(PollFlags::ERR | PollFlags::HUP | PollFlags::NVAL))
}

fn fd(stdout: &std::io::Stdout) -> std::os::fd::BorrowedFd<'_> {
    std::os::fd::AsFd::as_fd(stdout)
}

/// How many suppressed events have been told of.
struct Said {
    suppressed: u64,
    at: Instant,
    json: bool,
}

impl Said {
    fn catch_up(&mut self, listener: &Listener, output: &mut Output) -> Result<()> {
        let suppressed = listener.suppressed()?;
        let more = suppressed - self.suppressed;
        if more > 0 {
            if self.json {
                output.json_line(&Suppressed { suppressed: more });
            }
            output::monitor::suppressed(more);
        }
        (self.suppressed, self.at) = (suppressed, Instant::now());
        Ok(())
    }
}

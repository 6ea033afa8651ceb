//! Blind segments against connections that live, and some against connections that nobody has.

use std::sync::Arc;
use std::thread;

use anyhow::Result;
use fw_tests::random::Random;

use crate::live::{Ends, Harm, Live};
use crate::options::{Options, Part};
use crate::report::Report;
use crate::sequences::sequence;
use crate::target::{Filter, Target};

/// How often the table is read and both ends speak.
const LOOKS: usize = 10;
/// One in so many goes to a connection that nobody has.
const NOBODYS: usize = 8;

/// Sends them and counts what they did.
pub(crate) fn attack(options: &Options, filter: Filter, report: &mut Report) -> Result<()> {
    let target = Arc::new(Target::new(filter)?);
    let mut live = Live::open(&target, options.live())?;
    let strangers = target.strangers()?;
    let (mut random, mut harm, mut segments) = (Random(options.seed), Harm::default(), 0);
    for look in 0..LOOKS {
        let share = options.sequences() * (look + 1) / LOOKS - options.sequences() * look / LOOKS;
        for _ in 0..share {
            let ends = aim(&mut random, &live.ends);
            segments += strangers.send(&sequence(&mut random, ends))?;
        }
        live.look(&target, &mut harm)?;
        if look + 1 < LOOKS {
            live.silent()?;
        }
    }
    thread::sleep(options.until_over());
    let silent = live.silent()?;

    let of = (Part::Blind, filter);
    let what = |what: &str| format!("{} sequences, {} live: {what}", options.sequences(), options.live());
    report.tell(of, what("segments"), segments.to_string());
    report.none(of, what("ended"), harm.ended.len() as u64);
    report.none(of, what("shortened"), harm.shortened.len() as u64);
    report.none(of, what("begun"), harm.begun.len() as u64);
    report.none(of, what("silent afterwards"), silent.len() as u64);
    Ok(())
}

/// A random one of these, or one that is like it but for the port.
fn aim(random: &mut Random, live: &[Ends]) -> Ends {
    let mut ends = live[random.below(live.len())];
    if random.below(NOBODYS) == 0 {
        // Below those that sockets choose.
        ends.remote.set_port(1024 + random.below(8000) as u16);
    }
    ends
}

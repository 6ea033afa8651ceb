//! TCP over a veth pair: fwctl in `auto` mode, which is TC there, against the same pair without any program.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use fw_common::Reason;
use fw_tests::affinity;
use fw_tests::netns::Rig;
use fw_tests::workload::{self, OPEN_PORT};
use fw_userspace::report::LoadReport;

use crate::figures::{Goal, Limit};
use crate::filter::Loaded;
use crate::options::Options;
use crate::results::{self, Results};

const ROUND: Duration = Duration::from_secs(1);
/// Slow start, and buffers growing to their size.
const RAMP: Duration = Duration::from_millis(200);
/// A stall of this length is an error, not a figure.
const STALL: Duration = Duration::from_secs(3);
const WRITE_BYTES: usize = 64 * 1024;

/// Part `tcp`.
pub(crate) fn measure(options: &Options, results: &mut Results) -> Result<()> {
    let (bare, filtered) = (Rig::direct()?, Rig::direct()?);
    let source = workload::file("auto").to_string().into_bytes();
    let loaded = Loaded::new(&filtered.server, &source, &workload::policy(&source)?)?;
    let samples = options.rounds(|| {
        let none = bytes_a_second(&bare).context("without a program")?;
        let ours = bytes_a_second(&filtered).context("fwctl in auto mode")?;
        Ok(vec![none * 8.0 / 1e9, ours * 8.0 / 1e9])
    })?;
    let established = loaded.counted(&filtered.server, &[Reason::Established])?;
    let dropped = loaded.dropped(&filtered.server)?;
    ensure!(established > 0 && dropped == 0, "{established} packets established, {dropped} dropped");

    let [none, ours] = &samples[..] else { bail!("two variants have not two samples") };
    let mut table =
        results::table(&["TCP, Gbit/s, one connection, writes of 64 KiB", "median (lowest-highest)"]);
    table.add_row(["no program".to_owned(), none.show(2)]);
    table.add_row([
        format!("fwctl, auto ({}), {}", hook_names(&loaded.report), workload::describe()),
        ours.show(2),
    ]);
    println!("{table}");
    let goal = Goal::new("TCP throughput: auto / no program", "times", Limit::AtLeast(0.98), ours.over(none));
    results.take("tcp", [("none", none), ("auto", ours)], vec![goal])
}

/// The hooks that `auto` chose.
fn hook_names(report: &LoadReport) -> String {
    report.hooks.iter().map(|hook| format!("{} {}", hook.hook, hook.side)).collect::<Vec<_>>().join(", ")
}

/// One fresh connection, the receiver's bytes after the ramp.
fn bytes_a_second(rig: &Rig) -> Result<f64> {
    let (sender, receiver) = connect(rig)?;
    let (received, over) = (AtomicU64::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        let sending = scope.spawn(|| send(sender, &over));
        let receiving = scope.spawn(|| receive(receiver, &received));
        thread::sleep(RAMP);
        let (start, before) = (Instant::now(), received.load(Ordering::Relaxed));
        thread::sleep(ROUND);
        let (elapsed, after) = (start.elapsed(), received.load(Ordering::Relaxed));
        over.store(true, Ordering::Relaxed);
        for end in [sending, receiving] {
            end.join().map_err(|_| anyhow!("a thread panicked"))??;
        }
        ensure!(after > before, "nothing arrived");
        Ok((after - before) as f64 / elapsed.as_secs_f64())
    })
}

fn connect(rig: &Rig) -> Result<(TcpStream, TcpStream)> {
    let address = (rig.server.v4, OPEN_PORT).into();
    let listener = rig.server.run(|| TcpListener::bind(address))?;
    let sender = rig.client.run(|| TcpStream::connect_timeout(&address, STALL))?;
    // The handshake is over for us, so the connection is in the listener's queue or about to be.
    listener.set_nonblocking(true)?;
    let start = Instant::now();
    let receiver = loop {
        match listener.accept() {
            Ok((receiver, _)) => break receiver,
            Err(error) if error.kind() != ErrorKind::WouldBlock || start.elapsed() > STALL => bail!(error),
            Err(_) => thread::sleep(Duration::from_millis(1)),
        }
    };
    receiver.set_nonblocking(false)?;
    receiver.set_read_timeout(Some(STALL))?;
    sender.set_write_timeout(Some(STALL))?;
    Ok((sender, receiver))
}

/// Writes until it is over, then hangs up.
fn send(mut sender: TcpStream, over: &AtomicBool) -> Result<()> {
    affinity::pin(0)?;
    let bytes = vec![7; WRITE_BYTES];
    while !over.load(Ordering::Relaxed) {
        sender.write_all(&bytes).context("sending stalls")?;
    }
    Ok(())
}

/// Reads until the other side hangs up.
fn receive(mut receiver: TcpStream, received: &AtomicU64) -> Result<()> {
    affinity::pin(1)?;
    let mut room = vec![0; 4 * WRITE_BYTES];
    loop {
        match receiver.read(&mut room).context("receiving stalls")? {
            0 => return Ok(()),
            count => received.fetch_add(count as u64, Ordering::Relaxed),
        };
    }
}

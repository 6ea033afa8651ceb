//! `fwctl serve` for as long as one likes, with a changed rules file every second, a scrape every second and traffic all
//! the while: `cargo xtask soak --serve`. Fails if the process grows.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpStream, UdpSocket};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use fw_tests::served::{PORTS, Scene, Served, rules};

/// Before it what is allocated once is allocated.
const WARM_UP: Duration = Duration::from_secs(60);
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// What the process may have more at the end than after the warm-up.
const MAY_GROW_KIB: u64 = 2048;
const METRICS: &str = "127.0.0.1:9798";

/// What a process holds.
#[derive(Debug, Clone, Copy)]
struct Held {
    resident_kib: u64,
    descriptors: usize,
}

impl Held {
    fn of(process: u32) -> Result<Self> {
        let status = fs::read_to_string(format!("/proc/{process}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let resident = line.and_then(|line| line.split_whitespace().next()).context("no VmRSS")?;
        let descriptors = fs::read_dir(format!("/proc/{process}/fd"))?.count();
        Ok(Self { resident_kib: resident.parse()?, descriptors })
    }
}

fn main() -> Result<ExitCode> {
    let minutes = std::env::args().nth(1).map_or(Ok(30), |minutes| minutes.parse::<u64>());
    let minutes = minutes.context("the argument is a number of minutes")?;
    let scene = Scene::new();
    scene.write(&rules(&[PORTS[0]]));
    let events = scene.folder.path().join("events");
    let (file, events) = (scene.file(), events.display().to_string());
    let mut served = Served::start(&scene.fwctl(), &[&file, "--listen", METRICS, "--events", &events])?;
    let process = served.process().child().id();
    let (ends, sent) = (AtomicBool::new(false), AtomicU64::new(0));
    let grown = thread::scope(|scope| -> Result<Vec<Held>> {
        scope.spawn(|| send(&scene, &ends, &sent));
        let looked = follow(&scene, &served, process, Duration::from_secs(60 * minutes), &sent);
        ends.store(true, Ordering::Relaxed);
        looked
    })?;
    let (Some(first), Some(last)) = (grown.first(), grown.last()) else { return Ok(ExitCode::FAILURE) };
    println!("after the warm-up {first:?}, at the end {last:?}");
    served.signal(libc::SIGTERM)?;
    ensure!(served.ends()?.success(), "it did not end well: {}", served.said());
    let is_flat =
        last.resident_kib <= first.resident_kib + MAY_GROW_KIB && last.descriptors <= first.descriptors;
    Ok(if is_flat { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Loads and scrapes once a second; what the process holds after the warm-up and from then on.
fn follow(
    scene: &Scene,
    served: &Served,
    process: u32,
    time: Duration,
    sent: &AtomicU64,
) -> Result<Vec<Held>> {
    let start = Instant::now();
    let (mut look_at, mut looks, mut loads) = (start + WARM_UP.min(time / 2), Vec::new(), 0u64);
    while start.elapsed() < time {
        loads += 1;
        let last = PORTS[(loads % 2) as usize];
        scene.write(&rules(&[last]));
        served.wait_for("loaded")?;
        let length = scrape(scene)?.len();
        if Instant::now() >= look_at {
            let held = Held::of(process)?;
            looks.push(held);
            println!(
                "{:>5} s: {loads} loads, {} packets sent, {length} bytes of metrics, {} KiB, {} descriptors",
                start.elapsed().as_secs(),
                sent.load(Ordering::Relaxed),
                held.resident_kib,
                held.descriptors
            );
            look_at += LOOK_EVERY;
        }
        thread::sleep((start + Duration::from_secs(loads)).saturating_duration_since(Instant::now()));
    }
    looks.push(Held::of(process)?);
    Ok(looks)
}

/// Datagrams that nobody lets in, from many ports, so that there is something to tell of.
fn send(scene: &Scene, ends: &AtomicBool, sent: &AtomicU64) {
    let Some(socket) = scene.rig.client.run(|| UdpSocket::bind(("0.0.0.0", 0)).ok()) else { return };
    let mut port = 1;
    while !ends.load(Ordering::Relaxed) {
        for _ in 0..10 {
            port = port % 60_000 + 1;
            if socket.send_to(b"soak", (scene.rig.server.v4, port)).is_ok() {
                sent.fetch_add(1, Ordering::Relaxed);
            }
        }
        thread::sleep(Duration::from_millis(5));
    }
}

fn scrape(scene: &Scene) -> Result<String> {
    let answer = scene.rig.server.run(|| -> Result<String> {
        let mut stream = TcpStream::connect(METRICS)?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    })?;
    ensure!(answer.starts_with("HTTP/1.1 200"), "no metrics: {answer}");
    Ok(answer)
}

//! The programs of `fw-ebpf/src/bin/instruments.rs`: frames made in the kernel and really sent, devices that drop or
//! pass everything, and counts of what came to a filter and of what passed it.

use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, ensure};
use aya::maps::{Array, MapData, PerCpuArray, ProgramArray};
use aya::programs::{
    Program, SchedClassifier, TcAttachType, TestRun as _, TestRunAttrs, TestRunOptions, Xdp, XdpMode,
};
use aya::{Ebpf, EbpfLoader};
use aya_obj::programs::XdpAttachType;

/// Length of every frame that is generated.
pub const FRAME: usize = 80;
/// Lines that one run of the program `chase` reads.
pub const READS: u32 = 1024;
/// Classes that are told apart by the last byte of a frame.
pub const CLASSES: u32 = 8;

static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/instruments.o"));

/// The last bytes of frames that end behind the filter under test, at `through_xdp` or `sink_tc`.
pub const MARK: [u8; 4] = *b"fwmk";
/// `enum xdp_action`.
const XDP_PASS: u32 = 2;

/// Frames between two flushes: one NAPI budget, a quarter of a veth's ring.
const BATCH: u32 = 64;
/// A program whose pinned link was just removed leaves its hook a little later.
const PATIENCE: Duration = Duration::from_secs(1);

/// Makes frames those of many senders: a number is added to an address.
#[derive(Clone, Copy, Debug)]
pub struct Spread {
    /// So many senders; 0 leaves the frames alone.
    pub over: u32,
    /// Random ones, or one after the other.
    pub is_random: bool,
    /// Where the last four bytes of the address are in every frame.
    pub at: u32,
    /// Where the checksums that cover it are; 0 for none.
    pub sums: [u32; 2],
}

impl Spread {
    /// Frames as they are.
    const NONE: Self = Self { over: 0, is_random: false, at: 0, sums: [0; 2] };
}

/// All of them, loaded; what they are attached to is free again when the value goes.
pub struct Instruments {
    object: Ebpf,
}

impl Instruments {
    /// Loads them with frames that leave by a device of the namespace that runs [`Self::send`] (`None`: they are
    /// thrown away).
    pub fn load(frames: &[[u8; FRAME]], device: Option<u32>) -> Result<Self> {
        Self::with(frames, device, &[0], &Spread::NONE)
    }

    /// The same with frames of many senders.
    pub fn spread(frames: &[[u8; FRAME]], device: u32, spread: &Spread) -> Result<Self> {
        Self::with(frames, Some(device), &[0], spread)
    }

    /// Loads them with lines for the program `chase`, each with the number of the next.
    pub fn with_lines(next: &[u32]) -> Result<Self> {
        Self::with(&[], None, next, &Spread::NONE)
    }

    fn with(frames: &[[u8; FRAME]], device: Option<u32>, next: &[u32], spread: &Spread) -> Result<Self> {
        ensure!(
            !OBJECT.is_empty(),
            "these tests were built without the measuring instruments; build them without FWCTL_BPF_OBJECT"
        );
        let (count, device) = (u32::try_from(frames.len())?, device.unwrap_or(0));
        let is_random = u32::from(spread.is_random);
        let mut object = EbpfLoader::new()
            .override_global("COUNT", &count, true)
            .override_global("DEVICE", &device, true)
            .override_global("SPREAD", &spread.over, true)
            .override_global("SPREAD_AT", &spread.at, true)
            .override_global("SUMS_AT", &spread.sums[..], true)
            .override_global("IS_RANDOM", &is_random, true)
            .map_max_entries("FRAMES", count.max(1))
            .map_max_entries("LINES", u32::try_from(next.len())?)
            .load(OBJECT)?;
        for (name, program) in object.programs_mut() {
            match program {
                Program::Xdp(program) => program.load(),
                Program::SchedClassifier(program) => program.load(),
                _ => Err(aya::programs::ProgramError::UnexpectedProgramType),
            }
            .with_context(|| format!("loading {name}"))?;
        }
        let mut instruments = Self { object };
        let mut room: Array<&mut MapData, [u8; FRAME]> = instruments.map("FRAMES")?.try_into()?;
        for (frame, place) in frames.iter().zip(0..) {
            room.set(place, frame, 0)?;
        }
        let mut lines: Array<&mut MapData, [u64; 8]> = instruments.map("LINES")?.try_into()?;
        for (next, place) in next.iter().zip(0..) {
            lines.set(place, [u64::from(*next), 0, 0, 0, 0, 0, 0, 0], 0)?;
        }
        Ok(instruments)
    }

    /// Sends so many frames, the first again after the last. In the namespace of the device, by one thread at a time.
    ///
    /// Returns how many nanoseconds a frame took, from the first of them to the last batch: making it, and whatever
    /// happened to it on the same CPU. What the kernel does before and after takes milliseconds.
    pub fn send(&mut self, count: u32) -> Result<f64> {
        let mut state: Array<&mut MapData, [u64; 5]> = self.map("STATE")?.try_into()?;
        let [next, .., first_sender] = state.get(&0, 0)?;
        state.set(0, [next, 0, 0, 0, first_sender], 0)?;
        let options = TestRunOptions {
            data_in: Some(&[0; FRAME]),
            repeat: count,
            attrs: TestRunAttrs::new().xdp_live_frames(BATCH),
            ..TestRunOptions::default()
        };
        let sent = self.xdp("generate")?.test_run(options);
        sent.context("cannot send live frames (Linux 5.18 and newer can)")?;
        let state: Array<&mut MapData, [u64; 5]> = self.map("STATE")?.try_into()?;
        let [_, sent, first_ns, last_ns, _] = state.get(&0, 0)?;
        ensure!(sent == u64::from(count), "of {count} frames {sent} were made");
        // The clock was asked before the first frame of every batch.
        let timed = (sent.saturating_sub(1) / u64::from(BATCH) * u64::from(BATCH)).max(1);
        Ok((last_ns - first_ns) as f64 / timed as f64)
    }

    /// Lets the senders, where one follows the other, begin with the one of this number.
    pub fn begin_with(&mut self, sender: u32) -> Result<()> {
        let mut state: Array<&mut MapData, [u64; 5]> = self.map("STATE")?.try_into()?;
        let mut words = state.get(&0, 0)?;
        words[4] = sender.into();
        Ok(state.set(0, words, 0)?)
    }

    /// What an empty program returns for a frame, and how many nanoseconds one of `repeat` runs took.
    pub fn time(&mut self, program: &str, frame: &[u8], repeat: u32) -> Result<(u32, u64)> {
        let options = TestRunOptions { data_in: Some(frame), repeat, ..TestRunOptions::default() };
        let done = match self.object.program_mut(program) {
            Some(Program::Xdp(program)) => program.test_run(options),
            Some(Program::SchedClassifier(program)) => program.test_run(options),
            _ => return Err(no_program(program)),
        }?;
        Ok((done.return_value, u64::try_from(done.duration.as_nanos())?))
    }

    /// Lets `through_xdp` ask a pinned program, or the empty one, and tells it whether marked frames go no further.
    pub fn ask(&mut self, pinned: Option<&Path>, marked_end: bool) -> Result<()> {
        let judge = match pinned {
            Some(path) => Xdp::from_pin(path, XdpAttachType::Interface)?.fd()?.try_clone()?,
            None => self.xdp("empty_xdp")?.fd()?.try_clone()?,
        };
        let mut room: ProgramArray<&mut MapData> = self.map("JUDGE")?.try_into()?;
        room.set(0, &judge, 0).context("the program cannot be asked by another (tail calls)")?;
        let mut through: Array<&mut MapData, [u32; 2]> = self.map("THROUGH")?.try_into()?;
        Ok(through.set(0, [XDP_PASS, u32::from(marked_end)], 0)?)
    }

    /// Attaches a program to the XDP hook of a device of the namespace that the thread is in, natively.
    pub fn attach_xdp(&mut self, program: &str, device: &str) -> Result<()> {
        let start = Instant::now();
        let xdp = self.xdp(program)?;
        while let Err(error) = xdp.attach(device, XdpMode::Driver) {
            if start.elapsed() > PATIENCE {
                return Err(anyhow!(error).context(format!("cannot attach to the XDP hook of \"{device}\"")));
            }
            thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Attaches a program to what a device of the namespace that the thread is in receives, behind what is there.
    pub fn attach_tc(&mut self, program: &str, device: &str) -> Result<()> {
        let found = self.object.program_mut(program).ok_or_else(|| no_program(program))?;
        let tc: &mut SchedClassifier = found.try_into()?;
        tc.attach(device, TcAttachType::Ingress)
            .with_context(|| format!("cannot attach to what \"{device}\" receives at TC (TCX, Linux 6.6)"))?;
        Ok(())
    }

    /// Frames by class that `count_xdp` saw before a filter and `count_tc` behind it.
    pub fn counted(&mut self) -> Result<[Vec<u64>; 2]> {
        Ok([self.counters("BEFORE")?, self.counters("BEHIND")?])
    }

    /// When the first frame of a class passed `count_tc`, by the monotonic clock, since [`Self::watch`]; 0 if none has.
    pub fn passed_ns(&mut self, class: u32) -> Result<u64> {
        let map: Array<&mut MapData, u64> = self.map("PASSED_NS")?.try_into()?;
        Ok(map.get(&class, 0)?)
    }

    /// Forgets when the first frame of a class passed.
    pub fn watch(&mut self, class: u32) -> Result<()> {
        let mut map: Array<&mut MapData, u64> = self.map("PASSED_NS")?.try_into()?;
        Ok(map.set(class, 0, 0)?)
    }

    fn counters(&mut self, name: &str) -> Result<Vec<u64>> {
        let map: PerCpuArray<&mut MapData, u64> = self.map(name)?.try_into()?;
        (0..CLASSES).map(|class| Ok(map.get(&class, 0)?.iter().sum())).collect()
    }

    fn map(&mut self, name: &str) -> Result<&mut aya::maps::Map> {
        self.object.map_mut(name).with_context(|| format!("the instruments have no map {name}"))
    }

    fn xdp(&mut self, name: &str) -> Result<&mut Xdp> {
        Ok(self.object.program_mut(name).ok_or_else(|| no_program(name))?.try_into()?)
    }
}

fn no_program(name: &str) -> anyhow::Error {
    anyhow!("there is no instrument {name}")
}

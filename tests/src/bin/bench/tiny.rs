//! Programs of a few instructions, assembled by hand: the empty ones that ours are compared with, and the
//! generator of frames. They are measuring instruments, so they are no part of `fw-ebpf`.
//!
//! They never reach a device that the rig did not make. Layouts are those of `union bpf_attr`,
//! `struct bpf_insn` and the constants of `include/uapi/linux/bpf.h`, Linux 6.1 to 6.18.

use std::io::{self, ErrorKind};
use std::os::fd::{AsRawFd as _, FromRawFd as _, OwnedFd};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use fw_tests::bpf;
use fw_tests::workload::Places;

/// `enum xdp_action`.
pub(crate) const XDP_DROP: u32 = 1;
/// The same.
pub(crate) const XDP_PASS: u32 = 2;
/// `TC_ACT_SHOT` of `linux/pkt_cls.h`.
pub(crate) const TC_SHOT: u32 = 2;

const BPF_PROG_LOAD: u32 = 5;
const BPF_PROG_TEST_RUN: u32 = 10;
const BPF_LINK_CREATE: u32 = 28;
/// `enum bpf_attach_type`.
const BPF_XDP: u32 = 37;
/// Native or an error, never generic (`linux/if_link.h`).
const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;
const BPF_F_TEST_XDP_LIVE_FRAMES: u32 = 1 << 1;
/// Frames between two flushes: one NAPI budget, a quarter of a veth's ring.
const BATCH: u32 = 64;
/// How long a hook may be taken.
const PATIENCE: Duration = Duration::from_secs(1);

/// `enum bpf_prog_type`.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    /// `BPF_PROG_TYPE_SCHED_CLS`.
    Tc = 3,
    /// `BPF_PROG_TYPE_XDP`.
    Xdp = 6,
}

/// `struct bpf_insn`.
#[repr(C)]
struct Instruction {
    code: u8,
    registers: u8,
    offset: i16,
    immediate: i32,
}

/// One instruction: destination and source register share a byte, in the order of C's bit fields.
fn op(code: u8, destination: u8, source: u8, offset: i16, immediate: i32) -> Instruction {
    let registers =
        if cfg!(target_endian = "little") { source << 4 | destination } else { destination << 4 | source };
    Instruction { code, registers, offset, immediate }
}

/// `union bpf_attr` of `BPF_PROG_LOAD`, up to `prog_name`.
#[repr(C)]
struct LoadAttributes {
    kind: u32,
    count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
}

/// `union bpf_attr` of `BPF_LINK_CREATE`.
#[repr(C)]
struct LinkAttributes {
    program: u32,
    ifindex: u32,
    attach_type: u32,
    flags: u32,
}

/// `union bpf_attr` of `BPF_PROG_TEST_RUN`.
#[repr(C)]
#[derive(Default)]
struct RunAttributes {
    program: u32,
    return_value: u32,
    data_size_in: u32,
    data_size_out: u32,
    data_in: u64,
    data_out: u64,
    repeat: u32,
    duration_ns: u32,
    context_size_in: u32,
    context_size_out: u32,
    context_in: u64,
    context_out: u64,
    flags: u32,
    cpu: u32,
    batch_size: u32,
    padding: u32,
}

/// A loaded program; it goes with the value.
pub(crate) struct Tiny {
    program: OwnedFd,
}

impl Tiny {
    /// `return verdict`.
    pub(crate) fn returning(kind: Kind, verdict: u32) -> Result<Self> {
        Self::load(kind, &[op(0xb7, 0, 0, 0, verdict.cast_signed()), op(0x95, 0, 0, 0, 0)])
    }

    /// Writes a random lower half of the source address and a random source port into each frame, then sends
    /// it through a device of the namespace, or, without one, throws it away: what generating alone costs.
    pub(crate) fn generator(ifindex: Option<u32>, places: Places) -> Result<Self> {
        let mut program = vec![
            op(0xb7, 0, 0, 0, XDP_DROP.cast_signed()), //  0 r0 = XDP_DROP
            op(0x61, 6, 1, 0, 0),                      //  1 r6 = context.data
            op(0x61, 7, 1, 4, 0),                      //  2 r7 = context.data_end
            op(0xbf, 2, 6, 0, 0),                      //  3 r2 = r6
            op(0x07, 2, 0, 0, 60),                     //  4 r2 += 60
            op(0x2d, 2, 7, 7, 0),                      //  5 if r2 > r7 goto 13
            op(0x85, 0, 0, 0, 7),                      //  6 r0 = bpf_get_prandom_u32()
            op(0x6b, 6, 0, places.source, 0),          //  7 *(u16 *)(r6 + source) = r0
            op(0x77, 0, 0, 0, 16),                     //  8 r0 >>= 16
            op(0x6b, 6, 0, places.port, 0),            //  9 *(u16 *)(r6 + port) = r0
        ];
        program.extend(match ifindex {
            Some(ifindex) => [
                op(0xb7, 1, 0, 0, ifindex.cast_signed()), // 10 r1 = ifindex
                op(0xb7, 2, 0, 0, 0),                     // 11 r2 = 0
                op(0x85, 0, 0, 0, 23),                    // 12 r0 = bpf_redirect(r1, r2)
            ],
            None => [(); 3].map(|()| op(0xb7, 0, 0, 0, XDP_DROP.cast_signed())),
        });
        program.push(op(0x95, 0, 0, 0, 0)); // 13 exit
        Self::load(Kind::Xdp, &program)
    }

    fn load(kind: Kind, program: &[Instruction]) -> Result<Self> {
        let attributes = LoadAttributes {
            kind: kind as u32,
            count: u32::try_from(program.len())?,
            instructions: program.as_ptr() as u64,
            license: c"GPL".as_ptr() as u64,
            log_level: 0,
            log_size: 0,
            log: 0,
            kernel_version: 0,
            flags: 0,
            name: *b"fwctl_bench\0\0\0\0\0",
        };
        // SAFETY: the attribute is that of the command; it points to a live slice of the length beside it and
        // to a NUL-terminated text, both only read.
        let program = unsafe { descriptor(BPF_PROG_LOAD, &attributes) };
        Ok(Self { program: program.context("cannot load a program of a few instructions")? })
    }

    /// Attaches to the XDP hook of a device of the namespace that the thread is in, natively; dropping what
    /// is returned detaches.
    ///
    /// A program whose pinned link was just removed leaves its hook a little later, so a hook that is taken is
    /// tried for a second.
    pub(crate) fn attach(&self, ifindex: u32) -> Result<OwnedFd> {
        let program = self.number();
        let attributes = LinkAttributes { program, ifindex, attach_type: BPF_XDP, flags: XDP_FLAGS_DRV_MODE };
        let start = Instant::now();
        loop {
            // SAFETY: the attribute is that of the command and points to nothing.
            match unsafe { descriptor(BPF_LINK_CREATE, &attributes) } {
                Err(error) if error.kind() == ErrorKind::ResourceBusy && start.elapsed() < PATIENCE => {
                    thread::sleep(Duration::from_millis(10));
                }
                link => {
                    return link
                        .with_context(|| format!("cannot attach to the XDP hook of device {ifindex}"));
                }
            }
        }
    }

    /// What it returned for a frame, and how many nanoseconds one of `repeat` runs took.
    pub(crate) fn time(&self, frame: &[u8], repeat: u32) -> Result<(u32, u64)> {
        let done = self.run(frame, repeat, 0, 0).context("cannot run a program of a few instructions")?;
        Ok((done.return_value, done.duration_ns.into()))
    }

    /// Runs a [`Self::generator`] on frames that are then really sent.
    pub(crate) fn send(&self, frame: &[u8], count: u32) -> Result<()> {
        let done = self.run(frame, count, BPF_F_TEST_XDP_LIVE_FRAMES, BATCH);
        done.map(drop).context("cannot send live frames (Linux 5.18 and newer can)")
    }

    fn run(&self, frame: &[u8], repeat: u32, flags: u32, batch_size: u32) -> io::Result<RunAttributes> {
        let mut attributes = RunAttributes {
            program: self.number(),
            data_size_in: frame.len() as u32,
            data_in: frame.as_ptr() as u64,
            repeat,
            flags,
            batch_size,
            ..RunAttributes::default()
        };
        // SAFETY: the attribute is that of the command; the frame it points to outlives the call and is read.
        unsafe { bpf::command(BPF_PROG_TEST_RUN, &raw mut attributes) }?;
        Ok(attributes)
    }

    fn number(&self) -> u32 {
        self.program.as_raw_fd().cast_unsigned()
    }
}

/// A command that makes a descriptor.
///
/// # Safety
///
/// `attributes` must be those of the command, and whatever they point to valid for it, and only read by it.
unsafe fn descriptor<T>(command: u32, attributes: &T) -> io::Result<OwnedFd> {
    // SAFETY: the caller's promise; commands that make descriptors write nothing back here.
    let number = unsafe { bpf::command(command, std::ptr::from_ref(attributes).cast_mut()) }?;
    // SAFETY: just made by the kernel, and nobody else's.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

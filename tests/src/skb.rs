//! The shape of the skbs at a device, as a program at TC sees it: what lies in the linear part, whether a VLAN tag was
//! taken out, how many segments are to come. Without it a test about odd skbs could not tell that it made any.
//!
//! A program of a few instructions, written here by hand, behind all others at TCX (Linux 6.6): those that drop keep
//! their skbs from it.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd};

use anyhow::{Context, Result};

use crate::netns::Namespace;

/// What was seen since the watch began or was asked last.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct Shapes {
    /// How many skbs.
    pub count: u64,
    /// Bytes of the linear part of the last one.
    pub linear: u64,
    /// Whether a VLAN tag was taken out of the last one: 1 or 0.
    pub tagged: u64,
    /// Bytes of the longest.
    pub longest: u64,
    /// Segments that the one with the most becomes.
    pub segments: u64,
}

/// Sees what a device receives, until it goes.
#[derive(Debug)]
pub struct Watch {
    map: File,
    _link: File,
}

/// Commands of bpf(2).
mod command {
    pub(super) const MAP_CREATE: i64 = 0;
    pub(super) const MAP_LOOKUP: i64 = 1;
    pub(super) const MAP_UPDATE: i64 = 2;
    pub(super) const PROG_LOAD: i64 = 5;
    pub(super) const LINK_CREATE: i64 = 28;
}

const MAP_TYPE_ARRAY: u32 = 2;
const PROG_TYPE_SCHED_CLS: u32 = 3;
const TCX_INGRESS: u32 = 46;

/// Offsets in `__sk_buff`.
mod field {
    pub(super) const LEN: i16 = 0;
    pub(super) const VLAN_PRESENT: i16 = 20;
    pub(super) const DATA: i16 = 76;
    pub(super) const DATA_END: i16 = 80;
    pub(super) const GSO_SEGS: i16 = 164;
}

impl Watch {
    /// Begins to look at what a device receives.
    pub fn received(namespace: &Namespace, device: &str) -> Result<Self> {
        let index = namespace.index(device)?;
        let map = make(command::MAP_CREATE, &mut [MAP_TYPE_ARRAY, 4, size_of::<Shapes>() as u32, 1])
            .context("cannot make a map")?;
        let program = load(&program(map.as_raw_fd())).context("cannot load a program")?;
        let mut attributes = [program.as_raw_fd() as u32, index, TCX_INGRESS, 0];
        let link = namespace.run(|| make(command::LINK_CREATE, &mut attributes));
        Ok(Self { map, _link: link.with_context(|| format!("cannot attach to {device}"))? })
    }

    /// What was seen since the last call.
    pub fn seen(&self) -> Result<Shapes> {
        let mut shapes = Shapes::default();
        self.element(command::MAP_LOOKUP, &mut shapes)?;
        self.element(command::MAP_UPDATE, &mut Shapes::default())?;
        Ok(shapes)
    }

    fn element(&self, command: i64, value: &mut Shapes) -> Result<()> {
        let key = 0_u32;
        let mut attributes =
            [self.map.as_raw_fd() as u64, (&raw const key) as u64, std::ptr::from_mut(value) as u64, 0];
        call(command, &mut attributes).map(drop).context("cannot read what was seen")
    }
}

/// r1 is the skb, r3 the map's value; each line is an instruction: code, registers, offset, immediate.
fn program(map: i32) -> Vec<u64> {
    const LOAD_WORD: u8 = 0x61;
    const LOAD_LONG: u8 = 0x79;
    const STORE_LONG: u8 = 0x7b;
    const LOAD_ADDRESS: u8 = 0x18;
    const OF_A_MAP_VALUE: u8 = 2;
    const ADD_NUMBER: u8 = 0x07;
    const SUBTRACT: u8 = 0x1f;
    const SET_NUMBER: u8 = 0xb7;
    const SKIP_IF_NOT_ABOVE: u8 = 0xbd;
    const EXIT: u8 = 0x95;
    let one = |code: u8, to: u8, from: u8, offset: i16, number: i32| {
        u64::from(code)
            | u64::from(to | from << 4) << 8
            | u64::from(offset as u16) << 16
            | u64::from(number as u32) << 32
    };
    let mut all = vec![one(LOAD_ADDRESS, 3, OF_A_MAP_VALUE, 0, map), 0];
    all.extend([one(LOAD_LONG, 2, 3, 0, 0), one(ADD_NUMBER, 2, 0, 0, 1), one(STORE_LONG, 3, 2, 0, 0)]);
    all.extend([one(LOAD_WORD, 2, 1, field::DATA, 0), one(LOAD_WORD, 4, 1, field::DATA_END, 0)]);
    all.extend([one(SUBTRACT, 4, 2, 0, 0), one(STORE_LONG, 3, 4, 8, 0)]);
    all.extend([one(LOAD_WORD, 4, 1, field::VLAN_PRESENT, 0), one(STORE_LONG, 3, 4, 16, 0)]);
    for (field, place) in [(field::LEN, 24), (field::GSO_SEGS, 32)] {
        all.extend([one(LOAD_WORD, 4, 1, field, 0), one(LOAD_LONG, 2, 3, place, 0)]);
        all.extend([one(SKIP_IF_NOT_ABOVE, 4, 2, 1, 0), one(STORE_LONG, 3, 4, place, 0)]);
    }
    // "Next", so that others are asked as well.
    all.extend([one(SET_NUMBER, 0, 0, 0, -1), one(EXIT, 0, 0, 0, 0)]);
    all
}

fn load(instructions: &[u64]) -> io::Result<File> {
    let first = u64::from(PROG_TYPE_SCHED_CLS) | (instructions.len() as u64) << 32;
    make(command::PROG_LOAD, &mut [first, instructions.as_ptr() as u64, c"GPL".as_ptr() as u64])
}

/// A command that answers with a new descriptor.
fn make<T>(command: i64, attributes: &mut [T]) -> io::Result<File> {
    let descriptor = call(command, attributes)?;
    // SAFETY: just made, valid, and nobody else's.
    Ok(unsafe { File::from_raw_fd(descriptor) })
}

/// The kernel takes what is left out of the attributes for zero.
fn call<T>(command: i64, attributes: &mut [T]) -> io::Result<i32> {
    // SAFETY: attributes of the size given; what they point to outlives the call, and has the sizes that the command
    // and the map say.
    let done =
        unsafe { libc::syscall(libc::SYS_bpf, command, attributes.as_mut_ptr(), size_of_val(attributes)) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(done as i32) }
}

//! Runs the object's programs in user space, as they are before a kernel rewrites them, and counts what a packet makes
//! them do. The same on every machine, and exact.
//!
//! One CPU, maps in memory, a clock that moves when told. [`machine`] and [`arithmetic`] know the instructions (cpu v3), [`helpers`] the
//! kernel's part, [`memory`] and [`maps`] what both work on. Nothing here knows what the programs are for.

mod arithmetic;
mod helpers;
mod machine;
mod maps;
mod memory;

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use aya_obj::Object;

use self::maps::Maps;
use self::memory::Memory;
use super::instruction::Instruction;
use super::object::Linked;

/// What programs are given to look at, besides the frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Context {
    /// An `xdp_md`, with the index of the device that received the frame.
    Xdp(u32),
    /// A `__sk_buff`, with the index of its device; without tags, in one piece, one segment.
    Skb(u32),
}

/// What a run came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Run {
    /// What the program returned.
    pub code: u32,
    /// Instructions that ran; one of two slots is one.
    pub instructions: u64,
    /// Calls of the program's own functions.
    pub function_calls: u64,
    /// Calls of helpers, by name and map.
    pub helpers: BTreeMap<String, u64>,
    /// Calls of helpers for hash maps, which the kernel never inlines as it does for arrays.
    pub hash_map_calls: u64,
}

/// The programs with their maps.
pub struct Emulator {
    programs: BTreeMap<String, Vec<Instruction>>,
    memory: Memory,
    maps: Maps,
    random: u32,
    /// What the programs read as the time.
    pub now_ns: u64,
}

impl Emulator {
    /// Nothing is in the maps but the program's own constants. `prepare` as for [`Linked::new`].
    pub fn new(prepare: impl FnOnce(&mut Object) -> Result<()>) -> Result<Self> {
        let Linked { programs, maps } = Linked::new(prepare)?;
        let mut memory = Memory::default();
        let maps = Maps::new(maps, &mut memory)?;
        Ok(Self { programs, memory, maps, random: 1, now_ns: 0 })
    }

    /// Runs a program on a frame.
    pub fn run(&mut self, program: &str, context: Context, frame: &[u8]) -> Result<Run> {
        let code =
            self.programs.get(program).with_context(|| format!("the object has no program {program}"))?;
        let data = self.memory.add(frame.to_vec());
        let end = data + frame.len() as u64;
        let context_at = self.memory.add(context.bytes(data as u32, end as u32));
        let mut kernel = helpers::Kernel {
            memory: &mut self.memory,
            maps: &mut self.maps,
            frame: data,
            random: &mut self.random,
            now_ns: self.now_ns,
            calls: BTreeMap::new(),
            hash_map_calls: 0,
        };
        let run = machine::run(code, context_at, &mut kernel).with_context(|| format!("emulating {program}"));
        let (helpers, hash_map_calls) = (kernel.calls, kernel.hash_map_calls);
        self.memory.remove(context_at);
        self.memory.remove(data);
        Ok(Run { helpers, hash_map_calls, ..run? })
    }

    /// Takes the entries of a ring buffer, oldest first.
    pub fn take_entries(&mut self, map: &str) -> Result<Vec<Vec<u8>>> {
        self.maps.take_entries(map, &mut self.memory)
    }

    /// Puts an empty map with so many places into the slot of an array of maps.
    pub fn fill_slot(&mut self, map: &str, places: u32) -> Result<()> {
        self.maps.fill_slot(map, places)
    }

    /// Keys and values of the map in that slot.
    pub fn in_slot(&mut self, map: &str) -> Result<Vec<(Vec<u8>, Vec<u8>)>> {
        self.maps.in_slot(map, &mut self.memory)
    }

    /// All values of an array map, one behind the other, each at a multiple of 8.
    pub fn values(&mut self, map: &str) -> Result<&mut [u8]> {
        let at = self.maps.values(map)?;
        self.memory.whole(at).with_context(|| format!("{map} has no memory"))
    }
}

impl Context {
    /// As programs see it (`include/uapi/linux/bpf.h`). Addresses are below 4 GiB, so that its words hold them.
    fn bytes(self, data: u32, end: u32) -> Vec<u8> {
        let (size, words) = match self {
            // data, data_end, ingress_ifindex.
            Self::Xdp(ifindex) => (24, vec![(0, data), (4, end), (12, ifindex)]),
            // len, ingress_ifindex, ifindex, data, data_end, gso_segs.
            Self::Skb(ifindex) => {
                (192, vec![(0, end - data), (36, ifindex), (40, ifindex), (76, data), (80, end), (164, 1)])
            }
        };
        let mut bytes = vec![0; size];
        for (at, word) in words {
            bytes[at..at + 4].copy_from_slice(&word.to_le_bytes());
        }
        bytes
    }
}

//! The kernel's helpers, as far as the programs call them.

use std::collections::BTreeMap;

use anyhow::{Result, bail};

use super::maps::Maps;
use super::memory::Memory;
use crate::structure::instruction::helper_name;

const EFAULT: i64 = -14;

/// What helpers work on.
pub(super) struct Kernel<'a> {
    pub(super) memory: &'a mut Memory,
    pub(super) maps: &'a mut Maps,
    /// Where the frame is.
    pub(super) frame: u64,
    /// The same numbers in every run.
    pub(super) random: &'a mut u32,
    pub(super) now_ns: u64,
    /// How often each was called, by name and map.
    pub(super) calls: BTreeMap<String, u64>,
    /// How often one was called for a hash map.
    pub(super) hash_map_calls: u64,
}

impl Kernel<'_> {
    /// Calls a helper by its number in `enum bpf_func_id`.
    pub(super) fn call(&mut self, number: i32, arguments: [u64; 5]) -> Result<u64> {
        let [one, two, three, four, _] = arguments;
        let mut name = helper_name(number);
        if name.starts_with("map_") {
            name = format!("{name} {}", self.maps.name(one)?);
            self.hash_map_calls += u64::from(self.maps.is_hash(one)?);
        }
        *self.calls.entry(name).or_default() += 1;
        let status = match number {
            1 => return self.maps.look_up(one, two, self.memory),
            2 => self.maps.update(one, two, three, four, self.memory)?,
            3 => self.maps.delete(one, two, self.memory)?,
            // ktime_get_ns, ktime_get_coarse_ns
            5 | 160 => return Ok(self.now_ns),
            // get_prandom_u32
            7 => return Ok(self.random().into()),
            // get_smp_processor_id
            8 => 0,
            // skb_load_bytes, xdp_load_bytes
            26 | 189 => self.load(two as u32, three, four as u32)?,
            // jiffies64, of a kernel with HZ=250: they begin five minutes before 2³² (INITIAL_JIFFIES)
            118 => return Ok((1 << 32) - 300 * 250 + self.now_ns / 4_000_000),
            // ringbuf_reserve
            131 => return self.maps.reserve(one, two, self.memory),
            // ringbuf_submit: what was reserved is there already.
            132 => 0,
            // xdp_get_buff_len
            188 => return Ok(self.frame_len()),
            _ => bail!("{} is a helper that the emulator lacks: add it in helpers.rs", helper_name(number)),
        };
        Ok(status.cast_unsigned())
    }

    fn load(&mut self, offset: u32, to: u64, len: u32) -> Result<i64> {
        let (offset, len) = (u64::from(offset), u64::from(len));
        if offset + len > self.frame_len() {
            return Ok(EFAULT);
        }
        self.memory.copy(self.frame + offset, to, len)?;
        Ok(0)
    }

    fn frame_len(&mut self) -> u64 {
        self.memory.whole(self.frame).map_or(0, |frame| frame.len() as u64)
    }

    /// Marsaglia's xorshift, which is good enough to choose places.
    fn random(&mut self) -> u32 {
        *self.random ^= *self.random << 13;
        *self.random ^= *self.random >> 17;
        *self.random ^= *self.random << 5;
        *self.random
    }
}

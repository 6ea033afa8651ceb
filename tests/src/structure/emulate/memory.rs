//! Memory of an emulated program: blocks with gaps between them, so that an access beside one is an error.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};

/// The first address, and the least gap between two blocks.
const GAP: u64 = 0x1_0000;

/// Blocks by their addresses, all below 4 GiB.
#[derive(Default)]
pub(super) struct Memory {
    blocks: BTreeMap<u64, Vec<u8>>,
}

impl Memory {
    /// The address of a new block.
    pub(super) fn add(&mut self, bytes: Vec<u8>) -> u64 {
        let last = self.blocks.last_key_value();
        let end = last.map_or(0, |(at, block)| at + block.len() as u64);
        let at = (end + GAP).next_multiple_of(GAP);
        self.blocks.insert(at, bytes);
        at
    }

    /// Forgets a block.
    pub(super) fn remove(&mut self, at: u64) {
        self.blocks.remove(&at);
    }

    /// The block at an address.
    pub(super) fn whole(&mut self, at: u64) -> Option<&mut [u8]> {
        self.blocks.get_mut(&at).map(Vec::as_mut_slice)
    }

    /// Bytes that must lie in one block.
    pub(super) fn bytes(&self, at: u64, len: u64) -> Result<&[u8]> {
        let (start, block) = self.blocks.range(..=at).next_back().with_context(|| nowhere(at, len))?;
        let from = (at - start) as usize;
        block.get(from..from + len as usize).with_context(|| nowhere(at, len))
    }

    /// The same, to be written.
    pub(super) fn bytes_mut(&mut self, at: u64, len: u64) -> Result<&mut [u8]> {
        let (start, block) = self.blocks.range_mut(..=at).next_back().with_context(|| nowhere(at, len))?;
        let from = (at - start) as usize;
        block.get_mut(from..from + len as usize).with_context(|| nowhere(at, len))
    }

    /// A value of 1, 2, 4 or 8 bytes.
    pub(super) fn read(&self, at: u64, len: u64) -> Result<u64> {
        let mut value = [0; 8];
        value[..len as usize].copy_from_slice(self.bytes(at, len)?);
        Ok(u64::from_le_bytes(value))
    }

    /// Writes the lowest 1, 2, 4 or 8 bytes.
    pub(super) fn write(&mut self, at: u64, len: u64, value: u64) -> Result<()> {
        self.bytes_mut(at, len)?.copy_from_slice(&value.to_le_bytes()[..len as usize]);
        Ok(())
    }

    /// Copies between blocks.
    pub(super) fn copy(&mut self, from: u64, to: u64, len: u64) -> Result<()> {
        let bytes = self.bytes(from, len)?.to_vec();
        self.bytes_mut(to, len)?.copy_from_slice(&bytes);
        Ok(())
    }
}

fn nowhere(at: u64, len: u64) -> String {
    format!("{len} bytes at {at:#x} are not in any memory that the program was given")
}

//! The emulated programs with rules: frames go in, verdicts and counts come out.

use anyhow::{Context as _, Result, bail};
use aya_obj::Object;
use fw_common::layout::Line;
use fw_common::verdict::{Counter, REASON_SLOTS_PER_ZONE};
use fw_common::{Hook, Verdict};

use super::emulate::{Context, Emulator, Run};
use crate::kernel::Received;

/// Where a generation is written: behind the line that is never used. Nothing runs meanwhile.
const BASE: u32 = 1;

/// Enough for every case.
const SIZES: [(&str, u32); 3] =
    [("POLICY", 1 << 14), ("COUNTERS", 8 * REASON_SLOTS_PER_ZONE), ("RULES", 4096)];

/// What a program did with a frame.
pub struct Seen {
    /// What the hook was told.
    pub verdict: Verdict,
    /// The counter that it was counted by, see [`fw_common::verdict::counter_index`].
    pub counter: u32,
    /// What it took.
    pub run: Run,
}

/// A host in memory, as [`fw_userspace::simulate::Simulation`], but of bytecode.
pub struct Host {
    emulator: Emulator,
}

impl Host {
    /// Without rules and connections.
    pub fn new() -> Result<Self> {
        Ok(Self { emulator: Emulator::new(prepare)? })
    }

    /// Makes a generation the live one.
    pub fn publish(&mut self, lines: &[Line]) -> Result<()> {
        let bytes: Vec<u8> = lines.iter().flat_map(|line| line.0).flat_map(u64::to_le_bytes).collect();
        let start = BASE as usize * size_of::<Line>();
        let policy = self.emulator.values("POLICY")?.get_mut(start..start + bytes.len());
        policy.context("the rules do not fit into POLICY")?.copy_from_slice(&bytes);
        let live = self.emulator.values("LIVE")?.first_chunk_mut().context("LIVE is too small")?;
        *live = BASE.to_le_bytes();
        Ok(())
    }

    /// Sets the clock.
    pub fn set_clock(&mut self, now_ns: u64) {
        self.emulator.now_ns = now_ns;
    }

    /// Sends a frame through the program of a device's hook.
    pub fn judge(&mut self, frame: &[u8], ifindex: u32, hook: Hook, received: Received) -> Result<Seen> {
        let context = match (hook, received) {
            (Hook::Received, Received::Xdp) => Context::Xdp(ifindex),
            _ => Context::Skb(ifindex),
        };
        self.emulator.values("COUNTERS")?.fill(0);
        let run = self.emulator.run(program(hook, received), context, frame)?;
        let counters = self.emulator.values("COUNTERS")?.chunks(size_of::<Counter>()).zip(0..);
        let counted: Vec<u32> = counters
            .filter(|(counter, _)| counter.iter().any(|byte| *byte != 0))
            .map(|(_, index)| index)
            .collect();
        let [counter] = counted[..] else { bail!("one reason is counted per frame, not {counted:?}") };
        let verdict = match (context, run.code) {
            (Context::Xdp(_), 2) | (Context::Skb(_), u32::MAX) => Verdict::Pass,
            (Context::Xdp(_), 1) | (Context::Skb(_), 2) => Verdict::Drop,
            (_, other) => bail!("a program returned {other}, which is no verdict of its hook"),
        };
        Ok(Seen { verdict, counter, run })
    }
}

fn prepare(object: &mut Object) -> Result<()> {
    for (name, entries) in SIZES {
        let map = object.maps.get_mut(name).with_context(|| format!("the object has no map {name}"))?;
        map.set_max_entries(entries);
    }
    Ok(())
}

/// The program of a hook.
#[must_use]
pub fn program(hook: Hook, received: Received) -> &'static str {
    match (hook, received) {
        (Hook::Received, Received::Xdp) => "xdp_received",
        (Hook::Received, Received::Tc) => "tc_received",
        (Hook::Sent, _) => "tc_sent",
    }
}

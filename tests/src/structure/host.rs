//! The emulated programs with rules: frames go in, verdicts and counts come out.

use std::collections::HashMap;

use anyhow::{Context as _, Result, bail};
use aya_obj::Object;
use fw_common::conntrack::tick;
use fw_common::event::{Event, Wanted};
use fw_common::flow_log::{Flow, RECORDING, Tally};
use fw_common::layout::{Line, head};
use fw_common::verdict::{Counter, REASON_SLOTS_PER_ZONE};
use fw_common::{Hook, Verdict};

use super::emulate::{Context, Emulator, Run};
use crate::kernel::Received;

/// Enough for every case.
const SIZES: [(&str, u32); 2] = [("COUNTERS", 8 * REASON_SLOTS_PER_ZONE), ("RULES", 4096)];
const POLICY_BYTES: u32 = 1 << 20;

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

    /// Puts an array of lines in force, which its first one names the root of. Nothing runs meanwhile.
    pub fn publish(&mut self, lines: &[Line]) -> Result<()> {
        let bytes: Vec<u8> = lines.iter().flat_map(|line| line.0).flat_map(u32::to_le_bytes).collect();
        let policy = self.emulator.values("POLICY")?.get_mut(..bytes.len());
        policy.context("the rules do not fit into POLICY")?.copy_from_slice(&bytes);
        Ok(())
    }

    /// Has the programs tell of every packet, until rules are published.
    pub fn listen(&mut self) -> Result<()> {
        let words = [Wanted::Everything as u32, tick(self.emulator.now_ns).wrapping_add(1 << 30)];
        let bytes: Vec<u8> = words.into_iter().flat_map(u32::to_le_bytes).collect();
        let at = 4 * head::EVENTS as usize;
        let pair = self.emulator.values("POLICY")?.get_mut(at..at + bytes.len());
        pair.context("POLICY has no first line")?.copy_from_slice(&bytes);
        Ok(())
    }

    /// What they have told of since the last call, oldest first, and how much they have kept for themselves so far.
    pub fn told(&mut self) -> Result<(Vec<Event>, u64)> {
        let entries = self.emulator.take_entries("EVENTS")?;
        let events = entries.iter().map(|bytes| Event::read(bytes).context("an event is cut off"));
        let events = events.collect::<Result<_>>()?;
        let suppressed = self.emulator.values("TELLERS")?.first_chunk().copied();
        Ok((events, u64::from_le_bytes(suppressed.context("TELLERS has no value")?)))
    }

    /// Has the programs record the packets of at most so many flows, until rules are published.
    pub fn record(&mut self, flows: u32) -> Result<()> {
        self.emulator.fill_slot("FLOWS", flows)?;
        let until = tick(self.emulator.now_ns).wrapping_add(1 << 30);
        for (word, bits) in [(head::EVENTS, RECORDING), (head::FLOWS_UNTIL, until)] {
            let at = 4 * word as usize;
            let place = self.emulator.values("POLICY")?.get_mut(at..).and_then(<[u8]>::first_chunk_mut);
            let place: &mut [u8; 4] = place.context("POLICY has no first line")?;
            *place = (u32::from_le_bytes(*place) | bits).to_le_bytes();
        }
        Ok(())
    }

    /// What they have recorded since then.
    pub fn recorded(&mut self) -> Result<Vec<(Flow, Tally)>> {
        let read = |(key, value): (Vec<u8>, Vec<u8>)| {
            let flow = Flow::read(&key).context("a flow is cut off")?;
            Ok((flow, Tally::read(&value).context("a tally is cut off")?))
        };
        self.emulator.in_slot("FLOWS")?.into_iter().map(read).collect()
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
    let policy = object.maps.get_mut("POLICY").context("the object has no map POLICY")?;
    policy.set_value_size(POLICY_BYTES);
    let last = u64::from(POLICY_BYTES - size_of::<Line>() as u32).to_ne_bytes();
    object.patch_map_data(HashMap::from([("POLICY_LAST", (&last[..], true))]))?;
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

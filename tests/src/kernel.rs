//! The bytecode under the microscope: the object of `fwctl`, loaded without pins or devices, fed with frames by
//! `BPF_PROG_TEST_RUN`, its counters and connections read back after each.
//!
//! A test run has no device of its own: the kernel gives it the loopback's index, which is always 1.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, anyhow, bail};
use aya::maps::{Array, HashMap, MapData, PerCpuArray};
use aya::programs::{Program, SchedClassifier, TestRun as _, TestRunOptions, Xdp};
use aya::{Ebpf, EbpfLoader};
use fw_common::conntrack::Connection;
use fw_common::fragment::{Datagram, FragmentKey};
use fw_common::layout::Line;
use fw_common::verdict::{Counter, REASON_SLOTS_PER_ZONE};
use fw_common::{FlowKey, Hook, Reason, Verdict, verdict::counter_index};
use fw_userspace::datapath::OBJECT;

use crate::age::{Age, now_ns};

/// The interface index that test runs see.
pub const IFINDEX: u32 = 1;

const POLICY_LINES: u32 = 1 << 16;
const ZONES: u32 = 64;
const RULE_SLOTS: u32 = 4096;

/// The maps that connections are in.
const CONNECTIONS: [&str; 2] = ["CONNECTIONS", "HALF_OPEN"];

/// Which program judges what a device receives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Received {
    /// `xdp_received`.
    Xdp,
    /// `tc_received`.
    Tc,
}

/// What the bytecode did with a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// What the hook was told.
    pub verdict: Verdict,
    /// The reason that was counted.
    pub reason: Reason,
    /// It was counted as what would have been denied.
    pub would_deny: bool,
    /// The rules that were counted, by slot, ascending.
    pub rules: [u32; 2],
}

/// Whether the kernel takes a frame for a test run: at XDP a whole Ethernet header, at TC something behind it.
#[must_use]
pub fn takes(frame: &[u8], hook: Hook, received: Received) -> bool {
    match (hook, received) {
        (Hook::Received, Received::Xdp) => frame.len() >= 14,
        _ => frame.len() > 14,
    }
}

/// The loaded object.
pub struct Kernel {
    object: Ebpf,
    next_line: u32,
    age: Age,
}

impl Kernel {
    /// Loads it, without rules.
    pub fn load() -> Result<Self> {
        let mut object = EbpfLoader::new()
            .map_max_entries("POLICY", POLICY_LINES)
            .map_max_entries("COUNTERS", ZONES * REASON_SLOTS_PER_ZONE)
            .map_max_entries("RULES", RULE_SLOTS)
            .load(OBJECT)?;
        for (name, program) in object.programs_mut() {
            match program {
                Program::Xdp(program) => program.load(),
                Program::SchedClassifier(program) => program.load(),
                _ => bail!("{name} is of no type that is known here"),
            }
            .with_context(|| format!("loading {name}"))?;
        }
        Ok(Self { object, next_line: 1, age: Age::default() })
    }

    /// Forgets all connections and fragments.
    pub fn reset(&mut self) -> Result<()> {
        for name in CONNECTIONS {
            let mut map = connection_map(&mut self.object, name)?;
            let keys: Vec<FlowKey> = map.keys().collect::<std::result::Result<_, _>>()?;
            for key in keys {
                map.remove(&key)?;
            }
        }
        let mut map: HashMap<&mut MapData, FragmentKey, Datagram> = self.map("DATAGRAMS")?.try_into()?;
        let keys: Vec<FragmentKey> = map.keys().collect::<std::result::Result<_, _>>()?;
        for key in keys {
            map.remove(&key)?;
        }
        let mut count: Array<&mut MapData, u64> = self.map("COUNT")?.try_into()?;
        count.set(0, 0, 0)?;
        self.age = Age::default();
        Ok(())
    }

    /// Writes a generation and makes it the live one. Starts again from the front when the array is full: nothing
    /// runs meanwhile.
    pub fn publish(&mut self, lines: &[Line]) -> Result<()> {
        let count = u32::try_from(lines.len())?;
        if self.next_line + count > POLICY_LINES {
            self.next_line = 1;
        }
        let base = self.next_line;
        let mut policy: Array<&mut MapData, Line> = self.map("POLICY")?.try_into()?;
        for (line, number) in lines.iter().zip(base..) {
            policy.set(number, line, 0)?;
        }
        let mut live: Array<&mut MapData, u32> = self.map("LIVE")?.try_into()?;
        live.set(0, base, 0)?;
        self.next_line = base + count;
        Ok(())
    }

    /// Sends one frame through the program of a hook.
    pub fn judge(&mut self, frame: &[u8], hook: Hook, received: Received, zone: u32) -> Result<Seen> {
        let reasons_before = self.reasons(zone)?;
        let rules_before = self.rules()?;
        let code = self.run(frame, hook, received)?;
        self.settle()?;
        let verdict = match (hook, received, code) {
            (Hook::Received, Received::Xdp, 2) | (_, _, u32::MAX) => Verdict::Pass,
            (Hook::Received, Received::Xdp, 1) | (_, _, 2) => Verdict::Drop,
            (_, _, other) => bail!("a program returned {other}, which is no verdict of its hook"),
        };
        let reasons = grown(&reasons_before, &self.reasons(zone)?);
        let [index] = reasons[..] else { bail!("one reason is counted per frame, not {reasons:?}") };
        let slot = index % fw_common::verdict::REASON_SLOTS;
        let reason = u8::try_from(slot).ok().and_then(Reason::from_code);
        let would_deny = (index / fw_common::verdict::REASON_SLOTS) % 2 == 1;
        let mut rules = [0; 2];
        for (place, slot) in rules.iter_mut().zip(grown(&rules_before, &self.rules()?)) {
            *place = slot;
        }
        Ok(Seen { verdict, reason: reason.ok_or_else(|| anyhow!("no reason {slot}"))?, would_deny, rules })
    }

    /// What a program returned for a frame, and how many nanoseconds one of `repeat` runs took.
    pub fn time(&mut self, name: &str, frame: &[u8], repeat: u32) -> Result<(u32, u64)> {
        let options = TestRunOptions { data_in: Some(frame), repeat, ..TestRunOptions::default() };
        let result = match self.program(name)? {
            Program::Xdp(program) => program.test_run(options),
            Program::SchedClassifier(program) => program.test_run(options),
            _ => bail!("{name} cannot be run"),
        }
        .with_context(|| format!("running {name}"))?;
        Ok((result.return_value, u64::try_from(result.duration.as_nanos())?))
    }

    fn run(&mut self, frame: &[u8], hook: Hook, received: Received) -> Result<u32> {
        let name = match (hook, received) {
            (Hook::Received, Received::Xdp) => "xdp_received",
            (Hook::Received, Received::Tc) => "tc_received",
            (Hook::Sent, _) => "tc_sent",
        };
        Ok(self.time(name, frame, 1)?.0)
    }

    /// Lets time pass, by making every entry older: the kernel's clock is nobody's to move.
    pub fn wait(&mut self, seconds: u64) -> Result<()> {
        let Self { object, age, .. } = self;
        for name in CONNECTIONS {
            age.wait(&mut connection_map(object, name)?, seconds)?;
        }
        let mut datagrams: HashMap<&mut MapData, FragmentKey, Datagram> =
            map(object, "DATAGRAMS")?.try_into()?;
        age.wait_for_datagrams(&mut datagrams, seconds, now_ns())
    }

    fn settle(&mut self) -> Result<()> {
        let Self { object, age, .. } = self;
        CONNECTIONS.iter().try_for_each(|name| age.settle(&mut connection_map(object, name)?))
    }

    /// All connections, with the name of the map they are in.
    pub fn connections(&mut self) -> Result<BTreeMap<(&'static str, Vec<u8>), Connection>> {
        let mut all = BTreeMap::new();
        let Self { object, age, .. } = self;
        for name in CONNECTIONS {
            for entry in connection_map(object, name)?.iter() {
                let (key, mut connection) = entry?;
                connection.timeout_s = age.timeout_s(&key, &connection);
                all.insert((name, key_bytes(&key)), connection);
            }
        }
        Ok(all)
    }

    /// Instructions that the verifier processed, and the bytes of the translated and of the machine code.
    pub fn sizes(&mut self, name: &str) -> Result<(u32, u32, u32)> {
        let info = self.program(name)?.info()?;
        Ok((
            info.verified_instruction_count().unwrap_or(0),
            info.size_translated().unwrap_or(0),
            info.size_jitted(),
        ))
    }

    /// The file descriptor owner of a program, to attach it elsewhere.
    pub fn program(&mut self, name: &str) -> Result<&mut Program> {
        self.object.program_mut(name).ok_or_else(|| anyhow!("the object has no program {name}"))
    }

    /// `xdp_received`.
    pub fn xdp(&mut self) -> Result<&mut Xdp> {
        Ok(self.program("xdp_received")?.try_into()?)
    }

    /// A TC program.
    pub fn tc(&mut self, name: &str) -> Result<&mut SchedClassifier> {
        Ok(self.program(name)?.try_into()?)
    }

    fn map(&mut self, name: &str) -> Result<&mut aya::maps::Map> {
        map(&mut self.object, name)
    }

    fn reasons(&mut self, zone: u32) -> Result<Vec<u64>> {
        let first = counter_index(zone, fw_common::Direction::Ingress, false, Reason::NotConfigured);
        self.packets("COUNTERS", first, REASON_SLOTS_PER_ZONE)
    }

    fn rules(&mut self) -> Result<Vec<u64>> {
        self.packets("RULES", 0, 256)
    }

    fn packets(&mut self, name: &str, first: u32, count: u32) -> Result<Vec<u64>> {
        let map: PerCpuArray<&mut MapData, Counter> = self.map(name)?.try_into()?;
        (first..first + count)
            .map(|index| Ok(map.get(&index, 0)?.iter().map(|counter| counter.packets).sum()))
            .collect()
    }
}

fn map<'a>(object: &'a mut Ebpf, name: &str) -> Result<&'a mut aya::maps::Map> {
    object.map_mut(name).ok_or_else(|| anyhow!("the object has no map {name}"))
}

fn connection_map<'a>(
    object: &'a mut Ebpf,
    name: &str,
) -> Result<HashMap<&'a mut MapData, FlowKey, Connection>> {
    Ok(map(object, name)?.try_into()?)
}

/// A key as bytes, to order and compare by.
pub fn key_bytes(key: &FlowKey) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(48);
    bytes.extend(key.zone.to_be_bytes());
    bytes.extend(key.protocol.to_be_bytes());
    bytes.extend(key.local.to_bytes());
    bytes.extend(key.remote.to_bytes());
    bytes.extend(key.local_port.to_be_bytes());
    bytes.extend(key.remote_port.to_be_bytes());
    bytes
}

fn grown(before: &[u64], after: &[u64]) -> Vec<u32> {
    let pairs = before.iter().zip(after).enumerate();
    pairs.filter(|(_, (before, after))| after > before).map(|(index, _)| index as u32).collect()
}

//! The bytecode under the microscope: the object of `fwctl`, loaded without pins or devices, fed with frames by
//! `BPF_PROG_TEST_RUN`, its counters and connections read back after each.
//!
//! A test run has no device of its own: the kernel gives it the loopback's index, which is always 1.

use std::collections::BTreeMap;
use std::os::fd::AsFd as _;
use std::thread;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use aya::maps::{ArrayOfMaps, HashMap, MapData, PerCpuArray, PerCpuValues};
use aya::programs::{Program, SchedClassifier, TestRun as _, TestRunOptions, Xdp};
use aya::util::nr_cpus;
use aya::{Ebpf, EbpfLoader};
use fw_common::conntrack::{Connection, tick};
use fw_common::event::Wanted;
use fw_common::flow_log::{Flow, RECORDING, Tally};
use fw_common::fragment::{Datagram, FragmentKey};
use fw_common::layout::{Line, head};
use fw_common::rehearsed::Rehearsed;
use fw_common::store::{Layout, Store, known_words};
use fw_common::verdict::{Counter, REASON_SLOTS_PER_ZONE};
use fw_common::{FlowKey, Hook, Reason, Verdict, verdict::counter_index};
use fw_userspace::compile::Patch;
use fw_userspace::datapath::{ConnectionTable, Founded, PolicyArray, with_policy_bytes};

use crate::affinity;
use crate::age::{Age, make_older, now_ns, wait};

/// The interface index that test runs see.
pub const IFINDEX: u32 = 1;

/// 16 MiB.
const POLICY_LINES: u32 = 1 << 18;
const ZONES: u32 = 64;
const RULE_SLOTS: u32 = 4096;

/// Connections that fit: the object's own size.
const MAX_CONNECTIONS: u32 = 1024;

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

/// Whether the kernel takes a frame for a test run: at XDP a whole Ethernet header, at TC something behind it, and with
/// it all of an IP header whose type stands in the Ethernet header (EINVAL otherwise, Linux 6.18).
#[must_use]
pub fn takes(frame: &[u8], hook: Hook, received: Received) -> bool {
    if matches!((hook, received), (Hook::Received, Received::Xdp)) {
        return frame.len() >= 14;
    }
    let least = match frame.get(12..14) {
        Some([0x08, 0x00]) => 14 + 20,
        Some([0x86, 0xdd]) => 14 + 40,
        _ => 14 + 1,
    };
    frame.len() >= least
}

/// Whether it is confirmed and its key as bytes, to order and compare by.
pub type Connections = BTreeMap<(bool, Vec<u8>), Connection>;

/// The loaded object.
pub struct Kernel {
    object: Ebpf,
    policy: PolicyArray,
    connections: ConnectionTable,
    cpus: usize,
    rule_slots: u32,
    /// What the counters of a zone and of the rules were after the last frame, if nothing ran since.
    counted: Option<(u32, Vec<u64>, Vec<u64>)>,
    age: Age,
}

impl Kernel {
    /// Loads it, without rules.
    pub fn load() -> Result<Self> {
        let line_bytes = size_of::<Line>() as u32;
        let last = u64::from((POLICY_LINES - 1) * line_bytes);
        let mut object = EbpfLoader::new()
            .override_global("POLICY_LAST", &last, true)
            .map_max_entries("COUNTERS", ZONES * REASON_SLOTS_PER_ZONE)
            .map_max_entries("RULES", RULE_SLOTS)
            .load(&with_policy_bytes(POLICY_LINES * line_bytes))?;
        for (name, program) in object.programs_mut() {
            match program {
                Program::Xdp(program) => program.load(),
                Program::SchedClassifier(program) => program.load(),
                _ => bail!("{name} is of no type that is known here"),
            }
            .with_context(|| format!("loading {name}"))?;
        }
        let cpus = nr_cpus().map_err(|(what, error)| anyhow!("{what}: {error}"))?;
        let policy = match map(&mut object, "POLICY")? {
            aya::maps::Map::Array(policy) => PolicyArray::of(policy)?,
            _ => bail!("POLICY is no array"),
        };
        let array = |object: &mut Ebpf, name| match map(object, name)? {
            aya::maps::Map::Array(map) => Ok(map.fd().as_fd().try_clone_to_owned()?),
            _ => bail!("{name} is no array"),
        };
        let mut map = |name| Ok::<_, anyhow::Error>(MapData::from_fd(array(&mut object, name)?)?);
        let mut connections = ConnectionTable::of(&map("CONNECTIONS")?, &map("TAGS")?, &map("COUNT")?)?;
        connections.found(&Founded { layout: Layout::of(MAX_CONNECTIONS), hash: known_words(0) });
        Ok(Self { object, policy, connections, cpus, rule_slots: 256, counted: None, age: Age::default() })
    }

    /// Forgets all connections and fragments.
    pub fn reset(&mut self) -> Result<()> {
        self.connections.clear();
        let mut map: HashMap<&mut MapData, FragmentKey, Datagram> = self.map("DATAGRAMS")?.try_into()?;
        let keys: Vec<FragmentKey> = map.keys().collect::<std::result::Result<_, _>>()?;
        for key in keys {
            map.remove(&key)?;
        }
        self.age = Age::default();
        Ok(())
    }

    /// Writes a generation over whatever was there and makes it the live one: nothing runs meanwhile.
    pub fn publish(&mut self, patch: &Patch) -> Result<()> {
        ensure!(
            patch.end <= POLICY_LINES,
            "the rules take {} lines, there are {POLICY_LINES} here",
            patch.end
        );
        self.policy.write(&patch.lines);
        self.policy.publish(patch.root);
        Ok(())
    }

    /// Looks at the counters of so many rules (of 256 if it is never called): fewer are faster.
    pub fn watch_rules(&mut self, slots: u32) {
        if self.rule_slots != slots {
            self.rule_slots = slots;
            self.counted = None;
        }
    }

    /// Writes lines of the live generation anew.
    pub fn rewrite(&mut self, lines: &[(u32, Line)]) {
        self.policy.write(lines);
    }

    /// Has the programs tell of packets, for years.
    pub fn listen(&mut self, wanted: Wanted) -> Result<()> {
        let mut first = self.policy.line(0).context("the array is empty")?;
        first.set_word(head::EVENTS, wanted as u32);
        first.set_word(head::EVENTS_UNTIL, tick(now_ns()).wrapping_add(1 << 30));
        self.policy.write(&[(0, first)]);
        Ok(())
    }

    /// Has the programs record the packets of at most so many flows, for years, or until [`Self::listen`].
    pub fn record(&mut self, flows: u32) -> Result<()> {
        let window = HashMap::<MapData, Flow, Tally>::create(flows, 0)?;
        let mut slot: ArrayOfMaps<&mut MapData, HashMap<MapData, Flow, Tally>> =
            self.map("FLOWS")?.try_into()?;
        slot.set(0, &window, 0)?;
        let mut first = self.policy.line(0).context("the array is empty")?;
        first.set_word(head::EVENTS, RECORDING);
        first.set_word(head::FLOWS_UNTIL, tick(now_ns()).wrapping_add(1 << 30));
        self.policy.write(&[(0, first)]);
        Ok(())
    }

    /// Sends one frame through the program of a hook.
    pub fn judge(&mut self, frame: &[u8], hook: Hook, received: Received, zone: u32) -> Result<Seen> {
        let (reasons_before, rules_before) = match self.counted.take() {
            Some((counted, reasons, rules)) if counted == zone => (reasons, rules),
            _ => self.counted(zone)?,
        };
        let verdict = self.verdict(frame, None, hook, received)?;
        let (reasons_after, rules_after) = self.counted(zone)?;
        let reasons = grown(&reasons_before, &reasons_after);
        let [index] = reasons[..] else { bail!("one reason is counted per frame, not {reasons:?}") };
        let slot = index % fw_common::verdict::REASON_SLOTS;
        let reason = u8::try_from(slot).ok().and_then(Reason::from_code);
        let would_deny = (index / fw_common::verdict::REASON_SLOTS) % 2 == 1;
        let mut rules = [0; 2];
        for (place, slot) in rules.iter_mut().zip(grown(&rules_before, &rules_after)) {
            *place = slot;
        }
        self.counted = Some((zone, reasons_after, rules_after));
        Ok(Seen { verdict, reason: reason.ok_or_else(|| anyhow!("no reason {slot}"))?, would_deny, rules })
    }

    /// What a hook was told about a frame, whatever was counted. The context is an `xdp_md` or a `__sk_buff`, as far as
    /// the kernel lets one set it.
    pub fn verdict(
        &mut self,
        frame: &[u8],
        context: Option<&[u8]>,
        hook: Hook,
        received: Received,
    ) -> Result<Verdict> {
        let name = match (hook, received) {
            (Hook::Received, Received::Xdp) => "xdp_received",
            (Hook::Received, Received::Tc) => "tc_received",
            (Hook::Sent, _) => "tc_sent",
        };
        let (code, _) = self.run(name, frame, context, 1)?;
        Ok(match (hook, received, code) {
            (Hook::Received, Received::Xdp, 2) | (_, _, u32::MAX) => Verdict::Pass,
            (Hook::Received, Received::Xdp, 1) | (_, _, 2) => Verdict::Drop,
            (_, _, other) => bail!("a program returned {other}, which is no verdict of its hook"),
        })
    }

    /// What a program's twin says of a frame, whatever the program would do.
    pub fn rehearse(&mut self, frame: &[u8], hook: Hook) -> Result<Rehearsed> {
        let name = match hook {
            Hook::Received => "explain_received",
            Hook::Sent => "explain_sent",
        };
        Ok(fw_userspace::datapath::rehearse(self.tc(name)?, IFINDEX, frame)?)
    }

    /// What was counted so far: packets by reason, from the first of the zone on, and packets by rule.
    pub fn counted(&mut self, zone: u32) -> Result<(Vec<u64>, Vec<u64>)> {
        Ok((self.reasons(zone)?, self.rules()?))
    }

    /// What a program returned for a frame, and how many nanoseconds one of `repeat` runs took.
    pub fn time(&mut self, name: &str, frame: &[u8], repeat: u32) -> Result<(u32, u64)> {
        self.run(name, frame, None, repeat)
    }

    fn run(&mut self, name: &str, frame: &[u8], context: Option<&[u8]>, repeat: u32) -> Result<(u32, u64)> {
        self.counted = None;
        run(&self.object, name, frame, context, repeat)
    }

    /// Two CPUs at once send frames, each through the program named with it.
    pub fn race(&mut self, cpus: [&[(&str, Vec<u8>)]; 2]) -> Result<()> {
        self.counted = None;
        let object = &self.object;
        let send = |cpu, frames: &[(&str, Vec<u8>)]| {
            affinity::pin(cpu)?;
            frames.iter().try_for_each(|(name, frame)| run(object, name, frame, None, 1).map(drop))
        };
        thread::scope(|scope| {
            let other = scope.spawn(|| send(1, cpus[1]));
            let own = scope.spawn(|| send(0, cpus[0]));
            [own, other]
                .into_iter()
                .try_for_each(|thread| thread.join().unwrap_or_else(|_| Err(anyhow!("a sender panicked"))))
        })
    }

    /// How many confirmed connections the programs count, expired ones included.
    pub fn counted_connections(&self) -> u64 {
        Store(&self.connections).counted()
    }

    /// The table of connections, to be looked at or damaged.
    pub fn table(&self) -> &ConnectionTable {
        &self.connections
    }

    /// The array of the rules.
    pub fn policy(&self) -> &PolicyArray {
        &self.policy
    }

    /// Packets that the counter of a reason has seen, see [`counter_index`].
    pub fn counter(&mut self, index: u32) -> Result<u64> {
        Ok(self.packets("COUNTERS", index, 1)?.into_iter().sum())
    }

    /// Packets that the counter of a rule has seen, for the first `count` slots.
    pub fn counted_by_rule(&mut self, count: u32) -> Result<Vec<u64>> {
        self.packets("RULES", 0, count)
    }

    /// Sets counters back, of reasons by their indexes and of rules by their slots.
    pub fn set_back(
        &mut self,
        reasons: impl IntoIterator<Item = u32>,
        rules: impl IntoIterator<Item = u32>,
    ) -> Result<()> {
        self.counted = None;
        let cpus = self.cpus;
        let zero = || PerCpuValues::try_from(vec![Counter::default(); cpus]);
        let mut map: PerCpuArray<&mut MapData, Counter> = self.map("COUNTERS")?.try_into()?;
        for index in reasons {
            map.set(index, zero()?, 0)?;
        }
        let mut map: PerCpuArray<&mut MapData, Counter> = self.map("RULES")?.try_into()?;
        for slot in rules {
            map.set(slot, zero()?, 0)?;
        }
        Ok(())
    }

    /// Lets time pass, by making every entry older: the kernel's clock is nobody's to move.
    pub fn wait(&mut self, seconds: u64) -> Result<()> {
        wait(&self.connections, seconds);
        let Self { object, age, .. } = self;
        let mut datagrams: HashMap<&mut MapData, FragmentKey, Datagram> =
            map(object, "DATAGRAMS")?.try_into()?;
        age.wait_for_datagrams(&mut datagrams, seconds, now_ns())
    }

    /// Lets time pass for a kernel that is compared with a clock of whole seconds, see [`make_older`].
    pub fn make_older(&mut self, seconds: u64) -> Result<()> {
        let Self { object, connections, .. } = self;
        let mut datagrams: HashMap<&mut MapData, FragmentKey, Datagram> =
            map(object, "DATAGRAMS")?.try_into()?;
        make_older(connections, &mut datagrams, seconds)
    }

    /// All connections that have not expired, by class.
    pub fn connections(&mut self) -> Connections {
        let now_ns = now_ns();
        let live = self.connections.iter().filter(|(_, connection, _)| !connection.is_expired(now_ns));
        live.map(|(key, connection, class)| ((class.is_kept(), key_bytes(&key)), connection)).collect()
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
        self.packets("RULES", 0, self.rule_slots)
    }

    fn packets(&mut self, name: &str, first: u32, count: u32) -> Result<Vec<u64>> {
        let map: PerCpuArray<&mut MapData, Counter> = self.map(name)?.try_into()?;
        (first..first + count)
            .map(|index| Ok(map.get(&index, 0)?.iter().map(|counter| counter.packets).sum()))
            .collect()
    }
}

fn run(object: &Ebpf, name: &str, frame: &[u8], context: Option<&[u8]>, repeat: u32) -> Result<(u32, u64)> {
    let options =
        TestRunOptions { data_in: Some(frame), ctx_in: context, repeat, ..TestRunOptions::default() };
    let result = match object.program(name) {
        Some(Program::Xdp(program)) => program.test_run(options),
        Some(Program::SchedClassifier(program)) => program.test_run(options),
        _ => bail!("{name} cannot be run"),
    }
    .with_context(|| format!("running {name}"))?;
    Ok((result.return_value, u64::try_from(result.duration.as_nanos())?))
}

fn map<'a>(object: &'a mut Ebpf, name: &str) -> Result<&'a mut aya::maps::Map> {
    object.map_mut(name).ok_or_else(|| anyhow!("the object has no map {name}"))
}

/// The clock that the programs read, nanoseconds.
pub fn clock_ns() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `now` is a timespec that the call fills; CLOCK_MONOTONIC_COARSE exists since Linux 2.6.32.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC_COARSE, &raw mut now) };
    (now.tv_sec as u64).saturating_mul(1_000_000_000).saturating_add(now.tv_nsec as u64)
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

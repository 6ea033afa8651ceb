//! A case in the kernel: the bytecode by test runs, step by step beside the core on the host. Verdict, reason,
//! counted rules and connection table must be the same.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail, ensure};
use fw_common::conntrack::{Class, Connection};
use fw_common::memory::{MemoryTables, SliceFrame};
use fw_common::{Decision, Hook, Scratch, Sighting, judge};
use fw_userspace::compile::{self, Binding, Carries, Numbering};
use fw_userspace::model::Policy;

use super::{hook_of, policy};
use crate::case::{Case, PacketStep, Step};
use crate::kernel::{self, IFINDEX, Kernel, Received, key_bytes};

/// Host core and bytecode, kept in step.
pub struct Twins<'a> {
    received: Received,
    kernel: &'a mut Kernel,
    host: MemoryTables,
    numbering: Numbering,
    generation: u32,
}

impl<'a> Twins<'a> {
    /// Both without connections. `received` says which program judges what a device receives.
    pub fn new(received: Received, kernel: &'a mut Kernel) -> Result<Self> {
        kernel.reset()?;
        let host = MemoryTables::new(1024);
        // So that entries can be made older than the table itself.
        host.wait(10_000_000);
        Ok(Self { received, kernel, host, numbering: Numbering::default(), generation: 0 })
    }

    /// Goes through a case that is not refused; the number of packets that both judged. Frames that are too short for
    /// a test run are left out.
    pub fn run(&mut self, case: &Case) -> Result<usize> {
        let mut policy = policy(&case.rules)?;
        let mut packets = 0;
        for step in &case.steps {
            match step {
                Step::Load(rules) => policy = super::policy(rules)?,
                Step::Wait(seconds) => self.wait(*seconds)?,
                Step::Packet(packet) => {
                    if !kernel::takes(&packet.frame, hook_of(&policy, packet), self.received) {
                        continue;
                    }
                    packets += 1;
                    self.judge_step(&policy, packet)
                        .with_context(|| format!("line {}: {}", packet.line, packet.text))?;
                }
            }
        }
        Ok(packets)
    }

    /// Lets time pass on both sides.
    pub fn wait(&mut self, seconds: u64) -> Result<()> {
        self.host.wait(seconds);
        self.kernel.wait(seconds)
    }

    fn judge_step(&mut self, policy: &Policy, step: &PacketStep) -> Result<()> {
        let zone = self.publish(policy, &step.at)?;
        self.judge(&step.frame, hook_of(policy, step), zone).map(drop)
    }

    /// Makes rules the live ones, with the one device of test runs at an interface or a subnet's leg: its zone.
    pub fn publish(&mut self, policy: &Policy, at: &str) -> Result<u32> {
        let bindings = bindings_with(policy, at)?;
        let compiled = compile::compile(policy, &bindings, self.numbering.clone(), self.generation + 1)?;
        self.generation += 1;
        self.numbering = compiled.numbering.clone();
        self.kernel.publish(&compiled.lines)?;
        self.host.publish(&compiled.lines);
        Ok(compiled.zones.iter().find(|(_, name, _)| *name == at).map_or(0, |(zone, ..)| *zone))
    }

    /// Judges a frame on both sides, by the rules that [`Self::publish`] made the live ones.
    pub fn judge(&mut self, frame: &[u8], hook: Hook, zone: u32) -> Result<Decision> {
        let expected = self.on_host(frame, hook);
        let seen = self.kernel.judge(frame, hook, self.received, zone)?;
        ensure!(
            (seen.verdict, seen.reason) == (expected.verdict(), expected.reason),
            "host {:?} {:?}, bytecode {:?} {:?}",
            expected.verdict(),
            expected.reason,
            seen.verdict,
            seen.reason
        );
        let mut rules = [expected.acl_rule, expected.group_rule];
        rules.sort_unstable();
        let mut counted = seen.rules;
        counted.sort_unstable();
        ensure!(rules == counted, "host counts rules {rules:?}, bytecode {counted:?}");
        self.compare_connections()?;
        Ok(expected)
    }

    fn on_host(&self, frame: &[u8], hook: Hook) -> Decision {
        let seen = Sighting { ifindex: IFINDEX, hook, vlan_tags: 0 };
        judge(&SliceFrame::new(frame), &self.host, seen, &mut Scratch::EMPTY.clone())
    }

    /// The same entries in the same states; times are each side's own.
    fn compare_connections(&mut self) -> Result<()> {
        let host: BTreeMap<_, _> = self
            .host
            .connections()
            .into_iter()
            .map(|(key, connection, class)| {
                let map = match class {
                    Class::Confirmed => "CONNECTIONS",
                    Class::HalfOpen => "HALF_OPEN",
                };
                ((map, key_bytes(&key)), connection)
            })
            .collect();
        let kernel = self.kernel.connections()?;
        ensure!(host.keys().eq(kernel.keys()), "host tracks {:?}, bytecode {:?}", host.keys(), kernel.keys());
        for ((place, ours), theirs) in host.iter().zip(kernel.values()) {
            let shape = |c: &Connection| {
                (c.state, c.opened_by, c.flags, c.timeout_s, c.packets, c.bytes, c.rule, c.sent, c.acked)
            };
            ensure!(shape(ours) == shape(theirs), "{place:?}: host {ours:?}, bytecode {theirs:?}");
        }
        Ok(())
    }
}

/// Bindings that give the interface at hand the one index that test runs have.
fn bindings_with(policy: &Policy, at: &str) -> Result<Vec<Binding>> {
    let mut bindings = compile::pretend_bindings(policy);
    let mut found = false;
    for (binding, other) in bindings.iter_mut().zip(100..) {
        let here = match &binding.carries {
            Carries::Interface(name) | Carries::Leg(name) => name == at,
        };
        binding.ifindex = if here { IFINDEX } else { other };
        found |= here;
    }
    if !found {
        bail!("\"{at}\" has no device");
    }
    Ok(bindings)
}

//! Every case once more, in the kernel: the bytecode by test runs under XDP and under TC, step by step beside the
//! core on the host. Verdict, reason, counted rules and connection table must be the same.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail, ensure};
use fw_common::conntrack::Class;
use fw_common::memory::{MemoryTables, SliceFrame};
use fw_common::{Decision, Hook, Scratch, Sighting, Verdict, judge};
use fw_tests::case::{self, Case, Direction, PacketStep, Step};
use fw_tests::kernel::{IFINDEX, Kernel, Received, key_bytes};
use fw_userspace::compile::{self, Binding, Carries, Numbering};
use fw_userspace::document;
use fw_userspace::model::{Faces, Policy};

#[test]
fn every_case_holds_in_the_bytecode_under_tc() {
    run_all(Received::Tc);
}

#[test]
fn every_case_holds_in_the_bytecode_under_xdp() {
    run_all(Received::Xdp);
}

fn run_all(received: Received) {
    let cases = case::load().expect("the cases load");
    let mut failures = Vec::new();
    let mut packets = 0;
    let mut kernel = Kernel::load().expect("the programs load");
    for case in cases.iter().filter(|case| case.refused.is_none()) {
        match Twins::new(received, &mut kernel).and_then(|mut twins| twins.run(case)) {
            Ok(count) => packets += count,
            Err(error) => failures.push(format!("{} {}: {error:#}", case.place(), case.name)),
        }
    }
    assert!(failures.is_empty(), "{} cases differ:\n{}", failures.len(), failures.join("\n"));
    assert!(packets > 100, "only {packets} packets were judged");
}

/// Host core and bytecode, kept in step.
struct Twins<'a> {
    received: Received,
    kernel: &'a mut Kernel,
    host: MemoryTables,
    numbering: Numbering,
    generation: u32,
}

impl<'a> Twins<'a> {
    fn new(received: Received, kernel: &'a mut Kernel) -> Result<Self> {
        kernel.reset()?;
        let host = MemoryTables::new(1024);
        // So that entries can be made older than the table itself.
        host.wait(10_000_000);
        Ok(Self { received, kernel, host, numbering: Numbering::default(), generation: 0 })
    }

    fn run(&mut self, case: &Case) -> Result<usize> {
        let mut policy = policy(&case.rules)?;
        let mut packets = 0;
        for step in &case.steps {
            match step {
                Step::Load(rules) => policy = self::policy(rules)?,
                Step::Wait(seconds) => {
                    self.host.wait(*seconds);
                    self.kernel.wait(*seconds)?;
                }
                Step::Packet(packet) => {
                    packets += 1;
                    self.judge(&policy, packet)
                        .with_context(|| format!("line {}: {}", packet.line, packet.text))?;
                }
            }
        }
        Ok(packets)
    }

    fn judge(&mut self, policy: &Policy, step: &PacketStep) -> Result<()> {
        let bindings = bindings_with(policy, &step.at)?;
        let compiled = compile::compile(policy, &bindings, self.numbering.clone(), self.generation + 1)?;
        self.generation += 1;
        self.numbering = compiled.numbering.clone();
        self.kernel.publish(&compiled.lines)?;
        self.host.publish(&compiled.lines);
        let zone = compiled.zones.iter().find(|(_, name, _)| *name == step.at).map_or(0, |(zone, ..)| *zone);

        let hook = hook_of(policy, step);
        let expected = self.on_host(&step.frame, hook);
        let seen = self.kernel.judge(&step.frame, hook, self.received, zone)?;
        ensure!(
            (seen.verdict, seen.reason) == (expected.verdict(), expected.reason),
            "host {:?} {:?}, bytecode {:?} {:?}",
            expected.verdict(),
            expected.reason,
            seen.verdict,
            seen.reason
        );
        let would_deny = expected.observed && expected.reason.verdict() == Verdict::Drop;
        ensure!(seen.would_deny == would_deny, "counted as would_deny: {}", seen.would_deny);
        let mut rules = [expected.acl_rule, expected.group_rule];
        rules.sort_unstable();
        let mut counted = seen.rules;
        counted.sort_unstable();
        ensure!(rules == counted, "host counts rules {rules:?}, bytecode {counted:?}");
        self.compare_connections()
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
            let shape = |c: &fw_common::conntrack::Connection| {
                (c.state, c.opened_by, c.flags, c.timeout_s, c.packets, c.bytes, c.rule, c.sent, c.acked)
            };
            ensure!(shape(ours) == shape(theirs), "{place:?}: host {ours:?}, bytecode {theirs:?}");
        }
        Ok(())
    }
}

fn policy(rules: &serde_json::Value) -> Result<Policy> {
    let reading = document::read(&serde_json::to_vec(rules)?);
    let findings = document::render("case", &reading.findings);
    reading.policy.with_context(|| format!("the rules are refused: {findings}"))
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

fn hook_of(policy: &Policy, step: &PacketStep) -> Hook {
    let interface = policy.interfaces.get(&step.at).and_then(|interface| interface.attachment.as_ref());
    let leg = policy.subnets.get(&step.at).and_then(|subnet| subnet.leg.as_ref());
    let faces = interface.or(leg).map_or(Faces::Network, |attachment| attachment.faces);
    match (faces, step.direction) {
        (Faces::Network, Direction::Inbound) | (Faces::Instance, Direction::Outbound) => Hook::Received,
        (Faces::Network, Direction::Outbound) | (Faces::Instance, Direction::Inbound) => Hook::Sent,
    }
}

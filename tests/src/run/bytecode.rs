//! A case in the kernel: the bytecode by test runs, step by step beside the core on the host. Verdict, reason,
//! counted rules and connection table must be the same, and as the case expects.

use anyhow::{Context as _, Result, bail, ensure};
use fw_common::conntrack::Class;
use fw_common::memory::{MemoryTables, SliceFrame};
use fw_common::{Decision, Hook, Scratch, Sighting, Verdict, judge};
use fw_userspace::compile::{self, Binding, Carries, Compiled, Numbering};
use fw_userspace::model::Policy;

use super::{direction_of, hook_of, policy};
use crate::age::now_ns;
use crate::case::{Case, Expect, PacketStep, Step};
use crate::kernel::{self, Connections, IFINDEX, Kernel, Received, key_bytes};

/// Host core and bytecode, kept in step.
pub struct Twins<'a> {
    received: Received,
    kernel: &'a mut Kernel,
    host: MemoryTables,
    numbering: Numbering,
    generation: u32,
    /// Interface or subnet that has the device, and its zone; nothing before the first packet under new rules.
    placed: Option<(String, u32)>,
    /// Every device with its adoption window, by the host's clock.
    windows: Vec<Binding>,
    judged: u64,
}

/// From so many connections on, not all of them are looked at after each packet.
const CROWD: usize = 100;

impl<'a> Twins<'a> {
    /// Both without connections. `received` says which program judges what a device receives.
    pub fn new(received: Received, kernel: &'a mut Kernel) -> Result<Self> {
        kernel.reset()?;
        let host = MemoryTables::new(1024);
        // So that entries can be made older than the table itself.
        host.wait(10_000_000);
        Ok(Self {
            received,
            kernel,
            host,
            numbering: Numbering::default(),
            generation: 1,
            placed: None,
            windows: Vec::new(),
            judged: 0,
        })
    }

    /// Goes through a case that is not refused; the number of packets that both judged. Frames that are too short for
    /// a test run are left out.
    pub fn run(&mut self, case: &Case) -> Result<usize> {
        let mut policy = policy(&case.rules)?;
        let mut packets = 0;
        for step in &case.steps {
            match step {
                Step::Load(rules) => policy = self.load(&policy, super::policy(rules)?),
                Step::Wait(seconds) => self.wait(*seconds)?,
                Step::Packet(packet) => {
                    if !kernel::takes(
                        &packet.frame,
                        hook_of(&policy, &packet.at, direction_of(packet)),
                        self.received,
                    ) {
                        continue;
                    }
                    packets += 1;
                    self.judge_step(&policy, packet)
                        .with_context(|| format!("line {}: {}", packet.line, packet.text))?;
                }
            }
        }
        self.compare_connections()?;
        Ok(packets)
    }

    /// Lets time pass on both sides.
    pub fn wait(&mut self, seconds: u64) -> Result<()> {
        self.host.wait(seconds);
        // The kernel's clock has not moved: an adoption window has to end earlier by it.
        self.placed = None;
        self.kernel.wait(seconds)
    }

    /// The next generation, with the adoption window that a load on a host would open.
    fn load(&mut self, old: &Policy, new: Policy) -> Policy {
        let now_ns = self.host.now_ns.get();
        let until_ns = now_ns + u64::from(new.settings.adopt_seconds) * 1_000_000_000;
        let mut windows = compile::pretend_bindings(&new);
        for window in &mut windows {
            let before = self.windows.iter().find(|before| before.carries == window.carries);
            let before = before.unwrap_or(window).clone();
            let older = compile::older_connections(old, &new, window.carries.name());
            window.go_on_adopting(&before, older, now_ns, until_ns);
        }
        self.windows = windows;
        self.generation += 1;
        self.placed = None;
        new
    }

    fn judge_step(&mut self, policy: &Policy, step: &PacketStep) -> Result<()> {
        let zone = match &self.placed {
            Some((at, zone)) if *at == step.at => *zone,
            _ => self.place(policy, &step.at)?,
        };
        let decision = self.judge(&step.frame, hook_of(policy, &step.at, direction_of(step)), zone)?;
        let expected = match step.expect {
            Expect::Allow => Verdict::Pass,
            Expect::Deny => Verdict::Drop,
        };
        ensure!(decision.verdict() == expected, "expected to {:?}, by {}", step.expect, step.by);
        Ok(())
    }

    /// Makes rules the live ones, with the one device of test runs at an interface or a subnet's leg: its zone.
    pub fn publish(&mut self, policy: &Policy, at: &str) -> Result<u32> {
        self.generation += 1;
        self.place(policy, at)
    }

    /// The same without a new generation: the device has moved.
    fn place(&mut self, policy: &Policy, at: &str) -> Result<u32> {
        let on_host = self.compile(policy, at, self.host.now_ns.get())?;
        self.host.publish(&on_host.patch.image());
        let in_kernel = self.compile(policy, at, now_ns())?;
        self.kernel.publish(&in_kernel.patch)?;
        self.kernel.watch_rules(in_kernel.rule_slots);
        let zone = on_host.zones.iter().find(|(_, name, _)| *name == at).map_or(0, |(zone, ..)| *zone);
        self.placed = Some((at.to_owned(), zone));
        Ok(zone)
    }

    /// For one side: the end of an adoption window is a time by its clock.
    fn compile(&mut self, policy: &Policy, at: &str, now_ns: u64) -> Result<Compiled> {
        let mut bindings = bindings_with(policy, at)?;
        for binding in &mut bindings {
            let Some(window) = self.windows.iter().find(|window| window.carries == binding.carries) else {
                continue;
            };
            let left_ns = window.adopt_until_ns.saturating_sub(self.host.now_ns.get());
            if left_ns > 0 {
                (binding.adopt_until_ns, binding.older) = (now_ns + left_ns, window.older.clone());
            }
        }
        let compiled = compile::compile(policy, &bindings, self.numbering.clone(), self.generation)?;
        self.numbering = compiled.numbering.clone();
        Ok(compiled)
    }

    /// Judges a frame on both sides, by the rules that [`Self::publish`] made the live ones.
    pub fn judge(&mut self, frame: &[u8], hook: Hook, zone: u32) -> Result<Decision> {
        // Twice: the first time must change nothing for the second, nor both for the packet itself.
        let mut rehearsed = None;
        if kernel::takes(frame, hook, Received::Tc) {
            self.kernel.rehearse(frame, hook)?;
            rehearsed = Some(self.kernel.rehearse(frame, hook)?);
        }
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
        if let Some(rehearsed) = rehearsed {
            ensure!(rehearsed.decision == expected, "rehearsed {:?}, then {expected:?}", rehearsed.decision);
        }
        let would_deny = expected.observed && expected.reason.verdict() == Verdict::Drop;
        ensure!(seen.would_deny == would_deny, "counted as would_deny: {}", seen.would_deny);
        let mut rules = [expected.acl_rule, expected.group_rule];
        rules.sort_unstable();
        let mut counted = seen.rules;
        counted.sort_unstable();
        ensure!(rules == counted, "host counts rules {rules:?}, bytecode {counted:?}");
        self.judged += 1;
        // All of them after each packet, unless there are very many.
        if self.judged.is_multiple_of(100) || self.host.connections().len() < CROWD {
            self.compare_connections()?;
        }
        Ok(expected)
    }

    fn on_host(&self, frame: &[u8], hook: Hook) -> Decision {
        let seen = Sighting { ifindex: IFINDEX, hook, vlan_tags: 0 };
        judge(&SliceFrame::new(frame), &self.host, seen, &mut Scratch::EMPTY.clone())
    }

    /// The same entries in the same states; times are each side's own, and what has expired goes when it is come
    /// across, on each side in its own time. The host has room for all, in the kernel what comes in takes the place of
    /// its like.
    fn compare_connections(&mut self) -> Result<()> {
        let now_ns = self.host.now_ns.get();
        let live = self.host.connections().into_iter().filter(|(_, it, _)| !it.is_expired(now_ns));
        let kernel = self.kernel.connections();
        let live: Vec<_> =
            live.map(|(key, it, class)| ((class.is_kept(), key_bytes(&key)), it, class)).collect();
        let is_crowd = live.len() >= CROWD;
        let host: Connections = live
            .into_iter()
            .filter(|(place, _, class)| !is_crowd || *class != Class::Inbound || kernel.contains_key(place))
            .map(|(place, it, _)| (place, it))
            .collect();
        let only = |ours: &Connections, theirs: &Connections| {
            let only: Vec<_> = ours.keys().filter(|key| !theirs.contains_key(*key)).cloned().collect();
            format!("{} that the other does not, the first {:?}", only.len(), only.first())
        };
        ensure!(
            host.keys().eq(kernel.keys()),
            "host tracks {}; bytecode {}",
            only(&host, &kernel),
            only(&kernel, &host)
        );
        for ((place, ours), theirs) in host.iter().zip(kernel.values()) {
            ensure!(ours.is_like(theirs), "{place:?}: host {ours:?}, bytecode {theirs:?}");
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

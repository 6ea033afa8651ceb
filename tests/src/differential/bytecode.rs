//! The bytecode beside the core on the host.
//!
//! A program returns a verdict only; why, it counts. So verdicts are compared packet by packet, counters and
//! connections after the whole scenario, and packet by packet once they differ.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result, ensure};
use fw_common::layout::Line;
use fw_common::{Decision, Hook, REASON_SLOTS_PER_ZONE, Verdict};
use fw_userspace::compile::{self, Numbering, Patch};
use fw_userspace::model::Policy;
use fw_userspace::simulate::Simulation;
use serde_json::Value;

use super::beside::{self, Beside, Clock, Rig};
use super::history::Crossing;
use super::host::answer_of;
use super::oracle::Answer;
use super::{Outcome, Scenario};
use crate::kernel::{self, Connections, IFINDEX, Kernel, Received, clock_ns, key_bytes};
use crate::run::hook_of;

/// Zones of the rules here are below this.
const ZONES: u32 = 16;
const RULES: u32 = 512;

/// Runs a scenario on both.
pub fn compare(scenario: &Scenario, kernel: &mut Kernel, received: Received, exact: bool) -> Outcome {
    beside::compare(scenario, &mut Bytecode { kernel, received }, exact)
}

struct Bytecode<'k> {
    kernel: &'k mut Kernel,
    received: Received,
}

impl Rig for Bytecode<'_> {
    type Both<'r>
        = Twins<'r>
    where
        Self: 'r;

    fn begin(&mut self, _: &Value, policy: Policy) -> Result<Twins<'_>> {
        Twins::new(self.kernel, self.received, policy)
    }
}

struct Twins<'k> {
    kernel: &'k mut Kernel,
    received: Received,
    host: Simulation,
    policy: Policy,
    /// What the numbers of the live generation were made from.
    numbering: Numbering,
    generation: u32,
    /// For each place, the lines of the live generation that are other if it has the one device of test runs.
    differing: BTreeMap<String, Vec<(u32, Line)>>,
    at: String,
    /// What the kernel should have counted since the counters were set back.
    reasons: BTreeMap<u32, u64>,
    rules: BTreeMap<u32, u64>,
    clock: Clock,
}

impl<'k> Twins<'k> {
    fn new(kernel: &'k mut Kernel, received: Received, policy: Policy) -> Result<Self> {
        kernel.reset()?;
        let mut twins = Self {
            kernel,
            received,
            host: Simulation::new(policy.clone())?,
            policy,
            numbering: Numbering::default(),
            generation: 1,
            differing: BTreeMap::new(),
            at: String::new(),
            reasons: BTreeMap::new(),
            rules: BTreeMap::new(),
            clock: Clock::new(),
        };
        twins.publish()?;
        Ok(twins)
    }

    /// Publishes the rules once; what differs from place to place is only which of them has the device.
    fn publish(&mut self) -> Result<()> {
        let mut bindings = self.host.bindings().to_vec();
        let (now_ns, count) = (clock_ns(), bindings.len() as u32);
        for binding in &mut bindings {
            let left_ns = binding.adopt_until_ns.saturating_sub(self.host.now_ns());
            binding.adopt_until_ns = if left_ns == 0 { 0 } else { now_ns + left_ns };
        }
        let mut variants = Vec::new();
        for turn in 0..count {
            for (binding, place) in bindings.iter_mut().zip(0..) {
                binding.ifindex = IFINDEX + (place + count - turn) % count;
            }
            let compiled =
                compile::compile(&self.policy, &bindings, self.numbering.clone(), self.generation)?;
            let at = bindings[turn as usize].carries.name().to_owned();
            variants.push((at, compiled.patch));
        }
        let Some((at, first)) = variants.first() else { return Ok(()) };
        self.kernel.publish(first)?;
        self.at.clone_from(at);
        let mut changing = BTreeSet::new();
        for (_, Patch { lines, .. }) in &variants {
            let is_alike = lines.len() == first.lines.len();
            ensure!(is_alike, "the place of the device changes how many lines there are");
            let pairs = lines.iter().zip(&first.lines).enumerate();
            changing.extend(pairs.filter(|(_, (ours, firsts))| ours != firsts).map(|(place, _)| place));
        }
        self.differing = variants
            .iter()
            .map(|(at, patch)| (at.clone(), changing.iter().map(|place| patch.lines[*place]).collect()))
            .collect();
        Ok(())
    }

    fn judge_both(&mut self, crossing: &Crossing, hook: Hook, answer: &mut Option<Answer>) -> Result<()> {
        if self.at != crossing.at {
            let lines = self.differing.get(crossing.at).context("nothing of that name has a device")?;
            self.kernel.rewrite(lines);
            crossing.at.clone_into(&mut self.at);
        }
        let rehearsed = self.rehearse(crossing, hook)?;
        let verdict = self.kernel.verdict(&crossing.frame, None, hook, self.received)?;
        let judged = self.host.judge(crossing.at, crossing.direction, &crossing.frame);
        let judged = judged.context("nothing of that name has a device")?;
        *answer = Some(answer_of(&judged));
        let decision = judged.decision;
        *self.reasons.entry(decision.counter_index()).or_default() += 1;
        for slot in [decision.acl_rule, decision.group_rule] {
            if slot != 0 {
                *self.rules.entry(slot).or_default() += 1;
            }
        }
        let word = |verdict| if verdict == Verdict::Pass { "passes" } else { "drops" };
        ensure!(
            verdict == decision.verdict(),
            "host {} it ({}), bytecode {} it",
            word(decision.verdict()),
            decision.reason.name(),
            word(verdict)
        );
        if let Some(rehearsed) = rehearsed {
            ensure!(rehearsed == decision, "rehearsed {rehearsed:?}, then {decision:?}");
        }
        Ok(())
    }

    /// What `fwctl explain` would say of what is loaded and of the file, which must be the same; nothing of frames that a
    /// test run at TC refuses.
    fn rehearse(&mut self, crossing: &Crossing, hook: Hook) -> Result<Option<Decision>> {
        if !kernel::takes(&crossing.frame, hook, Received::Tc) {
            return Ok(None);
        }
        let loaded = self.kernel.rehearse(&crossing.frame, hook)?;
        let file = self.host.rehearse(crossing.at, crossing.direction, &crossing.frame);
        ensure!(file == Some(loaded), "rehearsed by the host {file:?}, by the twin {loaded:?}");
        Ok(Some(loaded.decision))
    }

    /// Those that have not expired: the programs remove the others when they come across them.
    fn compare_connections(&mut self) -> Result<()> {
        let now_ns = self.host.now_ns();
        let mut ours = Connections::new();
        for (key, connection, class) in self.host.connections() {
            if !connection.is_expired(now_ns) {
                ours.insert((class.is_kept(), key_bytes(&key)), connection);
            }
        }
        let mut theirs = self.kernel.connections();
        let now_ns = clock_ns();
        theirs.retain(|_, connection| !connection.is_expired(now_ns));
        ensure!(ours.keys().eq(theirs.keys()), "host tracks {ours:?}, bytecode {theirs:?}");
        for ((place, ours), theirs) in ours.iter().zip(theirs.values()) {
            ensure!(ours.is_like(theirs), "{place:?}: host {ours:?}, bytecode {theirs:?}");
        }
        Ok(())
    }
}

impl Beside for Twins<'_> {
    fn has(&self, at: &str) -> bool {
        self.host.bindings().iter().any(|binding| binding.carries.name() == at)
    }

    fn load(&mut self, _: &Value, policy: Policy) -> Result<()> {
        self.numbering = self.host.compiled().numbering.clone();
        self.generation += 1;
        self.host.load(policy.clone())?;
        self.policy = policy;
        self.publish()
    }

    fn wait(&mut self, seconds: u64) -> Result<()> {
        if !self.clock.may_wait(seconds) {
            return Ok(());
        }
        self.host.wait(seconds);
        self.clock.set();
        self.kernel.make_older(seconds)?;
        if self.host.bindings().iter().any(|binding| binding.adopt_until_ns > 0) {
            self.publish()?;
        }
        Ok(())
    }

    fn judge(&mut self, crossing: &Crossing, answer: &mut Option<Answer>) -> Result<()> {
        let hook = hook_of(&self.policy, crossing.at, crossing.direction);
        if !kernel::takes(&crossing.frame, hook, self.received) {
            return Ok(());
        }
        self.judge_both(crossing, hook, answer)
    }

    /// Counters, which are set back, and connections.
    fn compare_all(&mut self) -> Result<()> {
        for (index, packets) in &self.reasons {
            let counted = self.kernel.counter(*index)?;
            ensure!(counted == *packets, "host {packets} packets at counter {index}, bytecode {counted}");
        }
        let slots = self.host.compiled().rule_slots.min(RULES);
        for (slot, counted) in (0..).zip(self.kernel.counted_by_rule(slots)?) {
            let packets = self.rules.get(&slot).copied().unwrap_or(0);
            ensure!(counted == packets, "host {packets} packets by rule {slot}, bytecode {counted}");
        }
        self.kernel.set_back(self.reasons.keys().copied(), self.rules.keys().copied())?;
        self.reasons.clear();
        self.rules.clear();
        self.compare_connections()
    }

    fn clock(&self) -> &Clock {
        &self.clock
    }

    /// All counters, whatever they have counted.
    fn give_up(self) -> Result<()> {
        self.kernel.set_back(0..ZONES * REASON_SLOTS_PER_ZONE, 0..RULES)
    }
}

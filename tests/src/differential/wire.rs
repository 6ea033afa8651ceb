//! The wire beside the core on the host: `fwctl load`, `fwctl explain` by what is loaded and by the file, and then the
//! frame itself through a veth pair. All of them must say, and do, the same.

use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, ensure};
use fw_common::conntrack::State;
use fw_common::rehearsed::Rehearsed;
use fw_common::{Reason, Verdict};
use fw_userspace::compile::{Binding, DEFAULT_MAX_MEMORY, RuleKind};
use fw_userspace::explain::{Explainer, Explanation, RawFrame};
use fw_userspace::model::Policy;
use fw_userspace::simulate::Simulation;
use serde_json::Value;

use super::beside::{self, Beside, Clock, Rig};
use super::history::Crossing;
use super::host::{answer_of, named};
use super::oracle::Answer;
use super::{Outcome, Scenario};
use crate::case::Expect;
use crate::kernel::Received;
use crate::run::flow_key;
use crate::run::wire::{Crossed, Seen, Wire, agrees};

/// The kernel's clock goes on so long before it is made up for.
const RUNS: Duration = Duration::from_millis(100);

/// What has been compared.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Packets that came to the filter.
    pub packets: u64,
    /// Those that passed.
    pub passed: u64,
    /// Explained by what is loaded: all but those that a test run refuses.
    pub by_loaded: u64,
    /// Explained by the file, which knows no connections.
    pub by_file: u64,
    /// Packets that the kernel does not send, or not to the filter.
    pub unsendable: u64,
}

/// The rig, and what it has seen.
pub struct OnWire {
    wire: Wire,
    /// Counts on, also over what is tried to make a difference smaller.
    pub tally: Tally,
}

impl OnWire {
    /// With an own rig.
    pub fn new(received: Received) -> Result<Self> {
        Ok(Self { wire: Wire::new(received)?, tally: Tally::default() })
    }
}

/// Runs a scenario on both.
pub fn compare(scenario: &Scenario, rig: &mut OnWire, exact: bool) -> Outcome {
    beside::compare(scenario, rig, exact)
}

impl Rig for OnWire {
    type Both<'r> = Both<'r>;

    fn begin(&mut self, rules: &Value, policy: Policy) -> Result<Both<'_>> {
        let Self { wire, tally } = self;
        wire.begin(rules)?.success()?;
        wire.wait_exactly(0)?;
        let (host, file) =
            (Simulation::new(policy.clone())?, Explainer::of_rules(policy, DEFAULT_MAX_MEMORY)?);
        Ok(Both { wire, tally, host, file, clock: Clock::new() })
    }
}

/// The core with its history, and the rig.
pub(super) struct Both<'r> {
    wire: &'r mut Wire,
    tally: &'r mut Tally,
    host: Simulation,
    file: Explainer,
    clock: Clock,
}

impl Both<'_> {
    /// Whether what came before may decide about a packet: then the file, which knows nothing of it, may say something
    /// else. A group passes what belongs to a connection, and on the way out the ACL comes after the group.
    fn has_history(&self, crossing: &Crossing) -> bool {
        let Crossing { at, direction, frame, .. } = crossing;
        let (host, now_ns) = (&self.host, self.host.now_ns());
        let adopts = |binding: &Binding| binding.carries.name() == *at && binding.adopt_until_ns > now_ns;
        if host.bindings().iter().any(adopts) {
            return true;
        }
        let zone = host.compiled().zones.iter().find(|(_, name, _)| name == at).map(|(zone, ..)| *zone);
        let key = zone.and_then(|zone| flow_key(frame, *direction, zone));
        key.is_some_and(|key| {
            let connections = host.connections();
            connections.iter().any(|(known, connection, _)| *known == key && !connection.is_expired(now_ns))
        })
    }
}

/// A later fragment is passed by what the first was passed by.
fn is_fragment_of_one_before(rehearsed: &Rehearsed, by_file: &Explanation) -> bool {
    let reason = Reason::FragmentWithoutFirst;
    by_file.reason == reason.name() && rehearsed.decision.reason != reason
}

impl Beside for Both<'_> {
    fn has(&self, at: &str) -> bool {
        self.wire.has(at)
    }

    fn load(&mut self, rules: &Value, policy: Policy) -> Result<()> {
        self.wire.wait_exactly(0)?;
        self.clock.set();
        self.wire.load(rules)?;
        self.clock.set();
        self.host.load(policy.clone())?;
        self.file = Explainer::of_rules(policy, DEFAULT_MAX_MEMORY)?;
        Ok(())
    }

    fn wait(&mut self, seconds: u64) -> Result<()> {
        if !self.clock.may_wait(seconds) {
            return Ok(());
        }
        self.host.wait(seconds);
        self.clock.set();
        self.wire.wait_exactly(seconds)
    }

    fn judge(&mut self, crossing: &Crossing, answer: &mut Option<Answer>) -> Result<()> {
        if self.clock.runs() > RUNS {
            self.clock.set();
            self.wire.wait_exactly(0)?;
        }
        let Crossing { at, direction, frame, .. } = crossing;
        let has_history = self.has_history(crossing);
        let rehearsed = self.host.rehearse(at, *direction, frame).context("it has no device on the host")?;
        let expect = match rehearsed.decision.verdict() {
            Verdict::Pass => Expect::Allow,
            Verdict::Drop => Expect::Deny,
        };
        let (explained, seen) = match self.wire.cross(at, *direction, frame, expect)? {
            Crossed::Seen { explained, seen } => (explained, seen),
            Crossed::Unsendable(_) => {
                self.tally.unsendable += 1;
                return Ok(());
            }
        };
        self.tally.packets += 1;
        self.tally.passed += u64::from(seen.passed);
        let judged = self.host.judge(at, *direction, frame).context("it has no device on the host")?;
        let core = answer.insert(answer_of(&judged));
        ensure!(judged.decision == rehearsed.decision, "rehearsed {rehearsed:?}, then {judged:?}");
        if let Some(explained) = &explained {
            self.tally.by_loaded += 1;
            agrees(explained, &seen).map_err(|differs| anyhow!("by what is loaded: {differs}"))?;
        }
        let happened = answer_of_wire(&seen);
        ensure!(*core == happened, "the core says {core:?}, on the wire {happened:?}");
        let by_file = self.file.explain(at, *direction, &RawFrame::ethernet(frame.clone()))?;
        if has_history || is_fragment_of_one_before(&rehearsed, &by_file) {
            if let Some(explained) = &explained {
                let tracked = matches!(judged.decision.reason.verdict(), Verdict::Pass)
                    && (rehearsed.begins || rehearsed.state.is_some());
                let ours = (tracked, rehearsed.state.map(State::name));
                let loaded = (explained.tracked, explained.state);
                ensure!(ours == loaded, "tracked, and how far: the core {ours:?}, what is loaded {loaded:?}");
            }
        } else {
            self.tally.by_file += 1;
            agrees(&by_file, &seen).map_err(|differs| anyhow!("by the file: {differs}"))?;
            if let Some(explained) = explained {
                ensure!(*explained == by_file, "by what is loaded {explained:?}, by the file {by_file:?}");
            }
        }
        Ok(())
    }

    fn compare_all(&mut self) -> Result<()> {
        self.wire.check_late()
    }

    fn clock(&self) -> &Clock {
        &self.clock
    }

    fn give_up(self) -> Result<()> {
        Ok(())
    }
}

/// What happened, as an answer.
fn answer_of_wire(seen: &Seen) -> Answer {
    Answer {
        verdict: if seen.passed { Verdict::Pass } else { Verdict::Drop },
        reason: seen.reason,
        acl: seen.rule(RuleKind::NetworkAcl).map(named),
        group: seen.rule(RuleKind::SecurityGroup).map(named),
    }
}

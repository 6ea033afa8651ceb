//! What is in force on the rig: what it is asked before a packet comes, and what it has counted since.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use fw_common::{Direction, Hook, Reason};
use fw_userspace::compile::{RuleInfo, RuleKind};
use fw_userspace::datapath::Store;
use fw_userspace::explain::{Explainer, Explanation, RawFrame};
use fw_userspace::model::Policy;

use super::tables::{Counts, Grown, Tables};
use crate::kernel::{self, Received};
use crate::netns::Namespace;

/// How long a counter may take to show what has been seen already.
const PATIENCE: Duration = Duration::from_millis(500);

/// What is in force.
pub(super) struct Loaded {
    pub(super) policy: Policy,
    pub(super) zones: BTreeMap<String, u32>,
    pub(super) tables: Tables,
    rules: Vec<RuleInfo>,
    /// The slots of the rules are below this.
    slots: u32,
    explainer: Explainer,
}

/// What happened to a packet.
#[derive(Debug)]
pub struct Seen {
    /// It was seen behind the filter.
    pub passed: bool,
    /// The reason that was counted.
    pub reason: Reason,
    /// It was counted as what would have been denied.
    pub would_deny: bool,
    /// The rules that were counted.
    pub rules: Vec<RuleInfo>,
}

impl Seen {
    /// The rule of a kind that was counted.
    #[must_use]
    pub fn rule(&self, kind: RuleKind) -> Option<&RuleInfo> {
        self.rules.iter().find(|rule| rule.kind == kind)
    }
}

impl Loaded {
    /// Of a load that has been done. `before` is what was in force till then.
    pub(super) fn open(
        policy: Policy,
        generation: u32,
        (host, bpffs): (&Namespace, &Path),
        before: Option<Self>,
    ) -> Result<Self> {
        let store = Store::open(bpffs)?.context("nothing is pinned")?;
        let state = store.read_state(generation)?.context("the state is not kept")?;
        let rules = store.read_rules(generation)?;
        let mut tables = Tables::open(&store.maps())?;
        if let Some(before) = before {
            tables.inherit(before.tables);
        }
        tables.windows(state.bindings.iter().map(|binding| binding.adopt_until_ns))?;
        let zones = state.zones.into_iter().map(|(zone, name, _)| (name, zone)).collect();
        let slots = rules.iter().map(|rule| rule.slot + 1).max().unwrap_or(0);
        let explainer = host.run(|| Explainer::of_what_is_in_force(bpffs))?;
        Ok(Self { policy, zones, tables, rules, slots, explainer })
    }

    /// What `fwctl explain` says will happen to the packet; nothing of those that a test run refuses.
    pub(super) fn explain(
        &mut self,
        host: &Namespace,
        at: &str,
        direction: Direction,
        frame: &[u8],
        hook: Hook,
    ) -> Result<Option<Explanation>> {
        if !kernel::takes(frame, hook, Received::Tc) {
            return Ok(None);
        }
        let frame = RawFrame::ethernet(frame.to_vec());
        // Not to be shared with other threads, but to be lent to one.
        let explainer = &mut self.explainer;
        Ok(Some(host.run(move || explainer.explain(at, direction, &frame))?))
    }

    /// What the counters of a zone and direction stand at.
    pub(super) fn count(&self, zone: u32, direction: Direction) -> Result<Counts> {
        self.tables.count(zone, direction, self.slots)
    }

    /// What was counted for the one packet since, beside the marker behind it.
    pub(super) fn seen_since(
        &self,
        before: &Counts,
        (zone, direction): (u32, Direction),
        passed: bool,
    ) -> Result<Seen> {
        let end = Instant::now() + PATIENCE;
        loop {
            let Grown { mut reasons, slots } = self.count(zone, direction)?.since(before)?;
            if let Some(marker) = reasons.iter().position(|(reason, _)| *reason == Reason::AlwaysArp) {
                reasons.remove(marker);
            }
            if let [(reason, would_deny)] = reasons[..] {
                let rules = slots.iter().map(|slot| {
                    let rule = self.rules.iter().find(|rule| rule.slot == *slot).cloned();
                    rule.with_context(|| format!("slot {slot} is counted, which is no rule's"))
                });
                return Ok(Seen { passed, reason, would_deny, rules: rules.collect::<Result<_>>()? });
            }
            let is_late = reasons.is_empty() && Instant::now() < end;
            ensure!(is_late, "one packet is counted in its direction, not {reasons:?}");
        }
    }
}

/// What was explained before a packet came must be what happened to it.
pub fn agrees(explained: &Explanation, seen: &Seen) -> Result<(), String> {
    let rule = |kind| seen.rule(kind).map(|rule| (rule.id.as_str(), rule.rule.clone()));
    let entry =
        explained.network_acl.as_ref().map(|entry| (entry.id.as_str(), entry.rule_number.to_string()));
    let admitted = explained.security_group.as_ref().map(|rule| (rule.id.as_str(), rule.rule.clone()));
    let is_denied = explained.verdict == "deny";
    // An entry that lets on what the groups then refuse is named and counts nothing.
    let entry = entry.filter(|_| !is_denied || explained.layer == "network_acl");
    let would_deny = explained.observed && is_denied;
    let rules = usize::from(entry.is_some()) + usize::from(admitted.is_some());
    let said =
        (explained.layer, explained.reason, entry, admitted, rules, would_deny, !is_denied || would_deny);
    let happened = (
        seen.reason.layer().name(),
        seen.reason.name(),
        rule(RuleKind::NetworkAcl),
        rule(RuleKind::SecurityGroup),
        seen.rules.len(),
        seen.would_deny,
        seen.passed,
    );
    if said == happened { Ok(()) } else { Err(format!("explained {said:?}, then {happened:?}")) }
}

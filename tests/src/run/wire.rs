//! A case through real devices: rules by `fwctl load`, frames by packet sockets on veth pairs, what passed by packet
//! sockets behind the filter, the reason by the counters.
//!
//! One rig serves many cases. Each interface or leg that has a device gets a pair of its own, the same one in every
//! case; what a case leaves in the tables is cleared before the next. Neither namespace has an address, so that
//! nobody but the case says anything.

mod port;
mod rules;
mod tables;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use fw_common::{Direction, Hook, Reason};
use fw_userspace::compile::{RuleInfo, RuleKind};
use fw_userspace::datapath::Store;
use fw_userspace::explain::{Explainer, Explanation, RawFrame};
use fw_userspace::model::Policy;
use serde_json::{Value, json};

use super::{
    Answer, compare, decided_by, direction_of, flow_key, hook_of, name_of, names_acl, place, policy,
};
use crate::age::now_ns;
use crate::case::{Case, Expect, PacketStep, Step};
use crate::fwctl::{Fwctl, Output};
use crate::kernel::{self, Received};
use crate::netns::{BpffsDir, Namespace};
use port::{Crossing, Port};
use tables::{Counts, Tables};

/// How long a counter may take to show what has been seen already.
const PATIENCE: Duration = Duration::from_millis(500);

/// What came of a case.
#[derive(Debug, Default)]
pub struct Report {
    /// What differs from what the case expects; nothing if it holds.
    pub failures: Vec<String>,
    /// Packets that crossed a device or were dropped there.
    pub packets: usize,
    /// Packets that never reach a filter, and why: the kernel refuses to send them, or drops them before.
    pub unsendable: Vec<String>,
}

/// Two namespaces and the cables between them.
pub struct Wire {
    received: Received,
    ports: BTreeMap<String, Port>,
    loaded: Option<Loaded>,
    /// The size of the connection table, where a case does not say another.
    table_size: u64,
    host: Namespace,
    outside: Namespace,
    bpffs: BpffsDir,
}

/// What is in force.
struct Loaded {
    policy: Policy,
    zones: BTreeMap<String, u32>,
    rules: Vec<RuleInfo>,
    tables: Tables,
    explainer: Explainer,
}

impl Wire {
    /// Two namespaces. `received` says which program judges what a device receives.
    pub fn new(received: Received) -> Result<Self> {
        let (host, outside) = (Namespace::new("wire-host")?, Namespace::new("wire-outside")?);
        for namespace in [&host, &outside] {
            namespace.sysctl("ipv6/conf/all/disable_ipv6", "1")?;
            namespace.sysctl("ipv6/conf/default/disable_ipv6", "1")?;
        }
        let (ports, loaded, table_size) = (BTreeMap::new(), None, rules::TABLE_SIZE);
        Ok(Self { received, ports, loaded, table_size, host, outside, bpffs: BpffsDir::new()? })
    }

    /// Goes through a case.
    pub fn run(&mut self, case: &Case) -> Report {
        let mut report = Report::default();
        if let Err(error) = self.go_through(case, &mut report) {
            report.failures.push(format!("{error:#}"));
        }
        report
    }

    fn go_through(&mut self, case: &Case, report: &mut Report) -> Result<()> {
        if let Some(part) = &case.refused {
            let output = self.fwctl()?.try_load(&case.rules, &[])?;
            let is_refused = output.code() == 2 && says(&output.stderr, part);
            ensure!(is_refused, "expected to be refused with {part:?}: {}", output.said());
            return Ok(());
        }
        let output = self.begin(&case.rules)?;
        if let Some(part) = &case.warns {
            let said = output.said();
            ensure!(says(&output.stderr, part), "expected a warning or note with {part:?}: {said}");
        }
        for step in &case.steps {
            match step {
                Step::Load(rules) => self.load(rules).map(drop)?,
                Step::Wait(seconds) => self.loaded()?.tables.wait(*seconds)?,
                Step::Packet(packet) => {
                    if let Err(error) = self.check(packet, report)? {
                        report.failures.push(error);
                    }
                }
            }
        }
        self.ports.values_mut().try_for_each(Port::check_late)
    }

    /// Loads a case's first rules, over empty tables.
    fn begin(&mut self, rules: &Value) -> Result<Output> {
        let size = rules["settings"]["conntrack_max"].as_u64().unwrap_or(self.table_size);
        if self.table_size != size && self.loaded.take().is_some() {
            let output = self.fwctl()?.run(["unload"])?;
            ensure!(output.status.success(), "fwctl unload: {}", output.said());
        }
        self.table_size = size;
        // Windows of adoption stay with a device for as long as it carries the same interface.
        if self.loaded.as_ref().is_some_and(|loaded| loaded.tables.has_windows()) {
            self.load(&json!({ "version": 1 }))?;
        }
        // A device that is filtered from now on opens such a window; what a case describes has long been filtered.
        if policy(rules)?.settings.adopt_seconds > 0 {
            let mut before = rules.clone();
            before["settings"]["adopt_seconds"] = json!(0);
            self.load(&before)?;
        }
        let output = self.load(rules)?;
        self.loaded()?.tables.clear()?;
        Ok(output)
    }

    fn load(&mut self, rules: &Value) -> Result<Output> {
        let policy = policy(rules)?;
        let mut on_ports = rules.clone();
        for name in rules::put_on_devices(&mut on_ports, self.received, self.table_size) {
            if !self.ports.contains_key(&name) {
                let port = Port::new(&self.host, &self.outside, rules::device(&name))?;
                self.ports.insert(name, port);
            }
        }
        let output = self.fwctl()?.try_load(&on_ports, &[])?;
        let report = output.success()?;
        let generation = report["generation"].as_u64().context("the report of a load names no generation")?;
        let store = Store::open(self.bpffs.path())?.context("nothing is pinned")?;
        let generation = u32::try_from(generation)?;
        let state = store.read_state(generation)?.context("the state is not kept")?;
        let rules = store.read_rules(generation)?;
        let mut tables = Tables::open(&store.maps())?;
        if let Some(before) = self.loaded.take() {
            tables.inherit(before.tables);
        }
        tables.windows(state.bindings.iter().map(|binding| binding.adopt_until_ns))?;
        let zones = state.zones.into_iter().map(|(zone, name, _)| (name, zone)).collect();
        let explainer = self.host.run(|| Explainer::of_what_is_in_force(self.bpffs.path()))?;
        self.loaded = Some(Loaded { policy, zones, rules, tables, explainer });
        Ok(output)
    }

    /// Sends the packet of a step: what differs, or an error if the rig does not do what it should.
    fn check(&mut self, step: &PacketStep, report: &mut Report) -> Result<Result<(), String>> {
        let Self { ports, loaded, host, received, .. } = self;
        let loaded = loaded.as_mut().context("nothing is loaded")?;
        let (Some(port), Some(zone)) = (ports.get_mut(&step.at), loaded.zones.get(&step.at)) else {
            return Ok(Err(format!("{}: nothing of that name has a device", place(step))));
        };
        let (direction, hook) = (direction_of(step), hook_of(&loaded.policy, step));
        let (zone, before) = (*zone, loaded.count(*zone, direction)?);
        let explained = loaded.explain(host, step, hook, direction)?;
        let crossed = match (hook, *received) {
            (Hook::Sent, _) => port.leave(&step.frame, step.expect),
            (Hook::Received, Received::Tc) if !port::reaches_tc(&step.frame) => {
                Ok(Crossing::Unsendable("it is dropped before TC: it ends inside its first VLAN tag".into()))
            }
            (Hook::Received, _) => port.enter(host, &step.frame, step.expect),
        };
        let expect = match crossed.with_context(|| place(step))? {
            Crossing::Unsendable(why) => {
                report.unsendable.push(format!("{}: {why}", place(step)));
                return Ok(Ok(()));
            }
            Crossing::Passed => Expect::Allow,
            Crossing::Dropped => Expect::Deny,
        };
        report.packets += 1;
        let (reason, counted) = match loaded.decision_since(&before, zone, direction) {
            Ok(found) => found,
            Err(error) => return Ok(Err(format!("{}: {error:#}", place(step)))),
        };
        let rule = |kind| counted.iter().copied().find(|rule| rule.kind == kind);
        if let Some(explained) = explained
            && let Err(differs) = agrees(&explained, reason, &counted)
        {
            return Ok(Err(format!("{}: {differs}", place(step))));
        }
        let (acl, group) = (rule(RuleKind::NetworkAcl), rule(RuleKind::SecurityGroup));
        let tracked = match step.tracked.and_then(|_| flow_key(&step.frame, direction, zone)) {
            Some(key) => Some(loaded.tables.is_tracked(&key, now_ns())),
            None => None,
        };
        let got = Answer {
            expect,
            by: decided_by(reason, acl, group),
            acl: acl.filter(|_| names_acl(reason)).map(name_of),
            tracked,
        };
        Ok(compare(step, &got))
    }

    fn fwctl(&self) -> Result<Fwctl<'_>> {
        Fwctl::new(&self.host, &self.bpffs)
    }

    fn loaded(&mut self) -> Result<&mut Loaded> {
        self.loaded.as_mut().context("nothing is loaded")
    }
}

impl Loaded {
    fn count(&self, zone: u32, direction: Direction) -> Result<Counts> {
        self.tables.count(zone, direction, self.rules.iter().map(|rule| rule.slot))
    }

    /// What `fwctl explain` says will happen to the packet; nothing of those that a test run refuses.
    fn explain(
        &mut self,
        host: &Namespace,
        step: &PacketStep,
        hook: Hook,
        direction: Direction,
    ) -> Result<Option<Explanation>> {
        if !kernel::takes(&step.frame, hook, Received::Tc) {
            return Ok(None);
        }
        let frame = RawFrame::ethernet(step.frame.clone());
        // Not to be shared with other threads, but to be lent to one.
        let (explainer, at) = (&mut self.explainer, &step.at);
        Ok(Some(host.run(move || explainer.explain(at, direction, &frame))?))
    }

    /// What was counted for the one packet since, beside the marker behind it.
    fn decision_since(
        &self,
        before: &Counts,
        zone: u32,
        direction: Direction,
    ) -> Result<(Reason, Vec<&RuleInfo>)> {
        let end = Instant::now() + PATIENCE;
        loop {
            let (mut reasons, slots) = self.count(zone, direction)?.since(before);
            if let Some(marker) = reasons.iter().position(|reason| *reason == Reason::AlwaysArp) {
                reasons.remove(marker);
            }
            match reasons[..] {
                [reason] => {
                    let rules = self.rules.iter().filter(|rule| slots.contains(&rule.slot));
                    return Ok((reason, rules.collect()));
                }
                [] if Instant::now() < end => {}
                _ => bail!("one packet is counted in its direction, not {reasons:?}"),
            }
        }
    }
}

/// What was explained before a packet came must be what happened to it.
fn agrees(explained: &Explanation, reason: Reason, counted: &[&RuleInfo]) -> Result<(), String> {
    let rule = |kind| {
        counted.iter().find(|rule| rule.kind == kind).map(|rule| (rule.id.as_str(), rule.rule.clone()))
    };
    let entry =
        explained.network_acl.as_ref().map(|entry| (entry.id.as_str(), entry.rule_number.to_string()));
    let admitted = explained.security_group.as_ref().map(|rule| (rule.id.as_str(), rule.rule.clone()));
    let said = (explained.layer, explained.reason, entry, admitted);
    let happened =
        (reason.layer().name(), reason.name(), rule(RuleKind::NetworkAcl), rule(RuleKind::SecurityGroup));
    if said == happened { Ok(()) } else { Err(format!("explained {said:?}, then {happened:?}")) }
}

/// Whether fwctl said so; it shows the path to a value, which a case may name before the message, behind it.
fn says(said: &str, part: &str) -> bool {
    match part.split_once(": ") {
        Some((path, message)) => said.contains(path) && said.contains(message),
        None => said.contains(part),
    }
}

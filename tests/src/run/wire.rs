//! A case through real devices: rules by `fwctl load`, frames by packet sockets on veth pairs, what passed by packet
//! sockets behind the filter, the reason by the counters.
//!
//! One rig serves many cases. Each interface or leg that has a device gets a pair of its own, the same one in every
//! case; what a case leaves in the tables is cleared before the next. Neither namespace has an address, so that
//! nobody but the case says anything.

mod loaded;
mod port;
mod rules;
mod tables;

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail, ensure};
use fw_common::{Direction, Hook};
use fw_userspace::compile::RuleKind;
use fw_userspace::explain::Explanation;
use serde_json::{Value, json};

use super::{
    Answer, compare, decided_by, direction_of, flow_key, hook_of, name_of, names_acl, place, policy,
};
use crate::age::now_ns;
use crate::case::{Case, Expect, PacketStep, Step};
use crate::fwctl::{Fwctl, Output};
use crate::kernel::Received;
use crate::netns::{BpffsDir, Namespace};
use loaded::Loaded;
pub use loaded::{Seen, agrees};
use port::{Crossing, Port};

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

/// What became of a packet.
#[derive(Debug)]
pub enum Crossed {
    /// It came to the filter.
    Seen {
        /// What was said of it before; nothing of those that a test run refuses.
        explained: Option<Box<Explanation>>,
        /// What happened.
        seen: Seen,
    },
    /// It never came there, for this reason.
    Unsendable(String),
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
        self.check_late()
    }

    /// Loads the first rules, over empty tables.
    pub fn begin(&mut self, rules: &Value) -> Result<Output> {
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

    /// Loads the next rules.
    pub fn load(&mut self, rules: &Value) -> Result<Output> {
        let policy = policy(rules)?;
        let mut on_ports = rules.clone();
        for name in rules::put_on_devices(&mut on_ports, self.received, self.table_size) {
            if !self.ports.contains_key(&name) {
                let port = Port::new(&self.host, &self.outside, rules::device(&name))?;
                self.ports.insert(name, port);
            }
        }
        let output = self.fwctl()?.try_load(&on_ports, &[])?;
        let generation = output.success()?["generation"].as_u64();
        let generation = u32::try_from(generation.context("the report of a load names no generation")?)?;
        let (host, before) = ((&self.host, self.bpffs.path()), self.loaded.take());
        self.loaded = Some(Loaded::open(policy, generation, host, before)?);
        Ok(output)
    }

    /// Lets so many whole seconds pass, and until the next rules are the first ones no other time.
    pub fn wait_exactly(&mut self, seconds: u64) -> Result<()> {
        self.loaded()?.tables.wait_exactly(seconds)
    }

    /// Whether frames can come to an interface or a leg.
    #[must_use]
    pub fn has(&self, at: &str) -> bool {
        self.loaded.as_ref().is_some_and(|loaded| loaded.zones.contains_key(at))
    }

    /// Explains a packet, then sends it. An error if the rig, or the counters, do not do what they should. `expect` is
    /// worth waiting for, a little; it changes nothing else.
    pub fn cross(&mut self, at: &str, direction: Direction, frame: &[u8], expect: Expect) -> Result<Crossed> {
        let Self { ports, loaded, host, received, .. } = self;
        let loaded = loaded.as_mut().context("nothing is loaded")?;
        let (Some(port), Some(zone)) = (ports.get_mut(at), loaded.zones.get(at).copied()) else {
            bail!("nothing of that name has a device");
        };
        let hook = hook_of(&loaded.policy, at, direction);
        let before = loaded.count(zone, direction)?;
        let explained = loaded.explain(host, at, direction, frame, hook)?;
        let crossed = match (hook, *received) {
            (Hook::Sent, _) => port.leave(frame, expect)?,
            (Hook::Received, Received::Tc) if !port::reaches_tc(frame) => {
                Crossing::Unsendable("it is dropped before TC: it ends inside its first VLAN tag".into())
            }
            (Hook::Received, _) => port.enter(host, frame, expect)?,
        };
        let passed = match crossed {
            Crossing::Unsendable(why) => return Ok(Crossed::Unsendable(why)),
            Crossing::Passed => true,
            Crossing::Dropped => false,
        };
        let seen = loaded.seen_since(&before, (zone, direction), passed)?;
        Ok(Crossed::Seen { explained: explained.map(Box::new), seen })
    }

    /// An error if a frame that was taken for dropped has come after all.
    pub fn check_late(&mut self) -> Result<()> {
        self.ports.values_mut().try_for_each(Port::check_late)
    }

    /// Sends the packet of a step: what differs, or an error as of [`Self::cross`].
    fn check(&mut self, step: &PacketStep, report: &mut Report) -> Result<Result<(), String>> {
        let direction = direction_of(step);
        let crossed = self.cross(&step.at, direction, &step.frame, step.expect);
        let (explained, seen) = match crossed.with_context(|| place(step))? {
            Crossed::Seen { explained, seen } => (explained, seen),
            Crossed::Unsendable(why) => {
                report.unsendable.push(format!("{}: {why}", place(step)));
                return Ok(Ok(()));
            }
        };
        report.packets += 1;
        if let Some(explained) = explained
            && let Err(differs) = agrees(&explained, &seen)
        {
            return Ok(Err(format!("{}: {differs}", place(step))));
        }
        let loaded = self.loaded()?;
        let zone = loaded.zones.get(&step.at).copied().unwrap_or(0);
        let tracked = match step.tracked.and_then(|_| flow_key(&step.frame, direction, zone)) {
            Some(key) => Some(loaded.tables.is_tracked(&key, now_ns())),
            None => None,
        };
        let (acl, group) = (seen.rule(RuleKind::NetworkAcl), seen.rule(RuleKind::SecurityGroup));
        let got = Answer {
            expect: if seen.passed { Expect::Allow } else { Expect::Deny },
            by: decided_by(seen.reason, acl, group),
            acl: acl.filter(|_| names_acl(seen.reason)).map(name_of),
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

/// Whether fwctl said so; it shows the path to a value, which a case may name before the message, behind it.
fn says(said: &str, part: &str) -> bool {
    match part.split_once(": ") {
        Some((path, message)) => said.contains(path) && said.contains(message),
        None => said.contains(part),
    }
}

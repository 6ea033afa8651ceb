//! Judges packets by rules that are loaded nowhere: the compiled tables in memory, and the decision core itself.

use std::collections::HashMap;
use std::net::IpAddr;

use fw_common::conntrack::{Class, Connection};
use fw_common::layout::Root;
use fw_common::memory::{MemoryTables, SliceFrame};
use fw_common::rehearsed::Rehearsed;
use fw_common::{Decision, Direction, FlowKey, Hook, Scratch, Sighting, judge, rehearse};

use crate::compile::{
    Binding, Bounds, Carries, CompileError, Compiled, Held, Numbering, OpenRules, RuleInfo, compile,
    compile_beside, pretend_bindings,
};
use crate::model::{Faces, Policy};

/// A host in memory: rules, connections, a clock that moves when told.
#[derive(Debug, Clone)]
pub struct Simulation {
    policy: Policy,
    tables: MemoryTables,
    compiled: Compiled,
    bindings: Vec<Binding>,
    /// By what a binding carries its place.
    places: HashMap<Carries, usize>,
    generation: u32,
}

fn places(bindings: &[Binding]) -> HashMap<Carries, usize> {
    // Of several that carry the same, the first.
    bindings.iter().enumerate().rev().map(|(place, binding)| (binding.carries.clone(), place)).collect()
}

/// What came of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Judged<'a> {
    /// The core's decision.
    pub decision: Decision,
    /// The ACL entry that decided or let the packet on.
    pub acl_rule: Option<&'a RuleInfo>,
    /// The group rule that admitted it.
    pub group_rule: Option<&'a RuleInfo>,
}

impl Simulation {
    /// A host with these rules and no connection. Nothing is adopted: there is nothing older than the rules.
    pub fn new(policy: Policy) -> Result<Self, CompileError> {
        let bindings = pretend_bindings(&policy);
        Self::within(policy, bindings, &Bounds::default())
    }

    /// The same on these devices, within bounds that somebody named.
    pub(crate) fn within(
        policy: Policy,
        bindings: Vec<Binding>,
        bounds: &Bounds,
    ) -> Result<Self, CompileError> {
        let root = Root { generation: 1, ..Root::default() };
        let (nothing, numbering) = (Held::nothing(), Numbering::default());
        let compiled = compile_beside(&nothing, &policy, &bindings, numbering, root, bounds)?;
        let mut tables = MemoryTables::new(policy.settings.conntrack_max as usize);
        tables.publish(&compiled.patch.image());
        Ok(Self { policy, tables, compiled, places: places(&bindings), bindings, generation: 1 })
    }

    /// The next generation; connections stay. Opens the adoption window that a load on a host would open.
    pub fn load(&mut self, policy: Policy) -> Result<(), CompileError> {
        let mut bindings = pretend_bindings(&policy);
        let now_ns = self.tables.now_ns.get();
        let until_ns = now_ns + u64::from(policy.settings.adopt_seconds) * 1_000_000_000;
        let [old, new] = [&self.policy, &policy].map(OpenRules::of);
        for binding in &mut bindings {
            if let Some(before) = self.bindings.iter().find(|before| before.carries == binding.carries) {
                let older = old.older(binding.carries.name(), &new);
                binding.go_on_adopting(before, older, now_ns, until_ns);
            }
        }
        let generation = self.generation.wrapping_add(1);
        let compiled = compile(&policy, &bindings, self.compiled.numbering.clone(), generation)?;
        self.tables.max_connections = policy.settings.conntrack_max as usize;
        self.tables.publish(&compiled.patch.image());
        let (tables, places) = (std::mem::take(&mut self.tables), places(&bindings));
        *self = Self { policy, tables, compiled, bindings, places, generation };
        Ok(())
    }

    /// Judges a frame at an interface, or at the leg of a subnet. `None` if neither has this name and a device.
    pub fn judge(&self, at: &str, direction: Direction, frame: &[u8]) -> Option<Judged<'_>> {
        let decision = self.decide(at, direction, frame)?;
        Some(Judged {
            decision,
            acl_rule: self.rule(decision.acl_rule),
            group_rule: self.rule(decision.group_rule),
        })
    }

    /// The same, rules by their slots.
    pub(crate) fn decide(&self, at: &str, direction: Direction, frame: &[u8]) -> Option<Decision> {
        let seen = self.sighting(at, direction)?;
        Some(judge(&SliceFrame::new(frame), &self.tables, seen, &mut Scratch::EMPTY.clone()))
    }

    /// What [`Self::judge`] would say, without a trace.
    pub fn rehearse(&self, at: &str, direction: Direction, frame: &[u8]) -> Option<Rehearsed> {
        let seen = self.sighting(at, direction)?;
        Some(rehearse(&SliceFrame::new(frame), &self.tables, seen, &mut Scratch::EMPTY.clone()))
    }

    /// The same where an interface and a subnet may have one name.
    pub(crate) fn rehearse_on(&self, at: &Carries, direction: Direction, frame: &[u8]) -> Option<Rehearsed> {
        let binding = &self.bindings[*self.places.get(at)?];
        let seen = self.sighting_on(binding, direction)?;
        Some(rehearse(&SliceFrame::new(frame), &self.tables, seen, &mut Scratch::EMPTY.clone()))
    }

    fn sighting(&self, at: &str, direction: Direction) -> Option<Sighting> {
        let binding = self.bindings.iter().find(|binding| binding.carries.name() == at)?;
        self.sighting_on(binding, direction)
    }

    fn sighting_on(&self, binding: &Binding, direction: Direction) -> Option<Sighting> {
        let attachment = match &binding.carries {
            Carries::Interface(name) => &self.policy.interfaces.get(name)?.attachment,
            Carries::Leg(name) => &self.policy.subnets.get(name)?.leg,
        };
        let received = match attachment.as_ref()?.faces {
            Faces::Network => Direction::Ingress,
            Faces::Instance => Direction::Egress,
        };
        let hook = if direction == received { Hook::Received } else { Hook::Sent };
        Some(Sighting { ifindex: binding.ifindex, hook, vlan_tags: 0 })
    }

    /// Forgets all connections.
    pub(crate) fn forget(&self) {
        self.tables.forget();
    }

    /// Moves the clock.
    pub fn wait(&self, seconds: u64) {
        self.tables.wait(seconds);
    }

    /// Moves the clock to a time, unless it is past it.
    pub fn wait_until(&self, now_ns: u64) {
        self.tables.now_ns.set(self.tables.now_ns.get().max(now_ns));
    }

    /// Whether the rules have an interface or a subnet of this name, on this host or not.
    pub(crate) fn knows(&self, name: &str) -> bool {
        self.policy.interfaces.contains_key(name) || self.policy.subnets.contains_key(name)
    }

    /// The addresses of an interface, as the rules give them.
    pub(crate) fn addresses(&self, interface: &str) -> Vec<IpAddr> {
        self.policy.interfaces.get(interface).map_or_else(Vec::new, |interface| interface.addresses.clone())
    }

    /// All connections, those that have expired included.
    pub fn connections(&self) -> Vec<(FlowKey, Connection, Class)> {
        self.tables.connections()
    }

    /// The clock, nanoseconds.
    pub fn now_ns(&self) -> u64 {
        self.tables.now_ns.get()
    }

    /// The devices as they are pretended, with their adoption windows.
    pub fn bindings(&self) -> &[Binding] {
        &self.bindings
    }

    /// The generation in force.
    pub fn compiled(&self) -> &Compiled {
        &self.compiled
    }

    fn rule(&self, slot: u32) -> Option<&RuleInfo> {
        if slot == 0 {
            return None;
        }
        self.compiled.rules.iter().find(|rule| rule.slot == slot)
    }
}

//! What the numbers in connections and events stand for.

use fw_common::verdict::Decision;
use rustc_hash::FxHashMap;

use super::current::Current;
use super::inspect::rule_kind_name;
use super::store::Store;
use crate::compile::{RuleInfo, RuleKind};
use crate::error::{Error, Result};
use crate::report::RuleName;

/// The names of the generation in force.
#[derive(Debug)]
pub(crate) struct Names {
    zones: FxHashMap<u32, String>,
    devices: FxHashMap<u32, String>,
    rules: FxHashMap<u32, RuleInfo>,
}

impl Names {
    pub(super) fn read(store: &Store, current: &Current) -> Result<Self> {
        let state = &current.state;
        let rules = store.read_rules(state.generation)?;
        Ok(Self {
            zones: state.zones.iter().map(|(zone, name, _)| (*zone, name.clone())).collect(),
            devices: state.hooks.iter().map(|hook| (hook.ifindex, hook.device.clone())).collect(),
            rules: rules.into_iter().map(|rule| (rule.slot, rule)).collect(),
        })
    }

    /// Interface, or subnet for a router's leg; `-` if it left the rules.
    pub(crate) fn interface(&self, zone: u32) -> &str {
        self.zones.get(&zone).map_or("-", String::as_str)
    }

    /// All of them: number and name.
    pub(crate) fn zones(&self) -> impl Iterator<Item = (u32, &str)> {
        self.zones.iter().map(|(zone, name)| (*zone, name.as_str()))
    }

    /// `-` for a device that no hook of ours is at any more.
    pub(super) fn device(&self, ifindex: u32) -> &str {
        self.devices.get(&ifindex).map_or("-", String::as_str)
    }

    /// The rule of a slot, with its description.
    pub(crate) fn rule_info(&self, slot: u32) -> Option<&RuleInfo> {
        self.rules.get(&slot)
    }

    /// The slot, if its rule admitted what was created at this time.
    pub(super) fn admitting(&self, slot: u32, created_ns: u64) -> Option<u32> {
        let rule = self.rules.get(&slot)?;
        // A network ACL admits no connection: it has no state.
        let admits = rule.kind == RuleKind::SecurityGroup && created_ns >= rule.born_ns;
        admits.then_some(rule.slot)
    }

    pub(super) fn rule(&self, slot: u32) -> Option<RuleName<'_>> {
        self.rules.get(&slot).map(name)
    }

    /// The network ACL's entry and the group's rule that spoke at this time.
    pub(super) fn rules(&self, decision: &Decision, time_ns: u64) -> [Option<RuleName<'_>>; 2] {
        let said =
            [(decision.acl_rule, RuleKind::NetworkAcl), (decision.group_rule, RuleKind::SecurityGroup)];
        said.map(|(slot, kind)| {
            self.rules.get(&slot).filter(|rule| rule.kind == kind && time_ns >= rule.born_ns).map(name)
        })
    }

    /// The number of an interface.
    pub(super) fn zone(&self, name: &str) -> Result<u32> {
        let found = self.zones.iter().find(|(_, loaded)| *loaded == name);
        found.map(|(zone, _)| *zone).ok_or_else(|| {
            let mut names: Vec<&str> = self.zones.values().map(String::as_str).collect();
            names.sort_unstable();
            Error::input(format!(
                "no interface \"{name}\" is loaded; these are: \"{}\"",
                names.join("\", \"")
            ))
        })
    }

    /// The length of the longest interface's name.
    pub(super) fn widest_interface(&self) -> usize {
        self.zones.values().map(|name| name.chars().count()).max().unwrap_or(0)
    }
}

fn name(rule: &RuleInfo) -> RuleName<'_> {
    RuleName {
        kind: rule_kind_name(rule.kind),
        id: &rule.id,
        direction: rule.direction.name(),
        rule: &rule.rule,
    }
}

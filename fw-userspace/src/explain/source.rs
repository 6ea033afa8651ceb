//! Who is asked: what is in force, or the rules of a file.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::path::Path;

use fw_common::conntrack::State;
use fw_common::rehearsed::Rehearsed;
use fw_common::{Direction, Reason, Verdict};
use serde::Serialize;

use crate::compile::{Binding, Bounds, Carries, RuleInfo, RuleKind, pretend_bindings};
use crate::datapath::InForce;
use crate::error::{Error, Result};
use crate::model::Policy;
use crate::simulate::Simulation;

use super::frame::{Link, RawFrame};

/// Answers questions about packets.
#[derive(Debug)]
pub struct Explainer {
    asked: Asked,
    /// In the order of the file, each list in one piece.
    rules: Vec<RuleInfo>,
    /// Where the rule of a counter slot is among them, and in its list.
    places: HashMap<u32, (usize, usize)>,
}

#[derive(Debug)]
enum Asked {
    InForce(Box<InForce>),
    File(Box<Simulation>),
}

/// What happens to one packet.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct Explanation {
    /// `allow` or `deny`.
    pub verdict: &'static str,
    /// The layer that decided.
    pub layer: &'static str,
    /// Why, as counters and logs say it.
    pub reason: &'static str,
    /// The same in a sentence.
    pub says: &'static str,
    /// The entry of the network ACL that decided or let the packet on; none where none was asked.
    pub network_acl: Option<AclEntry>,
    /// The rule that admitted it.
    pub security_group: Option<GroupRule>,
    /// It belongs to a tracked connection, or begins one.
    pub tracked: bool,
    /// How far its connection is, if there is one.
    pub state: Option<&'static str>,
    /// The interface only observes: the packet passes whatever the verdict.
    pub observed: bool,
}

/// An entry by its name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct AclEntry {
    /// The ACL.
    pub id: String,
    /// A number, or `"*"` for the implicit last entry.
    pub rule_number: RuleNumber,
    /// `allow` or `deny`.
    pub action: &'static str,
    /// As written.
    pub description: Option<String>,
}

/// The number of an ACL's entry.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(untagged)]
pub enum RuleNumber {
    /// Written.
    Number(u16),
    /// The implicit last one: `*`.
    Implicit(String),
}

impl fmt::Display for RuleNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Implicit(star) => star.fmt(f),
        }
    }
}

/// A rule by its name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
pub struct GroupRule {
    /// The group.
    pub id: String,
    /// `ingress` or `egress`.
    pub direction: &'static str,
    /// The rule's id.
    pub rule: String,
    /// Its place in its list.
    pub index: usize,
    /// As written.
    pub description: Option<String>,
}

impl Explainer {
    /// Asks the twins of the attached programs.
    pub fn of_what_is_in_force(bpffs: &Path) -> Result<Self> {
        let (in_force, rules) = InForce::open(bpffs)?;
        Ok(Self::new(Asked::InForce(Box::new(in_force)), rules))
    }

    /// Asks the decision core about rules that are loaded nowhere. Their tables may take `max_memory` bytes, as those
    /// of a load.
    pub fn of_rules(policy: Policy, max_memory: u64) -> Result<Self> {
        let bindings = pretend_bindings(&policy);
        Self::of_host(policy, bindings, max_memory)
    }

    /// The same on a host with these devices, where nothing has happened yet.
    pub(super) fn of_host(policy: Policy, bindings: Vec<Binding>, max_memory: u64) -> Result<Self> {
        let simulation = Simulation::within(policy, bindings, &Bounds { max_memory })
            .map_err(|error| Error::input(error.to_string()))?;
        Ok(Self::of_simulation(simulation))
    }

    /// Asks a host in memory.
    pub(crate) fn of_simulation(simulation: Simulation) -> Self {
        let rules = simulation.compiled().rules.clone();
        Self::new(Asked::File(Box::new(simulation)), rules)
    }

    fn new(asked: Asked, rules: Vec<RuleInfo>) -> Self {
        let is_same_list = |one: &RuleInfo, other: &RuleInfo| {
            (one.kind, one.direction, &one.id) == (other.kind, other.direction, &other.id)
        };
        let mut places = HashMap::with_capacity(rules.len());
        let lists = rules.chunk_by(is_same_list).flat_map(|list| list.iter().enumerate());
        for (place, (index, rule)) in lists.enumerate() {
            places.insert(rule.slot, (place, index));
        }
        Self { asked, rules, places }
    }

    /// What happens to a frame at an interface or a router's leg. Nothing is remembered of it.
    pub fn explain(&self, at: &str, direction: Direction, frame: &RawFrame) -> Result<Explanation> {
        self.rehearse(at, direction, frame).map(|rehearsed| self.explained(rehearsed))
    }

    /// The same by the rules of a file, where an interface and a subnet may have one name.
    pub(crate) fn explain_on(
        &self,
        at: &Carries,
        direction: Direction,
        frame: &RawFrame,
    ) -> Result<Explanation> {
        let rehearsed = match &self.asked {
            Asked::InForce(_) => self.rehearse(at.name(), direction, frame)?,
            Asked::File(simulation) => simulation
                .rehearse_on(at, direction, &frame.fitted(Link::Ethernet))
                .ok_or_else(|| Error::unknown_interface(at.name(), &self.names()))?,
        };
        Ok(self.explained(rehearsed))
    }

    pub(super) fn rehearse(&self, at: &str, direction: Direction, frame: &RawFrame) -> Result<Rehearsed> {
        match &self.asked {
            Asked::InForce(in_force) => {
                let bytes = frame.fitted(if in_force.is_bare(at) { Link::Bare } else { Link::Ethernet });
                in_force.rehearse(at, direction, &bytes)
            }
            Asked::File(simulation) => simulation
                .rehearse(at, direction, &frame.fitted(Link::Ethernet))
                .ok_or_else(|| {
                    if simulation.knows(at) {
                        Error::input(format!(
                            "{at:?} has no device on this host, so nothing is filtered for it here; ask about the way to it \
                             with \"--from\" and \"--to\""
                        ))
                    } else {
                        Error::unknown_interface(at, &self.names())
                    }
                }),
        }
    }

    /// The same for one packet of many, `at_ns` after the first: by a file's rules it leaves its connection behind for
    /// those that follow. What is in force is only asked.
    pub(super) fn judge(
        &self,
        at: &str,
        direction: Direction,
        frame: &RawFrame,
        at_ns: u64,
    ) -> Result<Rehearsed> {
        if let Asked::File(simulation) = &self.asked {
            simulation.wait_until(at_ns);
        }
        let rehearsed = self.rehearse(at, direction, frame)?;
        if let Asked::File(simulation) = &self.asked {
            let _ = simulation.decide(at, direction, &frame.fitted(Link::Ethernet));
        }
        Ok(rehearsed)
    }

    /// Forgets what earlier packets have left behind, by the rules of a file.
    pub(super) fn forget(&self) {
        if let Asked::File(simulation) = &self.asked {
            simulation.forget();
        }
    }

    /// By which rules know an interface.
    pub fn addresses(&self, at: &str) -> Result<Vec<IpAddr>> {
        let addresses = match &self.asked {
            Asked::InForce(in_force) => in_force.addresses(at)?,
            Asked::File(simulation) => simulation.addresses(at),
        };
        if addresses.is_empty() {
            return Err(Error::input(format!(
                "which way do the packets go? {at:?} has no addresses in the rules that would tell; give \"--ingress\" or \
                 \"--egress\""
            )));
        }
        Ok(addresses)
    }

    /// Names that can be asked about.
    pub fn names(&self) -> Vec<&str> {
        match &self.asked {
            Asked::InForce(in_force) => in_force.names(),
            Asked::File(simulation) => {
                simulation.bindings().iter().map(|binding| binding.carries.name()).collect()
            }
        }
    }

    /// A rule, with its place in its list.
    fn rule(&self, slot: u32, kind: RuleKind) -> Option<(usize, &RuleInfo)> {
        let (place, index) = *self.places.get(&slot)?;
        Some((index, self.rules.get(place).filter(|rule| rule.kind == kind)?))
    }

    pub(super) fn explained(&self, rehearsed: Rehearsed) -> Explanation {
        let Rehearsed { decision, acl_rule, begins, state } = rehearsed;
        let reason = decision.reason;
        let passes = matches!(reason.verdict(), Verdict::Pass);
        let entry = self.rule(acl_rule, RuleKind::NetworkAcl);
        let rule = self.rule(decision.group_rule, RuleKind::SecurityGroup);
        let action = match reason {
            Reason::AclDeny | Reason::AclDefault => "deny",
            _ => "allow",
        };
        Explanation {
            verdict: if passes { "allow" } else { "deny" },
            layer: reason.layer().name(),
            reason: reason.name(),
            says: reason.says(),
            network_acl: entry.map(|(_, rule)| AclEntry {
                id: rule.id.clone(),
                rule_number: rule
                    .rule
                    .parse()
                    .map_or_else(|_| RuleNumber::Implicit(rule.rule.clone()), RuleNumber::Number),
                action,
                description: rule.description.clone(),
            }),
            security_group: rule.map(|(index, rule)| GroupRule {
                id: rule.id.clone(),
                direction: rule.direction.name(),
                rule: rule.rule.clone(),
                index,
                description: rule.description.clone(),
            }),
            tracked: passes && (begins || state.is_some()),
            state: state.map(State::name),
            observed: decision.observed,
        }
    }
}

//! What was loaded, as it is remembered beside the maps: enough for any later process to name rules, to verify
//! hooks and to load again. What is large and seldom asked for is kept apart.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::devices::Device;
use super::select::{Devices, Renamed, SelectedBy, Selection, select};
use super::store::Store;
use crate::compile::{Binding, Carries, Compiled, Numbering, OpenRules, RuleInfo};
use crate::model::Attachment;

/// One generation, but for its rules and their source.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct State {
    /// Its number.
    pub generation: u32,
    /// Seconds since the epoch.
    pub loaded_at: u64,
    /// Which devices carried what.
    pub bindings: Vec<Binding>,
    /// Devices of these that could not be filtered, by index, and why.
    pub(super) refused: Vec<(u32, String)>,
    /// How each of them came to that, in the same order.
    pub(super) selected_by: Vec<SelectedBy>,
    /// What of the rules says where they apply: reading them takes too long to do it again and again.
    pub(super) attached: Vec<(Carries, Attachment)>,
    /// Where our programs are.
    pub hooks: Vec<Hook>,
    /// Devices that were named and did not exist: (interface or subnet, device).
    pub pending: Vec<(String, String)>,
    /// How many rules there are.
    pub rules: usize,
    /// What of the rules counts when others replace them.
    pub open_rules: OpenRules,
    /// Zone number, name, `interface` or `subnet`.
    pub zones: Vec<(u32, String, String)>,
    /// Devices given to interfaces by `fwctl attach`.
    pub given: BTreeMap<String, String>,
    /// Devices taken away by `fwctl detach`.
    pub taken: BTreeSet<String>,
    /// What the rules were allowed to take: they are when they are loaded again for other devices.
    pub max_memory: u64,
    /// Inode of the network namespace.
    pub netns: u64,
    /// What the object was built from: another object replaces the programs.
    pub object: String,
}

impl State {
    /// What the user said about devices besides the rules.
    pub(super) fn said(&self) -> Devices {
        Devices { given: self.given.clone(), taken: self.taken.clone() }
    }

    /// Which of these devices the rules select.
    pub(super) fn select<'d>(&self, store: &Store, devices: &'d [Device]) -> Selection<'d, '_> {
        let attached = self.attached.iter().map(|(carries, attachment)| (carries.clone(), attachment));
        select(devices, &self.said(), attached, &Renamed::find(store, self, devices))
    }
}

/// The rules of a generation with their counter slots, and the numbers for the next one to go on with.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct NumberedRules {
    pub(super) numbering: Numbering,
    /// Few rules have one: place of the rule, text.
    descriptions: Vec<(u32, String)>,
}

impl NumberedRules {
    pub(super) fn of(compiled: &Compiled) -> Self {
        let descriptions = (0..)
            .zip(&compiled.rules)
            .filter_map(|(place, rule)| rule.description.clone().map(|description| (place, description)));
        Self { numbering: compiled.numbering.clone(), descriptions: descriptions.collect() }
    }

    /// In the order of the file.
    pub(super) fn rules(&self) -> Vec<RuleInfo> {
        let mut rules: Vec<RuleInfo> = self.numbering.rules().collect();
        for (place, description) in &self.descriptions {
            if let Some(rule) = rules.get_mut(*place as usize) {
                rule.description = Some(description.clone());
            }
        }
        rules
    }
}

/// One program at one hook.
#[derive(Debug, Clone, Serialize, Deserialize, PartialEq, Eq)]
pub struct Hook {
    /// Interface or subnet.
    pub interface: String,
    /// `interface` or `subnet`.
    pub kind: String,
    /// Device.
    pub device: String,
    /// Its index.
    pub ifindex: u32,
    /// Received or sent.
    pub side: Side,
    /// How it is attached.
    pub via: Via,
    /// Why so.
    pub why: String,
}

/// Which packets of the device.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// What it receives.
    Received,
    /// What the host sends through it.
    Sent,
}

impl Side {
    /// As printed.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Received => "received",
            Self::Sent => "sent",
        }
    }
}

/// How a program is attached.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Via {
    /// Native XDP, a pinned link.
    Xdp,
    /// TCX, a pinned link (Linux 6.6).
    Tcx,
    /// A filter of the clsact qdisc, which cannot be pinned: known by its priority and handle.
    Tc {
        /// Priority.
        priority: u16,
        /// Handle.
        handle: u32,
    },
}

impl Via {
    /// As printed.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Xdp => "xdp",
            Self::Tcx => "tcx",
            Self::Tc { .. } => "tc",
        }
    }
}

//! Rules that stay in the memory of a process that goes on: addresses of devices come and go, and the group members that
//! they are follow at once. For one that only loads, there is [`super::load`].

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use fw_common::layout::Root;

use super::current::{Current, policy_of};
use super::grant::Wish;
use super::lock::Lock;
use super::policy_array::Extent;
use super::state::State;
use super::store::Store;
use super::{LoadOptions, open_loaded};
use crate::compile::{Carries, Change, Members};
use crate::error::Result;
use crate::model::Policy;

/// The rules in force, compiled and at hand.
pub struct Resident {
    bpffs: PathBuf,
    policy: Policy,
    state: State,
    members: Members,
    /// By group and address, how many interfaces that have the group have the address.
    known: HashMap<(String, IpAddr), u32>,
}

/// How a change was published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Published {
    /// There was nothing to change.
    Nothing,
    /// The lines that differ, so many.
    Lines(usize),
    /// Everything was compiled anew: the rules tell the addresses apart as they did no others.
    Everything,
}

impl Resident {
    /// Loads the rules in force again, and keeps what they were compiled to.
    pub fn open(bpffs: &Path) -> Result<Self> {
        let store = open_loaded(bpffs)?;
        let _lock = Lock::take(bpffs)?;
        let current = Current::need(&store)?;
        Self::load(&store, &current)
    }

    fn load(store: &Store, current: &Current) -> Result<Self> {
        current.refuse_unconfirmed()?;
        let source = store.read_source(current.state.generation)?;
        let policy = policy_of(&source)?;
        let options = LoadOptions::again(&current.state);
        let wish = Wish { source: &source, policy: &policy, said: current.state.said(), options: &options };
        let granted = wish.grant(store, Some(current))?;
        let (state, members) = (granted.state, granted.members);
        let mut known: HashMap<(String, IpAddr), u32> = HashMap::new();
        let mut know = |groups: &[String], addresses: &[IpAddr]| {
            for (group, address) in groups.iter().flat_map(|group| addresses.iter().map(move |a| (group, a)))
            {
                *known.entry((group.clone(), *address)).or_default() += 1;
            }
        };
        for interface in policy.interfaces.values() {
            know(&interface.security_groups, &interface.addresses);
        }
        for binding in &state.bindings {
            if let Carries::Interface(name) = &binding.carries
                && let Some(interface) =
                    policy.interfaces.get(name).filter(|found| found.addresses.is_empty())
            {
                know(&interface.security_groups, &binding.addresses);
            }
        }
        Ok(Self { bpffs: store.bpffs().to_owned(), policy, state, members, known })
    }

    /// The device of this index has these addresses now. Where the rules give the interface that it carries addresses of its own, that
    /// changes nothing. When this returns every packet is judged by the new members; the first ones were long before.
    pub fn set_addresses(&mut self, ifindex: u32, addresses: &[IpAddr]) -> Result<Published> {
        let store = open_loaded(&self.bpffs)?;
        let _lock = Lock::take(&self.bpffs)?;
        let mut array = store.policy_array()?;
        let Some(live) = array.live().filter(|live| live.root.generation == self.state.generation) else {
            return self.reload(&store);
        };
        if live.root.deadline_ns != 0 || store.reached().is_some() {
            return self.reload(&store);
        }
        let mut state = self.state.clone();
        let Some(binding) = state.bindings.iter_mut().find(|binding| binding.ifindex == ifindex) else {
            return Ok(Published::Nothing);
        };
        let changes = self.changes(&binding.carries, &binding.addresses, addresses);
        binding.addresses = addresses.to_vec();
        if changes.is_empty() {
            return Ok(Published::Nothing);
        }
        state.generation = live.root.generation.wrapping_add(1);
        let root = Root { generation: state.generation, previous: live.base, ..Root::default() };
        let kept: Vec<Extent> = [Some(live), array.at(live.root.previous)].into_iter().flatten().collect();
        let patch = match array.held(&kept) {
            Ok(held) => self.members.change(&held, live.base, root, &changes).ok(),
            Err(_) => None,
        };
        let Some(patch) = patch.filter(|patch| patch.end <= array.capacity()) else {
            return self.reload(&store);
        };
        array.settle();
        array.write(&patch.lines);
        store.write_state_alone(&state, live.root.generation)?;
        array.publish(patch.root);
        store.keep_states(&[state.generation, live.root.generation]);
        self.state = state;
        array.settle();
        Ok(Published::Lines(patch.lines.len()))
    }

    /// Who joins and leaves the groups of an interface whose device had `before` and has `after`.
    fn changes(&mut self, carries: &Carries, before: &[IpAddr], after: &[IpAddr]) -> Vec<Change> {
        let Carries::Interface(name) = carries else { return Vec::new() };
        let Some(interface) = self.policy.interfaces.get(name) else { return Vec::new() };
        if !interface.addresses.is_empty() {
            return Vec::new();
        }
        let mut changes = Vec::new();
        for group in &interface.security_groups {
            let change = |address: &IpAddr, joins| Change { group: group.clone(), address: *address, joins };
            for address in after.iter().filter(|address| !before.contains(address)) {
                let count = self.known.entry((group.clone(), *address)).or_default();
                *count += 1;
                changes.extend((*count == 1).then(|| change(address, true)));
            }
            for address in before.iter().filter(|address| !after.contains(address)) {
                let count = self.known.entry((group.clone(), *address)).or_default();
                *count = count.saturating_sub(1);
                changes.extend((*count == 0).then(|| change(address, false)));
            }
        }
        changes
    }

    /// Somebody else has loaded rules, or a change needs more than lines: what is in force is read and compiled anew,
    /// with the addresses that devices have.
    fn reload(&mut self, store: &Store) -> Result<Published> {
        *self = Self::load(store, &Current::need(store)?)?;
        Ok(Published::Everything)
    }
}

//! What is loaded now: the generation in force, and what is kept of the one before.

use super::clock::{TICK_NS, monotonic_ns};
use super::inspect;
use super::place::is_same_place;
use super::policy_array::{Extent, PolicyArray};
use super::programs::POLICY;
use super::replace::finish;
use super::state::{Hook, State};
use super::store::Store;
use crate::compile::Numbers;
use crate::document;
use crate::error::{Error, Result};
use crate::model::Policy;

/// What is loaded now.
pub(super) struct Current {
    /// The generation that the live word names.
    pub(super) live: Extent,
    /// The state of the generation in force: the live one, or the one before if it was not confirmed in time.
    pub(super) state: State,
    /// False if the live generation was not confirmed in time and there was none before: everything passes.
    pub(super) is_in_force: bool,
    /// Hooks of every generation that is kept: the live one and the one before.
    pub(super) hooks: Vec<Hook>,
}

impl Current {
    /// `None` if nothing was ever published here.
    pub(super) fn read(store: &Store) -> Result<Option<Self>> {
        if !store.maps().join(POLICY).exists() {
            return Ok(None);
        }
        let array = store.policy_array()?;
        let Some(live) = array.live() else { return Ok(None) };
        let read = |extent: Extent| {
            store.read_state(extent.root.generation)?.ok_or_else(|| {
                Error::system(format!(
                    "the state of generation {} is missing; remove everything with `fwctl unload --force`",
                    extent.root.generation
                ))
            })
        };
        let live_state = read(live)?;
        let previous = match array.at(live.root.previous) {
            Some(extent) => store.read_state(extent.root.generation)?,
            None => None,
        };
        let here = inspect::netns();
        if live_state.netns != here {
            return Err(Error::system(format!(
                "\"{}\" belongs to another network namespace (inode {}, this one is {here}); name another directory \
                 with --bpffs",
                store.bpffs().display(),
                live_state.netns
            )));
        }
        let mut hooks = live_state.hooks.clone();
        for hook in previous.iter().flat_map(|state| &state.hooks) {
            if !hooks.iter().any(|other| is_same_place(other, hook)) {
                hooks.push(hook.clone());
            }
        }
        let in_force = array.in_force(monotonic_ns());
        let state = match in_force {
            Some(before) if before != live => read(before)?,
            _ => live_state,
        };
        Ok(Some(Self { live, state, is_in_force: in_force.is_some(), hooks }))
    }

    /// The same for a command that will change it, and has the lock: first it ends what a killed one began.
    pub(super) fn read_to_change(store: &Store) -> Result<Option<Self>> {
        let current = Self::read(store)?;
        if let Some(current) = &current {
            finish(store, current)?;
        }
        Ok(current)
    }

    /// As [`Self::read_to_change`], or an error.
    pub(super) fn need(store: &Store) -> Result<Self> {
        Self::read_to_change(store)?.ok_or_else(nothing)
    }

    /// What is to be removed, however it is.
    pub(super) fn need_as_it_is(store: &Store) -> Result<Self> {
        Self::read(store)?.ok_or_else(nothing)
    }

    /// What the next load goes on with: the live generation's numbers, whether it is in force or not, and those of the
    /// one before it, which is in force if it is not.
    pub(super) fn numbers(&self, store: &Store, array: &PolicyArray) -> Result<Numbers> {
        let last = store.read_numbering(self.live.root.generation)?;
        let kept = match array.at(self.live.root.previous) {
            Some(before) if store.read_state(before.root.generation)?.is_some() => {
                Some(store.read_numbering(before.root.generation)?)
            }
            _ => None,
        };
        // Programs see no later time than this before the generation is published, see [`super::grant`].
        let since_ns = (monotonic_ns() / TICK_NS + 1) * TICK_NS;
        Ok(Numbers { last, kept, since_ns })
    }

    /// An error if what is in force still waits for its confirmation, or if nothing is in force any more.
    pub(super) fn refuse_unconfirmed(&self) -> Result<()> {
        let live = self.live.root;
        let is_over = live.deadline_ns != 0 && monotonic_ns() >= live.deadline_ns;
        if is_over && live.previous == 0 {
            return Err(nothing_in_force());
        }
        if live.deadline_ns != 0 && !is_over {
            return Err(Error::system(
                "the rules in force wait for their confirmation; run `fwctl confirm` or `fwctl rollback` first",
            ));
        }
        Ok(())
    }

    /// The last generation that needs no confirmation: what the next one falls back to.
    pub(super) fn last_confirmed(&self, array: &PolicyArray) -> Option<Extent> {
        if self.live.root.deadline_ns == 0 { Some(self.live) } else { array.at(self.live.root.previous) }
    }
}

/// What there was ended, and there is nothing before it.
pub(super) fn nothing_in_force() -> Error {
    Error::system(
        "nothing is in force: the rules were not confirmed in time, and there were none before; load again",
    )
}

fn nothing() -> Error {
    Error::system("a load was cut off before it took effect; load again, or `fwctl unload --force`")
}

/// The checked rules of a file that was loaded.
pub(super) fn policy_of(source: &[u8]) -> Result<Policy> {
    document::read(source).policy.ok_or_else(|| {
        Error::system(
            "the rules in force were loaded by another version and cannot be read by this one; load again",
        )
    })
}

//! Larger or newer maps and programs in the place of those that run, under traffic.
//!
//! Everything new is made beside the old, the hooks are turned to it one by one, and only then does it take the old
//! one's place. What stage that is at stands beside it, so that whoever comes after a command that was killed can go on
//! where it was: forward, because hooks that were turned have made connections in the new table.

use std::fs;
use std::path::Path;

use super::connections::{CONNECTIONS, COUNT, ConnectionTable, TAGS};
use super::current::Current;
use super::devices::{self, Device};
use super::install::{copy_counters, pins};
use super::policy_array::{PolicyArray, wait_for_readers};
use super::programs::{self, EVENTS, FLOWS, MAPS, POLICY, Sizes, TELLERS};
use super::state::Hook;
use super::store::{Stage, Store};
use super::{hooks, upkeep};
use crate::error::{Error, Result};

/// Replaces the programs and these maps. On a failure the hooks that were turned already are turned back.
pub(super) fn replace(store: &Store, sizes: &Sizes, grown: &[&'static str], current: &Current) -> Result<()> {
    let next = store.next();
    make(&next)?;
    if let Err(error) = prepare(store, sizes, grown) {
        // A map that was made already may be large.
        let _ = fs::remove_dir_all(&next);
        return Err(error);
    }
    let devices = devices::list()?;
    make(&store.stage(Stage::Turning))?;
    // Who looks at metrics waits from now on: what was counted since the first copy, and may have been seen, must not be less
    // when it is seen again.
    let copied = copy_all_counters(store, grown);
    if let Err(error) = copied.and_then(|()| turn(store, current, &devices)) {
        turn_back(store, current, &devices);
        return Err(error);
    }
    take_place(store)
}

/// Ends what a command that was killed has begun: without this the next one would build on the old maps, and forget what
/// hooks that were turned have put into the new ones.
pub(super) fn finish(store: &Store, current: &Current) -> Result<()> {
    match store.reached() {
        Some(Stage::Turning) => turn(store, current, &devices::list()?)?,
        Some(Stage::Turned) => {}
        None if store.next().exists() => return remove(&store.next()),
        None => return Ok(()),
    }
    take_place(store)
}

/// Turns all hooks to the next programs; one that has been turned stays as it is.
fn turn(store: &Store, current: &Current, devices: &[Device]) -> Result<()> {
    let next = store.next();
    for hook in current.hooks.iter().filter(|hook| is_there(store, current, hook, devices)) {
        hooks::replace(store, hook, &next)?;
    }
    if next.join(CONNECTIONS).exists() {
        // What the former programs have changed since the first time. The last of them is done after this.
        wait_for_readers();
        move_changed(&store.maps(), &next, &next)?;
    }
    rename(&store.stage(Stage::Turning), &store.stage(Stage::Turned))
}

/// The reverse, as far as it goes.
fn turn_back(store: &Store, current: &Current, devices: &[Device]) {
    let next = store.next();
    for hook in current.hooks.iter().filter(|hook| is_there(store, current, hook, devices)) {
        let _ = hooks::replace(store, hook, &store.programs());
    }
    if next.join(CONNECTIONS).exists() {
        wait_for_readers();
        let _ = move_changed(&next, &store.maps(), &store.programs());
    }
    // First of all: without its programs it cannot be gone on with.
    let _ = fs::remove_dir(store.stage(Stage::Turning));
    let _ = fs::remove_dir_all(&next);
}

/// Whether a hook is to be turned. The pin of a link outlives its device; the link then takes no other program, and
/// needs none. Of the generation that is not in force only what has not been detached since is there.
fn is_there(store: &Store, current: &Current, hook: &Hook, devices: &[Device]) -> bool {
    devices.iter().any(|device| device.ifindex == hook.ifindex)
        && (current.state.hooks.contains(hook)
            || [store.programs(), store.next()]
                .iter()
                .any(|programs| hooks::verify(hook, devices, programs).problem.is_none()))
}

/// Pins what is new in the place of the old.
fn take_place(store: &Store) -> Result<()> {
    let next = store.next();
    let maps = MAPS.iter().map(|(name, _)| (*name, store.maps()));
    let programs = programs::PROGRAMS.iter().map(|name| (*name, store.programs()));
    for (name, directory) in maps.chain(programs) {
        // Not there: a map that is not replaced, or one whose turn was before a command was killed.
        if next.join(name).exists() {
            rename(&next.join(name), &directory.join(name))?;
        }
    }
    remove(&next)
}

/// Makes maps and programs beside those in force, and fills the maps.
fn prepare(store: &Store, sizes: &Sizes, grown: &[&'static str]) -> Result<()> {
    let next = store.next();
    let mut object = programs::load_object(sizes, &pins(store, grown))?;
    for name in grown {
        let (old, new) = (store.maps().join(name), next.join(name));
        match *name {
            POLICY => PolicyArray::open(&new)?.copy_from(&PolicyArray::open(&old)?),
            CONNECTIONS => {
                let lost = ConnectionTable::open(&next)?.move_in(&ConnectionTable::open(&store.maps())?);
                refuse_loss(lost)?;
            }
            TAGS | COUNT | EVENTS | TELLERS | FLOWS => {}
            _ => copy_counters(&old, &new)?,
        }
    }
    programs::pin_programs(&mut object, &next)
}

/// Once more, before any hook counts in the new ones.
fn copy_all_counters(store: &Store, grown: &[&'static str]) -> Result<()> {
    for name in grown.iter().filter(|name| ["COUNTERS", "RULES"].contains(name)) {
        copy_counters(&store.maps().join(name), &store.next().join(name))?;
    }
    Ok(())
}

/// Brings over to a table that hooks use already what it does not know or knows less of.
fn move_changed(from: &Path, to: &Path, programs: &Path) -> Result<()> {
    let (from, to) = (ConnectionTable::open(from)?, ConnectionTable::open(to)?);
    refuse_loss(upkeep::move_in(programs, from.live().filter(|(key, it, _)| !to.knows(key, it)))?)
}

fn refuse_loss(lost: u64) -> Result<()> {
    if lost == 0 {
        return Ok(());
    }
    Err(Error::system(format!("the next table of connections has no place for {lost} of them")))
}

fn make(directory: &Path) -> Result<()> {
    fs::create_dir(directory)
        .map_err(|error| Error::system(format!("cannot create \"{}\": {error}", directory.display())))
}

fn rename(from: &Path, to: &Path) -> Result<()> {
    fs::rename(from, to)
        .map_err(|error| Error::system(format!("cannot replace \"{}\": {error}", to.display())))
}

fn remove(directory: &Path) -> Result<()> {
    fs::remove_dir_all(directory)
        .map_err(|error| Error::system(format!("cannot remove \"{}\": {error}", directory.display())))
}

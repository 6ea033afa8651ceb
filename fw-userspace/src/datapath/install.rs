//! Bringing maps and programs into the kernel, and replacing them by larger or newer ones under traffic.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use aya::maps::{MapData, MapInfo, PerCpuArray};
use fw_common::store::{Layout, Store as Connections};
use fw_common::verdict::Counter;

use super::connections::{CONNECTIONS, COUNT, ConnectionTable, Founded, TAGS};
use super::current::Current;
use super::policy_array::{PolicyArray, map_error, open_map, wait_for_readers};
use super::programs::{self, MAPS, POLICY, Sizes};
use super::state::Hook;
use super::store::Store;
use super::{batch, devices, hooks};
use crate::error::{Error, Result};

/// Makes sure that the pinned maps hold `need` and that the pinned programs are of this build. Programs that run are
/// replaced in place; all of them, old and new, follow the same live word meanwhile. Tells how many connections there
/// could be before, if that has changed.
pub(super) fn ensure(store: &Store, need: &Sizes, current: Option<&Current>) -> Result<Option<u32>> {
    let Some(current) = current else {
        store.clear()?;
        let mut object = programs::load_object(need, &pins(store, &[]))?;
        programs::pin_programs(&mut object, &store.programs())?;
        return Ok(None);
    };
    let present = sizes(store)?;
    let sizes = Sizes {
        policy_lines: present.policy_lines.max(need.policy_lines),
        rule_slots: present.rule_slots.max(need.rule_slots),
        zone_slots: present.zone_slots.max(need.zone_slots),
        connections: connections(store, &present, need)?,
    };
    let mut grown: Vec<&'static str> = sizes
        .entries()
        .iter()
        .zip(present.entries())
        .filter(|(new, old)| new.1 > old.1)
        .map(|(new, _)| new.0)
        .collect();
    if sizes.policy_lines > present.policy_lines {
        grown.push(POLICY);
    }
    if sizes.connections != present.connections {
        grown.retain(|name| ![CONNECTIONS, TAGS].contains(name));
        // All three are there when the first is filled.
        grown.extend([CONNECTIONS, TAGS, COUNT]);
    }
    if !grown.is_empty() || current.state.object != programs::object_id() {
        replace(store, &sizes, &grown, current)?;
    }
    let before = present.connections.connections;
    Ok((before != sizes.connections.connections).then_some(before))
}

/// As many buckets as the wanted connections need, or the live ones if those are more: none of them is given up for a
/// smaller table.
fn connections(store: &Store, present: &Sizes, need: &Sizes) -> Result<Layout> {
    if present.connections.connections == need.connections.connections {
        return Ok(present.connections);
    }
    let live = Connections(&ConnectionTable::open(&store.maps())?).counted();
    Ok(need.connections.with_room_for(u32::try_from(live).unwrap_or(u32::MAX)))
}

/// Everything new is made beside the old, the hooks are turned to it one by one, and only then does it take the old
/// one's place; on a failure those already turned are turned back.
fn replace(store: &Store, sizes: &Sizes, grown: &[&'static str], current: &Current) -> Result<()> {
    let next = store.next();
    let _ = fs::remove_dir_all(&next);
    fs::create_dir(&next)
        .map_err(|error| Error::system(format!("cannot create \"{}\": {error}", next.display())))?;
    if let Err(error) = prepare(store, sizes, grown) {
        // A map that was made already may be large.
        let _ = fs::remove_dir_all(&next);
        return Err(error);
    }
    let devices = devices::list()?;
    // The pin of a link outlives its device; the link then takes no other program, and needs none. Of the generation
    // that is not in force only what has not been detached since is there.
    let is_there = |hook: &&Hook| {
        devices.iter().any(|device| device.ifindex == hook.ifindex)
            && (current.state.hooks.contains(hook) || hooks::verify(store, hook, &devices).problem.is_none())
    };
    let mut turned: Vec<&Hook> = Vec::new();
    let mut turn = || {
        for hook in current.hooks.iter().filter(is_there) {
            hooks::replace(store, hook, &next)?;
            turned.push(hook);
        }
        if grown.contains(&CONNECTIONS) {
            // What the former programs have changed since the first time. The last of them is done after this.
            wait_for_readers();
            move_connections(store)?;
        }
        Ok(())
    };
    if let Err(error) = turn() {
        for hook in turned {
            let _ = hooks::replace(store, hook, &store.programs());
        }
        let _ = fs::remove_dir_all(&next);
        return Err(error);
    }
    let maps = grown.iter().map(|name| (*name, store.maps()));
    let programs = programs::PROGRAMS.iter().map(|name| (*name, store.programs()));
    for (name, directory) in maps.chain(programs) {
        fs::rename(next.join(name), directory.join(name))
            .map_err(|error| Error::system(format!("cannot replace \"{name}\": {error}")))?;
    }
    let _ = fs::remove_dir(&next);
    Ok(())
}

/// Makes maps and programs beside those in force, and fills the maps.
fn prepare(store: &Store, sizes: &Sizes, grown: &[&'static str]) -> Result<()> {
    let next = store.next();
    let mut object = programs::load_object(sizes, &pins(store, grown))?;
    for name in grown {
        let (old, new) = (store.maps().join(name), next.join(name));
        match *name {
            POLICY => PolicyArray::open(&new)?.copy_from(&PolicyArray::open(&old)?),
            CONNECTIONS => move_connections(store)?,
            TAGS | COUNT => {}
            _ => copy_counters(&old, &new)?,
        }
    }
    programs::pin_programs(&mut object, &next)
}

/// Brings connections over to the next store.
fn move_connections(store: &Store) -> Result<()> {
    let lost = ConnectionTable::open(&store.next())?.move_in(&ConnectionTable::open(&store.maps())?);
    if lost == 0 {
        return Ok(());
    }
    Err(Error::system(format!("the next table of connections has no place for {lost} of them")))
}

/// Where each map is or will be pinned.
fn pins(store: &Store, grown: &[&str]) -> BTreeMap<&'static str, PathBuf> {
    MAPS.iter()
        .map(|(name, _)| {
            let directory = if grown.contains(name) { store.next() } else { store.maps() };
            (*name, directory.join(name))
        })
        .collect()
}

/// The sizes of what is pinned, which must have the shape that this build knows.
pub(super) fn sizes(store: &Store) -> Result<Sizes> {
    let mut entries = BTreeMap::new();
    for (name, value_size) in MAPS {
        let info = MapInfo::from_pin(store.maps().join(name)).map_err(|error| map_error(name, &error))?;
        let is_whole = name == POLICY && (info.value_size() as usize).is_multiple_of(value_size);
        if info.value_size() as usize != value_size && !is_whole {
            let found = info.value_size();
            return Err(map_error(
                name,
                &format!("its values have {found} bytes, {value_size} were expected"),
            ));
        }
        let count = if name == POLICY { info.value_size() / value_size as u32 } else { info.max_entries() };
        entries.insert(name, count);
    }
    let of = |name: &str| entries.get(name).copied().unwrap_or(0);
    Ok(Sizes {
        policy_lines: of(POLICY),
        rule_slots: of("RULES"),
        zone_slots: of("COUNTERS") / fw_common::REASON_SLOTS_PER_ZONE,
        connections: Founded::of(&store.maps())?.layout,
    })
}

fn copy_counters(old: &std::path::Path, new: &std::path::Path) -> Result<()> {
    let copy = || batch::Counters::open(new)?.copy_from(&batch::Counters::open(old)?);
    copy().map_err(|error| map_error(&old.display().to_string(), &error))
}

/// Sets the counters of these rules to zero: their slots belonged to others.
pub(super) fn clear_rules(store: &Store, slots: &[u32]) -> Result<()> {
    let pin = store.maps().join("RULES");
    let clear = || batch::Counters::open(&pin)?.clear(slots);
    clear().map_err(|error| map_error("RULES", &error))
}

/// A pinned map of counters.
pub(super) fn counters(path: &std::path::Path) -> Result<PerCpuArray<MapData, Counter>> {
    open_map(path)?.try_into().map_err(|error| map_error(&path.display().to_string(), &error))
}

/// What all maps take, by the kernel's own account.
pub(super) fn memory_bytes(store: &Store) -> u64 {
    MAPS.iter().filter_map(|(name, _)| map_memory(&store.maps().join(name))).sum()
}

fn map_memory(pin: &std::path::Path) -> Option<u64> {
    use std::os::fd::{AsFd, AsRawFd};
    let map = MapData::from_pin(pin).ok()?;
    let text = fs::read_to_string(format!("/proc/self/fdinfo/{}", map.fd().as_fd().as_raw_fd())).ok()?;
    text.lines().find_map(|line| line.strip_prefix("memlock:")?.trim().parse().ok())
}

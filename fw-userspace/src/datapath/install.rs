//! Maps and programs in the kernel: that they are there, and how large.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use aya::maps::{MapData, MapInfo};
use fw_common::store::Layout;

use super::batch;
use super::connections::{CONNECTIONS, COUNT, ConnectionTable, Founded, TAGS};
use super::current::Current;
use super::policy_array::map_error;
use super::programs::{self, EVENTS, FLOWS, MAPS, POLICY, Sizes, TELLERS};
use super::replace::replace;
use super::store::Store;
use crate::error::Result;

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
    grown.extend(missing(store));
    if !grown.is_empty() || current.state.object != programs::object_id() {
        replace(store, &sizes, &grown, current)?;
    }
    let before = present.connections.connections;
    Ok((before != sizes.connections.connections).then_some(before))
}

/// Makes the table of connections anew, with those that packets find in this one: its memory was damaged.
pub(super) fn rebuild(store: &Store, current: &Current) -> Result<()> {
    replace(store, &sizes(store)?, &[CONNECTIONS, TAGS, COUNT], current)
}

/// As many buckets as the wanted connections need, or the live ones if those are more: none of them is given up for a
/// smaller table.
fn connections(store: &Store, present: &Sizes, need: &Sizes) -> Result<Layout> {
    if present.connections.connections == need.connections.connections {
        return Ok(present.connections);
    }
    let table = ConnectionTable::open(&store.maps())?;
    let live = table.live().filter(|(.., class)| class.is_kept()).count();
    Ok(need.connections.with_room_for(u32::try_from(live).unwrap_or(u32::MAX)))
}

/// Where each map is or will be pinned.
pub(super) fn pins(store: &Store, grown: &[&str]) -> BTreeMap<&'static str, PathBuf> {
    MAPS.iter()
        .map(|(name, _)| {
            let directory = if grown.contains(name) { store.next() } else { store.maps() };
            (*name, directory.join(name))
        })
        .collect()
}

/// Maps that the build which pinned the others did not know: they begin empty.
fn missing(store: &Store) -> impl Iterator<Item = &'static str> {
    [EVENTS, TELLERS, FLOWS].into_iter().filter(|name| !store.maps().join(name).exists())
}

/// The sizes of what is pinned, which must have the shape that this build knows.
pub(super) fn sizes(store: &Store) -> Result<Sizes> {
    let mut entries = BTreeMap::new();
    for (name, value_size) in MAPS.into_iter().filter(|(name, _)| !missing(store).any(|it| it == *name)) {
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

/// Brings counters over to a larger map.
pub(super) fn copy_counters(old: &std::path::Path, new: &std::path::Path) -> Result<()> {
    let copy = || batch::Counters::open(new)?.copy_from(&batch::Counters::open(old)?);
    copy().map_err(|error| map_error(&old.display().to_string(), &error))
}

/// Sets the counters of these rules to zero: their slots belonged to others.
pub(super) fn clear_rules(store: &Store, slots: &[u32]) -> Result<()> {
    let pin = store.maps().join("RULES");
    let clear = || batch::Counters::open(&pin)?.clear(slots);
    clear().map_err(|error| map_error("RULES", &error))
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

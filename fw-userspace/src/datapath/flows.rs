//! The kernel's side of a flow log: what the programs add up is taken from them window by window, whole and exact.
//!
//! Each window has a map of its own, pinned as `BPFFS/schema-5/flows/window-NS` by when it began. Programs fill the one
//! that is in the slot of [`FLOWS`]. Every other one is still and waits to be written down, and only then is it
//! removed: so a reader that is killed loses nothing, and the next one finds what it left. Programs go on without a reader
//! for as long as the last one wanted.

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use aya::maps::{ArrayOfMaps, HashMap, IterableMap as _, Map, MapData};
use fw_common::conntrack::tick;
use fw_common::flow_log::{Action, Flow, Tally};

use super::clock::{epoch_ns, monotonic_ns};
use super::current::policy_of;
use super::entries::{clear_slot, entries};
use super::inspect::loaded;
use super::lock::Lock;
use super::names::Names;
use super::policy_array::{Head, map_error, open_map, wait_for_readers};
use super::programs::{FLOWS, POLICY};
use super::store::Store;
use crate::error::{Error, Result};
use crate::model::Policy;

type Table = HashMap<MapData, Flow, Tally>;

const PIN: &str = "window-";

/// The one reader of the flows of what is loaded under a directory.
pub(crate) struct Flows {
    bpffs: PathBuf,
    directory: PathBuf,
    /// Flows that fit into a window.
    most: u32,
    /// For so long the programs go on after the last time that somebody wanted them to.
    lasts: Duration,
    /// Where the array that has the slot is pinned.
    pin: PathBuf,
    slot: ArrayOfMaps<MapData, Table>,
    head: Head,
    generation: Rc<Generation>,
    /// Being filled; `None` once that has ended.
    filled: Option<Window>,
    /// Oldest first.
    complete: VecDeque<Window>,
    lock: Lock,
}

/// The rules that a window's numbers stand for.
pub(crate) struct Generation {
    /// The line of its root.
    live: u32,
    pub(crate) names: Names,
    pub(crate) policy: Policy,
}

/// The flows of some time.
pub(crate) struct Window {
    /// Nanoseconds since the epoch.
    pub(crate) began_ns: u64,
    /// The same, once it is complete.
    pub(crate) ended_ns: u64,
    /// Of the rules that were in force meanwhile, the last first.
    pub(crate) generations: Vec<Rc<Generation>>,
    table: Table,
    pin: PathBuf,
}

/// What became of the rules since they were last looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rules {
    /// Nothing.
    Same,
    /// Others are in force.
    Others,
    /// Nothing is in force any more.
    Unloaded,
}

/// What was read of a window.
#[derive(Default)]
pub(crate) struct Contents {
    pub(crate) flows: Vec<(Flow, Tally)>,
    /// Packets that had no room, by zone.
    pub(crate) skipped: BTreeMap<u32, u64>,
}

impl Flows {
    /// Has the programs record flows, and takes over what a reader before has left. Refused while there is another.
    pub(crate) fn open(bpffs: &Path, most: u32, lasts: Duration) -> Result<Self> {
        let (store, current) = loaded(bpffs)?;
        let pin = store.maps().join(FLOWS);
        if !pin.exists() {
            return Err(Error::system(
                "an earlier fwctl loaded the rules, and its programs record no flows; load them again with `fwctl load`",
            ));
        }
        let directory = store.flows();
        fs::create_dir_all(&directory).map_err(|error| cannot("create", &directory, &error))?;
        let lock = Lock::alone(&directory, "keeps a flow log already; one at a time can")?;
        let head = Head::open(&store.maps().join(POLICY))?;
        let generation = Rc::new(Generation {
            live: head.live(),
            names: Names::read(&store, &current)?,
            policy: policy_of(&store.read_source(current.state.generation)?)?,
        });
        let Map::ArrayOfMaps(_) = open_map(&pin)? else {
            return Err(map_error(FLOWS, &"it is of another type"));
        };
        let slot = MapData::from_pin(&pin).map_err(|error| map_error(FLOWS, &error))?;
        let slot = ArrayOfMaps::try_from(Map::ArrayOfMaps(slot)).map_err(|error| map_error(FLOWS, &error))?;
        let bpffs = bpffs.to_owned();
        let complete = VecDeque::new();
        let mut flows =
            Self { bpffs, directory, most, lasts, pin, slot, head, generation, filled: None, complete, lock };
        flows.take_over()?;
        if flows.filled.is_none() {
            flows.begin()?;
        }
        flows.want();
        Ok(flows)
    }

    /// When the window that is being filled began; nanoseconds since the epoch.
    pub(crate) fn began_ns(&self) -> Option<u64> {
        self.filled.as_ref().map(|window| window.began_ns)
    }

    /// The rules in force, as last seen.
    pub(crate) fn generation(&self) -> &Generation {
        &self.generation
    }

    /// Wants the programs to go on. To be called about once a second.
    pub(crate) fn renew(&mut self) -> Result<Rules> {
        let store = Store::open(&self.bpffs)?.filter(|store| self.lock.is_of(&store.flows()));
        let Some(store) = store else { return Ok(Rules::Unloaded) };
        // A load may have put a larger array in its place.
        self.head = Head::open(&store.maps().join(POLICY))?;
        self.want();
        let live = self.head.live();
        if live == self.generation.live {
            return Ok(Rules::Same);
        }
        let (store, current) = loaded(&self.bpffs)?;
        self.generation = Rc::new(Generation {
            live,
            names: Names::read(&store, &current)?,
            policy: policy_of(&store.read_source(current.state.generation)?)?,
        });
        if let Some(window) = &mut self.filled {
            window.generations.insert(0, Rc::clone(&self.generation));
        }
        Ok(Rules::Others)
    }

    /// Completes the window that is being filled, and begins another.
    pub(crate) fn turn(&mut self) -> Result<()> {
        let filled = self.filled.take();
        let begun = self.begin();
        match begun {
            Ok(()) => self.complete(filled),
            // Programs go on with the one that they have.
            Err(_) => self.filled = filled,
        }
        begun
    }

    /// Has the programs record no more, and completes the window that was being filled.
    pub(crate) fn stop(&mut self) {
        self.head.want_flows(None);
        wait_for_readers();
        let filled = self.filled.take();
        self.complete(filled);
        // A map in the slot outlives its pin.
        if let Ok(slots) = MapData::from_pin(&self.pin) {
            let _ = clear_slot(&slots);
        }
    }

    /// Windows that wait to be written down, the oldest first.
    pub(crate) fn waiting(&self) -> usize {
        self.complete.len()
    }

    /// The oldest of those that wait.
    pub(crate) fn oldest(&self) -> Option<&Window> {
        self.complete.front()
    }

    /// Removes it.
    pub(crate) fn forget_oldest(&mut self) {
        if let Some(window) = self.complete.pop_front() {
            // Unloaded meanwhile: then it is gone.
            let _ = fs::remove_file(&window.pin);
        }
    }

    /// What a reader before has left.
    fn take_over(&mut self) -> Result<()> {
        let in_slot = self.slot.get(&0, 0).ok().and_then(|table: Table| id(&table));
        let pins = fs::read_dir(&self.directory).map_err(|error| cannot("read", &self.directory, &error))?;
        let mut left: Vec<(u64, PathBuf)> = pins
            .flatten()
            .filter_map(|entry| {
                let began = entry.file_name().to_str()?.strip_prefix(PIN)?.parse().ok()?;
                Some((began, entry.path()))
            })
            .collect();
        left.sort_unstable();
        for (place, (began_ns, pin)) in left.iter().enumerate() {
            let table: Table =
                open_map(pin)?.try_into().map_err(|error| map_error(&pin.display().to_string(), &error))?;
            let is_filled = in_slot.is_some() && id(&table) == in_slot;
            let next = left.get(place + 1).map_or_else(epoch_ns, |(began, _)| *began);
            let generations = vec![Rc::clone(&self.generation)];
            let window = Window { began_ns: *began_ns, ended_ns: next, generations, table, pin: pin.clone() };
            if is_filled {
                self.filled = Some(window);
            } else {
                self.complete.push_back(window);
            }
        }
        Ok(())
    }

    /// Puts a new map into the slot. When this returns no program uses the former one any more.
    fn begin(&mut self) -> Result<()> {
        let zones: Vec<u32> = self.generation.names.zones().map(|(zone, _)| zone).collect();
        let places = self.most.saturating_add(zones.len() as u32 + 1);
        let mut table = Table::create(places, 0).map_err(|error| {
            Error::system(format!("the kernel has no memory for {places} flows: {error}; lower --max-flows"))
        })?;
        for zone in std::iter::once(0).chain(zones) {
            table
                .insert(Flow::skipped(zone), Tally::default(), 0)
                .map_err(|error| map_error("window", &error))?;
        }
        let mut began_ns = epoch_ns();
        let pin = loop {
            let pin = self.directory.join(format!("{PIN}{began_ns}"));
            if !pin.exists() {
                break pin;
            }
            began_ns += 1;
        };
        table.map().pin(&pin).map_err(|error| map_error(&pin.display().to_string(), &error))?;
        if let Err(error) = self.slot.set(0, &table, 0) {
            let _ = fs::remove_file(&pin);
            return Err(map_error(FLOWS, &error));
        }
        // The kernel has waited for it in that call (`maybe_wait_bpf_programs`, kernel/bpf/syscall.c, 5.0), but nowhere says
        // that it will.
        wait_for_readers();
        let generations = vec![Rc::clone(&self.generation)];
        self.filled = Some(Window { began_ns, ended_ns: began_ns, generations, table, pin });
        Ok(())
    }

    fn complete(&mut self, window: Option<Window>) {
        self.complete.extend(window.map(|window| Window { ended_ns: epoch_ns(), ..window }));
    }

    fn want(&mut self) {
        let lasts = u64::try_from(self.lasts.as_nanos()).unwrap_or(u64::MAX);
        self.head.want_flows(Some(tick(monotonic_ns().saturating_add(lasts))));
    }
}

impl Window {
    /// What was added up in it: whole, since nobody adds any more.
    pub(crate) fn read(&self) -> Result<Contents> {
        let all: Vec<(Flow, Tally)> =
            entries(self.table.map()).map_err(|error| map_error(&self.pin.display().to_string(), &error))?;
        let mut contents = Contents::default();
        for (flow, tally) in all {
            if flow.action != Action::Skipped as u8 {
                contents.flows.push((flow, tally));
            } else if tally.packets > 0 {
                contents.skipped.insert(flow.zone, tally.packets);
            }
        }
        contents.flows.sort_unstable_by_key(|(flow, tally)| (tally.first_ns, *flow));
        Ok(contents)
    }
}

fn id(table: &Table) -> Option<u32> {
    table.map().info().ok().map(|info| info.id())
}

fn cannot(what: &str, path: &Path, error: &std::io::Error) -> Error {
    Error::system(format!("cannot {what} \"{}\": {error}", path.display()))
}

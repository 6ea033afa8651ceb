//! The programs and maps of the embedded object, brought into the kernel.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::LazyLock;

use aya::programs::{Program, ProgramError, SchedClassifier, Xdp};
use aya::{Ebpf, EbpfError, EbpfLoader};
use aya_obj::programs::XdpAttachType;
use fw_common::REASON_SLOTS_PER_ZONE;
use fw_common::event::Teller;
use fw_common::fragment::Datagram;
use fw_common::layout::Line;
use fw_common::store::{BUCKET_WORDS, Layout, TAG_WORDS};
use fw_common::verdict::Counter;

use super::connections::{CONNECTIONS, COUNT, COUNT_WORDS, ConnectionTable, Founded, TAGS};
use super::object::{OBJECT, with_policy_bytes};
use crate::error::{Error, Result};
use crate::fnv::fnv;

/// Its programs.
pub const PROGRAMS: [&str; 8] =
    [XDP_RECEIVED, TC_RECEIVED, TC_SENT, EXPLAIN_RECEIVED, EXPLAIN_SENT, SWEEP, FLUSH, MOVE_IN];
pub(super) const POLICY: &str = "POLICY";
pub(super) const EVENTS: &str = "EVENTS";
pub(super) const TELLERS: &str = "TELLERS";
pub(super) const FLOWS: &str = "FLOWS";
pub(super) const XDP_RECEIVED: &str = "xdp_received";
pub(super) const TC_RECEIVED: &str = "tc_received";
pub(super) const TC_SENT: &str = "tc_sent";
/// Their twins for rehearsals.
pub(super) const EXPLAIN_RECEIVED: &str = "explain_received";
pub(super) const EXPLAIN_SENT: &str = "explain_sent";
pub(super) const SWEEP: &str = "sweep";
pub(super) const FLUSH: &str = "flush";
pub(super) const MOVE_IN: &str = "move_in";

/// Its pinned maps and the sizes of their values: aya takes what is pinned without comparing. That of POLICY is a
/// multiple of what stands here. SCRATCH is not pinned: it means nothing between packets, and another build may need
/// more of it.
pub(super) const MAPS: [(&str, usize); 11] = [
    (COUNT, COUNT_WORDS * size_of::<u64>()),
    (POLICY, size_of::<Line>()),
    (CONNECTIONS, BUCKET_WORDS * size_of::<u64>()),
    (TAGS, TAG_WORDS * size_of::<u64>()),
    ("DATAGRAMS", size_of::<Datagram>()),
    ("ETHERTYPES", size_of::<u64>()),
    ("COUNTERS", size_of::<Counter>()),
    ("RULES", size_of::<Counter>()),
    (EVENTS, 0),
    (TELLERS, size_of::<Teller>()),
    // Maps, by their descriptors.
    (FLOWS, size_of::<u32>()),
];

/// Lines that the policy array is larger than it has to be, at least: 1 MiB.
const SPARE_LINES: u32 = 1 << 14;

/// How large the maps are to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sizes {
    pub(super) policy_lines: u32,
    pub(super) rule_slots: u32,
    pub(super) zone_slots: u32,
    pub(super) connections: Layout,
}

impl Sizes {
    /// For a rule set that needs this much, with room for the next ones.
    pub(super) fn for_need(lines: u32, rule_slots: u32, zone_slots: u32, connections: Layout) -> Self {
        Self {
            policy_lines: (lines + lines / 2).next_multiple_of(SPARE_LINES) + SPARE_LINES,
            rule_slots: rule_slots.saturating_mul(2).max(2048).next_power_of_two(),
            zone_slots: zone_slots.saturating_mul(2).max(16).next_power_of_two(),
            connections,
        }
    }

    /// Maps and their number of entries.
    pub(super) fn entries(&self) -> [(&'static str, u32); 4] {
        [
            ("RULES", self.rule_slots),
            ("COUNTERS", self.zone_slots.saturating_mul(REASON_SLOTS_PER_ZONE)),
            (CONNECTIONS, self.connections.total()),
            (TAGS, self.connections.total()),
        ]
    }
}

/// Identifies the object, so that another build replaces the programs.
pub(crate) fn object_id() -> &'static str {
    // A load asks twice, and the object is large.
    static ID: LazyLock<String> = LazyLock::new(|| format!("{:016x}", fnv(OBJECT)));
    &ID
}

/// Loads the object. Each map is the one pinned at its path in `pins`, or is made there.
pub(super) fn load_object(sizes: &Sizes, pins: &BTreeMap<&'static str, std::path::PathBuf>) -> Result<Ebpf> {
    let mut loader = EbpfLoader::new();
    for (name, entries) in sizes.entries() {
        loader.map_max_entries(name, entries);
    }
    for (name, path) in pins {
        loader.map_pin_path(name, path.as_path());
    }
    let last = u64::from(sizes.policy_lines - 1) * size_of::<Line>() as u64;
    loader.override_global("POLICY_LAST", &last, true);
    // A store that is there keeps its hash: its connections lie where that one put them.
    let is_new = pins.get(COUNT).is_none_or(|pin| !pin.exists());
    let founded = match pins.get(COUNT) {
        Some(pin) if !is_new => Founded::of(pin.parent().unwrap_or(pin))?,
        _ => Founded::new(sizes.connections)?,
    };
    let (layout, hash) = founded.globals();
    loader.override_global("LAYOUT", &layout, true);
    loader.override_global("HASH", &hash, true);
    let image = with_policy_bytes(sizes.policy_lines * size_of::<Line>() as u32);
    let mut object = loader.load(&image).map_err(|error| load_error(&error))?;
    if is_new {
        connections_of(&object)?.found(&founded);
    }
    for name in PROGRAMS {
        let program = object
            .program_mut(name)
            .ok_or_else(|| Error::system(format!("this fwctl was built without the program \"{name}\"")))?;
        match program {
            Program::Xdp(program) => program.load(),
            Program::SchedClassifier(program) => program.load(),
            _ => Ok(()),
        }
        .map_err(|error| verifier_error(name, &error))?;
    }
    Ok(object)
}

/// The connections of a loaded object.
pub(super) fn connections_of(object: &Ebpf) -> Result<ConnectionTable> {
    let map = |name: &str| match object.map(name) {
        Some(aya::maps::Map::Array(map)) => Ok(map),
        _ => Err(Error::system(format!("this fwctl was built without the map \"{name}\""))),
    };
    ConnectionTable::of(map(CONNECTIONS)?, map(TAGS)?, map(COUNT)?)
}

/// Pins the programs of a loaded object in an empty directory.
pub(super) fn pin_programs(object: &mut Ebpf, directory: &Path) -> Result<()> {
    for name in PROGRAMS {
        let path = directory.join(name);
        let Some(program) = object.program_mut(name) else { continue };
        program
            .pin(&path)
            .map_err(|error| Error::system(format!("cannot pin the program \"{name}\": {error}")))?;
    }
    Ok(())
}

/// The pinned program for a received side at XDP.
pub(super) fn xdp_program(directory: &Path) -> Result<Xdp> {
    let path = directory.join(XDP_RECEIVED);
    Xdp::from_pin(&path, XdpAttachType::Interface).map_err(|error| pin_error(&path, &error))
}

/// The pinned program for a side at TC, or one that is run for us.
pub(super) fn tc_program(directory: &Path, name: &str) -> Result<SchedClassifier> {
    let path = directory.join(name);
    SchedClassifier::from_pin(&path).map_err(|error| pin_error(&path, &error))
}

fn pin_error(path: &Path, error: &ProgramError) -> Error {
    Error::system(format!(
        "the pinned program \"{}\" cannot be used: {error}; `fwctl unload --force` removes everything",
        path.display()
    ))
}

fn load_error(error: &EbpfError) -> Error {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(inner) = source {
        text = format!("{text}: {inner}");
        source = inner.source();
    }
    Error::system(format!("the kernel does not take the maps of fwctl: {text}"))
}

/// The last lines of a verifier's log say what it refused.
fn verifier_error(name: &str, error: &ProgramError) -> Error {
    let ProgramError::LoadError { io_error, verifier_log } = error else {
        return Error::system(format!("the kernel does not take the program \"{name}\": {error}"));
    };
    let log = verifier_log.to_string();
    // Its statistics stand behind them.
    let is_statistics = |line: &str| {
        ["verification time ", "stack depth ", "processed "].iter().any(|start| line.starts_with(start))
    };
    let lines: Vec<&str> =
        log.lines().filter(|line| !line.trim().is_empty() && !is_statistics(line)).collect();
    let last = lines.iter().rev().take(3).rev().copied().collect::<Vec<_>>().join("; ");
    Error::system(format!("the kernel does not take the program \"{name}\": {io_error}: {last}"))
}

//! Compiles a [`Policy`] into one generation of tables: the lines that the data plane searches.
//!
//! Pure and deterministic: policy, devices and earlier numbers in, lines out. Knows no aya and no device of the host.
//!
//! | module | what it is for |
//! | --- | --- |
//! | `rules`, `numbering` | every rule with its counter slot, every interface with its zone; stable over loads |
//! | `book`, `entry`, `services` | the ordered lists that the devices need, each once |
//! | `sources`, `classes`, `unions` | sets of CIDRs → address classes |
//! | `layers`, `columns`, `rows` | list and class → row: the first match, flattened |
//! | `members` | members of groups that come and go, without compiling anew |
//! | `flattened` | the same as sets, for comparing two generations |
//! | `bounds` | how large tables may be, and what to say of those that are larger |
//! | `tracking` | which flows AWS does not track |
//! | `tree`, `heap`, `device`, `device_table` | how all this lies in lines |

mod binding;
mod book;
mod bounds;
mod classes;
mod columns;
mod device;
mod device_table;
mod entry;
mod flattened;
mod heap;
mod image;
mod layers;
#[cfg(test)]
pub(crate) mod lcg;
mod members;
mod numbering;
mod rows;
mod rules;
mod services;
mod sources;
#[cfg(test)]
mod tests;
mod tracking;
mod tree;
mod unions;

use std::collections::{HashMap, HashSet};

use fw_common::Direction;
use fw_common::layout::{Root, RowTable};
use serde::{Deserialize, Serialize};

use crate::model::{MidStream, Policy};
use book::Book;
use bounds::{Limits, mebibytes};
use classes::Classes;
use device::Device;
use heap::{Full, Heap};
use numbering::Renumbering;
use rows::Tables;
use rules::Rules;

pub(crate) use binding::attached;
pub(crate) use binding::pretend_bindings_like;
pub use binding::{Binding, Carries, pretend_bindings};
pub(crate) use book::ListId;
pub use bounds::{Bounds, DEFAULT_MAX_MEMORY};
pub(crate) use device::Filter;
pub(crate) use flattened::Flattened;
pub use heap::Patch;
pub use image::{Damaged, Held};
pub use members::{Change, CompileAnew, Members};
pub use numbering::{Numbering, Numbers};
pub(crate) use rows::Passing;
pub use tracking::{Older, OpenRules, older_connections};
pub(crate) use tracking::{tracks_tcp, untracked_tcp};

/// Which layer a rule belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RuleKind {
    /// A rule of a security group.
    SecurityGroup,
    /// An entry of a network ACL.
    NetworkAcl,
}

/// A rule and where it is counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleInfo {
    /// Counter slot.
    pub slot: u32,
    /// From when the slot is this rule's, nanoseconds of `CLOCK_MONOTONIC`: what decided earlier under its number was
    /// another rule, which is no more. 0 if there was none.
    pub born_ns: u64,
    /// Group rule or ACL entry.
    pub kind: RuleKind,
    /// The group's or the ACL's name.
    pub id: String,
    /// Inbound or outbound.
    #[serde(with = "direction")]
    pub direction: Direction,
    /// The rule's id, the entry's number, or `*` for the implicit last entry.
    pub rule: String,
    /// As written.
    pub description: Option<String>,
}

/// One generation, ready to be published.
#[derive(Debug, Clone)]
pub struct Compiled {
    /// The lines to be written, and the root that then leads to them and to those that are there already.
    pub patch: Patch,
    /// In the order of the file, groups first; an ACL's implicit last entry behind its written ones.
    pub rules: Vec<RuleInfo>,
    /// Zone, name and kind (`interface` or `subnet`) of what has an attachment.
    pub zones: Vec<(u32, String, &'static str)>,
    /// To be handed to the next load.
    pub numbering: Numbering,
    /// Slots newly given out: their counters must be zeroed before this is published.
    pub fresh_slots: Vec<u32>,
    /// Highest counter slot, plus one.
    pub rule_slots: u32,
    /// Highest zone, plus one.
    pub zone_slots: u32,
    /// Address classes: IPv4, IPv6.
    pub classes: [usize; 2],
    /// For members of groups that come and go.
    pub members: Members,
}

/// Why a policy cannot become a generation.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CompileError {
    /// More zones than there are numbers.
    #[error("more than {max} interfaces and legs have a device, remove some")]
    TooManyInterfaces {
        /// How many there may be.
        max: u32,
    },
    /// More rules than there are counter slots.
    #[error("more than {max} rules, remove some")]
    TooManyRules {
        /// How many there may be.
        max: u32,
    },
    /// Interface indexes that no table of a sensible size holds.
    #[error("the indexes of {devices} devices cannot be spread over the device table, remove some devices")]
    TooManyDevices {
        /// How many there are.
        devices: usize,
    },
    /// Two bindings of one device.
    #[error("device {device} (index {ifindex}) is named twice")]
    DeviceTwice {
        /// Device name.
        device: String,
        /// Interface index.
        ifindex: u32,
    },
    /// A binding to what the policy does not attach.
    #[error("device {device} is to carry {kind} {name}, which has no device in the rules")]
    UnknownBinding {
        /// Device name.
        device: String,
        /// `interface` or `subnet`.
        kind: &'static str,
        /// Name in the rules.
        name: String,
    },
    /// The tables would be larger than they may be.
    #[error("the tables are too large, {what} no longer fit; allow more with --max-memory")]
    TooLarge {
        /// What was being built.
        what: String,
    },
    /// The same, with what is to blame for it.
    #[error("{what} need about {} of memory, --max-memory allows {}: {why}", mebibytes(*.bytes), mebibytes(*.max))]
    Blowup {
        /// What was being built.
        what: String,
        /// What it would take, bytes.
        bytes: u64,
        /// What it may take, bytes.
        max: u64,
        /// What makes it so large, and what helps.
        why: String,
    },
    /// The tables may fit, but nobody would wait for them.
    #[error("{what} take too long to work out: {why}")]
    TooMuchWork {
        /// What was being built.
        what: String,
        /// What makes it so much, and what helps.
        why: String,
    },
}

/// Compiles a policy for these devices, into an empty array, within the bounds that apply where nobody names others.
pub fn compile(
    policy: &Policy,
    bindings: &[Binding],
    numbers: impl Into<Numbers>,
    generation: u32,
) -> Result<Compiled, CompileError> {
    let root = Root { generation, ..Root::default() };
    compile_beside(&Held::nothing(), policy, bindings, numbers, root, &Bounds::default())
}

/// Compiles a policy for these devices, beside what an array holds, with the generation, the deadline and the
/// predecessor of `root`.
pub fn compile_beside(
    held: &Held<'_>,
    policy: &Policy,
    bindings: &[Binding],
    numbers: impl Into<Numbers>,
    root: Root,
    bounds: &Bounds,
) -> Result<Compiled, CompileError> {
    let mut indexes = HashSet::new();
    if let Some(twice) = bindings.iter().find(|binding| !indexes.insert(binding.ifindex)) {
        return Err(CompileError::DeviceTwice { device: twice.device.clone(), ifindex: twice.ifindex });
    }
    let mut numbers = Renumbering::new(numbers);
    let zones = number_zones(policy, &mut numbers)?;
    let aws_default = rules::aws_default_acl();
    let rules = Rules::number(policy, &aws_default, &mut numbers)?;

    let mut book = Book::new(policy, bindings, &rules);
    let mut devices = Vec::with_capacity(bindings.len());
    for binding in bindings {
        // What has no zone has no attachment, which is an error below.
        let zone = zones.get(&binding.carries).copied().unwrap_or(0);
        devices.push(Device::new(policy, binding, zone, &mut book)?);
    }
    let groups = book.member_sets();
    let (entries, sets, lists, [ipv4, ipv6]) = book.finish();
    let classes = [Classes::new(ipv4, 32), Classes::new(ipv6, 128)];

    let limits = Limits::new(bounds, &rules.infos);
    limits.check_tables(&lists, &classes)?;
    let mut heap = Heap::beside(held, limits.lines());
    let ipv4 = classes[0].search(&mut heap).map_err(|Full| limits.too_many_addresses("IPv4", &heap))?;
    let ipv6 = classes[1].search(&mut heap).map_err(|Full| limits.too_many_addresses("IPv6", &heap))?;
    let mut tables = Tables::new(&entries, &sets, &classes, bounds.max_memory);
    let mut known: HashMap<(ListId, usize), RowTable> = HashMap::new();
    let mut places = Vec::with_capacity(devices.len());
    for device in &devices {
        places.push(device.write(&mut heap, |heap, id, family| {
            if let Some(rows) = known.get(&(id, family)) {
                return Ok(*rows);
            }
            let rows = tables.table(heap, &lists[id], family);
            let rows = rows.map_err(|blowup| limits.blown_up(&lists[id], &entries, &blowup))?;
            known.insert((id, family), rows);
            Ok(rows)
        })?);
    }
    let (devices, device_mask) = device_table::build(&mut heap, &places)?;
    let pickup = policy.settings.mid_stream == MidStream::Pickup;
    let root = Root { devices, device_mask, pickup, ipv4: ipv4.0, ipv6: ipv6.0, ..root };
    let infos = rules.infos;
    let (numbering, fresh_slots) = numbers.finish();
    let mut zones: Vec<_> =
        zones.into_iter().map(|(carries, zone)| (zone, carries.name().to_owned(), carries.kind())).collect();
    zones.sort_unstable();
    Ok(Compiled {
        patch: heap.finish(root).map_err(|Full| CompileError::TooLarge { what: "the root".to_owned() })?,
        rules: infos,
        zone_slots: zones.last().map_or(1, |(zone, ..)| zone + 1),
        zones,
        rule_slots: numbering.rule_slots(),
        numbering,
        fresh_slots,
        classes: [classes[0].len(), classes[1].len()],
        members: Members::new(classes, groups),
    })
}

/// The zone of everything that has an attachment, whether its device exists or not.
fn number_zones(policy: &Policy, numbers: &mut Renumbering) -> Result<HashMap<Carries, u32>, CompileError> {
    let attached: Vec<Carries> = attached(policy).map(|(carries, _)| carries).collect();
    let names: Vec<String> = attached.iter().map(Carries::identity).collect();
    let zones = numbers.zones(&names)?;
    Ok(attached.into_iter().zip(zones).collect())
}

/// A direction as its word.
mod direction {
    use fw_common::Direction;
    use serde::de::Error;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(direction: &Direction, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(direction.name())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Direction, D::Error> {
        match String::deserialize(from)?.as_str() {
            "ingress" => Ok(Direction::Ingress),
            "egress" => Ok(Direction::Egress),
            other => Err(D::Error::custom(format!("direction {other:?}, expected ingress or egress"))),
        }
    }
}

//! Start on a live host: established TCP connections of the host itself are known to its kernel, and those that the rules
//! allow get entries before the rules are in force. What the host only forwards has no socket; for that there is the
//! adoption window, which trusts what strangers send, where this trusts the kernel alone.

mod sockets;
mod trial;

use std::net::IpAddr;

use fw_common::layout::Line;
use fw_common::{Direction, FlowKey};
use rustc_hash::{FxHashMap, FxHashSet};

use self::sockets::{Connected, Sockets};
use self::trial::{Outcome, Trial};
use super::connections::ConnectionTable;
use super::plan::Plan;
use super::store::Store;
use crate::compile::Binding;

/// The connections that devices have when they are filtered for the first time.
pub(super) struct Takeover<'a> {
    store: &'a Store,
    devices: Vec<&'a Binding>,
    /// Those that have become entries.
    taken: FxHashSet<FlowKey>,
    last: Result<Rest, String>,
}

/// When a pass is made: see [`Trial`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
    /// The rules are written and not in force yet: what the table has of these devices is left from another time.
    Before,
    /// They are in force: what the table has is what packets and the pass before have made.
    After,
}

/// What has not become an entry, in one pass.
#[derive(Debug, Default, Clone)]
struct Rest {
    no_room: u64,
    not_allowed: Vec<Connected>,
}

impl<'a> Takeover<'a> {
    /// Of the newcomers of a plan.
    pub(super) fn of(plan: &'a Plan, store: &'a Store) -> Self {
        let is_new = |device: &&Binding| plan.newcomers.contains(&device.ifindex);
        let devices = plan.bindings.iter().filter(is_new).collect();
        Self { store, devices, taken: FxHashSet::default(), last: Ok(Rest::default()) }
    }

    /// Takes over what is there now and allowed by the generation with its root at this line.
    pub(super) fn pass(&mut self, lines: &[Line], root: u32, moment: Moment) {
        if !self.devices.is_empty() {
            self.last = self.try_pass(lines, root, moment);
        }
    }

    /// How many have become entries.
    pub(super) fn taken(&self) -> u64 {
        self.taken.len() as u64
    }

    fn try_pass(&mut self, lines: &[Line], root: u32, moment: Moment) -> Result<Rest, String> {
        let sockets = Sockets::list()?;
        let mut of_devices: Vec<Vec<&Connected>> = vec![Vec::new(); self.devices.len()];
        let owners = self.owners();
        for connected in &sockets.connected {
            for &owner in owners.get(&connected.local.ip()).into_iter().flatten() {
                let is_there = !is_link_local(connected.local.ip())
                    || self.devices.get(owner).is_some_and(|device| device.ifindex == connected.ifindex);
                if is_there && let Some(of_device) = of_devices.get_mut(owner) {
                    of_device.push(connected);
                }
            }
        }
        let mut rest = Rest::default();
        // Its memory is not mapped for nothing: the kernel enters every page.
        if of_devices.iter().all(Vec::is_empty) {
            return Ok(rest);
        }
        let table = ConnectionTable::open(&self.store.maps()).map_err(|error| error.to_string())?;
        for (device, connections) in self.devices.iter().zip(of_devices) {
            let Some(trial) = Trial::of(lines, root, device, &table, moment) else { continue };
            for connected in connections {
                let opened_by =
                    if sockets.is_served(connected) { Direction::Ingress } else { Direction::Egress };
                match trial.take_over(connected, opened_by) {
                    Outcome::TakenOver(key) => drop(self.taken.insert(key)),
                    Outcome::NoRoom => rest.no_room += 1,
                    Outcome::NotAllowed => rest.not_allowed.push(*connected),
                    Outcome::Known | Outcome::NeedsNoEntry => {}
                }
            }
        }
        Ok(rest)
    }

    /// By address, the devices that have it.
    fn owners(&self) -> FxHashMap<IpAddr, Vec<usize>> {
        let mut owners: FxHashMap<IpAddr, Vec<usize>> = FxHashMap::default();
        for (number, device) in self.devices.iter().enumerate() {
            for address in &device.addresses {
                owners.entry(*address).or_default().push(number);
            }
        }
        owners
    }

    /// What is worth knowing of those that were not taken over.
    pub(super) fn notes(&self, conntrack_max: u32, adopt_s: u64) -> Vec<String> {
        let mut notes = Vec::new();
        let rest = match &self.last {
            Ok(rest) => rest,
            Err(error) => {
                let instead = match adopt_s {
                    0 => "they are cut, as \"adopt_seconds\" is 0".to_owned(),
                    _ => format!("their segments are for {adopt_s} s, where the rules allow them"),
                };
                return vec![format!(
                    "established connections of this host were not taken over, since the kernel does not list its \
                     sockets: {error}; {instead}"
                )];
            }
        };
        if rest.no_room > 0 {
            notes.push(format!(
                "the table of connections is full: {} that the rules allow {} not taken over; raise \
                 \"conntrack_max\", now {conntrack_max}",
                connections(rest.no_room),
                if rest.no_room == 1 { "was" } else { "were" },
            ));
        }
        if let Some(Connected { local, remote, .. }) = rest.not_allowed.first() {
            let count = rest.not_allowed.len() as u64;
            notes.push(format!(
                "the rules do not allow {}: {local} with {remote}{}",
                connections(count),
                if count > 1 { " and others" } else { "" },
            ));
        }
        notes
    }
}

fn connections(count: u64) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} established connection{plural} of this host")
}

/// Each device may have the same one.
fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}

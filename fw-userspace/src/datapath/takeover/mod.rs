//! Start on a live host: established TCP connections of the host itself are known to its kernel, and those that the rules
//! allow get entries before the rules are in force. What the host only forwards has no socket; for that there is the
//! adoption window, which trusts what strangers send, where this trusts the kernel alone.

mod sockets;
mod trial;

use std::net::{IpAddr, SocketAddr};

use fw_common::Direction;
use fw_common::conntrack::Class;
use fw_common::layout::Line;
use rustc_hash::{FxHashMap, FxHashSet};

use self::sockets::{Connected, Sockets};
use self::trial::{Outcome, Trial};
use super::connections::ConnectionTable;
use super::plan::Plan;
use super::store::Store;
use super::upkeep;
use crate::compile::Binding;

/// The connections that devices have when they are filtered for the first time.
pub(super) struct Takeover<'a> {
    store: &'a Store,
    devices: Vec<&'a Binding>,
    table: Option<ConnectionTable>,
    /// By the number of the device among these.
    judged: FxHashSet<(usize, SocketAddr, SocketAddr)>,
    /// How many have become entries.
    taken: u64,
    no_room: u64,
    not_allowed: Vec<Connected>,
    /// Why there is no list of sockets.
    failed: Option<String>,
}

/// When a pass is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
    /// The rules are written and not in force yet: what the table has of these devices is left from another time.
    Before,
    /// They are in force: what the table has is what packets have made.
    After,
}

impl<'a> Takeover<'a> {
    /// Of the newcomers of a plan.
    pub(super) fn of(plan: &'a Plan, store: &'a Store) -> Self {
        let is_new = |device: &&Binding| plan.newcomers.contains(&device.ifindex);
        Self {
            store,
            devices: plan.bindings.iter().filter(is_new).collect(),
            table: None,
            judged: FxHashSet::default(),
            taken: 0,
            no_room: 0,
            not_allowed: Vec::new(),
            failed: None,
        }
    }

    /// Takes over what is there now, was not in a pass before, and is allowed by the generation with its root at this line.
    pub(super) fn pass(&mut self, lines: &[Line], root: u32, moment: Moment) {
        if !self.devices.is_empty()
            && let Err(error) = self.try_pass(lines, root, moment)
        {
            self.failed = Some(error);
        }
    }

    /// How many have become entries.
    pub(super) fn taken(&self) -> u64 {
        self.taken
    }

    fn try_pass(&mut self, lines: &[Line], root: u32, moment: Moment) -> Result<(), String> {
        let sockets = Sockets::list()?;
        let new = self.new_ones(&sockets);
        // Its memory is not mapped for nothing: the kernel enters every page.
        if new.is_empty() {
            return Ok(());
        }
        let table = match &mut self.table {
            Some(table) => table,
            none => {
                none.insert(ConnectionTable::open(&self.store.maps()).map_err(|error| error.to_string())?)
            }
        };
        let trial = |device: &&'a Binding| Trial::of(lines, root, device, table, moment);
        let trials: Vec<Option<Trial<'_>>> = self.devices.iter().map(trial).collect();
        let mut entries = Vec::new();
        for (device, connected) in new {
            let Some(Some(trial)) = trials.get(device) else { continue };
            let opened_by = if sockets.is_served(connected) { Direction::Ingress } else { Direction::Egress };
            match trial.take_over(connected, opened_by) {
                Outcome::TakenOver(key, entry) => entries.push((key, entry, Class::Assured)),
                Outcome::NotAllowed => self.not_allowed.push(*connected),
                Outcome::Known | Outcome::NeedsNoEntry => {}
            }
        }
        let all = entries.len() as u64;
        // By a program: others may use the table already, and a process can be killed at any moment.
        let lost = upkeep::insert(self.store, entries.into_iter()).map_err(|error| error.to_string())?;
        self.no_room += lost;
        self.taken += all - lost;
        Ok(())
    }

    /// Connections of these devices that were not judged yet, with the number of the device.
    fn new_ones<'s>(&mut self, sockets: &'s Sockets) -> Vec<(usize, &'s Connected)> {
        let owners = self.owners();
        let mut new = Vec::new();
        for connected in &sockets.connected {
            let Connected { local, remote, ifindex, .. } = connected;
            for &owner in owners.get(&local.ip()).into_iter().flatten() {
                let is_there = !is_link_local(local.ip())
                    || self.devices.get(owner).is_some_and(|device| device.ifindex == *ifindex);
                if is_there && self.judged.insert((owner, *local, *remote)) {
                    new.push((owner, connected));
                }
            }
        }
        new
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
        if let Some(error) = &self.failed {
            let instead = match adopt_s {
                0 => "they are cut, as \"adopt_seconds\" is 0".to_owned(),
                _ => format!("their segments are for {adopt_s} s, where the rules allow them"),
            };
            notes.push(format!(
                "established connections of this host were not taken over, since the kernel does not list its sockets: \
                 {error}; {instead}"
            ));
        }
        if self.no_room > 0 {
            notes.push(format!(
                "the table of connections is full: {} that the rules allow {} not taken over; raise \"conntrack_max\", \
                 now {conntrack_max}",
                connections(self.no_room),
                if self.no_room == 1 { "was" } else { "were" },
            ));
        }
        if let [Connected { local, remote, .. }, others @ ..] = &self.not_allowed[..] {
            notes.push(format!(
                "the rules do not allow {}: {local} with {remote}{}",
                connections(self.not_allowed.len() as u64),
                if others.is_empty() { "" } else { " and others" },
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

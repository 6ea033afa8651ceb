//! Start on a live host: flows that the kernel knows, and that the rules allow, get entries before the rules are in force.
//! It knows them by its sockets, also those of an instance whose network namespace can be entered, and by its own
//! connection tracking where that runs. Of the rest there is the adoption window, which trusts what strangers send, where
//! this trusts the kernel alone.

mod account;
mod dump;
mod ends;
mod known;
mod look;
mod namespace;
mod questions;
mod sockets;
mod tracked;
mod trial;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use fw_common::conntrack::{Class, Connection, State};
use fw_common::layout::Line;
use fw_common::{Direction, FlowKey};
use rustc_hash::FxHashSet;

use self::account::{Account, Knowledge, Source};
pub(super) use self::ends::Ends;
use self::look::{Candidate, Look, Newcomer};
use self::trial::{Outcome, Trial};
use super::connections::ConnectionTable;
use super::plan::Plan;
use super::store::Store;
use super::upkeep;
use crate::compile::Binding;
use crate::report::TakenOver;

/// Answers that are awaited after one load, at most: each is a place in the table.
const MOST_ANSWERS: u64 = 1024;

/// The flows that devices have when they are filtered for the first time.
pub(super) struct Takeover<'a> {
    store: &'a Store,
    devices: Vec<Newcomer<'a>>,
    table: Option<ConnectionTable>,
    /// By the number of the device among these.
    judged: FxHashSet<(usize, u8, SocketAddr, SocketAddr)>,
    account: Account,
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
        let newcomer = |binding: &'a Binding| {
            let is_new = plan.newcomers.contains(&binding.ifindex);
            plan.ends.of(binding.ifindex).filter(|_| is_new).map(|end| Newcomer::of(binding, end))
        };
        Self {
            store,
            devices: plan.bindings.iter().filter_map(newcomer).collect(),
            table: None,
            judged: FxHashSet::default(),
            account: Account::default(),
        }
    }

    /// Takes over what is there now, was not in a pass before, and is allowed by the generation with its root at this line.
    pub(super) fn pass(&mut self, lines: &[Line], root: u32, moment: Moment) {
        if !self.devices.is_empty()
            && let Err(error) = self.try_pass(lines, root, moment)
        {
            self.account.without_sockets(None, error);
        }
    }

    /// How many connections have become entries.
    pub(super) fn taken(&self) -> u64 {
        self.account.connections()
    }

    /// All that have, and by what knowledge.
    pub(super) fn report(&self) -> Vec<TakenOver> {
        self.account.report()
    }

    /// What is worth knowing of those that were not taken over.
    pub(super) fn notes(&self, conntrack_max: u32, adopt_s: u64) -> Vec<String> {
        self.account.notes(conntrack_max, adopt_s)
    }

    fn try_pass(&mut self, lines: &[Line], root: u32, moment: Moment) -> Result<(), String> {
        let look = Look::at(&mut self.devices);
        look.tell_gaps(&self.devices, &mut self.account);
        let mut new = look.candidates(&self.devices);
        new.retain(|Candidate { device, flow, .. }| {
            self.judged.insert((*device, flow.protocol, flow.local, flow.remote))
        });
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
        let trial = |newcomer: &Newcomer<'a>| {
            Trial::of(lines, root, newcomer.binding, newcomer.faces(), table, moment)
        };
        let trials: Vec<Option<Trial<'_>>> = self.devices.iter().map(trial).collect();
        let mut entries: BTreeMap<Source, Vec<(FlowKey, Connection, Class)>> = BTreeMap::new();
        let mut answers_to_go = self.account.answers_to_go();
        for Candidate { device, flow, knowledge } in new {
            let (Some(Some(trial)), Some(newcomer)) = (trials.get(device), self.devices.get(device)) else {
                continue;
            };
            let is_answer = knowledge == Knowledge::Answers;
            let source = Source { knowledge, instance: newcomer.instance(), protocol: flow.protocol };
            match trial.take_over(&flow) {
                Outcome::TakenOver(..) if is_answer && answers_to_go == 0 => self.account.leave_answer(),
                Outcome::TakenOver(key, mut entry) => {
                    if is_answer {
                        answers_to_go -= 1;
                        trial::await_answer(&mut entry);
                    }
                    entries.entry(source).or_default().push((key, entry, class(&entry)));
                }
                Outcome::NotAllowed => self.account.refuse(source, &flow),
                Outcome::Known | Outcome::NeedsNoEntry => {}
            }
        }
        for (source, entries) in entries {
            let all = entries.len() as u64;
            // By a program: others may use the table already, and a process can be killed at any moment.
            let lost = upkeep::insert(self.store, entries.into_iter()).map_err(|error| error.to_string())?;
            self.account.take(source, all, lost);
        }
        Ok(())
    }
}

/// A connection that the kernel knows to be established is proven, and so is a stream that this side has begun.
fn class(entry: &Connection) -> Class {
    let status = entry.status();
    match status.state() {
        State::Established | State::HalfClosed | State::Closed => Class::Assured,
        State::Stream | State::Lasting if status.opened_by() == Direction::Egress.code() => Class::Assured,
        State::Stream | State::Lasting => Class::Stream,
        _ => entry.first_class(),
    }
}

/// Whether it can be that of one host on a wire.
fn is_host(address: IpAddr) -> bool {
    !address.is_unspecified() && !address.is_loopback() && !address.is_multicast()
}

/// Each device may have the same one.
fn is_link_local(address: IpAddr) -> bool {
    matches!(address, IpAddr::V6(address) if address.is_unicast_link_local())
}

//! What is loaded stays as the rules want it while the host changes: devices come and go, somebody takes a program off a
//! hook, addresses move, a command is killed midway.

use std::collections::HashSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::current::{Current, policy_of};
use super::devices;
use super::grant::Wish;
use super::lock::Lock;
use super::plan;
use super::resident::Resident;
use super::store::Store;
use super::{LoadOptions, hooks};
use crate::compile::{Binding, Carries};
use crate::error::Result;
use crate::model::Policy;
use crate::report::LoadReport;

/// Keeps what is loaded under a directory in order.
pub struct Keeper {
    bpffs: PathBuf,
    known: Option<Known>,
    again: Again,
    resident: Option<Resident>,
}

/// When devices are tried again that could not be filtered: each pause is twice the one before.
#[derive(Debug, Default)]
struct Again {
    at: Option<Instant>,
    pause: Duration,
}

impl Again {
    const FIRST: Duration = Duration::from_secs(5);
    const LONGEST: Duration = Duration::from_mins(5);

    fn is_due(&mut self, refused: &[(u32, String)]) -> bool {
        if refused.is_empty() {
            *self = Self::default();
            return false;
        }
        let pause = self.pause.max(Self::FIRST);
        *self.at.get_or_insert_with(|| Instant::now() + pause) <= Instant::now()
    }

    fn tried(&mut self) {
        if self.at.take_if(|at| *at <= Instant::now()).is_some() {
            self.pause = (self.pause.max(Self::FIRST) * 2).min(Self::LONGEST);
        }
    }
}

/// What of the rules of a generation is asked again and again.
struct Known {
    generation: u32,
    /// Interfaces whose addresses are those of their devices.
    follow: HashSet<String>,
}

/// Something that was not as the rules want it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A device is there that was not.
    DeviceCame {
        /// As the kernel calls it.
        device: String,
        /// What it carries now.
        interface: String,
    },
    /// A device has gone, has another name, or is meant by the rules no more.
    DeviceWent {
        /// As the kernel called it.
        device: String,
        /// What it carried.
        interface: String,
    },
    /// A device has other addresses, which are those of its interface.
    AddressesChanged {
        /// As the kernel calls it.
        device: String,
        /// What it carries.
        interface: String,
    },
    /// Our program was not where it should be.
    HookLost {
        /// As the kernel calls it.
        device: String,
        /// `received` or `sent`.
        side: &'static str,
        /// What was there instead.
        problem: String,
    },
    /// A device could not be filtered, which is tried again.
    Refused {
        /// As the kernel calls it.
        device: String,
        /// Why it could not.
        why: String,
    },
    /// A command was killed while it put new programs in place.
    CutOff,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DeviceCame { device, interface } => write!(f, "{device:?} came and carries {interface:?}"),
            Self::DeviceWent { device, interface } => write!(f, "{device:?} went, it carried {interface:?}"),
            Self::AddressesChanged { device, interface } => {
                write!(f, "{device:?} has other addresses, so has {interface:?}")
            }
            Self::HookLost { device, side, problem } => {
                write!(f, "{device:?} was not filtered ({side}): {problem}")
            }
            Self::Refused { device, why } => {
                write!(f, "{device:?} is not filtered, which is tried again: {why}")
            }
            Self::CutOff => f.write_str("a command was killed while it put new programs in place"),
        }
    }
}

/// What was put in order.
#[derive(Debug, Clone)]
pub struct Mended {
    /// What was not as it should be.
    pub changes: Vec<Change>,
    /// The load that mended it; `None` where changed lines of the tables did.
    pub report: Option<LoadReport>,
}

impl Keeper {
    /// Nothing is looked at yet.
    pub fn new(bpffs: &Path) -> Self {
        Self { bpffs: bpffs.to_owned(), known: None, again: Again::default(), resident: None }
    }

    /// Looks at all devices and hooks, and puts in order what is not; `None` if everything is, or if there is nothing to
    /// be kept: nothing is loaded, or what is waits for its confirmation.
    pub fn mend(&mut self) -> Result<Option<Mended>> {
        let Some((store, current)) = self.current()? else { return Ok(None) };
        let changes = self.changes(&store, &current)?;
        if changes.is_empty() {
            return Ok(None);
        }
        if changes.iter().all(|change| matches!(change, Change::AddressesChanged { .. })) {
            self.follow_addresses(&changes)?;
            return Ok(Some(Mended { changes, report: None }));
        }
        let _lock = Lock::take(&self.bpffs)?;
        // Again: whoever had the lock may have done it.
        let Some((store, current)) = self.current()? else { return Ok(None) };
        let changes = self.changes(&store, &current)?;
        if changes.is_empty() {
            return Ok(None);
        }
        let Some(current) = Current::read_to_change(&store)? else { return Ok(None) };
        let source = store.read_source(current.state.generation)?;
        let policy = policy_of(&source)?;
        let options = LoadOptions::again(&current.state);
        let wish = Wish { source: &source, policy: &policy, said: current.state.said(), options: &options };
        let report = wish.grant(&store, Some(&current))?.report;
        self.again.tried();
        Ok(Some(Mended { changes, report: Some(report) }))
    }

    /// What there is to be kept.
    fn current(&self) -> Result<Option<(Store, Current)>> {
        let Some(store) = Store::open(&self.bpffs)? else { return Ok(None) };
        let Some(current) = Current::read(&store)? else { return Ok(None) };
        Ok(current.refuse_unconfirmed().is_ok().then_some((store, current)))
    }

    fn changes(&mut self, store: &Store, current: &Current) -> Result<Vec<Change>> {
        let devices = devices::list()?;
        let known = self.known(store, current)?;
        let wanted = plan::bindings(&current.state.select(store, &devices));
        let mut changes = Vec::new();
        let bound = &current.state.bindings;
        for Binding { device, carries, .. } in bound.iter().filter(|binding| !is_in(&wanted, binding)) {
            changes.push(Change::DeviceWent { device: device.clone(), interface: carries.name().to_owned() });
        }
        for binding in &wanted {
            let (device, interface) = (binding.device.clone(), binding.carries.name().to_owned());
            match bound.iter().find(|before| is_same(before, binding)) {
                None => changes.push(Change::DeviceCame { device, interface }),
                Some(before) if known.follows(binding) && !same_set(before, binding) => {
                    changes.push(Change::AddressesChanged { device, interface });
                }
                Some(_) => {}
            }
        }
        let is_wanted = |ifindex| wanted.iter().any(|binding| binding.ifindex == ifindex);
        for hook in current.state.hooks.iter().filter(|hook| is_wanted(hook.ifindex)) {
            if let Some(problem) = hooks::verify(hook, &devices, &store.programs()).problem {
                let (device, side) = (hook.device.clone(), hook.side.name());
                changes.push(Change::HookLost { device, side, problem });
            }
        }
        if self.again.is_due(&current.state.refused) {
            for (ifindex, why) in &current.state.refused {
                let device = devices.iter().find(|device| device.ifindex == *ifindex);
                changes.extend(
                    device.map(|device| Change::Refused { device: device.name.clone(), why: why.clone() }),
                );
            }
        }
        if store.reached().is_some() {
            changes.push(Change::CutOff);
        }
        Ok(changes)
    }

    fn known(&mut self, store: &Store, current: &Current) -> Result<&Known> {
        let generation = current.state.generation;
        let known = match self.known.take().filter(|known| known.generation == generation) {
            Some(known) => known,
            None => Known::of(&policy_of(&store.read_source(generation)?)?, generation),
        };
        Ok(self.known.insert(known))
    }

    fn follow_addresses(&mut self, changes: &[Change]) -> Result<()> {
        let Some(resident) = &mut self.resident else {
            // It reads the addresses that there are.
            self.resident = Some(Resident::open(&self.bpffs)?);
            return Ok(());
        };
        for device in devices::list()? {
            let is_of = |change: &Change| matches!(change, Change::AddressesChanged { device: changed, .. } if *changed == device.name);
            if changes.iter().any(is_of) {
                resident.set_addresses(device.ifindex, &device.addresses)?;
            }
        }
        Ok(())
    }
}

impl Known {
    fn of(policy: &Policy, generation: u32) -> Self {
        let follow = policy.interfaces.iter().filter(|(_, interface)| interface.addresses.is_empty());
        Self { generation, follow: follow.map(|(name, _)| name.clone()).collect() }
    }

    fn follows(&self, binding: &Binding) -> bool {
        matches!(&binding.carries, Carries::Interface(name) if self.follow.contains(name))
    }
}

fn is_in(bindings: &[Binding], binding: &Binding) -> bool {
    bindings.iter().any(|other| is_same(other, binding))
}

fn is_same(one: &Binding, other: &Binding) -> bool {
    (one.ifindex, &one.carries) == (other.ifindex, &other.carries)
}

fn same_set(one: &Binding, other: &Binding) -> bool {
    let contains = |one: &Binding, other: &Binding| {
        other.addresses.iter().all(|address| one.addresses.contains(address))
    };
    contains(one, other) && contains(other, one)
}

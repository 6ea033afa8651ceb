//! Which devices carry what, and where they are to be filtered: the rules meet the host.

use std::collections::{BTreeMap, BTreeSet};

use super::current::Current;
use super::devices::Device;
use super::hooks;
use super::state::{Hook, Side, Via};
use super::store::Store;
use super::takeover::Ends;
use crate::compile::{Binding, Carries, Older, OpenRules, attached};
use crate::error::{Error, Result};
use crate::model::{Attachment, Faces, Mode, Policy};

/// What a rule set means on this host.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) bindings: Vec<Binding>,
    pub(super) hooks: Vec<Hook>,
    /// Devices that were not filtered before.
    pub(super) newcomers: Vec<u32>,
    /// Of those, and of the others that adopt: whose connections they carry.
    pub(super) ends: Ends,
    /// (interface or subnet, device as named).
    pub(super) pending: Vec<(String, String)>,
    pub(super) notes: Vec<String>,
}

/// What the user said about devices besides the rules.
#[derive(Debug, Default, Clone)]
pub(super) struct Devices {
    /// Given to an interface.
    pub(super) given: BTreeMap<String, String>,
    /// Taken away.
    pub(super) taken: BTreeSet<String>,
}

/// Connections that are older than the rules.
#[derive(Debug, Clone, Copy)]
pub(super) struct Adoption<'a> {
    /// `CLOCK_MONOTONIC`.
    pub(super) now_ns: u64,
    /// Until when mid-stream TCP is adopted; 0 where it is not.
    pub(super) until_ns: u64,
    /// What the rules leave without an entry.
    pub(super) open_rules: &'a OpenRules,
}

/// Resolves the devices of a policy.
pub(super) fn make(
    policy: &Policy,
    devices: &[Device],
    said: &Devices,
    store: &Store,
    current: Option<&Current>,
    adoption: Adoption<'_>,
) -> Result<Plan> {
    let mut plan = Plan::default();
    let mut faces = BTreeMap::new();
    for (carries, attachment) in attached(policy) {
        let mut meant = meant(devices, said, &carries, attachment);
        let exists = !meant.is_empty();
        meant.retain(|device| !said.taken.contains(&device.name));
        if !exists {
            plan.pending.push((carries.name().to_owned(), attachment.device.to_string()));
        }
        for device in meant {
            if let Some(other) = plan.bindings.iter().find(|binding| binding.ifindex == device.ifindex) {
                return Err(Error::input(format!(
                    "the device \"{}\" is meant by both \"{}\" and \"{}\"; name it for one of them only",
                    device.name,
                    other.carries.name(),
                    carries.name()
                )));
            }
            plan.add(device, &carries, attachment, store, current, adoption)?;
            faces.insert(device.ifindex, attachment.faces);
        }
    }
    plan.find_ends(devices, &faces, adoption);
    Ok(plan)
}

/// Which of these devices are to carry what.
pub(super) fn bindings<'p>(
    devices: &[Device],
    said: &Devices,
    attached: impl Iterator<Item = (Carries, &'p Attachment)>,
) -> Vec<Binding> {
    let mut bindings = Vec::new();
    for (carries, attachment) in attached {
        let meant = meant(devices, said, &carries, attachment).into_iter();
        let meant = meant.filter(|device| !said.taken.contains(&device.name));
        bindings.extend(meant.map(|device| bind(device, &carries)));
    }
    bindings
}

/// The devices of an interface or a leg, those included that were taken away.
fn meant<'d>(
    devices: &'d [Device],
    said: &Devices,
    carries: &Carries,
    attachment: &Attachment,
) -> Vec<&'d Device> {
    let is_meant = |device: &&Device| match said.given.get(&device.name) {
        Some(interface) => *interface == carries.name(),
        None => device.is_meant_by(&attachment.device),
    };
    devices.iter().filter(is_meant).collect()
}

/// A device that carries something.
fn bind(device: &Device, carries: &Carries) -> Binding {
    Binding {
        ifindex: device.ifindex,
        device: device.name.clone(),
        carries: carries.clone(),
        bare: device.bare,
        bridge_port: device.bridge_port,
        addresses: device.addresses.clone(),
        adopt_until_ns: 0,
        older: Older::default(),
        served: None,
    }
}

impl Plan {
    fn add(
        &mut self,
        device: &Device,
        carries: &Carries,
        attachment: &Attachment,
        store: &Store,
        current: Option<&Current>,
        adoption: Adoption<'_>,
    ) -> Result<()> {
        // A device that carries something else now has no connections yet: they are known by what they belong to.
        let is_same = |binding: &&Binding| {
            binding.ifindex == device.ifindex && binding.device == device.name && binding.carries == *carries
        };
        // What has passed unfiltered since rules were not confirmed in time has no entries either.
        let filtering = current.filter(|current| current.is_in_force);
        let before = filtering.and_then(|current| current.state.bindings.iter().find(is_same));
        if before.is_none() {
            self.newcomers.push(device.ifindex);
        }
        let mut binding = bind(device, carries);
        match before.zip(filtering) {
            Some((before, current)) => {
                let older = current.state.open_rules.older(carries.name(), adoption.open_rules);
                binding.go_on_adopting(before, older, adoption.now_ns, adoption.until_ns);
            }
            None => (binding.adopt_until_ns, binding.older) = (adoption.until_ns, Older::all()),
        }
        self.bindings.push(binding);
        let received = current.and_then(|current| hook_of(&current.hooks, device, Side::Received));
        let stays =
            |hook: &&Hook| suits(hook.via, attachment.mode) && !hooks::is_held(store, device, hook.via);
        let (via, why) = match received.filter(stays) {
            Some(hook) => (hook.via, hook.why.clone()),
            None => self.choose(store, device, attachment.mode)?,
        };
        self.hooks.push(hook(device, carries, Side::Received, via, why));
        let sent = current.and_then(|current| hook_of(&current.hooks, device, Side::Sent));
        let via = sent.map_or_else(tc, |hook| hook.via);
        self.hooks.push(hook(device, carries, Side::Sent, via, "the sent side is always TC".to_owned()));
        Ok(())
    }

    /// Looks where the connections of these devices end, and which ports are listened on there.
    fn find_ends(&mut self, devices: &[Device], faces: &BTreeMap<u32, Faces>, adoption: Adoption<'_>) {
        let adopts = |binding: &&Binding| binding.adopt_until_ns > adoption.now_ns;
        let adopting: BTreeSet<u32> =
            self.bindings.iter().filter(adopts).map(|binding| binding.ifindex).collect();
        let asked = |device: &Device| {
            let is_asked = self.newcomers.contains(&device.ifindex) || adopting.contains(&device.ifindex);
            faces.get(&device.ifindex).copied().filter(|_| is_asked)
        };
        self.ends = Ends::find(devices.iter().filter_map(|device| Some((device, asked(device)?))));
        let adopting = self.bindings.iter().filter(adopts);
        for (ifindex, ports) in self.ends.served(adopting) {
            for binding in self.bindings.iter_mut().filter(|binding| binding.ifindex == ifindex) {
                binding.served.clone_from(&ports);
            }
        }
    }

    fn choose(&mut self, store: &Store, device: &Device, mode: Mode) -> Result<(Via, String)> {
        let (xdp, why) = hooks::choose(store, device, mode)?;
        if !xdp && mode == Mode::Auto && device.xdp.is_some() {
            self.notes.push(format!("\"{}\" is filtered by TC: {why}", device.name));
        }
        Ok((if xdp { Via::Xdp } else { tc() }, why))
    }
}

/// TC as this kernel has it; a filter's priority and handle are known once it is attached.
fn tc() -> Via {
    if hooks::has_tcx() { Via::Tcx } else { Via::Tc { priority: 0, handle: 0 } }
}

fn hook(device: &Device, carries: &Carries, side: Side, via: Via, why: String) -> Hook {
    Hook {
        interface: carries.name().to_owned(),
        kind: carries.kind().to_owned(),
        device: device.name.clone(),
        ifindex: device.ifindex,
        side,
        via,
        why,
    }
}

fn hook_of<'a>(hooks: &'a [Hook], device: &Device, side: Side) -> Option<&'a Hook> {
    hooks
        .iter()
        .find(|hook| hook.ifindex == device.ifindex && hook.device == device.name && hook.side == side)
}

/// A hook stays where it is unless the rules now ask for another.
fn suits(via: Via, mode: Mode) -> bool {
    match mode {
        Mode::Auto => true,
        Mode::Xdp => via == Via::Xdp,
        Mode::Tc => via != Via::Xdp,
    }
}

//! Which devices carry what, and where they are to be filtered: the rules meet the host.

use std::collections::{BTreeMap, BTreeSet};

use super::current::Current;
use super::devices::Device;
use super::hooks;
use super::select::{Devices, Renamed, Selected, SelectedBy, Selection, select};
use super::state::{Hook, Side, Via};
use super::store::Store;
use super::takeover::Ends;
use crate::compile::{Binding, Carries, Older, OpenRules, attached};
use crate::error::{Error, Result};
use crate::model::{Faces, Mode, Policy};

/// What a rule set means on this host.
#[derive(Debug, Default)]
pub(super) struct Plan {
    pub(super) bindings: Vec<Binding>,
    /// How each of them came to that.
    pub(super) selected_by: Vec<SelectedBy>,
    pub(super) hooks: Vec<Hook>,
    /// Devices that cannot be filtered, by index, and why.
    pub(super) refused: Vec<(u32, String)>,
    /// Devices that were not filtered before.
    pub(super) newcomers: Vec<u32>,
    /// Of those, and of the others that adopt: whose connections they carry.
    pub(super) ends: Ends,
    /// (interface or subnet, device as named).
    pub(super) pending: Vec<(String, String)>,
    pub(super) notes: Vec<String>,
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
    each_alone: bool,
) -> Result<Plan> {
    let mut plan = Plan::default();
    let mut faces = BTreeMap::new();
    let renamed = current.map(|current| Renamed::find(store, &current.state, devices)).unwrap_or_default();
    let selection = select(devices, said, attached(policy), &renamed);
    plan.pending = selection.pending;
    for selected in &selection.selected {
        plan.tell(selected);
        plan.bind(selected, current, adoption);
        match plan.hook(selected, store, current) {
            Err(error) if each_alone => {
                plan.refuse_device(selected.device.ifindex, &selected.device.name, &error)
            }
            hooked => hooked?,
        }
        faces.insert(selected.device.ifindex, selected.attachment.faces);
    }
    plan.find_ends(devices, &faces, adoption);
    Ok(plan)
}

/// What the selected devices carry.
pub(super) fn bindings(selection: &Selection<'_, '_>) -> Vec<Binding> {
    selection.selected.iter().map(|selected| bind(selected.device, &selected.carries)).collect()
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
    /// What the operator may not expect of a device.
    fn tell(&mut self, selected: &Selected<'_, '_>) {
        let (device, carries) = (&selected.device.name, selected.carries.name());
        if let Some(rival) = &selected.rival {
            self.notes.push(format!(
                "{device:?} is meant by both {carries:?} and {:?}, and neither says more of it: it carries {carries:?}",
                rival.name()
            ));
        }
        if let Some(name) = &selected.known_as {
            self.notes.push(format!(
                "{device:?} was {name:?} when the rules selected it, and carries {carries:?} still; name it in the file, \
                 or let go of it with `fwctl detach {device}`"
            ));
        }
    }

    /// A hook that could not be attached.
    pub(super) fn refuse(&mut self, hook: &Hook, error: &Error) {
        self.refuse_device(hook.ifindex, &hook.device, error);
    }

    fn refuse_device(&mut self, ifindex: u32, device: &str, error: &Error) {
        self.notes.push(format!("\"{device}\" is not filtered: {error}"));
        self.refused.push((ifindex, error.to_string()));
    }

    fn bind(&mut self, selected: &Selected<'_, '_>, current: Option<&Current>, adoption: Adoption<'_>) {
        let Selected { device, carries, .. } = selected;
        // A device that carries something else now has no connections yet: they are known by what they belong to.
        let is_same = |binding: &&Binding| binding.ifindex == device.ifindex && binding.carries == *carries;
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
        self.selected_by.push(selected.by());
    }

    fn hook(&mut self, selected: &Selected<'_, '_>, store: &Store, current: Option<&Current>) -> Result<()> {
        let Selected { device, carries, attachment, .. } = selected;
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
    hooks.iter().find(|hook| hook.ifindex == device.ifindex && hook.side == side)
}

/// A hook stays where it is unless the rules now ask for another.
fn suits(via: Via, mode: Mode) -> bool {
    match mode {
        Mode::Auto => true,
        Mode::Xdp => via == Via::Xdp,
        Mode::Tc => via != Via::Xdp,
    }
}

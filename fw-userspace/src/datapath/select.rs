//! Which devices of the host the rules select, and what each of them carries.

use std::collections::{BTreeMap, BTreeSet};

use rustc_hash::FxHashSet;
use serde::{Deserialize, Serialize};

use super::devices::Device;
use super::hooks;
use super::state::State;
use super::store::Store;
use crate::compile::Carries;
use crate::model::Attachment;

/// What the user said about devices besides the rules.
#[derive(Debug, Default, Clone)]
pub(super) struct Devices {
    /// Given to an interface.
    pub(super) given: BTreeMap<String, String>,
    /// Taken away.
    pub(super) taken: BTreeSet<String>,
}

/// How a device came to what it carries, as it is remembered beside its binding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct SelectedBy {
    /// The device as the rules had it.
    pub(super) selector: String,
    /// Its name when the rules last knew it.
    pub(super) name: String,
}

/// A device that has another name than when it was selected, and still runs our program: it is the same device.
#[derive(Debug, Clone)]
pub(super) struct Renamed {
    ifindex: u32,
    carries: Carries,
    by: SelectedBy,
}

impl Renamed {
    /// Those of a generation. An index alone would be that of another device by now.
    pub(super) fn find(store: &Store, state: &State, devices: &[Device]) -> Vec<Self> {
        let runs_ours = |ifindex: u32| {
            let mut hooks = state.hooks.iter().filter(|hook| hook.ifindex == ifindex);
            hooks.any(|hook| hooks::verify(hook, devices, &store.programs()).problem.is_none())
        };
        let mut found = Vec::new();
        for (binding, by) in state.bindings.iter().zip(&state.selected_by) {
            let device = devices.iter().find(|device| device.ifindex == binding.ifindex);
            if device.is_some_and(|device| device.name != by.name) && runs_ours(binding.ifindex) {
                found.push(Self {
                    ifindex: binding.ifindex,
                    carries: binding.carries.clone(),
                    by: by.clone(),
                });
            }
        }
        found
    }
}

/// A device, what it carries, and how it came to it.
#[derive(Debug)]
pub(super) struct Selected<'d, 'p> {
    pub(super) device: &'d Device,
    pub(super) carries: Carries,
    pub(super) attachment: &'p Attachment,
    /// Another interface whose selector takes it, and says neither more nor less of it.
    pub(super) rival: Option<Carries>,
    /// The name that the rules know, where the device has another by now.
    pub(super) known_as: Option<String>,
}

impl Selected<'_, '_> {
    pub(super) fn by(&self) -> SelectedBy {
        SelectedBy {
            selector: self.attachment.device.to_string(),
            name: self.known_as.clone().unwrap_or_else(|| self.device.name.clone()),
        }
    }
}

/// What the rules select.
#[derive(Debug, Default)]
pub(super) struct Selection<'d, 'p> {
    pub(super) selected: Vec<Selected<'d, 'p>>,
    /// Interface or subnet, device as named: there is none such.
    pub(super) pending: Vec<(String, String)>,
}

/// Each device gets what the most specific selector says. One that is filtered and has been renamed keeps what it
/// carries: its name said which device was meant, and it is that device still.
pub(super) fn select<'d, 'p>(
    devices: &'d [Device],
    said: &Devices,
    attached: impl Iterator<Item = (Carries, &'p Attachment)>,
    renamed: &[Renamed],
) -> Selection<'d, 'p> {
    let attached: Vec<(Carries, &Attachment)> = attached.collect();
    let mut selection = Selection::default();
    let mut carried = FxHashSet::default();
    for device in devices {
        let Some(selected) = choose(device, said, &attached, renamed) else { continue };
        carried.insert(selected.carries.clone());
        if !said.taken.contains(&device.name) {
            selection.selected.push(selected);
        }
    }
    // In the order of the rules, as everything that is counted or printed.
    let place = |selected: &Selected<'_, '_>| {
        attached.iter().position(|(carries, _)| *carries == selected.carries).unwrap_or(usize::MAX)
    };
    selection.selected.sort_by_cached_key(place);
    selection.pending = attached
        .iter()
        .filter(|(carries, _)| !carried.contains(carries))
        .map(|(carries, attachment)| (carries.name().to_owned(), attachment.device.to_string()))
        .collect();
    selection
}

fn choose<'d, 'p>(
    device: &'d Device,
    said: &Devices,
    attached: &[(Carries, &'p Attachment)],
    renamed: &[Renamed],
) -> Option<Selected<'d, 'p>> {
    let as_selected = |(carries, attachment): &(Carries, &'p Attachment)| Selected {
        device,
        carries: carries.clone(),
        attachment,
        rival: None,
        known_as: None,
    };
    if let Some(interface) = said.given.get(&device.name) {
        return attached.iter().find(|(carries, _)| carries.name() == interface).map(as_selected);
    }
    let mut best: Option<Selected<'d, 'p>> = None;
    for one in attached.iter().filter(|(_, attachment)| device.is_meant_by(&attachment.device)) {
        let Some(best) = &mut best else {
            best = Some(as_selected(one));
            continue;
        };
        let (asked, so_far) = (one.1.device.specificity(), best.attachment.device.specificity());
        if asked > so_far {
            *best = as_selected(one);
        } else if asked == so_far && best.rival.is_none() {
            best.rival = Some(one.0.clone());
        }
    }
    best.or_else(|| {
        let known = renamed.iter().find(|known| known.ifindex == device.ifindex)?;
        let is_same = |(carries, attachment): &&(Carries, &Attachment)| {
            *carries == known.carries && attachment.device.to_string() == known.by.selector
        };
        let mut selected = attached.iter().find(is_same).map(as_selected)?;
        selected.known_as = Some(known.by.name.clone());
        Some(selected)
    })
}

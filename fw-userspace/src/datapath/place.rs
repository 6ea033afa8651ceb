//! The places in the kernel where our programs are, as sets: what is to be attached, what is to go.

use super::devices::Device;
use super::expedite::Expedited;
use super::hooks;
use super::links::{self, Pinned};
use super::state::{Hook, Via};
use super::store::Store;
use crate::error::{Error, Result};

/// What came of hooks that were wanted.
pub(super) struct Attached {
    /// Those that are there.
    pub(super) hooks: Vec<Hook>,
    /// Those that could not be, and why.
    pub(super) refused: Vec<(Hook, Error)>,
}

/// Attaches what is not attached yet. What fails is left out if each device stands alone; else it is an error, and
/// everything is attached that was.
pub(super) fn attach_missing(
    store: &Store,
    wanted: &[Hook],
    devices: &[Device],
    each_alone: bool,
) -> Result<Attached> {
    let pins = Pinned::all(&store.links());
    let mut there: Vec<Hook> = Vec::with_capacity(wanted.len());
    let mut missing = Vec::new();
    for (place, hook) in wanted.iter().enumerate() {
        there.push(hook.clone());
        if hooks::verify(hook, devices, &store.programs()).problem.is_some() || !is_held(store, hook, &pins) {
            missing.push(place);
        }
    }
    let _expedited = Expedited::for_hooks(missing.len());
    let mut fresh: Vec<Hook> = Vec::new();
    let mut refused: Vec<(usize, Error)> = Vec::new();
    for place in missing {
        let Some(hook) = there.get_mut(place) else { continue };
        let device = devices.iter().find(|device| device.ifindex == hook.ifindex);
        let via = match device {
            Some(device) => hooks::attach(store, hook, device, &pins),
            None => Err(Error::system(format!("the device \"{}\" has gone meanwhile", hook.device))),
        };
        match via {
            Ok(via) => {
                hook.via = via;
                if !is_held(store, hook, &pins) {
                    fresh.push(hook.clone());
                }
            }
            Err(error) if each_alone => refused.push((place, error)),
            Err(error) => {
                fresh.iter().for_each(|hook| hooks::detach(store, hook));
                return Err(error);
            }
        }
    }
    // From behind: the places before stay what they are.
    let refused = refused.into_iter().rev().map(|(place, error)| (there.remove(place), error)).collect();
    Ok(Attached { hooks: there, refused })
}

/// Whether a link that there was is at this place. A filter of a qdisc needs no pin.
fn is_held(store: &Store, hook: &Hook, pins: &[Pinned]) -> bool {
    let is_at = |pin: &Pinned| pin.info.ifindex == hook.ifindex && pin.path == store.link(hook);
    matches!(hook.via, Via::Tc { .. }) || pins.iter().any(is_at)
}

/// Whether two hooks are one and the same place in the kernel, whatever they are for and the device is called.
pub(super) fn is_same_place(one: &Hook, other: &Hook) -> bool {
    (one.ifindex, one.side, one.via.name()) == (other.ifindex, other.side, other.via.name())
}

/// Detaches what is neither of these hooks: those of `before`, and every link that is pinned, be it on a device that came
/// back with another index or is in another namespace now. Returns the devices that are filtered no more.
pub(super) fn detach_left(store: &Store, before: &[Hook], now: &[Hook]) -> Vec<String> {
    let left: Vec<&Hook> =
        before.iter().filter(|hook| !now.iter().any(|other| is_same_place(other, hook))).collect();
    let kept: Vec<_> = now.iter().map(|hook| store.link(hook)).collect();
    let pins = Pinned::all(&store.links());
    let stray: Vec<&Pinned> = pins.iter().filter(|pin| !kept.contains(&pin.path)).collect();
    let _expedited = Expedited::for_hooks(left.len().max(stray.len()));
    let mut devices = Vec::new();
    for hook in left {
        hooks::detach(store, hook);
        if !devices.contains(&hook.device) && !now.iter().any(|other| other.ifindex == hook.ifindex) {
            devices.push(hook.device.clone());
        }
    }
    stray.into_iter().for_each(|pin| links::detach(&pin.path));
    devices
}

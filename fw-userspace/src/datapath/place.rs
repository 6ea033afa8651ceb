//! The places in the kernel where our programs are, as sets: what is to be attached, what is to go.

use super::devices::Device;
use super::hooks;
use super::state::Hook;
use super::store::Store;
use crate::error::Result;

/// Attaches what is not attached yet; on failure everything is attached that was.
pub(super) fn attach_missing(
    store: &Store,
    wanted: &[Hook],
    devices: &[Device],
    attached: &[Hook],
) -> Result<Vec<Hook>> {
    let mut hooks_now: Vec<Hook> = Vec::new();
    for hook in wanted {
        let present = attached.iter().find(|other| is_same_place(other, hook));
        if let Some(present) = present {
            let hook = Hook { via: present.via, ..hook.clone() };
            if hooks::verify(&hook, devices, &store.programs()).problem.is_none() {
                hooks_now.push(hook);
                continue;
            }
        }
        match hooks::attach(store, hook) {
            Ok(via) => hooks_now.push(Hook { via, ..hook.clone() }),
            Err(error) => {
                detach_left(store, &hooks_now, attached);
                return Err(error);
            }
        }
    }
    Ok(hooks_now)
}

/// Whether two hooks are one and the same place in the kernel, whatever they are for.
pub(super) fn is_same_place(one: &Hook, other: &Hook) -> bool {
    (one.ifindex, &one.device, one.side, one.via.name())
        == (other.ifindex, &other.device, other.side, other.via.name())
}

/// Detaches the hooks of `before` that `now` does not have; returns their devices.
pub(super) fn detach_left(store: &Store, before: &[Hook], now: &[Hook]) -> Vec<String> {
    let mut devices = Vec::new();
    for hook in before {
        if !now.iter().any(|other| is_same_place(other, hook)) {
            hooks::detach(store, hook);
            if !devices.contains(&hook.device) && !now.iter().any(|other| other.device == hook.device) {
                devices.push(hook.device.clone());
            }
        }
    }
    devices
}

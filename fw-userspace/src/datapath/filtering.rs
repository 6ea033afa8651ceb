//! What the kernel confirms of the devices that the rules select.

use rustc_hash::FxHashSet;

use super::devices::{self, Device};
use super::hooks::{self, Verified};
use super::inspect::kind_name;
use super::select::{Selected, Selection};
use super::state::{Hook, Side, State, Via};
use super::store::Store;
use crate::error::Result;
use crate::report::{HookReport, PendingDevice};

/// One look at the devices of this host.
pub(super) struct Filtering {
    /// Hooks as the kernel has them, and those that a device should have which nobody has attached.
    pub(super) hooks: Vec<HookReport>,
    /// Devices that the rules name and that do not exist now.
    pub(super) pending: Vec<PendingDevice>,
}

impl Filtering {
    /// Of what a generation selects.
    pub(super) fn look(store: &Store, state: &State) -> Result<Self> {
        let devices = devices::list()?;
        let selection = state.select(store, &devices);
        let mut hooks: Vec<HookReport> =
            state.hooks.iter().map(|hook| verified(store, hook, &devices)).collect();
        hooks.extend(unattached(state, &selection));
        Ok(Self { hooks, pending: pending(&selection.pending) })
    }
}

fn verified(store: &Store, hook: &Hook, devices: &[Device]) -> HookReport {
    let mut report = hook_report(hook, hooks::verify(hook, devices, &store.programs()));
    if let Some(device) = devices.iter().find(|device| device.ifindex == hook.ifindex)
        && device.name != hook.device
    {
        report.why.push_str(&format!("; the device was \"{}\" when it was attached", hook.device));
        report.device.clone_from(&device.name);
    }
    report
}

/// The sides of devices that the rules select and that have come, or got their names, since anybody looked.
fn unattached(state: &State, selection: &Selection<'_, '_>) -> Vec<HookReport> {
    let hooked: FxHashSet<u32> = state.hooks.iter().map(|hook| hook.ifindex).collect();
    let mut reports = Vec::new();
    for Selected { device, carries, .. } in &selection.selected {
        let Device { ifindex, name: device, .. } = device;
        if hooked.contains(ifindex) {
            continue;
        }
        let refused = state.refused.iter().find(|(refused, _)| refused == ifindex);
        let problem = match refused {
            Some((_, why)) => why.clone(),
            None => format!(
                "the rules select \"{device}\", and nobody has attached it: run `fwctl attach {device}`, or `fwctl serve`, \
                 which does that by itself"
            ),
        };
        for side in [Side::Received, Side::Sent] {
            reports.push(HookReport {
                interface: carries.name().to_owned(),
                kind: kind_name(carries.kind()),
                device: device.clone(),
                ifindex: *ifindex,
                side: side.name(),
                hook: "-",
                why: String::new(),
                attached: false,
                problem: Some(problem.clone()),
                ahead: Vec::new(),
            });
        }
    }
    reports
}

pub(super) fn hook_report(hook: &Hook, verified: Verified) -> HookReport {
    let mut why = hook.why.clone();
    if let Via::Tc { .. } = hook.via {
        why.push_str("; a clsact filter, for TCX needs Linux 6.6");
    }
    HookReport {
        interface: hook.interface.clone(),
        kind: kind_name(&hook.kind),
        device: hook.device.clone(),
        ifindex: hook.ifindex,
        side: hook.side.name(),
        hook: hook.via.name(),
        why,
        attached: verified.problem.is_none(),
        problem: verified.problem,
        ahead: verified.ahead,
    }
}

/// Interface or subnet, device as named.
pub(super) fn pending(pending: &[(String, String)]) -> Vec<PendingDevice> {
    let of = |(interface, device): &(String, String)| PendingDevice {
        interface: interface.clone(),
        device: device.clone(),
    };
    pending.iter().map(of).collect()
}

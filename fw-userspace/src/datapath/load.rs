//! The commands that change what is in force.

use std::path::Path;

use super::clock::{NS_PER_S, monotonic_ns};
use super::current::{Current, nothing_in_force, policy_of};
use super::devices::{self, Device};
use super::grant::Wish;
use super::place::detach_left;
use super::plan;
use super::select::{Devices, Renamed, select};
use super::state::{Hook, Side};
use super::store::{self, Store};
use super::{LoadOptions, hooks, inspect, lock::Lock, open_loaded, require_root};
use crate::compile::{Binding, attached};
use crate::error::{Error, Result};
use crate::model::{Attachment, Policy};
use crate::report::LoadReport;

/// Makes the rules of `source` the enforced ones. On any error what was in force still is.
pub fn load(bpffs: &Path, source: &[u8], policy: &Policy, options: &LoadOptions) -> Result<LoadReport> {
    require_root()?;
    if options.dry_run {
        let current = match Store::open(bpffs)? {
            Some(store) => Current::read(&store)?,
            None => None,
        };
        let said = said_before(current.as_ref(), policy);
        let store = Store::at(bpffs);
        return Wish { source, policy, said, options }.rehearse(&store, current.as_ref());
    }
    let was_there = Store::open(bpffs)?.is_some();
    Store::create(bpffs)?;
    let _lock = Lock::take(bpffs)?;
    // Again: the command that we waited for may have removed it.
    let store = Store::create(bpffs)?;
    let current = Current::read_to_change(&store)?;
    let said = said_before(current.as_ref(), policy);
    let granted = Wish { source, policy, said, options }.grant(&store, current.as_ref());
    if granted.is_err() && !was_there {
        let _ = store.remove();
    }
    Ok(granted?.report)
}

/// Which devices of this host a load of these rules would make carry what, beside what is in force.
pub(crate) fn bindings_for(bpffs: &Path, policy: &Policy) -> Result<Vec<Binding>> {
    // Only looks: what another command has begun is that one's to end.
    let (store, current) = inspect::loaded(bpffs)?;
    if !current.is_in_force {
        return Err(nothing_in_force());
    }
    let said = said_before(Some(&current), policy);
    let devices = devices::list()?;
    let renamed = Renamed::find(&store, &current.state, &devices);
    Ok(plan::bindings(&select(&devices, &said, attached(policy), &renamed)))
}

/// What `attach` said holds as long as the rules have what it named; a file that names a device again wants it
/// filtered again, whatever `detach` said.
fn said_before(current: Option<&Current>, policy: &Policy) -> Devices {
    let mut said = current.map(|current| current.state.said()).unwrap_or_default();
    said.taken.clear();
    said.given.retain(|_, name| has_device(policy, name));
    said
}

/// Whether the rules have an interface or a router's leg of this name that is filtered on a device.
fn has_device(policy: &Policy, name: &str) -> bool {
    policy.interfaces.get(name).is_some_and(|interface| interface.attachment.is_some())
        || policy.subnets.get(name).is_some_and(|subnet| subnet.leg.is_some())
}

/// Keeps rules that were loaded with a deadline.
pub fn confirm(bpffs: &Path) -> Result<LoadReport> {
    let store = open_loaded(bpffs)?;
    let _lock = Lock::take(bpffs)?;
    let current = Current::need(&store)?;
    let now_ns = monotonic_ns();
    let live = current.live;
    if live.root.deadline_ns == 0 {
        return Err(Error::system(format!("generation {} needs no confirmation", live.root.generation)));
    }
    // The margin is for hooks on other CPUs, which may be past the deadline when this store reaches them.
    if now_ns.saturating_add(NS_PER_S / 20) >= live.root.deadline_ns {
        return Err(Error::system(format!(
            "too late: generation {} was not confirmed in time and is not in force any more; load it again",
            live.root.generation
        )));
    }
    store.policy_array()?.confirm(live.base);
    detach_left(&store, &current.hooks, &current.state.hooks);
    let mut report = inspect::load_report(&store, &current.state)?;
    report.policy_bytes = u64::from(live.root.lines) * 64;
    report.notes.push(format!("generation {} is confirmed", live.root.generation));
    Ok(report)
}

/// Goes back to the rules before those in force, by loading them again: devices may have come and gone since.
pub fn rollback(bpffs: &Path) -> Result<LoadReport> {
    let store = open_loaded(bpffs)?;
    let _lock = Lock::take(bpffs)?;
    let current = Current::need(&store)?;
    let target = match store.policy_array()?.at(current.live.root.previous) {
        Some(target) => store.read_state(target.root.generation)?,
        None => None,
    };
    let Some(state) = target else {
        return Err(Error::system(
            "there are no rules to go back to; `fwctl unload` ends filtering altogether",
        ));
    };
    let source = store.read_source(state.generation)?;
    let policy = policy_of(&source)?;
    let said = state.said();
    let options = LoadOptions { max_memory: state.max_memory, ..LoadOptions::default() };
    let wish = Wish { source: &source, policy: &policy, said, options: &options };
    let mut report = wish.grant(&store, Some(&current))?.report;
    report
        .notes
        .push(format!("generation {} is what generation {} was", report.generation, state.generation));
    Ok(report)
}

/// Filters a device as an interface of the rules in force.
pub fn attach(bpffs: &Path, device: &str, interface: &str) -> Result<LoadReport> {
    again(bpffs, |policy, devices, said| {
        if !has_device(policy, interface) {
            return Err(Error::input(format!(
                "the rules in force have no interface \"{interface}\" with a device; `fwctl show` lists them"
            )));
        }
        if device == "lo" || !devices.iter().any(|present| present.name == device) {
            return Err(no_device(device));
        }
        said.taken.remove(device);
        said.given.insert(device.to_owned(), interface.to_owned());
        Ok(())
    })
}

/// Filters a device that came as what the rules in force name it; `None` if they do not, or if `detach` took it away.
pub fn attach_named(bpffs: &Path, device: &str) -> Result<Option<LoadReport>> {
    again_if(bpffs, |policy, devices, said| {
        let present = devices.iter().find(|present| present.name == device);
        let Some(present) = present.filter(|present| present.name != "lo") else {
            return Err(no_device(device));
        };
        let given = said.given.contains_key(device);
        let is_meant = |attachment: &Attachment| present.is_meant_by(&attachment.device);
        Ok(!said.taken.contains(device)
            && (given || attached(policy).any(|(_, attachment)| is_meant(attachment))))
    })
}

fn no_device(device: &str) -> Error {
    Error::system(format!("there is no device \"{device}\" that can be filtered"))
}

/// Ends filtering of a device that the rules in force name.
pub fn detach(bpffs: &Path, device: &str) -> Result<LoadReport> {
    again(bpffs, |_, _, said| {
        said.given.remove(device);
        said.taken.insert(device.to_owned());
        Ok(())
    })
}

/// Loads the same rules for other devices.
fn again(
    bpffs: &Path,
    change: impl FnOnce(&Policy, &[Device], &mut Devices) -> Result<()>,
) -> Result<LoadReport> {
    let report = again_if(bpffs, |policy, devices, said| change(policy, devices, said).map(|()| true))?;
    report.ok_or_else(|| Error::system("nothing was loaded"))
}

/// The same unless the closure says that nothing is to be done.
fn again_if(
    bpffs: &Path,
    change: impl FnOnce(&Policy, &[Device], &mut Devices) -> Result<bool>,
) -> Result<Option<LoadReport>> {
    let store = open_loaded(bpffs)?;
    let _lock = Lock::take(bpffs)?;
    let current = Current::need(&store)?;
    current.refuse_unconfirmed()?;
    let source = store.read_source(current.state.generation)?;
    let policy = policy_of(&source)?;
    let mut said = current.state.said();
    if !change(&policy, &devices::list()?, &mut said)? {
        return Ok(None);
    }
    let options = LoadOptions::again(&current.state);
    let wish = Wish { source: &source, policy: &policy, said, options: &options };
    Ok(Some(wish.grant(&store, Some(&current))?.report))
}

/// Detaches and removes state; says what was done.
pub fn unload(bpffs: &Path, device: Option<&str>, force: bool) -> Result<Vec<String>> {
    require_root()?;
    if let Some(device) = device {
        detach(bpffs, device)?;
        return Ok(vec![format!("\"{device}\" is filtered no more")]);
    }
    if force {
        return unload_by_force(bpffs);
    }
    let store = open_loaded(bpffs)?;
    let _lock = Lock::take(bpffs)?;
    let current = Current::need_as_it_is(&store)?;
    store.policy_array()?.publish(0);
    detach_left(&store, &current.hooks, &[]);
    let detached =
        |hook: &Hook| format!("detached \"{}\" ({}, {})", hook.device, hook.side.name(), hook.via.name());
    let mut done: Vec<String> = current.hooks.iter().map(detached).collect();
    store.remove()?;
    done.push(format!("removed what was pinned under \"{}\"", bpffs.display()));
    Ok(done)
}

fn unload_by_force(bpffs: &Path) -> Result<Vec<String>> {
    if !bpffs.is_dir() {
        return Ok(vec![format!("nothing is pinned under \"{}\"", bpffs.display())]);
    }
    let _lock = Lock::take(bpffs)?;
    if let Ok(Some(store)) = Store::open(bpffs)
        && let Ok(Some(current)) = Current::read(&store)
    {
        detach_left(&store, &current.hooks, &[]);
    }
    for device in devices::list()? {
        for side in [Side::Received, Side::Sent] {
            hooks::remove_filter(&Store::at(bpffs), device.ifindex, side)?;
        }
    }
    let removed = store::remove_everything(bpffs)?;
    Ok(vec![match removed {
        0 => format!("nothing of fwctl was pinned under \"{}\"", bpffs.display()),
        _ => format!("removed what was pinned under \"{}\"", bpffs.display()),
    }])
}

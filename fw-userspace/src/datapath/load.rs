//! The commands that change what is in force.

use std::path::Path;
use std::time::Instant;

use super::clock::{epoch_s, monotonic_ns};
use super::devices::{self, Device};
use super::plan::{self, Adoption, Devices, Plan};
use super::policy_array::{Extent, PolicyArray};
use super::programs::{Sizes, object_id};
use super::state::{Hook, Side, State};
use super::store::{self, Store};
use super::{LoadOptions, hooks, inspect, install, lock::Lock, open_loaded, require_root};
use crate::compile::{self, Compiled, Numbering};
use crate::document;
use crate::error::{Error, Result};
use crate::model::Policy;
use crate::report::{LoadReport, PendingDevice};

const NS_PER_S: u64 = 1_000_000_000;

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
    let current = Current::read(&store)?;
    let said = said_before(current.as_ref(), policy);
    let report = Wish { source, policy, said, options }.grant(&store, current.as_ref());
    if report.is_err() && !was_there {
        let _ = store.remove();
    }
    report
}

/// What `attach` said holds as long as the rules have what it named; a file that names a device again wants it
/// filtered again, whatever `detach` said.
fn said_before(current: Option<&Current>, policy: &Policy) -> Devices {
    let mut said = current.map(Current::said).unwrap_or_default();
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
    current.array(&store)?.confirm(live.base);
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
    let target = match current.array(&store)?.at(current.live.root.previous) {
        Some(target) => store.read_state(target.root.generation)?,
        None => None,
    };
    let Some(state) = target else {
        return Err(Error::system(
            "there are no rules to go back to; `fwctl unload` ends filtering altogether",
        ));
    };
    let policy = policy_of(&state)?;
    let said = Devices { given: state.given.clone(), taken: state.taken.clone() };
    let options = LoadOptions::default();
    let wish = Wish { source: state.source.as_bytes(), policy: &policy, said, options: &options };
    let mut report = wish.grant(&store, Some(&current))?;
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
            return Err(Error::system(format!("there is no device \"{device}\" that can be filtered")));
        }
        said.taken.remove(device);
        said.given.insert(device.to_owned(), interface.to_owned());
        Ok(())
    })
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
    let store = open_loaded(bpffs)?;
    let _lock = Lock::take(bpffs)?;
    let current = Current::need(&store)?;
    let live = current.live.root;
    let is_over = live.deadline_ns != 0 && monotonic_ns() >= live.deadline_ns;
    if is_over && live.previous == 0 {
        return Err(Error::system(
            "nothing is in force: the rules were not confirmed in time, and there were none before; load again",
        ));
    }
    if live.deadline_ns != 0 && !is_over {
        return Err(Error::system(
            "the rules in force wait for their confirmation; run `fwctl confirm` or `fwctl rollback` first",
        ));
    }
    let policy = policy_of(&current.state)?;
    let mut said = current.said();
    change(&policy, &devices::list()?, &mut said)?;
    let source = current.state.source.clone();
    let options = LoadOptions::default();
    Wish { source: source.as_bytes(), policy: &policy, said, options: &options }.grant(&store, Some(&current))
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
    let current = Current::need(&store)?;
    let mut done = Vec::new();
    current.array(&store)?.publish(0)?;
    for hook in &current.hooks {
        hooks::detach(&store, hook);
        done.push(format!("detached \"{}\" ({}, {})", hook.device, hook.side.name(), hook.via.name()));
    }
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
        for hook in &current.hooks {
            hooks::detach(&store, hook);
        }
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

/// What is loaded now.
pub(super) struct Current {
    /// The generation that the live word names.
    pub(super) live: Extent,
    /// The state of the generation in force: the live one, or the one before if it was not confirmed in time.
    pub(super) state: State,
    /// Hooks of every generation that is kept: the live one and the one before.
    pub(super) hooks: Vec<Hook>,
    /// The live generation's, whether in force or not: numbers that were given out stay given out.
    numbering: Numbering,
}

impl Current {
    /// `None` if nothing was ever published here.
    pub(super) fn read(store: &Store) -> Result<Option<Self>> {
        if !store.maps().join("LIVE").exists() || !store.maps().join("POLICY").exists() {
            return Ok(None);
        }
        let array = PolicyArray::open(&store.maps().join("POLICY"), &store.maps().join("LIVE"))?;
        let Some(live) = array.live()? else { return Ok(None) };
        let read = |extent: Extent| {
            store.read_state(extent.root.generation)?.ok_or_else(|| {
                Error::system(format!(
                    "the state of generation {} is missing; remove everything with `fwctl unload --force`",
                    extent.root.generation
                ))
            })
        };
        let live_state = read(live)?;
        let previous = match array.at(live.root.previous) {
            Some(extent) => store.read_state(extent.root.generation)?,
            None => None,
        };
        let here = inspect::netns();
        if live_state.netns != here {
            return Err(Error::system(format!(
                "\"{}\" belongs to another network namespace (inode {}, this one is {here}); name another directory \
                 with --bpffs",
                store.bpffs().display(),
                live_state.netns
            )));
        }
        let mut hooks = live_state.hooks.clone();
        for hook in previous.iter().flat_map(|state| &state.hooks) {
            if !hooks.iter().any(|other| is_same_place(other, hook)) {
                hooks.push(hook.clone());
            }
        }
        let numbering = live_state.numbering.clone();
        let in_force = array.in_force(monotonic_ns())?.unwrap_or(live);
        let state = if in_force == live { live_state } else { read(in_force)? };
        Ok(Some(Self { live, state, hooks, numbering }))
    }

    fn need(store: &Store) -> Result<Self> {
        Self::read(store)?.ok_or_else(|| {
            Error::system("a load was cut off before it took effect; load again, or `fwctl unload --force`")
        })
    }

    fn array(&self, store: &Store) -> Result<PolicyArray> {
        PolicyArray::open(&store.maps().join("POLICY"), &store.maps().join("LIVE"))
    }

    /// The last generation that needs no confirmation: what the next one falls back to.
    fn last_confirmed(&self, array: &PolicyArray) -> Option<Extent> {
        if self.live.root.deadline_ns == 0 { Some(self.live) } else { array.at(self.live.root.previous) }
    }

    fn said(&self) -> Devices {
        Devices { given: self.state.given.clone(), taken: self.state.taken.clone() }
    }
}

/// What is to be in force.
struct Wish<'a> {
    source: &'a [u8],
    policy: &'a Policy,
    said: Devices,
    options: &'a LoadOptions,
}

/// A wish thought through, before anything is changed.
struct Ready {
    plan: Plan,
    compiled: Compiled,
    generation: u32,
    compile_ms: f64,
    adopt_s: u64,
    start: Instant,
}

impl Wish<'_> {
    fn prepare(&self, store: &Store, current: Option<&Current>) -> Result<Ready> {
        let start = Instant::now();
        let now_ns = monotonic_ns();
        let devices = devices::list()?;
        let adopt_s = u64::from(self.policy.settings.adopt_seconds);
        let until_ns = if adopt_s == 0 { 0 } else { now_ns + adopt_s * NS_PER_S };
        let narrowed = match current {
            Some(current) => compile::open_rules_narrowed(&policy_of(&current.state)?, self.policy),
            None => false,
        };
        let adoption = Adoption { new_until_ns: until_ns, all_until_ns: if narrowed { until_ns } else { 0 } };
        let plan = plan::make(self.policy, &devices, &self.said, store, current, adoption)?;
        if self.options.require_devices && !plan.pending.is_empty() {
            let (interface, device) = &plan.pending[0];
            return Err(Error::system(format!(
                "the device \"{device}\" of \"{interface}\" does not exist, and --require-devices was given; create it \
                 or load without that option"
            )));
        }
        let numbering = current.map_or_else(Numbering::default, |current| current.numbering.clone());
        let generation = current.map_or(1, |current| current.live.root.generation.wrapping_add(1));
        let compiling = Instant::now();
        let compiled = compile::compile(self.policy, &plan.bindings, numbering, generation)
            .map_err(|error| Error::input(error.to_string()))?;
        let compile_ms = milliseconds(compiling);
        let until_ns = plan.bindings.iter().map(|binding| binding.adopt_until_ns).max().unwrap_or(0);
        let adopt_s = until_ns.saturating_sub(now_ns).div_ceil(NS_PER_S);
        Ok(Ready { plan, compiled, generation, compile_ms, adopt_s, start })
    }

    fn rehearse(&self, store: &Store, current: Option<&Current>) -> Result<LoadReport> {
        let ready = self.prepare(store, current)?;
        let state = self.state(&ready);
        let mut report = inspect::report_of(&state, &[]);
        report.notes = ready.plan.notes.clone();
        report.notes.push("dry run: nothing was changed".to_owned());
        self.fill(&mut report, &ready);
        Ok(report)
    }

    fn grant(&self, store: &Store, current: Option<&Current>) -> Result<LoadReport> {
        let mut ready = self.prepare(store, current)?;
        let conntrack_max = self.policy.settings.conntrack_max;
        let need = Sizes::for_need(
            ready.compiled.lines.len() as u32,
            ready.compiled.rule_slots,
            ready.compiled.zone_slots,
            conntrack_max,
        );
        let old_hooks = current.map_or(&[][..], |current| &current.hooks);
        let sizes = install::ensure(store, &need, current)?;
        if sizes.connections != conntrack_max {
            ready.plan.notes.push(format!(
                "conntrack_max stays {} until `fwctl unload`: live connections are not moved to another table",
                sizes.connections
            ));
        }
        let mut array = PolicyArray::open(&store.maps().join("POLICY"), &store.maps().join("LIVE"))?;
        let confirmed = current.and_then(|current| current.last_confirmed(&array));
        let mut kept: Vec<Extent> = confirmed.into_iter().collect();
        kept.extend(current.map(|current| current.live));
        let lines = ready.compiled.lines.len() as u32;
        let Some(base) = array.find_room(lines, &kept) else {
            return Err(Error::system(format!(
                "the policy array of {} lines has no room for {lines} more",
                array.capacity()
            )));
        };
        install::clear_rules(store, &ready.compiled.fresh_slots)?;
        let devices = devices::list()?;
        ready.plan.hooks = attach_missing(store, &ready.plan.hooks, &devices, old_hooks)?;
        let published = self.publish(store, &mut array, &mut ready, base, confirmed);
        if let Err(error) = published {
            detach_left(store, &ready.plan.hooks, old_hooks);
            return Err(error);
        }
        let mut generations = vec![ready.generation];
        generations.extend(confirmed.map(|extent| extent.root.generation));
        store.keep_states(&generations);
        // Until a confirmation the hooks stay to which the kernel may go back.
        let mut kept = ready.plan.hooks.clone();
        if self.options.confirm.is_some()
            && let Some(extent) = confirmed
        {
            let before = store.read_state(extent.root.generation)?;
            kept.extend(before.into_iter().flat_map(|state| state.hooks));
        }
        let detached = detach_left(store, old_hooks, &kept);
        let state = self.state(&ready);
        let mut report = inspect::load_report(store, &state)?;
        report.detached = detached;
        report.notes = ready.plan.notes.clone();
        self.fill(&mut report, &ready);
        Ok(report)
    }

    fn publish(
        &self,
        store: &Store,
        array: &mut PolicyArray,
        ready: &mut Ready,
        base: u32,
        previous: Option<Extent>,
    ) -> Result<()> {
        if let Some(first) = ready.compiled.lines.first_mut() {
            let mut root = fw_common::layout::Root::from_line(first);
            root.previous = previous.map_or(0, |extent| extent.base);
            root.deadline_ns = self.options.confirm.map_or(0, |time| monotonic_ns() + time.as_nanos() as u64);
            *first = root.to_line();
        }
        array.write(base, &ready.compiled.lines);
        store.write_state(&self.state(ready))?;
        array.publish(base)
    }

    fn state(&self, ready: &Ready) -> State {
        State {
            generation: ready.generation,
            loaded_at: epoch_s(),
            source: String::from_utf8_lossy(self.source).into_owned(),
            bindings: ready.plan.bindings.clone(),
            hooks: ready.plan.hooks.clone(),
            pending: ready.plan.pending.clone(),
            rules: ready.compiled.rules.clone(),
            zones: ready
                .compiled
                .zones
                .iter()
                .map(|(zone, name, kind)| (*zone, name.clone(), (*kind).to_owned()))
                .collect(),
            numbering: ready.compiled.numbering.clone(),
            given: self.said.given.clone(),
            taken: self.said.taken.clone(),
            netns: inspect::netns(),
            object: object_id(),
        }
    }

    fn fill(&self, report: &mut LoadReport, ready: &Ready) {
        report.pending = ready
            .plan
            .pending
            .iter()
            .map(|(interface, device)| PendingDevice { interface: interface.clone(), device: device.clone() })
            .collect();
        report.policy_bytes = (ready.compiled.lines.len() * 64) as u64;
        report.compile_ms = Some(ready.compile_ms);
        report.total_ms = Some(milliseconds(ready.start));
        report.confirm_within_s = self.options.confirm.map(|time| time.as_secs());
        report.adopt_s = ready.adopt_s;
    }
}

/// Attaches what is not attached yet; on failure everything is attached that was.
fn attach_missing(
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
            if hooks::verify(store, &hook, devices).problem.is_none() {
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
fn is_same_place(one: &Hook, other: &Hook) -> bool {
    (one.ifindex, &one.device, one.side, one.via.name())
        == (other.ifindex, &other.device, other.side, other.via.name())
}

/// Detaches the hooks of `before` that `now` does not have; returns their devices.
fn detach_left(store: &Store, before: &[Hook], now: &[Hook]) -> Vec<String> {
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

/// The checked rules of what is loaded.
pub(super) fn policy_of(state: &State) -> Result<Policy> {
    document::read(state.source.as_bytes()).policy.ok_or_else(|| {
        Error::system(
            "the rules in force were loaded by another version and cannot be read by this one; load again",
        )
    })
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1000.0
}

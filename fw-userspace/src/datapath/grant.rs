//! From a rule set to the enforced one: resolve devices, compile, make room, attach, publish, detach, in this order.

use std::time::{Duration, Instant};

use fw_common::layout::Root;
use fw_common::store::Layout;

use super::clock::{self, NS_PER_S, epoch_s, monotonic_ns};
use super::current::Current;
use super::place::{attach_missing, detach_left};
use super::plan::{self, Adoption, Plan};
use super::policy_array::{Extent, PolicyArray};
use super::programs::{Sizes, object_id};
use super::select::Devices;
use super::state::{NumberedRules, State};
use super::store::Store;
use super::takeover::{Moment, Takeover};
use super::{LoadOptions, Phase, devices, inspect, install, multicast, upkeep};
use crate::compile::{self, Bounds, Compiled, Held, Members, Numbers, OpenRules, attached};
use crate::error::{Error, Result};
use crate::model::Policy;
use crate::report::{LoadReport, TakenOver};

/// How long a load sweeps the connections: not the whole of a large table, the next load goes on there.
const SWEEP: Duration = Duration::from_millis(2);

/// What is to be in force.
pub(super) struct Wish<'a> {
    pub(super) source: &'a [u8],
    pub(super) policy: &'a Policy,
    pub(super) said: Devices,
    pub(super) options: &'a LoadOptions,
}

/// A wish that has come true.
pub(super) struct Granted {
    pub(super) report: LoadReport,
    pub(super) state: State,
    /// What the rules in force were compiled to, for changes of group members.
    pub(super) members: Members,
}

/// A wish thought through, before anything is changed.
struct Ready {
    plan: Plan,
    compiled: Compiled,
    open_rules: OpenRules,
    generation: u32,
    /// What the kernel goes back to.
    confirmed: Option<Extent>,
    compile_ms: f64,
    adopt_s: u64,
    taken_over: u64,
    taken_over_by: Vec<TakenOver>,
    start: Instant,
}

impl Wish<'_> {
    fn prepare(&self, store: &Store, current: Option<&Current>) -> Result<Ready> {
        let start = Instant::now();
        let now_ns = monotonic_ns();
        let devices = devices::list()?;
        let adopt_s = u64::from(self.policy.settings.adopt_seconds);
        let until_ns = if adopt_s == 0 { 0 } else { now_ns + adopt_s * NS_PER_S };
        let open_rules = OpenRules::of(self.policy);
        let adoption = Adoption { now_ns, until_ns, open_rules: &open_rules };
        let alone = self.options.each_alone;
        let mut plan = plan::make(self.policy, &devices, &self.said, store, current, adoption, alone)?;
        plan.notes.extend(multicast::stopped(self.policy, &plan.bindings));
        if self.options.require_devices && !plan.pending.is_empty() {
            let (interface, device) = &plan.pending[0];
            return Err(Error::system(format!(
                "the device \"{device}\" of \"{interface}\" does not exist, and --require-devices was given; create it \
                 or load without that option"
            )));
        }
        let generation = current.map_or(1, |current| current.live.root.generation.wrapping_add(1));
        self.options.tell(Phase::Compile);
        let compiling = Instant::now();
        // What is in force, and what the kernel may go back to, is shared and stays as it is.
        let array = current.map(|_| store.policy_array()).transpose()?;
        let numbers = match current.zip(array.as_ref()) {
            Some((current, array)) => current.numbers(store, array)?,
            None => Numbers::default(),
        };
        let confirmed =
            current.zip(array.as_ref()).and_then(|(current, array)| current.last_confirmed(array));
        let mut kept: Vec<Extent> = confirmed.into_iter().collect();
        kept.extend(current.map(|current| current.live));
        let held = match &array {
            Some(array) => array.held(&kept).map_err(|damaged| {
                Error::system(format!(
                    "{damaged}; remove everything with `fwctl unload --force` and load again"
                ))
            })?,
            None => Held::nothing(),
        };
        let previous = confirmed.map_or(0, |extent| extent.base);
        let root = Root { generation, previous, ..Root::default() };
        let bounds = Bounds { max_memory: self.options.max_memory };
        let compiled = compile::compile_beside(&held, self.policy, &plan.bindings, numbers, root, &bounds)
            .map_err(|error| Error::input(error.to_string()))?;
        let compile_ms = milliseconds(compiling);
        let until_ns = plan.bindings.iter().map(|binding| binding.adopt_until_ns).max().unwrap_or(0);
        let adopt_s = until_ns.saturating_sub(now_ns).div_ceil(NS_PER_S);
        Ok(Ready {
            plan,
            compiled,
            open_rules,
            generation,
            confirmed,
            compile_ms,
            adopt_s,
            taken_over: 0,
            taken_over_by: Vec::new(),
            start,
        })
    }

    /// What would happen, without making it happen.
    pub(super) fn rehearse(&self, store: &Store, current: Option<&Current>) -> Result<LoadReport> {
        let ready = self.prepare(store, current)?;
        let state = self.state(&ready);
        let mut report = inspect::report_of(&state, &[]);
        report.notes = ready.plan.notes.clone();
        report.notes.push("dry run: nothing was changed".to_owned());
        self.fill(&mut report, &ready);
        Ok(report)
    }

    /// Makes it happen; on any error what was in force still is.
    pub(super) fn grant(&self, store: &Store, current: Option<&Current>) -> Result<Granted> {
        let mut ready = self.prepare(store, current)?;
        let conntrack_max = self.policy.settings.conntrack_max;
        let need = Sizes::for_need(
            ready.compiled.patch.end,
            ready.compiled.rule_slots,
            ready.compiled.zone_slots,
            Layout::of(conntrack_max),
        );
        self.options.tell(Phase::Install);
        let old_hooks = current.map_or(&[][..], |current| &current.hooks);
        if let Some(before) = install::ensure(store, &need, current)? {
            ready.plan.notes.push(format!(
                "conntrack_max is {conntrack_max} now and was {before}: connections were moved to another table"
            ));
        }
        let mut array = store.policy_array()?;
        // New counters are zero.
        if current.is_some() {
            install::clear_rules(store, &ready.compiled.fresh_slots)?;
        }
        let devices = devices::list()?;
        let attached = attach_missing(store, &ready.plan.hooks, &devices, self.options.each_alone)?;
        ready.plan.hooks = attached.hooks;
        attached.refused.into_iter().for_each(|(hook, error)| ready.plan.refuse(&hook, &error));
        self.options.tell(Phase::Publish);
        let published = self.publish(store, &mut array, &mut ready);
        if let Err(error) = published {
            detach_left(store, &ready.plan.hooks, old_hooks);
            return Err(error);
        }
        let mut generations = vec![ready.generation];
        generations.extend(ready.confirmed.map(|extent| extent.root.generation));
        store.keep_states(&generations);
        // Until a confirmation the hooks stay to which the kernel may go back.
        let mut kept = ready.plan.hooks.clone();
        if self.options.confirm.is_some()
            && let Some(extent) = ready.confirmed
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
        array.settle();
        if let Err(error) = upkeep::sweep(store, SWEEP) {
            report.notes.push(format!("expired connections stay until their places are needed: {error}"));
        }
        Ok(Granted { report, state, members: ready.compiled.members })
    }

    fn publish(&self, store: &Store, array: &mut PolicyArray, ready: &mut Ready) -> Result<()> {
        let patch = &mut ready.compiled.patch;
        if let Some(time) = self.options.confirm {
            patch.set_deadline(monotonic_ns() + time.as_nanos() as u64);
        }
        array.settle();
        array.write(&patch.lines);
        store.write_state(&self.state(ready), &NumberedRules::of(&ready.compiled), self.source)?;
        let root = ready.compiled.patch.root;
        // Who lists connections tells by their time whose slot it was: less than a tick is left to wait, if any.
        clock::wait_until(ready.compiled.rules.iter().map(|rule| rule.born_ns).max().unwrap_or(0));
        // From here on nothing can fail any more: no entry is left behind by rules that did not come.
        let mut takeover = Takeover::of(&ready.plan, store);
        takeover.pass(array.lines(), root, Moment::Before);
        array.publish(root);
        // Once more, for what was established in between.
        takeover.pass(array.lines(), root, Moment::After);
        let notes = takeover.notes(self.policy.settings.conntrack_max, ready.adopt_s);
        ready.taken_over = takeover.taken();
        ready.taken_over_by = takeover.report();
        ready.plan.notes.extend(notes);
        Ok(())
    }

    fn state(&self, ready: &Ready) -> State {
        State {
            generation: ready.generation,
            loaded_at: epoch_s(),
            bindings: ready.plan.bindings.clone(),
            refused: ready.plan.refused.clone(),
            selected_by: ready.plan.selected_by.clone(),
            attached: attached(self.policy)
                .map(|(carries, attachment)| (carries, attachment.clone()))
                .collect(),
            hooks: ready.plan.hooks.clone(),
            pending: ready.plan.pending.clone(),
            rules: ready.compiled.rules.len(),
            open_rules: ready.open_rules.clone(),
            zones: ready
                .compiled
                .zones
                .iter()
                .map(|(zone, name, kind)| (*zone, name.clone(), (*kind).to_owned()))
                .collect(),
            given: self.said.given.clone(),
            taken: self.said.taken.clone(),
            max_memory: self.options.max_memory,
            netns: inspect::netns(),
            object: object_id().to_owned(),
        }
    }

    fn fill(&self, report: &mut LoadReport, ready: &Ready) {
        report.policy_bytes = u64::from(ready.compiled.patch.held) * 64;
        report.compile_ms = Some(ready.compile_ms);
        report.total_ms = Some(milliseconds(ready.start));
        report.confirm_within_s = self.options.confirm.map(|time| time.as_secs());
        report.adopt_s = ready.adopt_s;
        report.taken_over = ready.taken_over;
        report.taken_over_by.clone_from(&ready.taken_over_by);
    }
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1000.0
}

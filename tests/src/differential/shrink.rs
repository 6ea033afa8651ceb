//! A failure made small: first the choices it was made from, then what they became.

use std::time::{Duration, Instant};

use proptest::strategy::ValueTree;
use serde_json::Value;

use super::history::{Plan, Step};
use super::{Difference, Scenario};

/// For each of the two.
const PATIENCE: Duration = Duration::from_secs(30);

/// Leaves in `smallest` the smallest scenario that was found to differ. `differs` is told whether to be exact about
/// the step, which takes longer and is of use only when not many steps are left.
pub fn shrink(
    tree: &mut impl ValueTree<Value = (Value, Plan)>,
    smallest: &mut (Scenario, Difference),
    mut differs: impl FnMut(&Scenario, bool) -> Option<Difference>,
) {
    let until = Instant::now() + PATIENCE;
    let mut goes_on = tree.simplify();
    while goes_on && Instant::now() < until {
        let scenario = Scenario::of(&tree.current());
        goes_on = match differs(&scenario, false) {
            Some(difference) => {
                *smallest = (scenario, difference);
                tree.simplify()
            }
            None => tree.complicate(),
        };
    }
    if let Some(exact) = differs(&smallest.0, true) {
        smallest.1 = exact;
    }
    let until = Instant::now() + PATIENCE;
    let mut try_one =
        |scenario: Scenario, smallest: &mut (Scenario, Difference)| match differs(&scenario, true) {
            Some(difference) => {
                *smallest = (scenario, difference);
                true
            }
            None => false,
        };
    loop {
        let steps = fewer_steps(smallest, until, &mut try_one);
        let rules = fewer_rules(smallest, until, &mut try_one);
        if !(steps || rules) || Instant::now() >= until {
            return;
        }
    }
}

type TryOne<'t> = dyn FnMut(Scenario, &mut (Scenario, Difference)) -> bool + 't;

/// Takes away runs of steps, long ones first; what comes after the difference at once.
fn fewer_steps(smallest: &mut (Scenario, Difference), until: Instant, try_one: &mut TryOne<'_>) -> bool {
    let mut shrunk = false;
    smallest.0.steps.truncate(smallest.1.step + 1);
    let mut run = smallest.0.steps.len() / 2;
    while run > 0 {
        let mut at = 0;
        while at + run <= smallest.0.steps.len() && Instant::now() < until {
            let mut scenario = smallest.0.clone();
            scenario.steps.drain(at..at + run);
            if try_one(scenario, smallest) {
                shrunk = true;
            } else {
                at += run;
            }
        }
        run /= 2;
    }
    shrunk
}

/// Takes away members and elements of the rules and of their changes, outer ones first.
fn fewer_rules(smallest: &mut (Scenario, Difference), until: Instant, try_one: &mut TryOne<'_>) -> bool {
    let mut shrunk = false;
    for document in 0..documents(&mut smallest.0).len() {
        let mut skipped = 0;
        while Instant::now() < until {
            let mut scenario = smallest.0.clone();
            let Some(rules) = documents(&mut scenario).into_iter().nth(document) else { break };
            if !remove(rules, &mut skipped.clone()) {
                break;
            }
            if try_one(scenario, smallest) {
                shrunk = true;
            } else {
                skipped += 1;
            }
        }
    }
    shrunk
}

fn documents(scenario: &mut Scenario) -> Vec<&mut Value> {
    let patches = scenario.steps.iter_mut().filter_map(|step| match step {
        Step::Load(patch) => Some(patch),
        Step::Packet(_) | Step::Wait(_) => None,
    });
    std::iter::once(&mut scenario.rules).chain(patches).collect()
}

/// Removes the node that comes after `skip` others. False if there are no more.
fn remove(value: &mut Value, skip: &mut usize) -> bool {
    match value {
        Value::Object(members) => {
            let keys: Vec<String> = members.keys().cloned().collect();
            for key in keys {
                if *skip == 0 {
                    members.shift_remove(&key);
                    return true;
                }
                *skip -= 1;
                if members.get_mut(&key).is_some_and(|member| remove(member, skip)) {
                    return true;
                }
            }
            false
        }
        Value::Array(elements) => {
            for at in 0..elements.len() {
                if *skip == 0 {
                    elements.remove(at);
                    return true;
                }
                *skip -= 1;
                if remove(&mut elements[at], skip) {
                    return true;
                }
            }
            false
        }
        _ => false,
    }
}

//! One that goes through a scenario beside the core on the host, in the kernel: whose clock goes on by itself.

use std::time::{Duration, Instant};

use anyhow::Result;
use fw_userspace::model::Policy;
use serde_json::Value;

use super::history::{Crossing, Step};
use super::oracle::Answer;
use super::{Difference, Outcome, Scenario};
use crate::kernel::clock_ns;

/// Longer than this between two waits, and it is not sure any more what has expired in the kernel: its clock goes on
/// while this process waits for a processor. See [`crate::age::make_older`].
const STALL: Duration = Duration::from_millis(400);
/// How often a scenario is run again because of that, before it counts for nothing.
const TRIES: usize = 10;

/// What is used for scenario after scenario.
pub(super) trait Rig {
    /// The two of one scenario.
    type Both<'r>: Beside
    where
        Self: 'r;

    /// Both under their first rules.
    fn begin(&mut self, rules: &Value, policy: Policy) -> Result<Self::Both<'_>>;
}

/// The core on the host, and somebody who is kept in step with it.
pub(super) trait Beside {
    /// Whether packets can cross there. A load neither brings nor takes a place.
    fn has(&self, at: &str) -> bool;

    /// The next rules, on both sides.
    fn load(&mut self, rules: &Value, policy: Policy) -> Result<()>;

    /// So many seconds, on both sides.
    fn wait(&mut self, seconds: u64) -> Result<()>;

    /// An error if the other says something else of a packet than the core, whose answer is left behind. There is none
    /// of packets that the other cannot be asked about.
    fn judge(&mut self, crossing: &Crossing, answer: &mut Option<Answer>) -> Result<()>;

    /// What is not compared packet by packet.
    fn compare_all(&mut self) -> Result<()>;

    fn clock(&self) -> &Clock;

    /// After a difference: makes it good for another scenario.
    fn give_up(self) -> Result<()>;
}

/// Keeps an eye on the time that passes for the kernel only.
pub(super) struct Clock {
    since: Instant,
    has_stalled: bool,
    waited_s: u64,
    uptime_s: u64,
}

impl Clock {
    pub(super) fn new() -> Self {
        let uptime_s = clock_ns() / 1_000_000_000;
        Self { since: Instant::now(), has_stalled: false, waited_s: 0, uptime_s }
    }

    /// Whether entries can be made so much older: none can be older than the machine.
    pub(super) fn may_wait(&mut self, seconds: u64) -> bool {
        let may = self.waited_s + seconds + 5 <= self.uptime_s;
        self.waited_s += if may { seconds } else { 0 };
        may
    }

    /// The kernel's entries have the ages that they have on the host.
    pub(super) fn set(&mut self) {
        self.has_stalled = self.stalled();
        self.since = Instant::now();
    }

    /// Since it was set.
    pub(super) fn runs(&self) -> Duration {
        self.since.elapsed()
    }

    fn stalled(&self) -> bool {
        self.has_stalled || self.runs() > STALL
    }
}

/// Runs a scenario on both.
pub(super) fn compare(scenario: &Scenario, rig: &mut impl Rig, exact: bool) -> Outcome {
    for _ in 0..TRIES {
        if let Some(outcome) = once(scenario, rig, exact) {
            return outcome;
        }
    }
    Outcome::Same(0)
}

/// `None` if they differ and the machine was too slow to say who is right.
fn once(scenario: &Scenario, rig: &mut impl Rig, exact: bool) -> Option<Outcome> {
    let mut policies = match scenario.policies() {
        Ok(policies) => policies.into_iter(),
        Err(why) => return Some(Outcome::Invalid(why)),
    };
    let (rules, first) = policies.next()?;
    let mut both = match rig.begin(&rules, first) {
        Ok(both) => both,
        Err(error) => return Some(Outcome::Invalid(format!("{error:#}"))),
    };
    // Before anything is counted.
    for step in &scenario.steps {
        if let Step::Packet(Crossing { at, .. }) = step
            && !both.has(at)
        {
            return Some(Outcome::Invalid(format!("\"{at}\" has no device")));
        }
    }
    let mut answers = Vec::new();
    for (number, step) in scenario.steps.iter().enumerate() {
        let mut done = match step {
            Step::Wait(seconds) => both.wait(*seconds),
            Step::Load(_) => policies.next().map_or(Ok(()), |(rules, policy)| both.load(&rules, policy)),
            Step::Packet(crossing) => {
                let mut answer = None;
                let done = both.judge(crossing, &mut answer);
                answers.extend(answer.map(|answer| (number, answer)));
                done
            }
        };
        if exact || number + 1 == scenario.steps.len() {
            done = done.and_then(|()| both.compare_all());
        }
        if let Err(error) = done {
            let stalled = both.clock().stalled();
            let says = match both.give_up() {
                Ok(()) => format!("{error:#}"),
                Err(also) => format!("{error:#}; then {also:#}"),
            };
            let difference = Difference { step: number, says, answers };
            return if stalled { None } else { Some(Outcome::Differs(difference)) };
        }
    }
    Some(Outcome::Same(answers.len() as u64))
}

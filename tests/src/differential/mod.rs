//! Random rules, random histories, and those who must agree about them: the core on the host, the [`oracle`], the
//! bytecode in the kernel, and the wire with what `fwctl explain` says of it.
//!
//! A number, the seed, is one scenario. What differs is made smaller as long as it differs, and printed as a case for
//! `tests/cases/`.
//!
//! | module | what it is for |
//! | --- | --- |
//! | [`rules`], [`talk`], [`history`] | what may happen |
//! | [`oracle`] | what should come of it |
//! | [`host`], [`bytecode`], [`wire`] | the comparisons |
//! | [`shrink`], [`print`] | a failure made readable |

mod beside;
pub mod bytecode;
pub mod history;
pub mod host;
pub mod oracle;
pub mod print;
pub mod rules;
pub mod shrink;
pub mod talk;
pub mod wire;

use std::collections::BTreeSet;

use anyhow::Result;
use fw_userspace::model::Policy;
use proptest::strategy::{BoxedStrategy, Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use proptest::tuple::TupleValueTree;
use serde_json::Value;

use crate::case::merge;
use crate::kernel::{Kernel, Received};
use crate::run;
use history::{Plan, Step};
use oracle::Answer;
use wire::{OnWire, Tally};

/// Rules and what happens under them.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// The rules file.
    pub rules: Value,
    /// In order.
    pub steps: Vec<Step>,
}

/// Who is compared with the core on the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Other {
    /// The oracle.
    Oracle,
    /// The bytecode.
    Bytecode(Received),
    /// The wire, and what `fwctl explain` says of it before.
    Wire(Received),
}

/// What came of a scenario.
#[derive(Debug)]
pub enum Outcome {
    /// So many packets, each judged by both alike.
    Same(u64),
    /// They differ.
    Differs(Difference),
    /// There is no such scenario: its rules are refused, or a packet crosses where nothing is.
    Invalid(String),
}

/// Where two differ.
#[derive(Debug)]
pub struct Difference {
    /// The step.
    pub step: usize,
    /// How.
    pub says: String,
    /// What should have come of the packets up to there, by step.
    pub answers: Vec<(usize, Answer)>,
}

/// Steps of a scenario at most: rules cost as much as hundreds of packets.
const STEPS: usize = 1000;

/// Compares over scenarios.
pub struct Differential {
    rules: BoxedStrategy<Value>,
    plans: BoxedStrategy<Plan>,
    other: Compared,
}

/// What is needed for it.
#[allow(clippy::large_enum_variant, reason = "there are three of them")]
enum Compared {
    Oracle,
    Bytecode(Kernel, Received),
    Wire(OnWire),
}

/// A scenario in which two differ, as small as it got.
#[derive(Debug)]
pub struct Failure {
    /// Brings it back.
    pub seed: u64,
    /// How they differ.
    pub says: String,
    /// For `tests/cases/`.
    pub case: String,
}

impl Differential {
    /// Loads the programs, or sets up the rig, if they are to be compared.
    pub fn new(other: Other) -> Result<Self> {
        let plans = history::plan(STEPS, other != Other::Oracle).boxed();
        let other = match other {
            Other::Oracle => Compared::Oracle,
            Other::Bytecode(received) => Compared::Bytecode(Kernel::load()?, received),
            Other::Wire(received) => Compared::Wire(OnWire::new(received)?),
        };
        Ok(Self { rules: rules::document().boxed(), plans, other })
    }

    /// Runs the scenario of a seed: how many packets were judged alike, or where they were not.
    pub fn run(&mut self, seed: u64) -> Result<u64, Failure> {
        self.run_part(seed, 0)
    }

    /// Goes on under the rules of a seed, with history after history, until so many packets were judged alike.
    pub fn run_set(&mut self, seed: u64, packets: u64) -> Result<u64, Failure> {
        let mut judged = 0;
        for part in 0.. {
            if judged >= packets {
                break;
            }
            judged += self.run_part(seed, part)?;
        }
        Ok(judged)
    }

    fn run_part(&mut self, seed: u64, part: u64) -> Result<u64, Failure> {
        let mut tree = self.tree(seed, part);
        let scenario = Scenario::of(&tree.current());
        match self.compare(&scenario, false) {
            Outcome::Same(packets) => Ok(packets),
            Outcome::Invalid(why) => Err(Failure {
                seed,
                says: format!("the generator made what is not valid: {why}"),
                case: String::new(),
            }),
            Outcome::Differs(difference) => Err(self.failure(seed, &mut tree, scenario, difference)),
        }
    }

    /// What came to the wire so far.
    #[must_use]
    pub fn tally(&self) -> Option<Tally> {
        match &self.other {
            Compared::Wire(wire) => Some(wire.tally),
            Compared::Oracle | Compared::Bytecode(..) => None,
        }
    }

    /// The scenario of a seed as a case, with what the oracle says of each packet.
    pub fn case(&self, seed: u64) -> Result<String, String> {
        let scenario = Scenario::of(&self.tree(seed, 0).current());
        let answers = host::answers(&scenario)?;
        let step = scenario.steps.len();
        Ok(print::case(seed, &scenario, &Difference { step, says: String::new(), answers }))
    }

    /// What the oracle comes to in the scenario of a seed: reasons, states and classes by their names.
    pub fn reached(&self, seed: u64) -> Result<BTreeSet<String>, String> {
        let scenario = Scenario::of(&self.tree(seed, 0).current());
        let mut reached = BTreeSet::new();
        host::go_through(&scenario, |oracle, _, answer| {
            reached.insert(format!("{:?}", answer.reason));
            for connection in oracle.connections() {
                reached.insert(format!("State::{:?}", connection.state));
                reached.insert(format!("Class::{:?}", connection.class()));
            }
        })?;
        Ok(reached)
    }

    /// All choices of one seed: the rules, and a history.
    fn tree(&self, seed: u64, part: u64) -> impl ValueTree<Value = (Value, Plan)> + use<> {
        let mut bytes = [0x5a; 16];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        let mut runner = runner(bytes);
        let rules = self.rules.new_tree(&mut runner).expect(NOTHING_IS_FILTERED);
        if part > 0 {
            bytes[8..].copy_from_slice(&part.to_le_bytes());
            runner = self::runner(bytes);
        }
        TupleValueTree::new((rules, self.plans.new_tree(&mut runner).expect(NOTHING_IS_FILTERED)))
    }

    /// `exact` compares everything after every packet, which is slow.
    fn compare(&mut self, scenario: &Scenario, exact: bool) -> Outcome {
        match &mut self.other {
            Compared::Oracle => host::compare(scenario, exact),
            Compared::Bytecode(kernel, received) => bytecode::compare(scenario, kernel, *received, exact),
            Compared::Wire(rig) => wire::compare(scenario, rig, exact),
        }
    }

    fn failure(
        &mut self,
        seed: u64,
        tree: &mut impl ValueTree<Value = (Value, Plan)>,
        scenario: Scenario,
        difference: Difference,
    ) -> Failure {
        let mut smallest = (scenario, difference);
        shrink::shrink(tree, &mut smallest, |scenario, exact| match self.compare(scenario, exact) {
            Outcome::Differs(difference) => Some(difference),
            Outcome::Same(_) | Outcome::Invalid(_) => None,
        });
        let (scenario, difference) = smallest;
        let says = format!("step {}: {}", difference.step + 1, difference.says);
        Failure { seed, says, case: print::case(seed, &scenario, &difference) }
    }
}

const NOTHING_IS_FILTERED: &str = "nothing is filtered, so nothing is rejected";

fn runner(seed: [u8; 16]) -> TestRunner {
    let config = Config { failure_persistence: None, ..Config::default() };
    TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::XorShift, &seed))
}

impl Scenario {
    /// What a plan becomes under rules.
    pub fn of((rules, plan): &(Value, Plan)) -> Self {
        let places = match run::policy(rules) {
            Ok(policy) => places(&policy),
            Err(_) => NAMES.to_vec(),
        };
        Self { rules: rules.clone(), steps: plan.steps(&places) }
    }

    /// The rules files in force and what they say, the first and then that of each load. The error is the message of
    /// those that are refused.
    fn policies(&self) -> Result<Vec<(Value, Policy)>, String> {
        let read = |rules: &Value| match run::policy(rules) {
            Ok(policy) => Ok((rules.clone(), policy)),
            Err(error) => Err(format!("{error:#}")),
        };
        let mut rules = self.rules.clone();
        let mut policies = vec![read(&rules)?];
        for step in &self.steps {
            if let Step::Load(patch) = step {
                merge(&mut rules, patch);
                policies.push(read(&rules)?);
            }
        }
        Ok(policies)
    }
}

/// Interfaces, then subnets with a leg.
const NAMES: [&str; 6] = ["e0", "e1", "e2", "s0", "s1", "s2"];

/// Where packets can cross.
fn places(policy: &Policy) -> Vec<&'static str> {
    let crosses = |name: &&str| {
        policy.interfaces.get(*name).is_some_and(|it| it.attachment.is_some())
            || policy.subnets.get(*name).is_some_and(|it| it.leg.is_some())
    };
    NAMES.into_iter().filter(crosses).collect()
}

//! Asks the twins of the attached programs what they would do with a frame: by `BPF_PROG_TEST_RUN`, on the maps in
//! force, counting and changing nothing.

use std::cell::Cell;
use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use aya::programs::{ProgramError, SchedClassifier, TestRun as _, TestRunOptions};
use fw_common::Direction;
use fw_common::rehearsed::{Rehearsed, WORDS};

use super::inspect;
use super::policy_array::Head;
use super::programs::{EXPLAIN_RECEIVED, EXPLAIN_SENT, POLICY, tc_program};
use crate::compile::{Binding, RuleInfo};
use crate::error::{Error, Result};

/// `struct __sk_buff` in words (include/uapi/linux/bpf.h); of it a test run takes these two.
const CONTEXT_WORDS: usize = 48;
const IFINDEX: usize = 10;
const CB: usize = 12;

/// What is in force, to be asked.
pub(crate) struct InForce {
    received: SchedClassifier,
    sent: SchedClassifier,
    bindings: Vec<Binding>,
    bpffs: PathBuf,
    rules: Vec<RuleInfo>,
    head: Head,
    /// What it said when the rules were read.
    live: Cell<u32>,
}

impl fmt::Debug for InForce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InForce")
            .field("bpffs", &self.bpffs)
            .field("live", &self.live)
            .finish_non_exhaustive()
    }
}

impl InForce {
    /// With the rules, in the order of the file.
    pub(crate) fn open(bpffs: &Path) -> Result<(Self, Vec<RuleInfo>)> {
        let (store, current) = inspect::loaded(bpffs)?;
        let head = Head::open(&store.maps().join(POLICY))?;
        let program = |name| tc_program(&store.programs(), name);
        let (received, sent) = (program(EXPLAIN_RECEIVED)?, program(EXPLAIN_SENT)?);
        let rules = store.read_rules(current.state.generation)?;
        let (bindings, bpffs, live) = (current.state.bindings, bpffs.to_owned(), current.live.base.into());
        Ok((Self { received, sent, bindings, bpffs, rules: rules.clone(), head, live }, rules))
    }

    /// Interfaces and legs that have a device.
    pub(crate) fn names(&self) -> Vec<&str> {
        self.bindings.iter().map(|binding| binding.carries.name()).collect()
    }

    /// The addresses of an interface: those of the rules, else the device's own.
    pub(crate) fn addresses(&self, at: &str) -> Result<Vec<IpAddr>> {
        let policy = inspect::rules_in_force(&self.bpffs)?.policy;
        let written =
            policy.interfaces.get(at).map_or_else(Vec::new, |interface| interface.addresses.clone());
        let own = || self.binding(at).map_or_else(Vec::new, |binding| binding.addresses.clone());
        Ok(if written.is_empty() { own() } else { written })
    }

    /// Whether frames there begin with their IP header.
    pub(crate) fn is_bare(&self, at: &str) -> bool {
        self.binding(at).is_some_and(|binding| binding.bare)
    }

    /// What was a rule's slot may be another's: an error if other rules are in force, and not only other members.
    fn refuse_other_rules(&self) -> Result<()> {
        let live = self.head.live();
        if live == self.live.get() {
            return Ok(());
        }
        let (store, current) = inspect::loaded(&self.bpffs)?;
        if store.read_rules(current.state.generation)? != self.rules {
            return Err(Error::system("other rules were loaded meanwhile; ask again"));
        }
        self.live.set(live);
        Ok(())
    }

    fn binding(&self, at: &str) -> Option<&Binding> {
        self.bindings.iter().find(|binding| binding.carries.name() == at)
    }

    /// What would become of a frame.
    pub(crate) fn rehearse(&self, at: &str, direction: Direction, frame: &[u8]) -> Result<Rehearsed> {
        let binding = self.binding(at).ok_or_else(|| Error::unknown_interface(at, &self.names()))?;
        let ask = |program| {
            rehearse(program, binding.ifindex, frame).map_err(|error| {
                Error::system(format!("\"{at}\" cannot be asked at \"{}\": {error}", binding.device))
            })
        };
        // Which of the two is inbound depends on the way that the device faces; the programs know.
        let received = ask(&self.received)?;
        let answer = if received.decision.direction == direction { received } else { ask(&self.sent)? };
        self.refuse_other_rules()?;
        Ok(answer)
    }
}

/// Runs a twin.
pub fn rehearse(program: &SchedClassifier, ifindex: u32, frame: &[u8]) -> Result<Rehearsed> {
    let mut context = [0; CONTEXT_WORDS];
    context[IFINDEX] = ifindex;
    let given: Vec<u8> = context.iter().flat_map(|word: &u32| word.to_ne_bytes()).collect();
    let mut left = vec![0; given.len()];
    let options = TestRunOptions {
        data_in: Some(frame),
        ctx_in: Some(&given),
        ctx_out: Some(&mut left),
        ..TestRunOptions::default()
    };
    let failed = |what: &dyn fmt::Display| {
        Error::system(format!("the kernel does not judge a frame of {} bytes: {what}", frame.len()))
    };
    program.test_run(options).map_err(|error| match &error {
        ProgramError::SyscallError(error) => failed(&error.io_error),
        other => failed(other),
    })?;
    let words: Vec<u32> = left
        .chunks_exact(4)
        .map(|bytes| bytes.iter().rev().fold(0, |word, byte| word << 8 | u32::from(*byte)))
        .collect();
    let found = words.get(CB..).and_then(|words| words.first_chunk::<WORDS>());
    found.and_then(|words| Rehearsed::from_words(*words)).ok_or_else(|| failed(&"it left no answer"))
}

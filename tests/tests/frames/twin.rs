//! Host core and bytecode side by side, frame by frame, with the counters compared at the end: looking at all of them
//! after each frame would take longer than the rest.

use std::collections::BTreeMap;

use fw_common::layout::Line;
use fw_common::memory::{MemoryTables, SliceFrame};
use fw_common::verdict::{Layer, counter_index};
use fw_common::{Decision, Direction, Hook, Reason, Scratch, Sighting, Verdict, judge};
use fw_tests::kernel::{IFINDEX, Kernel, Received};
use fw_tests::workload::kernel_with;
use serde_json::Value;

use super::kinds::{self, SENT};

/// A frame as one buffer or several.
#[derive(Clone, Debug)]
pub(crate) struct Trial {
    pub(crate) frame: Vec<u8>,
    /// The `xdp_md` or `__sk_buff` of the test run.
    context: Option<Vec<u8>>,
    segments: u32,
}

impl Trial {
    pub(crate) fn whole(frame: &[u8]) -> Self {
        Self { frame: frame.to_vec(), context: None, segments: 1 }
    }

    /// At XDP, with so many bytes in the first buffer (Linux 6.18).
    pub(crate) fn split(frame: &[u8], first: usize) -> Self {
        let mut context = vec![0; 24];
        context[4..8].copy_from_slice(&(first as u32).to_ne_bytes());
        Self { context: Some(context), ..Self::whole(frame) }
    }

    /// At TC, with segmentation to come.
    pub(crate) fn segmented(frame: &[u8], segments: u32) -> Self {
        let mut context = vec![0; 192];
        context[164..168].copy_from_slice(&segments.to_ne_bytes());
        context[176..180].copy_from_slice(&100_u32.to_ne_bytes());
        Self { context: Some(context), segments, ..Self::whole(frame) }
    }
}

/// The shortest frame that a test run takes (Linux 6.18): at TC it wants the IP header's room.
pub(crate) fn least(frame: &[u8], received: Received) -> usize {
    match (received, frame.get(12..14)) {
        (Received::Tc, Some([0x08, 0x00])) => 34,
        (Received::Tc, Some([0x86, 0xdd])) => 54,
        _ => 14,
    }
}

pub(crate) struct Twin {
    kernel: Kernel,
    received: Received,
    host: MemoryTables,
    lines: Vec<Line>,
    zone: u32,
}

impl Twin {
    pub(crate) fn new(received: Received, rules: &Value) -> Self {
        let (kernel, compiled) = kernel_with(rules.to_string().as_bytes()).unwrap();
        let zone = compiled.zones[0].0;
        Self { kernel, received, host: MemoryTables::new(1024), lines: compiled.patch.image(), zone }
    }

    /// Starts with what was sent before; checks that both sides agree about every trial, and says what they agree on.
    pub(crate) fn agree(&mut self, what: &str, trials: &[Trial]) -> Vec<Decision> {
        self.kernel.reset().unwrap();
        self.host = MemoryTables::new(1024);
        self.host.publish(&self.lines);
        let (reasons_before, rules_before) = self.kernel.counted(self.zone).unwrap();
        let (mut reasons, mut rules) = (BTreeMap::new(), BTreeMap::new());
        let mut decisions = Vec::new();
        let first = counter_index(self.zone, Direction::Ingress, false, Reason::NotConfigured);
        let sent = SENT.map(|text| (Trial::whole(&kinds::frame(text)), Hook::Sent));
        let sent = sent.iter().map(|(trial, hook)| (trial, *hook));
        for (trial, hook) in sent.chain(trials.iter().map(|trial| (trial, Hook::Received))) {
            let expected = self.on_host(trial, hook);
            let context = trial.context.as_deref();
            let verdict = self.kernel.verdict(&trial.frame, context, hook, self.received);
            let verdict = verdict.unwrap_or_else(|error| panic!("{what}: {error:#}: {trial:02x?}"));
            assert_eq!(expected.verdict(), verdict, "{what}: {:?}: {trial:02x?}", expected.reason);
            let packets = u64::from(trial.segments);
            *reasons.entry(expected.counter_index() - first).or_default() += packets;
            for rule in [expected.acl_rule, expected.group_rule].into_iter().filter(|rule| *rule != 0) {
                *rules.entry(rule).or_default() += packets;
            }
            if hook == Hook::Received {
                decisions.push(expected);
            }
        }
        let (reasons_after, rules_after) = self.kernel.counted(self.zone).unwrap();
        assert_eq!(
            reasons,
            grown(&reasons_before, &reasons_after),
            "{what}: reasons, on the host and in bytecode"
        );
        assert_eq!(rules, grown(&rules_before, &rules_after), "{what}: rules, on the host and in bytecode");
        decisions
    }

    fn on_host(&self, trial: &Trial, hook: Hook) -> Decision {
        let seen = Sighting { ifindex: IFINDEX, hook, vlan_tags: 0 };
        let frame = SliceFrame { bytes: &trial.frame, segments: trial.segments };
        judge(&frame, &self.host, seen, &mut Scratch::EMPTY.clone())
    }
}

/// Whether a packet got through that a deny-all should stop.
pub(crate) fn is_bypass(decision: &Decision) -> bool {
    decision.verdict() == Verdict::Pass && decision.reason.layer() != Layer::Exempt
}

fn grown(before: &[u64], after: &[u64]) -> BTreeMap<u32, u64> {
    let grown = before.iter().zip(after).zip(0..).map(|((before, after), index)| (index, after - before));
    grown.filter(|(_, by)| *by != 0).collect()
}

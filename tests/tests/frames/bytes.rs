//! Frames cut off at every byte, with more bytes than they say, and with each byte changed: host core and bytecode see
//! the same, and nothing but what always passes gets through a deny-all.

use fw_common::{Decision, Reason, Verdict};
use fw_tests::kernel::Received;

use super::kinds::{self, KINDS};
use super::twin::{Trial, Twin, is_bypass, least};

/// What was judged under rules that let in something, and under those that let in nothing.
fn under_both(received: Received, work: impl Fn(&mut Twin, bool)) {
    for (rules, open) in [(kinds::some(), true), (kinds::none(), false)] {
        work(&mut Twin::new(received, &rules), open);
    }
}

/// Every prefix of every kind. Whole they come to what their kind says.
fn prefixes(received: Received) {
    under_both(received, |twin, open| {
        for (text, reason) in KINDS {
            let frame = kinds::frame(text);
            let lengths = least(&frame, received)..=frame.len();
            let mut trials: Vec<_> = lengths.map(|len| Trial::whole(&frame[..len])).collect();
            // Padding, as short frames have it on a wire.
            trials.extend([1, 26].map(|more| Trial::whole(&[frame.clone(), vec![0xff; more]].concat())));
            let decisions = twin.agree(text, &trials);
            let (cut, complete) = decisions.split_at(decisions.len() - 3);
            if open {
                assert_eq!(complete[0].reason, reason, "{text}");
                let same = |decision: &Decision| decision.verdict() == reason.verdict();
                assert!(complete.iter().all(same), "{text}: {complete:?}");
            }
            assert!(open || !complete.iter().any(is_bypass), "{text}: {complete:?}");
            // Of what the frame says of its length nothing was taken back.
            let passes = |decision: &&Decision| decision.verdict() == Verdict::Pass;
            if reason.verdict() == Verdict::Pass && is_ip(&frame) {
                assert_eq!(cut.iter().filter(passes).count(), 0, "{text}: {cut:?}");
                let layer = |decision: &Decision| decision.reason.layer().name();
                assert!(cut.iter().all(|decision| layer(decision) == "parse"), "{text}: {cut:?}");
            }
        }
    });
}

/// Whether it carries IP behind its tags: what is not IP has no length to be cut below.
fn is_ip(frame: &[u8]) -> bool {
    let mut types = frame[12..].chunks(2).step_by(2).map(|kind| u16::from_be_bytes([kind[0], kind[1]]));
    matches!(types.find(|kind| !matches!(kind, 0x8100 | 0x88a8)), Some(0x0800 | 0x86dd))
}

#[test]
fn frames_cut_off_at_any_byte_are_refused_at_xdp_as_on_the_host() {
    prefixes(Received::Xdp);
}

#[test]
fn frames_cut_off_at_any_byte_are_refused_at_tc_as_on_the_host() {
    prefixes(Received::Tc);
}

/// Every byte of every kind, with four other values each.
fn mutations(received: Received) {
    under_both(received, |twin, open| {
        let mut reasons = std::collections::BTreeSet::new();
        for (text, _) in KINDS {
            let frame = kinds::frame(text);
            let mut trials = Vec::new();
            for at in 0..frame.len().min(160) {
                for value in [frame[at] ^ 1, frame[at] ^ 0x80, !frame[at], 0] {
                    let mut frame = frame.clone();
                    frame[at] = value;
                    if frame.len() >= least(&frame, received) {
                        trials.push(Trial::whole(&frame));
                    }
                }
            }
            for (decision, trial) in twin.agree(text, &trials).iter().zip(&trials) {
                assert!(open || !is_bypass(decision), "{text}: {decision:?}: {trial:02x?}");
                reasons.insert(decision.reason.name());
            }
        }
        // So that it cannot pass by refusing everything for the same reason.
        assert!(reasons.len() >= 20, "{reasons:?}");
        assert_eq!(open, reasons.contains(Reason::GroupRule.name()), "{reasons:?}");
    });
}

#[test]
fn frames_with_a_changed_byte_are_judged_at_xdp_as_on_the_host() {
    mutations(Received::Xdp);
}

#[test]
fn frames_with_a_changed_byte_are_judged_at_tc_as_on_the_host() {
    mutations(Received::Tc);
}

//! Short and truncated frames on a real device.

use std::collections::BTreeMap;

use fw_common::Direction;
use fw_tests::traffic::sender;
use fw_userspace::document;
use fw_userspace::simulate::Simulation;

use super::kinds::{self, KINDS, NIC};
use super::wire::Wire;

/// What TC does not see: a frame that ends within, or just behind, the tag that is taken out before (`skb_vlan_untag`
/// wants six bytes behind the first ethertype, Linux 6.18).
fn is_seen(frame: &[u8], mode: &str) -> bool {
    mode == "xdp" || !matches!(frame[12..14], [0x81, 0] | [0x88, 0xa8]) || frame.len() >= 20
}

/// Every frame from 14 bytes to its whole length, and padded to 60, through a veth pair.
fn prefixes(mode: &str) {
    for rules in [kinds::some(), kinds::none()] {
        // Without addresses nothing answers, so nothing but these frames makes a connection.
        let wire = Wire::new(false);
        wire.load(rules.clone(), mode);
        let simulation =
            Simulation::new(document::read(rules.to_string().as_bytes()).policy.unwrap()).unwrap();
        let wire_out = sender(&wire.near, "eth0").unwrap();
        let mut expected = BTreeMap::new();
        for (text, _) in KINDS {
            let frame = kinds::frame(text);
            let padded = [frame.clone(), vec![0; 60_usize.saturating_sub(frame.len())]].concat();
            let cut = (14..=frame.len()).map(|len| frame[..len].to_vec());
            for frame in cut.chain([padded]) {
                wire_out.send(&frame).unwrap();
                if is_seen(&frame, mode) {
                    let judged = simulation.judge(NIC, Direction::Ingress, &frame).unwrap();
                    *expected.entry(judged.decision.reason.name().to_owned()).or_default() += 1;
                }
            }
        }
        let total = expected.values().sum();
        assert!(total > 2000, "{total} frames");
        assert_eq!(wire.counts(total), expected, "{mode}: by the device, and on the host");
    }
}

#[test]
fn short_frames_of_a_real_device_are_judged_at_xdp_as_on_the_host() {
    prefixes("xdp");
}

#[test]
fn short_frames_of_a_real_device_are_judged_at_tc_as_on_the_host() {
    prefixes("tc");
}

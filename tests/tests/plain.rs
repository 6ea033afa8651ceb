//! Usual packets are read at fixed places: the frames of all cases, cut anywhere and with any byte changed, are read as
//! the parser reads them, or left to it.

use fw_tests::case::{self, Step};
use fw_tests::fuzz::invariants;

#[test]
fn usual_packets_are_read_as_the_parser_reads_them() {
    let cases = case::load().expect("the cases load");
    let frames = cases.iter().flat_map(|case| &case.steps).filter_map(|step| match step {
        Step::Packet(packet) => Some(packet.frame.clone()),
        Step::Wait(_) | Step::Load(_) => None,
    });
    let mut frames: Vec<Vec<u8>> = frames.filter(|frame| frame.len() < 200).collect();
    frames.sort_unstable();
    frames.dedup();
    let (mut usual, mut changed) = (0, 0);
    for frame in &mut frames {
        usual += usize::from(invariants::plain(frame));
        for len in 0..frame.len() {
            invariants::plain(&frame[..len]);
        }
        // The link layer's type, and all headers behind it.
        for place in 12..frame.len().min(80) {
            let byte = frame[place];
            for other in [0, 1, 4, 5, 6, 0x10, 0x20, 0x40, 0x45, 0x7f, 0xff, byte ^ 1, byte ^ 0x80] {
                frame[place] = other;
                changed += usize::from(invariants::plain(frame));
            }
            frame[place] = byte;
        }
    }
    assert!(usual > 500 && changed > 100_000, "{usual} usual frames, {changed} that were changed");
}

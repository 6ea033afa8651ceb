//! A history: frames, waiting and loads, one record of eight bytes each, at a host with three places and room for three
//! ordinary connections.
//!
//! The first byte chooses the first rule set. What a record says is in [`traffic`]; the rules are in [`rules`]; what
//! must hold after each frame is in [`ledger`].

mod ledger;
mod rules;
pub(super) mod traffic;

use fw_common::Decision;

use ledger::Ledger;
use traffic::{Event, Traffic};

/// Bytes of a record.
pub(super) const RECORD: usize = 8;
const MOST_RECORDS: usize = 96;
const MOST_LOADS: u32 = 3;

pub(super) fn run(bytes: &[u8]) {
    let Some((first, records)) = bytes.split_first() else { return };
    let decided = play(*first, records, &mut Some(Ledger::new(*first)));
    let again = play(*first, records, &mut None);
    assert_eq!(decided, again, "the same history twice");
}

fn play(first: u8, records: &[u8], ledger: &mut Option<Ledger>) -> Vec<Decision> {
    let mut host = rules::host(first);
    let mut traffic = Traffic::default();
    let mut decisions = Vec::new();
    let mut loads = 0;
    for record in records.chunks_exact(RECORD).take(MOST_RECORDS) {
        match traffic.event(record) {
            Event::Wait(seconds) => host.wait(seconds),
            // Compiling takes longer than all frames of a history.
            Event::Load(_) if loads == MOST_LOADS => {}
            Event::Load(number) => {
                loads += 1;
                host.load(rules::policy(number)).unwrap_or_else(|error| panic!("{error}"));
                if let Some(ledger) = ledger {
                    ledger.loaded(number);
                }
            }
            Event::Packet(packet) => {
                let judged = host.judge(packet.place, packet.direction, &packet.frame);
                let decision = judged.expect("every place has a device").decision;
                traffic.sent(&packet, decision.reason.verdict());
                if let Some(ledger) = ledger {
                    ledger.check(&host, &packet.frame, packet.direction, decision);
                }
                decisions.push(decision);
            }
        }
    }
    decisions
}

/// What came of each frame of a history.
#[cfg(test)]
pub(super) fn decisions(bytes: &[u8]) -> Vec<Decision> {
    bytes.split_first().map_or_else(Vec::new, |(first, records)| play(*first, records, &mut None))
}

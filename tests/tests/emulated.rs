//! Every case in the emulated bytecode, beside the core on the host: figures that are counted there are of programs that
//! decide as they should. Needs no kernel.

use anyhow::{Context as _, Result, ensure};
use fw_common::event::Event;
use fw_common::{Address, Direction, Layer};
use fw_tests::case::{self, Case, Step};
use fw_tests::kernel::Received;
use fw_tests::run;
use fw_tests::structure::host::Host;
use fw_userspace::simulate::Simulation;

#[test]
fn every_case_holds_in_the_emulated_bytecode_at_xdp() {
    run_all(Received::Xdp);
}

#[test]
fn every_case_holds_in_the_emulated_bytecode_at_tc() {
    run_all(Received::Tc);
}

fn run_all(received: Received) {
    let cases = case::load().expect("the cases load");
    let mut failures = Vec::new();
    let mut packets = 0;
    for case in cases.iter().filter(|case| case.refused.is_none()) {
        match run_case(case, received) {
            Ok(count) => packets += count,
            Err(error) => failures.push(format!("{} {}: {error:#}", case.place(), case.name)),
        }
    }
    assert!(failures.is_empty(), "{} cases differ:\n{}", failures.len(), failures.join("\n"));
    assert!(packets > 1000, "only {packets} packets were judged");
}

fn run_case(case: &Case, received: Received) -> Result<usize> {
    let mut policy = run::policy(&case.rules)?;
    let mut core = Simulation::new(policy.clone())?;
    let mut bytecode = Host::new()?;
    bytecode.publish(&core.compiled().patch.image())?;
    bytecode.listen()?;
    let (mut packets, mut suppressed) = (0, 0);
    for step in &case.steps {
        match step {
            Step::Wait(seconds) => core.wait(*seconds),
            Step::Load(rules) => {
                policy = run::policy(rules)?;
                core.load(policy.clone())?;
                bytecode.publish(&core.compiled().patch.image())?;
                bytecode.listen()?;
            }
            Step::Packet(packet) => {
                let place = || format!("line {}: {}", packet.line, packet.text);
                let direction = match packet.direction {
                    case::Direction::Inbound => Direction::Ingress,
                    case::Direction::Outbound => Direction::Egress,
                };
                bytecode.set_clock(core.now_ns());
                let decision = core.judge(&packet.at, direction, &packet.frame).with_context(place)?.decision;
                let binding = core.bindings().iter().find(|binding| binding.carries.name() == packet.at);
                let ifindex = binding.with_context(place)?.ifindex;
                let hook = run::hook_of(&policy, &packet.at, run::direction_of(packet));
                let seen = bytecode.judge(&packet.frame, ifindex, hook, received).with_context(place)?;
                ensure!(
                    (seen.verdict, seen.counter) == (decision.verdict(), decision.counter_index()),
                    "{}: core {decision:?}, bytecode {:?} by counter {}",
                    place(),
                    seen.verdict,
                    seen.counter
                );
                packets += 1;
                let (told, kept) = bytecode.told().with_context(place)?;
                ensure!((told.len() as u64) + kept - suppressed == 1, "{}: {told:?}, {kept}", place());
                suppressed = kept;
                // A case of thousands of packets is a flood.
                let Some(event) = told.first() else { continue };
                ensure!(
                    event.decision() == Some(decision) && event.ifindex == ifindex,
                    "{}: core {decision:?}, told {event:?}",
                    place()
                );
                let shown = shown(&packet.frame);
                ensure!(
                    !event.has(Event::IS_IP) || shown == Some((event.source, event.destination)),
                    "{}: {shown:?} is on the wire, told {event:?}",
                    place()
                );
                let is_refused = matches!(decision.reason.layer(), Layer::Parse | Layer::None);
                ensure!(event.has(Event::IS_IP) || is_refused || shown.is_none(), "{}: {event:?}", place());
            }
        }
    }
    Ok(packets)
}

/// The addresses of a frame without tags, by a look of our own.
fn shown(frame: &[u8]) -> Option<(Address, Address)> {
    let address = |at: usize| Some(Address::from_ipv6(*frame.get(at..)?.first_chunk()?));
    let mapped = |at: usize| Some(Address::from_ipv4(*frame.get(at..)?.first_chunk()?));
    let mut at = 12;
    while matches!(frame.get(at..at + 2)?, [0x81, 0x00] | [0x88, 0xa8]) {
        at += 4;
    }
    match frame.get(at..at + 2)? {
        [0x08, 0x00] => Some((mapped(at + 14)?, mapped(at + 18)?)),
        [0x86, 0xdd] => Some((address(at + 10)?, address(at + 26)?)),
        _ => None,
    }
}

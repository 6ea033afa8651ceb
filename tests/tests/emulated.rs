//! Every case in the emulated bytecode, beside the core on the host: figures that are counted there are of programs that
//! decide as they should. Needs no kernel.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use fw_common::event::Event;
use fw_common::flow_log::{Action, Flow};
use fw_common::{Address, Decision, Direction, Layer, Verdict};
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
    bytecode.record(FLOWS)?;
    let (mut packets, mut suppressed) = (0, 0);
    // What a flow log is to have, unless not all packets are told of.
    let mut flows = Some(BTreeMap::new());
    for step in &case.steps {
        match step {
            Step::Wait(seconds) => core.wait(*seconds),
            Step::Load(rules) => {
                policy = run::policy(rules)?;
                core.load(policy.clone())?;
                is_recorded(&mut bytecode, flows.as_ref())?;
                flows = flows.map(|_| BTreeMap::new());
                bytecode.publish(&core.compiled().patch.image())?;
                bytecode.listen()?;
                bytecode.record(FLOWS)?;
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
                let Some(event) = told.first() else {
                    flows = None;
                    continue;
                };
                if let Some(flows) = &mut flows
                    && event.has(Event::IS_IP)
                    && decision.zone != 0
                    && decision.reason.layer() != Layer::Exempt
                {
                    let (packets, bytes): &mut (u64, u64) = flows.entry(flow(event, &decision)).or_default();
                    *packets += 1;
                    *bytes += ip_bytes(&packet.frame, event).with_context(place)?;
                }
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
    is_recorded(&mut bytecode, flows.as_ref())?;
    Ok(packets)
}

/// Room for all that a case has.
const FLOWS: u32 = 4096;

/// Whether the programs have added up just that.
fn is_recorded(bytecode: &mut Host, flows: Option<&BTreeMap<Flow, (u64, u64)>>) -> Result<()> {
    let Some(flows) = flows else { return Ok(()) };
    let recorded = bytecode.recorded()?.into_iter();
    let recorded: BTreeMap<Flow, (u64, u64)> =
        recorded.map(|(flow, tally)| (flow, (tally.packets, tally.bytes))).collect();
    ensure!(&recorded == flows, "recorded {recorded:?}, seen {flows:?}");
    Ok(())
}

/// The flow of an event's packet.
fn flow(event: &Event, decision: &Decision) -> Flow {
    let has_ports = matches!(event.protocol, 6 | 17);
    let port = |port| if has_ports { port } else { 0 };
    let action = match (decision.reason.verdict(), decision.observed) {
        (Verdict::Pass, _) => Action::Accept,
        (Verdict::Drop, false) => Action::Reject,
        (Verdict::Drop, true) => Action::WouldReject,
    };
    Flow {
        zone: decision.zone,
        source_port: port(event.source_port),
        destination_port: port(event.service),
        source: event.source,
        destination: event.destination,
        protocol: event.protocol,
        direction: event.direction,
        action: action as u8,
        reserved: [0; 5],
    }
}

/// What an IP header says that its packet has, by a look of our own.
fn ip_bytes(frame: &[u8], event: &Event) -> Option<u64> {
    let mut at = 14;
    // A device without a link-layer header, or tags.
    if !matches!(frame.get(12..14)?, [0x08, 0x00] | [0x86, 0xdd] | [0x81, 0x00] | [0x88, 0xa8]) {
        at = 0;
    }
    while at != 0 && matches!(frame.get(at - 2..at)?, [0x81, 0x00] | [0x88, 0xa8]) {
        at += 4;
    }
    let length =
        |at: usize| frame.get(at..)?.first_chunk().map(|bytes| u64::from(u16::from_be_bytes(*bytes)));
    if event.source.is_mapped() { length(at + 2) } else { Some(40 + length(at + 4)?) }
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

//! Every case in the emulated bytecode, beside the core on the host: figures that are counted there are of programs that
//! decide as they should. Needs no kernel.

use anyhow::{Context as _, Result, ensure};
use fw_common::Direction;
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
    let mut packets = 0;
    for step in &case.steps {
        match step {
            Step::Wait(seconds) => core.wait(*seconds),
            Step::Load(rules) => {
                policy = run::policy(rules)?;
                core.load(policy.clone())?;
                bytecode.publish(&core.compiled().patch.image())?;
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
                let hook = run::hook_of(&policy, packet);
                let seen = bytecode.judge(&packet.frame, ifindex, hook, received).with_context(place)?;
                ensure!(
                    (seen.verdict, seen.counter) == (decision.verdict(), decision.counter_index()),
                    "{}: core {decision:?}, bytecode {:?} by counter {}",
                    place(),
                    seen.verdict,
                    seen.counter
                );
                packets += 1;
            }
        }
    }
    Ok(packets)
}

//! `fwctl explain`: what happens to a packet, and why.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use fw_userspace::error::{Error, Result};
use fw_userspace::explain::{
    Endpoint, Explainer, Flow, IcmpType, Link, RawFrame, Service, Way, summarise, walk_in_force, walk_rules,
};
use fw_userspace::model::Policy;
use fw_userspace::report::ProtocolName;

use super::{Outcome, rules};
use crate::args::Explain;
use crate::output::{self, Output};
use fw_userspace::input;

pub(super) fn run(args: &Explain, bpffs: &Path, output: &mut Output) -> Result<Outcome> {
    input::refuse_stdin_twice(args.rules.iter().chain(&args.pcap))?;
    let policy = match &args.rules {
        Some(file) => match rules(file, args.memory.max)? {
            Some(policy) => Some(policy),
            None => return Ok(Outcome::Invalid),
        },
        None => None,
    };
    match (&args.from, &args.to, &args.interface) {
        (Some(from), Some(to), _) => path(args, bpffs, policy, (from, to), output),
        (.., Some(interface)) => {
            let explainer = match policy {
                Some(policy) => Explainer::of_rules(policy, args.memory.max)?,
                None => Explainer::of_what_is_in_force(bpffs)?,
            };
            if let Some(file) = &args.pcap {
                capture(args, &explainer, interface, file, output)
            } else {
                packet(args, &explainer, interface, output)
            }
        }
        _ => Err(Error::input("which interface? give \"--interface\", or \"--from\" and \"--to\"")),
    }
}

fn packet(args: &Explain, explainer: &Explainer, interface: &str, output: &mut Output) -> Result<Outcome> {
    let direction = direction(args)
        .ok_or_else(|| Error::input("which way does the packet go? give \"--ingress\" or \"--egress\""))?;
    let (frame, named) = match &args.hex {
        Some(digits) => {
            let frame = RawFrame::from_hex(digits, Link::Ethernet)?;
            let named = frame.to_string();
            (frame, named)
        }
        None => {
            let flow = flow(args)?;
            (RawFrame::ethernet(flow.frame()?), flow.to_string())
        }
    };
    let explanation = explainer.explain(interface, direction, &frame)?;
    if args.json {
        output.json(&explanation)?;
    } else {
        output::explain::packet(output, interface, direction, &named, &explanation);
    }
    Ok(Outcome::Done)
}

fn path(
    args: &Explain,
    bpffs: &Path,
    policy: Option<Policy>,
    (from, to): (&str, &str),
    output: &mut Output,
) -> Result<Outcome> {
    let [service] = &args.packet[..] else {
        return Err(Error::input("what is to be reached? give one PROTOCOL/PORT, such as \"tcp/5432\""));
    };
    let service: Service =
        service.parse().map_err(|must_be| Error::input(format!("{service:?} {must_be}")))?;
    let report = match policy {
        Some(policy) => walk_rules(policy, from, to, service, args.memory.max)?,
        None => walk_in_force(bpffs, from, to, service)?,
    };
    if args.json {
        output.json(&report)?;
    } else {
        output::explain::path(output, &report);
    }
    Ok(Outcome::Done)
}

fn capture(
    args: &Explain,
    explainer: &Explainer,
    interface: &str,
    file: &Path,
    output: &mut Output,
) -> Result<Outcome> {
    let way = match direction(args) {
        Some(direction) => Way::All(direction),
        None => Way::ByAddress(explainer.addresses(interface)?),
    };
    let name = input::name(file);
    let source: Box<dyn Read + Send> = if file == Path::new("-") {
        Box::new(io::stdin())
    } else {
        Box::new(File::open(file).map_err(|error| input::unreadable(file, &error))?)
    };
    let report =
        summarise(explainer, interface, &way, source).map_err(|error| error.about(&format!("{name:?}")))?;
    if args.json {
        output.json(&report)?;
    } else {
        output::explain::capture(output, &name, &report);
    }
    // What could be read is told; that it was not all is an error all the same.
    if report.cut_off.is_some() { Ok(Outcome::Invalid) } else { Ok(Outcome::Done) }
}

fn direction(args: &Explain) -> Option<fw_common::Direction> {
    match (args.ingress, args.egress) {
        (true, _) => Some(fw_common::Direction::Ingress),
        (_, true) => Some(fw_common::Direction::Egress),
        _ => None,
    }
}

fn flow(args: &Explain) -> Result<Flow> {
    let [protocol, source, destination] = &args.packet[..] else {
        return Err(Error::input(
            "which packet? give PROTOCOL SOURCE DESTINATION, such as \"tcp 198.51.100.7:51000 10.0.1.10:443\"",
        ));
    };
    let wrong = |word: &str, must_be: String| Error::input(format!("{word:?} {must_be}"));
    let number: ProtocolName = protocol.parse().map_err(|must_be| wrong(protocol, must_be))?;
    let end = |text: &str| text.parse::<Endpoint>().map_err(|must_be| wrong(text, must_be));
    let source = end(source)?;
    let other = match (protocol.as_str(), source.address.is_ipv4()) {
        ("icmp", false) => Some("\"icmp\" does not go with IPv6, \"icmpv6\" does"),
        ("icmpv6", true) => Some("\"icmpv6\" does not go with IPv4, \"icmp\" does"),
        _ => None,
    };
    if let Some(other) = other {
        return Err(Error::input(other));
    }
    let mut flow = Flow::new(number, source, end(destination)?)?;
    if let Some(flags) = args.tcp_flags {
        refuse_unless(number.0 == fw_common::packet::protocol::TCP, "--tcp-flags", "tcp", protocol)?;
        flow.tcp_flags = flags;
    }
    if let Some(kind) = args.icmp_type {
        refuse_unless(flow.protocol().is_icmp(), "--icmp-type", "icmp and icmpv6", protocol)?;
        flow.icmp = IcmpType { kind, code: args.icmp_code.unwrap_or(0) };
    }
    Ok(flow)
}

fn refuse_unless(fits: bool, option: &str, with: &str, protocol: &str) -> Result<()> {
    if fits {
        return Ok(());
    }
    Err(Error::input(format!("\"{option}\" goes with {with}, not with {protocol:?}")))
}

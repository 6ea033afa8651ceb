//! Protocol, ports, ICMP type and code: which of them go together.

use super::super::network::{ICMP, ICMPV6, Protocol, TCP, UDP};
use super::super::report::Report;
use super::super::scalar::Ranged;
use super::super::types::{DocumentEntry, DocumentRule};
use super::super::value::{At, Field};
use crate::lint::Code;
use crate::model::{IcmpMatch, PortRange, Traffic};

/// The fields that rules and entries have in common.
pub(super) struct TrafficFields<'d> {
    /// Of the rule, for what is missing.
    at: usize,
    protocol: &'d Field<Protocol>,
    from_port: &'d Field<Port>,
    to_port: &'d Field<Port>,
    icmp_type: &'d Field<Icmp>,
    icmp_code: &'d Field<Icmp>,
}

type Port = Ranged<0, 65535>;
type Icmp = Ranged<-1, 255>;

impl<'d> TrafficFields<'d> {
    pub(super) fn of_rule(rule: &'d At<DocumentRule>) -> Self {
        let DocumentRule { protocol, from_port, to_port, icmp_type, icmp_code, .. } = &rule.value;
        Self { at: rule.at, protocol, from_port, to_port, icmp_type, icmp_code }
    }

    pub(super) fn of_entry(entry: &'d At<DocumentEntry>) -> Self {
        let DocumentEntry { protocol, from_port, to_port, icmp_type, icmp_code, .. } = &entry.value;
        Self { at: entry.at, protocol, from_port, to_port, icmp_type, icmp_code }
    }

    pub(super) fn check(&self, report: &mut Report<'_>) -> Option<Traffic> {
        let Protocol(number) = *self.protocol.value()?;
        let name = protocol_name(number);
        let has_ports = matches!(number, Some(TCP | UDP));
        let has_icmp = matches!(number, Some(ICMP | ICMPV6));
        if !has_ports {
            refuse("from_port", self.from_port, &name, report);
            refuse("to_port", self.to_port, &name, report);
        }
        if !has_icmp {
            refuse("icmp_type", self.icmp_type, &name, report);
            refuse("icmp_code", self.icmp_code, &name, report);
        }
        match number {
            None => Some(Traffic::All),
            Some(TCP) => self.ports(&name, report).map(Traffic::Tcp),
            Some(UDP) => self.ports(&name, report).map(Traffic::Udp),
            Some(ICMP) => {
                self.require(("icmp_type", self.icmp_type), ("icmp_code", self.icmp_code), &name, report);
                self.icmp(report).map(Traffic::Icmp)
            }
            Some(ICMPV6) => self.icmp(report).map(Traffic::Icmpv6),
            Some(other) => Some(Traffic::Protocol(other)),
        }
    }

    fn ports(&self, protocol: &str, report: &mut Report<'_>) -> Option<PortRange> {
        self.require(("from_port", self.from_port), ("to_port", self.to_port), protocol, report);
        let (first, last) = (self.from_port.get()?, self.to_port.get()?);
        let (from, to) = (first.value.to(), last.value.to());
        if from > to {
            let message = format!("\"from_port\" is {from}, must not be above \"to_port\", which is {to}");
            report.say(first.at, Code::ValueConflict, message);
            return None;
        }
        Some(PortRange { from, to })
    }

    fn icmp(&self, report: &mut Report<'_>) -> Option<IcmpMatch> {
        if self.icmp_type.is_wrong() || self.icmp_code.is_wrong() {
            return None;
        }
        let number = |field: &Field<Icmp>| field.value().map_or(-1, |number| number.to::<i16>());
        let (kind, code) = (number(self.icmp_type), number(self.icmp_code));
        if let Some(given) = self.icmp_code.get()
            && kind == -1
            && code != -1
        {
            let message = format!("\"icmp_code\" is {code}, must be -1 where \"icmp_type\" is -1");
            report.say(given.at, Code::ValueConflict, message);
            return None;
        }
        // -1 is the only value of the range that is no `u8`.
        Some(IcmpMatch { kind: u8::try_from(kind).ok(), code: u8::try_from(code).ok() })
    }

    fn require<T>(
        &self,
        (one, first): (&str, &Field<T>),
        (other, second): (&str, &Field<T>),
        protocol: &str,
        report: &mut Report<'_>,
    ) {
        let missing = match (first.is_absent(), second.is_absent()) {
            (true, true) => format!("{one:?} and {other:?} are missing"),
            (true, false) => format!("{one:?} is missing"),
            (false, true) => format!("{other:?} is missing"),
            (false, false) => return,
        };
        report.say(self.at, Code::KeyMissing, format!("{missing}, protocol {protocol} needs both"));
    }
}

fn refuse<T>(key: &str, field: &Field<T>, protocol: &str, report: &mut Report<'_>) {
    if let Some(given) = field.get() {
        report.say(
            given.at,
            Code::ValueConflict,
            format!("{key:?} does not apply to protocol {protocol}, leave it out"),
        );
    }
}

/// As the file would write it.
fn protocol_name(number: Option<u8>) -> String {
    match number {
        None => "all".to_owned(),
        Some(TCP) => "tcp".to_owned(),
        Some(UDP) => "udp".to_owned(),
        Some(ICMP) => "icmp".to_owned(),
        Some(ICMPV6) => "icmpv6".to_owned(),
        Some(other) => other.to_string(),
    }
}

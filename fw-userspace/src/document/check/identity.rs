//! Ids of rules and entries: the user's, or a hash of what the rule says.
//!
//! The hash does not depend on where the rule stands, nor on its description, nor on the order of its peers:
//! counters survive whatever leaves the meaning alone. It must not change between releases either.

use std::collections::{HashMap, HashSet};

use ipnet::IpNet;

use super::super::report::Report;
use super::super::scalar::Name;
use super::super::value::Field;
use crate::lint::Code;
use crate::model::{IcmpMatch, PortRange, Traffic};

/// Hands out the ids of one list.
pub(super) struct Ids {
    given: HashSet<String>,
    /// How often each hash was asked for: a million equal rules must not each count from the start.
    counts: HashMap<u32, u32>,
}

impl Ids {
    /// The users' ids come first, so that a hash never takes one of theirs.
    pub(super) fn with_given<'d>(
        given: impl Iterator<Item = &'d Field<Name>>,
        report: &mut Report<'_>,
    ) -> Self {
        let mut given_ids = HashSet::new();
        for id in given.filter_map(Field::get) {
            if !given_ids.insert(id.value.0.clone()) {
                report.say(
                    id.at,
                    Code::ValueConflict,
                    format!("\"id\" is {:?}, must be unique in its list", id.value.0),
                );
            }
        }
        Self { given: given_ids, counts: HashMap::new() }
    }

    /// The id of the next rule: as given, else its hash, with a suffix where an equal rule came before.
    pub(super) fn next(&mut self, given: &Field<Name>, content: Content) -> String {
        if let Some(id) = given.value() {
            return id.0.clone();
        }
        let hash = content.folded();
        let count = self.counts.entry(hash).or_default();
        loop {
            *count += 1;
            let id = if *count == 1 { format!("{hash:08x}") } else { format!("{hash:08x}-{count}") };
            if !self.given.contains(&id) {
                return id;
            }
        }
    }
}

/// A hash over what a rule says; 64-bit FNV-1a, <https://www.rfc-editor.org/rfc/rfc9923>.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Content(u64);

impl Content {
    pub(super) fn of_traffic(traffic: Traffic) -> Self {
        let icmp = |tag: u8, IcmpMatch { kind, code }: IcmpMatch| {
            let byte = |value: Option<u8>| value.map_or([1, 0], |value| [0, value]);
            [tag, byte(kind)[0], byte(kind)[1], byte(code)[0], byte(code)[1]]
        };
        let ports = |tag: u8, PortRange { from, to }: PortRange| {
            let ([a, b], [c, d]) = (from.to_be_bytes(), to.to_be_bytes());
            [tag, a, b, c, d]
        };
        let bytes = match traffic {
            Traffic::All => [b'a', 0, 0, 0, 0],
            Traffic::Tcp(range) => ports(b't', range),
            Traffic::Udp(range) => ports(b'u', range),
            Traffic::Icmp(matched) => icmp(b'i', matched),
            Traffic::Icmpv6(matched) => icmp(b'6', matched),
            Traffic::Protocol(number) => [b'p', number, 0, 0, 0],
        };
        Self(fnv(OFFSET_BASIS, &bytes))
    }

    /// Adds something whose place among the others does not matter.
    #[must_use]
    pub(super) fn and(self, tag: u8, bytes: &[u8]) -> Self {
        Self(self.0.wrapping_add(fnv(fnv(OFFSET_BASIS, &[tag]), bytes)))
    }

    #[must_use]
    pub(super) fn and_net(self, net: IpNet) -> Self {
        match net {
            IpNet::V4(net) => self.and(net.prefix_len(), &net.addr().octets()),
            IpNet::V6(net) => self.and(net.prefix_len(), &net.addr().octets()),
        }
    }

    fn folded(self) -> u32 {
        (self.0 >> 32) as u32 ^ self.0 as u32
    }
}

fn fnv(start: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(start, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(PRIME))
}

const OFFSET_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const PRIME: u64 = 0x0000_0100_0000_01b3;

/// Tags of what is hashed; prefix lengths take 0 to 128.
pub(super) const TAG_GROUP: u8 = 200;
pub(super) const TAG_SELF: u8 = 201;
pub(super) const TAG_PREFIX_LIST: u8 = 202;
pub(super) const TAG_RESERVED: u8 = 203;
pub(super) const TAG_RULE_NUMBER: u8 = 204;
pub(super) const TAG_ALLOW: u8 = 205;

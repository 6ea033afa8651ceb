//! Network ACLs that let requests pass, but not the replies to them.
//!
//! Exact, by sets, of two questions at every address: does an entry that is meant for requests decide for some request,
//! and is some reply denied? Requests are TCP and UDP to any port; an entry that has the ephemeral ports is taken to be
//! there for replies, but for its ports below 1024. Replies go to the ephemeral ports of Linux. An echo request is
//! answered by an echo reply. Addresses to which a whole protocol is denied are left out: somebody wants it so.

use fw_common::Direction;

use super::axis::{EVERYTHING, Family, ICMP, Span, TCP, UDP, icmp_of, ports_of};
use super::first::{First, Key, Moment};
use super::list::{Entry, Places};
use super::trie::{Prefix, Trie, Visit, walk};
use crate::model::{Action, PortRange};

/// Requests whose replies are denied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Lost {
    /// What kind of requests.
    pub(super) protocol: &'static str,
    /// The way of the requests.
    pub(super) direction: Direction,
    /// The entry that lets them pass.
    pub(super) number: u16,
    /// The remote address of one; IPv4 in the upper 32 bits.
    pub(super) address: u128,
    /// The entry that denies a reply to it, `None` for the implicit one.
    pub(super) denied_by: Option<u16>,
}

impl Lost {
    /// Whether it is the same but for the protocol.
    pub(super) fn is_beside(&self, other: &Self) -> bool {
        let all_else = |lost: &Self| (lost.direction, lost.number, lost.address, lost.denied_by);
        all_else(self) == all_else(other)
    }
}

/// The first of each protocol and direction. `inside` is what the ACL does not judge.
pub(super) fn lost(ingress: &[Entry], egress: &[Entry], inside: &[Prefix], family: Family) -> Vec<Lost> {
    let protocols = protocols(family);
    let mut all: Vec<(Direction, Entry)> = ingress.iter().map(|entry| (Direction::Ingress, *entry)).collect();
    all.extend(egress.iter().map(|entry| (Direction::Egress, *entry)));
    for prefix in inside {
        // Below all numbers that can be written.
        let passes = Entry { number: 0, action: Action::Allow, prefix: *prefix, span: EVERYTHING };
        all.extend([(Direction::Ingress, passes), (Direction::Egress, passes)]);
    }
    all.sort_by_key(|(_, entry)| entry.prefix);
    let prefixes: Vec<_> = all.iter().map(|(_, entry)| entry.prefix).collect();
    let trie = Trie::of(&prefixes);
    let borders = protocols.iter().flat_map(|protocol| {
        let for_replies = [ephemeral_of(protocol.whole), system_of(protocol.whole)];
        [protocol.requests, protocol.replies, protocol.whole].into_iter().chain(for_replies)
    });
    let places = Places::of(all.iter().map(|(_, entry)| entry.span).chain(borders));
    let mut lost = Vec::new();
    for direction in [Direction::Ingress, Direction::Egress] {
        let mut search = Search {
            all: &all,
            direction,
            places: &places,
            open: protocols.to_vec(),
            requests: First::new(places.count(), Key::none(false)),
            replies: First::new(places.count(), Key::none(true)),
            moments: Vec::new(),
            lost: Vec::new(),
        };
        walk(&trie, &mut search);
        lost.extend(search.lost);
    }
    lost
}

#[derive(Debug, Clone, Copy)]
struct Protocol {
    name: &'static str,
    whole: Span,
    requests: Span,
    replies: Span,
}

fn protocols(family: Family) -> [Protocol; 3] {
    // https://www.rfc-editor.org/rfc/rfc792, https://www.rfc-editor.org/rfc/rfc4443
    let (echo, request, reply) = match family {
        Family::Ipv4 => ("icmp echo", icmp_of(8, 0), icmp_of(0, 0)),
        Family::Ipv6 => ("icmpv6 echo", icmp_of(128, 0), icmp_of(129, 0)),
    };
    let with_ports =
        |name, whole| Protocol { name, whole, requests: whole, replies: ports_of(whole, EPHEMERAL) };
    [
        with_ports("tcp", TCP),
        with_ports("udp", UDP),
        Protocol { name: echo, whole: ICMP, requests: request, replies: reply },
    ]
}

struct Search<'s> {
    all: &'s [(Direction, Entry)],
    /// Of the requests.
    direction: Direction,
    places: &'s Places,
    /// Those of which nothing was found yet.
    open: Vec<Protocol>,
    /// Marked: entries that are meant for requests.
    requests: First,
    /// Marked: denied.
    replies: First,
    moments: Vec<(Moment, Moment)>,
    lost: Vec<Lost>,
}

impl Visit for Search<'_> {
    fn enter(&mut self, trie: &Trie, node: usize) {
        self.moments.push((self.requests.now(), self.replies.now()));
        for (direction, entry) in &self.all[trie.nodes[node].own.clone()] {
            if *direction == self.direction {
                self.add_request(entry);
            } else {
                let key = Key::new(entry.number, entry.action == Action::Deny && !is_meant(entry));
                self.replies.add(self.places.range(entry.span), key);
            }
        }
        let Some(address) = trie.nodes[node].bare_address(trie) else { return };
        let Self { direction, places, open, requests, replies, lost, .. } = self;
        open.retain(|protocol| {
            let marked =
                |tree: &First, span| tree.decided(places.range(span)).and_then(|decided| decided.marked);
            let passes = marked(requests, protocol.requests).and_then(Key::number);
            let (Some(number), Some(denied)) = (passes, marked(replies, protocol.replies)) else {
                return true;
            };
            let (protocol, denied_by) = (protocol.name, denied.number());
            lost.push(Lost { protocol, direction: *direction, number, address, denied_by });
            false
        });
    }

    fn leave(&mut self) {
        if let Some((requests, replies)) = self.moments.pop() {
            self.requests.back_to(requests);
            self.replies.back_to(replies);
        }
    }
}

impl Search<'_> {
    fn add_request(&mut self, entry: &Entry) {
        let mut add = |span, marked| {
            self.requests.add(self.places.range(span), Key::new(entry.number, marked));
        };
        if entry.action == Action::Deny {
            return add(entry.span, false);
        }
        for protocol in [TCP, UDP] {
            let Some(own) = entry.span.and(protocol) else { continue };
            if own.has(ephemeral_of(protocol)) {
                if let Some(low) = own.and(system_of(protocol)) {
                    add(low, true);
                }
                if let Some(high) = own.and(above_system(protocol)) {
                    add(high, false);
                }
            } else {
                add(own, true);
            }
        }
        if let Some(own) = entry.span.and(ICMP) {
            add(own, true);
        }
    }
}

/// Whoever denies a whole protocol to some addresses means them, not the replies.
fn is_meant(denying: &Entry) -> bool {
    denying.prefix.length > 0 && [TCP, UDP, ICMP].iter().any(|protocol| denying.span.has(*protocol))
}

fn ephemeral_of(protocol: Span) -> Span {
    ports_of(protocol, EPHEMERAL_OF_ALL)
}

fn system_of(protocol: Span) -> Span {
    ports_of(protocol, PortRange { from: 0, to: LAST_SYSTEM_PORT })
}

fn above_system(protocol: Span) -> Span {
    ports_of(protocol, PortRange { from: LAST_SYSTEM_PORT + 1, to: 0xffff })
}

/// `net.ipv4.ip_local_port_range`, <https://docs.kernel.org/networking/ip-sysctl.html>
const EPHEMERAL: PortRange = PortRange { from: 32_768, to: 60_999 };
/// Those of Linux that are in the range of RFC 6335 too, which Windows has: whoever means replies allows them.
const EPHEMERAL_OF_ALL: PortRange = PortRange { from: 49_152, to: 60_999 };
/// <https://www.rfc-editor.org/rfc/rfc6335>, section 6
const LAST_SYSTEM_PORT: u16 = 1023;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compile::lcg::Lcg;

    const CUTS: [u32; 8] = [0, 1024, 8080, 8081, 32_768, 49_152, 61_000, 0x1_0000];

    fn random_list(random: &mut Lcg) -> Vec<Entry> {
        let entry = |number: u32, random: &mut Lcg| {
            let length = random.below(3) as u8;
            let mask = !Prefix { start: 0, length }.end();
            let (one, other) = (random.below(7) as usize, random.below(7) as usize);
            let span = match random.below(4) {
                0 => EVERYTHING,
                1 => icmp_of(*random.pick(&[0, 8]), 0),
                _ => Span { from: CUTS[one.min(other)], to: CUTS[one.max(other) + 1] - 1 },
            };
            let prefix = Prefix { start: u128::from(random.below(4)) << 126 & mask, length };
            let action = *random.pick(&[Action::Allow, Action::Allow, Action::Deny]);
            Entry { number: number as u16 + 1, action, prefix, span }
        };
        (0..random.below(8)).map(|number| entry(number, random)).collect()
    }

    fn first(list: &[Entry], address: u128, place: u32) -> Option<&Entry> {
        let place = Span { from: place, to: place };
        list.iter().find(|entry| {
            entry.prefix.start <= address && address <= entry.prefix.end() && entry.span.has(place)
        })
    }

    /// Whether some request passes here and some reply does not, packet by packet.
    fn is_lost(requests: &[Entry], replies: &[Entry], address: u128, protocol: Protocol) -> bool {
        let base = protocol.whole.from;
        let echo = protocol.whole == ICMP;
        let kinds: Vec<u32> = if echo { vec![protocol.requests.from] } else { CUTS[..7].to_vec() };
        let passes = kinds.iter().any(|kind| {
            let place = if echo { *kind } else { base + kind };
            first(requests, address, place).is_some_and(|entry| {
                let for_replies = !echo && *kind >= 1024 && entry.span.has(ephemeral_of(protocol.whole));
                entry.action == Action::Allow && !for_replies
            })
        });
        let answers = if echo { vec![protocol.replies.from] } else { vec![base + 32_768, base + 49_152] };
        let lost = |entry: &Entry| entry.action == Action::Deny && !is_meant(entry);
        let denied = |place: &u32| first(replies, address, *place).is_none_or(lost);
        passes && answers.iter().any(denied)
    }

    #[test]
    fn what_is_lost_is_what_packets_lose() {
        let mut found = [0, 0];
        for seed in 0..4000 {
            let mut random = Lcg::new(seed);
            let (ingress, egress) = (random_list(&mut random), random_list(&mut random));
            let inside: Vec<Prefix> = (0..random.below(2))
                .map(|_| Prefix { start: u128::from(random.below(4)) << 126, length: 2 })
                .collect();
            let lost = lost(&ingress, &egress, &inside, Family::Ipv4);
            for protocol in protocols(Family::Ipv4) {
                for (direction, requests, replies) in
                    [(Direction::Ingress, &ingress, &egress), (Direction::Egress, &egress, &ingress)]
                {
                    let said = lost
                        .iter()
                        .find(|lost| lost.protocol == protocol.name && lost.direction == direction);
                    let judged = |address| !inside.iter().any(|prefix| prefix.start == address);
                    let at = |address| judged(address) && is_lost(requests, replies, address, protocol);
                    let is = (0..4_u128).any(|block| at(block << 126));
                    assert_eq!(
                        said.is_some(),
                        is,
                        "seed {seed}: {protocol:?} {direction:?} {ingress:#?} {egress:#?}"
                    );
                    assert!(said.is_none_or(|said| at(said.address)), "seed {seed}");
                    found[usize::from(is)] += 1;
                }
            }
        }
        assert!(found.iter().all(|count| *count > 500), "{found:?}");
    }
}

//! What should become of a packet: the documentation once more, as lists that are looked through from top to bottom.
//!
//! Written to be read beside `docs/packets.md` and `docs/connections.md`. It shares only words with the core (reasons,
//! verdicts, directions) and judges packets as their senders meant them, so that no mistake of the parser, the compiler,
//! the searches or the tracking can be in it as well.

mod connections;
mod flowing;
mod fragments;
mod opening;
mod rules;
mod seen;
mod segments;

use std::net::IpAddr;

use fw_common::{Direction, Reason, Verdict};
use fw_userspace::model::{Faces, Interface, MidStream, OtherEthertypes, Policy, Timeouts};

use connections::{Belongs, flow_of, quoted_flow};
pub use connections::{Class, Connection, Detail, Flow, State};
pub use rules::Named;
use rules::{AclSays, Admitted, Narrowed, ask_acl, ask_groups, is_service, narrowed, vpc_of, was_untracked};
use seen::{Carried, Seen, always_passes, is_link_local, is_to_many, look, other};

use super::history::{Quote, Said};
use crate::packet::flag;

/// Rules, connections, fragments, a clock.
#[derive(Debug, Default)]
pub struct Oracle {
    policy: Policy,
    memory: Memory,
}

#[derive(Debug, Default)]
struct Memory {
    connections: Vec<Connection>,
    fragments: Vec<FirstFragment>,
    now: u64,
    windows: Vec<Window>,
}

/// A while in which older flows of an interface are taken over.
#[derive(Debug)]
struct Window {
    at: String,
    until: u64,
    /// The rules before, where there were any: what they left untracked is taken over.
    before: Option<Policy>,
}

#[derive(Debug)]
struct FirstFragment {
    /// Place, direction, ends, identification; the protocol for IPv4.
    key: (String, Direction, IpAddr, IpAddr, u32, u8),
    when: u64,
    /// In bytes.
    end: usize,
    answer: Answer,
}

/// What should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// What the hook does.
    pub verdict: Verdict,
    /// Why.
    pub reason: Reason,
    /// The entry that decided or let the packet on: ACL, number (`*` for the last).
    pub acl: Option<(String, String, Direction)>,
    /// The group rule that admitted it.
    pub group: Option<(String, String, Direction)>,
}

impl Answer {
    fn of(reason: Reason) -> Self {
        Self { verdict: reason.verdict(), reason, acl: None, group: None }
    }
}

/// A packet where it crosses.
struct Crossing<'p, 's> {
    policy: &'p Policy,
    interface: Option<&'p Interface>,
    at: &'p str,
    direction: Direction,
    seen: &'s Seen<'s>,
    quote: Option<&'s Quote>,
    bytes: u64,
}

/// The word of the groups.
type Word<'p> = (Reason, Option<Named<'p>>);

impl Oracle {
    /// No connections.
    pub fn new(policy: Policy) -> Self {
        Self { policy, memory: Memory::default() }
    }

    /// Other rules: connections stay, fragments were judged by the old ones, and where an open rule was narrowed its
    /// untracked flows are taken over for a while.
    pub fn load(&mut self, policy: Policy) {
        let memory = &mut self.memory;
        memory.fragments.clear();
        let until = memory.now + u64::from(policy.settings.adopt_seconds);
        for (at, how) in narrowed(&self.policy, &policy) {
            // What is taken over already is so for as long as the rest.
            let now = memory.now;
            for open in memory.windows.iter_mut().filter(|it| it.at == at && now < it.until) {
                open.until = open.until.max(until);
            }
            let before = (how == Narrowed::Open).then(|| self.policy.clone());
            memory.windows.push(Window { at: at.to_owned(), until, before });
        }
        self.policy = policy;
    }

    /// Time passes.
    pub fn wait(&mut self, seconds: u64) {
        self.memory.now += seconds;
    }

    /// Those that are not over.
    pub fn connections(&self) -> impl Iterator<Item = &Connection> {
        self.memory.connections.iter().filter(|connection| !connection.is_over(self.memory.now))
    }

    /// Whether one of them is that of a packet, or of the packet that it quotes.
    pub fn tracks(&self, at: &str, direction: Direction, said: &Said) -> bool {
        let Ok(Carried::Ip(seen)) = look(&said.packet) else { return false };
        let flow = match &said.quote {
            Some(quote) => quoted_flow(&seen, quote, direction),
            None => flow_of(&seen, direction),
        };
        self.connections().any(|connection| connection.at == at && Some(connection.flow) == flow)
    }

    /// Judges a packet of so many bytes at an interface or at a subnet's leg.
    pub fn judge(&mut self, at: &str, direction: Direction, said: &Said, bytes: usize) -> Answer {
        let Self { policy, memory } = self;
        let interface = policy.interfaces.get(at);
        let attachment = match interface {
            Some(interface) => &interface.attachment,
            None => &policy.subnets[at].leg,
        };
        let faces_instance = attachment.as_ref().is_some_and(|it| it.faces == Faces::Instance);
        let mut answer = match look(&said.packet) {
            Err(reason) => Answer::of(reason),
            Ok(Carried::Other(kind, link_local)) => {
                let passes = policy.settings.other_ethertypes == Some(OtherEthertypes::Pass);
                Answer::of(other(kind, link_local, passes))
            }
            Ok(Carried::Ip(seen)) => {
                let from_instance = faces_instance && direction == Direction::Egress;
                let (quote, bytes) = (said.quote.as_ref(), bytes as u64);
                let crossing = Crossing { policy, interface, at, direction, seen: &seen, quote, bytes };
                match always_passes(&seen, from_instance) {
                    Some(reason) => Answer::of(reason),
                    None => memory.judge(&crossing),
                }
            }
        };
        if interface.is_some_and(|interface| !interface.enforce) {
            answer.verdict = Verdict::Pass;
        }
        answer
    }
}

impl Memory {
    fn judge_layers(&mut self, crossing: &Crossing<'_, '_>) -> Answer {
        let Crossing { policy, interface, at, direction, seen, .. } = *crossing;
        if interface.is_some_and(|interface| fails_source_dest_check(interface, seen, direction)) {
            return Answer::of(Reason::SourceDestCheck);
        }
        if self.is_exempt_service(crossing) {
            return Answer::of(Reason::ExemptService);
        }
        let subnet = match interface {
            Some(interface) => interface.subnet.as_deref(),
            None => Some(at),
        };
        let (acl, says) = match subnet {
            Some(subnet) => ask_acl(policy, subnet, seen, direction),
            None => ("", AclSays::Nothing),
        };
        let (acl_reason, number) = match says {
            AclSays::Nothing => (Reason::Unfiltered, None),
            AclSays::Allow(number) => (Reason::AclAllow, Some(number)),
            AclSays::Deny(number) => (Reason::AclDeny, Some(number)),
            AclSays::Default => (Reason::AclDefault, Some("*".to_owned())),
        };
        let acl_passes = acl_reason.verdict() == Verdict::Pass;
        let acl = number.map(|number| (acl.to_owned(), number, direction));
        let by_acl = Answer { acl: acl.clone(), ..Answer::of(acl_reason) };
        // Inbound the ACL is asked first, outbound last; what it drops the groups see, but take no note of.
        if !acl_passes && direction == Direction::Ingress {
            return by_acl;
        }
        let Some(interface) = interface.filter(|interface| !interface.security_groups.is_empty()) else {
            return by_acl;
        };
        let (reason, rule) = self.ask_groups_and_connections(crossing, interface, acl_passes);
        let passes = reason.verdict() == Verdict::Pass;
        if passes && !acl_passes {
            return by_acl;
        }
        let group = rule.map(|(group, rule, direction)| (group.to_owned(), rule, direction));
        Answer { acl: acl.filter(|_| passes), group, ..Answer::of(reason) }
    }

    /// `take`: the packet passes if the groups let it, so connections take note of it.
    fn ask_groups_and_connections<'p>(
        &mut self,
        crossing: &Crossing<'p, '_>,
        interface: &'p Interface,
        mut take: bool,
    ) -> Word<'p> {
        let Crossing { policy, at, direction, seen, .. } = *crossing;
        let remote = seen.remote(direction);
        let admitted = ask_groups(policy, interface, seen, direction, remote, false);
        if seen.is_error() {
            let flow = crossing.quote.and_then(|quote| quoted_flow(seen, quote, direction));
            let live = flow.and_then(|flow| self.live(at, flow));
            if live.is_some_and(|connection| connection.may_be_quoted(direction.reverse())) {
                return (Reason::Related, None);
            }
            return by_rule(admitted);
        }
        let Some(flow) = flow_of(seen, direction) else { return by_rule(admitted) };
        // A SYN needs a rule, whatever is tracked.
        if seen.is_syn() && admitted.is_none() {
            return (Reason::NoGroupRule, None);
        }
        match self.follow(crossing, flow, interface.timeouts, take) {
            Some(Belongs::Yes(reason)) => return (reason, None),
            Some(Belongs::CounterSyn) => take = false,
            Some(Belongs::Reopens) | None => {}
        }
        // The rule that admits, as a first packet the other way, what this packet answers. A SYN answers nothing.
        let answered = if seen.is_syn() {
            None
        } else {
            ask_groups(policy, interface, seen, direction.reverse(), remote, true)
        };
        let untracked = |admitted: &Option<Admitted<'_>>| admitted.as_ref().is_some_and(|it| it.untracked);
        if untracked(&admitted) || admitted.is_some() && untracked(&answered) {
            return by_rule(admitted);
        }
        if seen.opens() {
            if let (Some(admitted), true) = (&admitted, take) {
                self.open(crossing, flow, interface.timeouts, Some(admitted), false);
            }
            return by_rule(admitted);
        }
        if seen.tcp.is_none() {
            return by_rule(admitted);
        }
        self.mid_stream(crossing, flow, interface, take, admitted, answered)
    }

    /// A TCP segment without SYN and without a connection.
    fn mid_stream<'p>(
        &mut self,
        crossing: &Crossing<'p, '_>,
        flow: Flow,
        interface: &'p Interface,
        take: bool,
        admitted: Option<Admitted<'p>>,
        answered: Option<Admitted<'p>>,
    ) -> Word<'p> {
        let Crossing { direction, seen, .. } = *crossing;
        let has = |mask: u8| seen.tcp.is_some_and(|tcp| tcp.flags & mask != 0);
        let adopts = if has(flag::ACK) {
            self.taken_over(crossing, admitted.as_ref(), answered.as_ref())
        } else {
            None
        };
        let picks_up = crossing.policy.settings.mid_stream == MidStream::Pickup;
        let (reason, opened_by, by) = match (adopts, admitted) {
            (Some((opened_by, by)), _) => (Reason::Adopted, opened_by, by),
            (None, Some(admitted)) if picks_up => (Reason::GroupRule, direction, admitted),
            (None, Some(_)) => return (Reason::MidStream, None),
            (None, None) => return (Reason::NoGroupRule, None),
        };
        // After a RST there is nothing left to take over.
        if take && !has(flag::RST) {
            self.open(crossing, flow, interface.timeouts, Some(&by), false);
            if let Some(opened) = self.connections.pop() {
                self.connections.push(opened.adopt(seen, direction, opened_by, interface.timeouts));
            }
        }
        (reason, Some(by.named))
    }

    /// Whose connection a segment is of, and by which rule, if it is older than what an open window began with.
    fn taken_over<'p>(
        &self,
        crossing: &Crossing<'p, '_>,
        admitted: Option<&Admitted<'p>>,
        answered: Option<&Admitted<'p>>,
    ) -> Option<(Direction, Admitted<'p>)> {
        let Crossing { at, direction, seen, .. } = *crossing;
        let (source, destination) = seen.ports?;
        let of_opener = admitted.map(|by| (direction, by.clone()));
        // The interface's own end answers what came in; the other end's word for what went out counts for nothing.
        let is_local = direction == Direction::Egress;
        let of_answer = answered.filter(|_| is_local).map(|by| (Direction::Ingress, by.clone()));
        let open = || self.windows.iter().filter(|window| window.at == at && self.now < window.until);
        let attached = open().any(|window| window.before.is_none());
        let left = |opener: Direction, service: u16| {
            let is_ipv6 = seen.ipv6;
            let mut before = open().filter_map(|window| window.before.as_ref());
            before.any(|policy| was_untracked(policy, at, opener, is_ipv6, service))
        };
        let both = admitted.is_some() && answered.is_some();
        let fits_opener = attached || both && left(direction, destination);
        let fits_answer = attached || both && left(Direction::Ingress, source);
        of_opener.filter(|_| fits_opener).or(of_answer.filter(|_| fits_answer))
    }

    /// Out by the service's port, in as its reply; a flow to a service is tracked, and apart from others.
    fn is_exempt_service(&mut self, crossing: &Crossing<'_, '_>) -> bool {
        let Crossing { policy, at, direction, seen, .. } = *crossing;
        let vpc = match crossing.interface {
            Some(interface) if interface.subnet.is_none() && interface.security_groups.is_empty() => {
                return false;
            }
            Some(interface) => vpc_of(policy, interface),
            None => policy.subnets[at].vpc.as_deref(),
        };
        let timers = crossing.interface.map_or_else(Timeouts::default, |interface| interface.timeouts);
        // A SYN is never a reply.
        if direction == Direction::Ingress && seen.is_syn() {
            return false;
        }
        let port = match direction {
            Direction::Ingress => seen.ports.map(|(source, _)| source),
            Direction::Egress => seen.ports.map(|(_, destination)| destination),
        };
        if !is_service(policy, vpc, seen.remote(direction), seen, port) || seen.is_error() {
            return false;
        }
        let Some(flow) = flow_of(seen, direction) else { return false };
        if self.live(at, flow).is_some_and(|connection| !connection.service) {
            return false;
        }
        match self.follow(crossing, flow, timers, true) {
            Some(Belongs::Yes(_)) => true,
            Some(Belongs::CounterSyn) => false,
            Some(Belongs::Reopens) | None => {
                let opens = direction == Direction::Egress && seen.opens();
                if opens {
                    self.open(crossing, flow, timers, None, true);
                }
                opens
            }
        }
    }

    fn live(&mut self, at: &str, flow: Flow) -> Option<&mut Connection> {
        let now = self.now;
        self.connections.iter_mut().find(|it| it.at == at && it.flow == flow && !it.is_over(now))
    }

    fn follow(
        &mut self,
        crossing: &Crossing<'_, '_>,
        flow: Flow,
        timers: Timeouts,
        take: bool,
    ) -> Option<Belongs> {
        let Crossing { at, direction, seen, bytes, .. } = *crossing;
        let now = self.now;
        let connection = self.live(at, flow)?;
        Some(connection.follow(seen, direction, bytes, now, timers, take))
    }

    /// Takes the place of whatever was there.
    fn open(
        &mut self,
        crossing: &Crossing<'_, '_>,
        flow: Flow,
        timers: Timeouts,
        by: Option<&Admitted<'_>>,
        service: bool,
    ) {
        let Crossing { at, direction, seen, bytes, .. } = *crossing;
        self.connections.retain(|it| it.at != at || it.flow != flow);
        let mut opened = Connection::open((at, flow), seen, direction, bytes, self.now, timers);
        opened.service = service;
        opened.reserved = by.is_some_and(|by| by.reserved);
        self.connections.push(opened);
    }
}

fn by_rule(admitted: Option<Admitted<'_>>) -> Word<'_> {
    match admitted {
        Some(admitted) => (Reason::GroupRule, Some(admitted.named)),
        None => (Reason::NoGroupRule, None),
    }
}

/// The interface's end must be one of its addresses; link-local and unspecified ones are everybody's, and what comes
/// in may go to many.
fn fails_source_dest_check(interface: &Interface, seen: &Seen<'_>, direction: Direction) -> bool {
    let local = seen.local(direction);
    let is_own = local.is_unspecified() || is_link_local(local) || interface.addresses.contains(&local);
    let is_received_by_many = direction == Direction::Ingress && is_to_many(local);
    interface.source_dest_check && !interface.addresses.is_empty() && !is_own && !is_received_by_many
}

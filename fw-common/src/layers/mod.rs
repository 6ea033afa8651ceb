//! The two layers in AWS's order.
//!
//! Inbound the network ACL is asked before the groups, outbound after them. A packet that either layer drops neither
//! creates nor changes state. Nothing here reads the frame, but for the options of a SYN that begins a flow.
//!
//! What nearly every packet needs is inlined into one function of the bytecode; everything else is a function of its own
//! that leaves its result in [`Scratch`].

mod acl;
mod fragments;
mod groups;
mod services;

use crate::classify::{Class, Generation, search};
use crate::decide::{Done, Scratch, look_at_options};
use crate::flow::Direction;
use crate::layout::{Interface, InterfaceLine, Link, PolicyLine, RootLine};
use crate::packet::{Fragment, Packet, protocol};
use crate::verdict::{Reason, Verdict};
use crate::{Frame, Tables, related};

/// A reason with the rules behind it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Judgement {
    pub(crate) reason: Reason,
    pub(crate) acl_rule: u32,
    pub(crate) group_rule: u32,
}

impl Judgement {
    #[inline(always)]
    pub(crate) const fn of(reason: Reason) -> Self {
        Self { reason, acl_rule: 0, group_rule: 0 }
    }
}

/// One layer's word: the reason and the counter slot of the rule behind it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Word {
    reason: Reason,
    rule: u32,
}

impl Word {
    #[inline(always)]
    pub(crate) const fn of(reason: Reason) -> Self {
        Self { reason, rule: 0 }
    }

    #[inline(always)]
    fn passes(self) -> bool {
        matches!(self.reason.verdict(), Verdict::Pass)
    }

    /// The rule, if its layer lets the packet on.
    #[inline(always)]
    pub(crate) fn lets_on(self) -> u32 {
        if self.passes() { self.rule } else { 0 }
    }

    /// The judgement if this is the network ACL's word and the only one.
    #[inline(always)]
    fn alone(self) -> Judgement {
        Judgement { reason: self.reason, acl_rule: self.rule, group_rule: 0 }
    }
}

/// Whether the group layer may write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    /// The packet passes if the groups let it.
    Commit,
    /// Another layer drops it: only say what the groups would have said.
    Peek,
}

/// A packet at an interface, and everything its judgement needs.
pub(crate) struct Case<'a, 'w, T> {
    pub(crate) tables: T,
    pub(crate) root: RootLine<'a>,
    pub(crate) interface: InterfaceLine<'a>,
    pub(crate) policy: PolicyLine<'a>,
    pub(crate) work: &'w mut Scratch,
}

/// Takes a step of a case as a function of its own in the bytecode. What it gets are the five arguments that there may
/// be, and no pointer to the stack: what lies there the verifier would have to tell apart, path by path, as long as a
/// pointer leads to it.
macro_rules! apart {
    ($case:expr, $step:ident) => {{
        #[inline(never)]
        fn apart<'a, T: Tables<'a>>(
            tables: T,
            root: RootLine<'a>,
            interface: InterfaceLine<'a>,
            policy: PolicyLine<'a>,
            work: &mut Scratch,
        ) -> Done {
            Case { tables, root, interface, policy, work }.$step()
        }
        let case = &mut *$case;
        case.tables.reread(case.work);
        apart(case.tables, case.root, case.interface, case.policy, case.work)
    }};
}
use apart;

impl<'a, T: Tables<'a>> Case<'a, '_, T> {
    #[inline(always)]
    pub(crate) fn judge<F: Frame>(&mut self, frame: &F) -> Judgement {
        if let Fragment::Later { .. } = self.work.room.packet.fragment {
            self.work.done = apart!(self, later_fragment);
            return self.work.outcome;
        }
        let outcome = self.first_or_whole(frame);
        if let Fragment::First { .. } = self.work.room.packet.fragment {
            self.work.outcome = outcome;
            self.work.done = apart!(self, remember);
        }
        outcome
    }

    #[inline(always)]
    fn first_or_whole<F: Frame>(&mut self, frame: &F) -> Judgement {
        if self.interface.has(Interface::SOURCE_DEST_CHECK) && self.is_foreign() {
            return Judgement::of(Reason::SourceDestCheck);
        }
        self.work.remote = Class::UNASKED;
        if self.asks_rules_first() {
            self.classify();
        }
        self.tables.reread(self.work);
        if self.work.remote.is_damaged() {
            return Judgement::of(Reason::TablesDamaged);
        }
        if self.policy.services().line != 0 {
            self.work.group.reason = Reason::Unfiltered;
            self.work.done = apart!(self, exempt_service);
            if self.work.done != 0 {
                self.work.done = apart!(self, open_service);
                self.begin_if_done(frame);
            }
            if matches!(self.work.group.reason, Reason::ExemptService) {
                return Judgement::of(Reason::ExemptService);
            }
        }
        // The ACL, having no state, can be evaluated first in both directions: so the groups change state only for a
        // packet that passes both.
        let acl = self.network_acl();
        let is_last = matches!(self.direction(), Direction::Ingress) && !acl.passes();
        if is_last || self.policy.groups().line == 0 {
            return acl.alone();
        }
        if let Some(refusal) = self.refuse_syn() {
            if !self.tables.records() {
                self.work.acl = acl;
            }
            return Judgement::of(refusal);
        }
        self.work.effect = if acl.passes() { Effect::Commit } else { Effect::Peek };
        self.work.acl = acl;
        self.work.done = apart!(self, by_connection);
        if self.work.done == 0 {
            self.work.done = apart!(self, without_entry);
            self.begin_if_done(frame);
        }
        let Scratch { acl, group, .. } = &*self.work;
        if group.passes() && !acl.passes() {
            return acl.alone();
        }
        // The groups have the last word where they filter; the ACL's entry that let the packet on is named beside it.
        let acl_rule = if group.passes() { acl.rule } else { 0 };
        Judgement { reason: group.reason, acl_rule, group_rule: group.rule }
    }

    /// Begins a flow if the step before has found that the packet does.
    #[inline(always)]
    fn begin_if_done<F: Frame>(&mut self, frame: &F) {
        if self.work.done == 0 {
            return;
        }
        if self.work.room.packet.protocol == protocol::TCP && self.work.room.packet.is_first_syn() {
            self.work.done = look_at_options(frame, self.work);
        }
        self.work.done = apart!(self, begin);
    }

    /// Whether rules are asked before connections are. Packets of a connection meet no rule where there is no ACL, or
    /// one that has the same word for all.
    #[inline(always)]
    fn asks_rules_first(&self) -> bool {
        let packet = &self.work.room.packet;
        (self.policy.acl().line != 0 && !self.passes_everywhere())
            || self.policy.services().line != 0
            || (packet.protocol == protocol::TCP && is_opening(packet))
    }

    /// Asks for the class of the other end.
    #[inline(always)]
    fn classify(&mut self) {
        let packet = &self.work.room.packet;
        self.work.remote = self.generation().classify(packet.family, packet.remote(self.direction()));
    }

    /// Outbound the source, inbound the destination must be the interface's own.
    #[inline(always)]
    fn is_foreign(&mut self) -> bool {
        if *self.work.room.packet.local(self.direction()) == self.policy.address() {
            return false;
        }
        self.work.done = apart!(self, fails_source_dest_check);
        self.work.done != 0
    }

    /// 1 if it does. Unspecified and link-local addresses are everybody's, and an inbound destination may be a group of
    /// receivers.
    #[inline(always)]
    fn fails_source_dest_check(&mut self) -> Done {
        let local = self.work.room.packet.local(self.direction());
        let is_everybodys = local.is_unspecified()
            || local.is_ipv6_link_local()
            || (matches!(self.direction(), Direction::Ingress) && local.is_multicast_or_broadcast());
        if is_everybodys {
            return 0;
        }
        u32::from(self.search_local(self.policy.own()) != 1)
    }

    /// What a search says of the interface's end.
    #[inline(always)]
    fn search_local(&mut self, searches: Link) -> u32 {
        self.work.local = *self.work.room.packet.local(self.direction());
        self.tables.reread(self.work);
        search(self.tables, searches, self.work.room.packet.family, &self.work.local)
    }

    #[inline(always)]
    fn generation(&self) -> Generation<'a, T> {
        Generation { tables: self.tables, root: self.root }
    }

    #[inline(always)]
    fn direction(&self) -> Direction {
        self.work.port.direction
    }
}

/// Whether a packet may open a connection.
#[inline(always)]
fn is_opening(packet: &Packet) -> bool {
    if packet.protocol == protocol::TCP {
        return packet.is_first_syn();
    }
    !packet.is_icmp() || related::is_request(packet.family, packet.icmp_type())
}

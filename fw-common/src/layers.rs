//! The two layers in AWS's order.
//!
//! Inbound the network ACL is asked before the groups, outbound after them. A packet that either layer drops neither
//! creates nor changes state. Nothing here reads the frame.

use crate::Tables;
use crate::classify::{Generation, service};
use crate::conntrack::{Class, Connection, Step};
use crate::decide::{Done, Scratch};
use crate::flow::Direction;
use crate::fragment::{Datagram, FragmentKey};
use crate::layout::{Interface, InterfaceLines, RowRef, Rule};
use crate::packet::{Fragment, Packet, protocol, tcp_flags};
use crate::related::{self, SubjectKind};
use crate::verdict::{Reason, Verdict};

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
    fn passes(&self) -> bool {
        matches!(self.reason.verdict(), Verdict::Pass)
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

/// A packet at an interface, and everything its judgement needs. The larger steps are functions of their own in the
/// bytecode and leave their results in `work`; see [`Scratch`].
pub(crate) struct Case<'a, T> {
    pub(crate) generation: Generation<'a, T>,
    pub(crate) interface: InterfaceLines<'a>,
    pub(crate) bytes: u32,
    pub(crate) work: &'a mut Scratch,
}

impl<T: Tables> Case<'_, T> {
    /// Leaves the judgement in `work.outcome`.
    #[inline(always)]
    pub(crate) fn judge(&mut self) {
        if let Fragment::Later { id } = self.work.room.packet.fragment {
            self.work.done = self.later_fragment(id);
            return;
        }
        self.first_or_whole();
        if let Fragment::First { id } = self.work.room.packet.fragment {
            self.work.done = self.remember(id);
        }
    }

    #[inline(always)]
    fn first_or_whole(&mut self) {
        if self.fails_source_dest_check() {
            self.work.outcome = Judgement::of(Reason::SourceDestCheck);
            return;
        }
        let packet = &self.work.room.packet;
        self.work.remote = self.generation.classify(packet.family, packet.remote(self.direction()));
        self.work.group.reason = Reason::Unfiltered;
        if self.interface.services(self.work.room.packet.family) != 0 {
            self.work.done = self.exempt_service();
        }
        if matches!(self.work.group.reason, Reason::ExemptService) {
            self.work.outcome = Judgement::of(Reason::ExemptService);
            return;
        }
        match self.direction() {
            Direction::Ingress => self.ingress(),
            Direction::Egress => self.egress(),
        }
    }

    /// Network ACL, then security groups.
    #[inline(always)]
    fn ingress(&mut self) {
        self.work.done = self.network_acl();
        if !self.work.acl.passes() {
            return self.conclude_by_acl();
        }
        self.work.effect = Effect::Commit;
        self.work.done = self.security_group();
        self.conclude();
    }

    /// Security groups, then network ACL. The ACL, having no state, is evaluated beforehand, so that the groups
    /// change state only for a packet that passes both.
    #[inline(always)]
    fn egress(&mut self) {
        self.work.done = self.network_acl();
        self.work.effect = if self.work.acl.passes() { Effect::Commit } else { Effect::Peek };
        self.work.done = self.security_group();
        if self.work.group.passes() && !self.work.acl.passes() {
            return self.conclude_by_acl();
        }
        self.conclude();
    }

    #[inline(always)]
    fn conclude_by_acl(&mut self) {
        let Scratch { outcome, acl, .. } = &mut *self.work;
        outcome.reason = acl.reason;
        outcome.acl_rule = acl.rule;
        outcome.group_rule = 0;
    }

    /// The groups have the last word where they filter; the ACL's entry that let the packet on is named beside it.
    #[inline(always)]
    fn conclude(&mut self) {
        let Scratch { outcome, acl, group, .. } = &mut *self.work;
        outcome.reason = if matches!(group.reason, Reason::Unfiltered) { acl.reason } else { group.reason };
        outcome.acl_rule = if group.passes() { acl.rule } else { 0 };
        outcome.group_rule = group.rule;
    }

    /// Outbound the source, inbound the destination must be the interface's own; unspecified and link-local ones
    /// are everybody's, and an inbound destination may be a group of receivers.
    #[inline(always)]
    fn fails_source_dest_check(&self) -> bool {
        if !self.interface.has(Interface::SOURCE_DEST_CHECK) {
            return false;
        }
        let local = self.work.room.packet.local(self.direction());
        if local.is_unspecified() || local.is_ipv6_link_local() {
            return false;
        }
        if matches!(self.direction(), Direction::Ingress) && local.is_multicast_or_broadcast() {
            return false;
        }
        let family = self.work.room.packet.family;
        self.generation.search(self.interface.own(family), family, local) == 0
    }

    /// The stateless layer. Traffic with both ends inside the subnet does not cross its border.
    #[inline(never)]
    fn network_acl(&mut self) -> Done {
        self.work.acl.rule = 0;
        self.work.acl.reason = self.ask_acl().unwrap_or(Reason::TablesDamaged);
        self.work.acl.rule
    }

    #[inline(always)]
    fn ask_acl(&mut self) -> Option<Reason> {
        let family = self.work.room.packet.family;
        let table = self.interface.acl(family, self.direction());
        if table == 0 {
            return Some(Reason::Unfiltered);
        }
        let row = self.generation.row(table, self.work.remote)?;
        if row.is_inside() {
            let local = self.generation.classify(family, self.work.room.packet.local(self.direction()));
            if self.generation.row(table, local)?.is_inside() {
                return Some(Reason::Unfiltered);
            }
        }
        let rule = self.rule(row, false)?;
        self.work.acl.rule = rule.slot();
        Some(if rule.allows() {
            Reason::AclAllow
        } else if rule.is_implicit() {
            Reason::AclDefault
        } else {
            Reason::AclDeny
        })
    }

    /// The stateful layer: connections first, then the pooled rules of all groups.
    #[inline(never)]
    fn security_group(&mut self) -> Done {
        self.work.group.rule = 0;
        self.work.group.reason = Reason::Unfiltered;
        let table = self.interface.groups(self.work.room.packet.family, self.direction());
        if table == 0 {
            return self.work.group.rule;
        }
        // Whether a SYN may come in is its own rules' word alone, whatever is tracked: so a flood of them is refused
        // before it costs a look at the connections.
        let packet = &self.work.room.packet;
        if packet.protocol == protocol::TCP && is_opening(packet) {
            self.work.done = self.refuse_syn(table);
            if matches!(self.work.group.reason, Reason::NoGroupRule) {
                return self.work.group.rule;
            }
        }
        let known = match self.work.subject.kind {
            SubjectKind::Own => self.follow(),
            SubjectKind::Quoted => self.related(),
            SubjectKind::None => None,
        };
        match known {
            Some(reason) => self.work.group.reason = reason,
            None => return self.without_entry(table),
        }
        self.work.group.rule
    }

    /// Leaves `NoGroupRule` if no rule allows the packet, else what was there.
    #[inline(never)]
    fn refuse_syn(&mut self, table: u32) -> Done {
        if self.is_allowed(table) == Some(false) {
            self.work.group.reason = Reason::NoGroupRule;
        }
        self.work.group.rule
    }

    #[inline(always)]
    fn is_allowed(&self, table: u32) -> Option<bool> {
        let row = self.generation.row(table, self.work.remote)?;
        Some(self.rule(row, false)?.allows())
    }

    /// A packet that no entry answers for: a first packet, the reply of an untracked flow, or a stray.
    #[inline(never)]
    fn without_entry(&mut self, table: u32) -> Done {
        self.work.group.reason = self.ask_rules(table).unwrap_or(Reason::TablesDamaged);
        self.work.group.rule
    }

    #[inline(always)]
    fn ask_rules(&mut self, table: u32) -> Option<Reason> {
        let row = self.generation.row(table, self.work.remote)?;
        let rule = self.rule(row, false)?;
        // What cannot be tracked (ICMP other than requests and their replies) and what AWS does not track.
        if self.work.subject.kind != SubjectKind::Own || rule.is_untracked() {
            return Some(self.by_rule(rule));
        }
        let is_tcp = self.work.room.packet.protocol == protocol::TCP;
        let is_opening = is_opening(&self.work.room.packet);
        // A reply of an untracked flow has no entry either. A SYN is never a reply.
        let may_answer = if is_tcp { !is_opening } else { rule.allows() };
        let answered = if may_answer { self.answered_rule()? } else { Rule::NONE };
        if rule.allows() && answered.is_untracked() {
            return Some(self.by_rule(rule));
        }
        Some(if is_opening {
            if rule.allows() { self.open(rule, 0) } else { self.by_rule(rule) }
        } else if is_tcp {
            self.mid_stream(rule, answered)
        } else {
            self.by_rule(rule)
        })
    }

    /// A TCP segment without SYN and without a connection.
    #[inline(always)]
    fn mid_stream(&mut self, rule: Rule, answered: Rule) -> Reason {
        let is_adopting = self.generation.tables.now_ns() < self.interface.adopt_until_ns();
        // No segment of a live connection is without ACK (RFC 9293 section 3.5.2), but for a RST.
        let has_ack = self.work.room.packet.tcp_flags & tcp_flags::ACK != 0;
        let adopts = is_adopting && has_ack && (rule.allows() || answered.allows());
        if adopts || (rule.allows() && self.generation.root.pickup()) {
            let reason = if adopts { Reason::Adopted } else { Reason::GroupRule };
            return self.adopt(rule, answered, reason);
        }
        if rule.allows() { Reason::MidStream } else { self.by_rule(rule) }
    }

    /// Lets a first packet open a flow.
    #[inline(always)]
    fn open(&mut self, rule: Rule, flags: u8) -> Reason {
        if self.work.effect == Effect::Commit {
            self.note_opening(rule, flags);
            let Scratch { subject, opening, .. } = &*self.work;
            if self.generation.tables.insert(&subject.key, opening, Class::HalfOpen).is_err() {
                return Reason::AllowanceExceeded;
            }
        }
        self.by_rule(rule)
    }

    /// The groups' verdict by a rule, which is noted.
    #[inline(always)]
    fn by_rule(&mut self, rule: Rule) -> Reason {
        self.work.group.rule = rule.slot();
        if rule.allows() { Reason::GroupRule } else { Reason::NoGroupRule }
    }

    /// Takes over a connection that is older than its entry: opened by this side if its rules allow the packet, else
    /// by the other. A RST has nothing left to take over.
    #[inline(always)]
    fn adopt(&mut self, rule: Rule, answered: Rule, reason: Reason) -> Reason {
        let direction = self.direction();
        let (rule, opened_by) =
            if rule.allows() { (rule, direction) } else { (answered, direction.reverse()) };
        if self.work.effect == Effect::Commit && self.work.room.packet.tcp_flags & tcp_flags::RST == 0 {
            self.note_opening(rule, 0);
            self.work.opening.adopt(&self.work.room.packet, opened_by, self.interface);
            let Scratch { subject, opening, .. } = &*self.work;
            if self.generation.tables.insert(&subject.key, opening, Class::Confirmed).is_err() {
                return Reason::AllowanceExceeded;
            }
        }
        self.work.group.rule = rule.slot();
        reason
    }

    #[inline(always)]
    fn note_opening(&mut self, rule: Rule, flags: u8) {
        let now_ns = self.generation.tables.now_ns();
        let direction = self.direction();
        let flags = if rule.is_reserved() { flags | Connection::RESERVED } else { flags };
        self.work.opening.restart(now_ns, rule.slot(), flags);
        self.work.opening.open(&self.work.room.packet, u64::from(self.bytes), direction, self.interface);
    }

    /// Applies the packet to its connection. `None` where there is none, or none that still counts.
    #[inline(always)]
    fn follow(&mut self) -> Option<Reason> {
        let now_ns = self.generation.tables.now_ns();
        let change = self.work.effect == Effect::Commit;
        let key = &self.work.subject.key;
        let step = self.generation.tables.connection(key, |connection| {
            let bytes = u64::from(self.bytes);
            connection.step(&self.work.room.packet, bytes, self.direction(), now_ns, self.interface, change)
        })?;
        match step {
            Step::Belongs => Some(Reason::Established),
            Step::Confirms => match self.generation.tables.confirm(key) {
                Ok(()) => Some(Reason::Established),
                Err(_) => Some(Reason::AllowanceExceeded),
            },
            Step::Expired | Step::Reopens => None,
            Step::CounterSyn => {
                self.work.effect = Effect::Peek;
                None
            }
        }
    }

    /// An ICMP error that quotes a packet of a live connection passes, and refreshes nothing.
    #[inline(always)]
    fn related(&self) -> Option<Reason> {
        let quoted = self.direction().reverse();
        let now_ns = self.generation.tables.now_ns();
        let key = &self.work.subject.key;
        let is_live =
            self.generation.tables.connection(key, |connection| connection.may_be_quoted(quoted, now_ns))?;
        is_live.then_some(Reason::Related)
    }

    /// Traffic to an exempt service goes out by its port and comes back by its connection.
    #[inline(never)]
    fn exempt_service(&mut self) -> Done {
        if self.is_exempt_service() == Some(true) {
            self.work.group.reason = Reason::ExemptService;
        }
        self.work.group.rule
    }

    #[inline(always)]
    fn is_exempt_service(&mut self) -> Option<bool> {
        let table = self.interface.services(self.work.room.packet.family);
        let is_reply = matches!(self.direction(), Direction::Ingress);
        let row = self.generation.row(table, self.work.remote)?;
        let rule = self.rule(row, is_reply)?;
        if !rule.allows() || self.work.subject.kind != SubjectKind::Own {
            return None;
        }
        // A SYN is never a reply, not even while the service has not answered ours.
        let packet = &self.work.room.packet;
        if is_reply && packet.protocol == protocol::TCP && is_opening(packet) {
            return None;
        }
        self.work.effect = Effect::Commit;
        let now_ns = self.generation.tables.now_ns();
        let is_service = self.generation.tables.connection(&self.work.subject.key, |connection| {
            connection.flags & Connection::SERVICE != 0 || connection.is_expired(now_ns)
        });
        if is_service == Some(false) {
            return None;
        }
        if let Some(reason) = self.follow() {
            return Some(matches!(reason, Reason::Established));
        }
        let opens = !is_reply && is_opening(&self.work.room.packet);
        Some(opens && matches!(self.open(rule, Connection::SERVICE), Reason::GroupRule))
    }

    /// The rule that would admit, as a first packet of the other direction, what this packet answers.
    #[inline(always)]
    fn answered_rule(&self) -> Option<Rule> {
        let table = self.interface.groups(self.work.room.packet.family, self.direction().reverse());
        if table == 0 {
            return Some(Rule::NONE);
        }
        let row = self.generation.row(table, self.work.remote)?;
        self.rule(row, true)
    }

    #[inline(always)]
    fn rule(&self, row: RowRef, reply: bool) -> Option<Rule> {
        let (column, key) = service(&self.work.room.packet, reply);
        self.generation.rule(row, column, key)
    }

    /// A later fragment follows its first.
    #[inline(never)]
    fn later_fragment(&mut self, id: u32) -> Done {
        let key = FragmentKey::of(&self.work.room.packet, id, self.interface.zone(), self.direction());
        let now_ns = self.generation.tables.now_ns();
        self.work.outcome = match self.generation.tables.datagram(&key) {
            Some(datagram) if datagram.is_valid(now_ns, self.generation.root.generation()) => Judgement {
                reason: datagram.reason(),
                acl_rule: datagram.acl_rule,
                group_rule: datagram.group_rule,
            },
            _ => Judgement::of(Reason::FragmentWithoutFirst),
        };
        self.work.outcome.acl_rule
    }

    #[inline(never)]
    fn remember(&mut self, id: u32) -> Done {
        let key = FragmentKey::of(&self.work.room.packet, id, self.interface.zone(), self.direction());
        let outcome = self.work.outcome;
        let datagram = Datagram {
            judged_ns: self.generation.tables.now_ns(),
            generation: self.generation.root.generation(),
            acl_rule: outcome.acl_rule,
            group_rule: outcome.group_rule,
            reason: outcome.reason as u8,
            padding: [0; 3],
        };
        self.generation.tables.remember_datagram(&key, &datagram);
        self.work.outcome.acl_rule
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
        return packet.tcp_flags & (tcp_flags::SYN | tcp_flags::ACK) == tcp_flags::SYN;
    }
    !packet.is_icmp() || related::is_request(packet.family, packet.icmp_type())
}

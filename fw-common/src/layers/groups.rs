//! The stateful layer: connections first, then the pooled rules of all groups.

use super::{Case, Effect, Word, is_opening};
use crate::classify::{self, service};
use crate::conntrack::{Class, Connection, Step};
use crate::decide::{Done, Scratch};
use crate::layout::{InterfaceLine, PolicyLine, RowTable, Rule};
use crate::packet::{protocol, tcp_flags};
use crate::related::SubjectKind;
use crate::tables::TableFull;
use crate::verdict::Reason;
use crate::{Direction, Tables, wire};

impl<'a, T: Tables<'a>> Case<'a, '_, T> {
    /// Whether a SYN may come in is its own rules' word alone, whatever is tracked: so a flood of them is refused before it
    /// costs a look at the connections.
    #[inline(always)]
    pub(super) fn refuse_syn(&self) -> Option<Reason> {
        let packet = &self.work.room.packet;
        if packet.protocol != protocol::TCP || !is_opening(packet) {
            return None;
        }
        match self.rule(self.policy.groups(), false) {
            Some(rule) if rule.allows() => None,
            Some(_) => Some(Reason::NoGroupRule),
            None => Some(Reason::TablesDamaged),
        }
    }

    /// Leaves the groups' word in `work.group` if a connection says it; 1 if so. Else [`Self::without_entry`] does, from
    /// the same caller: one below the other, their frames would not fit on the stack.
    #[inline(always)]
    pub(super) fn by_connection(&mut self) -> Done {
        self.work.group.rule = 0;
        self.name_subject();
        let known = match self.work.subject.kind {
            SubjectKind::Own => self.follow(),
            SubjectKind::Quoted => self.related(),
            SubjectKind::None => None,
        };
        let Some(reason) = known else { return 0 };
        self.work.group.reason = reason;
        1
    }

    /// The key of the packet's connection. That of ICMP was read from the frame before.
    #[inline(always)]
    pub(super) fn name_subject(&mut self) {
        if !self.work.room.packet.is_icmp() {
            // Two ways, and what follows reads it from memory again: else it is one way with a choice for each field.
            match self.direction() {
                Direction::Ingress => {
                    self.work.subject.own(&self.work.room.packet, Direction::Ingress);
                    self.tables.reread(self.work);
                }
                Direction::Egress => {
                    self.tables.reread(self.work);
                    self.work.subject.own(&self.work.room.packet, Direction::Egress);
                }
            }
        }
        self.work.subject.key.zone = self.interface.zone();
        self.work.is_unknown = 0;
    }

    /// A packet that no entry answers for: a first packet, the reply of an untracked flow, or a stray. 1 if it begins a
    /// flow: see [`Self::begin`].
    #[inline(always)]
    pub(super) fn without_entry(&mut self) -> Done {
        self.work.begins = 0;
        if self.work.remote == classify::Class::UNASKED {
            self.classify();
            self.tables.reread(self.work);
        }
        if self.work.remote.is_damaged() {
            self.work.group.reason = Reason::TablesDamaged;
            return 0;
        }
        self.work.group.reason = self.ask_rules().unwrap_or(Reason::TablesDamaged);
        self.work.begins
    }

    #[inline(always)]
    fn ask_rules(&mut self) -> Option<Reason> {
        let rule = self.rule(self.policy.groups(), false)?;
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
            self.mid_stream(rule, answered)?
        } else {
            self.by_rule(rule)
        })
    }

    /// A TCP segment without SYN and without a connection.
    #[inline(always)]
    fn mid_stream(&mut self, rule: Rule, answered: Rule) -> Option<Reason> {
        let direction = self.direction();
        // No segment of a live connection is without ACK (RFC 9293 section 3.5.2), but for a RST.
        let has_ack = self.work.room.packet.tcp_flags & tcp_flags::ACK != 0;
        if has_ack && self.tables.now_ns() < self.interface.adopt_until_ns() {
            if self.is_older(rule, answered)? {
                return Some(self.adopt(rule, direction, Reason::Adopted));
            }
            // What the interface's own side answers, nobody else can have said.
            if matches!(direction, Direction::Egress) && self.is_answer_to_older(rule, answered)? {
                return Some(self.adopt(answered, direction.reverse(), Reason::Adopted));
            }
        }
        Some(if !rule.allows() {
            self.by_rule(rule)
        } else if self.root.pickup() {
            self.adopt(rule, direction, Reason::GroupRule)
        } else {
            Reason::MidStream
        })
    }

    /// Whether this segment's side may have opened its connection before there were these rules, which allow it.
    #[inline(always)]
    fn is_older(&self, rule: Rule, answered: Rule) -> Option<bool> {
        let packet = &self.work.room.packet;
        if !rule.allows() {
            return Some(false);
        }
        if !self.interface.adopts_all() {
            return Some(answered.allows() && self.was_untracked(packet.service, self.direction())?);
        }
        // Where somebody listens, the other side has opened it.
        let is_own = matches!(self.direction(), Direction::Egress);
        Some(!is_own || !self.generation().rule(self.interface.served(), packet.source_port)?.allows())
    }

    /// The same of the other side, whom this segment answers.
    #[inline(always)]
    fn is_answer_to_older(&self, rule: Rule, answered: Rule) -> Option<bool> {
        if !answered.allows() {
            return Some(false);
        }
        if self.interface.adopts_all() {
            return Some(true);
        }
        let service = self.work.room.packet.source_port;
        Some(rule.allows() && self.was_untracked(service, self.direction().reverse())?)
    }

    /// Whether the rules before left TCP flows of this direction to this port without an entry.
    #[inline(always)]
    fn was_untracked(&self, service: u16, direction: Direction) -> Option<bool> {
        let word = InterfaceLine::untracked_word(self.work.room.packet.family, direction);
        let word = self.tables.opaque(u64::from(word)) as u32;
        Some(self.generation().rule(self.interface.untracked_before(word), service)?.allows())
    }

    /// Lets a first packet open a flow.
    #[inline(always)]
    pub(super) fn open(&mut self, rule: Rule, flags: u8) -> Reason {
        if self.work.effect == Effect::Commit {
            self.note_opening(rule, flags);
        }
        self.by_rule(rule)
    }

    /// Remembers the flow of `work.opening`, of which one direction was seen; or leaves in `work.group` why not.
    #[inline(always)]
    pub(super) fn begin(&mut self) -> Done {
        let now_ns = self.tables.now_ns();
        // The administrator gets through whatever comes beside him, and so does what this side begins.
        let class = self.work.opening.first_class();
        let is_unlimited = !matches!(class, Class::Inbound) || !self.tables.records();
        // The window shift of a SYN was read after its flow was noted.
        let packet = &self.work.room.packet;
        if packet.protocol == protocol::TCP && packet.is_first_syn() {
            self.work.opening.note_shift(packet, self.work.port.direction);
        }
        let refusal = if !is_unlimited && !self.work.openings.take(now_ns) {
            Reason::OpeningsExceeded
        } else {
            let Scratch { subject, opening, is_unknown, .. } = &*self.work;
            // An entry that is over: nothing else is followed by a new one.
            if *is_unknown == 0 {
                self.tables.forget(&subject.key);
            }
            match self.tables.insert(&subject.key, opening, class) {
                Ok(()) => return 0,
                Err(TableFull) => Reason::AllowanceExceeded,
            }
        };
        self.work.group = Word::of(refusal);
        1
    }

    /// The groups' verdict by a rule, which is noted.
    #[inline(always)]
    fn by_rule(&mut self, rule: Rule) -> Reason {
        self.work.group.rule = rule.slot();
        if rule.allows() { Reason::GroupRule } else { Reason::NoGroupRule }
    }

    /// Takes over a connection that is older than its entry, opened by the side that this rule allows it to. A RST has
    /// nothing left to take over.
    #[inline(always)]
    fn adopt(&mut self, rule: Rule, opened_by: Direction, reason: Reason) -> Reason {
        let direction = self.direction();
        if self.work.effect == Effect::Commit && self.work.room.packet.tcp_flags & tcp_flags::RST == 0 {
            self.note_opening(rule, 0);
            self.work.opening.adopt(&self.work.room.packet, direction, opened_by, self.interface);
        }
        self.work.group.rule = rule.slot();
        reason
    }

    #[inline(always)]
    fn note_opening(&mut self, rule: Rule, flags: u8) {
        let now_ns = self.tables.now_ns();
        let direction = self.direction();
        let flags = if rule.is_reserved() { flags | Connection::RESERVED } else { flags };
        self.work.opening.restart(now_ns, rule.slot(), flags);
        self.work.opening.open(&self.work.room.packet, u64::from(self.work.bytes), direction, self.interface);
        self.work.begins = 1;
    }

    /// Applies the packet to its connection. `None` where there is none, or none that still counts.
    #[inline(always)]
    pub(super) fn follow(&mut self) -> Option<Reason> {
        let Some(mut connection) = self.tables.connection(&self.work.subject.key) else {
            self.work.is_unknown = 1;
            return None;
        };
        let now_ns = self.tables.now_ns();
        let change = self.work.effect == Effect::Commit;
        let bytes = u64::from(self.work.bytes);
        let (tables, direction, timers) = (self.tables, self.direction(), self.interface);
        // The copy is in map memory as well: on the stack the verifier would tell all of its values apart.
        let Scratch { room: wire::Room { packet, .. }, opening: copy, .. } = &mut *self.work;
        let step = if tables.records() {
            let rare = |connection: &mut _, packet: &_, direction, is_quiet| {
                tables.begin_or_end(connection, packet, direction, is_quiet)
            };
            connection.step::<true>(packet, bytes, direction, now_ns, timers, change, rare)
        } else {
            copy.copy(&connection);
            tables.reread(copy);
            let state = copy.status().state();
            let rare = |copy: &mut _, packet: &_, direction, is_quiet| {
                tables.begin_or_end_copy(copy, packet, direction, is_quiet)
            };
            let step = copy.step::<false>(packet, bytes, direction, now_ns, timers, change, rare);
            let is_over = matches!(step, Step::Expired | Step::Reopens);
            self.work.state = if is_over { None } else { Some(state) };
            step
        };
        match step {
            Step::Belongs => Some(Reason::Established),
            Step::Unfit => Some(Reason::OutOfWindow),
            Step::OneSided => Some(Reason::OneSided),
            Step::Earns(class) => match tables.promote(&self.work.subject.key, class) {
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
        let now_ns = self.tables.now_ns();
        let key = &self.work.subject.key;
        let connection = self.tables.connection(key)?;
        connection.may_be_quoted(quoted, now_ns).then_some(Reason::Related)
    }

    /// The rule that would admit, as a first packet of the other direction, what this packet answers.
    #[inline(always)]
    fn answered_rule(&self) -> Option<Rule> {
        let packet = &self.work.room.packet;
        let reverse = InterfaceLine::policy(self.work.interface, packet.family, self.direction().reverse());
        let rows = PolicyLine(self.tables.line(reverse)?).groups();
        if rows.line == 0 { Some(Rule::NONE) } else { self.rule(rows, true) }
    }

    /// The first rule that matches the packet, or, with `reply`, the one that this packet would answer.
    #[inline(always)]
    pub(super) fn rule(&self, rows: RowTable, reply: bool) -> Option<Rule> {
        let (column, key) = service(&self.work.room.packet, reply);
        let link = self.generation().column(rows, self.work.remote, column)?;
        self.generation().rule(link, key)
    }
}

//! Fragments: the first is judged by its ports, the later ones follow it.
//!
//! Later ones that came before their first (networks reorder) pass only where nothing depends on what the first will say: one
//! group rule and one ACL entry allow every port of UDP, every type of ICMP, or, for other protocols, all of these. Over IPv6
//! they must allow every protocol, since a receiver believes the first fragment alone about that (RFC 8200 section 4.5). So
//! nothing has to be remembered of them: even one that overlaps a first fragment makes of it nothing that would be refused.
//! TCP never: what is to become of a segment is not said by rules alone.

use super::{Case, Judgement, Word, apart};
use crate::classify::service;
use crate::decide::{Done, Scratch};
use crate::fragment::{Datagram, FragmentKey};
use crate::layout::{Column, Interface, InterfaceLine, Kind, Link, PolicyLine, RootLine, RowTable, Rule};
use crate::packet::protocol;
use crate::verdict::Reason;
use crate::{Family, Tables};

/// Columns of a row.
const COLUMNS: u32 = 4;

impl<'a, T: Tables<'a>> Case<'a, '_, T> {
    /// A later fragment follows its first.
    #[inline(always)]
    pub(super) fn later_fragment(&mut self) -> Done {
        let key = FragmentKey::of(&self.work.room.packet, self.interface.zone(), self.direction());
        let now_ns = self.tables.now_ns();
        let known = self.tables.datagram(&key).filter(|it| it.is_valid(now_ns, self.root.generation()));
        let Some(datagram) = known else {
            self.work.done = apart!(self, lone_fragment);
            return self.work.outcome.acl_rule;
        };
        self.work.outcome = if datagram.overlaps(&self.work.room.packet) {
            Judgement::of(Reason::FragmentOverlapsHeader)
        } else {
            Judgement {
                reason: datagram.reason(),
                acl_rule: datagram.acl_rule,
                group_rule: datagram.group_rule,
            }
        };
        self.work.outcome.acl_rule
    }

    /// Remembers what was decided about a first fragment.
    #[inline(always)]
    pub(super) fn remember(&mut self) -> Done {
        let key = FragmentKey::of(&self.work.room.packet, self.interface.zone(), self.direction());
        let outcome = self.work.outcome;
        let datagram = Datagram {
            judged_ns: self.tables.now_ns(),
            generation: self.root.generation(),
            acl_rule: outcome.acl_rule,
            group_rule: outcome.group_rule,
            reason: outcome.reason as u8,
            padding: 0,
            end: self.work.room.packet.fragment_offset,
        };
        self.tables.remember_datagram(&key, &datagram);
        self.work.outcome.acl_rule
    }

    /// A later fragment whose first is not known. Of the interface's own addresses only the usual one counts: to search for the
    /// others, as first fragments do, was a tenth of all that the verifier may do.
    #[inline(always)]
    fn lone_fragment(&mut self) -> Done {
        self.work.outcome = Judgement::of(Reason::FragmentWithoutFirst);
        let is_tcp = self.work.room.packet.protocol == protocol::TCP;
        let is_own = *self.work.room.packet.local(self.direction()) == self.policy.address();
        if is_tcp || (self.interface.has(Interface::SOURCE_DEST_CHECK) && !is_own) {
            return 0;
        }
        self.classify();
        self.tables.reread(self.work);
        let [acl, groups] = [self.policy.acl(), self.policy.groups()];
        self.work.acl = Word::of(Reason::Unfiltered);
        if acl.line != 0 {
            // An interface's own address lies in its subnet: between two ends inside there is no border.
            if !self.link(acl, Column::Other as u32).is_inside() {
                let Some(rule) = self.rule_for_all(acl) else { return 0 };
                self.work.acl = Word { reason: Reason::AclAllow, rule: rule.slot() };
            } else if !is_own {
                return 0;
            }
        }
        self.tables.reread(self.work);
        if groups.line == 0 {
            self.work.outcome = self.work.acl.alone();
            return 1;
        }
        let Some(rule) = self.rule_for_all(groups) else { return 0 };
        let acl_rule = self.work.acl.rule;
        self.work.outcome = Judgement { reason: Reason::GroupRule, acl_rule, group_rule: rule.slot() };
        1
    }

    /// The rule that allows all packets that this may be a part of. By way of memory, or the verifier would follow each
    /// column's answers with each of the next one's.
    #[inline(always)]
    fn rule_for_all(&mut self, rows: RowTable) -> Option<Rule> {
        let (own, _) = service(&self.work.room.packet, false);
        let is_ipv6 = matches!(self.work.room.packet.family, Family::V6);
        self.work.done = 1;
        for column in 0..COLUMNS {
            let counts = is_ipv6 || column == own;
            if counts && !always_allows(self.link(rows, column)) {
                self.work.done = 0;
            }
            self.tables.reread(self.work);
        }
        if self.work.done == 0 { None } else { Some(Rule(self.link(rows, own).payload())) }
    }

    /// The link of the other end's column; nothing where the tables are damaged.
    #[inline(always)]
    fn link(&self, rows: RowTable, column: u32) -> Link {
        self.generation().column(rows, self.work.remote, column).unwrap_or(Link(0))
    }
}

/// Whether there is one rule behind a column whatever the key, which allows.
#[inline(always)]
fn always_allows(link: Link) -> bool {
    matches!(link.kind(), Kind::Value) && Rule(link.payload()).allows()
}

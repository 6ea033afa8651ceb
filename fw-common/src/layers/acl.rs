//! The stateless layer. Traffic with both ends inside the subnet does not cross its border.

use super::{Case, Word, apart};
use crate::classify::{Class, service};
use crate::decide::{Done, Scratch};
use crate::layout::{InterfaceLine, PolicyLine, RootLine};
use crate::verdict::Reason;
use crate::{Family, Tables};

impl<'a, T: Tables<'a>> Case<'a, '_, T> {
    #[inline(always)]
    pub(super) fn network_acl(&mut self) -> Word {
        if self.policy.acl().line == 0 {
            return Word::of(Reason::Unfiltered);
        }
        if self.work.remote == Class::UNASKED {
            return Word { reason: Reason::AclAllow, rule: self.policy.everywhere().slot };
        }
        self.ask_acl().unwrap_or(Word::of(Reason::TablesDamaged))
    }

    /// Whether an entry allows everything and the other end is outside the subnet for certain: not in its CIDR, nor among
    /// the addresses that are inside every one, which all have one of these first bytes.
    #[inline(always)]
    pub(super) fn passes_everywhere(&self) -> bool {
        let everywhere = self.policy.everywhere();
        if everywhere.slot == 0 {
            return false;
        }
        let packet = &self.work.room.packet;
        let (remote, own) = (packet.remote(self.direction()), self.policy.address());
        let (differing, first) = match packet.family {
            Family::V4 => (remote.low ^ own.low, remote.low >> 24 & 0xff),
            Family::V6 => (remote.high ^ own.high, remote.high >> 56),
        };
        let is_special = match packet.family {
            Family::V4 => first == 0 || first == 169 || first >= 224,
            Family::V6 => first == 0 || first >= 0xfe,
        };
        differing.wrapping_shr(everywhere.host_bits) != 0 && !is_special
    }

    #[inline(always)]
    fn ask_acl(&mut self) -> Option<Word> {
        let (column, key) = service(&self.work.room.packet, false);
        let link = self.generation().column(self.policy.acl(), self.work.remote, column)?;
        if link.is_inside() {
            self.work.done = apart!(self, is_within_subnet);
            if self.work.done != 0 {
                return Some(Word::of(Reason::Unfiltered));
            }
        }
        let rule = self.generation().rule(link, key)?;
        let reason = if rule.allows() {
            Reason::AclAllow
        } else if rule.is_implicit() {
            Reason::AclDefault
        } else {
            Reason::AclDeny
        };
        Some(Word { reason, rule: rule.slot() })
    }

    /// 1 if the interface's end is inside too.
    #[inline(always)]
    fn is_within_subnet(&mut self) -> Done {
        let searches = self.root.tree(self.work.room.packet.family);
        let class = Class(self.search_local(searches));
        let link = self.generation().column(self.policy.acl(), class, 0);
        u32::from(link.is_some_and(|link| link.is_inside()))
    }
}

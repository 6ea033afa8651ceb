//! AWS's own services, which neither layer filters where the settings say so.

use super::{Case, Effect, is_opening};
use crate::Tables;
use crate::conntrack::Connection;
use crate::decide::Done;
use crate::flow::Direction;
use crate::packet::protocol;
use crate::related::SubjectKind;
use crate::verdict::Reason;

impl<'a, T: Tables<'a>> Case<'a, '_, T> {
    /// Traffic to an exempt service goes out by its port and comes back by its connection.
    #[inline(always)]
    pub(super) fn exempt_service(&mut self) -> Done {
        if self.is_exempt_service() == Some(true) {
            self.work.group.reason = Reason::ExemptService;
        }
        self.work.group.rule
    }

    #[inline(always)]
    fn is_exempt_service(&mut self) -> Option<bool> {
        let is_reply = matches!(self.direction(), Direction::Ingress);
        let rule = self.rule(self.policy.services(), is_reply)?;
        self.name_subject();
        if !rule.allows() || self.work.subject.kind != SubjectKind::Own {
            return None;
        }
        // A SYN is never a reply, not even while the service has not answered ours.
        let packet = &self.work.room.packet;
        if is_reply && packet.protocol == protocol::TCP && is_opening(packet) {
            return None;
        }
        self.work.effect = Effect::Commit;
        let now_ns = self.tables.now_ns();
        let is_service = self.tables.connection(&self.work.subject.key, |connection| {
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
}

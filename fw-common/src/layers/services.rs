//! AWS's own services, which neither layer filters where the settings say so.

use super::{Case, Effect, is_opening};
use crate::Tables;
use crate::conntrack::Connection;
use crate::decide::Done;
use crate::flow::Direction;
use crate::packet::protocol;
use crate::related::SubjectKind;
use crate::verdict::{Reason, Verdict};

impl<'a, T: Tables<'a>> Case<'a, '_, T> {
    /// Traffic to an exempt service goes out by its port and comes back by its connection. 1 if it opens one.
    #[inline(always)]
    pub(super) fn exempt_service(&mut self) -> Done {
        match self.is_exempt_service() {
            Some(Service::Known) => self.work.group.reason = Reason::ExemptService,
            Some(Service::Opens) => return 1,
            None => {}
        }
        0
    }

    /// The first packet to a service. 1 if it begins a flow.
    #[inline(always)]
    pub(super) fn open_service(&mut self) -> Done {
        self.work.begins = 0;
        let Some(rule) = self.rule(self.policy.services(), false) else { return 0 };
        if matches!(self.open(rule, Connection::SERVICE), Reason::GroupRule) {
            self.work.group.reason = Reason::ExemptService;
        }
        self.work.begins
    }

    #[inline(always)]
    fn is_exempt_service(&mut self) -> Option<Service> {
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
        if let Some(connection) = self.tables.connection(&self.work.subject.key)
            && connection.status().flags() & Connection::SERVICE == 0
            && !connection.is_expired(self.tables.now_ns())
        {
            return None;
        }
        if let Some(reason) = self.follow() {
            let passes = matches!(reason.verdict(), Verdict::Pass);
            return passes.then_some(Service::Known);
        }
        (!is_reply && is_opening(&self.work.room.packet)).then_some(Service::Opens)
    }
}

/// What a packet is to an exempt service.
enum Service {
    /// It belongs to a connection.
    Known,
    /// It opens one.
    Opens,
}

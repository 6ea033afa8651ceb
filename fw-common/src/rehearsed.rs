//! What a rehearsal found, and how a program hands it to user space.

use crate::conntrack::State;
use crate::flow::Direction;
use crate::verdict::{Decision, Reason};

/// A decision that nothing came of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rehearsed {
    /// The decision.
    pub decision: Decision,
    /// Counter slot of the ACL entry that decided or let the packet on. The decision has it too, and the entry counts the
    /// packet, unless the groups refuse it.
    pub acl_rule: u32,
    /// The packet would begin a tracked flow.
    pub begins: bool,
    /// How far the connection is that the packet belongs to.
    pub state: Option<State>,
}

/// Words in an skb's control buffer (`__sk_buff.cb`).
pub const WORDS: usize = 5;

const OBSERVED: u32 = 1 << 16;
const BEGINS: u32 = 1 << 17;
const ACL_COUNTS: u32 = 1 << 18;

impl Rehearsed {
    /// As words.
    #[inline(always)]
    pub const fn to_words(self) -> [u32; WORDS] {
        let Self { decision, acl_rule, begins, state } = self;
        let flags = if decision.observed { OBSERVED } else { 0 }
            | if begins { BEGINS } else { 0 }
            | if decision.acl_rule != 0 { ACL_COUNTS } else { 0 };
        let state = match state {
            Some(state) => (state as u32).wrapping_add(1),
            None => 0,
        };
        let head = decision.reason as u32 | (decision.direction.code() as u32) << 8 | flags;
        [head, decision.zone, acl_rule, decision.group_rule, state]
    }

    /// The reverse; `None` of words that no program writes.
    pub fn from_words([head, zone, acl_rule, group_rule, state]: [u32; WORDS]) -> Option<Self> {
        let direction = match (head >> 8) as u8 {
            0 => Direction::Ingress,
            1 => Direction::Egress,
            _ => return None,
        };
        let decision = Decision {
            reason: Reason::from_code(head as u8)?,
            direction,
            observed: head & OBSERVED != 0,
            zone,
            acl_rule: if head & ACL_COUNTS != 0 { acl_rule } else { 0 },
            group_rule,
        };
        let state = match state.checked_sub(1) {
            Some(code) => Some(*State::ALL.iter().find(|state| **state as u32 == code)?),
            None => None,
        };
        Some(Self { decision, acl_rule, begins: head & BEGINS != 0, state })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_back() {
        let decision = Decision {
            reason: Reason::Established,
            direction: Direction::Egress,
            observed: true,
            zone: 7,
            acl_rule: 8,
            group_rule: u32::MAX,
        };
        for state in State::ALL.map(Some).into_iter().chain([None]) {
            for (begins, counted) in [(false, 8), (true, 8), (false, 0)] {
                let decision = Decision { acl_rule: counted, ..decision };
                let rehearsed = Rehearsed { decision, acl_rule: 8, begins, state };
                assert_eq!(Rehearsed::from_words(rehearsed.to_words()), Some(rehearsed));
            }
        }
        assert_eq!(Rehearsed::from_words([19, 0, 0, 0, 0]), None, "there is no such reason");
        assert_eq!(Rehearsed::from_words([0, 0, 0, 0, 14]), None, "there is no such state");
    }
}

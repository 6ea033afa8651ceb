//! What programs tell of single packets, and who may hear how much of it.

use crate::address::Address;
use crate::conntrack::tick;
use crate::decide::Scratch;
use crate::flow::Direction;
use crate::packet::{Fragment, Packet};
use crate::tokens::Tokens;
use crate::verdict::{Decision, Reason, Verdict};
use crate::wire::Parsed;

/// Events of one CPU: about a thousand a second (16 in a tick of 2²⁴ ns), and as many at once.
pub type Allowance = Tokens<16, 64>;

/// What one CPU has told of lately, and what it has not.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Teller {
    /// Events that were wanted and are not in the ring, since the map was made.
    pub suppressed: u64,
    /// Jiffy in which the allowance was found spent.
    spent_at: u64,
    allowance: Allowance,
}

impl Teller {
    /// Nothing so far.
    pub const NEW: Self = Self { suppressed: 0, spent_at: 0, allowance: Allowance::FULL };

    /// Whether the allowance is known to be spent: the clock that fills it moves once a jiffy, and under a flood it costs
    /// more to ask for it than all else here.
    #[inline(always)]
    pub const fn is_spent(&self, jiffy: u64) -> bool {
        self.spent_at == jiffy
    }

    /// Takes of the allowance.
    #[inline(always)]
    pub fn take(&mut self, jiffy: u64, now_ns: u64) -> bool {
        let may = self.allowance.take(now_ns);
        if !may {
            self.spent_at = jiffy;
        }
        may
    }

    /// Counts an event that is not told.
    #[inline(always)]
    pub const fn suppress(&mut self) {
        self.suppressed = self.suppressed.wrapping_add(1);
    }
}

/// Which packets somebody wants to hear of: the low byte of the word [`crate::layout::head::EVENTS`].
#[repr(u32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// None.
    Nothing = 0,
    /// Those that are dropped, or would be if the interface were enforced.
    Drops = 1,
    /// All.
    Everything = 2,
}

impl Wanted {
    /// The bits of the word that are its number.
    pub const BITS: u32 = 0xff;

    /// Whether a word names this packet's kind.
    #[inline(always)]
    pub const fn names(word: u32, verdict: Verdict) -> bool {
        word & Self::BITS > matches!(verdict, Verdict::Pass) as u32
    }

    /// Whether what was wanted until a tick still is: whoever wants events says so again and again.
    #[inline(always)]
    pub const fn lasts(until: u32, now_ns: u64) -> bool {
        until.wrapping_sub(tick(now_ns)) as i32 > 0
    }
}

/// One packet and what was decided about it, as it lies in the ring.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Event {
    /// `CLOCK_MONOTONIC`, nanoseconds.
    pub time_ns: u64,
    /// Source address; zero without [`Event::IS_IP`], like all that is read of IP.
    pub source: Address,
    /// Destination address.
    pub destination: Address,
    /// See [`Decision`].
    pub zone: u32,
    /// See [`Decision`].
    pub acl_rule: u32,
    /// See [`Decision`].
    pub group_rule: u32,
    /// The device.
    pub ifindex: u32,
    /// From the link-layer header on.
    pub bytes: u32,
    /// TCP or UDP.
    pub source_port: u16,
    /// See [`Packet::service`].
    pub service: u16,
    /// Of frames that are not IP; 0 where it is not known.
    pub ethertype: u16,
    /// IP protocol number.
    pub protocol: u8,
    /// TCP flags.
    pub tcp_flags: u8,
    /// [`Reason`].
    pub reason: u8,
    /// [`Direction`].
    pub direction: u8,
    /// Bits of this type.
    pub flags: u8,
    /// Zero.
    pub reserved: [u8; 5],
}

const _: () = assert!(size_of::<Event>() == 80);

/// A decision and its device in five words: the arguments of a function.
pub type Words = [u32; 5];

impl Event {
    /// The bit of the first of [`Words`] that says so.
    pub(crate) const OBSERVED_WORD: u32 = 1 << 16;
    /// The rules were not enforced.
    pub const OBSERVED: u8 = 1 << 0;
    /// An IP packet that was understood.
    pub const IS_IP: u8 = 1 << 1;
    /// A later fragment: it has no ports.
    pub const LATER_FRAGMENT: u8 = 1 << 2;

    /// What [`Event::new`] is to be given.
    #[inline(always)]
    pub const fn words(decision: &Decision, ifindex: u32) -> Words {
        let observed = if decision.observed { Self::OBSERVED_WORD } else { 0 };
        let head = decision.reason as u32 | (decision.direction.code() as u32) << 8 | observed;
        [head, decision.zone, decision.acl_rule, decision.group_rule, ifindex]
    }

    /// Of the frame that was judged last with `scratch`.
    #[inline(always)]
    pub fn new([head, zone, acl_rule, group_rule, ifindex]: Words, scratch: &Scratch, time_ns: u64) -> Self {
        let mut event = Self {
            time_ns,
            source: Address::default(),
            destination: Address::default(),
            zone,
            acl_rule,
            group_rule,
            ifindex,
            bytes: scratch.bytes(),
            source_port: 0,
            service: 0,
            ethertype: 0,
            protocol: 0,
            tcp_flags: 0,
            reason: head as u8,
            direction: (head >> 8) as u8,
            flags: if head & Self::OBSERVED_WORD != 0 { Self::OBSERVED } else { 0 },
            reserved: [0; 5],
        };
        // What is in there is of an earlier frame.
        if event.reason != Reason::NotConfigured as u8 {
            match scratch.parsed {
                Ok(Parsed::Other) => event.ethertype = scratch.room.link.ethertype,
                Ok(Parsed::Ip) => event.show(&scratch.room.packet),
                // Refused before all of it was read, or read and exempt.
                Err(reason) if matches!(reason.verdict(), Verdict::Pass) => event.show(&scratch.room.packet),
                Err(_) => {}
            }
        }
        event
    }

    #[inline(always)]
    fn show(&mut self, packet: &Packet) {
        self.flags |= Self::IS_IP;
        self.source = packet.source;
        self.destination = packet.destination;
        self.protocol = packet.protocol;
        if let Fragment::Later { .. } = packet.fragment {
            self.flags |= Self::LATER_FRAGMENT;
            return;
        }
        self.source_port = packet.source_port;
        self.service = packet.service;
        self.tcp_flags = packet.tcp_flags;
    }

    /// What was decided; `None` of bytes that no program writes.
    pub fn decision(&self) -> Option<Decision> {
        Some(Decision {
            reason: Reason::from_code(self.reason)?,
            direction: match self.direction {
                0 => Direction::Ingress,
                1 => Direction::Egress,
                _ => return None,
            },
            observed: self.has(Self::OBSERVED),
            zone: self.zone,
            acl_rule: self.acl_rule,
            group_rule: self.group_rule,
        })
    }

    /// Whether a bit is set.
    pub const fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JIFFY_NS: u64 = 4_000_000;

    #[test]
    fn a_flood_spends_the_allowance_and_asks_once_a_jiffy() {
        let mut teller = Teller::NEW;
        let (mut told, mut asked) = (0, 0);
        let first = 1_000_000;
        // 1.024 s: 61 ticks, 256 jiffies.
        for jiffy in first..first + 256 {
            for _ in 0..500 {
                if teller.is_spent(jiffy) {
                    teller.suppress();
                    continue;
                }
                asked += 1;
                if teller.take(jiffy, jiffy * JIFFY_NS) {
                    told += 1;
                } else {
                    teller.suppress();
                }
            }
        }
        assert!((2000..=1024 + 62 * 16).contains(&told), "{told}");
        assert_eq!(teller.suppressed, 256 * 500 - told);
        assert!(asked <= told + 256, "{asked}");
    }

    #[test]
    fn what_is_wanted_is_told_until_then() {
        assert!(!Wanted::names(Wanted::Nothing as u32, Verdict::Drop));
        assert!(Wanted::names(Wanted::Drops as u32, Verdict::Drop));
        assert!(!Wanted::names(Wanted::Drops as u32, Verdict::Pass));
        assert!(Wanted::names(Wanted::Everything as u32, Verdict::Pass));
        let tick_ns = 1 << 24;
        assert!(Wanted::lasts(100, 99 * tick_ns));
        assert!(!Wanted::lasts(100, 100 * tick_ns));
        assert!(Wanted::lasts(3, (u64::from(u32::MAX) - 1) * tick_ns), "ticks wrap");
        assert!(!Wanted::lasts(0, 50 * tick_ns));
    }

    #[test]
    fn decisions_come_back_as_they_were() {
        let decision = Decision {
            reason: Reason::NoGroupRule,
            direction: Direction::Egress,
            observed: true,
            zone: 7,
            acl_rule: 8,
            group_rule: 9,
        };
        let event = Event::new(Event::words(&decision, 3), &Scratch::EMPTY, 5);
        assert_eq!(event.decision(), Some(decision));
        assert_eq!((event.ifindex, event.time_ns), (3, 5));
        assert_eq!(Event { reason: 255, ..event }.decision(), None);
        assert_eq!(Event { direction: 2, ..event }.decision(), None);
    }
}

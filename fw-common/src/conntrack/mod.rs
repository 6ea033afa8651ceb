//! One connection's state and what a packet does to it.
//!
//! AWS publishes the timers of established TCP and of UDP; the others are chosen and stand in [`timeout`].
//! Never here: whether a packet may open a connection. That is [`crate::decide`]'s.

mod state;
mod status;
mod tcp;

pub use state::{State, timeout};
use state::{is_half_open, is_handshake};
pub use status::Status;

use crate::flow::Direction;
use crate::layout::InterfaceLine;
use crate::packet::{Packet, protocol, tcp_flags};
use crate::store::Cell;

/// Words of a connection.
///
/// | word | what |
/// | --- | --- |
/// | 0 | [`Status`] |
/// | 1 | when it was made, in ticks; in the upper half the counter slot of the rule that admitted it |
/// | 2, 3 | TCP, ingress and egress: the end of what was sent; in the upper half the last acknowledgement |
/// | 4, 5 | packets and bytes of both directions |
///
/// Each direction's marks are one word, since its packets mostly come by one CPU. Two CPUs that see packets of one
/// connection in the same instant may count one.
pub const WORDS: usize = 6;

/// Words that are read and written one by one: a connection's own, or those of its entry in the store, in place.
pub trait Record {
    /// One of them, below [`WORDS`].
    fn word(&self, index: usize) -> u64;
    /// Changes one of them.
    fn set_word(&mut self, index: usize, value: u64);
}

impl Record for [u64; WORDS] {
    #[inline(always)]
    fn word(&self, index: usize) -> u64 {
        self.get(index).copied().unwrap_or_default()
    }

    #[inline(always)]
    fn set_word(&mut self, index: usize, value: u64) {
        if let Some(word) = self.get_mut(index) {
            *word = value;
        }
    }
}

impl<C: Cell> Record for &[C; WORDS] {
    #[inline(always)]
    fn word(&self, index: usize) -> u64 {
        self.get(index).map_or(0, Cell::load)
    }

    #[inline(always)]
    fn set_word(&mut self, index: usize, value: u64) {
        if let Some(cell) = self.get(index) {
            cell.store(value);
        }
    }
}

/// A tracked connection.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(transparent)]
pub struct Connection<R = [u64; WORDS]>(pub R);

const STATUS: usize = 0;
const ORIGIN: usize = 1;
const MARKS: [usize; 2] = [2, 3];
const PACKETS: usize = 4;
const BYTES: usize = 5;

/// Nanoseconds of `CLOCK_MONOTONIC` in ticks of 16.8 ms (2²⁴ ns), of which 32 bits are 2.3 years.
#[inline(always)]
pub const fn tick(ns: u64) -> u32 {
    (ns >> TICK_SHIFT) as u32
}

/// Nanoseconds from one tick to another, more or less one tick; none if the other comes first.
pub const fn ns_between(earlier: u32, later: u32) -> u64 {
    let ticks = later.wrapping_sub(earlier);
    if ticks > i32::MAX.cast_unsigned() { 0 } else { (ticks as u64) << TICK_SHIFT }
}

const TICK_SHIFT: u32 = 24;

/// Which budget a connection counts against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Class {
    /// Seen in one direction only: small, recycled, short-lived.
    HalfOpen,
    /// Proof of return was seen: never evicted.
    Confirmed,
}

/// What a packet meant to the entry it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It belongs to the connection.
    Belongs,
    /// It belongs to the connection, and is the proof of return: the entry becomes a confirmed one.
    Confirms,
    /// The connection was idle for too long: as if there were no entry.
    Expired,
    /// A SYN on a connection that is over: a new flow.
    Reopens,
    /// A SYN against the direction of a connection that lives: for the rules to judge, and nothing changes. Whoever
    /// was admitted only to answer must not open connections of his own.
    CounterSyn,
}

impl Connection {
    /// Ingress's bit of what [`Connection::sent`] is valid by; egress's is the next.
    pub const SEEN: u8 = 1;
    /// Ingress's bit of what [`Connection::acked`] is valid by; egress's is the next.
    pub const ACKED: u8 = 4;
    /// Ingress has sent its FIN; egress's is the next bit.
    pub const FIN: u8 = 16;
    /// Admitted as traffic to an exempt service.
    pub const SERVICE: u8 = 64;
    /// Admitted by a rule with `reserved`: may use the slice of the table that is kept for administrators.
    pub const RESERVED: u8 = 128;

    /// No connection.
    pub const EMPTY: Self = Self([0; WORDS]);

    /// Clears the entry for a connection that starts now, admitted by the rule with this counter slot.
    #[inline(always)]
    pub fn restart(&mut self, now_ns: u64, rule: u32, flags: u8) {
        let now = u64::from(tick(now_ns));
        let status = now | (u64::from(flags) << Status::FLAGS);
        // One by one: to clear memory, LLVM would call a function.
        for (index, word) in [status, now | (u64::from(rule) << 32), 0, 0, 0, 0].into_iter().enumerate() {
            self.0.set_word(index, word);
        }
    }

    /// Applies a connection's first packet.
    #[inline(always)]
    pub fn open(&mut self, packet: &Packet, bytes: u64, direction: Direction, timers: InterfaceLine<'_>) {
        self.0.set_word(PACKETS, 1);
        self.0.set_word(BYTES, bytes);
        let mut status = self.status();
        status.set_opened_by(direction);
        if packet.protocol == protocol::TCP {
            status.set_state(State::SynSent, packet, timers);
            self.note_sequence(&mut status, packet, direction);
        } else {
            status.set_state(State::Unreplied, packet, timers);
        }
        self.0.set_word(STATUS, status.0);
    }

    /// A connection that is older than its entry, whoever opened it. Anybody may say so who sends a segment: it is proven
    /// when the other side is heard.
    #[inline(always)]
    pub fn adopt(&mut self, packet: &Packet, opened_by: Direction, timers: InterfaceLine<'_>) {
        let mut status = self.status();
        status.set_opened_by(opened_by);
        status.set_state(State::Adopted, packet, timers);
        self.0.set_word(STATUS, status.0);
    }
}

impl<R: Record> Connection<R> {
    /// A copy that nobody shares.
    #[inline(always)]
    pub fn copied(&self) -> Connection {
        Connection(core::array::from_fn(|index| self.0.word(index)))
    }

    /// What decides.
    #[inline(always)]
    pub fn status(&self) -> Status {
        Status(self.0.word(STATUS))
    }

    /// Moves when it was seen last, in ticks.
    pub fn set_last_seen(&mut self, tick: u32) {
        let mut status = self.status();
        status.set_last_seen(tick);
        self.0.set_word(STATUS, status.0);
    }

    /// First packet, in ticks: see [`tick`].
    pub fn created(&self) -> u32 {
        self.0.word(ORIGIN) as u32
    }

    /// Counter slot of the rule that admitted it.
    pub fn rule(&self) -> u32 {
        (self.0.word(ORIGIN) >> 32) as u32
    }

    /// Packets of both directions.
    pub fn packets(&self) -> u64 {
        self.0.word(PACKETS)
    }

    /// Bytes of both directions.
    pub fn bytes(&self) -> u64 {
        self.0.word(BYTES)
    }

    /// Whether it has been idle for longer than its state allows; up to two ticks late, never early.
    #[inline(always)]
    pub fn is_expired(&self, now_ns: u64) -> bool {
        let (idle_ns, allowed_ns) = self.status().idle_and_ahead(now_ns);
        idle_ns > allowed_ns
    }

    /// Applies one packet. With `change` off nothing is written: another layer drops the packet.
    #[inline(always)]
    pub fn step(
        &mut self,
        packet: &Packet,
        bytes: u64,
        direction: Direction,
        now_ns: u64,
        timers: InterfaceLine<'_>,
        change: bool,
    ) -> Step {
        let mut status = self.status();
        let (idle_ns, allowed_ns) = status.idle_and_ahead(now_ns);
        if idle_ns > allowed_ns {
            return Step::Expired;
        }
        let state = status.state();
        let mut next = Some(state);
        if packet.protocol == protocol::TCP {
            let flags = packet.tcp_flags;
            let is_syn = flags & (tcp_flags::SYN | tcp_flags::ACK) == tcp_flags::SYN;
            if is_syn && matches!(state, State::Closed | State::Reset) {
                return Step::Reopens;
            }
            if is_syn && !is_handshake(state) && direction.code() != status.opened_by() {
                return Step::CounterSyn;
            }
            next = self.next_tcp(status, packet, direction);
        } else if change {
            next = Some(next_datagram(status, packet, direction));
        }
        if !change {
            return Step::Belongs;
        }
        self.0.set_word(PACKETS, self.packets().wrapping_add(1));
        self.0.set_word(BYTES, self.bytes().wrapping_add(bytes));
        // A segment whose flags do not fit the sequence passes, but neither ends nor prolongs anything.
        let Some(next) = next else { return Step::Belongs };
        let before = status;
        status.set_last_seen(tick(now_ns));
        status.set_state_alone(next);
        // Written and read again, so that a verifier has one state to go on with and not one for each of the ways here.
        self.0.set_word(STATUS, status.0);
        let mut status = self.status();
        if packet.protocol == protocol::TCP {
            self.note_sequence(&mut status, packet, direction);
        }
        if status.differs_in_state(before) {
            if matches!(status.state(), State::HalfClosed | State::Closed) {
                status.set_flags(Connection::FIN << direction.code());
            }
            status.set_state(status.state(), packet, timers);
        }
        self.0.set_word(STATUS, status.0);
        let is_proof = matches!(status.state(), State::Established | State::Replied);
        if is_half_open(before.state()) && is_proof { Step::Confirms } else { Step::Belongs }
    }

    /// Whether a packet of this direction may be quoted by an ICMP error: the opener's always, the other side's
    /// once it has been heard of.
    #[inline(always)]
    pub fn may_be_quoted(&self, direction: Direction, now_ns: u64) -> bool {
        let status = self.status();
        let heard = direction.code() == status.opened_by() || !is_half_open(status.state());
        heard && !self.is_expired(now_ns)
    }

    /// The end of what a direction has sent, and what it has acknowledged last: valid by the status's flags.
    #[inline(always)]
    pub fn marks(&self, direction: Direction) -> (u32, u32) {
        let word = self.0.word(word_of(direction));
        (word as u32, (word >> 32) as u32)
    }

    #[inline(always)]
    fn set_marks(&mut self, direction: Direction, sent: u32, acked: u32) {
        self.0.set_word(word_of(direction), u64::from(sent) | (u64::from(acked) << 32));
    }
}

impl Connection {
    /// The same connection, none of whose packets has been seen: nothing is counted yet, and what each side has sent and
    /// acknowledged is for the next packet to say. Which side has closed stays.
    #[must_use]
    pub const fn unseen(self) -> Self {
        let Self([status, origin, ..]) = self;
        let marks = Self::SEEN | Self::SEEN << 1 | Self::ACKED | Self::ACKED << 1;
        Self([status & !((marks as u64) << Status::FLAGS), origin, 0, 0, 0, 0])
    }

    /// Whether another one is the same but for its times.
    pub fn is_like(&self, other: &Self) -> bool {
        let timeless = |connection: &Self| {
            let Self([status, origin, rest @ ..]) = connection;
            (status >> 32, origin >> 32, *rest)
        };
        timeless(self) == timeless(other)
    }
}

/// Chosen and not indexed: LLVM knows that a direction is 0 or 1 and drops the mask, the verifier does not and refuses the
/// access ("max value is outside of the allowed memory range", Linux 6.18).
#[inline(always)]
fn word_of(direction: Direction) -> usize {
    let [ingress, egress] = MARKS;
    match direction {
        Direction::Ingress => ingress,
        Direction::Egress => egress,
    }
}

#[inline(always)]
fn next_datagram(status: Status, packet: &Packet, direction: Direction) -> State {
    let is_reply = direction.code() != status.opened_by();
    match (status.state(), is_reply) {
        (State::Unreplied, true) => State::Replied,
        (State::Replied, false) if packet.protocol == protocol::UDP => State::RepliedAgain,
        (State::RepliedAgain, true) => State::Stream,
        (state, _) => state,
    }
}

impl core::fmt::Debug for Connection {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let status = self.status();
        formatter
            .debug_struct("Connection")
            .field("state", &status.state())
            .field("opened_by", &status.opened_by())
            .field("flags", &status.flags())
            .field("timeout_s", &status.timeout_s())
            .field("created", &self.created())
            .field("last_seen", &status.last_seen())
            .field("packets", &self.packets())
            .field("bytes", &self.bytes())
            .field("rule", &self.rule())
            .field("ingress", &self.marks(Direction::Ingress))
            .field("egress", &self.marks(Direction::Egress))
            .finish()
    }
}

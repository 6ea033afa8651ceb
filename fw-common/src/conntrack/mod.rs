//! One connection's state and what a packet does to it.
//!
//! AWS publishes the timers of established TCP and of UDP; the others are chosen and stand in [`timeout`].
//! Never here: whether a packet may open a connection. That is [`crate::decide`]'s.

mod class;
mod origin;
mod state;
mod status;
mod tcp;
mod windows;

pub use class::Class;
pub use origin::Origin;
pub use state::{LASTING_TICKS, State, timeout};
use state::{is_handshake, is_over, is_unanswered};
pub use status::Status;
pub use tcp::begin_or_end;
pub use windows::Windows;

use crate::flow::Direction;
use crate::layout::InterfaceLine;
use crate::packet::{Packet, protocol, tcp_flags};
use crate::store::Cell;

/// Words of a connection.
///
/// | word | what |
/// | --- | --- |
/// | 0 | [`Status`] |
/// | 1 | [`Origin`] |
/// | 2, 3 | TCP, ingress and egress: the end of what was sent; in the upper half the last acknowledgement. See [`tcp`] |
/// | 4 | [`Windows`], with the packets of both directions |
/// | 5 | bytes of both directions |
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
const WINDOWS: usize = 4;
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

/// What a packet meant to the entry it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// It belongs to the connection.
    Belongs,
    /// Its addresses and ports are the connection's, its numbers are not: it changes nothing.
    Unfit,
    /// It belongs to a connection whose answers are not seen.
    OneSided,
    /// It belongs to the connection, which has earned this class with it.
    Earns(Class),
    /// The connection was idle for too long: as if there were no entry.
    Expired,
    /// A SYN on a connection that is over: a new flow.
    Reopens,
    /// A SYN against the direction of a connection that lives: for the rules to judge, and nothing changes. Whoever
    /// was admitted only to answer must not open connections of his own.
    CounterSyn,
}

/// What a packet does to the state.
#[derive(Clone, Copy)]
enum Effect {
    /// Nothing, although it may be the connection's: it does not prolong it either.
    Nothing,
    /// Nothing, since its numbers do not fit.
    Unfit,
    /// The state is this one now, perhaps again.
    Moves(State),
}

impl Effect {
    /// As one word, for functions of the bytecode.
    #[inline(always)]
    const fn code(self) -> u32 {
        match self {
            Self::Nothing => 0,
            Self::Unfit => 1,
            Self::Moves(state) => 2 | (state as u32) << 2,
        }
    }

    /// The reverse.
    #[inline(always)]
    const fn from_code(code: u32) -> Self {
        match code & 3 {
            0 => Self::Nothing,
            1 => Self::Unfit,
            _ => Self::Moves(State::from_code((code >> 2) as u8)),
        }
    }
}

impl Connection {
    /// Ingress's bit of what [`Connection::marks`] has sent; egress's is the next.
    pub const SEEN: u8 = 1;
    /// Ingress's bit of what [`Connection::marks`] has acknowledged; egress's is the next.
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
        let now = tick(now_ns);
        let status = u64::from(now) | (u64::from(flags) << Status::FLAGS);
        let origin = Origin::new(now, rule).0;
        // One by one: to clear memory, LLVM would call a function.
        for (index, word) in [status, origin, 0, 0, Windows::UNSEEN.0, 0].into_iter().enumerate() {
            self.0.set_word(index, word);
        }
    }

    /// Applies a connection's first packet.
    #[inline(always)]
    pub fn open(&mut self, packet: &Packet, bytes: u64, direction: Direction, timers: InterfaceLine<'_>) {
        self.count(bytes);
        let mut status = self.status();
        status.set_opened_by(direction);
        if packet.protocol == protocol::TCP {
            status.set_state(State::SynSent, packet, timers);
            self.begin(&mut status, packet, direction);
        } else {
            status.set_state(State::Unreplied, packet, timers);
        }
        self.set_status(status);
    }

    /// A connection that is older than its entry, whoever opened it. Anybody may say so who sends a segment: what the
    /// interface's own side sends is the truth, what comes from the other is proven when that has answered.
    #[inline(always)]
    pub fn adopt(
        &mut self,
        packet: &Packet,
        direction: Direction,
        opened_by: Direction,
        timers: InterfaceLine<'_>,
    ) {
        let mut status = self.status();
        status.clear_flags(!(Self::SERVICE | Self::RESERVED));
        status.set_opened_by(opened_by);
        // Anybody may take part by a SYN-ACK: its options tell nothing.
        self.forget_windows();
        self.0.set_word(MARKS[0], 0);
        self.0.set_word(MARKS[1], 0);
        if matches!(direction, Direction::Egress) && packet.tcp_flags & tcp_flags::ACK != 0 {
            self.anchor(&mut status, packet);
        }
        status.set_state(tcp::stream::state_by_fins(status, State::Adopted), packet, timers);
        self.set_status(status);
    }

    /// Becomes a copy of another, word by word: as one value it would be on the stack in between.
    #[inline(always)]
    pub fn copy<R: Record>(&mut self, other: &Connection<R>) {
        for index in 0..WORDS {
            self.0.set_word(index, other.0.word(index));
        }
    }

    /// What an entry of these has earned that nothing has proven yet.
    #[inline(always)]
    pub fn first_class(&self) -> Class {
        let status = self.status();
        if status.flags() & Self::RESERVED != 0 {
            Class::Reserved
        } else if status.opened_by() == Direction::Egress.code() {
            Class::Outbound
        } else {
            Class::Inbound
        }
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
        self.set_status(status);
    }

    /// Moves when it was made, in ticks.
    pub fn set_created(&mut self, tick: u32) {
        let origin = self.origin().0 & !u64::from(u32::MAX) | u64::from(tick);
        self.set_origin(Origin(origin));
    }

    /// Where it comes from.
    #[inline(always)]
    pub fn origin(&self) -> Origin {
        Origin(self.0.word(ORIGIN))
    }

    /// First packet, in ticks: see [`tick`].
    pub fn created(&self) -> u32 {
        self.origin().created()
    }

    /// Counter slot of the rule that admitted it.
    pub fn rule(&self) -> u32 {
        self.origin().rule()
    }

    /// How far each side may be ahead.
    #[inline(always)]
    pub fn windows(&self) -> Windows {
        Windows(self.0.word(WINDOWS))
    }

    /// Packets of both directions.
    pub fn packets(&self) -> u64 {
        self.windows().packets()
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

    /// Applies one packet. With `change` off nothing is written: another layer drops the packet. `rare` is
    /// [`begin_or_end`], perhaps as a function of its own; without `IS_FAST` it has all segments.
    #[inline(always)]
    #[allow(clippy::too_many_arguments, reason = "inlined at its only call")]
    pub fn step<const IS_FAST: bool>(
        &mut self,
        packet: &Packet,
        bytes: u64,
        direction: Direction,
        now_ns: u64,
        timers: InterfaceLine<'_>,
        change: bool,
        rare: impl FnOnce(&mut Self, &Packet, Direction, bool) -> u32,
    ) -> Step {
        let mut status = self.status();
        let (idle_ns, allowed_ns) = status.idle_and_ahead(now_ns);
        if idle_ns > allowed_ns {
            return Step::Expired;
        }
        let state = status.state();
        let is_tcp = packet.protocol == protocol::TCP;
        if is_tcp && packet.is_first_syn() {
            if is_over(state) {
                return Step::Reopens;
            }
            if !is_handshake(state) && direction.code() != status.opened_by() {
                return Step::CounterSyn;
            }
        }
        if !change {
            return Step::Belongs;
        }
        let mut windows = self.windows();
        windows.count();
        self.0.set_word(BYTES, self.bytes().wrapping_add(bytes));
        let effect = if is_tcp {
            self.follow_tcp::<IS_FAST>(&mut status, windows, packet, direction, idle_ns, rare)
        } else {
            self.set_windows(windows);
            let age = tick(now_ns).wrapping_sub(self.created());
            Effect::Moves(next_datagram(status, packet, direction, age))
        };
        let next = match effect {
            Effect::Unfit => return Step::Unfit,
            Effect::Nothing if matches!(state, State::OneSided) => return Step::OneSided,
            Effect::Nothing => return Step::Belongs,
            Effect::Moves(next) => next,
        };
        status.set_last_seen(tick(now_ns));
        if next as u8 == state as u8 {
            self.set_status(status);
            return if matches!(next, State::OneSided) { Step::OneSided } else { Step::Belongs };
        }
        status.set_state(next, packet, timers);
        self.set_status(status);
        let is_own = matches!(direction, Direction::Egress);
        match next {
            State::Established | State::HalfClosed | State::Closed
                if is_handshake(state) || (matches!(state, State::Adopted) && !is_own) =>
            {
                Step::Earns(Class::Assured)
            }
            State::Lasting => Step::Earns(status.lasting_class()),
            State::OneSided => Step::OneSided,
            _ => Step::Belongs,
        }
    }

    /// Whether a packet of this direction may be quoted by an ICMP error: the opener's always, the other side's
    /// once it has been heard of.
    #[inline(always)]
    pub fn may_be_quoted(&self, direction: Direction, now_ns: u64) -> bool {
        let status = self.status();
        let heard = direction.code() == status.opened_by() || !is_unanswered(status.state());
        heard && !self.is_expired(now_ns)
    }

    /// The end of what a direction has sent, and what it has acknowledged last: valid by the status's flags, and as
    /// [`tcp`] says.
    #[inline(always)]
    pub fn marks(&self, direction: Direction) -> (u32, u32) {
        let word = self.0.word(word_of(direction));
        (word as u32, (word >> 32) as u32)
    }

    #[inline(always)]
    fn set_marks(&mut self, direction: Direction, sent: u32, acked: u32) {
        self.0.set_word(word_of(direction), u64::from(sent) | (u64::from(acked) << 32));
    }

    #[inline(always)]
    fn set_status(&mut self, status: Status) {
        self.0.set_word(STATUS, status.0);
    }

    #[inline(always)]
    fn set_origin(&mut self, origin: Origin) {
        self.0.set_word(ORIGIN, origin.0);
    }

    #[inline(always)]
    fn set_windows(&mut self, windows: Windows) {
        self.0.set_word(WINDOWS, windows.0);
    }

    #[inline(always)]
    fn count(&mut self, bytes: u64) {
        let mut windows = self.windows();
        windows.count();
        self.set_windows(windows);
        self.0.set_word(BYTES, self.bytes().wrapping_add(bytes));
    }
}

impl Connection {
    /// The same connection, none of whose packets has been seen: nothing is counted yet, and what each side has sent and
    /// acknowledged is for the next packet to say. Which side has closed stays.
    #[must_use]
    pub const fn unseen(self) -> Self {
        let Self([status, origin, ..]) = self;
        let marks = Self::SEEN | Self::SEEN << 1 | Self::ACKED | Self::ACKED << 1;
        let mut origin = Origin(origin);
        origin.clear_stream();
        Self([status & !((marks as u64) << Status::FLAGS), origin.0, 0, 0, Windows::UNSEEN.0, 0])
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

/// ICMP stays at one exchange, however many there are: an identifier is no conversation.
#[inline(always)]
fn next_datagram(status: Status, packet: &Packet, direction: Direction, age: u32) -> State {
    let is_reply = direction.code() != status.opened_by();
    let lasts = age >= LASTING_TICKS;
    match (status.state(), is_reply) {
        (State::Unreplied, true) => State::Replied,
        (State::Replied, false) if !packet.is_icmp() => State::RepliedAgain,
        (State::RepliedAgain | State::Stream, true) if lasts => State::Lasting,
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
            .field("stream", &(self.origin().0 >> 57))
            .field("windows", &(self.windows().0 & 0xffff))
            .field("ingress", &self.marks(Direction::Ingress))
            .field("egress", &self.marks(Direction::Egress))
            .finish()
    }
}

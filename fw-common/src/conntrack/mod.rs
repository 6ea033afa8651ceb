//! One connection's state and what a packet does to it.
//!
//! AWS publishes the timers of established TCP and of UDP; the others are chosen and stand in [`timeout`].
//! Never here: whether a packet may open a connection. That is [`crate::decide`]'s.

mod tcp;

use crate::flow::Direction;
use crate::layout::InterfaceLine;
use crate::packet::{Packet, protocol, tcp_flags};

/// A tracked connection, as it lies in the maps.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Connection {
    /// First packet, `CLOCK_MONOTONIC`.
    pub created_ns: u64,
    /// Last packet that had an effect.
    pub last_seen_ns: u64,
    /// Packets of both directions.
    pub packets: u64,
    /// Bytes of both directions.
    pub bytes: u64,
    /// TCP: the end of what each direction has sent (ingress, egress); valid where [`Connection::SEEN`] is set.
    pub sent: [u32; 2],
    /// TCP: the last acknowledgement of each direction (ingress, egress); valid where [`Connection::ACKED`] is.
    pub acked: [u32; 2],
    /// Counter slot of the rule that admitted it.
    pub rule: u32,
    /// Idle seconds after which it is over.
    pub timeout_s: u32,
    /// [`State`].
    pub state: u8,
    /// [`Direction`] of the first packet.
    pub opened_by: u8,
    /// Flag bits.
    pub flags: u8,
    /// Always zero.
    pub padding: u8,
    /// Where the data plane has noted it, plus one; 0 where it is not known. Older notes of the same flow may be
    /// left, and would hold places that nobody needs.
    pub note: u32,
}

const _: () = assert!(size_of::<Connection>() == 64);

/// How far a connection is.
#[repr(u8)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// TCP: SYN seen.
    SynSent = 0,
    /// TCP: SYN-ACK seen, or a SYN from either side.
    SynReceived = 1,
    /// TCP: handshake done.
    Established = 2,
    /// TCP: one side has sent FIN.
    HalfClosed = 3,
    /// TCP: both sides have.
    Closed = 4,
    /// TCP: reset.
    Reset = 5,
    /// Other than TCP: no reply yet.
    Unreplied = 6,
    /// Other than TCP: one request and its reply.
    Replied = 7,
    /// UDP: a second request.
    RepliedAgain = 8,
    /// UDP: more than one request with its reply.
    Stream = 9,
}

impl State {
    /// All of them, by number.
    pub const ALL: [Self; 10] = [
        Self::SynSent,
        Self::SynReceived,
        Self::Established,
        Self::HalfClosed,
        Self::Closed,
        Self::Reset,
        Self::Unreplied,
        Self::Replied,
        Self::RepliedAgain,
        Self::Stream,
    ];

    /// The state with this number; a damaged one counts as reset, which ends soonest.
    #[inline(always)]
    pub const fn from_code(code: u8) -> Self {
        match code {
            0 => Self::SynSent,
            1 => Self::SynReceived,
            2 => Self::Established,
            3 => Self::HalfClosed,
            4 => Self::Closed,
            6 => Self::Unreplied,
            7 => Self::Replied,
            8 => Self::RepliedAgain,
            9 => Self::Stream,
            _ => Self::Reset,
        }
    }

    /// As printed.
    pub const fn name(self) -> &'static str {
        match self {
            Self::SynSent => "syn_sent",
            Self::SynReceived => "syn_received",
            Self::Established => "established",
            Self::HalfClosed => "half_closed",
            Self::Closed => "closed",
            Self::Reset => "reset",
            Self::Unreplied => "unreplied",
            Self::Replied | Self::RepliedAgain => "replied",
            Self::Stream => "stream",
        }
    }
}

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

/// Idle seconds where AWS publishes none.
pub mod timeout {
    /// TCP after a SYN.
    pub const SYN: u32 = 30;
    /// TCP after a SYN-ACK.
    pub const SYN_ACK: u32 = 60;
    /// TCP after one FIN.
    pub const FIN: u32 = 120;
    /// TCP after both FINs.
    pub const CLOSED: u32 = 10;
    /// TCP after a RST.
    pub const RESET: u32 = 10;
    /// ICMP and ICMPv6.
    pub const ICMP: u32 = 30;
    /// Other protocols. <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/security-group-connection-tracking.html>
    pub const OTHER: u32 = 600;
}

impl Connection {
    /// Ingress's bit of [`Connection::sent`]; egress's is the next.
    pub const SEEN: u8 = 1;
    /// Ingress's bit of [`Connection::acked`]; egress's is the next.
    pub const ACKED: u8 = 4;
    /// Ingress has sent its FIN; egress's is the next bit.
    pub const FIN: u8 = 16;
    /// Admitted as traffic to an exempt service.
    pub const SERVICE: u8 = 64;
    /// Admitted by a rule with `reserved`: may use the slice of the table that is kept for administrators.
    pub const RESERVED: u8 = 128;

    /// No connection.
    pub const EMPTY: Self = Self {
        created_ns: 0,
        last_seen_ns: 0,
        packets: 0,
        bytes: 0,
        sent: [0; 2],
        acked: [0; 2],
        rule: 0,
        timeout_s: 0,
        state: 0,
        opened_by: 0,
        flags: 0,
        padding: 0,
        note: 0,
    };

    /// Clears the entry for a connection that starts now, admitted by the rule with this counter slot.
    #[inline(always)]
    pub fn restart(&mut self, now_ns: u64, rule: u32, flags: u8) {
        *self = Self { created_ns: now_ns, last_seen_ns: now_ns, rule, flags, ..Self::EMPTY };
    }

    /// Applies a connection's first packet.
    #[inline(always)]
    pub fn open(&mut self, packet: &Packet, bytes: u64, direction: Direction, timers: InterfaceLine<'_>) {
        self.packets = 1;
        self.bytes = bytes;
        self.opened_by = direction.code();
        if packet.protocol == protocol::TCP {
            self.set_state(State::SynSent, packet, timers);
            self.note_sequence(packet, direction);
        } else {
            self.set_state(State::Unreplied, packet, timers);
        }
    }

    /// A connection that is older than its entry: established, whoever opened it.
    #[inline(always)]
    pub fn adopt(&mut self, packet: &Packet, opened_by: Direction, timers: InterfaceLine<'_>) {
        self.opened_by = opened_by.code();
        self.set_state(State::Established, packet, timers);
    }

    /// Whether it has been idle for longer than its state allows.
    #[inline(always)]
    pub fn is_expired(&self, now_ns: u64) -> bool {
        let idle_ns = now_ns.saturating_sub(self.last_seen_ns);
        idle_ns > u64::from(self.timeout_s).wrapping_mul(1_000_000_000)
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
        if self.is_expired(now_ns) {
            return Step::Expired;
        }
        let state = State::from_code(self.state);
        let next = if packet.protocol == protocol::TCP {
            let flags = packet.tcp_flags;
            let is_syn = flags & (tcp_flags::SYN | tcp_flags::ACK) == tcp_flags::SYN;
            if is_syn && matches!(state, State::Closed | State::Reset) {
                return Step::Reopens;
            }
            if is_syn && !is_half_open(state) && direction.code() != self.opened_by {
                return Step::CounterSyn;
            }
            self.next_tcp(state, packet, direction)
        } else {
            Some(self.next_datagram(state, packet, direction))
        };
        if !change {
            return Step::Belongs;
        }
        self.packets = self.packets.wrapping_add(1);
        self.bytes = self.bytes.wrapping_add(bytes);
        // A segment whose flags do not fit the sequence passes, but neither ends nor prolongs anything.
        let Some(next) = next else { return Step::Belongs };
        self.last_seen_ns = now_ns;
        if packet.protocol == protocol::TCP {
            self.note_sequence(packet, direction);
        }
        if next != state {
            if next == State::HalfClosed || next == State::Closed {
                self.flags |= Self::FIN << direction.code();
            }
            self.set_state(next, packet, timers);
        }
        let is_proof = matches!(next, State::Established | State::Replied);
        if is_half_open(state) && is_proof { Step::Confirms } else { Step::Belongs }
    }

    /// Whether a packet of this direction may be quoted by an ICMP error: the opener's always, the other side's
    /// once it has been heard of.
    #[inline(always)]
    pub fn may_be_quoted(&self, direction: Direction, now_ns: u64) -> bool {
        let heard = direction.code() == self.opened_by || !is_half_open(State::from_code(self.state));
        heard && !self.is_expired(now_ns)
    }

    #[inline(always)]
    fn next_datagram(&self, state: State, packet: &Packet, direction: Direction) -> State {
        let is_reply = direction.code() != self.opened_by;
        match (state, is_reply) {
            (State::Unreplied, true) => State::Replied,
            (State::Replied, false) if packet.protocol == protocol::UDP => State::RepliedAgain,
            (State::RepliedAgain, true) => State::Stream,
            (state, _) => state,
        }
    }

    #[inline(always)]
    fn set_state(&mut self, state: State, packet: &Packet, timers: InterfaceLine<'_>) {
        self.state = state as u8;
        self.timeout_s = match state {
            State::SynSent => timeout::SYN,
            State::SynReceived => timeout::SYN_ACK,
            State::Established => timers.tcp_established(),
            State::HalfClosed => timeout::FIN,
            State::Closed => timeout::CLOSED,
            State::Reset => timeout::RESET,
            State::Stream => timers.udp_stream(),
            State::Unreplied | State::Replied | State::RepliedAgain => {
                if packet.protocol == protocol::UDP {
                    timers.udp()
                } else if packet.is_icmp() {
                    timeout::ICMP
                } else {
                    timeout::OTHER
                }
            }
        };
    }
}

#[inline(always)]
fn is_half_open(state: State) -> bool {
    matches!(state, State::SynSent | State::SynReceived | State::Unreplied)
}

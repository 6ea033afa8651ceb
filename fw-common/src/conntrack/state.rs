//! How far connections are, and how long they may then be idle.

/// How far a connection is.
#[repr(u8)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
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
    /// TCP: older than its entry, and seen in one direction.
    Adopted = 10,
}

impl State {
    /// All of them, by number.
    pub const ALL: [Self; 11] = [
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
        Self::Adopted,
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
            10 => Self::Adopted,
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
            Self::Adopted => "adopted",
        }
    }
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

/// Seen in one direction, as far as it is proven.
#[inline(always)]
pub(super) fn is_half_open(state: State) -> bool {
    is_handshake(state) || matches!(state, State::Unreplied | State::Adopted)
}

#[inline(always)]
pub(super) fn is_handshake(state: State) -> bool {
    matches!(state, State::SynSent | State::SynReceived)
}

//! How far connections are, and how long they may then be idle.

/// How far a connection is.
#[repr(u8)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// TCP: SYN seen.
    SynSent = 0,
    /// TCP: answered by a SYN-ACK, or by a SYN from the other side.
    SynReceived = 1,
    /// TCP: each side has acknowledged the other's SYN.
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
    /// Neither TCP nor ICMP: a second request.
    RepliedAgain = 8,
    /// Neither TCP nor ICMP: more than one request with its reply.
    Stream = 9,
    /// TCP: older than its entry, and not proven yet.
    Adopted = 10,
    /// TCP: the opener goes on as if it were answered, but the answer takes another way.
    OneSided = 11,
    /// As [`State::Stream`], for longer than [`LASTING_TICKS`].
    Lasting = 12,
}

/// Ticks ([`super::tick`]) after which requests and replies are more than one exchange: 2 s. netfilter asks for as much
/// before a UDP flow is assured (net/netfilter/nf_conntrack_proto_udp.c, `stream_ts`, Linux 5.0).
pub const LASTING_TICKS: u32 = 119;

impl State {
    /// All of them, by number.
    pub const ALL: [Self; 13] = [
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
        Self::OneSided,
        Self::Lasting,
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
            11 => Self::OneSided,
            12 => Self::Lasting,
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
            Self::Stream | Self::Lasting => "stream",
            Self::Adopted => "adopted",
            Self::OneSided => "one_sided",
        }
    }
}

/// Idle seconds where AWS publishes none.
pub mod timeout {
    /// TCP after a SYN.
    pub const SYN: u32 = 30;
    /// TCP of which only the opener is seen: longer than what keeps such connections alive (60 s in most programs).
    pub const ONE_SIDED: u32 = 120;
    /// TCP after a SYN-ACK.
    pub const SYN_ACK: u32 = 60;
    /// TCP after one FIN.
    pub const FIN: u32 = 120;
    /// TCP after both FINs.
    pub const CLOSED: u32 = 10;
    /// TCP after a RST.
    pub const RESET: u32 = 10;
    /// TCP that is older than its entry, until it is proven.
    pub const ADOPTED: u32 = 60;
    /// ICMP and ICMPv6.
    pub const ICMP: u32 = 30;
    /// Other protocols. <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/security-group-connection-tracking.html>
    pub const OTHER: u32 = 600;
}

/// TCP whose two sides have not acknowledged each other yet.
#[inline(always)]
pub(super) fn is_handshake(state: State) -> bool {
    matches!(state, State::SynSent | State::SynReceived | State::OneSided)
}

/// Only the opener has been heard for certain.
#[inline(always)]
pub(super) fn is_unanswered(state: State) -> bool {
    is_handshake(state) || matches!(state, State::Unreplied | State::Adopted)
}

/// Both sides are done: a SYN begins another connection.
#[inline(always)]
pub(super) fn is_over(state: State) -> bool {
    matches!(state, State::Closed | State::Reset)
}

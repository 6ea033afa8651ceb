//! Connections in a list, looked through from the front: who they are, how far they are, how long they may rest.

use std::net::IpAddr;

use fw_common::{Direction, Reason};
use fw_userspace::model::Timeouts;

use super::seen::{Piece, Seen, look, request_of};
use super::segments::{Means, Talk};
use crate::differential::history::Quote;
use crate::packet::{Extension, Network};

/// What tells a connection from all others at one interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Flow {
    /// Protocol number.
    pub protocol: u8,
    /// The interface's end.
    pub local: IpAddr,
    /// The other end.
    pub remote: IpAddr,
    /// TCP, UDP: the ports of both ends. ICMP: identifier; request type, and whether the interface's end asked.
    pub detail: Detail,
}

/// See [`Flow::detail`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Detail {
    /// Local and remote port.
    Ports(u16, u16),
    /// Identifier, request type, asked by the interface's end.
    Request(u16, u8, bool),
    /// Nothing.
    None,
}

/// How far a connection is. The names are those of `fwctl`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// TCP: a SYN.
    SynSent,
    /// TCP: the opener goes on, the answer is not seen.
    OneSided,
    /// TCP: its answer.
    SynReceived,
    /// TCP.
    Established,
    /// TCP: one FIN.
    HalfClosed,
    /// TCP: two.
    Closed,
    /// TCP: RST.
    Reset,
    /// TCP: older than its entry, and nothing proves it yet.
    Adopted,
    /// Others: no answer yet.
    Unreplied,
    /// Others.
    Replied,
    /// Not ICMP: asked again.
    RepliedAgain,
    /// Not ICMP: answered again.
    Stream,
    /// The same after two seconds.
    Lasting,
}

/// What it has earned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Begun by the other end.
    Inbound,
    /// Begun under a rule with `reserved`.
    Reserved,
    /// Begun by the interface's end.
    Outbound,
    /// Begun by the other end, and answered for a while.
    Stream,
    /// Proven.
    Assured,
}

/// An entry.
#[derive(Clone, Debug)]
pub struct Connection {
    /// Interface.
    pub at: String,
    /// Its identity.
    pub flow: Flow,
    /// How far it is.
    pub state: State,
    /// Who began.
    pub opened_by: Direction,
    /// To an exempt service.
    pub service: bool,
    /// By a rule with `reserved`.
    pub reserved: bool,
    /// The second of its first packet.
    pub made: u64,
    /// The second of the last packet that had an effect.
    pub last: u64,
    /// Seconds.
    pub idle_limit: u32,
    /// Both directions.
    pub packets: u64,
    /// Both directions.
    pub bytes: u64,
    /// TCP.
    talk: Option<Talk>,
}

/// What a packet is to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Belongs {
    /// It passes, for this reason.
    Yes(Reason),
    /// A SYN on a connection that is over.
    Reopens,
    /// A SYN of the side that was to answer.
    CounterSyn,
}

/// The flow that a packet is of; none for ICMP that neither asks nor answers.
pub(super) fn flow_of(seen: &Seen<'_>, direction: Direction) -> Option<Flow> {
    let detail = match (seen.ports, seen.icmp) {
        (Some((source, destination)), _) if direction == Direction::Egress => {
            Detail::Ports(source, destination)
        }
        (Some((source, destination)), _) => Detail::Ports(destination, source),
        (None, Some((kind, _, id))) => {
            let request = request_of(seen.ipv6, kind)?;
            Detail::Request(id, request, (kind == request) == (direction == Direction::Egress))
        }
        (None, None) => Detail::None,
    };
    let (local, remote) = (seen.local(direction), seen.remote(direction));
    Some(Flow { protocol: seen.protocol, local, remote, detail })
}

/// The flow that an ICMP error of this direction quotes, if it is sent to who sent the quoted packet and eight bytes
/// of its transport are there, behind no extension header but a fragment's.
pub(super) fn quoted_flow(error: &Seen<'_>, quote: &Quote, direction: Direction) -> Option<Flow> {
    let Ok(super::seen::Carried::Ip(quoted)) = look(&quote.packet) else { return None };
    let is_plain = match &quote.packet.network {
        Network::Ip(ip) => ip.extensions.iter().all(|it| *it == Extension::Fragment),
        Network::Other { .. } | Network::Whole(_) => false,
    };
    let is_sound = is_plain
        && quote.cut >= 8
        && error.piece == Piece::Whole
        && !matches!(quoted.piece, Piece::Later { .. })
        && quoted.source == error.destination;
    if is_sound { flow_of(&quoted, direction.reverse()) } else { None }
}

impl Connection {
    /// A first packet.
    pub(super) fn open(
        (at, flow): (&str, Flow),
        seen: &Seen<'_>,
        direction: Direction,
        bytes: u64,
        now: u64,
        timers: Timeouts,
    ) -> Self {
        let state = if seen.tcp.is_some() { State::SynSent } else { State::Unreplied };
        Self {
            at: at.to_owned(),
            flow,
            state,
            opened_by: direction,
            service: false,
            reserved: false,
            made: now,
            last: now,
            idle_limit: idle_limit(state, seen, timers),
            packets: 1,
            bytes,
            talk: seen.tcp.map(|tcp| Talk::begun(tcp, direction)),
        }
    }

    /// An older connection, of which this is one segment. Only the interface's own end says where it is.
    pub(super) fn adopt(
        mut self,
        seen: &Seen<'_>,
        direction: Direction,
        opened_by: Direction,
        timers: Timeouts,
    ) -> Self {
        let Some(tcp) = seen.tcp else { return self };
        let mut talk = Talk::taken_over(opened_by);
        self.opened_by = opened_by;
        self.state = talk.believe_first(tcp, direction).unwrap_or(State::Adopted);
        self.idle_limit = idle_limit(self.state, seen, timers);
        self.talk = Some(talk);
        self
    }

    /// Idle for longer than it may be.
    pub fn is_over(&self, now: u64) -> bool {
        now - self.last > u64::from(self.idle_limit)
    }

    /// What it has earned.
    pub fn class(&self) -> Class {
        let outbound = self.opened_by == Direction::Egress;
        let has_proof = match &self.talk {
            Some(talk) => talk.proven,
            None => self.state == State::Lasting,
        };
        match (has_proof, self.talk.is_some() || outbound || self.reserved) {
            (true, true) => Class::Assured,
            (true, false) => Class::Stream,
            (false, _) if self.reserved => Class::Reserved,
            (false, _) if outbound => Class::Outbound,
            (false, _) => Class::Inbound,
        }
    }

    /// A packet of the opener may be quoted by an error, one of the other side if it has been heard of.
    pub(super) fn may_be_quoted(&self, direction: Direction) -> bool {
        direction == self.opened_by || !(is_opening(self.state) || self.is_unheard())
    }

    fn is_unheard(&self) -> bool {
        matches!(self.state, State::Unreplied | State::Adopted)
    }

    /// What a packet means to it. `take`: it passes, so it counts.
    pub(super) fn follow(
        &mut self,
        seen: &Seen<'_>,
        direction: Direction,
        bytes: u64,
        now: u64,
        timers: Timeouts,
        take: bool,
    ) -> Belongs {
        if seen.is_syn() {
            if matches!(self.state, State::Closed | State::Reset) {
                return Belongs::Reopens;
            }
            if !is_opening(self.state) && direction != self.opened_by {
                return Belongs::CounterSyn;
            }
        }
        if !take {
            return Belongs::Yes(Reason::Established);
        }
        self.packets += 1;
        self.bytes += bytes;
        let means = match (&mut self.talk, seen.tcp) {
            (Some(talk), Some(tcp)) => {
                let is_first_piece = matches!(seen.piece, Piece::First { .. });
                talk.hear(self.state, tcp, direction, now - self.last, is_first_piece)
            }
            _ => Means::Becomes(self.after_datagram(direction, now)),
        };
        match means {
            Means::Nothing | Means::Misfits | Means::Moves => {}
            Means::Keeps => self.last = now,
            Means::Becomes(next) => {
                self.last = now;
                if next != self.state {
                    self.state = next;
                    self.idle_limit = idle_limit(next, seen, timers);
                }
            }
        }
        Belongs::Yes(match (means, self.state) {
            (Means::Misfits, _) => Reason::OutOfWindow,
            (_, State::OneSided) => Reason::OneSided,
            _ => Reason::Established,
        })
    }

    /// Requests and replies of everything but TCP.
    fn after_datagram(&self, direction: Direction, now: u64) -> State {
        let replies = direction != self.opened_by;
        let lasts = now - self.made >= 2;
        let is_icmp = matches!(self.flow.detail, Detail::Request(..));
        match self.state {
            State::Unreplied if replies => State::Replied,
            State::Replied if !replies && !is_icmp => State::RepliedAgain,
            State::RepliedAgain | State::Stream if replies && lasts => State::Lasting,
            State::RepliedAgain if replies => State::Stream,
            state => state,
        }
    }
}

/// The handshake goes on.
fn is_opening(state: State) -> bool {
    matches!(state, State::SynSent | State::OneSided | State::SynReceived)
}

/// docs/connections.md, "How long an entry rests".
fn idle_limit(state: State, seen: &Seen<'_>, timers: Timeouts) -> u32 {
    match state {
        State::SynSent => 30,
        State::SynReceived | State::Adopted => 60,
        State::Established => timers.tcp_established,
        State::OneSided | State::HalfClosed => 120,
        State::Closed | State::Reset => 10,
        State::Stream | State::Lasting if seen.protocol == 17 => timers.udp_stream,
        State::Unreplied | State::Replied | State::RepliedAgain if seen.protocol == 17 => timers.udp,
        _ if seen.icmp.is_some() => 30,
        _ => 600,
    }
}

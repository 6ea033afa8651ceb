//! Connections in a list, looked through from the front.

use std::net::IpAddr;

use fw_common::Direction;
use fw_userspace::model::Timeouts;

use super::seen::{Piece, Seen, look, request_of};
use crate::differential::history::Quote;
use crate::packet::{Tcp, flag};

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
    /// TCP: older than its entry; one direction was seen.
    Adopted,
    /// Others: no answer yet.
    Unreplied,
    /// Others.
    Replied,
    /// UDP: asked again.
    RepliedAgain,
    /// UDP: answered again.
    Stream,
}

/// An entry.
#[derive(Clone, Debug)]
pub struct Connection {
    /// Interface.
    pub at: &'static str,
    /// Its identity.
    pub flow: Flow,
    /// How far it is.
    pub state: State,
    /// Who began.
    pub opened_by: Direction,
    /// Both directions were seen.
    pub confirmed: bool,
    /// To an exempt service.
    pub service: bool,
    /// By a rule with `reserved`.
    pub reserved: bool,
    /// Seconds.
    pub last: u64,
    /// Seconds.
    pub idle_limit: u32,
    /// Both directions.
    pub packets: u64,
    /// Both directions.
    pub bytes: u64,
    ingress: Stream,
    egress: Stream,
}

/// What one direction of a TCP connection has said.
#[derive(Clone, Copy, Debug, Default)]
struct Stream {
    /// The number after the last it has sent.
    sent: Option<u32>,
    acked: Option<u32>,
    fin: bool,
}

/// What a packet is to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Belongs {
    Yes,
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
/// of its transport are there.
pub(super) fn quoted_flow(error: &Seen<'_>, quote: &Quote, direction: Direction) -> Option<Flow> {
    let Ok(super::seen::Carried::Ip(quoted)) = look(&quote.packet) else { return None };
    let is_sound = quote.cut >= 8
        && error.piece == Piece::Whole
        && !matches!(quoted.piece, Piece::Later { .. })
        && quoted.source == error.destination;
    if is_sound { flow_of(&quoted, direction.reverse()) } else { None }
}

impl Connection {
    /// A first packet.
    pub(super) fn open(
        (at, flow): (&'static str, Flow),
        seen: &Seen<'_>,
        direction: Direction,
        bytes: u64,
        now: u64,
        timers: Timeouts,
    ) -> Self {
        let state = if seen.tcp.is_some() { State::SynSent } else { State::Unreplied };
        let mut connection = Self {
            at,
            flow,
            state,
            opened_by: direction,
            confirmed: false,
            service: false,
            reserved: false,
            last: now,
            idle_limit: idle_limit(state, seen, timers),
            packets: 1,
            bytes,
            ingress: Stream::default(),
            egress: Stream::default(),
        };
        if let Some(tcp) = seen.tcp {
            connection.note(tcp, direction);
        }
        connection
    }

    /// An older connection, of which this is one packet.
    pub(super) fn adopt(mut self, opened_by: Direction, timers: Timeouts) -> Self {
        self.opened_by = opened_by;
        self.state = State::Adopted;
        self.idle_limit = timers.tcp_established;
        self
    }

    /// Idle for longer than it may be.
    pub fn is_over(&self, now: u64) -> bool {
        now - self.last > u64::from(self.idle_limit)
    }

    /// A packet of the opener may be quoted by an error, one of the other side if it has been heard of.
    pub(super) fn may_be_quoted(&self, direction: Direction) -> bool {
        direction == self.opened_by || !self.is_half_open()
    }

    fn is_half_open(&self) -> bool {
        matches!(self.state, State::SynSent | State::SynReceived | State::Unreplied | State::Adopted)
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
            let opens = matches!(self.state, State::SynSent | State::SynReceived);
            if !opens && direction != self.opened_by {
                return Belongs::CounterSyn;
            }
        }
        if !take {
            return Belongs::Yes;
        }
        self.packets += 1;
        self.bytes += bytes;
        let next = match seen.tcp {
            Some(tcp) => self.next_tcp(tcp, direction),
            None => Some(self.next_other(seen, direction)),
        };
        // Without effect: it neither ends nor prolongs anything.
        let Some(next) = next else { return Belongs::Yes };
        self.last = now;
        if let Some(tcp) = seen.tcp {
            self.note(tcp, direction);
        }
        if next != self.state {
            if matches!(next, State::HalfClosed | State::Closed) {
                self.stream(direction).fin = true;
            }
            self.state = next;
            self.idle_limit = idle_limit(next, seen, timers);
        }
        self.confirmed |= matches!(next, State::Established | State::Replied);
        Belongs::Yes
    }

    fn next_other(&self, seen: &Seen<'_>, direction: Direction) -> State {
        let answers = direction != self.opened_by;
        let udp = seen.protocol == 17;
        match self.state {
            State::Unreplied if answers => State::Replied,
            State::Replied if udp && !answers => State::RepliedAgain,
            State::RepliedAgain if answers => State::Stream,
            state => state,
        }
    }

    fn next_tcp(&mut self, tcp: &Tcp, direction: Direction) -> Option<State> {
        let has = |mask: u8| tcp.flags & mask != 0;
        let opener = direction == self.opened_by;
        if has(flag::RST) {
            return self.fits(tcp, direction).then_some(State::Reset);
        }
        if has(flag::SYN) {
            return match self.state {
                State::SynSent if opener => Some(State::SynSent),
                // A SYN of the other side opens from there too (simultaneous open).
                State::SynSent if !has(flag::ACK) => Some(State::SynReceived),
                State::SynSent => self.acknowledges_syn(tcp, direction).then_some(State::SynReceived),
                State::SynReceived if opener && has(flag::ACK) => Some(State::Established),
                State::SynReceived => Some(State::SynReceived),
                _ => None,
            };
        }
        let heard = self.stream(direction).sent.is_some();
        match self.state {
            State::SynReceived if opener && has(flag::ACK) => Some(State::Established),
            State::SynSent | State::SynReceived => None,
            state if has(flag::FIN) => {
                let other_has = self.stream(direction.reverse()).fin;
                let next = match state {
                    State::Established | State::Adopted => State::HalfClosed,
                    State::HalfClosed if other_has => State::Closed,
                    state => state,
                };
                self.fits(tcp, direction).then_some(next)
            }
            State::Closed | State::Reset => None,
            // Whoever spoke first may be anybody; the other one's answer proves it.
            State::Adopted if !heard && has(flag::ACK) => Some(State::Established),
            state => Some(state),
        }
    }

    /// It acknowledges the SYN, or also data that may have come with it.
    fn acknowledges_syn(&mut self, tcp: &Tcp, direction: Direction) -> bool {
        let sent = self.stream(direction.reverse()).sent.unwrap_or(0);
        (0..=1460).contains(&ahead(tcp.ack, sent))
    }

    /// A RST or FIN lies between what the other side has acknowledged and what this one has sent.
    fn fits(&mut self, tcp: &Tcp, direction: Direction) -> bool {
        let acked = self.stream(direction.reverse()).acked;
        let sent = self.stream(direction).sent;
        match (acked, sent) {
            (Some(acked), Some(sent)) => {
                let room = i64::from(sent.wrapping_sub(acked));
                room < WINDOW && i64::from(tcp.seq.wrapping_sub(acked)) <= room
            }
            (Some(acked), None) => tcp.seq == acked,
            (None, Some(sent)) => tcp.seq == sent,
            // The RST that answers a SYN.
            (None, None) => {
                tcp.flags & flag::ACK != 0
                    && self.stream(direction.reverse()).sent.is_some()
                    && self.acknowledges_syn(tcp, direction)
            }
        }
    }

    /// Moves the marks of a direction forward; a SYN sent again sets them anew.
    fn note(&mut self, tcp: &Tcp, direction: Direction) {
        let syn = tcp.flags & flag::SYN != 0;
        let again = syn && self.state == State::SynSent && direction == self.opened_by;
        // Data on a SYN may be ignored.
        let len = if syn { 1 } else { tcp.payload.len() as u32 + u32::from(tcp.flags & flag::FIN != 0) };
        let end = tcp.seq.wrapping_add(len);
        let stream = self.stream(direction);
        if again || stream.sent.is_none_or(|sent| (1..WINDOW).contains(&ahead(end, sent))) {
            stream.sent = Some(end);
        }
        let tells = tcp.flags & flag::ACK != 0 && tcp.flags & flag::RST == 0;
        if tells && stream.acked.is_none_or(|acked| (1..WINDOW).contains(&ahead(tcp.ack, acked))) {
            stream.acked = Some(tcp.ack);
        }
    }

    fn stream(&mut self, direction: Direction) -> &mut Stream {
        match direction {
            Direction::Ingress => &mut self.ingress,
            Direction::Egress => &mut self.egress,
        }
    }
}

/// The largest window (RFC 7323).
const WINDOW: i64 = 1 << 30;

/// How far a sequence number is ahead of another, on a circle of 2^32.
fn ahead(new: u32, old: u32) -> i64 {
    i64::from(new.wrapping_sub(old))
}

/// docs/packets.md, "Connections".
fn idle_limit(state: State, seen: &Seen<'_>, timers: Timeouts) -> u32 {
    match state {
        State::SynSent => 30,
        State::SynReceived => 60,
        State::Established | State::Adopted => timers.tcp_established,
        State::HalfClosed => 120,
        State::Closed | State::Reset => 10,
        State::Stream => timers.udp_stream,
        State::Unreplied | State::Replied | State::RepliedAgain => match (seen.protocol, seen.icmp) {
            (17, _) => timers.udp,
            (_, Some(_)) => 30,
            _ => 600,
        },
    }
}

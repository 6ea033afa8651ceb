//! Whether rules let a flow go on that is older than they are: the decision core itself is asked, by packets that no wire
//! has carried, with the adoption window open and one place for what it remembers.

use std::cell::Cell;
use std::net::IpAddr;
use std::sync::atomic::AtomicU64;

use etherparse::{PacketBuilder, ether_type};
use fw_common::conntrack::{Class, Connection, State, WORDS, tick};
use fw_common::decide::interface_line;
use fw_common::fragment::{Datagram, FragmentKey};
use fw_common::layout::{Interface, Line};
use fw_common::memory::SliceFrame;
use fw_common::packet::protocol;
use fw_common::store::{Cell as Word, Store};
use fw_common::tables::TableFull;
use fw_common::{Direction, FlowKey, Hook, Scratch, Sighting, Tables, Verdict, judge};

use super::super::clock::{NS_PER_S, monotonic_ns};
use super::super::connections::ConnectionTable;
use super::Moment;
use super::sockets::{Connected, Heard};
use crate::compile::Binding;
use crate::model::Faces;

/// How long an answer is awaited, in seconds: a resolver is asked again after 5.
const ANSWER_S: u32 = 10;

/// What has become of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The table is to have it.
    TakenOver(FlowKey, Connection),
    /// The table had it already.
    Known,
    /// It passes without: under an open rule, or where groups do not filter.
    NeedsNoEntry,
    /// A layer drops its packets, of either direction.
    NotAllowed,
}

/// A generation, written but perhaps not in force, at one device.
pub(super) struct Trial<'a> {
    lines: &'a [Line],
    root: u32,
    device: &'a Binding,
    faces: Faces,
    /// The device's line as it is with an adoption window that never ends, and its number.
    adopting: (u32, Line),
    connections: &'a ConnectionTable,
    moment: Moment,
    scratch: Cell<Scratch>,
    /// The one connection that is remembered, if there is one.
    key: Cell<Option<FlowKey>>,
    entry: [AtomicU64; WORDS],
    is_known: Cell<bool>,
}

impl<'a> Trial<'a> {
    /// `None` if the generation does not know the device.
    pub(super) fn of(
        lines: &'a [Line],
        root: u32,
        device: &'a Binding,
        faces: Faces,
        connections: &'a ConnectionTable,
        moment: Moment,
    ) -> Option<Self> {
        let mut trial = Self {
            lines,
            root,
            device,
            faces,
            adopting: (0, Line::default()),
            connections,
            moment,
            scratch: Cell::new(Scratch::EMPTY),
            key: Cell::new(None),
            entry: [const { AtomicU64::new(0) }; WORDS],
            is_known: Cell::new(false),
        };
        let number = interface_line(&trial, device.ifindex)?;
        let mut line = *lines.get(number as usize)?;
        Interface::adopt_everything(&mut line);
        trial.adopting = (number, line);
        Some(trial)
    }

    /// Lets the core judge packets of each direction; what it remembers of them is for the table. The opener's are first, so
    /// that its rules alone let the flow begin. Where the opener is not known, this side is tried first, then the other.
    pub(super) fn take_over(&self, flow: &Connected) -> Outcome {
        match flow.opened_by {
            Some(opener) => self.opened_by(opener, flow),
            None => match self.opened_by(Direction::Egress, flow) {
                Outcome::NotAllowed => self.opened_by(Direction::Ingress, flow),
                outcome => outcome,
            },
        }
    }

    fn opened_by(&self, opener: Direction, flow: &Connected) -> Outcome {
        self.key.set(None);
        self.is_known.set(false);
        let other = opener.reverse();
        let packets = match flow.heard {
            Heard::Opener => &[opener][..],
            Heard::Both => &[opener, other],
            Heard::Steadily => &[opener, other, opener, other],
        };
        for (number, direction) in packets.iter().enumerate() {
            if number >= 2 && self.is_settled() {
                break;
            }
            if !self.passes(flow, *direction, false) {
                return Outcome::NotAllowed;
            }
        }
        if self.is_known.get() {
            return Outcome::Known;
        }
        let Some(key) = self.key.get() else { return Outcome::NeedsNoEntry };
        // The core, which knows less, may have let it begin as the other side's.
        if Connection(&self.entry).status().opened_by() != opener.code() {
            return Outcome::NotAllowed;
        }
        if let Some(direction) = flow.closed {
            self.passes(flow, direction, true);
        }
        Outcome::TakenOver(key, Connection(&self.entry).copied().unseen())
    }

    /// Whether more packets of both directions would change nothing.
    fn is_settled(&self) -> bool {
        let state = Connection(&self.entry).status().state();
        self.key.get().is_none() || matches!(state, State::Established | State::Stream)
    }

    fn passes(&self, flow: &Connected, direction: Direction, is_fin: bool) -> bool {
        let Some(frame) = frame(flow, direction, is_fin, self.device.bare) else { return false };
        let hook = match (direction, self.faces) {
            (Direction::Ingress, Faces::Network) | (Direction::Egress, Faces::Instance) => Hook::Received,
            (Direction::Egress, Faces::Network) | (Direction::Ingress, Faces::Instance) => Hook::Sent,
        };
        let seen = Sighting { ifindex: self.device.ifindex, hook, vlan_tags: 0 };
        let mut scratch = self.scratch.get();
        let decision = judge(&SliceFrame::new(&frame), self, seen, &mut scratch);
        decision.reason.verdict() == Verdict::Pass
    }
}

impl<'a> Tables<'a> for &'a Trial<'_> {
    type Record = &'a [AtomicU64; WORDS];

    fn live(self) -> u32 {
        self.root
    }

    fn line(self, number: u32) -> Option<&'a Line> {
        let (adopting, line) = &self.adopting;
        if number == *adopting { Some(line) } else { self.lines.get(number as usize) }
    }

    fn opaque(self, value: u64) -> u64 {
        value
    }

    fn reread<M>(self, _memory: &mut M) {}

    fn now_ns(self) -> u64 {
        monotonic_ns()
    }

    /// One that the table has is shown as a copy: it is none of what really happens to it.
    fn connection(self, key: &FlowKey) -> Option<Connection<Self::Record>> {
        if self.moment == Moment::After
            && self.key.get().is_none()
            && let Some(known) = Store(self.connections).entry(key)
        {
            let known = known.copied();
            if !known.is_expired(self.now_ns()) {
                self.remember(key, &known);
                self.is_known.set(true);
            }
        }
        self.key.get().filter(|remembered| remembered == key).map(|_| Connection(&self.entry))
    }

    fn forget(self, _key: &FlowKey) {}

    fn insert(self, key: &FlowKey, connection: &Connection, _class: Class) -> Result<(), TableFull> {
        self.remember(key, connection);
        Ok(())
    }

    fn promote(self, _key: &FlowKey, _class: Class) -> Result<(), TableFull> {
        Ok(())
    }

    fn has_room(self, _key: &FlowKey, _flags: u8, _class: Class) -> bool {
        true
    }

    fn datagram(self, _key: &FragmentKey) -> Option<Datagram> {
        None
    }

    fn remember_datagram(self, _key: &FragmentKey, _datagram: &Datagram) {}

    fn note_ethertype(self, _zone: u32, _ethertype: u16) {}
}

impl Trial<'_> {
    fn remember(&self, key: &FlowKey, connection: &Connection) {
        self.key.set(Some(*key));
        for (cell, word) in self.entry.iter().zip(connection.0) {
            Word::store(cell, word);
        }
    }
}

/// Lets an entry of which only the opener was heard be over soon: an answer that is under way is there by then.
pub(super) fn await_answer(entry: &mut Connection) {
    let early_s = entry.status().timeout_s().saturating_sub(ANSWER_S);
    let last_seen = entry.status().last_seen().wrapping_sub(tick(u64::from(early_s) * NS_PER_S));
    entry.set_last_seen(last_seen);
}

/// A packet as the device would carry it; all sequence numbers are 0. `None` for ends of two families.
fn frame(flow: &Connected, direction: Direction, is_fin: bool, is_bare: bool) -> Option<Vec<u8>> {
    let Connected { local, remote, .. } = flow;
    let (from, to) = match direction {
        Direction::Ingress => (remote, local),
        Direction::Egress => (local, remote),
    };
    let (ethertype, ip) = match (from.ip(), to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            (ether_type::IPV4, PacketBuilder::ipv4(from.octets(), to.octets(), 64))
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            (ether_type::IPV6, PacketBuilder::ipv6(from.octets(), to.octets(), 64))
        }
        _ => return None,
    };
    let mut frame = Vec::with_capacity(80);
    if !is_bare {
        // Nobody's hardware addresses.
        frame.extend([0; 12]);
        frame.extend(ethertype.0.to_be_bytes());
    }
    if flow.protocol == protocol::UDP {
        ip.udp(from.port(), to.port()).write_to_vec(&mut frame, &[]).ok()?;
        return Some(frame);
    }
    let mut segment = ip.tcp(from.port(), to.port(), 0, 0).ack(0);
    if is_fin {
        segment = segment.fin();
    }
    segment.write_to_vec(&mut frame, &[]).ok()?;
    Some(frame)
}

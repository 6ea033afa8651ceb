//! What happens to a packet at a device of this host: the one entry point of the core.
//!
//! Finds the generation in force and the interface, has the frame looked at once, and hands what rules can see to
//! [`crate::layers`].

use crate::classify::{Class, Generation};
use crate::conntrack::Connection;
use crate::exempt::{self, Port};
use crate::frame::{Frame, Link};
use crate::layers::{Case, Effect, Judgement, Word};
use crate::layout::{DEVICES_PER_BUCKET, Interface, InterfaceLines, RootLine};
use crate::related::Subject;
use crate::verdict::{Decision, Reason};
use crate::wire::{self, LinkHeader, Parsed};
use crate::{Direction, Tables};

/// Where a frame is seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    /// What the device receives.
    Received,
    /// What the host sends through the device.
    Sent,
}

/// One frame at one device of this host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sighting {
    /// The device.
    pub ifindex: u32,
    /// Received or sent.
    pub hook: Hook,
    /// VLAN tags that were already taken out of the frame.
    pub vlan_tags: u8,
}

/// Room for one packet's judgement, lent by the caller: in BPF a per-CPU map element. Means nothing between packets.
///
/// Two reasons to keep intermediate results here and not in variables: 512 bytes of stack hold either them or the
/// work on them; and the verifier forgets a value that goes through map memory, so that the steps behind it are
/// verified once and not once for each value (a million instructions otherwise, Linux 6.18).
#[derive(Debug, Clone, Copy)]
pub struct Scratch {
    pub(crate) link: Link,
    pub(crate) port: Port,
    pub(crate) parsed: Result<Parsed, Reason>,
    pub(crate) room: wire::Room,
    pub(crate) subject: Subject,
    pub(crate) remote: Class,
    pub(crate) effect: Effect,
    pub(crate) acl: Word,
    pub(crate) group: Word,
    pub(crate) opening: Connection,
    pub(crate) outcome: Judgement,
    pub(crate) done: Done,
}

impl Scratch {
    /// Unused.
    pub const EMPTY: Self = Self {
        link: Link::Bare,
        port: Port { direction: Direction::Ingress, faces_instance: false },
        parsed: Ok(Parsed::Ip),
        room: wire::Room::EMPTY,
        subject: Subject::EMPTY,
        remote: Class(0),
        effect: Effect::Peek,
        acl: Word::of(Reason::NotConfigured),
        group: Word::of(Reason::NotConfigured),
        opening: Connection::EMPTY,
        outcome: Judgement::of(Reason::NotConfigured),
        done: 0,
    };
}

/// Judges a frame.
#[inline(always)]
pub fn judge<F: Frame, T: Tables>(frame: &F, tables: &T, seen: Sighting, scratch: &mut Scratch) -> Decision {
    let direction = if matches!(seen.hook, Hook::Received) { Direction::Ingress } else { Direction::Egress };
    let unknown = Decision {
        reason: Reason::NotConfigured,
        direction,
        observed: false,
        zone: 0,
        acl_rule: 0,
        group_rule: 0,
    };
    let Some(generation) = generation_in_force(tables) else { return unknown };
    let Some(interface) = interface_of(&generation, seen.ifindex) else { return unknown };
    let faces_instance = interface.has(Interface::FACES_INSTANCE);
    let direction = if faces_instance { direction.reverse() } else { direction };
    scratch.link =
        if interface.has(Interface::BARE) { Link::Bare } else { Link::Ethernet { tags: seen.vlan_tags } };
    scratch.port = Port { direction, faces_instance };
    scratch.done = look(frame, scratch);
    match scratch.parsed {
        Err(reason) => scratch.outcome = Judgement::of(reason),
        Ok(Parsed::Other) => {
            let reason = other_ethertype(tables, interface, scratch.room.link);
            scratch.outcome = Judgement::of(reason);
        }
        Ok(Parsed::Ip) => {
            scratch.subject.key.zone = interface.zone();
            Case { generation, interface, bytes: frame.len(), work: scratch }.judge();
        }
    }
    Decision {
        reason: scratch.outcome.reason,
        direction: scratch.port.direction,
        observed: !interface.has(Interface::ENFORCE),
        zone: interface.zone(),
        acl_rule: scratch.outcome.acl_rule,
        group_rule: scratch.outcome.group_rule,
    }
}

/// All that reads the frame: what it is, whether it always passes, which connection it is about. A function of its own
/// in the bytecode, so that its stack is free again when the rules are asked.
#[inline(never)]
fn look<F: Frame>(frame: &F, scratch: &mut Scratch) -> Done {
    scratch.parsed = wire::parse(frame, scratch.link, &mut scratch.room);
    if scratch.parsed == Ok(Parsed::Ip) {
        match exempt::packet(&scratch.room.packet, scratch.port) {
            Some(reason) => scratch.parsed = Err(reason),
            None => scratch.subject.find(frame, &scratch.room.packet, scratch.port.direction),
        }
    }
    scratch.room.packet.end
}

/// What functions return that stay functions in the bytecode, and what their callers put into [`Scratch::done`]: one
/// without a result, or with one that nobody keeps or that is always the same, may leave a stack pointer in its place,
/// which the verifier refuses ("cannot return stack pointer to the caller", Linux 6.18).
pub(crate) type Done = u32;

/// The live generation; past its deadline, unconfirmed, the one before. `None` if nothing is in force.
#[inline(always)]
fn generation_in_force<T: Tables>(tables: &T) -> Option<Generation<'_, T>> {
    let base = tables.live();
    if base == 0 {
        return None;
    }
    let root = RootLine(tables.line(base)?);
    if root.deadline_ns() == 0 || tables.now_ns() < root.deadline_ns() {
        return Some(Generation { tables, base, root });
    }
    let base = root.previous();
    if base == 0 {
        return None;
    }
    Some(Generation { tables, base, root: RootLine(tables.line(base)?) })
}

/// The interface that a device carries in this generation.
#[inline(always)]
fn interface_of<'a, T: Tables>(generation: &Generation<'a, T>, ifindex: u32) -> Option<InterfaceLines<'a>> {
    let bucket = generation.root.devices().wrapping_add(ifindex & generation.root.device_mask());
    let bucket = generation.line(bucket)?;
    let mut number = 0;
    for pair in 0..DEVICES_PER_BUCKET {
        let entry = bucket.long(pair);
        if entry as u32 == ifindex {
            number = (entry >> 32) as u32;
            break;
        }
    }
    if number == 0 {
        return None;
    }
    Some(InterfaceLines { first: generation.line(number)?, second: generation.line(number.wrapping_add(1))? })
}

#[inline(always)]
fn other_ethertype<T: Tables>(tables: &T, interface: InterfaceLines<'_>, link: LinkHeader) -> Reason {
    let ethertype = link.ethertype;
    if let Some(reason) = exempt::frame(ethertype, link.link_local) {
        return reason;
    }
    if interface.has(Interface::PASS_ETHERTYPES) {
        return Reason::OtherEthertype;
    }
    tables.note_ethertype(interface.zone(), ethertype);
    Reason::EthertypeDropped
}

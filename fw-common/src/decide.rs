//! What happens to a packet at a device of this host: the one entry point of the core.
//!
//! Finds the generation in force and the interface, has the frame looked at once, and hands what rules can see to
//! [`crate::layers`].

use crate::classify::Class;
use crate::conntrack::{Connection, State};
use crate::exempt::{self, Port};
use crate::frame::{Frame, Link};
use crate::layers::{Case, Effect, Judgement, Word};
use crate::layout::{DEVICES_PER_BUCKET, Interface, InterfaceLine, PolicyLine, RootLine};
use crate::openings::Openings;
use crate::rehearsed::Rehearsed;
use crate::related::Subject;
use crate::tables::Rehearsal;
use crate::verdict::{Decision, Reason};
use crate::wire::{self, LinkHeader, Parsed};
use crate::{Address, Direction, Tables};

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

/// Room for one packet's judgement, lent by the caller: in BPF a per-CPU map element. Of it only
/// `openings` means something between packets.
///
/// Two reasons to keep intermediate results here and not in variables: 512 bytes of stack hold either them or the
/// work on them; and the verifier forgets a value that goes through map memory, so that the steps behind it are
/// verified once and not once for each value (a million instructions otherwise, Linux 6.18).
#[derive(Debug, Clone, Copy)]
pub struct Scratch {
    pub(crate) link: Link,
    pub(crate) port: Port,
    /// Number of the interface's line.
    pub(crate) interface: u32,
    /// See [`wire::plain`].
    pub(crate) is_plain: bool,
    pub(crate) bytes: u32,
    pub(crate) parsed: Result<Parsed, Reason>,
    pub(crate) room: wire::Room,
    pub(crate) subject: Subject,
    pub(crate) remote: Class,
    pub(crate) local: Address,
    pub(crate) effect: Effect,
    pub(crate) acl: Word,
    pub(crate) group: Word,
    pub(crate) opening: Connection,
    pub(crate) outcome: Judgement,
    pub(crate) openings: Openings,
    /// 1 if the packet's key was looked for and has no entry.
    pub(crate) is_unknown: Done,
    /// 1 if `opening` is to be remembered.
    pub(crate) begins: Done,
    /// In rehearsals: how far the packet's connection is, if it has one.
    pub(crate) state: Option<State>,
    pub(crate) done: Done,
}

impl Scratch {
    /// Unused.
    pub const EMPTY: Self = Self {
        link: Link::Bare,
        interface: 0,
        is_plain: false,
        bytes: 0,
        port: Port { direction: Direction::Ingress, faces_instance: false },
        parsed: Ok(Parsed::Ip),
        room: wire::Room::EMPTY,
        subject: Subject::EMPTY,
        remote: Class(0),
        local: Address { high: 0, low: 0 },
        effect: Effect::Peek,
        acl: Word::of(Reason::NotConfigured),
        group: Word::of(Reason::NotConfigured),
        opening: Connection::EMPTY,
        outcome: Judgement::of(Reason::NotConfigured),
        openings: Openings::FULL,
        is_unknown: 0,
        begins: 0,
        state: None,
        done: 0,
    };

    /// Bytes of the frame that was judged last, from the link-layer header on. Of a frame in several buffers at XDP,
    /// whose packet ends in the first: that one's.
    #[inline(always)]
    pub fn bytes(&self) -> u32 {
        self.bytes
    }
}

/// Judges a frame.
#[inline(always)]
pub fn judge<'a, F: Frame, T: Tables<'a>>(
    frame: &F,
    tables: T,
    seen: Sighting,
    scratch: &mut Scratch,
) -> Decision {
    let direction = if matches!(seen.hook, Hook::Received) { Direction::Ingress } else { Direction::Egress };
    let unknown = Decision {
        reason: Reason::NotConfigured,
        direction,
        observed: false,
        zone: 0,
        acl_rule: 0,
        group_rule: 0,
    };
    let found = generation_in_force(tables).and_then(|root| interface_of(tables, root, seen.ifindex));
    let Some((root, interface, number)) = found else {
        scratch.bytes = frame.len();
        return unknown;
    };
    let faces_instance = interface.has(Interface::FACES_INSTANCE);
    let direction = if faces_instance { direction.reverse() } else { direction };
    scratch.port = Port { direction, faces_instance };
    scratch.interface = number;
    let is_bare = interface.has(Interface::BARE);
    scratch.is_plain = !is_bare && wire::plain(frame, &mut scratch.room.packet);
    tables.reread(scratch);
    if scratch.is_plain {
        scratch.bytes = frame.len_from(scratch.room.packet.end);
        scratch.parsed = match exempt::packet(&scratch.room.packet, scratch.port) {
            Some(reason) => Err(reason),
            None => Ok(Parsed::Ip),
        };
    } else {
        scratch.link = if is_bare { Link::Bare } else { Link::Ethernet { tags: seen.vlan_tags } };
        scratch.done = look(frame, scratch);
    }
    tables.reread(scratch);
    let outcome = match scratch.parsed {
        Err(reason) => Judgement::of(reason),
        Ok(Parsed::Other) => Judgement::of(other_ethertype(tables, interface, scratch.room.link)),
        Ok(Parsed::Ip) => judge_packet(frame, tables, root, interface, scratch),
    };
    Decision {
        reason: outcome.reason,
        direction: scratch.port.direction,
        observed: !interface.has(Interface::ENFORCE),
        zone: interface.zone(),
        acl_rule: outcome.acl_rule,
        group_rule: outcome.group_rule,
    }
}

/// Judges a frame as [`judge`] would, and changes nothing.
#[inline(always)]
pub fn rehearse<'a, F: Frame, T: Tables<'a>>(
    frame: &F,
    tables: T,
    seen: Sighting,
    scratch: &mut Scratch,
) -> Rehearsed {
    (scratch.begins, scratch.state) = (0, None);
    scratch.acl = Word::of(Reason::NotConfigured);
    let decision = judge(frame, Rehearsal(tables), seen, scratch);
    // Inbound the ACL has let on what the groups then refuse; outbound it comes after them.
    let acl_rule = match (decision.acl_rule, decision.direction) {
        (0, Direction::Ingress) => scratch.acl.lets_on(),
        (rule, _) => rule,
    };
    Rehearsed { decision, acl_rule, begins: scratch.begins != 0, state: scratch.state }
}

#[inline(always)]
fn judge_packet<'a, F: Frame, T: Tables<'a>>(
    frame: &F,
    tables: T,
    root: RootLine<'a>,
    interface: InterfaceLine<'a>,
    work: &mut Scratch,
) -> Judgement {
    let number = InterfaceLine::policy(work.interface, work.room.packet.family, work.port.direction);
    let Some(line) = tables.line(number) else { return Judgement::of(Reason::TablesDamaged) };
    Case { tables, root, interface, policy: PolicyLine(line), work }.judge(frame)
}

/// Reads of a SYN that begins a flow what only such a one is asked for. A function of its own: else every frame of a flood
/// of SYNs would be searched for options, also those that are refused.
#[inline(never)]
pub(crate) fn look_at_options<F: Frame>(frame: &F, scratch: &mut Scratch) -> Done {
    wire::read_window_shift(frame, &mut scratch.room.packet);
    u32::from(scratch.room.packet.window_shift)
}

/// All that reads the frame: what it is, whether it always passes, which connection it is about. A function of its own
/// in the bytecode, so that its stack is free again when the rules are asked.
#[inline(never)]
fn look<F: Frame>(frame: &F, scratch: &mut Scratch) -> Done {
    scratch.bytes = frame.len();
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

/// The root of the live generation; past its deadline, unconfirmed, that of the one before. `None` if nothing is in force.
#[inline(always)]
fn generation_in_force<'a, T: Tables<'a>>(tables: T) -> Option<RootLine<'a>> {
    let live = tables.live();
    if live == 0 {
        return None;
    }
    let root = RootLine(tables.line(live)?);
    if root.deadline_ns() == 0 || tables.now_ns() < root.deadline_ns() {
        return Some(root);
    }
    let before = root.previous();
    if before == 0 {
        return None;
    }
    Some(RootLine(tables.line(before)?))
}

/// The number of the line of the interface that a device carries in the generation in force, for whoever wants to know
/// what a decision reads. `None` where it carries none.
pub fn interface_line<'a, T: Tables<'a>>(tables: T, ifindex: u32) -> Option<u32> {
    let root = generation_in_force(tables)?;
    interface_of(tables, root, ifindex).map(|(.., number)| number)
}

/// The interface that a device carries in this generation, and the number of its line.
#[inline(always)]
fn interface_of<'a, T: Tables<'a>>(
    tables: T,
    root: RootLine<'a>,
    ifindex: u32,
) -> Option<(RootLine<'a>, InterfaceLine<'a>, u32)> {
    let bucket = tables.line(root.devices().wrapping_add(ifindex & root.device_mask()))?;
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
    Some((root, InterfaceLine(tables.line(number)?), number))
}

#[inline(always)]
fn other_ethertype<'a, T: Tables<'a>>(tables: T, interface: InterfaceLine<'_>, link: LinkHeader) -> Reason {
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

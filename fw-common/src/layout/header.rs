//! The two headers of a generation: its root, and one per filtered device.

use super::{Line, Link};
use crate::Family;
use crate::flow::Direction;

/// The header of a generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Root {
    /// Counts loads.
    pub generation: u32,
    /// Lines of this generation, the root included.
    pub lines: u32,
    /// When this generation stops being the one in force, `CLOCK_MONOTONIC`; 0 for never.
    pub deadline_ns: u64,
    /// Absolute line of the generation before, to fall back to or roll back to; 0 for none.
    pub previous: u32,
    /// Line of the device table.
    pub devices: u32,
    /// Buckets of the device table, minus one: a power of two minus one.
    pub device_mask: u32,
    /// Mid-stream TCP opens flows that the rules allow.
    pub pickup: bool,
    /// Tree over the last two chunks of an IPv4 address.
    pub ipv4: u32,
    /// Tree over the chunks of an IPv6 address.
    pub ipv6: u32,
}

impl Root {
    /// As the first line of the generation.
    pub fn to_line(self) -> Line {
        let mut line = Line::default();
        line.set_word(0, self.generation);
        line.set_word(1, self.lines);
        line.0[1] = self.deadline_ns;
        line.set_word(4, self.previous);
        line.set_word(5, u32::from(self.pickup));
        line.set_word(6, self.devices);
        line.set_word(7, self.device_mask);
        line.set_word(8, self.ipv4);
        line.set_word(9, self.ipv6);
        line
    }

    /// Reads the first line of a generation.
    pub fn from_line(line: &Line) -> Self {
        let root = RootLine(line);
        Self {
            generation: root.generation(),
            lines: line.word(1),
            deadline_ns: root.deadline_ns(),
            previous: root.previous(),
            pickup: root.pickup(),
            devices: root.devices(),
            device_mask: root.device_mask(),
            ipv4: root.tree(Family::V4).0,
            ipv6: root.tree(Family::V6).0,
        }
    }
}

/// The first line of a generation, read field by field.
#[derive(Clone, Copy)]
pub struct RootLine<'a>(pub &'a Line);

impl RootLine<'_> {
    /// See [`Root::generation`].
    #[inline(always)]
    pub fn generation(&self) -> u32 {
        self.0.word(0)
    }

    /// See [`Root::deadline_ns`].
    #[inline(always)]
    pub fn deadline_ns(&self) -> u64 {
        self.0.long(1)
    }

    /// See [`Root::previous`].
    #[inline(always)]
    pub fn previous(&self) -> u32 {
        self.0.word(4)
    }

    /// See [`Root::pickup`].
    #[inline(always)]
    pub fn pickup(&self) -> bool {
        self.0.word(5) != 0
    }

    /// See [`Root::devices`].
    #[inline(always)]
    pub fn devices(&self) -> u32 {
        self.0.word(6)
    }

    /// See [`Root::device_mask`].
    #[inline(always)]
    pub fn device_mask(&self) -> u32 {
        self.0.word(7)
    }

    /// See [`Root::ipv4`] and [`Root::ipv6`].
    #[inline(always)]
    pub fn tree(&self, family: Family) -> Link {
        Link(self.0.word(by_family(family, 8, 9)))
    }
}

/// Pairs of (interface index, interface line) in one bucket of the device table.
pub const DEVICES_PER_BUCKET: u32 = 8;

/// One filtered device: two lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Interface {
    /// Stable number of the interface (by its name in the rules); part of every connection's key.
    pub zone: u32,
    /// [`Interface`]'s flag bits.
    pub flags: u32,
    /// Until when mid-stream TCP is adopted, `CLOCK_MONOTONIC`.
    pub adopt_until_ns: u64,
    /// Idle seconds.
    pub tcp_established: u32,
    /// Idle seconds.
    pub udp: u32,
    /// Idle seconds.
    pub udp_stream: u32,
    /// Trees that end at 1 for the interface's own addresses: IPv4, IPv6.
    pub own: [u32; 2],
    /// Row tables of the exempt services: IPv4, IPv6; 0 for none.
    pub services: [u32; 2],
    /// Row tables of the network ACL by family and direction; 0 where none applies.
    pub acl: [[u32; 2]; 2],
    /// Row tables of the groups by family and direction; 0 where none applies.
    pub groups: [[u32; 2]; 2],
}

impl Interface {
    /// Drops are enforced; else only counted.
    pub const ENFORCE: u32 = 1;
    /// Packets must be to or from the interface's own addresses.
    pub const SOURCE_DEST_CHECK: u32 = 2;
    /// What the device receives is the instance's outbound traffic.
    pub const FACES_INSTANCE: u32 = 4;
    /// No link-layer header.
    pub const BARE: u32 = 8;
    /// Other ethertypes pass.
    pub const PASS_ETHERTYPES: u32 = 16;

    /// As two lines.
    pub fn to_lines(self) -> [Line; 2] {
        let mut first = Line::default();
        let mut second = Line::default();
        first.set_word(0, self.zone);
        first.set_word(1, self.flags);
        first.0[1] = self.adopt_until_ns;
        first.set_word(4, self.tcp_established);
        first.set_word(5, self.udp);
        first.set_word(6, self.udp_stream);
        first.set_word(8, self.own[0]);
        first.set_word(9, self.own[1]);
        first.set_word(10, self.services[0]);
        first.set_word(11, self.services[1]);
        for (family, word) in [(0usize, 0u32), (1, 4)] {
            let directions = [(0usize, 0u32), (1, 1)];
            for (direction, step) in directions {
                let acl = self.acl.get(family).and_then(|by| by.get(direction));
                let groups = self.groups.get(family).and_then(|by| by.get(direction));
                second.set_word(word | step, acl.copied().unwrap_or(0));
                second.set_word(word | 2 | step, groups.copied().unwrap_or(0));
            }
        }
        [first, second]
    }
}

/// The two lines of an interface, read field by field.
#[derive(Clone, Copy)]
pub struct InterfaceLines<'a> {
    /// Identity, flags, timers, own addresses.
    pub first: &'a Line,
    /// Row tables.
    pub second: &'a Line,
}

impl InterfaceLines<'_> {
    /// See [`Interface::zone`].
    #[inline(always)]
    pub fn zone(&self) -> u32 {
        self.first.word(0)
    }

    /// Whether a flag of [`Interface`] is set.
    #[inline(always)]
    pub fn has(&self, flag: u32) -> bool {
        self.first.word(1) & flag != 0
    }

    /// See [`Interface::adopt_until_ns`].
    #[inline(always)]
    pub fn adopt_until_ns(&self) -> u64 {
        self.first.long(1)
    }

    /// See [`Interface::tcp_established`].
    #[inline(always)]
    pub fn tcp_established(&self) -> u32 {
        self.first.word(4)
    }

    /// See [`Interface::udp`].
    #[inline(always)]
    pub fn udp(&self) -> u32 {
        self.first.word(5)
    }

    /// See [`Interface::udp_stream`].
    #[inline(always)]
    pub fn udp_stream(&self) -> u32 {
        self.first.word(6)
    }

    /// See [`Interface::own`].
    #[inline(always)]
    pub fn own(&self, family: Family) -> Link {
        Link(self.first.word(by_family(family, 8, 9)))
    }

    /// See [`Interface::services`].
    #[inline(always)]
    pub fn services(&self, family: Family) -> u32 {
        self.first.word(by_family(family, 10, 11))
    }

    /// See [`Interface::acl`].
    #[inline(always)]
    pub fn acl(&self, family: Family, direction: Direction) -> u32 {
        self.second.word(by_family(family, 0, 4) | direction.code() as u32)
    }

    /// See [`Interface::groups`].
    #[inline(always)]
    pub fn groups(&self, family: Family, direction: Direction) -> u32 {
        self.second.word(by_family(family, 2, 6) | direction.code() as u32)
    }
}

#[inline(always)]
fn by_family(family: Family, ipv4: u32, ipv6: u32) -> u32 {
    match family {
        Family::V4 => ipv4,
        Family::V6 => ipv6,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_root_survives_the_way_through_its_line() {
        let root = Root {
            generation: 7,
            lines: 100,
            deadline_ns: u64::MAX - 1,
            previous: 12,
            devices: 3,
            device_mask: 1,
            pickup: true,
            ipv4: 5,
            ipv6: 6,
        };
        assert_eq!(Root::from_line(&root.to_line()), root);
    }

    #[test]
    fn an_interface_survives_the_way_through_its_lines() {
        let interface = Interface {
            zone: 9,
            flags: Interface::ENFORCE | Interface::BARE,
            adopt_until_ns: 1 << 40,
            tcp_established: 1,
            udp: 2,
            udp_stream: 3,
            own: [4, 5],
            services: [6, 7],
            acl: [[8, 9], [10, 11]],
            groups: [[12, 13], [14, 15]],
        };
        let [first, second] = interface.to_lines();
        let read = InterfaceLines { first: &first, second: &second };
        assert_eq!(read.zone(), 9);
        assert!(read.has(Interface::BARE) && !read.has(Interface::FACES_INSTANCE));
        assert_eq!(read.adopt_until_ns(), 1 << 40);
        assert_eq!((read.tcp_established(), read.udp(), read.udp_stream()), (1, 2, 3));
        assert_eq!((read.own(Family::V4), read.own(Family::V6)), (Link(4), Link(5)));
        assert_eq!((read.services(Family::V4), read.services(Family::V6)), (6, 7));
        let tables = |family| {
            [Direction::Ingress, Direction::Egress]
                .map(|direction| (read.acl(family, direction), read.groups(family, direction)))
        };
        assert_eq!(tables(Family::V4), [(8, 12), (9, 13)]);
        assert_eq!(tables(Family::V6), [(10, 14), (11, 15)]);
    }
}

//! The headers: line 0 of the array, and the root of a generation.

use super::{Line, Link};
use crate::address::Family;

/// Words of line 0, the only line that is written while hooks read it.
pub mod head {
    /// The root of the generation in force; 0 when there is none. The one word that publishes a rule set.
    pub const LIVE: u32 = 0;
    /// Whether every hook has been seen to leave what was in force before: 0 between a change of [`LIVE`] and that
    /// moment. For the loader.
    pub const SETTLED: u32 = 1;
    /// What somebody wants to hear of packets, 0 for nothing: a number of [`crate::event::Wanted`], and
    /// [`crate::flow_log::RECORDING`].
    pub const EVENTS: u32 = 2;
    /// Until which tick of [`crate::conntrack::tick`].
    pub const EVENTS_UNTIL: u32 = 3;
    /// Until which tick flows are recorded.
    pub const FLOWS_UNTIL: u32 = 4;
}

/// The header of a generation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Root {
    /// Counts loads.
    pub generation: u32,
    /// Lines that it leads to, itself included; some of them may be other generations' as well.
    pub lines: u32,
    /// When this generation stops being the one in force, `CLOCK_MONOTONIC`; 0 for never.
    pub deadline_ns: u64,
    /// Root of the generation before, to fall back to or roll back to; 0 for none.
    pub previous: u32,
    /// Line of the device table.
    pub devices: u32,
    /// Buckets of the device table, minus one: a power of two minus one.
    pub device_mask: u32,
    /// Mid-stream TCP opens flows that the rules allow.
    pub pickup: bool,
    /// Search by IPv4 address, a [`Link`].
    pub ipv4: u32,
    /// Search by IPv6 address, a [`Link`].
    pub ipv6: u32,
}

impl Root {
    /// The u64 of its line that holds the deadline, which `confirm` clears in place.
    pub const DEADLINE: u32 = 1;

    /// As the first line of the generation.
    pub fn to_line(self) -> Line {
        let mut line = Line::default();
        line.set_word(0, self.generation);
        line.set_word(1, self.lines);
        line.set_long(Self::DEADLINE, self.deadline_ns);
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
        self.0.long(Root::DEADLINE)
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

#[inline(always)]
pub(super) fn by_family(family: Family, ipv4: u32, ipv6: u32) -> u32 {
    match family {
        Family::V4 => ipv4,
        Family::V6 => ipv6,
    }
}

/// Pairs of (interface index, interface line) in one bucket of the device table.
pub const DEVICES_PER_BUCKET: u32 = 8;

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
}

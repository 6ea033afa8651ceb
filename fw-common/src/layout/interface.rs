//! The lines of a filtered device.

use super::header::by_family;
use super::{Line, Link};
use crate::address::{Address, Family};
use crate::flow::Direction;

/// Rows of a list, four to a line: the row that most classes have, those of the first [`RowTable::SHARED`] classes, which
/// many lists know, and those of `count` classes from `first` on, which hardly any other list knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RowTable {
    /// Line of the first row; 0 where the list does not apply.
    pub line: u32,
    /// Not one of the shared classes.
    pub first: u32,
    /// How many there are.
    pub count: u32,
}

impl RowTable {
    /// Classes that have a row in every list. With the row of most classes they fill a line.
    pub const SHARED: u32 = 3;
    /// Rows before those of the classes from `first` on.
    pub const FIXED: u32 = Self::SHARED + 1;
}

/// What one device needs to know of one family and direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Policy {
    /// The network ACL.
    pub acl: RowTable,
    /// The groups.
    pub groups: RowTable,
    /// The exempt services.
    pub services: RowTable,
    /// Search that ends at 1 for the interface's own addresses, a [`Link`].
    pub own: u32,
    /// One of the interface's own addresses: the one that nearly every packet has.
    pub address: Address,
    /// See [`Everywhere`].
    pub everywhere: Everywhere,
}

/// An entry of the network ACL that allows everything, with none before it: as in AWS's default ACL. Then nothing has to
/// be searched to know what becomes of packets from outside the subnet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Everywhere {
    /// Counter slot of the entry; 0 if there is none such.
    pub slot: u32,
    /// Bits behind the prefix of the subnet, whose one CIDR of the family holds [`Policy::address`]: of the whole address
    /// of IPv4, of the first half of that of IPv6.
    pub host_bits: u32,
}

impl Policy {
    fn to_line(self) -> Line {
        let mut line = Line::default();
        let tables = [
            (PolicyLine::ACL, self.acl),
            (PolicyLine::GROUPS, self.groups),
            (PolicyLine::SERVICES, self.services),
        ];
        for (word, table) in tables {
            line.set_word(word, table.line);
            line.set_word(word.wrapping_add(1), table.first);
            line.set_word(word.wrapping_add(2), table.count);
        }
        line.set_word(PolicyLine::OWN, self.own);
        line.set_long(PolicyLine::ADDRESS, self.address.high);
        line.set_long(PolicyLine::ADDRESS.wrapping_add(1), self.address.low);
        line.set_word(PolicyLine::EVERYWHERE, self.everywhere.slot);
        line.set_word(PolicyLine::EVERYWHERE.wrapping_add(1), self.everywhere.host_bits);
        line
    }
}

/// One filtered device: a line, and one for each family and direction behind it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Interface {
    /// Stable number of the interface (by its name in the rules); part of every connection's key.
    pub zone: u32,
    /// [`Interface`]'s flag bits.
    pub flags: u32,
    /// Until when mid-stream TCP is adopted, `CLOCK_MONOTONIC`.
    pub adopt_until_ns: u64,
    /// What of it, unless [`Self::ADOPTS_ALL`]: by direction and family, searches over the port of the service, which
    /// allow what had no entry under the rules before.
    pub untracked_before: [[Link; 2]; 2],
    /// Search over ports of the interface's own side, which allows those that somebody listens on.
    pub served: Link,
    /// Idle seconds.
    pub tcp_established: u32,
    /// Idle seconds.
    pub udp: u32,
    /// Idle seconds.
    pub udp_stream: u32,
    /// By family and direction.
    pub policies: [[Policy; 2]; 2],
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
    /// Nothing was filtered here before, so that any connection may be older than its entry.
    pub const ADOPTS_ALL: u32 = 32;

    /// The word of its first line with the flags.
    const FLAGS: u32 = 1;
    /// The u64 of its first line that holds [`Self::adopt_until_ns`].
    const ADOPT_UNTIL: u32 = 1;
    /// The word of its first line where [`Self::untracked_before`] begins.
    const UNTRACKED_BEFORE: u32 = 7;
    /// The word of [`Self::served`].
    const SERVED: u32 = 11;

    /// Makes of its first line that of an interface whose connections are all older, whoever has opened them, for ever.
    pub fn adopt_everything(line: &mut Line) {
        line.set_word(Self::FLAGS, line.word(Self::FLAGS) | Self::ADOPTS_ALL);
        line.set_long(Self::ADOPT_UNTIL, u64::MAX);
        line.set_word(Self::SERVED, 0);
    }

    /// As lines.
    pub fn to_lines(self) -> [Line; 5] {
        let mut first = Line::default();
        first.set_word(0, self.zone);
        first.set_word(Self::FLAGS, self.flags);
        first.set_long(Self::ADOPT_UNTIL, self.adopt_until_ns);
        first.set_word(4, self.tcp_established);
        first.set_word(5, self.udp);
        first.set_word(6, self.udp_stream);
        let [[in4, in6], [out4, out6]] = self.untracked_before;
        let words = (Self::UNTRACKED_BEFORE..).zip([in4, in6, out4, out6, self.served]);
        words.for_each(|(word, link)| first.set_word(word, link.0));
        let [[ipv4_in, ipv4_out], [ipv6_in, ipv6_out]] = self.policies;
        [first, ipv4_in.to_line(), ipv4_out.to_line(), ipv6_in.to_line(), ipv6_out.to_line()]
    }
}

/// The first line of an interface, read field by field.
#[derive(Clone, Copy)]
pub struct InterfaceLine<'a>(pub &'a Line);

impl InterfaceLine<'_> {
    /// See [`Interface::zone`].
    #[inline(always)]
    pub fn zone(&self) -> u32 {
        self.0.word(0)
    }

    /// Whether a flag of [`Interface`] is set.
    #[inline(always)]
    pub fn has(&self, flag: u32) -> bool {
        self.0.word(Interface::FLAGS) & flag != 0
    }

    /// See [`Interface::adopt_until_ns`].
    #[inline(always)]
    pub fn adopt_until_ns(&self) -> u64 {
        self.0.long(Interface::ADOPT_UNTIL)
    }

    /// See [`Interface::ADOPTS_ALL`].
    #[inline(always)]
    pub fn adopts_all(&self) -> bool {
        self.has(Interface::ADOPTS_ALL)
    }

    /// One of [`Interface::untracked_before`], by [`Self::untracked_word`].
    #[inline(always)]
    pub fn untracked_before(&self, word: u32) -> Link {
        Link(self.0.word(word))
    }

    /// Which word it is. To go through [`crate::Tables::opaque`]: of a register whose bits LLVM knows it drops the mask.
    #[inline(always)]
    pub fn untracked_word(family: Family, direction: Direction) -> u32 {
        let place = by_family(family, 0, 1).wrapping_add(u32::from(direction.code()) << 1);
        Interface::UNTRACKED_BEFORE.wrapping_add(place)
    }

    /// See [`Interface::served`].
    #[inline(always)]
    pub fn served(&self) -> Link {
        Link(self.0.word(Interface::SERVED))
    }

    /// See [`Interface::tcp_established`].
    #[inline(always)]
    pub fn tcp_established(&self) -> u32 {
        self.0.word(4)
    }

    /// See [`Interface::udp`].
    #[inline(always)]
    pub fn udp(&self) -> u32 {
        self.0.word(5)
    }

    /// See [`Interface::udp_stream`].
    #[inline(always)]
    pub fn udp_stream(&self) -> u32 {
        self.0.word(6)
    }

    /// The line of a [`Policy`], by the number of the interface's.
    #[inline(always)]
    pub fn policy(number: u32, family: Family, direction: Direction) -> u32 {
        let place = by_family(family, 1, 3).wrapping_add(u32::from(direction.code()));
        number.wrapping_add(place)
    }
}

/// The line of a [`Policy`], read field by field.
#[derive(Clone, Copy)]
pub struct PolicyLine<'a>(pub &'a Line);

impl PolicyLine<'_> {
    const ACL: u32 = 0;
    const GROUPS: u32 = 3;
    const SERVICES: u32 = 6;
    const OWN: u32 = 9;
    const ADDRESS: u32 = 5;
    const EVERYWHERE: u32 = 14;

    /// See [`Policy::acl`].
    #[inline(always)]
    pub fn acl(&self) -> RowTable {
        self.rows(Self::ACL)
    }

    /// See [`Policy::groups`].
    #[inline(always)]
    pub fn groups(&self) -> RowTable {
        self.rows(Self::GROUPS)
    }

    /// See [`Policy::services`].
    #[inline(always)]
    pub fn services(&self) -> RowTable {
        self.rows(Self::SERVICES)
    }

    /// See [`Policy::own`].
    #[inline(always)]
    pub fn own(&self) -> Link {
        Link(self.0.word(Self::OWN))
    }

    /// See [`Policy::address`].
    #[inline(always)]
    pub fn address(&self) -> Address {
        Address { high: self.0.long(Self::ADDRESS), low: self.0.long(Self::ADDRESS.wrapping_add(1)) }
    }

    /// See [`Policy::everywhere`].
    #[inline(always)]
    pub fn everywhere(&self) -> Everywhere {
        let [slot, host_bits] =
            [Self::EVERYWHERE, Self::EVERYWHERE.wrapping_add(1)].map(|word| self.0.word(word));
        Everywhere { slot, host_bits }
    }

    #[inline(always)]
    fn rows(&self, word: u32) -> RowTable {
        RowTable {
            line: self.0.word(word),
            first: self.0.word(word.wrapping_add(1)),
            count: self.0.word(word.wrapping_add(2)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interface_survives_the_way_through_its_lines() {
        let table = |line| RowTable { line, first: line + 1, count: line + 2 };
        let policy = |number| Policy {
            acl: table(number),
            groups: table(number + 10),
            services: table(number + 20),
            own: number + 30,
            address: Address { high: u64::from(number) << 40, low: u64::MAX - u64::from(number) },
            everywhere: Everywhere { slot: number + 40, host_bits: number + 50 },
        };
        let interface = Interface {
            zone: 9,
            flags: Interface::ENFORCE | Interface::BARE,
            adopt_until_ns: 1 << 40,
            untracked_before: [[Link(71), Link(72)], [Link(73), Link(74)]],
            served: Link(75),
            tcp_established: 1,
            udp: 2,
            udp_stream: 3,
            policies: [[policy(100), policy(200)], [policy(300), policy(400)]],
        };
        const EMPTY: Line = Line([0; 16]);
        let lines = interface.to_lines();
        let read = InterfaceLine(&lines[0]);
        assert_eq!(read.zone(), 9);
        assert!(read.has(Interface::BARE) && !read.has(Interface::FACES_INSTANCE));
        assert_eq!(read.adopt_until_ns(), 1 << 40);
        assert_eq!((read.tcp_established(), read.udp(), read.udp_stream()), (1, 2, 3));
        for (by_family, direction) in
            interface.untracked_before.into_iter().zip([Direction::Ingress, Direction::Egress])
        {
            let words =
                [Family::V4, Family::V6].map(|family| InterfaceLine::untracked_word(family, direction));
            let read = words.map(|word| read.untracked_before(word));
            assert_eq!(read, by_family);
        }
        assert_eq!(read.served(), Link(75));
        let families = [Family::V4, Family::V6].into_iter().zip(interface.policies);
        for (family, by_direction) in families {
            for (direction, policy) in [Direction::Ingress, Direction::Egress].into_iter().zip(by_direction) {
                let number = InterfaceLine::policy(0, family, direction) as usize;
                let line = PolicyLine(lines.get(number).unwrap_or(&EMPTY));
                assert_eq!((line.acl(), line.groups()), (policy.acl, policy.groups));
                assert_eq!((line.services(), line.own().0), (policy.services, policy.own));
                assert_eq!((line.address(), line.everywhere()), (policy.address, policy.everywhere));
            }
        }
    }
}

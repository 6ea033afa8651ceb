//! The searches: address → class, class → row, row and service → rule.
//!
//! Every step is one line of 64 bytes, found by the number that the step before ended at. How many there are depends on
//! how far apart the rules tell addresses and ports, hardly on how many rules there are.

use crate::layout::{
    INNER_CHILDREN, Kind, LEAF_INTERVALS, LEAF_LINKS, Line, Link, RootLine, RowTable, Rule, palette, range,
    wide,
};
use crate::limits::{MAX_HALF_STEPS, MAX_INNER_LEVELS};
use crate::packet::{Packet, protocol};
use crate::{Address, Family, Tables};

/// One generation of tables.
#[derive(Clone, Copy)]
pub struct Generation<'a, T> {
    /// Maps and clock.
    pub tables: T,
    /// The root.
    pub root: RootLine<'a>,
}

/// The number that stands for all addresses which no policy tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Class(pub u32);

/// What a search ends at that leaves the array. No class has this number: every other one has its own line.
const DAMAGED: Link = Link::value(Link::MAX_PAYLOAD);

impl Class {
    /// Not asked for yet: no payload has so many bits.
    pub const UNASKED: Self = Self(u32::MAX);

    /// The tables are damaged: the search left the array.
    #[inline(always)]
    pub fn is_damaged(self) -> bool {
        self.0 == DAMAGED.payload()
    }
}

impl<'a, T: Tables<'a>> Generation<'a, T> {
    /// The class of an address. For the one that every packet is asked for; for others there is [`search`].
    #[inline(always)]
    pub fn classify(&self, family: Family, address: &Address) -> Class {
        let link = self.root.tree(family);
        Class(match family {
            Family::V4 => Searches(self.tables).ipv4(link, address.ipv4()).payload(),
            Family::V6 => search_ipv6(self.tables, link, address),
        })
    }

    /// The row of a class: the number of its line and its first word.
    #[inline(always)]
    pub fn row(&self, rows: RowTable, class: Class) -> (u32, u32) {
        let own = class.0.wrapping_sub(rows.first);
        let row = if own < rows.count {
            own.wrapping_add(RowTable::FIXED)
        } else if class.0 < RowTable::SHARED {
            class.0.wrapping_add(1)
        } else {
            0
        };
        (rows.line.wrapping_add(row >> 2), (row & 3) << 2)
    }

    /// The link of a row's column. `None` if the tables are damaged.
    #[inline(always)]
    pub fn column(&self, rows: RowTable, class: Class, column: u32) -> Option<Link> {
        let (line, first) = self.row(rows, class);
        Some(Link(Searches(self.tables).word(self.tables.line(line)?, first | column)))
    }

    /// The first matching rule behind a column. `None` if the tables are damaged.
    #[inline(always)]
    pub fn rule(&self, link: Link, key: u16) -> Option<Rule> {
        let link = match link.kind() {
            Kind::Value => link,
            Kind::Range => return self.in_range(link, key),
            Kind::Tree(levels) => Searches(self.tables).descend(link.payload(), levels, key)?,
            Kind::Table(_) | Kind::Wide => return None,
        };
        Some(Rule(link.payload()))
    }

    #[inline(always)]
    fn in_range(&self, link: Link, key: u16) -> Option<Rule> {
        let line = self.tables.line(link.payload() >> 2)?;
        let first = (link.payload() & 3) << 2;
        let searches = Searches(self.tables);
        let keys = searches.word(line, first | range::KEYS);
        let past = self.tables.opaque(u64::from(key.wrapping_sub(keys as u16)));
        let inside = is_below(past, u64::from(keys >> 16).wrapping_add(1));
        Some(Rule(searches.word(line, first.wrapping_add(range::OUTSIDE).wrapping_add(inside))))
    }
}

/// Follows the searches of an address to their value. A function of its own in the bytecode.
#[inline(never)]
pub fn search<'a, T: Tables<'a>>(tables: T, link: Link, family: Family, address: &Address) -> u32 {
    match family {
        Family::V4 => Searches(tables).ipv4(link, address.ipv4()).payload(),
        Family::V6 => search_ipv6(tables, link, address),
    }
}

/// A function of its own in the bytecode: inlined at each of its callers it would double the program.
#[inline(never)]
fn search_ipv6<'a, T: Tables<'a>>(tables: T, link: Link, address: &Address) -> u32 {
    let searches = Searches(tables);
    let link = searches.half(link, address.high);
    searches.half(link.crossed(), address.low).payload()
}

/// The steps that searches are made of.
#[derive(Clone, Copy)]
struct Searches<T>(T);

impl<'a, T: Tables<'a>> Searches<T> {
    #[inline(always)]
    fn ipv4(self, link: Link, address: u32) -> Link {
        // What is still to be looked at, in the upper 16 bits.
        let (link, left) = match link.kind() {
            Kind::Value | Kind::Range => return link,
            Kind::Wide => return self.wide_ipv4(link, address).unwrap_or(DAMAGED),
            Kind::Table(width) => {
                (self.entry(link, width, u64::from(address) << 32), address.wrapping_shl(width))
            }
            Kind::Tree(levels) => {
                (self.descend(link.payload(), levels, (address >> 16) as u16), address << 16)
            }
        };
        let Some(link) = link else { return DAMAGED };
        let key = (self.0.opaque(u64::from(left)) as u32 >> 16) as u16;
        match link.kind() {
            Kind::Tree(levels) => self.descend_any(link, levels, key).unwrap_or(DAMAGED),
            _ => link,
        }
    }

    /// Follows the searches of one half of an IPv6 address.
    #[inline(always)]
    fn half(self, mut link: Link, half: u64) -> Link {
        // What is still to be looked at, the next bits in front. How much that is the links tell: a count would be known
        // to the verifier, which would follow every number of bits apart from the others.
        let mut left = half;
        for _ in 0..MAX_HALF_STEPS {
            if link.is_value() || link.is_crossing() {
                break;
            }
            let found = match link.kind() {
                Kind::Tree(levels) => self.descend_any(link, levels, (left >> 48) as u16),
                Kind::Table(width) => {
                    let Some(found) = self.entry(link, width, left) else { return DAMAGED };
                    left = left.wrapping_shl(width);
                    link = found;
                    continue;
                }
                Kind::Wide => {
                    let Some((found, done)) = self.wide_ipv6(link, half) else { return DAMAGED };
                    left = half.wrapping_shl(done);
                    link = found;
                    continue;
                }
                Kind::Value | Kind::Range => None,
            };
            let Some(found) = found else { return DAMAGED };
            link = found;
            // Nothing is added; but that the last bits are now 0, the verifier would know.
            left = (left << 16) | (self.0.opaque(left) ^ left);
        }
        link
    }

    /// A word of a line, by a number that is not more than it has.
    #[inline(always)]
    fn word(self, line: &Line, index: u32) -> u32 {
        line.word(self.0.opaque(u64::from(index)) as u32)
    }

    /// A table: the link of the first bits.
    #[inline(always)]
    fn entry(self, link: Link, width: u32, left: u64) -> Option<Link> {
        let key = left.wrapping_shr(64u32.wrapping_sub(width)) as u32;
        let line = self.0.line(link.line().wrapping_add(key >> 4))?;
        Some(Link(line.word(key)))
    }

    /// The link of the interval that holds a whole IPv4 address.
    #[inline(always)]
    fn wide_ipv4(self, link: Link, address: u32) -> Option<Link> {
        let line = self.0.line(link.payload())?;
        let address = self.0.opaque(u64::from(address));
        let mut below = 0u32;
        for index in 0..wide::IPV4_ENDS {
            below = below.wrapping_add(is_below(u64::from(line.word(index)), address));
        }
        Some(Link(self.word(line, below.wrapping_add(wide::IPV4_LINKS))))
    }

    /// The link of the interval that holds half an IPv6 address, and the bits of it that are done with.
    #[inline(always)]
    fn wide_ipv6(self, link: Link, half: u64) -> Option<(Link, u32)> {
        let line = self.0.line(link.payload())?;
        let mut below = 0u32;
        for index in 0..wide::IPV6_ENDS {
            below = below.wrapping_add(is_below_wide(line.long(index), half));
        }
        let link = Link(self.word(line, below.wrapping_add(wide::IPV6_LINKS)));
        Some((link, line.word(wide::IPV6_DONE)))
    }

    /// One tree, one chunk: the link of the interval that holds `key`; `None` if the tables are damaged.
    #[inline(always)]
    fn descend(self, first: u32, levels: u32, key: u16) -> Option<Link> {
        let keys = Keys::new(key);
        let leaf = self.leaf(first, levels, keys)?;
        Some(self.in_leaf(leaf, keys))
    }

    /// The same where the leaves may be palettes.
    #[inline(always)]
    fn descend_any(self, link: Link, levels: u32, key: u16) -> Option<Link> {
        let keys = Keys::new(key);
        let leaf = self.leaf(link.line(), levels, keys)?;
        // One list against another is nearly all palettes, many rules are nearly all none: the CPU guesses right.
        Some(if link.is_above_palettes() { self.in_palette(leaf, keys) } else { self.in_leaf(leaf, keys) })
    }

    #[inline(always)]
    fn in_leaf(self, leaf: &Line, keys: Keys) -> Link {
        let mut below = 0u64;
        for index in 0..(LEAF_INTERVALS / 4) as u32 {
            below = below.wrapping_add(keys.past(leaf.long(index)));
        }
        // The fifth word holds two ends, the sixth is the first link.
        below = below.wrapping_add(keys.past(u64::from(leaf.word(4)) | 0xffff_ffff_0000_0000));
        Link(leaf.word(LEAF_LINKS.wrapping_add(Keys::count(below))))
    }

    #[inline(always)]
    fn in_palette(self, leaf: &Line, keys: Keys) -> Link {
        let selectors = leaf.long(palette::SELECTORS);
        let mut below = keys.past(selectors | 0x0000_ffff_ffff_ffff);
        for index in palette::ENDS..8 {
            below = below.wrapping_add(keys.past(leaf.long(index)));
        }
        let selector = selectors.wrapping_shr(Keys::count(below) << 1) as u32 & (palette::LINKS - 1);
        Link(self.word(leaf, selector))
    }

    /// Goes down the inner lines of a tree.
    #[inline(always)]
    fn leaf(self, first: u32, levels: u32, keys: Keys) -> Option<&'a Line> {
        let mut number = first;
        let mut levels = levels;
        for _ in 0..MAX_INNER_LEVELS {
            if levels == 0 {
                break;
            }
            let inner = self.0.line(number)?;
            let mut below = 0u64;
            for index in 1..=(INNER_CHILDREN / 4) as u32 {
                below = below.wrapping_add(keys.past(inner.long(index)));
            }
            number = inner.word(0).wrapping_add(Keys::count(below));
            levels = levels.wrapping_sub(1);
        }
        self.0.line(number)
    }
}

/// 1 if `low < high`, else 0, for numbers of up to 63 bits, one of them opaque. Without a branch, which the CPU would
/// guess wrong for every other packet; BPF has no instruction for it.
#[inline(always)]
fn is_below(low: u64, high: u64) -> u32 {
    (low.wrapping_sub(high) >> 63) as u32
}

/// The same for 64 bits: the borrow of the subtraction.
#[inline(always)]
fn is_below_wide(low: u64, high: u64) -> u32 {
    let borrow = (!low & high) | ((!low | high) & low.wrapping_sub(high));
    (borrow >> 63) as u32
}

/// A 16-bit key, to be compared with four interval ends at a time: two by two in 32-bit lanes, without a branch. Adding
/// 0xffff - end to the key carries into bit 16 exactly if the key is greater. Unused ends are 0xffff, which no key is
/// greater than.
#[derive(Clone, Copy)]
struct Keys(u64);

impl Keys {
    const LANES: u64 = 0x0000_ffff_0000_ffff;
    const CARRIES: u64 = 0x0001_0000_0001_0000;

    #[inline(always)]
    fn new(key: u16) -> Self {
        let lane = u64::from(key).wrapping_add(0xffff);
        Self(lane | (lane << 32))
    }

    /// Of four ends those that the key is past, as sums to be added up; see [`Self::count`].
    #[inline(always)]
    fn past(self, ends: u64) -> u64 {
        let even = self.0.wrapping_sub(ends & Self::LANES) & Self::CARRIES;
        let odd = self.0.wrapping_sub((ends >> 16) & Self::LANES) & Self::CARRIES;
        even.wrapping_add(odd)
    }

    #[inline(always)]
    fn count(past: u64) -> u32 {
        ((past >> 16) as u32 & 0xffff).wrapping_add((past >> 48) as u32)
    }
}

/// The column and key by which rules see a packet. `reply` asks for the packet that this one would answer: its
/// destination port is this one's source port.
#[inline(always)]
pub fn service(packet: &Packet, reply: bool) -> (u32, u16) {
    use crate::layout::Column;
    let key = if reply { packet.source_port } else { packet.service };
    match packet.protocol {
        protocol::TCP => (Column::Tcp as u32, key),
        protocol::UDP => (Column::Udp as u32, key),
        _ if packet.is_icmp() => (Column::Icmp as u32, packet.service),
        number => (Column::Other as u32, u16::from(number)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ends_are_counted_that_the_key_has_passed() {
        let ends = [10u16, 20, 0xfffe, 0xffff];
        let mut packed = 0u64;
        for (lane, end) in ends.iter().enumerate() {
            packed |= u64::from(*end) << (16 * lane);
        }
        for key in [0u16, 9, 10, 11, 20, 21, 0xfffd, 0xfffe, 0xffff] {
            let expected = ends.iter().filter(|end| **end < key).count() as u32;
            let keys = Keys::new(key);
            let past = (0..7).fold(0u64, |sum, _| sum.wrapping_add(keys.past(packed)));
            assert_eq!(Keys::count(past), expected * 7, "key {key}");
        }
    }

    #[test]
    fn comparisons_without_a_branch_compare() {
        let edges = [
            0u64,
            1,
            2,
            0xffff,
            u64::from(u32::MAX),
            1 << 62,
            (1 << 63) - 1,
            1 << 63,
            u64::MAX - 1,
            u64::MAX,
        ];
        for low in edges {
            for high in edges {
                assert_eq!(is_below_wide(low, high), u32::from(low < high), "{low:#x} < {high:#x}");
                if low >> 63 == 0 && high >> 63 == 0 {
                    assert_eq!(is_below(low, high), u32::from(low < high), "{low:#x} < {high:#x}");
                }
            }
        }
    }
}

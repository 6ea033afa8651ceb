//! The searches: address → class, class → row, row and service → rule.
//!
//! A tree splits one 16-bit chunk of a key into intervals. Everything else is a chain of such trees, so the cost
//! is a handful of dependent 64-byte loads, whatever the number of rules.

use crate::layout::{LEAF_LINKS, Line, Link, RootLine, RowRef, Rule, chunks};
use crate::limits::{ADDRESS_CHUNKS, MAX_INNER_LEVELS};
use crate::packet::{Packet, protocol};
use crate::{Address, Family, Tables};

/// One generation of tables: its root and where it stands.
pub struct Generation<'a, T> {
    /// Maps and clock.
    pub tables: &'a T,
    /// Absolute line of the root.
    pub base: u32,
    /// The root.
    pub root: RootLine<'a>,
}

/// The number that stands for all addresses which no policy tells apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Class(pub u32);

impl<'a, T: Tables> Generation<'a, T> {
    /// A line by its number in the generation.
    #[inline(always)]
    pub fn line(&self, number: u32) -> Option<&'a Line> {
        self.tables.line(self.base.wrapping_add(number))
    }

    /// The class of an address.
    #[inline(always)]
    pub fn classify(&self, family: Family, address: &Address) -> Class {
        Class(self.search(self.root.tree(family), family, address))
    }

    /// Descends the tree of an address to its value. A function of its own in the bytecode: inlined at each of its
    /// callers it would triple the program and spill past the 512 bytes of stack.
    #[inline(never)]
    pub fn search(&self, tree: Link, family: Family, address: &Address) -> u32 {
        let mut link = tree;
        let (first, end) = chunks(family);
        let mut index = first;
        for _ in 0..ADDRESS_CHUNKS {
            if !link.is_tree() || index >= end {
                break;
            }
            link = self.descend(link, address.chunk(index));
            index = index.wrapping_add(1);
        }
        link.payload()
    }

    /// The row of a class in a row table.
    #[inline(always)]
    pub fn row(&self, table: u32, class: Class) -> Option<RowRef> {
        let line = self.line(table.wrapping_add(class.0 >> 4))?;
        Some(RowRef(line.word(class.0 & 15)))
    }

    /// The first matching rule of a row.
    #[inline(always)]
    pub fn rule(&self, row: RowRef, column: u32, key: u16) -> Option<Rule> {
        let word = self.tables.opaque(row.first_word().wrapping_add(column));
        let link = Link(self.line(row.line())?.word(word));
        let link = if link.is_tree() { self.descend(link, key) } else { link };
        Some(Rule(link.payload()))
    }

    /// One tree, one chunk: the link of the interval that holds `key`; 0 if the tables are damaged.
    #[inline(always)]
    fn descend(&self, link: Link, key: u16) -> Link {
        let mut number = link.payload();
        let mut levels = link.inner_levels();
        for _ in 0..MAX_INNER_LEVELS {
            if levels == 0 {
                break;
            }
            let Some(inner) = self.line(number) else { return Link::value(0) };
            let below = ends_below(inner.long(1), key)
                .wrapping_add(ends_below(inner.long(2), key))
                .wrapping_add(ends_below(inner.long(3), key))
                .wrapping_add(ends_below(inner.long(4), key))
                .wrapping_add(ends_below(inner.long(5), key))
                .wrapping_add(ends_below(inner.long(6), key))
                .wrapping_add(ends_below(inner.long(7), key));
            number = inner.word(0).wrapping_add(below);
            levels = levels.wrapping_sub(1);
        }
        let Some(leaf) = self.line(number) else { return Link::value(0) };
        let below = ends_below(leaf.long(0), key)
            .wrapping_add(ends_below(leaf.long(1), key))
            .wrapping_add(ends_below(leaf.long(2) | 0xffff_ffff_0000_0000, key));
        Link(leaf.word(LEAF_LINKS.wrapping_add(below)))
    }
}

/// How many of the four 16-bit interval ends in `ends` are below `key`. Two at a time in 32-bit lanes, without a
/// branch: adding 0xffff - end to the key carries into bit 16 exactly if the key is greater. Unused ends are
/// 0xffff, which no key is greater than.
#[inline(always)]
fn ends_below(ends: u64, key: u16) -> u32 {
    const LANES: u64 = 0x0000_ffff_0000_ffff;
    const ONES: u64 = 0x0000_0001_0000_0001;
    let keys = (key as u64).wrapping_add(0xffff).wrapping_mul(ONES);
    let even = keys.wrapping_sub(ends & LANES) >> 16;
    let odd = keys.wrapping_sub((ends >> 16) & LANES) >> 16;
    let sum = (even & ONES).wrapping_add(odd & ONES);
    (sum as u32).wrapping_add((sum >> 32) as u32)
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
    fn ends_below_counts_ends_that_the_key_has_passed() {
        let ends = [10u16, 20, 0xfffe, 0xffff];
        let mut packed = 0u64;
        for (lane, end) in ends.iter().enumerate() {
            packed |= u64::from(*end) << (16 * lane);
        }
        for key in [0u16, 9, 10, 11, 20, 21, 0xfffd, 0xfffe, 0xffff] {
            let expected = ends.iter().filter(|end| **end < key).count() as u32;
            assert_eq!(ends_below(packed, key), expected, "key {key}");
        }
    }
}

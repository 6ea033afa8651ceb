//! Links: a value, or a search that goes on in other lines.

/// What a search goes through: payload << 4 | flag << 3 | kind. The flag means one thing in rows, another in searches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Link(pub u32);

/// What is at the other end of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Nothing: the payload is the result.
    Value,
    /// A tree over the next 16-bit chunk of the key: inner lines, as many levels of them as told, above leaf lines, or
    /// above [`palette`]s if the link says so.
    Tree(u32),
    /// A link for each value of the next bits, as many as told.
    Table(u32),
    /// One line that compares as much of the key as [`wide`] says.
    Wide,
    /// A quarter of a line: one range of a 16-bit key, see [`range`].
    Range,
}

impl Link {
    /// Largest payload: a value or a line number.
    pub const MAX_PAYLOAD: u32 = (1 << 28) - 1;
    const FLAG: u32 = 8;
    const TABLE: u32 = 5;
    const WIDE: u32 = 6;
    const RANGE: u32 = 7;
    /// Bits that no number of a line has: a tree has there whether its leaves are palettes, a table its width.
    const SPARE: u32 = 0xf000_0000;
    const PALETTE: u32 = 1 << 31;
    /// The narrowest table is one line.
    pub const MIN_WIDTH: u32 = 4;
    /// 2 MiB.
    pub const MAX_WIDTH: u32 = 19;

    /// The end of a search.
    #[inline(always)]
    pub const fn value(value: u32) -> Self {
        Self(value << 4)
    }

    /// A tree whose root line has `inner_levels` levels above its leaves, three at most.
    pub const fn tree(line: u32, inner_levels: u32) -> Self {
        Self((line << 4) | inner_levels.wrapping_add(1))
    }

    /// The same tree above palettes.
    pub const fn above_palettes(self) -> Self {
        Self(self.0 | Self::PALETTE)
    }

    /// The tree's leaves are palettes.
    #[inline(always)]
    pub const fn is_above_palettes(self) -> bool {
        self.0 & Self::PALETTE != 0
    }

    /// A table of 2^`width` links that starts at a line.
    pub const fn table(line: u32, width: u32) -> Self {
        Self((width.wrapping_sub(Self::MIN_WIDTH) << 28) | (line << 4) | Self::TABLE)
    }

    /// A line that compares more than one chunk.
    pub const fn wide(line: u32) -> Self {
        Self((line << 4) | Self::WIDE)
    }

    /// The `quarter`-th range of a line.
    pub const fn range(line: u32, quarter: u32) -> Self {
        Self((line << 6) | (quarter << 4) | Self::RANGE)
    }

    /// The same link in a row of addresses that lie inside the subnet (network ACLs only).
    pub const fn inside(self) -> Self {
        Self(self.0 | Self::FLAG)
    }

    /// The row's addresses lie inside the subnet.
    #[inline(always)]
    pub const fn is_inside(self) -> bool {
        self.0 & Self::FLAG != 0
    }

    /// The same link where the search goes on in the lower half of an IPv6 address.
    pub const fn crossing(self) -> Self {
        Self(self.0 | Self::FLAG)
    }

    /// The search goes on in the lower half of an IPv6 address.
    #[inline(always)]
    pub const fn is_crossing(self) -> bool {
        self.0 & Self::FLAG != 0
    }

    /// The link without its flag.
    #[inline(always)]
    pub const fn crossed(self) -> Self {
        Self(self.0 & !Self::FLAG)
    }

    /// What is at the other end.
    #[inline(always)]
    pub const fn kind(self) -> Kind {
        match self.0 & 7 {
            0 => Kind::Value,
            Self::TABLE => Kind::Table((self.0 >> 28).wrapping_add(Self::MIN_WIDTH)),
            Self::WIDE => Kind::Wide,
            Self::RANGE => Kind::Range,
            levels => Kind::Tree(levels.wrapping_sub(1)),
        }
    }

    /// Whether the search ends here.
    #[inline(always)]
    pub const fn is_value(self) -> bool {
        self.0 & 7 == 0
    }

    /// The value or the line.
    #[inline(always)]
    pub const fn payload(self) -> u32 {
        self.0 >> 4
    }

    /// The first line of a tree or a table.
    #[inline(always)]
    pub const fn line(self) -> u32 {
        (self.0 & !Self::SPARE) >> 4
    }
}

/// Intervals of a leaf line: ten inclusive ends (the last interval ends at 0xffff), eleven links.
pub const LEAF_INTERVALS: usize = 11;
/// Children of an inner line: the number of the first, then twenty-eight inclusive ends.
pub const INNER_CHILDREN: usize = 29;
/// Word of a leaf at which its links start.
pub const LEAF_LINKS: u32 = 5;
/// Intervals of a leaf line whose intervals lead to few places, as with prefix lists, where neighbours belong to one of
/// two lists or to none: links are then not written for each of them.
pub mod palette {
    /// Intervals: twenty-one inclusive ends, twenty-two selectors of two bits.
    pub const INTERVALS: usize = 22;
    /// Links, from the first word on.
    pub const LINKS: u32 = 4;
    /// u64 of the selectors, that of the first interval lowest; the first end is in its last 16 bits.
    pub const SELECTORS: u32 = 2;
    /// u64 with the second to the fifth end.
    pub const ENDS: u32 = 3;
}

/// Lines of a table.
pub const fn table_lines(width: u32) -> u32 {
    1 << width.wrapping_sub(Link::MIN_WIDTH)
}

/// Lines that settle an address, or half of one, at once: small sets, and what long prefixes have in common.
pub mod wide {
    /// Intervals of 32-bit keys: seven inclusive ends, eight links behind them.
    pub const IPV4_INTERVALS: usize = 8;
    /// Their ends.
    pub const IPV4_ENDS: u32 = 7;
    /// Word of the first of their links.
    pub const IPV4_LINKS: u32 = 7;
    /// Intervals of one half of an IPv6 address: four inclusive 64-bit ends, five links behind them.
    pub const IPV6_INTERVALS: usize = 5;
    /// Their ends.
    pub const IPV6_ENDS: u32 = 4;
    /// Word of the first of their links.
    pub const IPV6_LINKS: u32 = 8;
    /// Word that says how many bits of the half the searches behind those links do not look at again.
    pub const IPV6_DONE: u32 = 13;
}

/// Quarters of lines that hold one range of keys, and what is inside and outside of it.
pub mod range {
    /// Word: first key | (last - first) << 16.
    pub const KEYS: u32 = 0;
    /// Word: the value outside; that inside is the next.
    pub const OUTSIDE: u32 = 1;
}

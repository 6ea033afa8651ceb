//! What an entry has earned, which says who may take its place.

/// Which entries may be recycled by which; see [`crate::store`].
///
/// Whatever a stranger can forge stays in a class whose places are few: he may open flows ([`Class::Inbound`]), and have a
/// host answer datagrams with a forged source for as long as he likes ([`Class::Stream`]). He can neither acknowledge the
/// host's sequence numbers nor make it ask him ([`Class::Assured`]).
#[repr(u8)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// Begun by the other side, and nothing proves that it is who it says.
    Inbound = 0,
    /// Begun under a rule with `reserved`, not proven yet.
    Reserved = 1,
    /// Begun by the interface's own side, not proven yet.
    Outbound = 2,
    /// Begun by the other side, and answered again and again.
    Stream = 4,
    /// Proven: never recycled.
    Assured = 6,
}

impl Class {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Inbound, Self::Reserved, Self::Outbound, Self::Stream, Self::Assured];

    /// The bit of those codes whose classes are kept.
    pub const KEPT: u32 = 4;

    /// Whether it counts against the number of connections that there may be.
    #[inline(always)]
    pub const fn is_kept(self) -> bool {
        self.code() & Self::KEPT != 0
    }

    /// As stored.
    #[inline(always)]
    pub const fn code(self) -> u32 {
        self as u32
    }

    /// The reverse; what no class has is the least.
    #[inline(always)]
    pub const fn from_code(code: u32) -> Self {
        match code {
            1 => Self::Reserved,
            2 => Self::Outbound,
            4 => Self::Stream,
            6 => Self::Assured,
            _ => Self::Inbound,
        }
    }
}

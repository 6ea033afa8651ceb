//! Where an entry lies, and what its tag was when it was found: in one word, as functions of the bytecode return it.

/// Bucket << 32 | place << 16 | tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place(u64);

impl Place {
    /// No place.
    pub const NOWHERE: Self = Self(u64::MAX);
    /// No bucket has so many places.
    const RECYCLED: u32 = 0xff;

    #[inline(always)]
    pub(super) const fn new(bucket: u32, number: u32, tag: u64) -> Self {
        Self(((bucket as u64) << 32) | ((number as u64) << 16) | tag)
    }

    /// As one word, for functions of the bytecode.
    #[inline(always)]
    pub const fn to_word(self) -> u64 {
        self.0
    }

    /// The reverse.
    #[inline(always)]
    pub const fn from_word(word: u64) -> Self {
        Self(word)
    }

    /// That of the oldest entry of a class in a bucket, which is to be looked for; before it, where they may be taken,
    /// those of what has expired in either bucket.
    #[inline(always)]
    pub(super) const fn recycled(bucket: u32, class: u32, after_expired: bool) -> Self {
        Self::new(bucket, Self::RECYCLED, class as u64 | (after_expired as u64) << 8)
    }

    /// The class of [`Self::recycled`], and whether what has expired comes first.
    #[inline(always)]
    pub(super) const fn recycled_class(self) -> Option<(u32, bool)> {
        if self.number() == Self::RECYCLED {
            Some((self.tag() as u32 & 7, self.tag() >> 8 != 0))
        } else {
            None
        }
    }

    /// Whether this is none.
    #[inline(always)]
    pub const fn is_nowhere(self) -> bool {
        self.0 == Self::NOWHERE.0
    }

    /// The bucket.
    #[inline(always)]
    pub const fn bucket(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// The place in it.
    #[inline(always)]
    pub const fn number(self) -> u32 {
        (self.0 >> 16) as u32 & 0xffff
    }

    #[inline(always)]
    pub(super) const fn tag(self) -> u64 {
        self.0 & 0xffff
    }
}

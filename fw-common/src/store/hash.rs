//! The hash that chooses a key's buckets and its tag, keyed by random words that no sender knows.
//!
//! `h(x) = f(⌊(c + Σ (aᵢ + xᵢ)(bᵢ + ⌊xᵢ / 2³²⌋)) mod 2⁶⁴ / 2³²⌋)`, over the 64-bit words xᵢ of a key, with random 64-bit words
//! c, aᵢ, bᵢ and a fixed permutation f of the 32-bit numbers. This is the pair-multiply-shift of M. Thorup, "High Speed
//! Hashing for Integers and Strings" (arXiv:1504.06804, section 3, after Dietzfelbinger 1996), over the 32-bit halves of
//! the words, but that a whole word stands where its lower half would do: to split it off is an instruction.
//!
//! **Any two different keys of one family get two hashes that are uniform and independent of each other**, whatever the keys
//! are. Write S(x) for the sum modulo 2⁶⁴. In S(x) − S(y), each aᵢ is multiplied by the difference of the upper halves of
//! xᵢ and yᵢ, each bᵢ by xᵢ − yᵢ, and nothing else in it is random. Let xᵢ and yᵢ differ.
//!
//! - If their lower halves differ, xᵢ − yᵢ is no multiple of 2³². Else their upper halves differ, by less than 2³². So
//!   some random word has a factor that 2ˢ divides and 2ˢ⁺¹ does not, with s < 32.
//! - The product of the two is uniform among the multiples of 2ˢ. With all other random words fixed, so is S(x) − S(y) among
//!   the numbers of one remainder modulo 2ˢ.
//! - c makes S(y) uniform, whatever that difference is. Given S(y), each upper half of S(x) has 2³²⁻ˢ values of that
//!   remainder: all upper halves are equally likely.
//! - A permutation of both leaves this as it is.
//!
//! All that a key gets is a fixed function of its hash. So for a table of n buckets, whichever keys a sender chooses, by XOR or
//! otherwise:
//!
//! - Two of them share their first bucket with probability 1/n + 2⁻³² at most. Of those that do, one in about 2^[`TAG_BITS`]
//!   shares its tag too, and one in n its second bucket (in tables of many millions the rest of the 32 bits says less).
//! - Of m keys a bucket gets m/n on average, with no larger variance: k more than that in one case of k²n/m (Chebyshev).
//! - Two that collide under some random words are any two under others.
//!
//! Nothing in that forbids many keys to crowd under few of the random words, and without f they would: hashes of keys that
//! count upwards, ports or addresses, are multiples of one number. Of 65,536 such keys the fullest of 26,215 buckets got 53 to
//! 130 under one of 1,000 random functions. With f it is 15 to 17, as it is with random numbers (and the tests see to it).

use super::Buckets;
use super::key::KEY_WORDS;

/// Bits of a tag that the hash gives.
pub(super) const TAG_BITS: u32 = 13;
/// Tags that mean something else: [`super::tags::FREE`] and [`super::tags::BUSY`].
const TAKEN_TAGS: u64 = 2;

/// Words of a key of IPv4.
const IPV4_WORDS: usize = 2;

/// Random words that the hash wants: two for each word of a key, and one that is added.
pub const HASH_WORDS: usize = random_words(KEY_WORDS);

const fn random_words(key_words: usize) -> usize {
    key_words.wrapping_mul(2).wrapping_add(1)
}

/// A key's hash.
#[derive(Debug, Clone, Copy)]
pub(super) struct Hash(u32);

impl Hash {
    /// IPv4 has the last of the random words, since its keys meet no others. With the first ones LLVM would make one piece of
    /// code of both families, and ask at each of its steps which it is.
    #[inline(always)]
    pub(super) fn of_ipv4<'a, B: Buckets<'a>>(buckets: B, words: &[u64; IPV4_WORDS]) -> Self {
        const SKIPPED: u32 = HASH_WORDS.wrapping_sub(random_words(IPV4_WORDS)) as u32;
        Self(permute(pairs::<WORD>(words, |index| buckets.hash_word(index.wrapping_add(SKIPPED))) as u32))
    }

    #[inline(always)]
    pub(super) fn of_ipv6<'a, B: Buckets<'a>>(buckets: B, words: &[u64; KEY_WORDS]) -> Self {
        Self(permute(pairs::<WORD>(words, |index| buckets.hash_word(index)) as u32))
    }

    /// One of so many buckets, by the upper bits.
    #[inline(always)]
    pub(super) fn bucket(self, count: u32) -> u32 {
        share(self.0, count)
    }

    /// A tag that means nothing else, by the lower bits.
    #[inline(always)]
    pub(super) fn tag(self) -> u64 {
        let tags = 1u64 << TAG_BITS;
        let lower = u64::from(self.0) & tags.wrapping_sub(1);
        (lower.wrapping_mul(tags.wrapping_sub(TAKEN_TAGS)) >> TAG_BITS).wrapping_add(TAKEN_TAGS)
    }

    /// How far the second bucket is from the first: one of so many numbers. Those of one bucket, which follow each other, are
    /// multiples of the golden ratio apart, and so spread more evenly than random ones.
    #[inline(always)]
    pub(super) fn step(self, count: u32) -> u32 {
        share(self.0.wrapping_mul(0x9e37_79b1), count)
    }
}

/// Bits of the words that are hashed.
const WORD: u32 = u64::BITS;

/// The upper half of the sum, of words of so many bits: the proof holds for any even number, and small ones can be counted.
#[inline(always)]
fn pairs<const BITS: u32>(words: &[u64], random: impl Fn(u32) -> u64) -> u64 {
    let mut sum = random(0);
    let mut next = 1u32;
    for word in words {
        let whole = random(next).wrapping_add(*word);
        let upper = random(next.wrapping_add(1)).wrapping_add(word >> (BITS / 2));
        sum = sum.wrapping_add(whole.wrapping_mul(upper));
        next = next.wrapping_add(2);
    }
    // Modulo 2^BITS, which for a whole register is nothing to do.
    sum << WORD.wrapping_sub(BITS) >> WORD.wrapping_sub(BITS / 2)
}

/// Another number for each: both steps can be undone.
#[inline(always)]
fn permute(hash: u32) -> u32 {
    (hash ^ (hash >> 16)).wrapping_mul(0x7feb_352d)
}

/// The number's share of so many: as a fraction of 2³².
#[inline(always)]
fn share(number: u32, count: u32) -> u32 {
    (u64::from(number).wrapping_mul(u64::from(count)) >> 32) as u32
}

/// Words for where nobody wants to guess them, in tests and in an object that no loader has filled: they look random (the
/// generator is SplitMix64) and are always the same.
pub const fn known_words(seed: u64) -> [u64; HASH_WORDS] {
    let mut words = [0; HASH_WORDS];
    let mut state = seed;
    let mut rest: &mut [u64] = &mut words;
    while let [word, behind @ ..] = rest {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        *word = mixed ^ (mixed >> 31);
        rest = behind;
    }
    words
}

#[cfg(test)]
mod tests;

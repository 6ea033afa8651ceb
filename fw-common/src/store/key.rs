//! Keys as words, and the buckets that they choose.

use crate::address::Address;
use crate::conntrack::Class;
use crate::flow::FlowKey;

use super::Buckets;
use super::hash::Hash;

/// How many buckets there are: those of IPv4 come first.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    /// Buckets of IPv4.
    pub ipv4: u32,
    /// Buckets of IPv6.
    pub ipv6: u32,
    /// Kept connections that are wanted at most.
    pub connections: u32,
}

impl Layout {
    /// Places of a bucket, at most.
    pub const PLACES: u32 = 16;
    /// Those of IPv6: as many as there is memory for.
    pub const IPV6_PLACES: u32 = 10;
    /// Connections of a full table by which there is a bucket. Either family may fill the table alone; with six tenths
    /// of the places taken none of 10 million insertions found both buckets full (simulated).
    const IPV4_SHARE: u32 = 10;
    const IPV6_SHARE: u32 = 6;

    /// For so many connections.
    pub const fn of(connections: u32) -> Self {
        let [ipv4, ipv6] = [connections.div_ceil(Self::IPV4_SHARE), connections.div_ceil(Self::IPV6_SHARE)];
        // Two at least: a key has two different ones.
        Self { ipv4: if ipv4 < 2 { 2 } else { ipv4 }, ipv6: if ipv6 < 2 { 2 } else { ipv6 }, connections }
    }

    /// With buckets for more connections than are wanted, since those are there.
    pub const fn with_room_for(self, connections: u32) -> Self {
        let larger = Self::of(connections);
        if larger.ipv4 > self.ipv4 { Self { connections: self.connections, ..larger } } else { self }
    }

    /// All buckets.
    #[inline(always)]
    pub const fn total(self) -> u32 {
        self.ipv4.wrapping_add(self.ipv6)
    }

    /// Whether a bucket is one of IPv4.
    #[inline(always)]
    pub const fn is_ipv4(self, bucket: u32) -> bool {
        bucket < self.ipv4
    }

    /// Flows of the other side that may be unproven at a time, over all buckets.
    pub const fn unproven(self) -> u32 {
        let [ipv4, ipv6] = [super::share_of(Class::Inbound, true), super::share_of(Class::Inbound, false)];
        self.ipv4.wrapping_mul(ipv4).wrapping_add(self.ipv6.wrapping_mul(ipv6))
    }
}

/// Words of a key, of which IPv4 has two.
pub(super) const KEY_WORDS: usize = 5;

/// Where in its bucket an entry is.
#[derive(Clone, Copy)]
pub(super) struct Entry {
    pub(super) key: u32,
    /// IPv4: behind two words; IPv6: behind six, so that two entries are three lines.
    pub(super) connection: u32,
}

impl Entry {
    #[inline(always)]
    pub(super) const fn of(is_ipv4: bool, place: u32) -> Self {
        let (words, key_words) = if is_ipv4 { (8, 2) } else { (12, 6) };
        let key = place.wrapping_mul(words);
        Self { key, connection: key.wrapping_add(key_words) }
    }
}

/// The two buckets that may hold a key, and its tag.
#[derive(Debug, Clone, Copy)]
pub(super) struct Spot {
    pub(super) first: u32,
    pub(super) tag: u64,
    hash: Hash,
    base: u32,
    count: u32,
}

impl Spot {
    #[inline(always)]
    pub(super) fn of<'a, B: Buckets<'a>>(buckets: B, key: &FlowKey) -> Self {
        Self::of_words(buckets, &words_of_key(key), key.local.is_mapped())
    }

    #[inline(always)]
    pub(super) fn of_words<'a, B: Buckets<'a>>(buckets: B, words: &[u64; KEY_WORDS], is_ipv4: bool) -> Self {
        let (hash, base, count) = if is_ipv4 {
            let [head, addresses, ..] = *words;
            (Hash::of_ipv4(buckets, &[head, addresses]), 0, buckets.layout().ipv4)
        } else {
            let layout = buckets.layout();
            (Hash::of_ipv6(buckets, words), layout.ipv4, layout.ipv6)
        };
        Self { first: base.wrapping_add(hash.bucket(count)), tag: hash.tag(), hash, base, count }
    }

    /// One of the others. Few look-ups get so far.
    #[inline(always)]
    pub(super) fn second(self) -> u32 {
        let step = self.hash.step(self.count.wrapping_sub(1));
        let second = self.first.wrapping_sub(self.base).wrapping_add(step).wrapping_add(1);
        let second = if second >= self.count { second.wrapping_sub(self.count) } else { second };
        self.base.wrapping_add(second)
    }
}

/// IPv4: two words, then zeroes.
#[inline(always)]
pub(super) fn words_of_key(key: &FlowKey) -> [u64; KEY_WORDS] {
    let head = (u64::from(key.zone) << 40)
        | (u64::from(key.protocol) << 32)
        | (u64::from(key.local_port) << 16)
        | u64::from(key.remote_port);
    if key.local.is_mapped() {
        [head, (u64::from(key.local.ipv4()) << 32) | u64::from(key.remote.ipv4()), 0, 0, 0]
    } else {
        [head, key.local.high, key.local.low, key.remote.high, key.remote.low]
    }
}

pub(super) fn key_of_words([head, a, b, c, d]: [u64; KEY_WORDS], is_ipv4: bool) -> FlowKey {
    let address = |ipv4: u64| Address::from_ipv4((ipv4 as u32).to_be_bytes());
    let (local, remote) = if is_ipv4 {
        (address(a >> 32), address(a))
    } else {
        (Address { high: a, low: b }, Address { high: c, low: d })
    };
    FlowKey {
        zone: (head >> 40) as u32,
        protocol: (head >> 32) as u32 & 0xff,
        local,
        remote,
        local_port: (head >> 16) as u16,
        remote_port: head as u16,
        reserved: 0,
    }
}

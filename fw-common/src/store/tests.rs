//! Keys, tags and the choice of buckets.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

extern crate std;

use super::key::{Spot, key_of_words, words_of_key};
use super::tags::{hash_of, lowest, only, usable};
use super::*;
use crate::Address;

/// Buckets without memory: the random words are all that there is.
#[derive(Clone, Copy)]
pub(super) struct Nothing<'a>(pub(super) &'a [u64; HASH_WORDS]);

pub(super) const LAYOUT: Layout = Layout::of(262_144);
const WORDS_OF_HASH: [u64; HASH_WORDS] = known_words(0x5eed);

pub(super) struct Still;

impl Cell for Still {
    fn load(&self) -> u64 {
        0
    }
    fn store(&self, _: u64) {}
    fn replace(&self, _: u64, _: u64) -> bool {
        false
    }
    fn flip(&self, _: u64) {}
    fn add(&self, _: i64) {}
}

impl<'a> Buckets<'a> for Nothing<'a> {
    type Cell = Still;

    fn bucket(self, _: u32) -> Option<Bucket<'a, Still>> {
        None
    }
    fn tags(self, _: u32) -> Option<&'a [Still; TAG_WORDS]> {
        None
    }
    fn words<const OF: usize, const COUNT: usize>(
        self,
        _: &'a [Still; OF],
        _: u32,
    ) -> Option<&'a [Still; COUNT]> {
        None
    }
    fn layout(self) -> Layout {
        LAYOUT
    }
    fn hash_word(self, index: u32) -> u64 {
        self.0.get(index as usize).copied().unwrap_or_default()
    }
    fn counts(self) -> Option<&'a [Still; 2]> {
        None
    }
    fn now_ns(self) -> u64 {
        0
    }
    fn opaque(self, value: u64) -> u64 {
        value
    }
}

fn ipv4(number: u32) -> FlowKey {
    FlowKey {
        zone: 0x00ff_fffe,
        protocol: 0xfd,
        local: Address::from_ipv4([255, 0, 0, 1]),
        remote: Address::from_ipv4(number.to_be_bytes()),
        local_port: 0xfffe,
        remote_port: number as u16,
        reserved: 0,
    }
}

fn ipv6(number: u64) -> FlowKey {
    let local = Address { high: 0x2001_0db8_0000_0001, low: u64::MAX };
    FlowKey { local, remote: Address { high: number, low: !number }, ..ipv4(7) }
}

#[test]
fn keys_are_words_and_back() {
    for key in [ipv4(0), ipv4(u32::MAX), ipv6(0), ipv6(u64::MAX)] {
        assert_eq!(key_of_words(words_of_key(&key), key.local.is_mapped()), key);
    }
}

#[test]
fn a_key_has_two_buckets_of_its_family_and_a_tag_that_means_nothing_else() {
    let layout = LAYOUT;
    for number in 0..100_000 {
        for key in [ipv4(number), ipv6(number.into())] {
            let spot = Spot::of(Nothing(&WORDS_OF_HASH), &key);
            let (Spot { first, tag, .. }, second) = (spot, spot.second());
            assert!(first != second && first < layout.total() && second < layout.total());
            let is_ipv4 = key.local.is_mapped();
            assert_eq!((layout.is_ipv4(first), layout.is_ipv4(second)), (is_ipv4, is_ipv4));
            assert!(tag != FREE && tag != BUSY && tag == hash_of(tag), "{tag:#x}");
        }
    }
}

/// By chance a bucket gets 262,144 / 26,215 = 10 of them, more than 40 never.
#[test]
fn neighbouring_keys_spread_over_the_buckets() {
    let mut counts = std::collections::HashMap::<u32, u32>::new();
    for number in 0..262_144 {
        *counts.entry(Spot::of(Nothing(&WORDS_OF_HASH), &ipv4(number)).first).or_default() += 1;
    }
    assert!(counts.len() > 26_000, "{} buckets are used", counts.len());
    assert!(counts.values().all(|count| *count < 40), "{:?}", counts.values().max());
}

#[test]
fn places_and_bits_are_each_others() {
    for place in 0..Layout::PLACES {
        assert_eq!(lowest(only(place)), place);
        assert_eq!(usable(true) & only(place), only(place));
        assert_eq!(usable(false) & only(place) != 0, place < Layout::IPV6_PLACES, "{place}");
    }
    assert_eq!(lowest(only(3) | only(4) | only(15)), 3);
}

#[test]
fn entries_fill_a_bucket_and_no_more() {
    for (is_ipv4, places) in [(true, Layout::PLACES), (false, Layout::IPV6_PLACES)] {
        let last = Entry::of(is_ipv4, places - 1);
        assert!(last.connection as usize + WORDS <= BUCKET_WORDS);
        assert!(last.connection + WORDS as u32 + 8 > BUCKET_WORDS as u32 || !is_ipv4);
    }
}

//! What the proof says, counted in small; and how keys spread that are alike, with the hash that there was before, which
//! none of these tests lets through.

#![allow(
    clippy::indexing_slicing,
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    reason = "a panic is a test that fails"
)]

extern crate std;

use std::collections::HashMap;
use std::format;
use std::string::String;
use std::vec::Vec;

use super::*;
use crate::Address;
use crate::flow::FlowKey;
use crate::store::key::{Layout, Spot};
use crate::store::tests::{LAYOUT, Nothing};

/// All functions of this many words, of so many bits: how often two keys get each pair of hashes, for the two keys of
/// which the most frequent pair is most frequent, and the least frequent.
fn extremes<const BITS: u32, const WORDS: usize>(hash: impl Fn(&[u64], &[u64]) -> u64) -> (u32, u32) {
    let numbers = |count: u32| {
        let digit = move |number: u64, place: u32| number >> (place * BITS) & ((1 << BITS) - 1);
        (0..1u64 << (count * BITS)).map(move |number| (0..count).map(|place| digit(number, place)).collect())
    };
    let keys: Vec<Vec<u64>> = numbers(WORDS as u32).collect();
    let functions: Vec<Vec<u64>> = numbers(2 * WORDS as u32 + 1).collect();
    let (mut least, mut most) = (u32::MAX, 0);
    for (number, left) in keys.iter().enumerate() {
        for right in &keys[..number] {
            let mut counts = std::vec![0u32; 1 << BITS];
            for function in &functions {
                let pair = (hash(left, function) << (BITS / 2)) | hash(right, function);
                counts[pair as usize] += 1;
            }
            least = least.min(*counts.iter().min().unwrap());
            most = most.max(*counts.iter().max().unwrap());
        }
    }
    (least, most)
}

#[test]
fn all_functions_together_give_two_keys_each_pair_of_hashes_equally_often() {
    let four = |key: &[u64], function: &[u64]| pairs::<4>(key, |index| function[index as usize]);
    assert_eq!(extremes::<4, 1>(four), (1 << 8, 1 << 8));
    let two = |key: &[u64], function: &[u64]| pairs::<2>(key, |index| function[index as usize]);
    assert_eq!(extremes::<2, 2>(two), (1 << 8, 1 << 8));
}

/// What is left out would be noticed: the upper half of the word, and the word that is added.
#[test]
fn less_than_that_is_not_independent() {
    let no_upper = |key: &[u64], function: &[u64]| {
        let multiplied = function[1].wrapping_mul(key[0]).wrapping_add(function[0]);
        (multiplied & 0xf) >> 2
    };
    assert_ne!(extremes::<4, 1>(no_upper), (1 << 8, 1 << 8));
    let not_added = |key: &[u64], function: &[u64]| {
        pairs::<4>(key, |index| if index == 0 { 0 } else { function[index as usize] })
    };
    assert_ne!(extremes::<4, 1>(not_added), (1 << 8, 1 << 8));
}

#[test]
fn the_permutation_can_be_undone() {
    let mut inverse = 1u32;
    for _ in 0..5 {
        inverse = inverse.wrapping_mul(2u32.wrapping_sub(0x7feb_352du32.wrapping_mul(inverse)));
    }
    for number in (0..100_000).chain((0..32).map(|bit| 1 << bit)).chain([u32::MAX]) {
        let halved = permute(number).wrapping_mul(inverse);
        assert_eq!(halved ^ (halved >> 16), number);
    }
}

const SECRETS: u64 = 32;

/// The first bucket of a key, by these random words.
type Chooser = fn(&FlowKey, &Random) -> u32;
type Random = [u64; HASH_WORDS];

fn now(key: &FlowKey, random: &Random) -> u32 {
    Spot::of(Nothing(random), key).first
}

/// Multiplying and folding, as it was until this hash.
fn before(key: &FlowKey, random: &Random) -> u32 {
    let mix = |value: u64| {
        let product = value.wrapping_mul(0xd6e8_feb8_6659_fd93);
        product ^ (product >> 32)
    };
    let words = crate::store::key::words_of_key(key);
    let is_ipv4 = key.local.is_mapped();
    let words = if is_ipv4 { &words[..2] } else { &words[..] };
    let hash = words.iter().fold(random[0], |hash, word| mix(hash ^ word));
    let (base, count) = if is_ipv4 { (0, LAYOUT.ipv4) } else { (LAYOUT.ipv4, LAYOUT.ipv6) };
    base + share(hash as u32, count)
}

/// The sum without the permutation.
fn without_permutation(key: &FlowKey, random: &Random) -> u32 {
    let words = crate::store::key::words_of_key(key);
    share(pairs::<WORD>(&words[..2], |index| random[index as usize]) as u32, LAYOUT.ipv4)
}

fn v4(remote: u32, port: u16) -> FlowKey {
    FlowKey {
        zone: 1,
        protocol: 6,
        local: Address::from_ipv4([10, 0, 0, 1]),
        remote: Address::from_ipv4(remote.to_be_bytes()),
        local_port: 443,
        remote_port: port,
        reserved: 0,
    }
}

fn v6(high: u64, low: u64) -> FlowKey {
    let local = Address { high: 0x2001_0db8_0020_0001, low: 0x10 };
    FlowKey { local, remote: Address { high, low }, ..v4(0, 50_000) }
}

/// Keys that differ in little, 65,536 of each kind.
fn alike() -> [(&'static str, Vec<FlowKey>); 6] {
    let all = || 0..=u16::MAX;
    [
        ("the ports of an address", all().map(|port| v4(0xc633_6407, port)).collect()),
        (
            "a /24, 256 ports each",
            all().map(|it| v4(0xc633_6400 | u32::from(it >> 8), 40_000 + (it & 255))).collect(),
        ),
        ("a /16, one port", all().map(|it| v4(0xc633_0000 | u32::from(it), 50_000)).collect()),
        ("every 65,536th address", all().map(|it| v4(u32::from(it) << 16, 50_000)).collect()),
        (
            "IPv6 addresses that follow each other",
            all().map(|it| v6(0x2001_0db8_ffff_0000, it.into())).collect(),
        ),
        (
            "IPv6 networks that follow each other",
            all().map(|it| v6(0x2001_0db8_0000_0000 | u64::from(it) << 16, 7)).collect(),
        ),
    ]
}

/// Whether keys spread over the buckets like random numbers, under each of the secrets: χ² is near its mean (for loads
/// that are twice as uneven it is twice that), and the fullest bucket has no more than chance gives one table of a billion.
fn spread(hash: Chooser) -> Result<(), String> {
    for (what, keys) in alike() {
        let is_ipv4 = keys[0].local.is_mapped();
        let buckets = f64::from(if is_ipv4 { LAYOUT.ipv4 } else { LAYOUT.ipv6 });
        let average = keys.len() as f64 / buckets;
        let most = fullest(average, buckets * 1e9);
        for seed in 0..SECRETS {
            let random = known_words(seed);
            let mut loads = std::vec![0u32; LAYOUT.total() as usize];
            for key in &keys {
                loads[hash(key, &random) as usize] += 1;
            }
            let (ipv4, ipv6) = loads.split_at(LAYOUT.ipv4 as usize);
            let loads = if is_ipv4 { ipv4 } else { ipv6 };
            let squares: f64 = loads.iter().map(|load| (f64::from(*load) - average).powi(2)).sum();
            let ratio = squares / average / buckets;
            let full = *loads.iter().max().unwrap();
            if !(0.9..2.0).contains(&ratio) || f64::from(full) > most {
                return Err(format!(
                    "{what}, secret {seed}: χ² {ratio:.2} of its mean, {full} in one bucket"
                ));
            }
        }
    }
    Ok(())
}

/// The load that of so many buckets less than one has by chance (Poisson).
fn fullest(average: f64, buckets: f64) -> f64 {
    let (mut load, mut chance) = (0.0, (-average).exp());
    while load < average || chance * buckets > 1.0 {
        load += 1.0;
        chance *= average / load;
    }
    load
}

#[test]
fn keys_that_are_alike_spread_like_random_numbers() {
    spread(now).unwrap();
    spread(without_permutation).unwrap_err();
}

/// Pairs of keys that one XOR apart collide under the hash before in a quarter of all cases, whatever its secret.
fn collisions_of_an_xor(hash: Chooser) -> u32 {
    let mut collisions = 0;
    for seed in 0..SECRETS {
        let random = known_words(seed);
        for number in 0..1024u64 {
            let (high, low) =
                (0x2001_0db8_0000_0000 | number << 16, number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            let other = v6(high ^ 1 << 60, low ^ 0xd000_0000_d000_0000);
            collisions += u32::from(hash(&v6(high, low), &random) == hash(&other, &random));
        }
    }
    collisions
}

/// By chance one of 32,768 pairs collides in 43,691 buckets.
#[test]
fn no_xor_makes_keys_collide() {
    let most = fullest(32_768.0 / f64::from(LAYOUT.ipv6), 1e9);
    assert!(f64::from(collisions_of_an_xor(now)) < most);
    assert!(collisions_of_an_xor(before) > 5_000);
}

/// Of the pairs of these keys that collide under a secret, how many there are and how many collide under another one.
fn persisting(keys: &[FlowKey], hash: Chooser) -> (u32, u32) {
    let (one, another) = (known_words(1), known_words(2));
    let mut buckets = HashMap::<u32, Vec<&FlowKey>>::new();
    for key in keys {
        buckets.entry(hash(key, &one)).or_default().push(key);
    }
    let (mut all, mut again) = (0, 0);
    for bucket in buckets.values() {
        for (number, left) in bucket.iter().enumerate() {
            for right in &bucket[..number] {
                all += 1;
                again += u32::from(hash(left, &another) == hash(right, &another));
            }
        }
    }
    (all, again)
}

#[test]
fn what_collides_under_one_secret_does_not_under_another() {
    for (what, keys) in alike() {
        let buckets = f64::from(if keys[0].local.is_mapped() { LAYOUT.ipv4 } else { LAYOUT.ipv6 });
        let (all, again) = persisting(&keys, now);
        assert!(all > 30_000, "{what}: {all}");
        assert!(f64::from(again) < fullest(f64::from(all) / buckets, 1e9), "{what}: {again} of {all}");
    }
    // A sender who has found out one such pair has many.
    let related: Vec<FlowKey> = (0..1024u64)
        .map(|it| (0x2001_0db8_0000_0000 | it << 16, it.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
        .flat_map(|(high, low)| [v6(high, low), v6(high ^ 1 << 60, low ^ 0xd000_0000_d000_0000)])
        .collect();
    assert!(persisting(&related, now).1 < 8);
    assert!(persisting(&related, before).1 > 40);
}

/// Of keys in one first bucket no more than by chance have the same tag, and the same second bucket.
#[test]
fn keys_of_one_bucket_differ_in_tag_and_second_bucket() {
    let (mut same_tag, mut same_second, mut alike_in_first) = (0u32, 0u32, 0u32);
    for seed in 0..8 {
        let words = known_words(seed);
        let mut buckets = HashMap::<u32, Vec<(u64, u32)>>::new();
        for port in 0..=u16::MAX {
            let key = v4(0xc633_6407, port);
            let spot = Spot::of(Nothing(&words), &key);
            buckets.entry(spot.first).or_default().push((spot.tag, spot.second()));
        }
        for bucket in buckets.values() {
            for (number, left) in bucket.iter().enumerate() {
                for right in &bucket[..number] {
                    alike_in_first += 1;
                    same_tag += u32::from(left.0 == right.0);
                    same_second += u32::from(left.1 == right.1);
                }
            }
        }
    }
    let pairs = f64::from(alike_in_first);
    let same_hash = pairs * f64::from(LAYOUT.ipv4) / 4_294_967_296.0;
    let [tags, seconds] =
        [f64::from(1u32 << TAG_BITS), f64::from(LAYOUT.ipv4)].map(|of| fullest(pairs / of + same_hash, 1e9));
    assert!(f64::from(same_tag) < tags, "{same_tag} of {alike_in_first}");
    assert!(f64::from(same_second) < seconds, "{same_second} of {alike_in_first}");
    assert!(same_tag > 0 && same_second > 0);
}

#[test]
fn the_known_words_differ() {
    let mut words: Vec<u64> = (0..SECRETS).flat_map(known_words).collect();
    words.sort_unstable();
    words.dedup();
    assert_eq!(words.len(), SECRETS as usize * HASH_WORDS);
    assert_eq!(Layout::of(262_144), LAYOUT);
}

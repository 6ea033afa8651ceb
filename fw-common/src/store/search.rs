//! Finding: a key's place, a place for a new one, what may be removed.

use crate::conntrack::Class;
use crate::flow::FlowKey;

use super::key::{Entry, KEY_WORDS, Layout, Spot, words_of_key};
use super::place::Place;
use super::tags::{FREE, Tags, hash_of, lowest, only, usable};
use super::{BUCKET_WORDS, Buckets, Cell, Store, share};

/// Places of a bucket with the same tag that are looked at; a fourth would not be found. Of 16 tags of 13 bits four are
/// alike in one of 2²⁸ buckets.
const ALIKE: u32 = 3;

/// Buckets of either family that an insertion at the limit searches for what has expired, besides its own two.
const SWEPT: u32 = 2;
/// How many expired entries of a bucket an insertion removes at a time: more than are inserted.
const REMOVED: u32 = 4;

const INBOUND: u32 = Class::Inbound.code();

/// Where a key is.
#[inline(always)]
pub fn find<'a, B: Buckets<'a>>(buckets: B, key: &FlowKey) -> Place {
    let sought = Sought::of(key);
    // A piece of code for either family: one for both would ask at each step which it is.
    if sought.is_ipv4 {
        find_sought(buckets, &Sought { is_ipv4: true, ..sought })
    } else {
        find_sought(buckets, &Sought { is_ipv4: false, ..sought })
    }
}

#[inline(always)]
fn find_sought<'a, B: Buckets<'a>>(buckets: B, sought: &Sought) -> Place {
    let spot = sought.spot(buckets);
    let found = find_in(buckets, spot.first, spot.tag, sought, u64::MAX);
    if !found.is_nowhere() {
        return found;
    }
    find_in(buckets, spot.second(), spot.tag, sought, u64::MAX)
}

/// Where else a key is, of which both CPUs that inserted it remove the same: that in the second bucket, or the higher
/// place of one.
#[inline(always)]
pub(super) fn twin<'a, B: Buckets<'a>>(buckets: B, key: &FlowKey, own: Place) -> Place {
    let sought = Sought::of(key);
    let spot = sought.spot(buckets);
    let not_own = |bucket| if bucket == own.bucket() { !only(own.number()) } else { u64::MAX };
    let first = find_in(buckets, spot.first, spot.tag, &sought, not_own(spot.first));
    if !first.is_nowhere() {
        let own_is_first = own.bucket() == spot.first && own.number() < first.number();
        return if own_is_first { first } else { still(buckets, own, spot.tag) };
    }
    let second = spot.second();
    let second = find_in(buckets, second, spot.tag, &sought, not_own(second));
    if second.is_nowhere() || own.bucket() == spot.first || own.number() < second.number() {
        return second;
    }
    still(buckets, own, spot.tag)
}

/// A place, if it still has this tag.
#[inline(always)]
fn still<'a, B: Buckets<'a>>(buckets: B, place: Place, tag: u64) -> Place {
    let Some(tags) = Tags::of(buckets, place.bucket()) else { return Place::NOWHERE };
    let found = tags.tag(place.number());
    if hash_of(found) == tag { Place::new(place.bucket(), place.number(), found) } else { Place::NOWHERE }
}

#[inline(always)]
fn find_in<'a, B: Buckets<'a>>(buckets: B, bucket: u32, tag: u64, sought: &Sought, among: u64) -> Place {
    let Some(tags) = Tags::of(buckets, bucket) else { return Place::NOWHERE };
    let mut alike = tags.with(tag) & among;
    for _ in 0..ALIKE {
        if alike == 0 {
            break;
        }
        let number = lowest(alike);
        let found = tags.tag(number);
        // Recycled meanwhile, perhaps: then this is not its tag any more.
        if hash_of(found) == tag && sought.is_at(buckets, bucket, number) {
            return Place::new(bucket, number, found);
        }
        alike &= alike.wrapping_sub(1);
    }
    Place::NOWHERE
}

/// A key that is looked for, as words: they choose its buckets and are compared.
struct Sought {
    words: [u64; KEY_WORDS],
    is_ipv4: bool,
}

impl Sought {
    #[inline(always)]
    fn of(key: &FlowKey) -> Self {
        Self { words: words_of_key(key), is_ipv4: key.local.is_mapped() }
    }

    #[inline(always)]
    fn spot<'a, B: Buckets<'a>>(&self, buckets: B) -> Spot {
        Spot::of_words(buckets, &self.words, self.is_ipv4)
    }

    #[inline(always)]
    fn is_at<'a, B: Buckets<'a>>(&self, buckets: B, bucket: u32, number: u32) -> bool {
        let Some(bucket) = buckets.bucket(bucket) else { return false };
        let entry = Entry::of(self.is_ipv4, number);
        let mut differing = 0;
        if self.is_ipv4 {
            let Some(cells) = buckets.words::<BUCKET_WORDS, 2>(bucket, entry.key) else { return false };
            for (cell, word) in cells.iter().zip(self.words) {
                differing |= cell.load() ^ word;
            }
        } else {
            let Some(cells) = buckets.words::<BUCKET_WORDS, KEY_WORDS>(bucket, entry.key) else {
                return false;
            };
            for (cell, word) in cells.iter().zip(self.words) {
                differing |= cell.load() ^ word;
            }
        }
        differing == 0
    }
}

/// A place for a new flow, with the tag that it has now: a free one, else one of something expired, else that of the
/// oldest flow that nothing has proven and the other side has begun, else that of the oldest of its own class; which alone
/// may be recycled by a class that has its share of both buckets. What is recycled is for the caller to look
/// for ([`Place::recycled`]): from here it would be one function too deep for the bytecode's stack.
#[inline(always)]
pub fn choose<'a, B: Buckets<'a>>(buckets: B, first: u32, second: u32, class: u32) -> Place {
    let is_ipv4 = buckets.layout().is_ipv4(first);
    let usable = usable(is_ipv4);
    let (Some(tags), Some(other)) = (Tags::of(buckets, first), Tags::of(buckets, second)) else {
        return Place::NOWHERE;
    };
    let share = share(class, is_ipv4);
    let [free, other_free] = [tags.free() & usable, other.free() & usable];
    let [is_full, is_other_full] = [tags, other].map(|tags| tags.of_class(class).count_ones() >= share);
    // The first one while it is not half full: it is the one that is looked into first.
    let is_emptier = free.count_ones() >= other_free.count_ones().min(usable.count_ones() >> 1);
    let is_first = if is_full == is_other_full { is_emptier } else { is_other_full };
    let (bucket, tags, free) = if is_first { (first, tags, free) } else { (second, other, other_free) };
    let mut recycled = class;
    if !(is_full && is_other_full) {
        if free != 0 {
            return Place::new(bucket, lowest(free), FREE);
        }
        if tags.of_class(INBOUND) != 0 {
            recycled = INBOUND;
        }
    }
    Place::recycled(bucket, recycled, !(is_full && is_other_full))
}

/// The oldest entry of a class in a bucket.
#[inline(always)]
pub fn oldest<'a, B: Buckets<'a>>(buckets: B, bucket: u32, class: u32) -> Place {
    let Some(tags) = Tags::of(buckets, bucket) else { return Place::NOWHERE };
    match tags.oldest(class, buckets.now_ns()) {
        0 => Place::NOWHERE,
        found => {
            let number = found.wrapping_sub(1);
            Place::new(bucket, number, tags.tag(number))
        }
    }
}

/// Something in two buckets that has expired.
#[inline(never)]
pub(super) fn expired<'a, B: Buckets<'a>>(buckets: B, first: u32, second: u32) -> Place {
    let is_ipv4 = buckets.layout().is_ipv4(first);
    let now_ns = buckets.now_ns();
    for bucket in [first, second] {
        let Some(tags) = Tags::of(buckets, bucket) else { break };
        let expired = tags.expired(bucket, is_ipv4, now_ns);
        if expired != 0 {
            let number = lowest(expired);
            return Place::new(bucket, number, tags.tag(number));
        }
    }
    Place::NOWHERE
}

/// How many connections are kept after a search for expired ones: in a key's own buckets, and in the next ones
/// of all, so that every bucket has its turn.
#[inline(always)]
pub fn reclaim<'a, B: Buckets<'a>>(buckets: B, key: &FlowKey) -> u64 {
    let Some([_, cursor]) = buckets.counts() else { return u64::MAX };
    let start = cursor.load();
    cursor.store(start.wrapping_add(u64::from(SWEPT)));
    let spot = Spot::of(buckets, key);
    sweep::<_, REMOVED>(buckets, spot.first);
    sweep::<_, REMOVED>(buckets, spot.second());
    let Layout { ipv4, ipv6, .. } = buckets.layout();
    for step in 0..SWEPT {
        let next = (start as u32).wrapping_add(step);
        sweep::<_, REMOVED>(buckets, next.checked_rem(ipv4).unwrap_or(0));
        sweep::<_, REMOVED>(buckets, ipv4.wrapping_add(next.checked_rem(ipv6).unwrap_or(0)));
    }
    Store(buckets).counted()
}

/// Removes all that has expired from a bucket; how many that were. An empty one costs a look at its tags.
#[inline(always)]
pub fn clear_expired<'a, B: Buckets<'a>>(buckets: B, bucket: u32) -> u32 {
    match Tags::of(buckets, bucket) {
        Some(tags) if tags.taken() != 0 => sweep::<_, { Layout::PLACES }>(buckets, bucket),
        _ => 0,
    }
}

/// Removes what has expired from a bucket, so many at most; how many that were.
#[inline(never)]
fn sweep<'a, B: Buckets<'a>, const MOST: u32>(buckets: B, bucket: u32) -> u32 {
    let Some(tags) = Tags::of(buckets, bucket) else { return 0 };
    let mut expired = tags.expired(bucket, buckets.layout().is_ipv4(bucket), buckets.now_ns());
    let mut removed = 0u32;
    for _ in 0..MOST {
        if expired == 0 {
            break;
        }
        let number = lowest(expired);
        let gone = Store(buckets).expire(Place::new(bucket, number, tags.tag(number)));
        removed = removed.wrapping_add(u32::from(gone));
        expired &= expired.wrapping_sub(1);
    }
    removed
}

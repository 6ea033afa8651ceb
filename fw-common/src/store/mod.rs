//! The store of connections: a set-associative table in buckets of one size.
//!
//! A connection lies in one of two buckets, which its key and random words choose (`hash`).
//!
//! Each bucket has a line of tags, one for each of its places; nearly every look-up reads that line and the entry that it
//! leads to, and one for nothing reads two such lines. A tag says what its place holds: nothing, something that is being
//! written, or an entry of some [`Class`]. All that CPUs may dispute about are tags, and tags change by compare-and-swap
//! only:
//!
//! - a place is claimed, written, and only then given its tag; so nobody finds a key that is half written;
//! - an entry gets another class by some bits of its tag, where it lies: a full bucket is no hindrance;
//! - two CPUs that insert the same flow at once both look for the other's entry afterwards, and one of the two stays.
//!
//! # Room
//!
//! Each class has a share of every bucket ([`share_of`]). A newcomer takes a free place, else one of something expired, else
//! that of the oldest [`Class::Inbound`] entry, else that of the oldest of its own class; with its share used up only the
//! last. So a flood of flows that the other side begins recycles nothing but its like: neither a handshake that this side or
//! a `reserved` rule began, nor anything that has been answered for long. [`Class::Stream`] entries recycle each other.
//! **An assured connection is never recycled**; only what has expired makes room.
//!
//! What an entry says besides (times, marks, counters) is written without a lock: see [`crate::Tables::connection`].
//! `tests/tests/store.rs` goes through the interleavings of two CPUs.

#[cfg(feature = "std")]
mod atomic;
mod hash;
mod key;
mod place;
mod search;
mod tags;
pub mod upkeep;

use crate::conntrack::{Class, Connection, WORDS};
use crate::flow::FlowKey;
use crate::limits::reserved_connections;
use crate::tables::TableFull;

pub use hash::{HASH_WORDS, known_words};
pub use key::Layout;
use key::{Entry, KEY_WORDS, Spot, key_of_words, words_of_key};
pub use place::Place;
pub use search::{choose, clear_expired, find, oldest, reclaim};
use tags::{BUSY, FREE, KEPT, Tags, class_bits, class_of, hash_of};

/// A word that CPUs share.
pub trait Cell {
    /// Its value now.
    fn load(&self) -> u64;
    /// Gives it a value.
    fn store(&self, value: u64);
    /// Gives it the value `new` if it has the value `old`. A full barrier.
    fn replace(&self, old: u64, new: u64) -> bool;
    /// Flips bits. A full barrier.
    fn flip(&self, bits: u64);
    /// Adds.
    fn add(&self, change: i64);
}

/// Places of a bucket that entries of a class may take. The flows of a `reserved` rule have fewer than the others: who forges
/// its senders must not crowd out everybody else.
pub const fn share_of(class: Class, is_ipv4: bool) -> u32 {
    match (class, is_ipv4) {
        (Class::Inbound | Class::Outbound, true) => 6,
        (Class::Inbound | Class::Outbound, false) => 4,
        (Class::Reserved, true) => 4,
        (Class::Stream, true) => 5,
        (Class::Reserved | Class::Stream, false) => 3,
        (Class::Assured, _) => Layout::PLACES.wrapping_add(1),
    }
}

/// [`share_of`] by [`Class::code`]: a byte for each. Classes are numbers inside the store, since a verifier takes each branch
/// of a `match` for a path of its own.
const SHARES: [u64; 2] = [shares(false), shares(true)];

const fn shares(is_ipv4: bool) -> u64 {
    byte(Class::Inbound, is_ipv4)
        | byte(Class::Reserved, is_ipv4)
        | byte(Class::Outbound, is_ipv4)
        | byte(Class::Stream, is_ipv4)
        | byte(Class::Assured, is_ipv4)
}

const fn byte(class: Class, is_ipv4: bool) -> u64 {
    (share_of(class, is_ipv4) as u64).wrapping_shl(class.code().wrapping_mul(8))
}

#[inline(always)]
const fn share(class: u32, is_ipv4: bool) -> u32 {
    let [ipv6, ipv4] = SHARES;
    let shares = if is_ipv4 { ipv4 } else { ipv6 };
    shares.wrapping_shr(class.wrapping_mul(8)) as u32 & 0xff
}

/// Whether a class counts against the limit: [`Class::is_kept`].
#[inline(always)]
const fn is_kept(class: u32) -> bool {
    class & Class::KEPT != 0
}

/// Words of a bucket's line of tags.
pub const TAG_WORDS: usize = 8;
/// Words of a bucket's entries: sixteen of IPv4 or ten of IPv6.
pub const BUCKET_WORDS: usize = 128;

/// A bucket's entries.
pub type Bucket<'a, C> = &'a [C; BUCKET_WORDS];
/// A connection in place.
pub type Live<'a, C> = Connection<&'a [C; WORDS]>;

/// Where the buckets and what is counted beside them are: a handle to be copied about.
pub trait Buckets<'a>: Copy {
    /// A shared word.
    type Cell: Cell + 'a;

    /// The tags of a bucket; `None` where there is none. Those of all buckets lie side by side, so that looking for what
    /// is not there reads no more memory than it must.
    fn tags(self, bucket: u32) -> Option<&'a [Self::Cell; TAG_WORDS]>;
    /// The entries of a bucket.
    fn bucket(self, number: u32) -> Option<Bucket<'a, Self::Cell>>;
    /// So many words of either.
    fn words<const OF: usize, const COUNT: usize>(
        self,
        all: &'a [Self::Cell; OF],
        offset: u32,
    ) -> Option<&'a [Self::Cell; COUNT]>;
    /// [`find`], perhaps as a function of its own. So the next four.
    #[inline(always)]
    fn find(self, key: &FlowKey) -> Place {
        find(self, key)
    }
    /// [`choose`].
    #[inline(always)]
    fn choose(self, first: u32, second: u32, class: u32) -> Place {
        choose(self, first, second, class)
    }
    /// [`oldest`].
    #[inline(always)]
    fn oldest(self, bucket: u32, class: u32) -> Place {
        oldest(self, bucket, class)
    }
    /// [`reclaim`].
    #[inline(always)]
    fn reclaim(self, key: &FlowKey) -> u64 {
        reclaim(self, key)
    }
    /// [`clear_expired`].
    #[inline(always)]
    fn clear_expired(self, bucket: u32) -> u32 {
        clear_expired(self, bucket)
    }
    /// How many there are.
    fn layout(self) -> Layout;
    /// One of the [`HASH_WORDS`] random words that no sender knows.
    fn hash_word(self, index: u32) -> u64;
    /// Two words: how many connections are kept, expired ones included, and where the next search for
    /// expired ones begins.
    fn counts(self) -> Option<&'a [Self::Cell; 2]>;
    /// `CLOCK_MONOTONIC`, nanoseconds.
    fn now_ns(self) -> u64;
    /// See [`crate::Tables::opaque`].
    fn opaque(self, value: u64) -> u64;
}

/// How often a tag is tried again that another CPU has just changed.
const ATTEMPTS: u32 = 4;
/// How many places an insertion tries that another CPU has just taken: each of them is verified again.
const PLACES_TRIED: u32 = 2;

/// The store.
#[derive(Clone, Copy)]
pub struct Store<B>(pub B);

impl<'a, B: Buckets<'a>> Store<B> {
    /// The entry of a key, in place.
    #[inline(always)]
    pub fn entry(self, key: &FlowKey) -> Option<Live<'a, B::Cell>> {
        self.at(self.0.find(key)).map(Connection)
    }

    /// Remembers a flow in place of what its key may stand for already.
    pub fn insert(self, key: &FlowKey, connection: &Connection, class: Class) -> Result<(), TableFull> {
        self.remove(key);
        self.place(key, connection, class.code(), true).map(|place| self.settle(key, place))
    }

    /// Takes over a connection from another store, whatever the limit, unless it is known here and as well.
    pub fn move_in(self, key: &FlowKey, connection: &Connection, class: Class) -> Result<(), TableFull> {
        if self.knows(key, connection) {
            return Ok(());
        }
        self.remove(key);
        self.place(key, connection, class.code(), false).map(|place| self.settle(key, place))
    }

    /// Whether it knows as much of a connection.
    #[inline(always)]
    pub fn knows(self, key: &FlowKey, connection: &Connection) -> bool {
        self.entry(key).is_some_and(|known| known.packets() >= connection.packets())
    }

    /// The second half of [`Self::insert`]: removes the other entry of this key, if another CPU has made one meanwhile.
    #[inline(always)]
    pub fn settle(self, key: &FlowKey, place: Place) {
        self.forget(search::twin(self.0, key, place));
    }

    /// The first half of [`Self::insert`], of a key that has no entry; `class` is a [`Class::code`].
    #[inline(always)]
    pub fn place(
        self,
        key: &FlowKey,
        connection: &Connection,
        class: u32,
        is_limited: bool,
    ) -> Result<Place, TableFull> {
        let spot = Spot::of(self.0, key);
        if is_limited && !self.has_room(connection.status().flags(), key) {
            return Err(TableFull);
        }
        for _ in 0..PLACES_TRIED {
            let place = self.choose(spot, class);
            if place.is_nowhere() {
                return Err(TableFull);
            }
            let Some(tags) = Tags::of(self.0, place.bucket()) else { return Err(TableFull) };
            if !tags.change(place.number(), place.tag(), BUSY) {
                continue;
            }
            if place.tag() & KEPT != 0 {
                // Chosen as expired; another one of the same tag may have taken its place since.
                if !self.is_over(place) {
                    tags.publish(place.number(), place.tag());
                    continue;
                }
                self.count(-1);
            }
            self.write(place, key, connection);
            tags.stamp(place.number(), self.0.now_ns());
            tags.publish(place.number(), spot.tag | class_bits(class));
            if is_kept(class) {
                self.count(1);
            }
            return Ok(place);
        }
        Err(TableFull)
    }

    /// Gives an entry a class that is kept. One that finds no room is forgotten.
    #[inline(always)]
    pub fn promote(self, key: &FlowKey, class: Class) -> Result<(), TableFull> {
        self.promote_to(key, class.code())
    }

    /// The same by [`Class::code`].
    #[inline(always)]
    pub fn promote_to(self, key: &FlowKey, class: u32) -> Result<(), TableFull> {
        let place = self.0.find(key);
        let Some(entry) = self.at(place) else { return Ok(()) };
        let Some(tags) = Tags::of(self.0, place.bucket()) else { return Ok(()) };
        if place.tag() & KEPT != 0 {
            return Ok(());
        }
        let connection = Connection(entry).copied();
        if !self.has_room(connection.status().flags(), key) {
            self.forget(place);
            return Err(TableFull);
        }
        let is_ipv4 = self.0.layout().is_ipv4(place.bucket());
        if tags.of_class(class).count_ones() >= share(class, is_ipv4) {
            self.forget(self.0.oldest(place.bucket(), class));
        }
        // Else recycled in this very moment: it was none of the connections that are kept.
        if tags.change(place.number(), place.tag(), hash_of(place.tag()) | class_bits(class)) {
            tags.stamp(place.number(), self.0.now_ns());
            self.count(1);
        }
        Ok(())
    }

    /// Removes a connection, if there is one.
    pub fn remove(self, key: &FlowKey) -> bool {
        self.forget(self.0.find(key))
    }

    /// What stands at a place of a bucket.
    pub fn read(self, bucket: u32, number: u32) -> Option<(FlowKey, Connection, Class)> {
        let tag = Tags::of(self.0, bucket)?.tag(number);
        if matches!(tag, FREE | BUSY) {
            return None;
        }
        let is_ipv4 = self.0.layout().is_ipv4(bucket);
        let words: &[B::Cell; KEY_WORDS] =
            self.0.words(self.0.bucket(bucket)?, Entry::of(is_ipv4, number).key)?;
        let key = key_of_words(words.each_ref().map(Cell::load), is_ipv4);
        let entry = self.at(Place::new(bucket, number, tag))?;
        Some((key, Connection(entry).copied(), class_of(tag)))
    }

    /// Removes what has expired from the next buckets of either family, so many of each, from where the last search for
    /// it ended; how many entries that were.
    #[inline(always)]
    pub fn sweep(self, buckets: u32) -> u32 {
        let Some([_, cursor]) = self.0.counts() else { return 0 };
        let start = cursor.load();
        cursor.store(start.wrapping_add(u64::from(buckets)));
        let Layout { ipv4, ipv6, .. } = self.0.layout();
        let mut removed = 0u32;
        for step in 0..buckets {
            let next = (start as u32).wrapping_add(step);
            let family = [next.checked_rem(ipv4).unwrap_or(0), next.checked_rem(ipv6).unwrap_or(0)];
            removed = removed.wrapping_add(self.0.clear_expired(family[0]));
            removed = removed.wrapping_add(self.0.clear_expired(ipv4.wrapping_add(family[1])));
        }
        removed
    }

    /// Removes what is at a place, if it has expired: claimed first, since what is there may have become another.
    #[inline(always)]
    pub(super) fn expire(self, place: Place) -> bool {
        let Some(tags) = Tags::of(self.0, place.bucket()) else { return false };
        if matches!(place.tag(), FREE | BUSY) || !tags.change(place.number(), place.tag(), BUSY) {
            return false;
        }
        let is_over = self.is_over(place);
        tags.publish(place.number(), if is_over { FREE } else { place.tag() });
        if is_over && place.tag() & KEPT != 0 {
            self.count(-1);
        }
        is_over
    }

    #[inline(always)]
    fn is_over(self, place: Place) -> bool {
        self.at(place).is_some_and(|entry| Connection(entry).is_expired(self.0.now_ns()))
    }

    /// Removes what is at a place, if it is still there.
    #[inline(always)]
    pub fn forget(self, place: Place) -> bool {
        if place.is_nowhere() {
            return false;
        }
        let Some(tags) = Tags::of(self.0, place.bucket()) else { return false };
        let is_gone = tags.change(place.number(), place.tag(), FREE);
        if is_gone && place.tag() & KEPT != 0 {
            self.count(-1);
        }
        is_gone
    }

    #[inline(always)]
    pub(super) fn at(self, place: Place) -> Option<&'a [B::Cell; WORDS]> {
        if place.is_nowhere() {
            return None;
        }
        let is_ipv4 = self.0.layout().is_ipv4(place.bucket());
        let offset = Entry::of(is_ipv4, place.number()).connection;
        self.0.words(self.0.bucket(place.bucket())?, offset)
    }

    /// Fills a place that this CPU has claimed.
    #[inline(always)]
    fn write(self, place: Place, key: &FlowKey, connection: &Connection) {
        let Some(bucket) = self.0.bucket(place.bucket()) else { return };
        let words = words_of_key(key);
        let entry = Entry::of(key.local.is_mapped(), place.number());
        // The other words of a key of IPv4 are those of the connection, which is written next.
        let Some(cells) = self.0.words::<BUCKET_WORDS, KEY_WORDS>(bucket, entry.key) else { return };
        cells.iter().zip(words).for_each(|(cell, word)| cell.store(word));
        let Some(cells) = self.0.words::<BUCKET_WORDS, WORDS>(bucket, entry.connection) else { return };
        cells.iter().zip(connection.0).for_each(|(cell, word)| cell.store(word));
    }

    /// A place for a newcomer.
    #[inline(always)]
    fn choose(self, spot: Spot, class: u32) -> Place {
        let place = self.0.choose(spot.first, spot.second(), class);
        let Some((class, after_expired)) = place.recycled_class() else { return place };
        if after_expired {
            let found = search::expired(self.0, spot.first, spot.second());
            if !found.is_nowhere() {
                return found;
            }
        }
        if is_kept(class) { Place::NOWHERE } else { self.0.oldest(place.bucket(), class) }
    }

    /// Whether a flow with these flags and this [`Class::code`] would find room, also in its buckets.
    #[inline(always)]
    pub fn takes(self, key: &FlowKey, flags: u8, class: u32) -> bool {
        let spot = Spot::of(self.0, key);
        self.has_room(flags, key) && !self.choose(spot, class).is_nowhere()
    }

    /// Whether a connection with these flags may be added; removes some expired ones if it could not be otherwise.
    #[inline(always)]
    fn has_room(self, flags: u8, key: &FlowKey) -> bool {
        let max = self.0.layout().connections;
        let kept = if flags & Connection::RESERVED != 0 { 0 } else { reserved_connections(max) };
        let limit = u64::from(max.saturating_sub(kept));
        self.counted() < limit || self.0.reclaim(key) < limit
    }

    /// Kept connections, expired ones included.
    pub fn counted(self) -> u64 {
        // A moment's negative count, between two CPUs' steps, is a small one.
        self.0.counts().map_or(0, |[count, _]| (count.load() as i64).max(0) as u64)
    }

    #[inline(always)]
    fn count(self, change: i64) {
        if let Some([count, _]) = self.0.counts() {
            count.add(change);
        }
    }
}

#[cfg(test)]
mod tests;

//! The store of connections ([`fw_common::store`]) in the memory of its maps: read and changed without system calls,
//! by the same code and rules as the programs.

use std::os::fd::AsFd as _;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use aya::maps::{Array, MapData, MapError, MapInfo};
use fw_common::FlowKey;
use fw_common::conntrack::{Class, Connection};
use fw_common::store::{BUCKET_WORDS, Bucket, Buckets, HASH_WORDS, Layout, Store, TAG_WORDS};

use super::clock::monotonic_ns;
use super::mapping::Mapping;
use super::policy_array::{map_error, open_map};
use crate::error::{Error, Result};

/// Its maps.
pub(super) const CONNECTIONS: &str = "CONNECTIONS";
pub(super) const TAGS: &str = "TAGS";
pub(super) const COUNT: &str = "COUNT";

/// Words of [`COUNT`]: confirmed connections, the cursor of the search for expired ones, and, written once by the
/// loader, how many connections there may be, in the upper half how many buckets are those of IPv4, and the words that
/// choose among them.
pub(super) const COUNT_WORDS: usize = 3 + HASH_WORDS;

/// The connections of a loaded object.
pub struct ConnectionTable {
    buckets: Mapping,
    tags: Mapping,
    counts: Mapping,
    founded: Founded,
}

/// What the programs are told of the store: see [`ConnectionTable::found`].
#[derive(Debug, Clone, Copy)]
pub struct Founded {
    /// How many buckets there are.
    pub layout: Layout,
    /// What chooses among them: see [`Buckets::hash_word`].
    pub hash: [u64; HASH_WORDS],
}

impl Founded {
    /// With new random words.
    pub fn new(layout: Layout) -> Result<Self> {
        let mut hash = [0; HASH_WORDS];
        let bytes = size_of_val(&hash);
        // SAFETY: fills exactly these bytes, in which every value is a number.
        let filled = unsafe { libc::getrandom(hash.as_mut_ptr().cast(), bytes, 0) };
        if filled != bytes as isize {
            return Err(Error::system(format!("no random numbers: {}", std::io::Error::last_os_error())));
        }
        Ok(Self { layout, hash })
    }

    /// The values of the programs' globals `LAYOUT` and `HASH`.
    pub fn globals(&self) -> ([u32; 3], [u64; HASH_WORDS]) {
        ([self.layout.ipv4, self.layout.ipv6, self.layout.connections], self.hash)
    }

    /// What the store in these pinned maps was told; without mapping its memory, for which the kernel enters every page at
    /// once (milliseconds).
    pub(super) fn of(maps: &Path) -> Result<Self> {
        let words = counts(maps)?;
        let info = MapInfo::from_pin(maps.join(CONNECTIONS)).map_err(|fault| map_error(COUNT, &fault))?;
        Self::from_words(&words, info.max_entries())
    }

    /// Confirmed connections, and how many there may be: as [`Self::of`], without a look at any of them.
    pub(super) fn fill(maps: &Path) -> Result<(u64, u64)> {
        let words = counts(maps)?;
        Ok((words[0], u64::from(words[2] as u32)))
    }

    fn from_words(words: &[u64; COUNT_WORDS], total: u32) -> Result<Self> {
        let [_, _, max, hash @ ..] = *words;
        let (connections, ipv4) = (max as u32, (max >> 32) as u32);
        match total.checked_sub(ipv4) {
            Some(ipv6) => Ok(Self { layout: Layout { ipv4, ipv6, connections }, hash }),
            None => {
                Err(map_error(COUNT, &format!("it says {ipv4} buckets of IPv4, there are {total} in all")))
            }
        }
    }
}

fn counts(maps: &Path) -> Result<[u64; COUNT_WORDS]> {
    let error = |error: &dyn std::fmt::Display| map_error(COUNT, error);
    let counts: Array<MapData, [u64; COUNT_WORDS]> =
        open_map(&maps.join(COUNT))?.try_into().map_err(|fault: MapError| error(&fault))?;
    counts.get(&0, 0).map_err(|fault| error(&fault))
}

impl ConnectionTable {
    /// Opens the pinned maps.
    pub fn open(maps: &Path) -> Result<Self> {
        let open = |name| MapData::from_pin(maps.join(name)).map_err(|error| map_error(name, &error));
        Self::of(&open(CONNECTIONS)?, &open(TAGS)?, &open(COUNT)?)
    }

    /// Maps the memory of all three maps.
    pub fn of(connections: &MapData, tags: &MapData, count: &MapData) -> Result<Self> {
        let map = |map: &MapData, name: &str| {
            let info = map.info().map_err(|error| map_error(name, &error))?;
            let bytes = info.value_size() as usize * info.max_entries() as usize;
            Mapping::new(map.fd().as_fd(), bytes, libc::PROT_READ | libc::PROT_WRITE)
                .map_err(|error| map_error(name, &error))
        };
        let (buckets, counts) = (map(connections, CONNECTIONS)?, map(count, COUNT)?);
        let total = (buckets.words().len() / BUCKET_WORDS) as u32;
        let words = std::array::from_fn(|index| {
            counts.words().get(index).map_or(0, |word| word.load(Ordering::Relaxed))
        });
        let founded = Founded::from_words(&words, total)?;
        Ok(Self { buckets, tags: map(tags, TAGS)?, counts, founded })
    }

    /// Tells a new store what its programs were told.
    pub fn found(&mut self, founded: &Founded) {
        self.founded = *founded;
        let [_, _, max, hash @ ..] = self.counts() else { return };
        let Layout { ipv4, connections, .. } = founded.layout;
        max.store(u64::from(connections) | u64::from(ipv4) << 32, Ordering::Relaxed);
        for (word, value) in hash.iter().zip(founded.hash) {
            word.store(value, Ordering::Relaxed);
        }
    }

    /// What it was told.
    pub fn founded(&self) -> Founded {
        self.founded
    }

    /// All connections, expired ones included. Those that come and go meanwhile may be among them or not.
    pub fn iter(&self) -> impl Iterator<Item = (FlowKey, Connection, Class)> + '_ {
        let buckets = 0..self.founded().layout.total();
        buckets.flat_map(move |bucket| {
            (0..Layout::PLACES).filter_map(move |place| Store(self).read(bucket, place))
        })
    }

    /// Takes over the connections of another store, those that it does not know or knows less of; how many it had no
    /// place for. Not into one that programs use: a process may be killed at any of its steps.
    pub(super) fn move_in(&self, other: &Self) -> u64 {
        other.live().filter(|(key, it, class)| Store(self).move_in(key, it, *class).is_err()).count() as u64
    }

    /// Whether it knows as much of a connection.
    pub(super) fn knows(&self, key: &FlowKey, connection: &Connection) -> bool {
        Store(self).knows(key, connection)
    }

    /// All connections that have not expired and that a packet would find: in damaged memory there may be others.
    pub(super) fn live(&self) -> impl Iterator<Item = (FlowKey, Connection, Class)> + '_ {
        let now_ns = monotonic_ns();
        let is_live = move |connection: &Connection| !connection.is_expired(now_ns);
        self.iter()
            .filter(move |(key, connection, _)| is_live(connection) && Store(self).entry(key).is_some())
    }

    /// Whether its memory was damaged: entries that no packet finds, or far more or fewer counted than are there.
    pub(super) fn is_damaged(&self) -> bool {
        // What may come and go while we look.
        let moving = u64::from(64 + self.founded.layout.total() / 16);
        let [mut confirmed, mut lost] = [0u64; 2];
        for (key, _, class) in self.iter() {
            confirmed += u64::from(class.is_kept());
            lost += u64::from(Store(self).entry(&key).is_none());
        }
        lost > moving || Store(self).counted().abs_diff(confirmed) > moving
    }

    /// Changes when every connection was last seen, and when it was made, for tests: a clock is nobody's to move.
    pub fn move_times(&self, last_seen: impl Fn(u32) -> u32, created: impl Fn(u32) -> u32) {
        let keys: Vec<FlowKey> = self.iter().map(|(key, ..)| key).collect();
        for key in keys {
            if let Some(mut connection) = Store(self).entry(&key) {
                connection.set_last_seen(last_seen(connection.status().last_seen()));
                connection.set_created(created(connection.created()));
            }
        }
    }

    /// Forgets all of them.
    pub fn clear(&self) {
        let keys: Vec<FlowKey> = self.iter().map(|(key, ..)| key).collect();
        for key in keys {
            Store(self).remove(&key);
        }
    }

    fn counts(&self) -> &[AtomicU64] {
        self.counts.words().get(..COUNT_WORDS).unwrap_or_default()
    }
}

impl<'a> Buckets<'a> for &'a ConnectionTable {
    type Cell = AtomicU64;

    fn bucket(self, number: u32) -> Option<Bucket<'a, AtomicU64>> {
        self.buckets.words().get(number as usize * BUCKET_WORDS..)?.first_chunk()
    }

    fn tags(self, bucket: u32) -> Option<&'a [AtomicU64; TAG_WORDS]> {
        self.tags.words().get(bucket as usize * TAG_WORDS..)?.first_chunk()
    }

    fn words<const OF: usize, const COUNT: usize>(
        self,
        all: &'a [AtomicU64; OF],
        offset: u32,
    ) -> Option<&'a [AtomicU64; COUNT]> {
        all.get(offset as usize..)?.first_chunk()
    }

    fn layout(self) -> Layout {
        self.founded().layout
    }

    fn hash_word(self, index: u32) -> u64 {
        self.founded.hash.get(index as usize).copied().unwrap_or_default()
    }

    fn counts(self) -> Option<&'a [AtomicU64; 2]> {
        ConnectionTable::counts(self).first_chunk()
    }

    fn now_ns(self) -> u64 {
        monotonic_ns()
    }

    fn opaque(self, value: u64) -> u64 {
        value
    }
}

//! The store of connections between two CPUs: every order of their steps with up to two changes between them, and
//! random ones with more.
//!
//! A step is one access to a shared word. The two run by turns, so that an order can be prescribed and run again.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use fw_common::conntrack::{Class, Connection};
use fw_common::store::{BUCKET_WORDS, Bucket, Buckets, Cell, Layout, Store, TAG_WORDS, known_words};
use fw_common::{Address, FlowKey};
use fw_tests::soundness;

const LAYOUT: Layout = Layout { ipv4: 2, ipv6: 2, connections: 1024 };
const NOW_NS: u64 = 1 << 40;
const NOBODY: usize = usize::MAX;

thread_local! {
    static CPU: std::cell::Cell<usize> = const { std::cell::Cell::new(NOBODY) };
}

/// Whose turn it is, the steps taken, and at which of them the turn changes.
struct Order {
    turn: AtomicUsize,
    steps: AtomicUsize,
    changes: Vec<usize>,
    done: [AtomicUsize; 2],
}

impl Order {
    fn new(changes: Vec<usize>) -> Self {
        let zero = AtomicUsize::default;
        Self { turn: zero(), steps: zero(), changes, done: [zero(), zero()] }
    }

    fn step(&self) {
        let cpu = CPU.get();
        if cpu == NOBODY {
            return;
        }
        self.wait_for(cpu);
        let step = self.steps.fetch_add(1, Ordering::SeqCst);
        if self.changes.contains(&step) && self.done[1 - cpu].load(Ordering::SeqCst) == 0 {
            self.turn.store(1 - cpu, Ordering::SeqCst);
            self.wait_for(cpu);
        }
    }

    fn wait_for(&self, cpu: usize) {
        let mut spins = 0u32;
        while self.turn.load(Ordering::SeqCst) != cpu {
            spins += 1;
            if spins > 200 {
                std::thread::yield_now();
            }
            std::hint::spin_loop();
        }
    }

    fn end(&self, cpu: usize) {
        self.done[cpu].store(1, Ordering::SeqCst);
        self.turn.store(1 - cpu, Ordering::SeqCst);
    }
}

struct Word {
    value: AtomicU64,
    order: *const Order,
}

// SAFETY: the order outlives the table, see `Table::new`.
unsafe impl Sync for Word {}

impl Word {
    fn step(&self) -> &AtomicU64 {
        // SAFETY: as above.
        unsafe { &*self.order }.step();
        &self.value
    }
}

impl Cell for Word {
    fn load(&self) -> u64 {
        self.step().load(Ordering::SeqCst)
    }

    fn store(&self, value: u64) {
        self.step().store(value, Ordering::SeqCst);
    }

    fn replace(&self, old: u64, new: u64) -> bool {
        self.step().compare_exchange(old, new, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    fn flip(&self, bits: u64) {
        self.step().fetch_xor(bits, Ordering::SeqCst);
    }

    fn add(&self, change: i64) {
        self.step().fetch_add(change as u64, Ordering::SeqCst);
    }
}

struct Table {
    buckets: Vec<[Word; BUCKET_WORDS]>,
    tags: Vec<[Word; TAG_WORDS]>,
    counts: [Word; 2],
}

impl Table {
    /// Empty; `order` must outlive it.
    fn new(order: &Order) -> Self {
        let word = || Word { value: AtomicU64::new(0), order };
        let buckets = (0..LAYOUT.total()).map(|_| std::array::from_fn(|_| word())).collect();
        let tags = (0..LAYOUT.total()).map(|_| std::array::from_fn(|_| word())).collect();
        Self { buckets, tags, counts: [word(), word()] }
    }

    /// What must hold whenever nobody is at work.
    fn check(&self, order: &Order) {
        if let Err(error) = soundness::check(self) {
            panic!("{:?}: {error}: {:?}", order.changes, soundness::entries(self));
        }
    }
}

impl<'a> Buckets<'a> for &'a Table {
    type Cell = Word;

    fn bucket(self, number: u32) -> Option<Bucket<'a, Word>> {
        self.buckets.get(number as usize)
    }

    fn tags(self, bucket: u32) -> Option<&'a [Word; TAG_WORDS]> {
        self.tags.get(bucket as usize)
    }

    fn words<const OF: usize, const COUNT: usize>(
        self,
        all: &'a [Word; OF],
        offset: u32,
    ) -> Option<&'a [Word; COUNT]> {
        all.get(offset as usize..)?.first_chunk()
    }

    fn layout(self) -> Layout {
        LAYOUT
    }

    fn hash_word(self, index: u32) -> u64 {
        known_words(0)[index as usize]
    }

    fn counts(self) -> Option<&'a [Word; 2]> {
        Some(&self.counts)
    }

    fn now_ns(self) -> u64 {
        NOW_NS
    }

    fn opaque(self, value: u64) -> u64 {
        value
    }
}

fn key(number: u16) -> FlowKey {
    let local = Address::from_ipv4([10, 0, 0, 1]);
    let remote = Address::from_ipv4([192, 0, 2, 1]);
    FlowKey { zone: 1, protocol: 17, local, remote, local_port: 53, remote_port: number, reserved: 0 }
}

/// Seen just now; idle for a minute at most.
fn connection() -> Connection {
    seen(NOW_NS)
}

fn expired() -> Connection {
    seen(NOW_NS - 300_000_000_000)
}

fn seen(ns: u64) -> Connection {
    let mut connection = Connection::EMPTY;
    connection.restart(ns, 7, 0);
    connection.0[0] |= 60 << 32;
    connection
}

/// Runs two CPUs in every order with up to two changes of turn, and in some with more.
fn explore(prepare: impl Fn(&Table), cpus: [&(dyn Fn(&Table) + Sync); 2], after: impl Fn(&Table, &str)) {
    let run = |changes: Vec<usize>, first: usize| {
        let order = Order::new(changes);
        let table = Table::new(&order);
        prepare(&table);
        order.turn.store(first, Ordering::SeqCst);
        std::thread::scope(|scope| {
            for (cpu, work) in cpus.into_iter().enumerate() {
                let (order, table) = (&order, &table);
                scope.spawn(move || {
                    CPU.set(cpu);
                    work(table);
                    order.end(cpu);
                });
            }
        });
        table.check(&order);
        after(&table, &format!("{:?}, {first} first", order.changes));
        order.steps.load(Ordering::SeqCst)
    };
    let steps = run(Vec::new(), 0).max(run(Vec::new(), 1));
    for first in 0..2 {
        for one in 0..steps {
            run(vec![one], first);
            // Orders that differ in the second change only by a few steps differ in plain reads.
            for two in (one + 1..steps).step_by(3) {
                run(vec![one, two], first);
            }
        }
    }
    let mut seed = 1u64;
    for _ in 0..2000 {
        let changes = (0..6)
            .map(|_| {
                seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (seed >> 33) as usize % steps
            })
            .collect();
        run(changes, (seed >> 40) as usize & 1);
    }
}

fn insert(table: &Table, number: u16, class: Class) {
    assert_eq!(Store(table).insert(&key(number), &connection(), class), Ok(()));
}

fn class_of(table: &Table, number: u16) -> Option<Class> {
    soundness::entries(table).into_iter().find(|(found, ..)| *found == key(number)).map(|(.., class)| class)
}

#[test]
fn one_flow_inserted_by_both_cpus_is_there_once() {
    let half_open = |table: &Table| insert(table, 1, Class::Inbound);
    explore(
        |_| (),
        [&half_open, &half_open],
        |table, order| {
            assert_eq!(class_of(table, 1), Some(Class::Inbound), "{order}");
        },
    );
}

#[test]
fn one_flow_inserted_in_both_classes_is_there_once() {
    let half_open = |table: &Table| insert(table, 1, Class::Inbound);
    let confirmed = |table: &Table| insert(table, 1, Class::Assured);
    explore(
        |_| (),
        [&half_open, &confirmed],
        |table, order| assert!(class_of(table, 1).is_some(), "{order}"),
    );
}

/// Of a bucket that is full of half-open flows the oldest is confirmed while another takes its place: one of the two wins.
#[test]
fn what_is_confirmed_is_not_recycled_any_more() {
    let fill = |table: &Table| (1..=40).for_each(|number| insert(table, number, Class::Inbound));
    let confirm = |table: &Table| {
        for number in 30..34 {
            let _ = Store(table).promote(&key(number), Class::Assured);
        }
    };
    let recycle = |table: &Table| insert(table, 99, Class::Inbound);
    explore(fill, [&confirm, &recycle], |table, order| {
        assert_eq!(class_of(table, 99), Some(Class::Inbound), "{order}");
        for number in 30..34 {
            assert_ne!(
                class_of(table, number),
                Some(Class::Inbound),
                "{order}: {number} is confirmed or gone"
            );
        }
    });
}

#[test]
fn an_expired_entry_makes_room_for_its_successor_and_for_no_second() {
    let old = |table: &Table| {
        assert_eq!(Store(table).insert(&key(1), &expired(), Class::Assured), Ok(()));
    };
    let again = |table: &Table| insert(table, 1, Class::Inbound);
    let sweep = |table: &Table| {
        Store(table).sweep(LAYOUT.ipv4);
    };
    explore(old, [&again, &sweep], |table, order| {
        assert_eq!(class_of(table, 1), Some(Class::Inbound), "{order}");
    });
}

/// 32 places, 31 of them taken by live connections: two newcomers, one place.
#[test]
fn a_full_table_loses_no_connection_to_two_newcomers() {
    let fill = |table: &Table| {
        let mut number = 100;
        while soundness::entries(table).len() < 31 {
            let _ = Store(table).insert(&key(number), &connection(), Class::Assured);
            number += 1;
        }
    };
    let newcomer = |number| {
        move |table: &Table| {
            let _ = Store(table).insert(&key(number), &connection(), Class::Assured);
        }
    };
    explore(fill, [&newcomer(1), &newcomer(2)], |table, order| {
        assert_eq!(soundness::entries(table).len(), 32, "{order}");
        assert!(class_of(table, 1).is_some() != class_of(table, 2).is_some(), "{order}");
    });
}

//! Connections whose memory was damaged: programs, core and commands stay within it and end, and what the rules deny
//! stays denied. Needs root.

use std::ops::Deref;
use std::sync::atomic::{AtomicU64, Ordering};

use aya::maps::{Array, MapData};
use fw_common::conntrack::{Class, Connection};
use fw_common::store::{BUCKET_WORDS, Bucket, Buckets, HASH_WORDS, Layout, Store, TAG_WORDS, known_words};
use fw_common::{FlowKey, Hook, Reason, Verdict};
use fw_tests::filtered::{Filtered, web_rules};
use fw_tests::fwctl::Output;
use fw_tests::kernel::{Kernel, Received};
use fw_tests::packet;
use fw_tests::random::Random;
use fw_tests::soundness;
use fw_tests::workload::kernel_with;
use fw_userspace::datapath;
use proptest::prelude::*;
use serde_json::json;

const RULES: &str = r#"{
  "version": 1,
  "subnets": { "net": { "cidr_blocks": ["10.99.0.0/16", "2001:db8:99::/64"], "network_acl": "acl" } },
  "network_acls": { "acl": {
    "ingress": [
      { "rule_number": 10, "action": "deny", "protocol": "all", "cidr_block": "203.0.113.0/24" },
      { "rule_number": 20, "action": "allow", "protocol": "all", "cidr_block": "0.0.0.0/0" },
      { "rule_number": 21, "action": "allow", "protocol": "all", "cidr_block": "::/0" } ],
    "egress": [
      { "rule_number": 10, "action": "deny", "protocol": "all", "cidr_block": "203.0.113.0/24" },
      { "rule_number": 20, "action": "allow", "protocol": "all", "cidr_block": "0.0.0.0/0" },
      { "rule_number": 21, "action": "allow", "protocol": "all", "cidr_block": "::/0" } ] } },
  "security_groups": { "g": { "egress": [], "ingress": [
    { "protocol": "tcp", "from_port": 443, "to_port": 443, "cidr_blocks": ["10.0.0.0/8", "2001:db8::/32"] },
    { "protocol": "udp", "from_port": 53, "to_port": 53, "cidr_blocks": ["10.0.0.0/8"] },
    { "protocol": "icmp", "icmp_type": -1, "icmp_code": -1, "cidr_blocks": ["10.0.0.0/8"] }
  ] } },
  "interfaces": { "nic": { "device": "nic0", "subnet": "net", "addresses": ["10.99.0.2", "2001:db8:99::2"],
                           "security_groups": ["g"] } }
}"#;

/// A word in the place of another: any, one bit changed, all of them set, none.
fn damaged(random: &mut Random, before: u64) -> u64 {
    match random.next() % 8 {
        0 => u64::MAX,
        1 => 0,
        2..=4 => before ^ (1 << (random.next() % 64)),
        5 => before,
        _ => random.next(),
    }
}

/// Changes words all over a store.
fn damage<'a, B: Buckets<'a, Cell = AtomicU64>>(buckets: B, random: &mut Random) {
    let total = buckets.layout().total();
    let mut change = |word: &AtomicU64| {
        word.store(damaged(random, word.load(Ordering::Relaxed)), Ordering::Relaxed);
    };
    for number in 0..total {
        buckets.tags(number).into_iter().flatten().for_each(&mut change);
        buckets.bucket(number).into_iter().flatten().for_each(&mut change);
    }
    buckets.counts().into_iter().flatten().for_each(&mut change);
}

/// Frames of all kinds that groups and ACL may let through or not.
fn frames(number: u64) -> Vec<(&'static str, Vec<u8>)> {
    let client = format!("10.1.{}.{}:4000", number >> 8 & 0xff, number & 0xff);
    let other = format!("[2001:db8:1::{:x}]:4000", number & 0xffff);
    let [server, server6] = ["10.99.0.2:443", "[2001:db8:99::2]:443"];
    let udp = client.replace(":4000", ":5353");
    let texts = [
        ("xdp_received", format!("tcp {client} > {server} syn seq=100")),
        ("tc_sent", format!("tcp {server} > {client} syn+ack seq=500 ack=101")),
        ("tc_received", format!("tcp {client} > {server} ack seq=101 ack=501")),
        ("xdp_received", format!("tcp {client} > {server} rst seq=101")),
        ("xdp_received", format!("tcp {other} > {server6} syn seq=100")),
        ("tc_sent", format!("tcp {server6} > {other} syn+ack seq=500 ack=101")),
        ("tc_received", format!("tcp {other} > {server6} ack seq=101 ack=501")),
        ("xdp_received", format!("udp {udp} > 10.99.0.2:53")),
        ("tc_sent", format!("udp 10.99.0.2:53 > {udp}")),
    ];
    texts.map(|(program, text)| (program, frame(&text))).into()
}

fn frame(text: &str) -> Vec<u8> {
    packet::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// What no connection may change.
fn denied(kernel: &mut Kernel, zone: u32) {
    let frames = [
        ("tcp 203.0.113.9:4000 > 10.99.0.2:443 syn seq=1", Hook::Received, Reason::AclDeny),
        ("tcp 203.0.113.9:4000 > 10.99.0.2:443 ack seq=1 ack=1", Hook::Received, Reason::AclDeny),
        ("udp 203.0.113.9:4000 > 10.99.0.2:53", Hook::Received, Reason::AclDeny),
        ("tcp 10.1.0.1:4000 > 10.99.0.2:22 syn seq=1", Hook::Received, Reason::NoGroupRule),
        ("tcp [2001:db8:1::1]:4000 > [2001:db8:99::2]:22 syn seq=1", Hook::Received, Reason::NoGroupRule),
        ("tcp 10.99.0.2:4000 > 10.1.0.1:443 syn seq=1", Hook::Sent, Reason::NoGroupRule),
    ];
    for (text, hook, reason) in frames {
        for received in [Received::Xdp, Received::Tc] {
            let seen = kernel.judge(&frame(text), hook, received, zone).unwrap();
            assert_eq!((seen.verdict, seen.reason), (Verdict::Drop, reason), "{text}");
        }
    }
}

#[test]
fn programs_stay_within_damaged_memory_and_deny_what_is_denied() {
    let (mut kernel, compiled) = kernel_with(RULES.as_bytes()).unwrap();
    let zone = compiled.zones[0].0;
    let lines = |kernel: &Kernel| -> Vec<_> {
        (0..compiled.patch.end).map(|number| kernel.policy().line(number).unwrap()).collect()
    };
    let before = lines(&kernel);
    let mut random = Random(1);
    for round in 0..150 {
        // Keys that may be found, with words that are wrong.
        for number in round..round + 20 {
            for (program, frame) in frames(number) {
                kernel.time(program, &frame, 1).unwrap();
            }
        }
        damage(kernel.table(), &mut random);
        denied(&mut kernel, zone);
        for number in round..round + 40 {
            for (program, frame) in frames(number) {
                let (hook, received) = match program {
                    "tc_sent" => (Hook::Sent, Received::Tc),
                    "tc_received" => (Hook::Received, Received::Tc),
                    _ => (Hook::Received, Received::Xdp),
                };
                // An error if it returns what is no verdict.
                let _: Verdict = kernel.verdict(&frame, None, hook, received).unwrap();
            }
        }
        let mut words = vec![0; 16];
        words.extend((0..300).flat_map(|_| random.next().to_ne_bytes()));
        for program in ["sweep", "flush", "move_in"] {
            kernel.time(program, &words, 1).unwrap();
        }
        denied(&mut kernel, zone);
    }
    let after = lines(&kernel);
    assert!(before.iter().zip(&after).all(|(one, other)| one.0 == other.0), "the rules were written to");
}

/// A store in memory of our own.
struct Memory {
    buckets: Vec<[AtomicU64; BUCKET_WORDS]>,
    tags: Vec<[AtomicU64; TAG_WORDS]>,
    counts: [AtomicU64; 2],
    now_ns: u64,
}

/// Few buckets, so that keys meet the damage; the limit does not.
const LAYOUT: Layout = Layout { connections: 1024, ..Layout::of(60) };

impl Memory {
    fn new(now_ns: u64) -> Self {
        let word = || AtomicU64::new(0);
        Self {
            buckets: (0..LAYOUT.total()).map(|_| std::array::from_fn(|_| word())).collect(),
            tags: (0..LAYOUT.total()).map(|_| std::array::from_fn(|_| word())).collect(),
            counts: [word(), word()],
            now_ns,
        }
    }
}

impl<'a> Buckets<'a> for &'a Memory {
    type Cell = AtomicU64;

    fn bucket(self, number: u32) -> Option<Bucket<'a, AtomicU64>> {
        Some(self.buckets.get(number as usize).expect("no bucket outside the table is asked for"))
    }

    fn tags(self, bucket: u32) -> Option<&'a [AtomicU64; TAG_WORDS]> {
        Some(self.tags.get(bucket as usize).expect("no tags outside the table are asked for"))
    }

    fn words<const OF: usize, const COUNT: usize>(
        self,
        all: &'a [AtomicU64; OF],
        offset: u32,
    ) -> Option<&'a [AtomicU64; COUNT]> {
        // Behind a bucket: of IPv6 six tags have no entries.
        all.get(offset as usize..)?.first_chunk()
    }

    fn layout(self) -> Layout {
        LAYOUT
    }

    fn hash_word(self, index: u32) -> u64 {
        known_words(7)[index as usize]
    }

    fn counts(self) -> Option<&'a [AtomicU64; 2]> {
        Some(&self.counts)
    }

    fn now_ns(self) -> u64 {
        self.now_ns
    }

    fn opaque(self, value: u64) -> u64 {
        value
    }
}

fn key(number: u64) -> FlowKey {
    let word = |shift: u64| (number >> shift) as u16;
    let v4 = |low: u16| fw_common::Address::from_ipv4([10, 0, (low >> 8) as u8, low as u8]);
    let v6 = |low: u16| fw_common::Address { high: 0x2001_0db8 << 32, low: low.into() };
    let [local, remote] = if number & 1 == 0 { [v4(1), v4(word(0))] } else { [v6(1), v6(word(0))] };
    FlowKey { zone: 1, protocol: 6, local, remote, local_port: 443, remote_port: word(0), reserved: 0 }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    /// Neither a panic (of arithmetic, or outside the table) nor a loop without an end; where tags and count are made good
    /// it works again.
    #[test]
    fn the_core_stays_within_damaged_memory(
        seed: u64,
        now_ns: u64,
        steps in prop::collection::vec((0u8..8, 0u64..64), 1..200),
    ) {
        let memory = Memory::new(now_ns);
        let mut random = Random(seed);
        let store = Store(&memory);
        let mut connection = Connection::EMPTY;
        connection.restart(now_ns, 7, 0);
        for (step, number) in steps {
            let key = key(number);
            match step {
                0 => damage(&memory, &mut random),
                1 => _ = store.insert(&key, &connection, Class::Inbound),
                2 => _ = store.insert(&key, &connection, Class::Assured),
                3 => _ = store.promote(&key, Class::Assured),
                4 => _ = store.remove(&key),
                5 => _ = store.move_in(&key, &connection, Class::Assured),
                6 => _ = store.sweep(number as u32),
                _ => {
                    let places = (0..LAYOUT.total()).flat_map(|bucket| (0..16).map(move |place| (bucket, place)));
                    // Ten places are all of a bucket of IPv6.
                    let places = places.filter(|(bucket, place)| LAYOUT.is_ipv4(*bucket) || *place < 10);
                    for (bucket, place) in places {
                        if let Some((_, read, _)) = store.read(bucket, place) {
                            let _ = (read.is_expired(now_ns), read.status().idle(now_ns), read.packets());
                        }
                    }
                }
            }
            let _ = store.entry(&key).map(|found| found.is_expired(now_ns));
        }
        memory.tags.iter().flatten().for_each(|word| word.store(0, Ordering::Relaxed));
        memory.counts[0].store(0, Ordering::Relaxed);
        prop_assert!(store.insert(&key(2), &connection, Class::Assured).is_ok());
        prop_assert_eq!(store.counted(), 1);
        prop_assert!(store.entry(&key(2)).is_some());
    }
}

struct Loaded(Filtered);

impl Deref for Loaded {
    type Target = Filtered;

    fn deref(&self) -> &Filtered {
        &self.0
    }
}

impl Loaded {
    fn new() -> Self {
        Self(Filtered::new(&web_rules(4096)))
    }

    /// Runs a command; it ends well or says what is wrong.
    fn says(&self, arguments: &[&str]) -> Output {
        let output = self.fwctl().run(arguments).unwrap();
        assert!([0, 1].contains(&output.code()), "{arguments:?}: {}", output.said());
        assert!(output.code() == 0 || !output.stderr.is_empty(), "{arguments:?}: {}", output.said());
        assert!(!output.stderr.contains("panicked"), "{arguments:?}: {}", output.said());
        output
    }
}

#[test]
fn commands_end_on_damaged_memory_and_a_flush_mends_it() {
    let loaded = Loaded::new();
    let mut random = Random(2);
    for round in 0..4 {
        let mut live = loaded.open(80).unwrap();
        damage(&loaded.table(), &mut random);
        for verb in [&["list"][..], &["list", "--json"], &["count", "--top", "--by", "state"]] {
            assert_eq!(loaded.says(&[&["conntrack"][..], verb].concat()).code(), 0, "{verb:?}");
        }
        assert_eq!(loaded.says(&["status"]).code(), 0);
        loaded.says(&["stats"]);
        let flushed = loaded.says(&["conntrack", "flush", "--all", "--json"]).success().unwrap();
        assert_eq!(flushed["rebuilt"], true, "round {round}: {flushed}");
        assert!(!live.exchange(), "round {round}: it was flushed");
        soundness::check(&loaded.table()).unwrap();
        assert!(loaded.open(80).unwrap().exchange(), "round {round}");
        let again = loaded.says(&["conntrack", "flush", "--all", "--json"]).success().unwrap();
        assert_eq!(again, json!({ "flushed": 1, "rebuilt": false }), "round {round}");
    }
}

/// A table that counts too many is full for ever; what lives in it goes on and moves with a flush of something else.
#[test]
fn a_wrong_count_is_mended_without_losing_a_connection() {
    let loaded = Loaded::new();
    let mut live = loaded.open(80).unwrap();
    {
        let table = loaded.table();
        (&table).counts().unwrap()[0].store(u64::MAX >> 1, Ordering::Relaxed);
    }
    assert!(live.exchange(), "what is there goes on");
    assert!(loaded.open(80).is_err(), "nothing new");
    let flushed = loaded.says(&["conntrack", "flush", "--port", "9", "--json"]).success().unwrap();
    assert_eq!(flushed, json!({ "flushed": 0, "rebuilt": true }));
    assert!(live.exchange() && live.exchange_from_server());
    assert!(loaded.open(80).unwrap().exchange());
    soundness::check(&loaded.table()).unwrap();
}

/// The loader's own words: programs do not read them, commands name the map and the way out.
#[test]
fn the_words_of_the_loader_are_not_believed() {
    let loaded = Loaded::new();
    let mut live = loaded.open(80).unwrap();
    let maps = datapath::Store::open(loaded.bpffs.path()).unwrap().unwrap().maps();
    let mut count: Array<MapData, [u64; 3 + HASH_WORDS]> =
        aya::maps::Map::from_map_data(MapData::from_pin(maps.join("COUNT")).unwrap())
            .unwrap()
            .try_into()
            .unwrap();
    let mut words = count.get(&0, 0).unwrap();
    words[2] = u64::MAX;
    count.set(0, words, 0).unwrap();
    for arguments in
        [&["status"][..], &["conntrack", "list"], &["conntrack", "count"], &["conntrack", "flush", "--all"]]
    {
        let output = loaded.says(arguments);
        assert_eq!(output.code(), 1, "{}", output.said());
        assert!(
            output.stderr.contains("COUNT") && output.stderr.contains("unload --force"),
            "{}",
            output.said()
        );
    }
    let load = loaded.fwctl().try_load(&web_rules(4096), &[]).unwrap();
    assert_eq!(load.code(), 1, "{}", load.said());
    assert!(live.exchange(), "the programs go on");
    assert_eq!(loaded.says(&["unload", "--force"]).code(), 0);
}

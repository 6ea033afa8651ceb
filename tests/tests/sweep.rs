//! Sweeping: expired connections are removed by a program in bounded steps, all of them, and nothing else. Needs root.

use std::time::Duration;

use aya::programs::{SchedClassifier, TestRun as _, TestRunOptions};
use fw_common::conntrack::{Class, Connection, tick};
use fw_common::store::upkeep::{STRIDE, Swept};
use fw_common::store::{Buckets as _, Store};
use fw_common::{Address, FlowKey};
use fw_tests::filtered::{Filtered, web_rules};
use fw_tests::soundness;
use fw_userspace::datapath::{self, ConnectionTable};

const NS_PER_S: u64 = 1_000_000_000;

fn store(loaded: &Filtered) -> datapath::Store {
    datapath::Store::open(loaded.bpffs.path()).unwrap().unwrap()
}

/// So many of each family, as old as that; how many found a place.
fn fill(table: &ConnectionTable, count: u32, age_s: u64, class: Class) -> u64 {
    let now_ns = table.now_ns();
    let mut connection = Connection::EMPTY;
    connection.restart(now_ns, 7, 0);
    connection.0[0] |= 60 << 32;
    connection.set_last_seen(tick(now_ns).wrapping_sub(tick(age_s * NS_PER_S)));
    let keys = (0..count).flat_map(|number| {
        let v4 = |number: u32| Address::from_ipv4(number.to_be_bytes());
        let v6 = |low: u64| Address { high: 0x2001_0db8 << 32, low };
        let key = FlowKey {
            zone: 99,
            protocol: 17,
            local: v4(1),
            remote: v4(number),
            local_port: 53,
            remote_port: 53,
            reserved: 0,
        };
        [key, FlowKey { local: v6(1), remote: v6(number.into()), ..key }]
    });
    keys.filter(|key| Store(table).insert(key, &connection, class).is_ok()).count() as u64
}

#[test]
fn a_sweep_removes_all_that_has_expired_and_nothing_else() {
    let loaded = Filtered::new(&web_rules(20_000));
    let mut live = loaded.open(80).unwrap();
    let table = loaded.table();
    let before = Store(&table).counted();
    // A half-open flow takes no place of a confirmed one, so these come first.
    fill(&table, 2000, 300, Class::Inbound);
    fill(&table, 5000, 300, Class::Assured);
    let lasting = {
        let entries = table.iter().count();
        fill(&table, 10, 0, Class::Assured);
        table.iter().count().abs_diff(entries)
    };
    // Keys of the same numbers: the young ones took the places of old ones.
    assert_eq!(lasting, 0);
    let all = table.iter().count() as u64;
    let removed = datapath::sweep(&store(&loaded), Duration::from_secs(20)).unwrap();
    assert_eq!(removed, all - before - 20, "of {all}");
    assert_eq!(Store(&table).counted(), before + 20);
    soundness::check(&table).unwrap();
    assert!(live.exchange() && live.exchange_from_server());
    assert_eq!(datapath::sweep(&store(&loaded), Duration::from_secs(20)).unwrap(), 0);
}

/// Each call ends where its time is over and the next goes on there.
#[test]
fn sweeps_that_are_cut_short_come_round() {
    let loaded = Filtered::new(&web_rules(100_000));
    let table = loaded.table();
    let full = fill(&table, 40_000, 300, Class::Assured);
    assert_eq!(full, 80_000);
    let mut calls = 0;
    while Store(&table).counted() > 0 {
        datapath::sweep(&store(&loaded), Duration::from_micros(1)).unwrap();
        calls += 1;
        assert!(calls < 20_000, "{} are left", Store(&table).counted());
    }
    assert!(calls > 3, "{calls} calls were not short");
    soundness::check(&table).unwrap();
}

#[test]
fn a_load_sweeps() {
    let loaded = Filtered::new(&web_rules(4096));
    let mut live = loaded.open(80).unwrap();
    assert_eq!(fill(&loaded.table(), 1500, 300, Class::Assured), 3000);
    loaded.fwctl().load(&web_rules(4096)).unwrap();
    assert_eq!(loaded.table().iter().count(), 1, "a table of this size is swept at once");
    assert!(live.exchange());
}

/// How long one call keeps its CPU is printed: of what lives, of what has expired, and in an empty table. That it ends
/// long before the table does is tested.
#[test]
fn a_step_of_the_sweep_is_a_part_whatever_the_table_holds() {
    let loaded = Filtered::new(&web_rules(262_144));
    let table = loaded.table();
    let program = SchedClassifier::from_pin(store(&loaded).programs().join("sweep")).unwrap();
    let step = || {
        let options = TestRunOptions { data_in: Some(&[0; 16]), ..TestRunOptions::default() };
        let run = program.test_run(options).unwrap();
        (run.duration.as_nanos(), Swept(run.return_value))
    };
    let layout = table.founded().layout;
    let all = layout.ipv4.max(layout.ipv6).div_ceil(STRIDE);
    let measure = |what: &str| {
        let mut times = Vec::new();
        let [mut strides, mut removed] = [0, 0];
        while strides < all {
            let (time, swept) = step();
            assert!(swept.strides() <= 128, "{what}: {} strides in one call", swept.strides());
            strides += swept.strides();
            removed += swept.removed();
            times.push(time);
        }
        times.sort_unstable();
        let [median, most] = [times[times.len() / 2], times[times.len() - 1]];
        println!("{what}: {} calls, {removed} removed, {median} ns each, {most} ns at most", times.len());
        // Meant are 20 µs and one stride; how long that is on a busy host is no fault of ours.
        assert!(times.len() >= all as usize / 128, "{what}: {} calls for all of it", times.len());
    };
    measure("empty");
    fill(&table, 110_000, 0, Class::Assured);
    measure("full of live ones");
    let ticks = tick(300 * NS_PER_S);
    table.move_times(|last_seen| last_seen.wrapping_sub(ticks), |created| created);
    measure("full of expired ones");
    assert_eq!(Store(&table).counted(), 0);
}

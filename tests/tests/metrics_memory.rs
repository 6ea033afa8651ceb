//! A thousand scrapes leave nothing behind: alone in its process, whose memory is looked at. Needs root.

use std::sync::Arc;

use fw_tests::filtered::{Filtered, web_rules};
use fw_userspace::metrics::{Daemon, Exporter, Format, RuleMetrics};

/// What a scrape says of its own process.
fn of_process(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.and_then(|value| value.parse().ok()).expect("the process is told of")
}

#[test]
fn a_thousand_scrapes_take_no_memory_and_no_descriptors() {
    let filtered = Filtered::new(&web_rules(10_000));
    let exporter = Exporter::new(filtered.bpffs.path(), RuleMetrics::On, Arc::new(Daemon::new()));
    let scrapes = |count: u32| {
        filtered.rig.server.run(|| {
            (1..count).for_each(|_| drop(exporter.render(Format::OpenMetrics).unwrap()));
            exporter.render(Format::Text).unwrap()
        })
    };
    let before = scrapes(100);
    let after = scrapes(1_000);
    for name in ["process_resident_memory_bytes", "process_virtual_memory_bytes"] {
        let [before, after] = [&before, &after].map(|text| of_process(text, name));
        println!("{name}: {before} after 100 scrapes, {after} after 1,100");
        assert!(after < before + (2 << 20), "{name}: {before}, then {after}");
    }
    for name in ["process_open_fds", "process_threads"] {
        assert_eq!(of_process(&before, name), of_process(&after, name), "{name}");
    }
}

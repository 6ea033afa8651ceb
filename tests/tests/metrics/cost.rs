//! What a scrape takes.

use std::time::{Duration, Instant};

use fw_tests::filtered::{Filtered, web_rules};
use fw_userspace::metrics::Format;
use serde_json::{Value, json};

use super::{exporter, rendered, samples};

/// A group of so many rules, each with a CIDR and a port of its own.
pub(crate) fn many_rules(count: u32) -> Value {
    let rule = |number: u32| {
        let [_, a, b, c] = (0x0b00_0000 + number * 7).to_be_bytes();
        json!({ "id": format!("rule-{number}"), "protocol": "tcp", "from_port": number % 60_000,
                "to_port": number % 60_000, "cidr_blocks": [format!("11.{a}.{b}.{c}/32")] })
    };
    let rules: Vec<Value> = (0..count).map(rule).collect();
    json!({
        "version": 1,
        "security_groups": { "many": { "ingress": rules } },
        "interfaces": { "server": { "device": "eth0", "security_groups": ["many"] } },
        "settings": { "adopt_seconds": 0 }
    })
}

#[test]
fn ten_thousand_rules_and_a_full_table_are_rendered_in_a_hundred_milliseconds() {
    let filtered = Filtered::new(&many_rules(10_000));
    let one = exporter(&filtered);
    let time = |what: &str| {
        let times: Vec<Duration> = (0..10)
            .map(|_| {
                let start = Instant::now();
                rendered(&filtered, &one, Format::Text);
                start.elapsed()
            })
            .collect();
        println!("{what}: {times:?}");
        times.into_iter().min().unwrap_or_default()
    };
    let rules = time("10,000 rules");
    let text = rendered(&filtered, &one, Format::Text);
    let series = text.lines().filter(|line| !line.starts_with('#')).count();
    println!("{series} series, {} bytes", text.len());
    assert!(series > 20_000, "{series}");
    // Without optimisation it may take what it takes.
    if !cfg!(debug_assertions) {
        assert!(rules < Duration::from_millis(100), "{rules:?}");
    }
    drop(filtered);

    let filtered = Filtered::new(&web_rules(1_100_000));
    let listener = filtered.open(80).unwrap();
    filtered.fill(1_000_000);
    let one = exporter(&filtered);
    let start = Instant::now();
    for _ in 0..10 {
        rendered(&filtered, &one, Format::Text);
    }
    let full = start.elapsed() / 10;
    println!("1,000,000 connections: {full:?}");
    assert!(samples(&filtered).sum("fwctl_conntrack_entries", &[]) > 1_000_000);
    if !cfg!(debug_assertions) {
        assert!(full < Duration::from_millis(100), "{full:?}");
    }
    drop(listener);
}

//! Counters that move to larger maps while packets come.

use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use fw_tests::filtered::Filtered;
use serde_json::json;

use super::{cost, rules, samples};

/// The moment between the copy of the counters and the hooks is short: most runs would miss a mistake in it.
#[test]
fn no_counter_goes_backwards_for_a_scrape_that_comes_at_any_time_of_a_load() {
    let filtered = Filtered::new(&rules(false));
    let mut larger = cost::many_rules(3_000);
    let both = rules(false);
    larger["interfaces"] = both["interfaces"].clone();
    larger["interfaces"]["eni-web"]["security_groups"] = json!(["web", "many"]);
    // More interfaces than the map of their counters has room for at first; their devices may come later.
    for number in 0..40 {
        larger["interfaces"][format!("eni-{number}")] =
            json!({ "device": format!("later{number}"), "security_groups": ["web"] });
    }
    larger["security_groups"]["web"] = both["security_groups"]["web"].clone();

    let is_over = AtomicBool::new(false);
    let denied = thread::scope(|scope| {
        scope.spawn(|| {
            filtered.rig.client.run(|| {
                let socket = UdpSocket::bind(("0.0.0.0", 4000)).expect("a port is free");
                while !is_over.load(Ordering::Relaxed) {
                    let _ = socket.send_to(b"knock", (filtered.rig.server.v4, 9));
                    thread::sleep(Duration::from_micros(200));
                }
            });
        });
        let scrapes = scope.spawn(|| {
            let mut denied = Vec::new();
            while !is_over.load(Ordering::Relaxed) {
                denied.push(samples(&filtered).sum("fwctl_packets_total", &[("verdict", "deny")]));
            }
            denied
        });
        thread::sleep(Duration::from_millis(500));
        let loaded = filtered.fwctl().load(&larger);
        thread::sleep(Duration::from_millis(500));
        is_over.store(true, Ordering::Relaxed);
        loaded.expect("the larger rules are in force");
        scrapes.join().expect("scrapes do not fail")
    });
    println!("{} scrapes, from {:?} to {:?} packets", denied.len(), denied.first(), denied.last());
    assert!(denied.len() > 10 && denied.last() > denied.first(), "{denied:?}");
    let backwards = denied.windows(2).find(|pair| pair[1] < pair[0]);
    assert_eq!(backwards, None, "{denied:?}");
}

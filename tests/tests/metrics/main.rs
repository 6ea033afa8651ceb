//! What `fwctl serve` tells Prometheus, of rules in force and real traffic. Needs root.

mod cost;
mod examples;
mod growing;

use std::net::UdpSocket;
use std::sync::Arc;

use fw_tests::filtered::Filtered;
use fw_tests::samples::Samples;
use fw_tests::traffic::ping;
use fw_userspace::metrics::{Daemon, Exporter, Format, RuleMetrics};
use serde_json::{Value, json};

fn exporter(filtered: &Filtered) -> Exporter {
    Exporter::new(filtered.bpffs.path(), RuleMetrics::On, Arc::new(Daemon::new()))
}

/// What a scrape says, in the namespace of the rules.
fn rendered(filtered: &Filtered, exporter: &Exporter, format: Format) -> String {
    filtered.rig.server.run(|| exporter.render(format)).expect("metrics are rendered")
}

/// What a process says that has just begun.
fn samples(filtered: &Filtered) -> Samples {
    Samples::of(&filtered.rig.server, &filtered.bpffs).expect("metrics are rendered")
}

fn rules(observed: bool) -> Value {
    json!({
        "version": 1,
        "security_groups": { "web": { "egress": [], "ingress": [
            { "id": "ping", "protocol": "icmp", "icmp_type": 8, "icmp_code": -1, "cidr_blocks": ["0.0.0.0/0"] } ] } },
        "interfaces": { "eni-web": { "device": "eth0", "security_groups": ["web"], "enforce": !observed } },
        "settings": { "conntrack_max": 4096, "adopt_seconds": 0 }
    })
}

/// Datagrams that no rule lets in.
fn knock(filtered: &Filtered, count: u32) {
    filtered.rig.client.run(|| {
        let socket = UdpSocket::bind(("0.0.0.0", 4000)).expect("a port is free");
        for _ in 0..count {
            socket.send_to(b"knock", (filtered.rig.server.v4, 9)).expect("it is sent");
        }
    });
    // Received before this returns: a ping goes the same way behind them.
    ping(&filtered.rig.client, filtered.rig.server.v4).expect("an answer");
}

#[test]
fn every_packet_is_in_one_series_and_sums_agree_with_the_counters() {
    let filtered = Filtered::new(&rules(false));
    let before = samples(&filtered);
    knock(&filtered, 7);
    let after = samples(&filtered);
    let more = |name: &str, labels: &[(&str, &str)]| after.sum(name, labels) - before.sum(name, labels);
    let stats = filtered.fwctl().stats().unwrap();
    let counted: u64 = ["allow", "deny", "would_deny"].iter().map(|verdict| stats.verdict(verdict)).sum();
    assert_eq!(after.sum("fwctl_packets_total", &[]), counted);
    let denied = [("direction", "ingress"), ("verdict", "deny"), ("layer", "security_group")];
    assert_eq!(more("fwctl_packets_total", &denied), 7);
    assert_eq!(more("fwctl_bytes_total", &denied), 7 * (14 + 20 + 8 + 5));
    assert_eq!(more("fwctl_dropped_packets_total", &[("reason", "no_group_rule")]), 7);
    assert_eq!(after.sum("fwctl_packets_total", &[("verdict", "would_deny")]), 0);
    let rule = [("kind", "security_group"), ("id", "web"), ("direction", "ingress"), ("rule", "ping")];
    assert_eq!(after.sum("fwctl_rule_packets_total", &rule), stats.rule_packets("web", "ping"));
    assert_eq!(after.value("fwctl_rules_without_series"), Some(0.0));
    // The connection of the ping.
    assert_eq!(after.sum("fwctl_conntrack_entries", &[]), 1);
    assert_eq!(after.sum("fwctl_conntrack_max", &[]), 4096);
    assert_eq!(after.sum("fwctl_hook_attached", &[("interface", "eni-web"), ("hook", "tcx")]), 2);
    assert_eq!((after.sum("fwctl_up", &[]), after.sum("fwctl_ruleset_in_force", &[])), (1, 1));
}

#[test]
fn what_is_only_observed_would_be_denied_and_is_not_dropped() {
    let filtered = Filtered::new(&rules(true));
    knock(&filtered, 5);
    let now = samples(&filtered);
    assert_eq!(now.sum("fwctl_packets_total", &[("direction", "ingress"), ("verdict", "would_deny")]), 5);
    assert_eq!(now.sum("fwctl_packets_total", &[("verdict", "deny")]), 0);
    assert_eq!(now.sum("fwctl_dropped_packets_total", &[]), 0);
}

#[test]
fn reloads_and_new_processes_go_on_counting_and_an_unload_begins_anew() {
    let filtered = Filtered::new(&rules(false));
    knock(&filtered, 3);
    let before = samples(&filtered).of_packets();
    // Each `samples` makes an exporter of its own, as a new process does.
    filtered.fwctl().load(&rules(false)).unwrap();
    let reloaded = samples(&filtered).of_packets();
    reloaded.none_went_back(&before).unwrap();
    // More rules than there were slots for: the maps are made anew, larger.
    let mut larger = cost::many_rules(3_000);
    larger["interfaces"] = rules(false)["interfaces"].clone();
    larger["interfaces"]["eni-web"]["security_groups"] = json!(["web", "many"]);
    larger["security_groups"]["web"] = rules(false)["security_groups"]["web"].clone();
    filtered.fwctl().load(&larger).unwrap();
    let grown = samples(&filtered).of_packets();
    grown.none_went_back(&before).unwrap();
    assert!(filtered.fwctl().run(["unload"]).unwrap().status.success());
    let nothing = samples(&filtered);
    let of_the_state = ["fwctl_up", "fwctl_ruleset_in_force"].map(|series| nothing.value(series));
    assert_eq!(of_the_state, [Some(1.0), Some(0.0)]);
    assert_eq!(nothing.of_packets(), Samples::default());
    filtered.fwctl().load(&rules(false)).unwrap();
    assert_eq!(samples(&filtered).sum("fwctl_dropped_packets_total", &[]), 0);
}

#[test]
fn health_is_what_filters() {
    let filtered = Filtered::new(&rules(false));
    let exporter = exporter(&filtered);
    let health = || filtered.rig.server.run(|| exporter.health());
    health().unwrap();
    // Somebody else takes a program away.
    filtered.rig.server.ip("link set eth0 down").unwrap();
    health().unwrap();
    filtered.rig.server.ip("link delete eth0").unwrap();
    let said = health().unwrap_err().to_string();
    assert!(said.contains("\"eni-web\"") && said.contains("\"eth0\""), "{said}");
    let text = rendered(&filtered, &exporter, Format::Text);
    assert!(
        text.contains(
            "fwctl_hook_attached{interface=\"eni-web\",device=\"eth0\",side=\"sent\",hook=\"tcx\"} 0"
        )
    );
    assert!(filtered.fwctl().run(["unload"]).unwrap().status.success());
    assert!(health().unwrap_err().to_string().contains("nothing is loaded"));
}

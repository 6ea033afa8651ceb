//! `fwctl diff OLD NEW`: what needs no root and no kernel. Regions are set against brute force, and against what is
//! loaded, in `tests/tests/diff.rs`.

use std::fs;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

/// One group, one ACL, one interface.
fn rules() -> Value {
    json!({
        "version": 1,
        "subnets": { "front": { "cidr_blocks": ["10.0.1.0/24", "2001:db8:1::/64"], "network_acl": "acl" } },
        "network_acls": { "acl": {
            "ingress": [{ "rule_number": 100, "action": "allow", "protocol": "all", "cidr_block": "0.0.0.0/0" }],
            "egress": [{ "rule_number": 100, "action": "allow", "protocol": "all", "cidr_block": "0.0.0.0/0" }]
        } },
        "security_groups": { "web": {
            "ingress": [
                { "id": "https", "protocol": "tcp", "from_port": 443, "to_port": 443, "cidr_blocks": ["0.0.0.0/0"] },
                { "id": "ping", "protocol": "icmp", "icmp_type": 8, "icmp_code": -1, "cidr_blocks": ["192.0.2.0/24"] }
            ],
            "egress": []
        } },
        "interfaces": { "eni": {
            "device": "eth1", "subnet": "front", "addresses": ["10.0.1.10"], "security_groups": ["web"]
        } }
    })
}

fn changed(change: impl FnOnce(&mut Value)) -> Value {
    let mut rules = rules();
    change(&mut rules);
    rules
}

fn ingress(rules: &mut Value) -> &mut Vec<Value> {
    rules["security_groups"]["web"]["ingress"].as_array_mut().unwrap()
}

fn egress_entries(rules: &mut Value) -> &mut Vec<Value> {
    rules["network_acls"]["acl"]["egress"].as_array_mut().unwrap()
}

/// A file of one test, removed with it.
struct Saved(PathBuf);

impl Saved {
    fn new(rules: &Value) -> Self {
        use std::sync::atomic::{AtomicU32, Ordering};
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("fwctl-diff-{}-{number}.json", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::write(&path, rules.to_string()).unwrap();
        Self(path)
    }
}

impl Drop for Saved {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// The old rules from a file, the new ones from standard input.
fn diff(old: &Value, new: &Value, options: &[&str]) -> Output {
    let old = Saved::new(old);
    let mut child = Command::new(env!("CARGO_BIN_EXE_fwctl"))
        .args(["diff", old.0.to_str().unwrap(), "-"])
        .args(options)
        .env("NO_COLOR", "1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // What is refused by its options is never read.
    let _ = child.stdin.take().unwrap().write_all(new.to_string().as_bytes());
    child.wait_with_output().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

fn report(old: &Value, new: &Value) -> Value {
    let output = diff(old, new, &["--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Direction, verdict, packets, protocol, ports, remote of each region.
fn regions(report: &Value) -> Vec<Value> {
    let regions =
        report["interfaces"].as_array().unwrap().iter().flat_map(|it| it["regions"].as_array().unwrap());
    regions
        .map(|region| {
            let ports: Vec<String> = region["ports"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|span| format!("{}-{}", span["from"], span["to"]))
                .collect();
            json!([
                region["direction"],
                region["verdict"],
                region["packets"],
                region["protocol"],
                ports.join(" "),
                region["remote"]
            ])
        })
        .collect()
}

#[test]
fn a_rule_that_comes_and_one_that_goes() {
    let new = changed(|rules| {
        let rules = ingress(rules);
        rules.remove(1);
        rules.push(json!({ "id": "alt", "protocol": "tcp", "from_port": 8080, "to_port": 8081,
                           "cidr_blocks": ["198.51.100.0/25", "198.51.100.128/25"] }));
    });
    let output = diff(&rules(), &new, &[]);
    assert_eq!(output.status.code(), Some(0), "only with --exit-code");
    let expected = "\
~ security group web
    - ingress ping: icmp 8 192.0.2.0/24
    + ingress alt: tcp 8080-8081 198.51.100.0/25, 198.51.100.128/25

eni ingress
  + allow  tcp 8080-8081 from 198.51.100.0/24
         tcp 198.51.100.7 > 10.0.1.10:8080 syn
         deny (no_group_rule) -> allow (web ingress alt)
  - deny  icmp 8 from 192.0.2.0/24
         icmp 192.0.2.1 > 10.0.1.10 8/0
         allow (web ingress ping) -> deny (no_group_rule)

verdicts change: 2 regions at 1 interface
";
    assert_eq!(stdout(&output), expected);
}

#[test]
fn json_has_every_key_that_is_documented() {
    let new = changed(|rules| drop(ingress(rules).remove(1)));
    let report = report(&rules(), &new);
    let example = json!({
        "packet": "icmp 192.0.2.1 > 10.0.1.10 8/0",
        "before": { "verdict": "allow", "layer": "security_group", "reason": "rule",
                    "says": "a rule of a security group allows it",
                    "network_acl": { "id": "acl", "rule_number": 100, "action": "allow", "description": null },
                    "security_group": { "id": "web", "direction": "ingress", "rule": "ping", "index": 1,
                                        "description": null },
                    "tracked": true, "state": null, "observed": false },
        "after": { "verdict": "deny", "layer": "security_group", "reason": "no_group_rule",
                   "says": "no rule of the interface's groups allows it",
                   "network_acl": { "id": "acl", "rule_number": 100, "action": "allow", "description": null },
                   "security_group": null,
                   "tracked": false, "state": null, "observed": false }
    });
    let expected = json!({
        "verdicts_change": true,
        "objects": [{ "kind": "security_group", "name": "web", "change": "changed", "parts": [
            { "part": "ingress ping", "before": "icmp 8 192.0.2.0/24", "after": null }
        ] }],
        "interfaces": [{ "interface": "eni", "kind": "interface", "filter": "kept", "enforced": [true, true],
            "regions": [{
                "direction": "ingress", "family": "ipv4", "verdict": "deny", "packets": "first",
                "protocol": "icmp", "all_keys": false, "ports": null, "numbers": null,
                "icmp": [{ "from_type": 8, "to_type": 8, "from_code": 0, "to_code": 255 }],
                "remote": ["192.0.2.0/24"],
                "local": ["0.0.0.0/32", "10.0.1.10/32", "224.0.0.0/4", "255.255.255.255/32"],
                "local_is_usual": true, "example": example
            }] }]
    });
    assert_eq!(report, expected);
}

#[test]
fn other_words_for_the_same_change_no_verdict() {
    let new = changed(|rules| {
        let rules = ingress(rules);
        rules[0]["cidr_blocks"] = json!(["0.0.0.0/1", "128.0.0.0/1"]);
        rules.reverse();
    });
    let output = diff(&rules(), &new, &["--exit-code"]);
    assert_eq!(output.status.code(), Some(0));
    let said = stdout(&output);
    assert!(said.contains("~ ingress https: tcp 443 0.0.0.0/0 -> tcp 443 0.0.0.0/1, 128.0.0.0/1"), "{said}");
    assert!(said.ends_with("\nno verdict changes\n"), "{said}");

    let output = diff(&rules(), &changed(|rules| ingress(rules).reverse()), &["--exit-code"]);
    assert_eq!(stdout(&output), "the rules are the same\n\nno verdict changes\n");
}

#[test]
fn a_rule_that_others_cover_takes_nothing_away() {
    let wide = json!({ "id": "wide", "protocol": "tcp", "from_port": 400, "to_port": 500, "cidr_blocks": ["192.0.0.0/8"] });
    let old = changed(|rules| ingress(rules).push(wide.clone()));
    let new = changed(|rules| {
        ingress(rules).push(wide);
        ingress(rules).remove(0);
    });
    let all: Vec<Value> = regions(&report(&old, &new));
    let but = "0.0.0.0/1 128.0.0.0/2 193.0.0.0/8 194.0.0.0/7 196.0.0.0/6 200.0.0.0/5 208.0.0.0/4 224.0.0.0/3";
    let but: Vec<&str> = but.split(' ').collect();
    assert_eq!(all, [json!(["ingress", "deny", "first", "tcp", "443-443", but])]);
    assert!(stdout(&diff(&old, &new, &[])).contains("tcp 443 from 0.0.0.0/0 except 192.0.0.0/8\n"));
}

#[test]
fn an_acl_that_cuts_replies_is_not_lost() {
    let new = changed(|rules| {
        let entries = egress_entries(rules);
        entries[0] = json!({ "rule_number": 100, "action": "allow", "protocol": "tcp", "from_port": 1024,
                             "to_port": 65535, "cidr_block": "0.0.0.0/0" });
    });
    // The group lets nothing begin outbound, so only connections feel it.
    let report = report(&rules(), &new);
    let all = regions(&report);
    let named: Vec<(&str, &str, &str)> = all
        .iter()
        .map(|it| (it[2].as_str().unwrap(), it[3].as_str().unwrap(), it[4].as_str().unwrap()))
        .collect();
    let expected = [
        ("established", "tcp", "0-1023"),
        ("established", "udp", "0-65535"),
        ("established", "icmp", ""),
        ("established", "other", ""),
    ];
    assert_eq!(named, expected);
    assert_eq!(report["interfaces"][0]["regions"][0]["example"]["after"]["network_acl"]["rule_number"], "*");
    let said = stdout(&diff(&rules(), &new, &["--exit-code"]));
    assert!(said.contains("connections only\n"), "{said}");
    assert!(said.contains("allow (acl 100 allow) -> deny (acl * deny)"), "{said}");
}

#[test]
fn an_acl_entry_against_first_packets_and_connections_is_said_once() {
    let new = changed(|rules| {
        ingress(rules)[0]["protocol"] = json!("all");
        for key in ["from_port", "to_port"] {
            ingress(rules)[0].as_object_mut().unwrap().remove(key);
        }
    });
    let newer = {
        let mut rules = new.clone();
        let entries = rules["network_acls"]["acl"]["ingress"].as_array_mut().unwrap();
        entries.push(json!({ "rule_number": 50, "action": "deny", "protocol": "udp", "from_port": 53,
                             "to_port": 53, "cidr_block": "203.0.113.0/24" }));
        rules
    };
    let all = regions(&report(&new, &newer));
    assert_eq!(all, [json!(["ingress", "deny", "all", "udp", "53-53", ["203.0.113.0/24"]])]);
    let said = stdout(&diff(&new, &newer, &[]));
    assert!(said.contains("- deny  udp 53 from 203.0.113.0/24, connections included\n"), "{said}");
}

#[test]
fn a_new_address_and_a_check_turned_off() {
    let new = changed(|rules| rules["interfaces"]["eni"]["addresses"] = json!(["10.0.1.10", "10.0.1.11"]));
    let report_of = report(&rules(), &new);
    let region = &report_of["interfaces"][0]["regions"][0];
    assert_eq!((&region["local"], &region["local_is_usual"]), (&json!(["10.0.1.11/32"]), &json!(false)));
    assert_eq!(region["example"]["before"]["layer"], "source_dest_check");
    assert!(stdout(&diff(&rules(), &new, &[])).contains(" to 10.0.1.11/32"));

    let new = changed(|rules| rules["interfaces"]["eni"]["source_dest_check"] = json!(false));
    let said = stdout(&diff(&rules(), &new, &[]));
    assert!(said.contains("~ source_dest_check: true -> false"), "{said}");
    assert!(said.contains("tcp 443 from 0.0.0.0/0"), "{said}");
}

#[test]
fn filters_that_come_go_or_only_count() {
    let more = changed(|rules| {
        rules["interfaces"]["other"] = json!({ "device": "eth2", "security_groups": ["web"] });
    });
    let output = diff(&rules(), &more, &["--exit-code"]);
    assert_eq!(output.status.code(), Some(3));
    let said = stdout(&output);
    assert!(said.contains("+ interface other\n"), "{said}");
    assert!(said.contains("other is filtered for the first time: what no rule allows is dropped"), "{said}");
    let said = stdout(&diff(&more, &rules(), &[]));
    assert!(said.contains("other is filtered no more: everything passes"), "{said}");

    let counts = changed(|rules| rules["interfaces"]["eni"]["enforce"] = json!(false));
    let output = diff(&rules(), &counts, &["--exit-code"]);
    assert_eq!(output.status.code(), Some(3), "what it denied passes now");
    assert!(stdout(&output).contains("eni only counts what it denies: it will pass"), "{}", stdout(&output));
    let enforced = &report(&counts, &rules())["interfaces"][0]["enforced"];
    assert_eq!(*enforced, json!([false, true]));
}

#[test]
fn members_prefix_lists_and_settings() {
    let old = changed(|rules| {
        rules["prefix_lists"] = json!({ "office": { "entries": ["192.0.2.0/25"], "max_entries": 5 } });
        ingress(rules).push(json!({ "id": "ssh", "protocol": "tcp", "from_port": 22, "to_port": 22,
                                    "prefix_lists": ["office"], "self": true }));
    });
    let mut new = old.clone();
    new["prefix_lists"]["office"]["entries"] = json!(["192.0.2.0/25", "192.0.2.128/26"]);
    new["interfaces"]["far"] =
        json!({ "addresses": ["10.0.1.77"], "subnet": "front", "security_groups": ["web"] });
    new["settings"] = json!({ "mid_stream": "pickup", "conntrack_max": 4096 });
    assert_eq!(
        regions(&report(&old, &new)),
        [json!(["ingress", "allow", "first", "tcp", "22-22", ["10.0.1.77/32", "192.0.2.128/26"]])]
    );
    let said = stdout(&diff(&old, &new, &[]));
    for part in [
        "~ prefix list office\n    + entry 192.0.2.128/26: listed\n",
        "+ interface far\n",
        "~ settings\n    ~ conntrack_max: 262144 -> 4096\n    ~ mid_stream: drop -> pickup\n",
    ] {
        assert!(said.contains(part), "{part}\nis not in\n{said}");
    }
}

#[test]
fn a_leg_and_one_interface_alone() {
    let leg = |rules: &mut Value| rules["subnets"]["front"]["device"] = json!("eth2");
    let old = changed(leg);
    let new = changed(|rules| {
        leg(rules);
        rules["network_acls"]["acl"]["ingress"] = json!([]);
    });
    let of_leg = diff(&old, &new, &["--interface", "front"]);
    let said = stdout(&of_leg);
    assert!(said.contains("front (subnet) ingress\n"), "{said}");
    assert!(!said.contains("eni ingress"), "{said}");
    assert!(said.contains("verdicts change at front: "), "{said}");

    let output = diff(&old, &new, &["--interface", "fron"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("\"fron\" is no interface"), "{}", stderr(&output));
    assert!(stderr(&output).contains("did you mean \"front\"?"), "{}", stderr(&output));
    // Of one where nothing changes, nothing is said.
    let calm = changed(|rules| {
        leg(rules);
        drop(ingress(rules).remove(0));
    });
    let output = diff(&old, &calm, &["--interface", "front", "--exit-code"]);
    assert_eq!(output.status.code(), Some(0), "{}", stdout(&output));
    assert!(stdout(&output).ends_with("no verdict changes at front\n"));
}

#[test]
fn what_is_wrong_is_refused() {
    let fwctl = |words: &[&str]| {
        let output =
            Command::new(env!("CARGO_BIN_EXE_fwctl")).args(words).stdin(Stdio::null()).output().unwrap();
        (output.status.code(), stderr(&output))
    };
    let good = Saved::new(&rules());
    let good = good.0.to_str().unwrap();
    let (code, said) = fwctl(&["diff", "-", "-"]);
    assert_eq!(code, Some(2));
    assert!(said.contains("named twice"), "{said}");
    let (code, said) = fwctl(&["diff", good, "/nowhere/rules.json"]);
    assert_eq!(code, Some(2));
    assert!(said.contains("does not exist"), "{said}");
    assert_eq!(fwctl(&["diff"]).0, Some(2));
    assert_eq!(fwctl(&["diff", good, good, good]).0, Some(2));
    // Both are read before one of them ends it.
    let wrong = Saved::new(&json!({ "version": 2 }));
    let wrong = wrong.0.to_str().unwrap();
    let (code, said) = fwctl(&["diff", wrong, wrong, "--exit-code"]);
    assert_eq!(code, Some(2));
    assert_eq!(said.matches("error[value-invalid]: \"version\" is 2").count(), 2, "{said}");
}

#[test]
fn what_is_long_is_cut_short_unless_all_is_wanted() {
    let ports = (0..60).map(|port| {
        json!({ "id": format!("p{port}"), "protocol": "tcp", "from_port": 1000 + port * 2, "to_port": 1000 + port * 2,
                "cidr_blocks": [format!("198.51.{port}.0/24")] })
    });
    let new = changed(|rules| ingress(rules).extend(ports));
    let short = stdout(&diff(&rules(), &new, &[]));
    assert_eq!(short.matches("and 10 more: --all prints them").count(), 2, "{short}");
    assert!(short.contains("verdicts change: 60 regions at 1 interface"), "{short}");
    let long = stdout(&diff(&rules(), &new, &["--all"]));
    assert_eq!(long.matches("+ allow").count(), 60);
    assert_eq!(report(&rules(), &new)["interfaces"][0]["regions"].as_array().unwrap().len(), 60);
}

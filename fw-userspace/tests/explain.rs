//! `fwctl explain --rules`: what needs no root and no kernel. What is loaded is asked in `tests/src/run/wire.rs`, before
//! every packet of every case.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

const RULES: &str = r#"{
  "version": 1,
  "vpcs": { "main": { "cidr_blocks": ["10.0.0.0/16", "2001:db8:20::/56"] } },
  "subnets": {
    "front": { "vpc": "main", "cidr_blocks": ["10.0.1.0/24", "2001:db8:20:1::/64"], "network_acl": "acl-front" },
    "back": { "vpc": "main", "cidr_blocks": ["10.0.2.0/24", "2001:db8:20:2::/64"], "network_acl": "acl-back" }
  },
  "network_acls": {
    "acl-front": { "vpc": "main",
      "ingress": [
        { "rule_number": 90, "action": "deny", "protocol": "tcp", "from_port": 443, "to_port": 443, "cidr_block": "198.51.100.66/32" },
        { "rule_number": 100, "action": "allow", "protocol": "all", "cidr_block": "0.0.0.0/0" },
        { "rule_number": 101, "action": "allow", "protocol": "all", "cidr_block": "::/0" }
      ],
      "egress": [
        { "rule_number": 100, "action": "allow", "protocol": "all", "cidr_block": "0.0.0.0/0" },
        { "rule_number": 101, "action": "allow", "protocol": "all", "cidr_block": "::/0" }
      ] },
    "acl-back": { "vpc": "main",
      "ingress": [{ "rule_number": 100, "action": "allow", "protocol": "tcp", "from_port": 5432, "to_port": 5432, "cidr_block": "10.0.1.0/24" }],
      "egress": [] }
  },
  "security_groups": {
    "sg-web": { "vpc": "main", "ingress": [
      { "id": "ping", "protocol": "icmp", "icmp_type": 8, "icmp_code": 0, "cidr_blocks": ["198.51.100.0/24"] },
      { "id": "https", "protocol": "tcp", "from_port": 443, "to_port": 443, "cidr_blocks": ["198.51.100.0/24"], "description": "the office" }
    ] },
    "sg-db": { "vpc": "main", "ingress": [
      { "id": "sql", "protocol": "tcp", "from_port": 5432, "to_port": 5432, "security_groups": ["sg-web"] }
    ] }
  },
  "interfaces": {
    "eni-web": { "device": "eth1", "subnet": "front", "addresses": ["10.0.1.10", "2001:db8:20:1::10"], "security_groups": ["sg-web"] },
    "eni-db": { "subnet": "back", "addresses": ["10.0.2.10"], "security_groups": ["sg-db"] }
  }
}"#;

#[test]
fn an_answer_names_layer_rule_and_reason() {
    let answer =
        explained(&["--interface", "eni-web", "--ingress", "tcp", "198.51.100.7:51000", "10.0.1.10:443"]);
    let expected = json!({
        "verdict": "allow", "layer": "security_group", "reason": "rule",
        "says": "a rule of a security group allows it",
        "network_acl": { "id": "acl-front", "rule_number": 100, "action": "allow", "description": null },
        "security_group": { "id": "sg-web", "direction": "ingress", "rule": "https", "index": 1,
                            "description": "the office" },
        "tracked": true, "state": null, "observed": false,
    });
    assert_eq!(answer, expected);
    let words = ["--interface", "eni-web", "--ingress", "tcp", "198.51.100.7:51000", "10.0.1.10:443"];
    let output = explain(&words);
    assert_eq!(output.status.code(), Some(0));
    let said = stdout(&output);
    for part in [
        "allow  eni-web ingress tcp 198.51.100.7:51000 > 10.0.1.10:443 syn",
        "acl-front 100 allow",
        "sg-web ingress https (the office)",
    ] {
        assert!(said.contains(part), "{said}");
    }
}

#[test]
fn what_is_denied_is_an_answer_too() {
    let answer =
        explained(&["--interface", "eni-web", "--ingress", "tcp", "198.51.100.66:51000", "10.0.1.10:443"]);
    assert_eq!((&answer["verdict"], &answer["layer"]), (&json!("deny"), &json!("network_acl")));
    assert_eq!(answer["network_acl"]["rule_number"], 90);
    let answer =
        explained(&["--interface", "eni-web", "--ingress", "udp", "198.51.100.7:51000", "10.0.1.10:443"]);
    assert_eq!((&answer["reason"], &answer["tracked"]), (&json!("no_group_rule"), &json!(false)));
    let stray = ["--tcp-flags", "ack"];
    let packet = ["--interface", "eni-web", "--ingress", "tcp", "198.51.100.7:51000", "10.0.1.10:443"];
    assert_eq!(explained(&[&packet[..], &stray].concat())["reason"], "mid_stream");
    let other = ["--interface", "eni-web", "--ingress", "tcp", "198.51.100.7:51000", "10.0.1.11:443"];
    assert_eq!(explained(&other)["layer"], "source_dest_check");
}

#[test]
fn the_entry_that_let_on_what_the_groups_refuse_is_named() {
    let web = ["--interface", "eni-web", "--ingress"];
    let entry =
        |packet: &[&str]| explained(&[&web[..], packet].concat())["network_acl"]["rule_number"].clone();
    // A SYN, a datagram, a segment of no connection: refused in three places.
    assert_eq!(entry(&["tcp", "198.51.100.7:51000", "10.0.1.10:22"]), 100);
    assert_eq!(entry(&["udp", "198.51.100.7:51000", "10.0.1.10:443"]), 100);
    assert_eq!(entry(&["tcp", "198.51.100.7:51000", "10.0.1.10:443", "--tcp-flags", "ack"]), 100);
    assert_eq!(entry(&["tcp", "[2001:db8::7]:51000", "[2001:db8:20:1::10]:22"]), 101);
    // None was asked: another layer was first, both ends are inside the subnet, or, outbound, the groups refuse first.
    assert_eq!(entry(&["tcp", "198.51.100.7:51000", "10.0.1.11:443"]), Value::Null);
    assert_eq!(entry(&["tcp", "10.0.1.77:51000", "10.0.1.10:22"]), Value::Null);
    let mut rules: Value = serde_json::from_str(RULES).unwrap();
    rules["security_groups"]["sg-web"]["egress"] = json!([]);
    let out = ["--interface", "eni-web", "--egress", "tcp", "10.0.1.10:51000", "198.51.100.7:443", "--json"];
    let answer: Value = serde_json::from_slice(&explain_by(&rules.to_string(), &out).stdout).unwrap();
    assert_eq!((&answer["reason"], &answer["network_acl"]), (&json!("no_group_rule"), &Value::Null));
}

#[test]
fn icmp_other_protocols_and_frames() {
    let ping = ["--interface", "eni-web", "--ingress", "icmp", "198.51.100.7", "10.0.1.10"];
    assert_eq!(explained(&ping)["security_group"]["rule"], "ping");
    let unreachable = explained(&[&ping[..], &["--icmp-type", "3", "--icmp-code", "1"]].concat());
    assert_eq!(unreachable["reason"], "no_group_rule");
    let six = ["--interface", "eni-web", "--egress", "icmpv6", "2001:db8:20:1::10", "2001:db8::7"];
    assert_eq!(explained(&six)["security_group"]["rule"], "default-ipv6");
    // The other family's ICMP has a number and no types, and is named and shown by it.
    let foreign = ["--interface", "eni-web", "--egress", "58", "10.0.1.10", "203.0.113.1"];
    let said = stdout(&explain(&foreign));
    assert!(said.contains("egress 58 10.0.1.10 > 203.0.113.1\n"), "{said}");
    let typed = stderr(&explain(&[&foreign[..], &["--icmp-type", "8"]].concat()));
    assert!(typed.contains("\"--icmp-type\" goes with icmp and icmpv6, not with \"58\""), "{typed}");
    let gre = ["--interface", "eni-web", "--egress", "47", "10.0.1.10", "203.0.113.1"];
    assert_eq!(explained(&gre)["verdict"], "allow");
    // An ARP request, with white space and colons.
    let arp = "ff:ff:ff:ff:ff:ff 02:00:00:00:00:01 08 06 0001 0800 06 04 0001 020000000001 0a000101 000000000000 0a00010a";
    let answer = explained(&["--interface", "eni-web", "--ingress", "--hex", arp]);
    assert_eq!((&answer["layer"], &answer["reason"]), (&json!("exempt"), &json!("arp")));
}

#[test]
fn the_way_to_another_interface_and_what_is_missing_on_it() {
    let answer = explained(&["--from", "eni-web", "--to", "eni-db", "tcp/5432"]);
    let [ipv4] = &answer["families"].as_array().unwrap()[..] else { panic!("{answer}") };
    assert_eq!((&ipv4["family"], &ipv4["verdict"]), (&json!("ipv4"), &json!("deny")));
    let steps: Vec<(&str, &str, &str)> = ipv4["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| {
            let word = |key: &str| step[key].as_str().unwrap();
            (word("interface"), word("direction"), word("verdict"))
        })
        .collect();
    assert_eq!(
        steps,
        [("eni-web", "egress", "allow"), ("eni-db", "ingress", "allow"), ("eni-db", "egress", "deny")],
        "the answer does not get out of the database's subnet"
    );
    let [change] = &ipv4["changes"].as_array().unwrap()[..] else { panic!("{ipv4}") };
    assert_eq!(change["at"], "network_acls.acl-back.egress");
    // The change does what it says.
    let mut rules: Value = serde_json::from_str(RULES).unwrap();
    rules["network_acls"]["acl-back"]["egress"].as_array_mut().unwrap().push(change["value"].clone());
    let output = explain_by(&rules.to_string(), &["--from", "eni-web", "--to", "eni-db", "tcp/5432"]);
    assert!(stdout(&output).contains("tcp/5432 from eni-web to eni-db is reachable"), "{}", stdout(&output));

    let answer = explained(&["--from", "eni-web", "--to", "eni-db", "tcp/22"]);
    let places: Vec<&str> = answer["families"][0]["changes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|change| change["at"].as_str().unwrap())
        .collect();
    let needed =
        ["network_acls.acl-back.ingress", "security_groups.sg-db.ingress", "network_acls.acl-back.egress"];
    assert_eq!(places, needed);
}

/// Number, action and ports of an ACL's entry.
type Entry = (u16, &'static str, u16, u16);
/// Ports of a client, and the number of the entry that denies the answer to them.
type Denied = (u16, u16, Value);

/// A path's verdict, what its usual clients may expect, and from which of a client's ports it is denied by what.
fn reach(egress: &[Entry]) -> (Value, Vec<Value>, Vec<(Value, Value, Value)>) {
    let mut rules: Value = serde_json::from_str(RULES).unwrap();
    rules["network_acls"]["acl-back"]["egress"] = egress
        .iter()
        .map(|(number, action, from, to)| {
            json!({ "rule_number": number, "action": action, "protocol": "tcp", "from_port": from, "to_port": to,
                    "cidr_block": "10.0.1.0/24" })
        })
        .collect();
    let output =
        explain_by(&rules.to_string(), &["--from", "eni-web", "--to", "eni-db", "tcp/5432", "--json"]);
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    let family = &answer["families"][0];
    let list = |key: &str| family[key].as_array().unwrap().clone();
    let denied = list("client_ports").into_iter().filter(|ports| ports["verdict"] == "deny").map(|ports| {
        let by = &ports["blocked"];
        assert_eq!((&by["interface"], &by["network_acl"]["id"]), (&json!("eni-db"), &json!("acl-back")));
        (ports["from"].clone(), ports["to"].clone(), by["network_acl"]["rule_number"].clone())
    });
    let clients = list("clients").into_iter().map(|client| client["verdict"].clone());
    // What is said to help does.
    for change in list("changes") {
        let entries = rules["network_acls"]["acl-back"]["egress"].as_array_mut().unwrap();
        entries.push(change["value"].clone());
    }
    let output = explain_by(&rules.to_string(), &["--from", "eni-web", "--to", "eni-db", "tcp/5432"]);
    assert!(stdout(&output).contains("eni-db is reachable\n"), "{}", stdout(&output));
    (family["verdict"].clone(), clients.collect(), denied.collect())
}

#[test]
fn a_way_is_told_for_all_ports_that_a_client_may_choose() {
    let case = |egress: &[Entry], verdict: &str, clients: [&str; 3], denied: &[Denied]| {
        let (said, systems, ports) = reach(egress);
        assert_eq!((said, systems), (json!(verdict), clients.map(|it| json!(it)).to_vec()), "{egress:?}");
        let denied: Vec<_> =
            denied.iter().map(|(from, to, by)| (json!(from), json!(to), by.clone())).collect();
        assert_eq!(ports, denied, "{egress:?}");
    };
    let star = || json!("*");
    case(&[(100, "allow", 1024, 65_535)], "allow", ["allow"; 3], &[]);
    case(&[(100, "allow", 0, 1023)], "deny", ["deny"; 3], &[(1024, 65_535, star())]);
    // What a Windows host, or who reads RFC 6335, takes for all.
    let iana = [(100, "allow", 49_152, 65_535)];
    case(&iana, "partly", ["partly", "allow", "partly"], &[(1024, 49_151, star())]);
    let linux = [(100, "allow", 32_768, 60_999)];
    let beside = [(1024, 32_767, star()), (61_000, 65_535, star())];
    case(&linux, "partly", ["allow", "partly", "partly"], &beside);
    // One port in the middle, by an entry of its own.
    let one = [(90, "deny", 40_000, 40_000), (100, "allow", 1024, 65_535)];
    case(&one, "partly", ["partly", "allow", "partly"], &[(40_000, 40_000, json!(90))]);
    // In nobody's usual range, and by two entries.
    let two = [(90, "deny", 8000, 9000), (95, "deny", 9001, 9999), (100, "allow", 1024, 65_535)];
    let denied = [(8000, 9000, json!(90)), (9001, 9999, json!(95))];
    case(&two, "partly", ["allow", "allow", "partly"], &denied);
    let ping = explained(&["--from", "eni-web", "--to", "eni-db", "icmp"]);
    assert_eq!(ping["families"][0]["client_ports"], json!([]), "it has no ports");
}

/// A capture in which a connection is opened, and a stray segment.
fn capture() -> Vec<u8> {
    let (client, server) = ([198, 51, 100, 7], [10, 0, 1, 10]);
    let segments = [
        (client, server, 51_000, 443, 0x02, 1, 0),
        (server, client, 443, 51_000, 0x12, 500, 2),
        (client, server, 51_000, 443, 0x10, 2, 501),
        (client, server, 52_000, 443, 0x10, 9, 9),
        ([192, 0, 2, 1], [192, 0, 2, 2], 1, 2, 0x02, 1, 0),
    ];
    captured(&segments)
}

/// One segment a second.
fn captured(segments: &[Segment]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for word in [0xa1b2_c3d4u32, 0x0004_0002, 0, 0, 65_535, 1] {
        bytes.extend(word.to_le_bytes());
    }
    for (second, segment) in (0u32..).zip(segments) {
        let frame = tcp(*segment);
        for word in [1_700_000_000 + second, 0, frame.len() as u32, frame.len() as u32] {
            bytes.extend(word.to_le_bytes());
        }
        bytes.extend(frame);
    }
    bytes
}

type Segment = ([u8; 4], [u8; 4], u16, u16, u8, u32, u32);

fn tcp((source, destination, from, to, flags, sequence, acknowledged): Segment) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
    frame.extend([0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0]);
    frame.extend(source.iter().chain(&destination));
    frame.extend(from.to_be_bytes().iter().chain(&to.to_be_bytes()));
    frame.extend(sequence.to_be_bytes().iter().chain(&acknowledged.to_be_bytes()));
    frame.extend([0x50, flags, 0xff, 0xff, 0, 0, 0, 0]);
    frame
}

#[test]
fn a_capture_is_a_conversation() {
    let file = file("talk.pcap", &capture());
    let answer = explained(&["--interface", "eni-web", "--pcap", &file]);
    assert_eq!((&answer["packets"], &answer["elsewhere"]), (&json!(4), &json!(1)));
    let groups: Vec<(&str, &str, u64)> = answer["groups"]
        .as_array()
        .unwrap()
        .iter()
        .map(|group| {
            let word = |key: &str| group[key].as_str().unwrap();
            (word("direction"), word("reason"), group["first"].as_u64().unwrap())
        })
        .collect();
    let expected = [
        ("ingress", "rule", 1),
        ("egress", "established", 2),
        ("ingress", "established", 3),
        ("ingress", "mid_stream", 4),
    ];
    assert_eq!(groups, expected);
    assert_eq!(answer["cut_off"], Value::Null);
}

#[test]
fn a_connection_whose_answers_are_not_seen_is_explained() {
    let (client, server) = ([198, 51, 100, 7], [10, 0, 1, 10]);
    let syn = (client, server, 51_000, 443, 0x02, 1, 0);
    let answer = (server, client, 443, 51_000, 0x12, 500, 2);
    let ack = (client, server, 51_000, 443, 0x10, 2, 501);
    let meaning = "one_sided: its answers are not seen here, so it ends after 120 s";
    let said = |name: &str, segments: &[Segment]| {
        let file = file(name, &captured(segments));
        stdout(&explain(&["--interface", "eni-web", "--pcap", &file])).contains(meaning)
    };
    assert!(said("half.pcap", &[syn, ack, ack]));
    assert!(!said("both.pcap", &[syn, answer, ack]));
}

#[test]
fn a_capture_that_is_cut_off_is_told_as_far_as_it_goes() {
    let whole = capture();
    let file = file("cut.pcap", &whole[..whole.len() - 10]);
    let output = explain(&["--interface", "eni-web", "--pcap", &file]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stdout(&output).contains("mid_stream"), "{}", stdout(&output));
    assert_eq!(
        stderr(&output),
        format!("error: {file:?}: after packet 4 it ends in the middle of a packet\n")
    );
}

#[test]
fn wrong_questions_are_one_line() {
    let no_capture = file("text.pcap", b"this is no capture at all");
    let empty = file("empty.pcap", b"");
    let web = ["--interface", "eni-web", "--ingress"];
    let wrong: [(&[&str], &str); 15] = [
        (&["--hex", "0a0"], "3 digits are no whole bytes"),
        (&["--hex", "zz"], "'z' is no hexadecimal digit"),
        (&["--hex", ""], "the frame is empty"),
        (&["tcp", "198.51.100.7:1", "10.0.1.10"], "\"10.0.1.10\" needs a port, such as \"10.0.1.10:443\""),
        (&["icmp", "198.51.100.7:1", "10.0.1.10"], "has a port, \"icmp\" has none"),
        (&["tcp", "198.51.100.7:1", "[2001:db8::7]:2"], "are of two families"),
        (&["icmp", "2001:db8::1", "2001:db8::7"], "\"icmp\" does not go with IPv6, \"icmpv6\" does"),
        (&["sctp", "198.51.100.7:1", "10.0.1.10:2"], "\"sctp\" must be \"tcp\", \"udp\""),
        (&["tcp", "198.51.100:1", "10.0.1.10:2"], "\"198.51.100:1\" must be ADDRESS:PORT"),
        (
            &["tcp", "198.51.100.7:1", "010.0.1.10:2"],
            "read as octal numbers and others as decimal ones, write \"10.0.1.10:2\"",
        ),
        (&["tcp", "198.51.100.7:1"], "which packet? give PROTOCOL SOURCE DESTINATION"),
        (&["udp", "198.51.100.7:1", "10.0.1.10:2", "--tcp-flags", "ack"], "\"--tcp-flags\" goes with tcp"),
        (&["--pcap", &no_capture], "it is no capture: neither pcap nor pcapng"),
        (&["--pcap", &empty], "it is empty; a capture"),
        (&["--pcap", "/nonexistent.pcap"], "does not exist"),
    ];
    for (words, part) in wrong {
        let output = explain(&[&web[..], words].concat());
        let said = stderr(&output);
        assert_eq!(output.status.code(), Some(2), "{words:?}: {said}");
        assert!(
            said.starts_with("error: ") && said.contains(part) && said.lines().count() == 1,
            "{words:?}: {said}"
        );
    }
    let packet = ["tcp", "198.51.100.7:1", "10.0.1.10:443"];
    let near = explain(&[&["--interface", "eni-wep", "--ingress"], &packet[..]].concat());
    assert!(stderr(&near).contains("did you mean \"eni-web\"?"), "{}", stderr(&near));
    let remote = explain(&[&["--interface", "eni-db", "--ingress"], &packet[..]].concat());
    assert!(stderr(&remote).contains("\"eni-db\" has no device on this host"), "{}", stderr(&remote));
    let undirected = explain(&[&["--interface", "eni-web"], &packet[..]].concat());
    assert!(stderr(&undirected).contains("give \"--ingress\" or \"--egress\""), "{}", stderr(&undirected));
    let itself = explain(&["--from", "eni-web", "--to", "eni-web", "tcp/1"]);
    assert!(stderr(&itself).contains("name two interfaces"), "{}", stderr(&itself));
    let no_port = explain(&["--from", "eni-web", "--to", "eni-db", "tcp"]);
    assert!(stderr(&no_port).contains("must be like \"tcp/5432\""), "{}", stderr(&no_port));
}

fn explained(words: &[&str]) -> Value {
    let output = explain(&[words, &["--json"]].concat());
    assert_eq!(output.status.code(), Some(0), "{words:?}: {}", stderr(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn explain(words: &[&str]) -> Output {
    explain_by(RULES, words)
}

fn explain_by(rules: &str, words: &[&str]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_fwctl"))
        .args(["explain", "--rules", "-"])
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // One that refuses its words reads nothing.
    let _ = child.stdin.take().unwrap().write_all(rules.as_bytes());
    child.wait_with_output().unwrap()
}

fn file(name: &str, bytes: &[u8]) -> String {
    let path = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, bytes).unwrap();
    path.display().to_string()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn stderr(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

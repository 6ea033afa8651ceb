//! The rules file as a user meets it: what loads, what is refused, and where the messages point.

use std::fmt::Write as _;

use fw_userspace::document::{Finding, Reading, Severity, read, render};
use fw_userspace::model::{AclChoice, DeviceSelector, Faces, IcmpMatch, Mode, Policy, PortRange, Traffic};

const SMALLEST: &str = r#"{ "version": 1,
  "security_groups": { "host": { "ingress": [ { "protocol": "tcp", "from_port": 22, "to_port": 22, "cidr_blocks": ["10.0.0.0/8"] } ] } },
  "interfaces": { "eth0": { "device": "eth0", "security_groups": ["host"] } } }"#;

const FULL: &str = r#"{
  "version": 1,
  "vpcs": {
    "vpc-seoul":  { "cidr_blocks": ["10.0.0.0/16", "2001:db8:20::/56"] },
    "vpc-london": { "cidr_blocks": ["20.0.0.0/16"] }
  },
  "peerings": { "pcx-1": { "requester": "vpc-seoul", "accepter": "vpc-london", "status": "active" } },
  "subnets": {
    "subnet-a": { "vpc": "vpc-seoul", "cidr_blocks": ["10.0.1.0/24", "2001:db8:20:1::/64"],
                  "network_acl": "acl-web" }
  },
  "network_acls": {
    "acl-web": {
      "vpc": "vpc-seoul",
      "ingress": [
        { "rule_number": 100, "action": "allow", "protocol": "tcp", "from_port": 443, "to_port": 443,
          "cidr_block": "0.0.0.0/0" },
        { "rule_number": 110, "action": "deny", "protocol": "icmp", "icmp_type": 8, "icmp_code": -1,
          "cidr_block": "203.0.113.0/24" }
      ],
      "egress": [ { "rule_number": 100, "action": "allow", "protocol": "all", "cidr_block": "0.0.0.0/0" } ]
    }
  },
  "prefix_lists": {
    "pl-s3": { "entries": ["52.219.0.0/16", "2001:db8:5::/48"], "max_entries": 10 }
  },
  "security_groups": {
    "sg-web": {
      "vpc": "vpc-seoul", "description": "public web tier",
      "ingress": [
        { "id": "https", "protocol": "tcp", "from_port": 443, "to_port": 443, "cidr_blocks": ["0.0.0.0/0", "::/0"] },
        { "protocol": "tcp", "from_port": 8080, "to_port": 8090, "security_groups": ["sg-lb"], "self": true },
        { "protocol": "icmp", "icmp_type": -1, "icmp_code": -1, "cidr_blocks": ["20.0.0.0/16"] }
      ],
      "egress": [ { "protocol": "tcp", "from_port": 443, "to_port": 443, "prefix_lists": ["pl-s3"] } ]
    },
    "sg-lb": { "vpc": "vpc-seoul", "ingress": [], "egress": [] }
  },
  "interfaces": {
    "eni-web": { "subnet": "subnet-a", "addresses": ["10.0.1.10", "2001:db8:20:1::10"],
                 "security_groups": ["sg-web"],
                 "device": "eth0", "faces": "network", "mode": "auto" },
    "eni-lb":  { "subnet": "subnet-a", "addresses": ["10.0.1.20"], "security_groups": ["sg-lb"] }
  },
  "settings": { "conntrack_max": 262144 }
}"#;

fn policy(source: &str) -> Policy {
    let Reading { policy, findings } = read(source.as_bytes());
    policy.unwrap_or_else(|| panic!("{}", render("rules.json", &findings)))
}

/// The findings of one severity as `path: message`.
fn said(source: &str, severity: Severity) -> Vec<String> {
    let reading = read(source.as_bytes());
    let has_errors = reading.of(Severity::Error).next().is_some();
    assert_eq!(reading.policy.is_none(), has_errors);
    reading.of(severity).map(|Finding { path, message, .. }| format!("{path}: {message}")).collect()
}

/// A file with one error, and what is said about it.
fn the_error(source: &str) -> String {
    let errors = said(source, Severity::Error);
    assert_eq!(errors.len(), 1, "{errors:#?}");
    errors.into_iter().next().unwrap_or_default()
}

fn the_warning(source: &str) -> String {
    assert_eq!(said(source, Severity::Error), [""; 0]);
    let warnings = said(source, Severity::Warning);
    assert_eq!(warnings.len(), 1, "{warnings:#?}");
    warnings.into_iter().next().unwrap_or_default()
}

/// A file with one group of one inbound rule.
fn with_rule(rule: &str) -> String {
    format!(r#"{{ "version": 1, "security_groups": {{ "sg": {{ "ingress": [ {rule} ] }} }} }}"#)
}

/// A file with one ACL of these inbound entries.
fn with_entries(entries: &str) -> String {
    format!(r#"{{ "version": 1, "network_acls": {{ "acl": {{ "ingress": [ {entries} ] }} }} }}"#)
}

/// A file with one VPC, one subnet and these sections.
fn with_sections(sections: &str) -> String {
    format!(
        r#"{{ "version": 1,
            "vpcs": {{ "a": {{ "cidr_blocks": ["10.0.0.0/16"] }}, "b": {{ "cidr_blocks": ["20.0.0.0/16"] }} }},
            {sections} }}"#
    )
}

fn assert_says(said: &str, path: &str, parts: &[&str]) {
    assert!(said.starts_with(&format!("{path}: ")), "{path} is not where it says: {said}");
    for part in parts {
        assert!(said.contains(part), "{part} is not in: {said}");
    }
}

#[test]
fn the_smallest_example_loads() {
    let policy = policy(SMALLEST);
    let interface = &policy.interfaces["eth0"];
    let attachment = interface.attachment.as_ref().expect("has a device");
    assert_eq!(attachment.device, DeviceSelector::Name("eth0".to_owned()));
    assert_eq!((attachment.faces, attachment.mode), (Faces::Network, Mode::Auto));
    assert!(interface.enforce && interface.source_dest_check);
    let group = &policy.security_groups["host"];
    assert_eq!(group.ingress[0].traffic, Traffic::Tcp(PortRange { from: 22, to: 22 }));
    let default: Vec<&str> = group.egress.iter().map(|rule| rule.id.as_str()).collect();
    assert_eq!(default, ["default-ipv4", "default-ipv6"]);
}

#[test]
fn the_full_example_loads_without_a_word() {
    let reading = read(FULL.as_bytes());
    assert_eq!(render("rules.json", &reading.findings), "");
    let policy = reading.policy.expect("no errors");
    assert_eq!(policy.subnets["subnet-a"].network_acl, AclChoice::Named("acl-web".to_owned()));
    let web = &policy.security_groups["sg-web"];
    assert_eq!(web.ingress[0].id, "https");
    assert_eq!(web.ingress[1].security_groups, ["sg-web", "sg-lb"]);
    assert_eq!(web.ingress[2].traffic, Traffic::Icmp(IcmpMatch { kind: None, code: None }));
    assert_eq!(policy.security_groups["sg-lb"].egress, []);
    assert_eq!(policy.prefix_lists["pl-s3"].max_entries, 10);
    assert!(policy.peerings["pcx-1"].active);
    assert_eq!(policy.interfaces.keys().collect::<Vec<_>>(), ["eni-web", "eni-lb"]);
}

#[test]
fn every_example_loads_without_a_warning() {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples");
    let mut count = 0;
    for file in std::fs::read_dir(directory).expect("examples are there") {
        let path = file.expect("readable").path();
        if path.extension().is_some_and(|extension| extension == "json") {
            let reading = read(&std::fs::read(&path).expect("readable"));
            assert_eq!(render(&path.display().to_string(), &reading.findings), "");
            count += 1;
        }
    }
    assert!(count >= 5, "{count} examples");
}

#[test]
fn ten_mistakes_give_ten_errors_each_on_its_line() {
    let source = r#"{
  "version": 2,
  "vpcs": { "v": { "cidr_blocks": ["10.0.0.0/16"] } },
  "subnets": { "s": { "vpc": "w", "cidr_blocks": ["10.0.1.0/24"] } },
  "network_acls": {
    "acl": { "vpc": "v", "ingress": [
      { "rule_number": 0, "action": "allow", "protocol": "all", "cidr_block": "0.0.0.0/0" },
      { "rule_number": 100, "action": "permit", "protocol": "all", "cidr_block": "0.0.0.0/0" }
    ] }
  },
  "security_groups": {
    "sg": { "vpc": "v", "ingress": [
      { "protocol": "tcp", "from_prot": 80, "from_port": 80, "to_port": 80, "self": true },
      { "protocol": "TCP", "from_port": 80, "to_port": 80, "self": true },
      { "protocol": "udp", "from_port": 90, "to_port": 80, "self": true },
      { "protocol": "all", "cidr_blocks": ["10.0.0.0/33"] }
    ] }
  },
  "interfaces": { "eni": {
      "device": "lo",
      "security_groups": ["gs"] } }
}"#;
    let reading = read(source.as_bytes());
    assert!(reading.policy.is_none());
    let expected = r#"
rules.json:2:14: error: version: "version" is 2, must be 1 [value-invalid]
rules.json:4:30: error: subnets.s.vpc: "vpc" names "w", there is no such VPC, did you mean "v"? [name-unknown]
rules.json:7:24: error: network_acls.acl.ingress[0].rule_number: "rule_number" is 0, must be 1 to 32766 [value-invalid]
rules.json:8:39: error: network_acls.acl.ingress[1].action: "action" is "permit", must be "allow" or "deny" [value-invalid]
rules.json:13:28: error: security_groups.sg.ingress[0].from_prot: unknown key "from_prot", did you mean "from_port"? [key-unknown]
rules.json:14:21: error: security_groups.sg.ingress[1].protocol: "protocol" is "TCP", must be "tcp", "udp", "icmp", "icmpv6" or "all", or an integer -1 to 255, did you mean "tcp"? [value-invalid]
rules.json:15:41: error: security_groups.sg.ingress[2].from_port: "from_port" is 90, must not be above "to_port", which is 80 [value-conflict]
rules.json:16:44: error: security_groups.sg.ingress[3].cidr_blocks[0]: "cidr_blocks" has "10.0.0.0/33", must be a CIDR such as "10.0.0.0/8" or "2001:db8::/32" [value-invalid]
rules.json:20:17: error: interfaces.eni.device: "device" is "lo", must be another device, the loopback device is never filtered [value-invalid]
rules.json:21:27: error: interfaces.eni.security_groups[0]: "security_groups" names "gs", there is no such security group, did you mean "sg"? [name-unknown]
"#;
    assert_eq!(render("rules.json", &reading.findings), expected.trim_start());
}

#[test]
fn numbers_that_others_read_as_octal_are_refused_wherever_an_address_stands() {
    let write = |place: &str, value: &str| {
        let mut rules = serde_json::json!({
            "version": 1,
            "vpcs": { "v": { "cidr_blocks": ["8.0.0.0/5"] } },
            "subnets": { "s": { "vpc": "v", "cidr_blocks": ["10.0.0.0/8"], "network_acl": "acl" } },
            "network_acls": { "acl": { "vpc": "v", "ingress": [
                { "rule_number": 1, "action": "allow", "protocol": "all", "cidr_block": "10.0.0.0/8" }
            ] } },
            "prefix_lists": { "p": { "entries": ["10.0.0.0/8", { "cidr": "11.0.0.0/8" }] } },
            "security_groups": { "g": { "vpc": "v", "ingress": [
                { "protocol": "all", "cidr_blocks": ["10.0.0.0/8"], "prefix_lists": ["p"] }
            ] } },
            "interfaces": { "i": { "device": "eth0", "subnet": "s", "addresses": ["10.0.0.1"], "security_groups": ["g"] } }
        });
        *rules.pointer_mut(place).unwrap_or_else(|| panic!("{place} is there")) = value.into();
        read(rules.to_string().as_bytes())
    };
    for place in [
        "/vpcs/v/cidr_blocks/0",
        "/subnets/s/cidr_blocks/0",
        "/network_acls/acl/ingress/0/cidr_block",
        "/prefix_lists/p/entries/0",
        "/prefix_lists/p/entries/1/cidr",
        "/security_groups/g/ingress/0/cidr_blocks/0",
    ] {
        assert!(write(place, "10.0.0.0/8").policy.is_some(), "{place}");
        for (value, plain) in [("010.0.0.0/8", "10.0.0.0/8"), ("10.0.0.0/08", "10.0.0.0/8")] {
            let Reading { policy, findings } = write(place, value);
            let said = findings.iter().map(|finding| &finding.message).find(|it| it.contains(value));
            let said = said.unwrap_or_else(|| panic!("{place}: {findings:#?}"));
            assert!(policy.is_none() && said.contains("octal"), "{place}: {said}");
            assert!(said.ends_with(&format!("write {plain:?}")), "{place}: {said}");
        }
    }
    let findings = write("/interfaces/i/addresses/0", "10.0.0.01").findings;
    assert!(findings[0].message.ends_with("write \"10.0.0.1\""), "{findings:#?}");
    // In IPv6 they mean nothing.
    assert!(write("/prefix_lists/p/entries/0", "2001:0db8::/32").policy.is_some());
}

#[test]
fn what_is_no_json_gives_one_error() {
    for (source, place, part) in [
        (&b""[..], (1, 1), "empty"),
        (b" \n\t", (1, 1), "empty"),
        (b"{", (1, 1), "the file ends"),
        (b"{\"version\": 1, }", (1, 16), "comma before it"),
        (b"{\"version\": 1, \"interfaces\": [1,\n]}", (2, 1), "comma before it"),
        (b"{\"version\": 1} x", (1, 16), "trailing characters"),
        (b"{\n  // a remark\n  \"version\": 1 }", (2, 3), "no comments"),
        (b"{ \"version\": \xff }", (1, 14), "not UTF-8"),
        (b"[1, 2]", (1, 1), "must be an object"),
        (b"null", (1, 1), "must be an object"),
        (b"\xef\xbb\xbf{ \"version\": 3 }", (1, 14), "must be 1"),
    ] {
        let Reading { policy, findings } = read(source);
        assert!(policy.is_none());
        let [finding] = findings.as_slice() else { panic!("{findings:#?}") };
        assert!(finding.message.contains(part), "{}", finding.message);
        assert_eq!((finding.line, finding.column), place, "{}", finding.message);
    }
}

#[test]
fn deep_nesting_and_long_garbage_give_one_error() {
    let deep = 100_000;
    let nested = |open: &str, close: &str| format!("{}{}", open.repeat(deep), close.repeat(deep));
    for source in [
        nested("[", "]"),
        "[".repeat(deep),
        format!("{}1{}", r#"{"a":"#.repeat(deep), "}".repeat(deep)),
        format!(r#"{{ "version": 1, "settings": {} }}"#, nested("[", "]")),
        format!(
            r#"{{ "version": 1, "security_groups": {{ "sg": {{ "ingress": {} }} }} }}"#,
            nested("[", "]")
        ),
        "x".repeat(5_000_000),
        "\"".to_owned() + &"x".repeat(5_000_000),
        format!(r#"{{ "version": {} }}"#, "1".repeat(5_000_000)),
        format!(r#"{{ "version": 1, "{}": 1 }}"#, "x".repeat(5_000_000)),
    ] {
        let reading = read(source.as_bytes());
        let errors = reading.of(Severity::Error).filter(|error| error.message != "\"version\" is missing");
        assert_eq!(errors.count(), 1);
        assert!(reading.findings.iter().all(|finding| finding.message.len() < 300));
    }
}

#[test]
fn columns_count_characters_and_odd_names_are_quoted_in_paths() {
    let source = r#"{ "version": 1, "security_groups": { "wéb.1": { "igress": [] } } }"#;
    let Reading { findings, .. } = read(source.as_bytes());
    assert_eq!((findings[0].line, findings[0].column), (1, 49));
    assert_eq!(findings[0].path, "security_groups[\"wéb.1\"].igress");
}

#[test]
fn duplicate_keys_and_names_are_refused() {
    let twice = r#"{ "version": 1, "version": 1 }"#;
    assert_says(&the_error(twice), "version", &["duplicate key \"version\""]);
    let twice = r#"{ "version": 1, "security_groups": { "a": {}, "a": {} } }"#;
    assert_says(&the_error(twice), "security_groups.a", &["duplicate name \"a\""]);
    let escaped = r#"{ "version": 1, "security_groups": { "a": {}, "\u0061": {} } }"#;
    assert_says(&the_error(escaped), "security_groups.a", &["duplicate name \"a\""]);
}

#[test]
fn names_are_printable_text() {
    for name in ["", r"\n", r"\ud800"] {
        let source = format!(r#"{{ "version": 1, "security_groups": {{ "{name}": {{}} }} }}"#);
        let errors = said(&source, Severity::Error);
        assert!(matches!(errors.as_slice(), [error] if error.contains("must be")), "{errors:#?}");
    }
}

#[test]
fn ports_go_with_tcp_and_udp_only() {
    let path = "security_groups.sg.ingress[0]";
    for (rule, at, parts) in [
        (r#"{ "protocol": "tcp", "self": true }"#, "", &["\"from_port\" and \"to_port\" are missing"][..]),
        (r#"{ "protocol": 17, "from_port": 1, "self": true }"#, "", &["\"to_port\" is missing", "udp"]),
        (r#"{ "protocol": "all", "from_port": 1, "self": true }"#, ".from_port", &["all, leave it out"]),
        (r#"{ "protocol": 50, "to_port": 1, "self": true }"#, ".to_port", &["protocol 50"]),
        (r#"{ "protocol": "icmp", "self": true }"#, "", &["\"icmp_type\" and \"icmp_code\" are missing"]),
        (r#"{ "protocol": "icmp", "icmp_type": 8, "self": true }"#, "", &["\"icmp_code\" is missing"]),
        (
            r#"{ "protocol": "icmp", "icmp_type": -1, "icmp_code": 3, "self": true }"#,
            ".icmp_code",
            &["must be -1"],
        ),
        (r#"{ "protocol": "icmpv6", "icmp_code": 0, "self": true }"#, ".icmp_code", &["must be -1"]),
        (
            r#"{ "protocol": "icmp", "icmp_type": 256, "icmp_code": 3, "self": true }"#,
            ".icmp_type",
            &["-1 to 255"],
        ),
        (
            r#"{ "protocol": "tcp", "from_port": 1, "to_port": 2, "icmp_type": 8, "self": true }"#,
            ".icmp_type",
            &["tcp"],
        ),
        (
            r#"{ "protocol": "tcp", "from_port": "80", "to_port": 80, "self": true }"#,
            ".from_port",
            &["80 without quotes"],
        ),
        (
            r#"{ "protocol": "tcp", "from_port": 80, "to_port": 65536, "self": true }"#,
            ".to_port",
            &["0 to 65535"],
        ),
        (
            r#"{ "protocol": "tcp", "from_port": 80.5, "to_port": 90, "self": true }"#,
            ".from_port",
            &["is 80.5"],
        ),
        (
            r#"{ "protocol": "tcp", "from_port": null, "to_port": 90, "self": true }"#,
            ".from_port",
            &["is null"],
        ),
        (r#"{ "protocol": 256, "self": true }"#, ".protocol", &["-1 to 255"]),
        (r#"{ "protocol": "6", "self": true }"#, ".protocol", &["write 6 without quotes"]),
        (r#"{ "self": true }"#, "", &["\"protocol\" is missing"]),
        (r#"{ "protocol": "all" }"#, "", &["no peer"]),
        (r#"{ "protocol": "all", "self": false, "cidr_blocks": [] }"#, "", &["no peer"]),
        (r#"{ "protocol": "all", "prefix_lists": ["pl"] }"#, ".prefix_lists[0]", &["no such prefix list"]),
        (r#"{ "protocol": "all", "cidr_blocks": ["10.0.0.1"] }"#, ".cidr_blocks[0]", &["\"10.0.0.1/32\""]),
        (
            r#"{ "protocol": "all", "cidr_blocks": ["::ffff:10.0.0.0/104"] }"#,
            ".cidr_blocks[0]",
            &["\"10.0.0.0/8\""],
        ),
        (r#"{ "protocol": "all", "cidr_blocks": "10.0.0.0/8" }"#, ".cidr_blocks", &["must be a list"]),
    ] {
        assert_says(&the_error(&with_rule(rule)), &format!("{path}{at}"), parts);
    }
}

#[test]
fn protocol_numbers_mean_their_words() {
    for (protocol, traffic) in [
        ("-1", Traffic::All),
        ("\"all\"", Traffic::All),
        ("0", Traffic::Protocol(0)),
        ("58", Traffic::Icmpv6(IcmpMatch { kind: None, code: None })),
        ("255", Traffic::Protocol(255)),
    ] {
        let policy = policy(&with_rule(&format!(r#"{{ "protocol": {protocol}, "self": true }}"#)));
        assert_eq!(policy.security_groups["sg"].ingress[0].traffic, traffic);
    }
    let rule = r#"{ "protocol": 1, "icmp_type": 15, "icmp_code": -1, "self": true }"#;
    let traffic = Traffic::Icmp(IcmpMatch { kind: Some(15), code: None });
    assert_eq!(policy(&with_rule(rule)).security_groups["sg"].ingress[0].traffic, traffic);
}

#[test]
fn rule_numbers_are_unique_per_direction() {
    let entry = |number: u32, cidr: &str| {
        format!(
            r#"{{ "rule_number": {number}, "action": "allow", "protocol": "all", "cidr_block": "{cidr}" }}"#
        )
    };
    let both = [entry(100, "0.0.0.0/0"), entry(100, "::/0")].join(",");
    let path = "network_acls.acl.ingress[1].rule_number";
    assert_says(&the_error(&with_entries(&both)), path, &["is 100", "unique in its direction"]);
    let sorted = policy(&with_entries(&[entry(200, "0.0.0.0/0"), entry(100, "::/0")].join(",")));
    let numbers: Vec<u16> =
        sorted.network_acls["acl"].ingress.iter().map(|entry| entry.rule_number).collect();
    assert_eq!(numbers, [100, 200]);
    for number in ["0", "32767", "-1", "99999999999999999999", "true"] {
        let entry = format!(
            r#"{{ "rule_number": {number}, "action": "allow", "protocol": "all", "cidr_block": "::/0" }}"#
        );
        let said = the_error(&with_entries(&entry));
        assert_says(&said, "network_acls.acl.ingress[0].rule_number", &["must be 1 to 32766"]);
    }
    let again = [entry(200, "10.0.0.0/8"), entry(100, "10.0.0.0/8")].join(",");
    assert_says(
        &the_warning(&with_entries(&again)),
        "network_acls.acl.ingress[0]",
        &["200", "entry 100", "first"],
    );
}

#[test]
fn entries_have_one_cidr() {
    let entry = r#"{ "rule_number": 1, "action": "allow", "protocol": "all" }"#;
    assert_says(
        &the_error(&with_entries(entry)),
        "network_acls.acl.ingress[0]",
        &["\"cidr_block\" is missing"],
    );
    let entry = r#"{ "rule_number": 1, "action": "Allow", "protocol": "all", "cidr_block": "::/0" }"#;
    assert_says(
        &the_error(&with_entries(entry)),
        "network_acls.acl.ingress[0].action",
        &["did you mean \"allow\""],
    );
}

#[test]
fn families_that_cannot_match_are_warned_of() {
    let rule = r#"{ "protocol": "icmp", "icmp_type": -1, "icmp_code": -1, "cidr_blocks": ["::/0"] }"#;
    assert_says(
        &the_warning(&with_rule(rule)),
        "security_groups.sg.ingress[0].cidr_blocks[0]",
        &["IPv4 only"],
    );
    let rule = r#"{ "protocol": "icmpv6", "cidr_blocks": ["0.0.0.0/0"] }"#;
    assert_says(
        &the_warning(&with_rule(rule)),
        "security_groups.sg.ingress[0].cidr_blocks[0]",
        &["IPv6 only"],
    );
    let entry = r#"{ "rule_number": 1, "action": "deny", "protocol": 1, "icmp_type": 8, "icmp_code": 0, "cidr_block": "::/0" }"#;
    assert_says(&the_warning(&with_entries(entry)), "network_acls.acl.ingress[0].cidr_block", &["IPv4 only"]);
    let entry = r#"{ "rule_number": 1, "action": "deny", "protocol": 58, "cidr_block": "0.0.0.0/0" }"#;
    assert_eq!(said(&with_entries(entry), Severity::Warning), [""; 0]);
}

#[test]
fn host_bits_are_cleared_with_a_note() {
    let source = with_rule(r#"{ "protocol": "all", "cidr_blocks": ["100.68.0.18/18"] }"#);
    let notes = said(&source, Severity::Note);
    assert_says(
        &notes[0],
        "security_groups.sg.ingress[0].cidr_blocks[0]",
        &["100.68.0.18/18", "100.68.0.0/18"],
    );
    let cidr = policy(&source).security_groups["sg"].ingress[0].cidr_blocks[0];
    assert_eq!(cidr.to_string(), "100.68.0.0/18");
}

#[test]
fn duplicate_rules_and_cidrs_load_with_a_warning() {
    let source = with_rule(r#"{ "protocol": "all", "cidr_blocks": ["10.0.0.0/8", "10.1.0.0/8"] }"#);
    assert_says(&the_warning(&source), "security_groups.sg.ingress[0].cidr_blocks[1]", &["10.0.0.0/8 twice"]);
    let source = with_rule(
        r#"{ "protocol": "all", "cidr_blocks": ["10.0.0.0/8", "::/0"], "description": "one" },
           { "protocol": -1, "cidr_blocks": ["::/0", "10.0.0.0/8"] }"#,
    );
    assert_says(&the_warning(&source), "security_groups.sg.ingress[1]", &["duplicate"]);
    let policy = policy(&source);
    let [first, second] = policy.security_groups["sg"].ingress.as_slice() else { panic!("two rules") };
    assert_eq!(second.id, format!("{}-2", first.id));
}

#[test]
fn a_rule_without_an_id_keeps_its_name_wherever_it_stands() {
    let rule = r#"{ "protocol": "tcp", "from_port": 22, "to_port": 22, "cidr_blocks": ["10.0.0.0/8"] }"#;
    let alone = policy(&with_rule(rule));
    let id = &alone.security_groups["sg"].ingress[0].id;
    // Counters and dashboards know rules by this text: it may never change.
    assert_eq!(id, "54ebf0f5");
    let second = policy(&with_rule(&format!(r#"{{ "protocol": "all", "self": true }}, {rule}"#)));
    assert_eq!(&second.security_groups["sg"].ingress[1].id, id);
    let other = policy(&with_rule(&rule.replace("22,", "23,").replace("22, ", "23, ").replace("10.", "11.")));
    assert_ne!(&other.security_groups["sg"].ingress[0].id, id);
}

#[test]
fn ids_are_unique_in_their_list() {
    let rule = |id: &str, port: u16| {
        format!(
            r#"{{ "id": "{id}", "protocol": "udp", "from_port": {port}, "to_port": {port}, "self": true }}"#
        )
    };
    let source = with_rule(&[rule("a", 1), rule("a", 2)].join(","));
    assert_says(&the_error(&source), "security_groups.sg.ingress[1].id", &["is \"a\"", "unique"]);
    let source = with_rule(&rule("", 1));
    assert_says(&the_error(&source), "security_groups.sg.ingress[0].id", &["1 to 255 characters"]);
}

#[test]
fn descriptions_have_at_most_255_characters() {
    let with = |length: usize| format!(r#"{{ "version": 1, "description": "{}" }}"#, "é".repeat(length));
    assert_eq!(policy(&with(255)), Policy::default());
    assert_says(&the_error(&with(256)), "description", &["at most 255", "256"]);
}

#[test]
fn all_objects_name_a_vpc_or_none_does() {
    let source = with_sections(r#""security_groups": { "sg": {} }"#);
    assert_says(&the_error(&source), "security_groups.sg", &["\"vpc\" is missing"]);
    let source = r#"{ "version": 1, "security_groups": { "sg": { "vpc": "a" } } }"#;
    assert_says(&the_error(source), "security_groups.sg.vpc", &["no such VPC"]);
    let source = r#"{ "version": 1, "vpcs": { "a": { "cidr_blocks": ["2001:db8::/56"] } } }"#;
    assert_says(&the_error(source), "vpcs.a.cidr_blocks", &["no IPv4 block"]);
}

#[test]
fn peered_vpcs_are_two_and_do_not_overlap() {
    let peering = |to: &str, status: &str| {
        format!(
            r#"{{ "version": 1,
                "vpcs": {{ "a": {{ "cidr_blocks": ["10.0.0.0/16"] }}, "b": {{ "cidr_blocks": ["10.0.0.0/8"] }} }},
                "peerings": {{ "p": {{ "requester": "a", "accepter": "{to}", "status": "{status}" }} }} }}"#
        )
    };
    assert_says(&the_error(&peering("b", "active")), "peerings.p", &["overlap", "10.0.0.0/16", "10.0.0.0/8"]);
    assert_eq!(said(&peering("b", "deleted"), Severity::Error), [""; 0]);
    assert_says(&the_error(&peering("a", "active")), "peerings.p.accepter", &["another VPC"]);
    assert_says(&the_error(&peering("c", "active")), "peerings.p.accepter", &["no such VPC"]);
    assert_says(&the_error(&peering("b", "activ")), "peerings.p.status", &["did you mean \"active\""]);
    assert_eq!(said(&peering("b", "pending-acceptance"), Severity::Error).len(), 1);
}

#[test]
fn subnets_lie_inside_their_vpc_and_apart() {
    let subnets = |one: &str, other: &str| {
        with_sections(&format!(
            r#""subnets": {{ "x": {{ "vpc": "a", "cidr_blocks": [{one}] }}, "y": {{ "vpc": "a", "cidr_blocks": [{other}] }} }}"#
        ))
    };
    let source = subnets(r#""10.0.1.0/24""#, r#""10.1.0.0/24""#);
    assert_says(&the_error(&source), "subnets.y.cidr_blocks[0]", &["inside VPC \"a\"", "10.0.0.0/16"]);
    let source = subnets(r#""10.0.1.0/24""#, r#""10.0.0.0/22""#);
    assert_says(&the_error(&source), "subnets.y.cidr_blocks[0]", &["overlaps 10.0.1.0/24 of subnet \"x\""]);
    let source = subnets(r#""10.0.1.0/24""#, "");
    assert_says(&the_error(&source), "subnets.y.cidr_blocks", &["empty"]);
}

#[test]
fn a_subnet_finds_its_network_acl() {
    let acls = |acls: &str, subnet: &str| {
        with_sections(&format!(
            r#""network_acls": {{ {acls} }}, "subnets": {{ "s": {{ "vpc": "a", "cidr_blocks": ["10.0.1.0/24"] {subnet} }} }}"#
        ))
    };
    let one = r#""one": { "vpc": "a", "default": true }"#;
    assert_eq!(policy(&acls(one, "")).subnets["s"].network_acl, AclChoice::Named("one".to_owned()));
    let elsewhere = r#""one": { "vpc": "b", "default": true }"#;
    assert_eq!(policy(&acls(elsewhere, "")).subnets["s"].network_acl, AclChoice::AwsDefault);
    let named = r#", "network_acl": "one""#;
    assert_says(&the_error(&acls(elsewhere, named)), "subnets.s.network_acl", &["another VPC"]);
    assert_says(&the_error(&acls("", named)), "subnets.s.network_acl", &["no such network ACL"]);
    let two = format!(r#"{one}, "two": {{ "vpc": "a", "default": true }}"#);
    assert_says(&the_error(&acls(&two, "")), "network_acls.two.default", &["\"one\""]);
}

#[test]
fn a_group_that_cannot_match_makes_the_rule_stale() {
    let source = |sections: &str, group: &str| {
        with_sections(&format!(
            r#"{sections} "security_groups": {{
                "mine": {{ "vpc": "a", "ingress": [ {{ "protocol": "all", "security_groups": ["{group}"] }} ] }},
                "theirs": {{ "vpc": "b" }} }}"#
        ))
    };
    let path = "security_groups.mine.ingress[0].security_groups[0]";
    let missing = source("", "their");
    assert_says(&the_warning(&missing), path, &["stale", "does not exist", "did you mean \"theirs\""]);
    assert_eq!(policy(&missing).security_groups["mine"].ingress[0].security_groups, [""; 0]);
    assert_says(&the_warning(&source("", "theirs")), path, &["stale", "no active peering"]);
    let peering = |status: &str| {
        format!(r#""peerings": {{ "p": {{ "requester": "b", "accepter": "a", "status": "{status}" }} }},"#)
    };
    assert_says(&the_warning(&source(&peering("deleted"), "theirs")), path, &["stale"]);
    let good = policy(&source(&peering("active"), "theirs"));
    assert_eq!(good.security_groups["mine"].ingress[0].security_groups, ["theirs"]);
    let far = source(&peering("active"), "theirs").replace(
        r#""cidr_blocks": ["20.0.0.0/16"]"#,
        r#""cidr_blocks": ["20.0.0.0/16"], "region": "eu-west-2""#,
    );
    assert_says(&the_warning(&far), path, &["stale", "another region"]);
}

#[test]
fn interfaces_belong_to_one_vpc() {
    let source = |interface: &str| {
        with_sections(&format!(
            r#""subnets": {{ "s": {{ "vpc": "a", "cidr_blocks": ["10.0.1.0/24"] }} }},
               "security_groups": {{ "one": {{ "vpc": "a" }}, "two": {{ "vpc": "b" }} }},
               "interfaces": {{ "i": {{ {interface} }} }}"#
        ))
    };
    for (interface, path, part) in [
        (r#""device": "eth0""#, "", "\"security_groups\" is missing"),
        (
            r#""device": "eth0", "security_groups": ["three"]"#,
            ".security_groups[0]",
            "no such security group",
        ),
        (r#""device": "eth0", "security_groups": ["one", "two"]"#, ".security_groups[1]", "another VPC"),
        (
            r#""device": "eth0", "security_groups": ["two"], "subnet": "s""#,
            ".security_groups[0]",
            "its subnet",
        ),
        (r#""device": "eth0", "security_groups": ["one"], "subnet": "t""#, ".subnet", "no such subnet"),
        (r#""security_groups": ["one"]"#, "", "needs \"addresses\""),
        (
            r#""security_groups": ["one"], "subnet": "s", "addresses": ["10.0.2.1"]"#,
            ".addresses[0]",
            "inside subnet",
        ),
        (
            r#""security_groups": ["one"], "addresses": ["10.0.2.1/24"]"#,
            ".addresses[0]",
            "write \"10.0.2.1\"",
        ),
        (
            r#""security_groups": ["one"], "addresses": ["::ffff:10.0.0.1"]"#,
            ".addresses[0]",
            "write \"10.0.0.1\"",
        ),
        (r#""security_groups": ["one"], "addresses": ["0.0.0.0"]"#, ".addresses[0]", "unicast"),
        (r#""device": "eth0/1", "security_groups": ["one"]"#, ".device", "without slash"),
        (r#""device": "a-name-too-long-for-linux", "security_groups": ["one"]"#, ".device", "1 to 15 bytes"),
        (r#""device": {}, "security_groups": ["one"]"#, ".device", "exactly one"),
        (
            r#""device": { "mac": "52:54:00:12:34" }, "security_groups": ["one"]"#,
            ".device.mac",
            "hardware address",
        ),
        (
            r#""device": { "mac": "00:00:00:00:00:00" }, "security_groups": ["one"]"#,
            ".device.mac",
            "not zero",
        ),
        (r#""device": "eth0", "security_groups": ["one"], "udp_timeout": 61"#, ".udp_timeout", "30 to 60"),
        (
            r#""device": "eth0", "security_groups": ["one"], "mode": "skb""#,
            ".mode",
            "\"auto\", \"xdp\" or \"tc\"",
        ),
        (r#""device": "eth0", "security_groups": ["one"], "enforce": 1"#, ".enforce", "true or false"),
        (r#""device": "eth0", "security_groups": ["one"], "vpc": "a""#, ".vpc", "unknown key"),
    ] {
        assert_says(&the_error(&source(interface)), &format!("interfaces.i{path}"), &[part]);
    }
    let nothing = source(r#""device": "eth0", "security_groups": []"#);
    assert_says(&the_warning(&nothing), "interfaces.i.security_groups", &["neither"]);
}

#[test]
fn a_device_is_named_once() {
    let source = |leg: &str, one: &str, two: &str| {
        format!(
            r#"{{ "version": 1, "security_groups": {{ "g": {{}} }},
                "subnets": {{ "s": {{ "cidr_blocks": ["10.0.0.0/24"], "device": {leg} }} }},
                "interfaces": {{ "one": {{ "device": {one}, "security_groups": ["g"] }},
                                 "two": {{ "device": {two}, "security_groups": ["g"] }} }} }}"#
        )
    };
    assert_eq!(said(&source("\"br0\"", "\"eth0\"", "\"eth1\""), Severity::Error), [""; 0]);
    let mac = |mac: &str| format!(r#"{{ "mac": "{mac}" }}"#);
    let macs = source("\"br0\"", &mac("52:54:00:12:34:5A"), &mac("52-54-00-12-34-5a"));
    for (source, path, part) in [
        (source("\"br0\"", "\"eth0\"", "\"eth0\""), "interfaces.two.device", "taken by interface \"one\""),
        (source("\"br0\"", "\"br0\"", "\"eth0\""), "interfaces.one.device", "taken by subnet \"s\""),
        (source("\"br0\"", "\"et*\"", "\"*h0\""), "interfaces.two.device", "neither glob is longer"),
        (source("\"br?\"", "\"*r0\"", "\"eth0\""), "interfaces.one.device", "takes \"br0\" too"),
        (macs, "interfaces.two.device", "taken by interface \"one\""),
    ] {
        assert_says(&the_error(&source), path, &[part]);
    }
}

#[test]
fn the_more_specific_selector_gets_a_device_and_the_other_is_told() {
    for (one, two, path, part) in [
        ("\"eth*\"", "\"eth0\"", "interfaces.one.device", "\"two\" gets: \"eth0\" is more specific"),
        (
            "\"veth-web*\"",
            "\"veth*\"",
            "interfaces.two.device",
            "\"one\" gets: \"veth-web*\" is more specific",
        ),
    ] {
        let source = format!(
            r#"{{ "version": 1, "security_groups": {{ "g": {{ "ingress": [] }} }},
                "interfaces": {{ "one": {{ "device": {one}, "security_groups": ["g"] }},
                                 "two": {{ "device": {two}, "security_groups": ["g"] }} }} }}"#
        );
        assert_eq!(said(&source, Severity::Error), [""; 0]);
        let notes = said(&source, Severity::Note);
        assert_eq!(notes.len(), 1, "{notes:?}");
        assert_says(&notes[0], path, &[part]);
    }
}

#[test]
fn an_address_is_of_one_interface_in_its_vpc() {
    let source = |vpc: &str| {
        with_sections(&format!(
            r#""security_groups": {{ "one": {{ "vpc": "a" }}, "two": {{ "vpc": "{vpc}" }} }},
               "interfaces": {{ "i": {{ "addresses": ["10.0.0.1"], "security_groups": ["one"] }},
                                "j": {{ "addresses": ["10.0.0.1"], "security_groups": ["two"] }} }}"#
        ))
    };
    assert_says(&the_error(&source("a")), "interfaces.j.addresses[0]", &["interface \"i\""]);
    assert_eq!(said(&source("b"), Severity::Error), [""; 0]);
}

#[test]
fn more_than_five_groups_are_warned_of_and_more_than_sixteen_refused() {
    let source = |count: usize| {
        let groups: Vec<String> = (0..count).map(|n| format!(r#""g{n}": {{}}"#)).collect();
        let names: Vec<String> = (0..count).map(|n| format!(r#""g{n}""#)).collect();
        format!(
            r#"{{ "version": 1, "security_groups": {{ {} }},
                "interfaces": {{ "i": {{ "device": "eth0", "security_groups": [{}] }} }} }}"#,
            groups.join(","),
            names.join(",")
        )
    };
    assert_eq!(said(&source(5), Severity::Warning), [""; 0]);
    assert_says(&the_warning(&source(16)), "interfaces.i.security_groups", &["16 groups"]);
    assert_says(&the_error(&source(17)), "interfaces.i.security_groups", &["at most 16"]);
}

#[test]
fn prefix_lists_take_cidrs_in_two_spellings() {
    let list = |rest: &str| {
        format!(
            r#"{{ "version": 1, "prefix_lists": {{ "pl": {{
                "entries": ["10.0.0.0/8", {{ "cidr": "2001:db8::/32", "description": "six" }}] {rest} }} }} }}"#
        )
    };
    let policy = policy(&list(""));
    assert_eq!((policy.prefix_lists["pl"].entries.len(), policy.prefix_lists["pl"].max_entries), (2, 2));
    assert_says(&the_error(&list(r#", "max_entries": 1"#)), "prefix_lists.pl.max_entries", &["at least 2"]);
}

#[test]
fn a_mistake_is_not_reported_twice() {
    // The group, the subnet and the VPC are there, wrong as they are: whoever names them is not to blame.
    let source = r#"{ "version": 1,
        "vpcs": { "a": { "cidr_blocks": ["10.0.0.0/16", "10.1.0.0/99"] } },
        "subnets": { "s": 5, "t": { "vpc": "a", "cidr_blocks": ["10.1.1.0/24"] } },
        "security_groups": { "sg": [], "sh": { "vpc": "a", "ingress": [
            { "protocol": "all", "cidr_blocks": ["10.0.0"] } ] } },
        "interfaces": { "i": { "device": "eth0", "subnet": "s", "security_groups": ["sg"] } } }"#;
    let errors = said(source, Severity::Error);
    assert_eq!(errors.len(), 4, "{errors:#?}");
}

#[test]
fn settings_have_bounds() {
    let source = |settings: &str| format!(r#"{{ "version": 1, "settings": {{ {settings} }} }}"#);
    for (settings, path, part) in [
        (r#""conntrack_max": 1023"#, "conntrack_max", "1024 to 16777216"),
        (r#""adopt_seconds": 3601"#, "adopt_seconds", "0 to 3600"),
        (r#""mid_stream": "pick_up""#, "mid_stream", "did you mean \"pickup\""),
        (r#""exempt_services": "link-local""#, "exempt_services", "did you mean \"link_local\""),
        (r#""other_ethertypes": true"#, "other_ethertypes", "\"drop\" or \"pass\""),
    ] {
        assert_says(&the_error(&source(settings)), &format!("settings.{path}"), &[part]);
    }
}

#[test]
fn a_million_cidrs_read_in_a_few_seconds() {
    let mut list = String::new();
    for n in 0..1_000_000_u32 {
        let [_, a, b, c] = n.to_be_bytes();
        let _ = write!(list, "{}\"{}.{a}.{b}.{c}/32\"", if n == 0 { "" } else { ", " }, 11 + n % 100);
    }
    let source = with_rule(&format!(r#"{{ "protocol": "all", "cidr_blocks": [{list}] }}"#));
    let start = std::time::Instant::now();
    let policy = policy(&source);
    let seconds = start.elapsed().as_secs_f64();
    assert_eq!(policy.security_groups["sg"].ingress[0].cidr_blocks.len(), 1_000_000);
    println!("{} bytes in {seconds:.2} s", source.len());
    // Without optimisation it takes several times as long.
    assert!(seconds < if cfg!(debug_assertions) { 30.0 } else { 3.0 }, "{seconds} s");
}

//! Every lint by example: what it is said of, and what is so like it that nothing may be said.

use fw_userspace::document::{self, Finding};
use fw_userspace::lint::{Code, Levels};
use serde_json::{Value, json};

/// A code, what of the file below is replaced, and where the finding is; nowhere: there must be none.
type Case = (Code, &'static str, Value, &'static str);

/// Nothing is to be said about it.
fn clean() -> Value {
    json!({
        "version": 1,
        "subnets": { "a": { "cidr_blocks": ["10.0.1.0/24", "2001:db8:1::/64"], "network_acl": "acl" } },
        "network_acls": { "acl": { "ingress": [entry(100, "allow", all("0.0.0.0/0"))],
                                   "egress": [entry(100, "allow", all("0.0.0.0/0"))] } },
        "prefix_lists": { "pl": { "entries": ["198.51.100.0/24"] } },
        "security_groups": {
            "web": { "ingress": [ports("tcp", 443, json!({ "security_groups": ["lb"] })),
                                 ports("tcp", 22, json!({ "prefix_lists": ["pl"] }))],
                     "egress": [] },
            "lb": { "egress": [] }
        },
        "interfaces": {
            "web": { "device": "eth0", "subnet": "a", "security_groups": ["web"] },
            "lb": { "addresses": ["10.0.9.9"], "security_groups": ["lb"] }
        }
    })
}

fn cases() -> Vec<Case> {
    use Code::*;
    let list = "network_acls/acl/ingress";
    let rules = "security_groups/web/ingress";
    let open = |port: u16| ports("tcp", port, json!({ "cidr_blocks": ["0.0.0.0/0"] }));
    let too_big = || icmp("icmp", 3, 4, json!({ "cidr_blocks": ["0.0.0.0/0"] }));
    vec![
        // One entry, and then several together; the last leaves 10.128.0.0/9 on port 81.
        (
            AclEntryShadowed,
            list,
            json!([entry(1, "allow", all("0.0.0.0/0")), entry(2, "deny", tcp(80, 80, "10.0.0.0/8"))]),
            "network_acls.acl.ingress[1]",
        ),
        (
            AclEntryShadowed,
            list,
            json!([
                entry(30, "deny", tcp(80, 81, "10.0.0.0/8")),
                entry(10, "deny", tcp(0, 80, "0.0.0.0/0")),
                entry(20, "allow", tcp(81, 90, "0.0.0.0/0"))
            ]),
            "network_acls.acl.ingress[0]",
        ),
        (
            AclEntryShadowed,
            list,
            json!([
                entry(1, "allow", all("0.0.0.0/1")),
                entry(2, "allow", all("128.0.0.0/1")),
                entry(3, "allow", icmp("icmp", 8, -1, json!({ "cidr_block": "0.0.0.0/0" })))
            ]),
            "network_acls.acl.ingress[2]",
        ),
        (
            AclEntryShadowed,
            list,
            json!([
                entry(1, "deny", tcp(0, 80, "10.0.0.0/8")),
                entry(2, "allow", tcp(81, 90, "10.0.0.0/9")),
                entry(3, "deny", tcp(80, 81, "10.0.0.0/8")),
                entry(9, "allow", all("0.0.0.0/0"))
            ]),
            "",
        ),
        (
            AclEntryShadowed,
            list,
            json!([entry(1, "allow", all("0.0.0.0/0")), entry(2, "deny", all("::/0"))]),
            "",
        ),
        // That is a duplicate.
        (
            AclEntryShadowed,
            list,
            json!([entry(1, "allow", all("0.0.0.0/0")), entry(2, "deny", all("0.0.0.0/0"))]),
            "",
        ),
        (
            AclEntryDuplicate,
            list,
            json!([entry(1, "allow", all("0.0.0.0/0")), entry(2, "deny", all("0.0.0.0/0"))]),
            "network_acls.acl.ingress[1]",
        ),
        (
            AclEntryInsideSubnet,
            list,
            json!([entry(1, "deny", all("10.0.1.128/25")), entry(2, "allow", all("0.0.0.0/0"))]),
            "network_acls.acl.ingress[0]",
        ),
        (
            AclEntryInsideSubnet,
            list,
            json!([entry(1, "deny", all("10.0.0.0/23")), entry(2, "allow", all("0.0.0.0/0"))]),
            "",
        ),
        (AclEntryInsideSubnet, "subnets/a/device", json!("br0"), ""),
        // Requests out, and none of their replies in.
        (
            AclReplyBlocked,
            list,
            json!([entry(1, "allow", tcp(443, 443, "0.0.0.0/0"))]),
            "network_acls.acl.egress[0]",
        ),
        (
            AclReplyBlocked,
            "network_acls/acl/egress",
            json!([entry(1, "allow", tcp(443, 443, "0.0.0.0/0"))]),
            "network_acls.acl.ingress[0]",
        ),
        (
            AclReplyBlocked,
            "network_acls/acl",
            json!({ "ingress": [entry(1, "allow", tcp(443, 443, "0.0.0.0/0"))], "egress": [entry(1, "allow", tcp(1024, 65_535, "0.0.0.0/0"))] }),
            "",
        ),
        (
            AclReplyBlocked,
            "network_acls/acl",
            json!({ "ingress": [entry(1, "allow", tcp(443, 443, "0.0.0.0/0"))], "egress": [entry(1, "allow", tcp(49_152, 65_535, "0.0.0.0/0"))] }),
            "network_acls.acl.ingress[0]",
        ),
        (
            AclReplyBlocked,
            "network_acls/acl",
            json!({ "ingress": [entry(1, "allow", tcp(443, 443, "192.0.2.0/24"))], "egress": [entry(1, "allow", tcp(1024, 65_535, "192.0.2.0/25")), entry(2, "allow", tcp(1024, 65_535, "192.0.2.128/25"))] }),
            "",
        ),
        (
            AclReplyBlocked,
            "network_acls/acl",
            json!({ "ingress": [entry(1, "allow", icmp("icmp", 8, -1, json!({ "cidr_block": "0.0.0.0/0" })))], "egress": [] }),
            "network_acls.acl.ingress[0]",
        ),
        (
            AclReplyBlocked,
            "network_acls/acl",
            json!({ "ingress": [entry(1, "allow", icmp("icmp", 8, -1, json!({ "cidr_block": "0.0.0.0/0" })))], "egress": [entry(1, "allow", icmp("icmp", 0, 0, json!({ "cidr_block": "0.0.0.0/0" })))] }),
            "",
        ),
        // A network that is denied altogether is meant to be.
        (
            AclReplyBlocked,
            list,
            json!([entry(1, "deny", all("203.0.113.0/24")), entry(2, "allow", all("0.0.0.0/0"))]),
            "",
        ),
        // The subnet has no replies to itself to lose.
        (
            AclReplyBlocked,
            "network_acls/acl",
            json!({ "ingress": [entry(1, "allow", tcp(443, 443, "10.0.1.0/24"))], "egress": [] }),
            "",
        ),
        (AclUnused, "subnets/a/network_acl", Value::Null, "network_acls.acl"),
        (AclUnused, "network_acls/acl", json!({ "default": true }), ""),
        (
            GroupUnused,
            "security_groups/web/ingress/0",
            ports("tcp", 443, json!({ "cidr_blocks": ["10.0.0.0/8"] })),
            "",
        ),
        (
            GroupUnused,
            "security_groups/nobody",
            json!({ "ingress": [ports("tcp", 443, json!({ "self": true }))] }),
            "security_groups.nobody",
        ),
        (GroupReferenceEmpty, "interfaces/lb/security_groups", json!(["web"]), ""),
        (
            GroupReferenceEmpty,
            "security_groups/empty",
            json!({ "ingress": [ports("tcp", 443, json!({ "security_groups": ["lb", "web", "empty"] }))] }),
            "",
        ),
        (
            RuleWithoutEffect,
            "interfaces/lb/security_groups",
            json!(["web"]),
            "security_groups.web.ingress[0]",
        ),
        (RuleWithoutEffect, "prefix_lists/pl/entries", json!([]), "security_groups.web.ingress[1]"),
        (
            RuleWithoutEffect,
            "security_groups/web/ingress/1",
            icmp("icmpv6", 128, 0, json!({ "prefix_lists": ["pl"] })),
            "security_groups.web.ingress[1]",
        ),
        (
            RuleWithoutEffect,
            "security_groups/web/ingress/1",
            icmp("icmp", 8, 0, json!({ "prefix_lists": ["pl"] })),
            "",
        ),
        (
            GroupReferenceStale,
            "security_groups/web/ingress/0",
            ports("tcp", 1, json!({ "security_groups": ["bl"] })),
            "security_groups.web.ingress[0].security_groups[0]",
        ),
        (PrefixListEmpty, "prefix_lists/pl/entries", json!([]), "prefix_lists.pl.entries"),
        (PrefixListUnused, "security_groups/web/ingress/1", Value::Null, "prefix_lists.pl"),
        (
            GroupRuleDuplicate,
            rules,
            json!([
                ports("tcp", 8, json!({ "cidr_blocks": ["10.0.0.5/24"] })),
                ports("tcp", 8, json!({ "cidr_blocks": ["10.0.0.0/24"] }))
            ]),
            "security_groups.web.ingress[1]",
        ),
        (
            GroupPeerDuplicate,
            rules,
            json!([
                ports("tcp", 8, json!({ "cidr_blocks": ["10.0.0.5/24"] })),
                ports("tcp", 8, json!({ "cidr_blocks": ["10.0.0.0/24"] }))
            ]),
            "",
        ),
        (
            GroupPeerDuplicate,
            rules,
            json!([
                ports("tcp", 8, json!({ "cidr_blocks": ["10.0.0.5/24"] })),
                ports("tcp", 8, json!({ "cidr_blocks": ["10.0.2.0/24", "10.0.0.9/24"] }))
            ]),
            "security_groups.web.ingress[1].cidr_blocks[1]",
        ),
        (
            GroupPeerDuplicate,
            rules,
            json!([
                ports("tcp", 8, json!({ "security_groups": ["lb"] })),
                ports("tcp", 8, json!({ "self": true, "security_groups": ["lb"] }))
            ]),
            "security_groups.web.ingress[1].security_groups[0]",
        ),
        (
            GroupPeerDuplicate,
            rules,
            json!([
                ports("tcp", 8, json!({ "cidr_blocks": ["10.0.0.0/24"] })),
                ports("udp", 8, json!({ "cidr_blocks": ["10.0.2.0/24", "10.0.0.0/24"] }))
            ]),
            "",
        ),
        (
            FamilyMismatch,
            "security_groups/web/ingress/1",
            icmp("icmp", 8, 0, json!({ "cidr_blocks": ["::/0"] })),
            "security_groups.web.ingress[1].cidr_blocks[0]",
        ),
        (
            IcmpFieldsIgnored,
            list,
            json!([entry(1, "allow", icmp("icmpv6", 128, 0, json!({ "cidr_block": "0.0.0.0/0" })))]),
            "network_acls.acl.ingress[0].cidr_block",
        ),
        (
            IcmpNeverSent,
            "security_groups/web/ingress/1",
            icmp("icmp", 8, 8, json!({ "cidr_blocks": ["10.0.0.0/8"] })),
            "security_groups.web.ingress[1]",
        ),
        (
            IcmpNeverSent,
            "security_groups/web/ingress/1",
            icmp("icmp", 3, 15, json!({ "cidr_blocks": ["10.0.0.0/8"] })),
            "",
        ),
        (
            IcmpNeverSent,
            "security_groups/web/ingress/1",
            icmp("icmpv6", 200, 7, json!({ "cidr_blocks": ["::/0"] })),
            "",
        ),
        (
            IcmpNeverSent,
            list,
            json!([entry(1, "allow", icmp("icmp", 11, 2, json!({ "cidr_block": "0.0.0.0/0" })))]),
            "network_acls.acl.ingress[0]",
        ),
        (OpenAdministration, "security_groups/web/ingress/1", open(22), "security_groups.web.ingress[1]"),
        (
            OpenAdministration,
            "security_groups/web/ingress/1",
            ports("tcp", 22, json!({ "cidr_blocks": ["0.0.0.0/1", "128.0.0.0/1"] })),
            "security_groups.web.ingress[1]",
        ),
        (
            OpenAdministration,
            "prefix_lists/pl/entries",
            json!(["10.0.0.0/8", "::/0"]),
            "security_groups.web.ingress[1]",
        ),
        (
            OpenAdministration,
            "security_groups/web/ingress/1",
            ports("tcp", 22, json!({ "cidr_blocks": ["0.0.0.0/1", "128.0.0.0/2"] })),
            "",
        ),
        (OpenAdministration, "security_groups/web/egress", json!([open(22)]), ""),
        (OpenDatabase, "security_groups/web/ingress/1", open(5432), "security_groups.web.ingress[1]"),
        (OpenDatabase, "security_groups/web/ingress/1", open(8080), ""),
        (
            OpenEverything,
            "security_groups/web/ingress/1",
            json!({ "protocol": "all", "cidr_blocks": ["::/0"] }),
            "security_groups.web.ingress[1]",
        ),
        (
            OpenEverything,
            "security_groups/web/ingress/1",
            json!({ "protocol": "all", "cidr_blocks": ["10.0.0.0/8"] }),
            "",
        ),
        (
            PathMtuBlocked,
            "security_groups/web",
            json!({ "ingress": [open(443)] }),
            "security_groups.web.ingress[0]",
        ),
        (PathMtuBlocked, "security_groups/web", json!({ "ingress": [too_big(), open(443)] }), ""),
        // Tracked: not everything may leave.
        (PathMtuBlocked, "security_groups/web", json!({ "ingress": [open(443)], "egress": [open(443)] }), ""),
        // By the name of the subnet, by an address in it; then an instance's device, and an address elsewhere.
        (
            ConnectionsOneSided,
            "interfaces/more",
            json!({ "device": "eth1", "subnet": "a", "security_groups": ["lb"] }),
            "interfaces.web",
        ),
        (
            ConnectionsOneSided,
            "interfaces/more",
            json!({ "device": "eth1", "addresses": ["10.0.1.9"], "security_groups": ["lb"] }),
            "interfaces.web",
        ),
        (
            ConnectionsOneSided,
            "interfaces/more",
            json!({ "device": "veth1", "faces": "instance", "subnet": "a", "security_groups": ["lb"] }),
            "",
        ),
        (
            ConnectionsOneSided,
            "interfaces/more",
            json!({ "device": "eth1", "addresses": ["10.0.2.9"], "security_groups": ["lb"] }),
            "",
        ),
        (
            InterfaceUnfiltered,
            "interfaces/more",
            json!({ "device": "eth1", "security_groups": [] }),
            "interfaces.more.security_groups",
        ),
        (
            QuotaExceeded,
            rules,
            (1..=61)
                .map(|port| ports("tcp", port + 1024, json!({ "cidr_blocks": ["10.0.0.0/8"] })))
                .collect(),
            "security_groups.web.ingress",
        ),
        (
            ValueRepeated,
            "interfaces/lb/addresses",
            json!(["10.0.9.9", "10.0.9.9"]),
            "interfaces.lb.addresses[1]",
        ),
        (KeyWithoutDevice, "interfaces/lb/mode", json!("tc"), "interfaces.lb.mode"),
        (
            DeviceException,
            "interfaces/lb",
            json!({ "device": "eth*", "addresses": ["10.0.9.9"], "security_groups": ["lb"] }),
            "interfaces.lb.device",
        ),
        (
            DeviceException,
            "interfaces/lb",
            json!({ "device": "wlan*", "addresses": ["10.0.9.9"], "security_groups": ["lb"] }),
            "",
        ),
        (
            HostBitsCleared,
            "prefix_lists/pl/entries",
            json!(["198.51.100.7/24"]),
            "prefix_lists.pl.entries[0]",
        ),
        (NotJson, "", Value::Null, ""),
        (KeyUnknown, "interfaces/lb/adresses", json!([]), "interfaces.lb.adresses"),
        (KeyMissing, "interfaces/lb", json!({ "security_groups": [] }), "interfaces.lb"),
        (ValueInvalid, "interfaces/lb/addresses", json!(["10.0.9.300"]), "interfaces.lb.addresses[0]"),
        (
            ValueConflict,
            list,
            json!([entry(1, "allow", all("0.0.0.0/0")), entry(1, "deny", all("10.0.0.0/8"))]),
            "network_acls.acl.ingress[1].rule_number",
        ),
        (NameUnknown, "interfaces/lb/security_groups", json!(["bl"]), "interfaces.lb.security_groups[0]"),
    ]
}

#[test]
fn nothing_is_said_of_what_is_right() {
    assert_eq!(findings(&clean()), []);
}

#[test]
fn each_lint_is_said_where_it_is_and_nowhere_else() {
    for (code, place, value, path) in cases() {
        let document = with(place, value);
        let findings = findings(&document);
        let places: Vec<&str> =
            findings.iter().filter(|found| found.code == code).map(|found| found.path.as_str()).collect();
        let expected: &[&str] = if path.is_empty() { &[] } else { &[path] };
        assert_eq!(places, expected, "{}: {document:#}\n{findings:#?}", code.name());
    }
}

#[test]
fn every_code_has_a_case() {
    let said: Vec<Code> =
        cases().into_iter().filter(|(_, _, _, path)| !path.is_empty()).map(|(code, ..)| code).collect();
    for code in Code::ALL {
        // These are about what is no JSON object, see the tests of the reader and of the command line.
        let elsewhere = [Code::NotJson, Code::KeyDuplicate, Code::FileUnreadable, Code::GroupReferenceEmpty];
        assert!(said.contains(code) || elsewhere.contains(code), "{}", code.name());
    }
}

#[test]
fn a_reference_to_nobody_beside_others_is_named() {
    let rule =
        ports("tcp", 443, json!({ "cidr_blocks": ["10.0.0.0/8"], "security_groups": ["lb", "spare"] }));
    let mut document = with("security_groups/web/ingress/0", rule);
    document["security_groups"]["spare"] = json!({});
    let findings = findings(&document);
    assert_eq!(findings.len(), 1, "{findings:#?}");
    assert_eq!(findings[0].code, Code::GroupReferenceEmpty);
    assert_eq!(findings[0].path, "security_groups.web.ingress[0].security_groups[1]");
}

/// What is not tracked is not one-sided, and what is picked up goes on.
#[test]
fn two_devices_of_a_subnet_matter_where_they_track() {
    let more = json!({ "device": "eth1", "subnet": "a", "security_groups": ["web"] });
    let said = |group: Value, settings: Value| {
        let mut document = with("interfaces/more", more.clone());
        document["security_groups"]["web"] = group;
        document["settings"] = settings;
        findings(&document).iter().filter(|found| found.code == Code::ConnectionsOneSided).count()
    };
    let everything = json!({ "protocol": "all", "cidr_blocks": ["0.0.0.0/0", "::/0"] });
    let open = json!({ "ingress": [everything], "egress": [everything] });
    let office = json!({ "ingress": [ports("tcp", 443, json!({ "cidr_blocks": ["198.51.100.0/24"] }))] });
    assert_eq!(said(office.clone(), json!({})), 1);
    assert_eq!(said(open, json!({})), 0);
    assert_eq!(said(office, json!({ "mid_stream": "pickup" })), 0);
}

#[test]
fn a_shadowed_entry_says_by_whom() {
    let message = |entries: Value| findings(&with("network_acls/acl/ingress", entries)).remove(0).message;
    assert_eq!(
        message(json!([entry(1, "allow", all("0.0.0.0/0")), entry(2, "deny", tcp(80, 80, "10.0.0.0/8"))])),
        "entry 2 never decides: entry 1 (allow) matches all of it first and does the opposite"
    );
    let halves = json!([
        entry(1, "allow", all("0.0.0.0/1")),
        entry(2, "allow", all("128.0.0.0/1")),
        entry(3, "allow", all("0.0.0.0/0"))
    ]);
    assert_eq!(
        message(halves),
        "entry 3 never decides: entries 1 (allow) and 2 (allow) together match all of it first and do the same"
    );
}

/// As many entries as rule numbers allow, in every ACL as unlike as they can be, and groups beside them.
#[test]
fn a_hundred_thousand_rules_are_judged() {
    let mut state = 7_u32;
    let mut random = move |end: u32| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) % end
    };
    let mut entries = |count: u32| -> Vec<Value> {
        let mut entry_of = |number: u32| {
            let (from, length) = (random(60_000), 8 + random(20));
            let block = format!("{}.{}.{}.0/{length}", 1 + random(200), random(256), random(256));
            entry(
                number,
                if random(2) == 0 { "allow" } else { "deny" },
                tcp(from, from + random(5000), &block),
            )
        };
        (1..=count).map(&mut entry_of).collect()
    };
    let mut document = clean();
    for acl in ["acl", "b"] {
        document["network_acls"][acl] = json!({ "ingress": entries(20_000), "egress": entries(20_000) });
    }
    document["subnets"]["b"] = json!({ "cidr_blocks": ["10.0.2.0/24"], "network_acl": "b" });
    let rule = |port: u32| ports("tcp", 1024 + port as u16, json!({ "cidr_blocks": ["10.0.0.0/8"] }));
    document["security_groups"]["web"]["egress"] = (0..20_000).map(rule).collect();
    let findings = findings(&document);
    for code in [Code::AclEntryShadowed, Code::AclReplyBlocked, Code::QuotaExceeded] {
        assert!(findings.iter().any(|finding| finding.code == code), "{}", code.name());
    }
}

fn findings(document: &Value) -> Vec<Finding> {
    document::check(document.to_string().as_bytes(), &Levels::default()).findings
}

/// The clean file with something else in one place, which null removes.
fn with(place: &str, value: Value) -> Value {
    let mut document = clean();
    let Some((parent, last)) = place.rsplit_once('/') else { return document };
    let parent = document.pointer_mut(&format!("/{parent}")).unwrap();
    match (parent, value) {
        (Value::Array(list), Value::Null) => drop(list.remove(last.parse().unwrap())),
        (Value::Array(list), value) => list[last.parse::<usize>().unwrap()] = value,
        (Value::Object(object), Value::Null) => drop(object.remove(last)),
        (Value::Object(object), value) => drop(object.insert(last.to_owned(), value)),
        (other, _) => panic!("{place} is in {other}"),
    }
    document
}

fn merged(mut one: Value, other: Value) -> Value {
    if let (Value::Object(one), Value::Object(other)) = (&mut one, other) {
        one.extend(other);
    }
    one
}

fn entry(number: u32, action: &str, traffic: Value) -> Value {
    merged(json!({ "rule_number": number, "action": action }), traffic)
}

fn all(cidr: &str) -> Value {
    json!({ "protocol": "all", "cidr_block": cidr })
}

fn tcp(from: u32, to: u32, cidr: &str) -> Value {
    json!({ "protocol": "tcp", "from_port": from, "to_port": to, "cidr_block": cidr })
}

fn ports(protocol: &str, port: u16, peers: Value) -> Value {
    merged(json!({ "protocol": protocol, "from_port": port, "to_port": port }), peers)
}

fn icmp(protocol: &str, kind: i16, code: i16, peers: Value) -> Value {
    merged(json!({ "protocol": protocol, "icmp_type": kind, "icmp_code": code }), peers)
}

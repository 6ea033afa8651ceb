//! The compiler from the outside: what is untracked, what narrows, what a load keeps, and sizes.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use fw_userspace::compile::{
    Carries, CompileError, Compiled, Numbering, compile, older_connections, pretend_bindings,
};
use fw_userspace::document;
use fw_userspace::model::Policy;

fn policy(rules: &str) -> Policy {
    let reading = document::read(rules.as_bytes());
    reading.policy.unwrap_or_else(|| panic!("{}", document::render("rules", &reading.findings)))
}

/// One host whose group has these rules.
fn host(ingress: &str, egress: &str) -> Policy {
    policy(&format!(
        r#"{{ "version": 1,
              "security_groups": {{ "g": {{ "ingress": [{ingress}], "egress": [{egress}] }} }},
              "interfaces": {{ "eth0": {{ "device": "eth0", "security_groups": ["g"] }} }} }}"#
    ))
}

fn compiled(policy: &Policy, numbering: Numbering) -> Compiled {
    compile(policy, &pretend_bindings(policy), numbering, 1).expect("it compiles")
}

const ALL_OUT: &str = r#"{ "protocol": "all", "cidr_blocks": ["0.0.0.0/0", "::/0"] }"#;

fn tcp(from: u16, to: u16, cidr: &str) -> String {
    format!(r#"{{ "protocol": "tcp", "from_port": {from}, "to_port": {to}, "cidr_blocks": ["{cidr}"] }}"#)
}

#[test]
fn only_what_was_untracked_and_is_no_more_counts_as_narrowed() {
    let web = tcp(80, 90, "0.0.0.0/0");
    let before = host(&web, ALL_OUT);
    let narrowed =
        |ingress: &str, egress: &str| older_connections(&before, &host(ingress, egress), "eth0").is_some();
    assert!(!narrowed(&web, ALL_OUT));
    assert!(narrowed("", ALL_OUT), "removed");
    assert!(narrowed(&tcp(80, 89, "0.0.0.0/0"), ALL_OUT), "fewer ports");
    assert!(narrowed(&tcp(80, 90, "10.0.0.0/8"), ALL_OUT), "fewer addresses");
    assert!(!narrowed(&tcp(0, 100, "0.0.0.0/0"), ALL_OUT), "widened");
    let halves = [tcp(80, 84, "0.0.0.0/0"), tcp(85, 90, "0.0.0.0/0")].join(",");
    assert!(!narrowed(&halves, ALL_OUT), "the same in two rules");
    assert!(narrowed(&web, &tcp(0, 65_534, "0.0.0.0/0")), "tracked from now on");
    assert!(!narrowed(&web, &tcp(0, 65_535, "0.0.0.0/0")), "still one rule for all responses");
    let tracked = host(&tcp(22, 22, "10.0.0.0/8"), ALL_OUT);
    assert_eq!(
        older_connections(&tracked, &host("", ALL_OUT), "eth0"),
        None,
        "tracked flows keep their entries"
    );
}

#[test]
fn counters_and_zones_stay_over_loads() {
    let first = compiled(&host(&tcp(22, 22, "10.0.0.0/8"), ALL_OUT), Numbering::default());
    assert_eq!(first.fresh_slots, [1, 2]);
    assert_eq!((first.rule_slots, first.zone_slots), (3, 2));
    assert_eq!(first.zones, [(1, "eth0".to_owned(), "interface")]);
    let kept = serde_json::to_string(&first.numbering).expect("numbers are plain data");
    let kept: Numbering = serde_json::from_str(&kept).expect("what was written is read");
    let rules = [tcp(443, 443, "10.0.0.0/8"), tcp(22, 22, "10.0.0.0/8")].join(",");
    let second = compiled(&host(&rules, ALL_OUT), kept);
    assert_eq!(second.fresh_slots, [3], "only the new rule");
    let slots: Vec<u32> = second.rules.iter().map(|rule| rule.slot).collect();
    assert_eq!(slots, [3, 1, 2], "in the order of the file");
    let info = serde_json::to_string(&second.rules[2]).expect("plain data");
    assert!(info.contains(r#""direction":"egress""#), "{info}");
    assert_eq!(
        serde_json::from_str::<fw_userspace::compile::RuleInfo>(&info).ok().as_ref(),
        second.rules.last()
    );
}

#[test]
fn the_same_input_gives_the_same_lines() {
    let policy = host(&[tcp(1, 9, "10.0.0.0/8"), tcp(5, 20, "10.1.0.0/16")].join(","), ALL_OUT);
    let lines = compiled(&policy, Numbering::default()).patch.lines;
    assert!((0..20).all(|_| compiled(&policy, Numbering::default()).patch.lines == lines));
}

#[test]
fn bindings_must_fit_the_policy() {
    let policy = host("", ALL_OUT);
    let mut bindings = pretend_bindings(&policy);
    bindings.extend(bindings.clone());
    let twice = compile(&policy, &bindings, Numbering::default(), 1);
    assert!(matches!(twice, Err(CompileError::DeviceTwice { ifindex: 1, .. })));
    bindings.truncate(1);
    bindings[0].carries = Carries::Leg("nowhere".to_owned());
    let unknown = compile(&policy, &bindings, Numbering::default(), 1);
    assert!(matches!(unknown, Err(CompileError::UnknownBinding { kind: "subnet", .. })));
    assert!(compile(&policy, &[], Numbering::default(), 1).is_ok(), "all devices may be pending");
}

fn address(number: u32) -> std::net::Ipv4Addr {
    // An odd factor: all different, all over the place.
    number.wrapping_mul(2_654_435_761).into()
}

#[test]
fn a_long_prefix_list_is_one_class_and_compiles_at_once() {
    let mut entries = String::new();
    let count: u32 =
        std::env::var("FWCTL_TEST_CIDRS").ok().and_then(|count| count.parse().ok()).unwrap_or(20_000);
    for number in 0..count {
        let _ = write!(entries, "{}\"{}/32\"", if number == 0 { "" } else { "," }, address(number));
    }
    let policy = policy(&format!(
        r#"{{ "version": 1, "prefix_lists": {{ "long": {{ "entries": [{entries}] }} }},
              "security_groups": {{ "g": {{ "ingress": [{{ "protocol": "all", "prefix_lists": ["long"] }}] }} }},
              "interfaces": {{ "eth0": {{ "device": "eth0", "security_groups": ["g"] }} }} }}"#
    ));
    let start = Instant::now();
    let compiled = compiled(&policy, Numbering::default());
    println!("{count} CIDRs: {:?}, {} lines", start.elapsed(), compiled.patch.lines.len());
    // Nothing, everything (outbound), and what is also in the list; no IPv6 address is in the list.
    assert_eq!(compiled.classes, [3, 2]);
    assert!(start.elapsed() < Duration::from_secs(20));
}

#[test]
fn many_rules_with_a_cidr_each_compile_at_once() {
    let count: u32 =
        std::env::var("FWCTL_TEST_RULES").ok().and_then(|count| count.parse().ok()).unwrap_or(5_000);
    let rules: Vec<String> = (0..count)
        .map(|number| tcp(number as u16, number as u16, &format!("{}/32", address(number))))
        .collect();
    let policy = host(&rules.join(","), ALL_OUT);
    let start = Instant::now();
    let compiled = compiled(&policy, Numbering::default());
    println!("{count} rules: {:?}, {} lines", start.elapsed(), compiled.patch.lines.len());
    assert_eq!(compiled.rules.len(), count as usize + 1);
    assert!(start.elapsed() < Duration::from_secs(20));
}

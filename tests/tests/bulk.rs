//! Large and hostile rules files: they load, or are refused with a figure, in seconds, and nothing changes when they
//! are refused. `cargo test --release -p fw-tests --test bulk -- --ignored` takes all of them, in a namespace.

use std::time::{Duration, Instant};

use fw_common::layout::Root;
use fw_tests::bulk::{self, Bulk, Fate};
use fw_tests::fwctl::{Fwctl, Output, RULES};
use fw_tests::netns::{BpffsDir, Rig};
use fw_userspace::compile::{
    Bounds, CompileError, Held, Numbering, compile, compile_beside, pretend_bindings,
};
use fw_userspace::document;
use fw_userspace::explain::{Explainer, Service, walk_rules};
use fw_userspace::model::Policy;

/// With optimisation nothing takes longer than three on a machine of its own; without, ten times as long.
const PATIENCE: Duration = Duration::from_secs(if cfg!(debug_assertions) { 60 } else { 10 });

/// The verifier takes some seconds for each of the programs that larger maps need.
const LOAD_PATIENCE: Duration = Duration::from_secs(if cfg!(debug_assertions) { 120 } else { 30 });

fn policy(name: &str) -> Policy {
    let text = bulk::named(name).expect("there is such a file").text();
    let reading = document::read(text.as_bytes());
    reading.policy.unwrap_or_else(|| panic!("{name}: {:?}", reading.findings.first()))
}

/// What multiplies, and what looks as if it did.
#[test]
fn hostile_rules_compile_or_are_refused_in_time() {
    let hostile = ["staircase", "ports-64k", "product", "product-silent", "deep-members", "nesting-ipv6"];
    for name in hostile {
        let start = Instant::now();
        let policy = policy(name);
        let compiled = compile(&policy, &pretend_bindings(&policy), Numbering::default(), 1);
        let fate = bulk::named(name).map(|bulk| bulk.fate);
        match compiled {
            Ok(_) => assert_eq!(fate, Some(Fate::Loads), "{name}"),
            Err(error) => {
                assert_eq!(fate, Some(Fate::TooLarge), "{name}: {error}");
                says_what_and_how_much(&error);
            }
        }
        assert!(start.elapsed() < PATIENCE, "{name} took {:?}", start.elapsed());
    }
}

fn says_what_and_how_much(error: &CompileError) {
    let CompileError::Blowup { bytes, max, .. } = error else { panic!("{error}") };
    assert!(bytes > max, "{error}");
    let said = error.to_string();
    for part in [
        "the ingress rules of the groups g",
        " MiB of memory, --max-memory allows 256 MiB",
        "is named by",
        "\"",
    ] {
        assert!(said.contains(part), "{said}");
    }
}

/// Every kind of table has its own check.
#[test]
fn each_table_is_measured() {
    let within = |name: &str, kibibytes: u64| {
        let policy = policy(name);
        let bounds = Bounds { max_memory: kibibytes << 10 };
        compile_beside(
            &Held::nothing(),
            &policy,
            &pretend_bindings(&policy),
            Numbering::default(),
            Root::default(),
            &bounds,
        )
    };
    for (name, too_little, enough, what) in [
        ("groups", 32 << 10, 128 << 10, "the ingress rules of the groups"),
        ("rules-1k", 4, 1 << 10, "the IPv4 addresses of all CIDRs"),
        ("staircase", 4 << 10, 32 << 10, "the ingress rules of the groups g"),
        ("members-100k", 16, 128, "the IPv4 addresses of all CIDRs"),
    ] {
        let error = within(name, too_little).expect_err(name);
        assert!(matches!(error, CompileError::Blowup { .. }), "{name}: {error}");
        assert!(error.to_string().contains(what), "{name}: {error}");
        assert!(within(name, enough).is_ok(), "{name}");
    }
}

/// Rules that a load would refuse are not explained either, and what it would take is.
#[test]
fn explain_may_take_what_a_load_may() {
    let mut policy = policy("staircase");
    let (name, interface) = policy.interfaces.first().expect("there is one");
    let (name, mut other) = (name.clone(), interface.clone());
    other.addresses = vec!["10.11.0.2".parse().expect("an address")];
    policy.interfaces.insert("other".to_owned(), other);
    policy.interfaces[&name].addresses = vec!["10.11.0.1".parse().expect("an address")];
    let service: Service = "tcp/22".parse().expect("a service");
    for (max_memory, fits) in [(4 << 20, false), (32 << 20, true)] {
        let explainer = Explainer::of_rules(policy.clone(), max_memory).map(drop);
        let path = walk_rules(policy.clone(), &name, "other", service, max_memory).map(drop);
        for said in [explainer, path] {
            assert_eq!(said.is_ok(), fits, "{said:?}");
            let said = said.map_err(|error| error.to_string());
            assert!(said.is_ok() || said.is_err_and(|said| said.contains("--max-memory allows 4 MiB")));
        }
    }
}

#[test]
fn a_million_findings_are_ten_thousand_and_a_count() {
    let start = Instant::now();
    let reading = document::read(bulk::named("identical-2m").expect("there is one").text().as_bytes());
    assert!(start.elapsed() < PATIENCE, "{:?}", start.elapsed());
    assert_eq!(reading.policy.map(|policy| policy.prefix_lists["long"].entries.len()), Some(1));
    let more = reading.findings.last().expect("there are findings");
    assert!(more.message.contains("1989999 more warnings like these"), "{}", more.message);
    assert!(reading.findings.len() <= 10_002, "{}", reading.findings.len());
}

/// A host whose rules are loaded, and that somebody gives worse ones.
struct Host {
    rig: Rig,
    bpffs: BpffsDir,
}

impl Host {
    fn new() -> Self {
        Self { rig: Rig::direct().expect("a rig"), bpffs: BpffsDir::new().expect("a directory") }
    }

    fn load(&self, text: &str, options: &[&str]) -> Output {
        let fwctl = Fwctl::new(&self.rig.server, &self.bpffs).expect("fwctl is built");
        fwctl.run_with(["load", RULES, "--json"].iter().chain(options), text.as_bytes()).expect("it ends")
    }

    fn generation(&self) -> u64 {
        let fwctl = Fwctl::new(&self.rig.server, &self.bpffs).expect("fwctl is built");
        let status = fwctl.status().expect("a status");
        assert_eq!(status["healthy"], true, "{status}");
        status["generation"].as_u64().expect("a generation")
    }

    /// Loads a file in time, or is refused with everything as it was.
    fn meets(&self, bulk: Bulk) {
        let before = self.generation();
        let text = bulk.text();
        let start = Instant::now();
        let output = self.load(&text, &[]);
        assert!(start.elapsed() < LOAD_PATIENCE, "{} took {:?}", bulk.name, start.elapsed());
        let (code, generation) = match bulk.fate {
            Fate::Loads => (0, before + 1),
            Fate::TooLarge => (2, before),
        };
        let said = output.stderr.lines().last().unwrap_or_default();
        assert_eq!(output.code(), code, "{}: {said}", bulk.name);
        assert_eq!(self.generation(), generation, "{}", bulk.name);
    }
}

const SMALL: &str = r#"{ "version": 1, "security_groups": { "g": {} },
    "interfaces": { "eth0": { "device": "eth0", "security_groups": ["g"] } } }"#;

#[test]
fn what_is_refused_leaves_the_rules_before_in_force() {
    let host = Host::new();
    assert_eq!(host.load(SMALL, &[]).code(), 0);
    host.meets(bulk::named("product").expect("there is one"));
    let too_long =
        host.load(&bulk::named("rules-1k").expect("there is one").text(), &["--max-memory", "256K"]);
    assert_eq!(too_long.code(), 2);
    assert!(too_long.stderr.contains("must be 1M to 1G"), "{}", too_long.stderr);
    let text = bulk::named("acls").expect("there is one").text();
    let too_long = host.load(&text, &["--max-memory", "16M"]);
    assert_eq!(too_long.code(), 2);
    assert!(too_long.stderr.contains("is larger than 4096 KiB"), "{}", too_long.stderr);
    assert_eq!(host.generation(), 1);
}

/// Rules that are loaded again for another device are the same rules, however large they were allowed to be.
#[test]
fn what_was_allowed_more_memory_stays_allowed() {
    let host = Host::new();
    let text = bulk::named("staircase").expect("there is one").text();
    assert_eq!(host.load(SMALL, &[]).code(), 0);
    assert_eq!(host.load(&text, &["--max-memory", "300M"]).code(), 0);
    assert_eq!(host.load(SMALL, &[]).code(), 0);
    let fwctl = Fwctl::new(&host.rig.server, &host.bpffs).expect("fwctl is built");
    let output = fwctl.run(["rollback", "--json"]).expect("it ends");
    assert_eq!(output.code(), 0, "{}", output.said());
    let source = fwctl.run(["show", "--source"]).expect("it ends");
    assert!(source.stdout == text, "byte for byte");
}

#[test]
#[ignore = "minutes without optimisation"]
fn everything_loads_or_is_refused() {
    let host = Host::new();
    assert_eq!(host.load(SMALL, &[]).code(), 0);
    bulk::ALL.into_iter().for_each(|bulk| host.meets(bulk));
}

/// Larger rules need larger maps, which every hook is turned to; one that was detached meanwhile has none.
#[test]
fn rules_grow_after_a_device_left_them() {
    let host = Host::new();
    let nothing = r#"{ "version": 1 }"#;
    assert_eq!(host.load(SMALL, &[]).code(), 0);
    assert_eq!(host.load(nothing, &[]).code(), 0);
    let output =
        host.load(&bulk::named("rules-1k").expect("there is one").text().replace("eth0", "later0"), &[]);
    assert_eq!(output.code(), 0, "{}", output.said());
    let output = host.load(&bulk::named("staircase").expect("there is one").text(), &[]);
    assert_eq!(output.code(), 0, "{}", output.said());
}

//! The loader on directories of its own, and on the real cases.

use std::fs;

use serde_json::json;

use super::*;
use crate::packet;

/// A directory that goes away with its test.
struct Files(PathBuf);

impl Files {
    fn new(label: &str, files: &[(&str, &str)]) -> Self {
        let directory = std::env::temp_dir().join(format!("fwctl-cases-{}-{label}", std::process::id()));
        fs::create_dir_all(&directory).unwrap();
        for (name, text) in files {
            fs::write(directory.join(name), text).unwrap();
        }
        Self(directory)
    }

    fn mistakes(&self) -> Vec<String> {
        let message = load_directory(&self.0).unwrap_err().to_string();
        let prefix = format!("{}/", self.0.display());
        message.lines().map(|line| line.replace(&prefix, "")).collect()
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const COMMON: &str = r#"about = "shared"
rules = { version = 1, settings = { mode = "auto", quiet = true } }
"#;

const GOOD: &str = r#"about = "one case"
base = "common"
[changes.settings]
quiet = "(none)"

[[case]]
name = "A1"
says = "it is so"
basis = "chosen"
rules.settings.mode = "xdp"
rules.list = [1, { a = true,
  b = 0x10 }]
[[case.step]]
at = "web"
inbound = "udp 10.0.0.1:1 > 10.0.0.2:2"
expect = "deny"
by = "network_acl nA *"
tracked = false
[[case.step]]
wait = 31
[[case.step]]
load.list = "(none)"
[[case.step]]
load.version = 2
"#;

#[test]
fn base_changes_and_rules_are_merged_in_this_order() {
    let files = Files::new("merge", &[("common.toml", COMMON), ("good.toml", GOOD)]);
    let cases = load_directory(&files.0).unwrap();
    assert_eq!(cases.len(), 1);
    let case = &cases[0];
    assert_eq!((case.line, case.name.as_str(), case.basis), (6, "A1", Basis::Chosen));
    let list = json!([1, { "a": true, "b": 16 }]);
    assert_eq!(case.rules, json!({ "version": 1, "settings": { "mode": "xdp" }, "list": list }));
    let Step::Packet(packet) = &case.steps[0] else { panic!("{:?}", case.steps[0]) };
    assert_eq!((packet.line, packet.direction, packet.expect), (13, Direction::Inbound, Expect::Deny));
    assert_eq!(packet.frame, packet::parse("udp 10.0.0.1:1 > 10.0.0.2:2").unwrap());
    assert_eq!((packet.tracked, &packet.acl), (Some(false), &None));
    assert_eq!(case.steps[1], Step::Wait(31));
    assert_eq!(case.steps[2], Step::Load(json!({ "version": 1, "settings": { "mode": "xdp" } })));
    assert_eq!(case.steps[3], Step::Load(json!({ "version": 2, "settings": { "mode": "xdp" } })));
}

#[test]
fn every_mistake_is_listed_with_file_and_line() {
    let bad = GOOD
        .replace("\"chosen\"", "\"guessed\"")
        .replace("expect = \"deny\"", "expext = \"deny\"")
        .replace("udp 10.0.0.1:1 >", "udp 10.0.0.1 >")
        .replace("wait = 31", "wait = -1");
    let files =
        Files::new("mistakes", &[("common.toml", COMMON), ("bad.toml", &bad), ("c.toml", "about = 1\nx =")]);
    let mistakes = files.mistakes();
    let found = |text: &str| assert!(mistakes.iter().any(|m| m.starts_with(text)), "{text}: {mistakes:#?}");
    found("bad.toml:9: basis: \"guessed\" is not documented");
    found("bad.toml:15: inbound: \"10.0.0.1\" is not an address with a port");
    found("bad.toml:13: \"expect\" is missing");
    found("bad.toml:16: unknown key \"expext\": acl, at, by, expect");
    found("bad.toml:20: wait: \"-1\" is not a number of seconds");
    found("c.toml:2: ");
    assert_eq!(mistakes.len(), 6, "{mistakes:#?}");
}

/// Each kind of mistake once; the line numbers are those of the text.
const MISTAKES: &str = r#"about = "every line below is wrong"
sources = "two"
[[case]]
name = 7
says = ["list"]
rules = "open"
[[case.step]]
inbound = "udp 10.0.0.1:1 > 10.0.0.2:2"
outbound = "udp 10.0.0.2:2 > 10.0.0.1:1"
at = "web"
[[case.step]]
at = "web"
inbound = "tcp 10.0.0.1:1 > [2001:db8::1]:2 syn"
expect = "maybe"
tracked = "yes"
acl = 100
by = "network_acl nA *"
[[case.step]]
wait = "long"
[[case.step]]
load = [1]
[[case]]
name = "date"
says = "s"
basis = "chosen"
warns = "w"
rules.since = 2026-01-01
[[case]]
name = "list"
says = "s"
basis = "chosen"
step = "udp"
"#;

#[test]
fn mistakes_of_every_kind_are_listed_in_one_run() {
    let single = "about = \"x\"\n[case]\nname = \"one\"\n";
    let both = "about = \"x\"\nbase = \"common\"\nrules.version = 1\n";
    let files = [("common.toml", COMMON), ("both.toml", both), ("many.toml", MISTAKES), ("one.toml", single)];
    let mistakes = Files::new("many", &files).mistakes();
    let expected = [
        "many.toml:2: unknown key \"sources\": about, base, ",
        "both.toml:1: a file has a base or [rules], not both",
        "many.toml:4: name: a string is expected, not a value of type integer",
        "many.toml:5: says: a string is expected, not a value of type array",
        "many.toml:3: \"basis\" is missing",
        "many.toml:6: rules: a table is expected, not a value of type string",
        "many.toml:7: a step has one of inbound, outbound, wait, load",
        "many.toml:13: inbound: ",
        "many.toml:14: expect: \"maybe\" is not allow or deny",
        "many.toml:16: acl: a string is expected, not a value of type integer",
        "many.toml:15: tracked: true or false is expected, not a value of type string",
        "many.toml:19: wait: a number of seconds is expected, not a value of type string",
        "many.toml:21: load: a table is expected, not a value of type array",
        "many.toml:27: rules: \"2026-01-01\" is a date: put it in quotes",
        "many.toml:32: \"step\" is written [[case.step]]",
        "one.toml:2: \"case\" is written [[case]]",
    ];
    for (number, start) in expected.iter().enumerate() {
        let found = mistakes.get(number).is_some_and(|mistake| mistake.starts_with(start));
        assert!(found, "number {number} is not {start}: {mistakes:#?}");
    }
    assert_eq!(mistakes.len(), expected.len(), "{mistakes:#?}");
}

#[test]
fn a_name_belongs_to_one_case_in_all_files() {
    let files = Files::new("twice", &[("common.toml", COMMON), ("a.toml", GOOD), ("b.toml", GOOD)]);
    assert_eq!(files.mistakes().len(), 1);
    assert!(files.mistakes()[0].starts_with("b.toml:6: A1: the name is taken by"));
}

#[test]
fn a_base_that_is_not_there_and_an_unknown_key_are_refused() {
    let files = Files::new("base", &[("a.toml", "about = \"x\"\nbase = \"comon\"\nchange = {}\n")]);
    let mistakes = files.mistakes();
    assert!(mistakes[0].starts_with("a.toml:3: unknown key \"change\""), "{mistakes:#?}");
    assert_eq!(mistakes[1], "a.toml:1: base \"comon\": there is no comon.toml");
}

#[test]
fn a_case_that_proves_nothing_or_too_much_is_refused() {
    let head = "about = \"x\"\n[[case]]\nname = \"N\"\nsays = \"s\"\nbasis = \"chosen\"\n";
    let files = Files::new("nothing", &[("a.toml", head)]);
    assert_eq!(files.mistakes(), ["a.toml:2: a case has steps, or it is refused, or it warns"]);
    let files =
        Files::new("much", &[("a.toml", &format!("{head}refused = \"r\"\nstep = [{{ wait = 1 }}]\n"))]);
    assert_eq!(files.mistakes(), ["a.toml:2: a refused case has no steps"]);
}

#[test]
fn the_real_cases_load() {
    let cases = load().unwrap_or_else(|error| panic!("{error}"));
    assert!(!cases.is_empty());
}

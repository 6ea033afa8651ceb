//! `fwctl` as a person types it: what needs no root and no kernel.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

#[test]
fn ten_mistakes_are_ten_lines() {
    let file = file("ten.json", TEN_MISTAKES);
    let output = fwctl(["check", "--format", "short", &file]);
    assert_eq!(output.status.code(), Some(2));
    let said = stderr(&output);
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 11, "{said}");
    for line in &lines[..10] {
        assert!(line.starts_with(&format!("{file}:")) && line.contains(": error: "), "{line}");
    }
    assert_eq!(lines[10], format!("{file}: 10 errors, no warnings"));
    assert!(output.stdout.is_empty());
}

#[test]
fn a_mistake_is_shown_in_its_line() {
    let file = file("shown.json", TEN_MISTAKES);
    let output = fwctl(["check", &file]);
    assert_eq!(output.status.code(), Some(2));
    let said = stderr(&output);
    let first = format!(
        r#"error[key-unknown]: unknown key "securty_groups", did you mean "security_groups"?
 --> {file}:3:3
  |
3 |   "securty_groups": {{}},
  |   ^^^^^^^^^^^^^^^^
  |
  = path: securty_groups
  = help: correct the key or remove it; remarks go under "description"

error[value-invalid]: "#
    );
    assert!(said.starts_with(&first), "{said}");
    let last = format!(
        r#"
   |
26 |     "eni-db": {{ "addresses": ["10.0.1.300"], "security_groups": ["sg-web"] }}
   |                               ^^^^^^^^^^^^
   |
   = path: interfaces.eni-db.addresses[0]
   = help: write a value that is accepted here

{file}: 10 errors, no warnings
"#
    );
    assert!(said.ends_with(&last), "{said}");
    assert_eq!(said.matches("\nerror[").count(), 9, "{said}");
}

#[test]
fn codes_are_denied_and_allowed() {
    let lists = r#""prefix_lists": { "pl": { "entries": ["10.0.0.0/8"] } }, "interfaces""#;
    let file = file("codes.json", &WARNING.replace("\"interfaces\"", lists));
    let code = |args: &[&str]| {
        let output = fwctl(["check", &file].into_iter().chain(args.iter().copied()));
        (output.status.code(), stderr(&output))
    };
    let (status, said) = code(&[]);
    assert_eq!(status, Some(0), "{said}");
    assert!(said.starts_with("warning[family-mismatch]: "), "{said}");
    // What is denied does not keep the rules from being judged.
    assert!(said.contains("\nwarning[prefix-list-unused]: "), "{said}");
    let (status, said) = code(&["--deny", "family-mismatch"]);
    assert_eq!(status, Some(2), "{said}");
    assert!(said.starts_with("error[family-mismatch]: "), "{said}");
    assert!(said.contains("\nwarning[prefix-list-unused]: "), "{said}");
    let (status, said) = code(&["--allow", "family-mismatch", "--deny", "all"]);
    assert_eq!(status, Some(2), "{said}");
    assert!(said.starts_with("error[prefix-list-unused]: ") && !said.contains("family-mismatch"), "{said}");
    let (status, said) = code(&["--allow", "all"]);
    assert_eq!((status, said), (Some(0), format!("{file}: no errors, no warnings\n")));
    let (status, said) = code(&["--deny", "family-mismach"]);
    assert_eq!(status, Some(2));
    assert_eq!(
        said,
        "error: --deny \"family-mismach\" is no code of a finding, did you mean \"family-mismatch\"?\n"
    );
    let (status, said) = code(&["--allow", "key-unknown"]);
    assert_eq!(status, Some(2));
    assert!(said.starts_with("error: \"key-unknown\" cannot be allowed"), "{said}");
}

/// <https://docs.github.com/en/code-security/code-scanning/integrating-with-code-scanning/sarif-support-for-code-scanning>
#[test]
fn sarif_has_what_code_hosts_need() {
    let (good, bad) = (file("sarif-good.json", r#"{"version": 1}"#), file("sarif.json", TEN_MISTAKES));
    let output = fwctl(["check", &good, &bad, "--format", "sarif"]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(stderr(&output), "");
    let log: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(log["version"], "2.1.0");
    assert!(log["$schema"].as_str().unwrap().ends_with("sarif-2.1.0.json"));
    let run = &log["runs"][0];
    assert_eq!(run["tool"]["driver"]["name"], "fwctl");
    let rules = run["tool"]["driver"]["rules"].as_array().unwrap();
    let results = run["results"].as_array().unwrap();
    assert_eq!(results.len(), 10);
    for result in results {
        let rule = &rules[usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap()];
        assert_eq!(rule["id"], result["ruleId"]);
        assert!(!rule["shortDescription"]["text"].as_str().unwrap().is_empty());
        assert!(!rule["help"]["text"].as_str().unwrap().is_empty());
        assert_eq!(rule["defaultConfiguration"]["level"], "error");
        assert_eq!(result["level"], "error");
        assert!(!result["message"]["text"].as_str().unwrap().is_empty());
        let place = &result["locations"][0]["physicalLocation"];
        assert_eq!(place["artifactLocation"]["uri"], format!("file://{bad}"));
        let region = &place["region"];
        assert!(region["startLine"].as_u64().unwrap() > 0 && region["startColumn"].as_u64().unwrap() > 0);
    }
}

#[test]
fn warnings_alone_are_no_failure() {
    let file = file("warning.json", WARNING);
    let output = fwctl(["check", &file]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let said = stderr(&output);
    assert!(said.starts_with("warning["), "{said}");
    assert!(said.ends_with(&format!("{file}: no errors, 1 warning\n")), "{said}");
}

#[test]
fn every_example_is_clean() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path().display().to_string());
    let files: Vec<String> = files.filter(|file| file.ends_with(".json")).collect();
    assert!(!files.is_empty());
    let output = fwctl(std::iter::once("check").chain(files.iter().map(String::as_str)));
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert_eq!(stderr(&output).lines().count(), files.len(), "{}", stderr(&output));
}

#[test]
fn standard_input_is_a_file_too() {
    let output = fwctl_reading(["check", "-"], br#"{"version": 1}"#);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let output = fwctl_reading(["check", "-", "--format", "short"], br#"{"version": 7}"#);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).starts_with("<stdin>:1:13: error: version: "), "{}", stderr(&output));
    let output = fwctl(["check", "-", "-"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("named twice"));
}

#[test]
fn what_is_no_rules_file_is_one_line() {
    for verb in ["check", "load"] {
        for (path, says) in [("/nowhere/rules.json", "does not exist"), ("/tmp", "is a directory")] {
            let output = fwctl([verb, path]);
            assert_eq!(output.status.code(), Some(2));
            let said = stderr(&output);
            assert!(said.starts_with("error: ") && said.contains(path) && said.contains(says), "{said}");
            assert_eq!(said.lines().count(), 1, "{said}");
        }
    }
}

#[test]
fn garbage_is_one_finding() {
    let mebibytes = 50 << 20;
    let nested = "[".repeat(100_000);
    let keys = "{\"a\":".repeat(100_000);
    for (what, garbage) in [
        ("zeros", vec![0; mebibytes]),
        ("not UTF-8", vec![0xff; mebibytes]),
        ("letters", vec![b'x'; mebibytes]),
        ("arrays in arrays", nested.into_bytes()),
        ("objects in objects", keys.into_bytes()),
        ("nothing", Vec::new()),
    ] {
        for verb in ["check", "load"] {
            let output = fwctl_reading([verb, "-"], &garbage);
            assert_eq!(output.status.code(), Some(2), "{what}: {}", stderr(&output));
            let said = stderr(&output);
            assert!(said.starts_with("error[not-json]: ") && said.contains("<stdin>:1:"), "{what}: {said}");
            assert_eq!(said.matches("error").count(), 2, "{what}: {said}");
            assert!(said.ends_with("\n<stdin>: 1 error, no warnings\n"), "{what}: {said}");
            assert!(said.len() < 1500, "{what}: {said}");
        }
    }
}

#[test]
fn endless_input_ends() {
    let output = fwctl(["check", "/dev/zero"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("is larger than"), "{}", stderr(&output));
}

#[test]
fn a_wrong_file_is_not_loaded() {
    let output = fwctl(["load", &file("wrong.json", TEN_MISTAKES)]);
    assert_eq!(output.status.code(), Some(2));
    let said = stderr(&output);
    assert_eq!(said.matches("error[").count(), 10, "{said}");
    assert!(said.ends_with(": 10 errors, no warnings\n"), "{said}");
    assert!(output.stdout.is_empty());
}

#[test]
fn json_lists_every_file_and_finding() {
    let (good, bad) = (file("good.json", r#"{"version": 1}"#), file("bad.json", TEN_MISTAKES));
    let output = fwctl(["check", &good, &bad, "/nowhere/rules.json", "--json"]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(stderr(&output), "");
    let checked: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(checked[0]["file"], Value::from(good));
    assert_eq!(checked[0]["findings"], Value::Array(Vec::new()));
    assert_eq!(checked[1]["file"], Value::from(bad));
    let findings = checked[1]["findings"].as_array().unwrap();
    assert_eq!(findings.len(), 10);
    for finding in findings {
        let keys: Vec<&String> = finding.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["severity", "code", "path", "line", "column", "message", "remedy"]);
        assert_eq!(finding["severity"], "error");
        assert!(finding["line"].as_u64().unwrap() > 0 && finding["column"].as_u64().unwrap() > 0);
    }
    assert_eq!(checked[2]["findings"].as_array().unwrap().len(), 1);
}

#[test]
fn every_verb_shows_an_example() {
    for verb in VERBS {
        for help in [["help", verb], [verb, "--help"]] {
            let output = fwctl(help);
            assert_eq!(output.status.code(), Some(0), "{verb}");
            let said = String::from_utf8(output.stdout).unwrap();
            assert!(said.contains("EXAMPLE:\n"), "{verb}: {said}");
            let example = said.split("EXAMPLE:\n").nth(1).unwrap();
            assert!(example.contains(&format!("fwctl {verb}")), "{verb}: {said}");
        }
    }
    let said = String::from_utf8(fwctl(["--help"]).stdout).unwrap();
    for verb in VERBS {
        assert!(said.contains(&format!("\n  {verb} ")), "{verb} is not in: {said}");
    }
}

#[test]
fn bad_usage_exits_2_and_helps() {
    let output = fwctl(["chekc", "rules.json"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("'check'"), "{}", stderr(&output));
    for wrong in [
        &["load"][..],
        &["check"],
        &["attach"],
        &["help", "rulez"],
        &["completions", "tcsh"],
        &["load", "rules.json", "--confirm", "0"],
        &["stats", "--watch", "0"],
        &["stats", "--watch", "--json"],
        &["show", "--source", "--json"],
        &["check", "rules.json", "--json", "--format", "short"],
        &[],
    ] {
        assert_eq!(fwctl(wrong.iter().copied()).status.code(), Some(2), "{wrong:?}");
    }
}

#[test]
fn the_directory_comes_before_or_after_the_verb_or_from_the_environment() {
    let good = file("where.json", r#"{"version": 1}"#);
    assert_eq!(fwctl(["--bpffs", "/tmp/x", "check", &good]).status.code(), Some(0));
    assert_eq!(fwctl(["check", &good, "--bpffs", "/tmp/x"]).status.code(), Some(0));
    let output = command().env("FWCTL_BPFFS", "/tmp/x").args(["check", &good]).output().unwrap();
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let bad = file("pipe.json", TEN_MISTAKES);
    // More than a pipe holds, so that the write fails whenever the reader leaves.
    let many = vec![bad.as_str(); 200];
    let mut child = command()
        .args(["check", "--json"])
        .args(many)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(stderr(&output), "");
    // What `check` found stays true.
    assert_eq!(output.status.code(), Some(2));

    let mut child = command().args(["load", "--help"]).stdout(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    assert_eq!(child.wait().unwrap().code(), Some(0));

    let mut child = command().args(["check", &bad]).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stderr.take());
    assert_eq!(child.wait().unwrap().code(), Some(2));
}

#[test]
fn a_full_disk_is_one_line() {
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let good = file("full.json", r#"{"version": 1}"#);
    let output =
        command().args(["check", "--json", &good]).stdout(full).stderr(Stdio::piped()).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).starts_with("error: cannot write to standard output: "), "{}", stderr(&output));
    assert_eq!(stderr(&output).lines().count(), 1);
}

#[test]
fn there_is_no_colour_in_a_pipe() {
    let output = fwctl(["check", &file("colour.json", TEN_MISTAKES)]);
    assert!(!output.stderr.contains(&0x1b));
}

fn fwctl<'a>(args: impl IntoIterator<Item = &'a str>) -> Output {
    command().args(args).stdin(Stdio::null()).output().unwrap()
}

fn fwctl_reading<'a>(args: impl IntoIterator<Item = &'a str>, input: &[u8]) -> Output {
    let mut child = command()
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // fwctl reads everything before it says anything, so nothing can block here.
    child.stdin.take().unwrap().write_all(input).unwrap();
    child.wait_with_output().unwrap()
}

/// Never the state of this host, and a backtrace if anything printed one.
fn command() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fwctl"));
    command.env("RUST_BACKTRACE", "1").env("FWCTL_BPFFS", "/nowhere/fwctl");
    command
}

fn file(name: &str, text: &str) -> String {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("cli-{name}"));
    fs::write(&path, text).unwrap();
    path.display().to_string()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

const VERBS: [&str; 11] = [
    "check", "load", "explain", "confirm", "rollback", "attach", "detach", "unload", "show", "status",
    "stats",
];

const WARNING: &str = r#"{
  "version": 1,
  "security_groups": {
    "sg-web": { "ingress": [ { "id": "ping", "protocol": "icmp", "icmp_type": 8, "icmp_code": -1,
                               "cidr_blocks": ["::/0"] } ] }
  },
  "interfaces": { "eni-web": { "device": "eth0", "security_groups": ["sg-web"] } }
}"#;

const TEN_MISTAKES: &str = r#"{
  "version": 1,
  "securty_groups": {},
  "network_acls": {
    "acl-web": {
      "ingress": [
        { "rule_number": 0, "action": "allow", "protocol": "all", "cidr_block": "0.0.0.0/0" },
        { "rule_number": 100, "action": "maybe", "protocol": "all", "cidr_block": "0.0.0.0/0" },
        { "rule_number": 110, "action": "deny", "protocol": "all", "cidr_block": "10.0.0.0/33" },
        { "rule_number": 120, "action": "deny", "protocol": "tpc", "cidr_block": "10.0.0.0/8" }
      ],
      "egress": []
    }
  },
  "security_groups": {
    "sg-web": {
      "ingress": [
        { "protocol": "tcp", "from_port": 443, "to_port": 70000, "cidr_blocks": ["0.0.0.0/0"] },
        { "protocol": "tcp", "from_port": 90, "to_port": 80, "cidr_blocks": ["0.0.0.0/0"] },
        { "protocol": "udp", "from_port": 53, "to_port": 53, "cidr_blocks": "0.0.0.0/0" }
      ]
    }
  },
  "interfaces": {
    "eni-web": { "device": "lo", "security_groups": ["sg-web"] },
    "eni-db": { "addresses": ["10.0.1.300"], "security_groups": ["sg-web"] }
  }
}"#;

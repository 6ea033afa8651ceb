//! The alerts and the dashboard, and the exposition that they stand on.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use fw_tests::filtered::Filtered;
use fw_tests::programs;
use fw_userspace::metrics::Format;
use serde_json::Value;

use super::{exporter, knock, rendered, rules};

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(name)
}

/// What the exposition in the text format declares.
fn families(text: &str) -> BTreeSet<&str> {
    text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect()
}

/// All names of ours in a text.
fn names(text: &str) -> BTreeSet<&str> {
    let words = text.split(|c: char| !c.is_ascii_alphanumeric() && c != '_');
    words.filter(|word| ["fwctl_", "process_"].iter().any(|prefix| word.starts_with(prefix))).collect()
}

/// `promtool` with these arguments, and this to read. `None`, loudly, where it is not to be had.
fn promtool(arguments: &[&str], input: &str) -> Option<(bool, String)> {
    let Some(promtool) = programs::find("promtool") else {
        programs::skip(&format!("promtool {arguments:?}"), "there is no promtool");
        return None;
    };
    let mut child = Command::new(promtool)
        .args(arguments)
        .current_dir(example("prometheus"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    Some((output.status.success(), String::from_utf8_lossy(&said).into_owned()))
}

#[test]
fn alerts_dashboard_and_manual_name_what_is_told_and_promtool_finds_nothing() {
    let filtered = Filtered::new(&rules(false));
    knock(&filtered, 2);
    let exporter = exporter(&filtered);
    let text = rendered(&filtered, &exporter, Format::Text);
    let told = families(&text);

    for file in ["prometheus/alerts.yml", "prometheus/alerts_test.yml", "grafana/fwctl.json"] {
        let used = fs::read_to_string(example(file)).unwrap();
        let used = names(&used);
        assert!(used.len() >= 8, "{file} uses {used:?}");
        let unknown: Vec<_> = used.difference(&told).collect();
        assert!(unknown.is_empty(), "{file}: {unknown:?} are not told");
    }
    let manual = fs::read_to_string(example("../docs/metrics.md")).unwrap();
    let missing: Vec<_> = told.iter().filter(|name| !manual.contains(&format!("`{name}`"))).collect();
    assert!(missing.is_empty(), "docs/metrics.md does not say what {missing:?} are");
    let unknown: Vec<_> = names(&manual).into_iter().filter(|name| !told.contains(name)).collect();
    assert!(unknown.is_empty(), "docs/metrics.md: {unknown:?} are not told");

    if let Some((ok, said)) = promtool(&["check", "metrics"], &text) {
        assert!(ok && said.trim().is_empty(), "{said}\n{text}");
    }
    for arguments in [
        &["check", "rules", "alerts.yml"][..],
        &["test", "rules", "alerts_test.yml"],
        &["check", "config", "scrape.yml"],
    ] {
        if let Some((ok, said)) = promtool(arguments, "") {
            assert!(ok, "{arguments:?}: {said}");
        }
    }
}

/// OpenMetrics has a stricter grammar, and nothing here that reads it: its lines are checked one by one.
#[test]
fn openmetrics_says_the_same_in_its_own_words() {
    let filtered = Filtered::new(&rules(false));
    knock(&filtered, 2);
    let exporter = exporter(&filtered);
    let text = rendered(&filtered, &exporter, Format::Text);
    let open = rendered(&filtered, &exporter, Format::OpenMetrics);
    assert!(open.ends_with("\n# EOF\n") && open.matches("# EOF").count() == 1);
    let series = |text: &str| -> BTreeSet<String> {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        lines.map(|line| line.rsplit_once(' ').unwrap().0.to_owned()).collect()
    };
    assert_eq!(series(&open), series(&text));
    let mut family = ("", "");
    for line in open.lines() {
        if let Some(declared) = line.strip_prefix("# TYPE ") {
            family = declared.split_once(' ').unwrap();
        } else if let Some(unit) = line.strip_prefix("# UNIT ") {
            let (name, unit) = unit.split_once(' ').unwrap();
            assert!(name == family.0 && name.ends_with(&format!("_{unit}")), "{line}");
        } else if !line.starts_with('#') {
            let suffix = match family.1 {
                "counter" => "_total",
                "info" => "_info",
                _ => "",
            };
            let name = line.split(['{', ' ']).next().unwrap();
            assert_eq!(name, format!("{}{suffix}", family.0), "{line}");
        }
    }
}

#[test]
fn the_dashboard_is_whole() {
    let text = fs::read_to_string(example("grafana/fwctl.json")).unwrap();
    let dashboard: Value = serde_json::from_str(&text).unwrap();
    assert!(dashboard["schemaVersion"].as_u64() >= Some(38), "Grafana 10");
    let panels = dashboard["panels"].as_array().unwrap();
    let numbers: BTreeSet<u64> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(numbers.len(), panels.len());
    let mut taken = BTreeSet::new();
    for panel in panels {
        let of = |key: &str| panel["gridPos"][key].as_u64().unwrap();
        assert!(of("x") + of("w") <= 24, "{panel}");
        for (x, y) in
            (of("x")..of("x") + of("w")).flat_map(|x| (of("y")..of("y") + of("h")).map(move |y| (x, y)))
        {
            assert!(taken.insert((x, y)), "{} lies on another panel", panel["title"]);
        }
        let queries = panel["targets"].as_array().map_or(0, Vec::len);
        assert!(panel["type"] == "row" || queries > 0, "{panel}");
    }
    let variables: BTreeSet<&str> = dashboard["templating"]["list"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| it["name"].as_str().unwrap())
        .collect();
    assert_eq!(variables, ["datasource", "instance", "interface", "job"].into());
}

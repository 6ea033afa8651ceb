//! What the dashboard and the alerts ask, asked of the real series.

use std::fs;
use std::path::Path;

use fw_tests::netns::Namespace;
use fw_tests::programs::skip;
use fw_tests::prometheus::Prometheus;
use fw_tests::traffic::send_frame;
use serde::Deserialize;
use serde_json::Value;

use super::{METRICS, Scene};

/// What is read of a file of rules.
#[derive(Deserialize)]
struct Alerts {
    groups: Vec<Group>,
}

#[derive(Deserialize)]
struct Group {
    rules: Vec<Alert>,
}

#[derive(Deserialize)]
struct Alert {
    alert: String,
    expr: String,
}

fn example(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(name)).unwrap()
}

/// All texts with this key, wherever it is.
fn texts<'a>(value: &'a Value, key: &str, found: &mut Vec<&'a str>) {
    match value {
        Value::Object(members) => {
            found.extend(members.get(key).and_then(Value::as_str));
            members.values().for_each(|member| texts(member, key, found));
        }
        Value::Array(items) => items.iter().for_each(|item| texts(item, key, found)),
        _ => {}
    }
}

/// As Grafana asks when all hosts and interfaces are chosen.
fn filled_in(expression: &str) -> String {
    let values = [
        ("$__rate_interval", "1m"),
        ("$__interval", "1m"),
        ("$instance", ".*"),
        ("$interface", ".*"),
        ("$job", "fwctl"),
    ];
    let filled = values.iter().fold(expression.to_owned(), |text, (name, value)| text.replace(name, value));
    assert!(!filled.contains('$'), "{expression}: what is its variable?");
    filled
}

/// An alert with its comparisons as values: what it compares is there, whatever comes of it. Of now, since there was no hour
/// before.
fn compared(expression: &str) -> String {
    let compared = [" == ", " > ", " < "]
        .iter()
        .fold(expression.to_owned(), |text, sign| text.replace(sign, &format!("{sign}bool ")));
    assert_ne!(compared, expression, "what does it compare?");
    compared.replace("offset 5m", "")
}

/// An ethertype that nobody has (RFC 9542, 5: for experiments).
fn odd_frame(to: &Namespace) -> Vec<u8> {
    let mut frame = to.mac("eth0").unwrap().to_vec();
    frame.extend([2, 0, 0, 0, 0, 1, 0x88, 0xb5]);
    frame.resize(60, 0);
    frame
}

#[test]
fn dashboard_and_alerts_find_their_series() {
    if Prometheus::program().is_none() {
        return skip("dashboard_and_alerts_find_their_series", "there is no prometheus");
    }
    let scene = Scene::new();
    let served = scene.serve();
    let prometheus = Prometheus::start(&scene.rig.server, "250ms", &[("fwctl", METRICS)]).unwrap();
    prometheus.becomes("fwctl_reloads_total{result=\"ok\"}", 1).unwrap();
    scene.send(5);
    send_frame(&scene.rig.client, "eth0", &odd_frame(&scene.rig.server)).unwrap();
    served.signal(libc::SIGHUP).unwrap();
    // A rate needs two values, of every series.
    let two =
        |name: &str| prometheus.until(&format!("min(count_over_time({name}[1h]))"), |count| count > 1.0);
    two("fwctl_dropped_ethertype_frames_total").unwrap();
    prometheus.becomes("fwctl_ruleset_generation", 2).unwrap();
    two("fwctl_dropped_packets_total").unwrap();

    let dashboard: Value = serde_json::from_str(&example("grafana/fwctl.json")).unwrap();
    let (mut expressions, mut variables) = (Vec::new(), Vec::new());
    texts(&dashboard, "expr", &mut expressions);
    texts(&dashboard["templating"], "definition", &mut variables);
    assert!(expressions.len() > 20 && variables.len() > 2, "{expressions:?} {variables:?}");
    for expression in expressions {
        assert!(!prometheus.query(&filled_in(expression)).unwrap().is_empty(), "{expression} finds nothing");
    }
    for variable in variables {
        let arguments = variable.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')'));
        let (metric, label) = arguments.and_then(|both| both.split_once(", ")).expect(variable);
        assert!(!prometheus.label_values(metric, label).unwrap().is_empty(), "{variable} finds nothing");
    }

    let alerts: Alerts = serde_saphyr::from_str(&example("prometheus/alerts.yml")).unwrap();
    let alerts: Vec<Alert> = alerts.groups.into_iter().flat_map(|group| group.rules).collect();
    assert!(alerts.len() > 5);
    for Alert { alert, expr } in alerts {
        assert!(!prometheus.query(&compared(&expr)).unwrap().is_empty(), "{alert} finds nothing to compare");
        let raised = prometheus.query(&expr).unwrap();
        assert!(raised.is_empty(), "{alert} is raised where all is well: {raised:?}");
    }
}

//! `fwctl flow-log` beside real traffic: what its records say, and that nothing is lost by reloads, kills and full disks.
//! Needs root.

mod kept;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use fw_tests::netns::Process;
use fw_tests::traffic::{Outcome, ping, tcp_connect};
use kept::{CLOSED, Directory, Kept, Log, until};
use serde_json::{Value, json};

#[test]
fn t103_a_ping_that_gets_no_reply_is_two_records() {
    let kept = Kept::routed();
    let log = Log::begin(&kept, &["--json"]);
    assert_eq!(ping(&kept.rig.client, kept.rig.server.v4).unwrap(), Outcome::Blocked);
    let records = log.end();
    let of = |action: &str| -> Vec<&Value> {
        records.iter().filter(|record| record["action"] == action).collect()
    };
    let ([asked], [answered]) = (&of("ACCEPT")[..], &of("REJECT")[..]) else { panic!("{records:#?}") };
    let (client, server) = (kept.rig.client.v4.to_string(), kept.rig.server.v4.to_string());
    for (record, source, destination) in [(asked, &client, &server), (answered, &server, &client)] {
        // IP, ICMP and five bytes.
        for (field, value) in [
            ("version", json!(2)),
            ("account-id", json!("unknown")),
            ("interface-id", json!("server")),
            ("srcaddr", json!(source)),
            ("dstaddr", json!(destination)),
            ("srcport", json!(0)),
            ("dstport", json!(0)),
            ("protocol", json!(1)),
            ("packets", json!(1)),
            ("bytes", json!(33)),
            ("log-status", json!("OK")),
        ] {
            assert_eq!(record[field], value, "{field}: {record:#}");
        }
        let age = now_s() - record["start"].as_u64().unwrap();
        assert!(age < 30 && record["end"].as_u64() >= record["start"].as_u64(), "{record:#}");
    }
}

#[test]
fn t113_a_connection_that_opens_and_closes_has_flags_3_and_19() {
    let kept = Kept::routed();
    let log = Log::begin(
        &kept,
        &["--json", "--format", "${srcport} ${dstport} ${tcp-flags} ${flow-direction} ${version}"],
    );
    let mut live = kept.open();
    assert!(live.exchange());
    live.close().unwrap();
    let records = log.end();
    let flags = |direction: &str| {
        let found: Vec<&Value> =
            records.iter().filter(|record| record["flow-direction"] == direction).collect();
        let [record] = found[..] else { panic!("{records:#?}") };
        assert_eq!(record["version"], 5);
        record["tcp-flags"].as_u64().unwrap()
    };
    assert_eq!((flags("ingress"), flags("egress")), (3, 19));
}

#[test]
fn t114_a_window_of_data_alone_has_flags_0() {
    let kept = Kept::routed();
    let mut live = kept.open();
    assert!(live.exchange());
    let log = Log::begin(&kept, &["--json", "--format", "tcp-flags fwctl-reason packets"]);
    assert!(live.exchange());
    let records = log.end();
    assert_eq!(records.len(), 2, "{records:#?}");
    for record in &records {
        assert_eq!(
            (&record["tcp-flags"], &record["fwctl-reason"]),
            (&json!(0), &json!("established")),
            "{record}"
        );
    }
}

#[test]
fn t115_an_interface_without_packets_is_nodata() {
    let kept = Kept::routed();
    let log = Log::begin(&kept, &[]);
    let began = now_s();
    let text = log.end_text();
    let mut lines = text.lines();
    assert_eq!(
        lines.next().unwrap(),
        "version account-id interface-id srcaddr dstaddr srcport dstport protocol packets bytes start end action log-status"
    );
    let fields: Vec<&str> = lines.next().unwrap().split(' ').collect();
    assert_eq!(&fields[..10], ["2", "unknown", "server", "-", "-", "-", "-", "-", "-", "-"]);
    assert!(fields[10].parse::<u64>().unwrap().abs_diff(began) <= 10, "{text}");
    assert!(fields[11].parse::<u64>().unwrap() >= fields[10].parse().unwrap(), "{text}");
    assert_eq!(&fields[12..], ["-", "NODATA"]);
    assert_eq!(lines.next(), None);
}

#[test]
fn t116_a_secondary_address_is_shown_as_the_primary_one() {
    let kept = Kept::routed();
    kept.rig.server.address("eth0", &format!("{}/24", kept::SECONDARY)).unwrap();
    let log = Log::begin(&kept, &["--json", "--format", "dstaddr pkt-dstaddr pkt-srcaddr srcaddr action"]);
    kept.send_to(kept::SECONDARY.into(), CLOSED, 1);
    let records = log.end();
    let [record] = &records[..] else { panic!("{records:#?}") };
    let (client, server) = (kept.rig.client.v4.to_string(), kept.rig.server.v4.to_string());
    let expected = json!({ "dstaddr": server, "pkt-dstaddr": kept::SECONDARY.to_string(), "pkt-srcaddr": client,
                           "srcaddr": client, "action": "REJECT" });
    assert_eq!(record, &expected);
}

/// What AWS's records do not say.
#[test]
fn records_name_the_rule_that_decided() {
    let kept = Kept::routed();
    let format = "dstport action fwctl-verdict fwctl-layer fwctl-reason fwctl-network-acl fwctl-acl-rule \
                  fwctl-security-group fwctl-group-rule fwctl-rule-description flow-direction vpc-id subnet-id region type";
    let log = Log::begin(&kept, &["--json", "--format", format]);
    let mut live = kept.open();
    assert!(live.exchange());
    tcp_connect(&kept.rig.client, (kept.rig.client.v4, 0), (kept.rig.server.v4, 23)).unwrap();
    kept.send(CLOSED, 1);
    let records = log.end();
    let to = |port: u16| {
        let found =
            records.iter().find(|record| record["dstport"] == port && record["flow-direction"] == "ingress");
        found.unwrap_or_else(|| panic!("{records:#?}")).clone()
    };
    // The packets behind the first belong to the connection; the rule that let it in is still named.
    let place = |mut record: Value, more: Value| {
        let common = json!({ "flow-direction": "ingress", "vpc-id": "vpc-a", "subnet-id": "net", "region": "eu-west-1",
                             "type": "IPv4" });
        for (field, value) in common.as_object().unwrap() {
            assert_eq!(&record[field], value, "{field}");
            record.as_object_mut().unwrap().remove(field);
        }
        assert_eq!(record, more);
    };
    place(
        to(80),
        json!({
            "dstport": 80, "action": "ACCEPT", "fwctl-verdict": "allow", "fwctl-layer": "security_group",
            "fwctl-reason": "rule", "fwctl-network-acl": "acl", "fwctl-acl-rule": "100", "fwctl-security-group": "web",
            "fwctl-group-rule": "http", "fwctl-rule-description": "the web"
        }),
    );
    place(
        to(23),
        json!({
            "dstport": 23, "action": "REJECT", "fwctl-verdict": "deny", "fwctl-layer": "network_acl",
            "fwctl-reason": "network_acl_rule", "fwctl-network-acl": "acl", "fwctl-acl-rule": "90",
            "fwctl-security-group": null, "fwctl-group-rule": null, "fwctl-rule-description": "no telnet"
        }),
    );
    assert_eq!(to(CLOSED)["fwctl-reason"], "no_group_rule");
}

#[test]
fn traffic_types_are_told_apart_and_what_is_only_observed_was_accepted() {
    let kept = Kept::routed();
    for (kind, expected) in [("ACCEPT", &[80][..]), ("reject", &[9]), ("ALL", &[9, 80])] {
        let log = Log::begin(
            &kept,
            &["--json", "--traffic-type", kind, "--format", "dstport protocol flow-direction"],
        );
        kept.send(CLOSED, 2);
        kept.send(80, 1);
        let records = log.end();
        let inbound = records.iter().filter(|record| record["flow-direction"] == "ingress");
        let mut ports: Vec<u64> = inbound.map(|record| record["dstport"].as_u64().unwrap()).collect();
        ports.sort_unstable();
        assert_eq!(ports, expected, "{kind}: {records:#?}");
    }
    kept.load("datagrams", false);
    let log = Log::begin(&kept, &["--json", "--format", "dstport action fwctl-verdict"]);
    kept.send(CLOSED, 1);
    let records = log.end();
    let observed = json!({ "dstport": CLOSED, "action": "ACCEPT", "fwctl-verdict": "would_deny" });
    assert!(records.contains(&observed), "{records:#?}");
}

/// Every flow that has room is whole, and of the others every packet is counted.
#[test]
fn flows_beyond_the_bound_become_skipdata() {
    let kept = Kept::routed();
    let format = "log-status packets interface-id fwctl-skipped-packets srcaddr start end";
    let log = Log::begin(&kept, &["--json", "--max-flows", "10", "--format", format]);
    kept.send_flows(25, 4);
    let records = log.end();
    let (ok, skipped): (Vec<&Value>, Vec<&Value>) =
        records.iter().partition(|record| record["log-status"] == "OK");
    assert_eq!(ok.len(), 10, "{records:#?}");
    assert!(ok.iter().all(|record| record["packets"] == 4), "{records:#?}");
    let [record] = skipped[..] else { panic!("{records:#?}") };
    assert_eq!((&record["log-status"], &record["interface-id"]), (&json!("SKIPDATA"), &json!("server")));
    assert_eq!((&record["fwctl-skipped-packets"], &record["packets"]), (&json!(60), &Value::Null));
    assert!(record["start"].is_u64() && record["end"].is_u64(), "{record}");
}

#[test]
fn a_reload_ends_the_window_and_each_names_its_rules() {
    let kept = Kept::routed();
    let log = Log::begin(&kept, &["--json", "--format", "packets dstport fwctl-group-rule"]);
    kept.send(80, 30);
    kept.load("renamed", true);
    log.lines_until(|record| record["dstport"] == 80);
    kept.send(80, 20);
    let records = log.end();
    let of = |rule: &str| kept::packets(records.iter().filter(|record| record["fwctl-group-rule"] == rule));
    assert_eq!((of("datagrams"), of("renamed")), (30, 20), "{records:#?}");
}

/// What was added up when it was killed is in the kernel, and more is while nobody reads.
#[test]
fn a_reader_that_is_killed_loses_nothing() {
    let kept = Kept::routed();
    let directory = Directory::new();
    let file = directory.path().join("flows.log");
    let arguments = [
        "--max-aggregation-interval",
        "1",
        "--output",
        file.to_str().unwrap(),
        "--format",
        "dstport packets log-status",
    ];
    let log = Log::begin(&kept, &arguments);
    let mut sent = 0;
    let mut send = |count| {
        kept.send(CLOSED, count);
        sent += count;
    };
    let whole = || fs::read_to_string(&file).unwrap_or_default();
    send(100);
    until(|| kept::text_packets(&whole(), CLOSED) >= 100, "the first window is written");
    for _ in 0..3 {
        send(70);
    }
    log.kill();
    send(50);
    // Half a line, as of a writer that was killed in the middle of it.
    let before = whole();
    fs::write(&file, format!("{before}9 12")).unwrap();
    let log = Log::begin(&kept, &arguments);
    send(30);
    log.end_quietly();
    assert_eq!(kept::text_packets(&whole(), CLOSED), u64::from(sent), "{}", whole());
    assert!(whole().starts_with(&before) && whole().ends_with('\n'), "{}", whole());
    assert_eq!(whole().matches("log-status").count(), 1, "one header");
    assert!(kept.windows().is_empty(), "{:?}", kept.windows());
    assert!(!kept.is_recording());
}

/// A window that does not fit waits in the kernel until it does.
#[test]
fn a_full_disk_loses_nothing_and_cuts_no_line() {
    let kept = Kept::routed();
    let directory = Directory::of_bytes(64 << 10);
    let file = directory.path().join("flows.log");
    let filler = directory.path().join("filler");
    let log = Log::begin(&kept, &["--max-aggregation-interval", "1", "--output", file.to_str().unwrap()]);
    kept.send_flows(20, 3);
    let whole = || fs::read_to_string(&file).unwrap_or_default();
    until(|| kept::default_packets(&whole()) == 60, "a window is written");
    // All but the page that the file has begun.
    fs::write(&filler, vec![0; 60 << 10]).unwrap();
    kept.send_flows(200, 2);
    let complaint = log.complaint();
    assert!(complaint.contains("No space left on device") && complaint.contains("flows.log"), "{complaint}");
    assert!(complaint.contains("to be written"), "{complaint}");
    assert!(whole().ends_with('\n'), "{}", whole());
    let full = whole();
    fs::remove_file(&filler).unwrap();
    until(|| kept::default_packets(&whole()) == 460, "the windows are written when there is room");
    assert!(whole().starts_with(&full));
    log.end_quietly();
    assert_eq!(kept::default_packets(&whole()), 460);
}

/// What cannot be kept any longer is counted.
#[test]
fn windows_that_can_never_be_written_are_given_up_and_counted() {
    let kept = Kept::routed();
    let directory = Directory::of_bytes(64 << 10);
    let file = directory.path().join("flows.jsonl");
    let format = "packets log-status dstport fwctl-skipped-packets";
    let arguments =
        ["--max-aggregation-interval", "1", "--json", "--output", file.to_str().unwrap(), "--format", format];
    let log = Log::begin(&kept, &arguments);
    let filler = directory.path().join("filler");
    kept.send_flows(10, 1);
    let records = || kept::records(&fs::read_to_string(&file).unwrap_or_default());
    until(|| kept::packets(&records()) == 10, "a window is written");
    fs::write(&filler, vec![0; 60 << 10]).unwrap();
    kept.send_flows(900, 2);
    until(|| log.complaint().contains("are given up"), "the oldest window is given up");
    fs::remove_file(&filler).unwrap();
    let skipped =
        || -> u64 { records().iter().filter_map(|record| record["fwctl-skipped-packets"].as_u64()).sum() };
    until(|| kept::packets(&records()) + skipped() == 1810, "all is accounted for");
    assert!(skipped() > 0);
    log.end_quietly();
}

#[test]
fn what_cannot_be_written_to_is_said_at_once_and_nothing_is_recorded() {
    let kept = Kept::routed();
    for (path, says) in [
        ("/proc/flows.log", "cannot open \"/proc/flows.log\": No such file or directory"),
        ("/proc/flows/", "cannot create \"/proc/flows/\": No such file or directory"),
        ("/dev/null", "it is no file"),
    ] {
        let refused = kept.fwctl().run(["flow-log", "--output", path]).unwrap();
        assert_eq!(refused.code(), 1, "{}", refused.said());
        assert!(refused.stderr.contains(says), "{}", refused.said());
    }
    assert!(!kept.is_recording() && kept.windows().is_empty());
    for (wrong, says) in [
        (&["--format", "${srcadr}"][..], "did you mean \"srcaddr\"?"),
        (&["--keep", "3"], "standard output has no files"),
        (&["--rotate-size", "big"], "must be a number of bytes"),
        (&["--max-aggregation-interval", "0"], "0 is not in 1..=600"),
        (&["--account-id", "../x"], "letters, digits"),
    ] {
        let refused = kept.fwctl().run(["flow-log"].iter().chain(wrong)).unwrap();
        assert_eq!(refused.code(), 2, "{}", refused.said());
        assert!(refused.stderr.contains(says), "{}", refused.said());
    }
}

#[test]
fn files_rotate_and_zcat_reads_them() {
    let kept = Kept::routed();
    let directory = Directory::new();
    let file = directory.path().join("flows.log.gz");
    let log = Log::begin(
        &kept,
        &[
            "--max-aggregation-interval",
            "1",
            "--gzip",
            "--rotate-size",
            "1K",
            "--keep",
            "3",
            "--output",
            file.to_str().unwrap(),
        ],
    );
    for _ in 0..6 {
        kept.send_flows(40, 1);
        thread::sleep(Duration::from_millis(1200));
    }
    log.end_quietly();
    let files = kept.zcat(directory.path());
    assert_eq!(files.len(), 4, "one and three before it: {:?}", files.keys());
    for (name, text) in &files {
        assert!(text.starts_with("version account-id"), "{name}: {text}");
        assert!(text.ends_with('\n') && text.matches("version account-id").count() == 1, "{name}: {text}");
        assert!(
            name == "flows.log.gz" || name.starts_with("flows-20") && name.ends_with("Z.log.gz"),
            "{name}"
        );
    }
}

#[test]
fn a_directory_gets_files_named_as_in_a_bucket() {
    let kept = Kept::routed();
    let directory = Directory::new();
    let path = directory.path().to_str().unwrap();
    let log = Log::begin(&kept, &["--gzip", "--account-id", "111122223333", "--output", path]);
    kept.send(CLOSED, 7);
    log.end_quietly();
    let files = kept.zcat(directory.path());
    let [(name, text)] = &files.iter().collect::<Vec<_>>()[..] else { panic!("{files:?}") };
    let parts: Vec<&str> = name.split('_').collect();
    assert_eq!(&parts[..3], ["111122223333", "vpcflowlogs", "eu-west-1"], "{name}");
    assert!(parts[3].starts_with("fl-") && parts[4].len() == "20261124T1637Z".len(), "{name}");
    assert!(parts[5].ends_with(".log.gz"), "{name}");
    assert_eq!(kept::default_packets(text), 7);
    assert!(text.contains("\n2 111122223333 server "), "{text}");
}

#[test]
fn one_log_at_a_time_beside_a_monitor() {
    let kept = Kept::routed();
    let log = Log::begin(&kept, &["--json", "--format", "packets dstport"]);
    let second = kept.fwctl().run(["flow-log"]).unwrap();
    assert_eq!(second.code(), 1, "{}", second.said());
    assert!(second.stderr.contains("keeps a flow log already"), "{}", second.said());
    let mut command = kept.fwctl().command(["monitor", "--drops", "--count", "3"]);
    let mut monitor = Process::start(command.stdout(Stdio::piped()).stderr(Stdio::null())).unwrap();
    let mut sent = 0;
    until(
        || {
            kept.send(CLOSED, 1);
            sent += 1;
            monitor.child().try_wait().unwrap().is_some()
        },
        "the monitor tells",
    );
    // Its end switched off what it wanted, and nothing else.
    assert!(kept.is_recording());
    kept.send(CLOSED, 5);
    assert_eq!(kept::packets(&log.end()), sent + 5);
}

#[test]
fn a_reader_that_goes_away_and_rules_that_do_end_it() {
    let kept = Kept::routed();
    let mut command = kept.fwctl().command(["flow-log", "--max-aggregation-interval", "1"]);
    let mut process = Process::start(command.stdout(Stdio::piped()).stderr(Stdio::piped())).unwrap();
    let mut out = BufReader::new(process.child().stdout.take().unwrap());
    let mut heading = String::new();
    out.read_line(&mut heading).unwrap();
    assert!(heading.starts_with("version "), "{heading}");
    drop(out);
    until(|| process.child().try_wait().unwrap().is_some(), "it ends");
    assert_eq!(process.child().wait().unwrap().code(), Some(0));
    assert!(kept.windows().is_empty() && !kept.is_recording());

    let log = Log::begin(&kept, &["--json", "--format", "packets dstport"]);
    kept.send(CLOSED, 11);
    assert!(kept.fwctl().run(["unload"]).unwrap().status.success());
    let (status, records, complaints) = log.wait();
    assert_eq!(status.code(), Some(1), "{complaints}");
    assert!(complaints.contains("were unloaded"), "{complaints}");
    assert_eq!(kept::packets(&records), 11);
}

/// Every packet is counted once by the metrics and once by the log, whatever became of it.
#[test]
fn a_million_packets_of_a_thousand_flows_are_all_there() {
    const FLOWS: u16 = 1000;
    const PACKETS: u32 = 1000;
    let kept = Kept::routed();
    let log = Log::begin(&kept, &["--json", "--format", "srcport dstport packets bytes action log-status"]);
    let before = kept.fwctl().stats().unwrap();
    kept.judge_flows(FLOWS, PACKETS);
    let after = kept.fwctl().stats().unwrap();
    let records = log.end();
    let metrics = |verdict| after.verdict(verdict) - before.verdict(verdict);
    let of = |action: &str| -> Vec<&Value> {
        let ours = |record: &&Value| record["action"] == action && record["srcport"].as_u64() >= Some(10_000);
        records.iter().filter(ours).collect()
    };
    let sent = u64::from(FLOWS) * u64::from(PACKETS);
    let (accepted, rejected) = (of("ACCEPT"), of("REJECT"));
    assert_eq!((accepted.len(), rejected.len()), (500, 500));
    for record in accepted.iter().chain(&rejected) {
        assert_eq!(record["packets"], PACKETS, "{record}");
        assert_eq!(record["bytes"], 48 * u64::from(PACKETS), "{record}");
    }
    assert_eq!(kept::packets(accepted) + kept::packets(rejected), sent);
    assert!(records.iter().all(|record| record["log-status"] == "OK"), "nothing was skipped");
    assert_eq!((metrics("allow"), metrics("deny")), (sent / 2, sent / 2));
}

/// Two CPUs add to the same flows.
#[test]
fn packets_on_two_cpus_at_once_are_all_there() {
    let kept = Kept::routed();
    let log = Log::begin(&kept, &["--json", "--format", "srcport packets"]);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| kept.judge_flows(20, 20_000));
        }
    });
    let records = log.end();
    let ours: Vec<&Value> =
        records.iter().filter(|record| record["srcport"].as_u64() >= Some(10_000)).collect();
    assert_eq!(ours.len(), 20);
    assert!(ours.iter().all(|record| record["packets"] == 40_000), "{ours:#?}");
}

fn now_s() -> u64 {
    std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs()
}

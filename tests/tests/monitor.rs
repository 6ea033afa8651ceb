//! `fwctl monitor` beside real traffic: what it prints, that a flood is bounded, and what it leaves behind. Needs root.

use std::io::{BufRead as _, BufReader};
use std::net::{Ipv4Addr, UdpSocket};
use std::path::PathBuf;
use std::process::{Child, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use aya::maps::{Map, MapData, MapInfo, RingBuf};
use fw_common::event::{Allowance, Event};
use fw_tests::fwctl::{Fwctl, RULES};
use fw_tests::netns::{BpffsDir, Process, Rig};
use fw_tests::traffic::{Echo, ping, tcp_connect};
use fw_userspace::datapath::Store;
use serde_json::{Value, json};

/// A client and, behind a router, a server that filters its own NIC.
struct Watched {
    rig: Rig,
    bpffs: BpffsDir,
}

/// A port that no rule names.
const CLOSED: u16 = 9;
const PATIENCE: Duration = Duration::from_secs(10);

impl Watched {
    fn new() -> Self {
        let watched = Self { rig: Rig::routed().unwrap(), bpffs: BpffsDir::new().unwrap() };
        watched.load(true);
        watched
    }

    fn load(&self, enforce: bool) {
        let everywhere = json!(["0.0.0.0/0", "::/0"]);
        self.fwctl()
            .load(&json!({
                "version": 1,
                "security_groups": { "web": {
                    "ingress": [
                        { "id": "http", "protocol": "tcp", "from_port": 80, "to_port": 80, "cidr_blocks": everywhere },
                        { "id": "ping", "protocol": "icmp", "icmp_type": 8, "icmp_code": -1,
                          "cidr_blocks": ["0.0.0.0/0"] } ],
                    "egress": [] } },
                "network_acls": { "acl": {
                    "ingress": [
                        { "rule_number": 90, "action": "deny", "protocol": "tcp", "from_port": 23, "to_port": 23,
                          "cidr_block": "0.0.0.0/0" },
                        { "rule_number": 100, "action": "allow", "protocol": "all", "cidr_block": "0.0.0.0/0" } ],
                    "egress": [
                        { "rule_number": 100, "action": "allow", "protocol": "all", "cidr_block": "0.0.0.0/0" } ] } },
                "subnets": { "net": { "cidr_blocks": ["10.77.2.0/24"], "network_acl": "acl" } },
                "interfaces": { "server": { "device": "eth0", "enforce": enforce, "subnet": "net",
                                            "security_groups": ["web"] } },
                "settings": { "adopt_seconds": 0 }
            }))
            .unwrap();
    }

    fn fwctl(&self) -> Fwctl<'_> {
        Fwctl::new(&self.rig.server, &self.bpffs).unwrap()
    }

    /// Datagrams that no rule lets in.
    fn flood(&self, count: u32) {
        let (client, to) = (&self.rig.client, (self.rig.server.v4, CLOSED));
        client.run(|| {
            let socket = UdpSocket::bind(("0.0.0.0", 0)).unwrap();
            for _ in 0..count {
                socket.send_to(b"flood", to).unwrap();
            }
        });
    }

    fn pin(&self, map: &str) -> PathBuf {
        Store::open(self.bpffs.path()).unwrap().unwrap().maps().join(map)
    }

    /// What the programs tell of from now on, with no `fwctl` between.
    fn ring(&self) -> RingBuf<MapData> {
        let map = Map::from_map_data(MapData::from_pin(self.pin("EVENTS")).unwrap()).unwrap();
        let mut ring: RingBuf<MapData> = map.try_into().unwrap();
        while ring.next().is_some() {}
        ring
    }

    /// Whether the programs tell of a dropped packet.
    fn is_told(&self, ring: &mut RingBuf<MapData>) -> bool {
        self.flood(1);
        let event = ring.next().map(|item| Event::read(&item).unwrap());
        event.is_some_and(|event| event.service == CLOSED)
    }
}

/// A `fwctl monitor` that runs.
struct Monitor {
    process: Process,
    lines: Receiver<String>,
    complaints: thread::JoinHandle<String>,
}

impl Monitor {
    /// Starts one.
    fn start(watched: &Watched, arguments: &[&str]) -> Self {
        let mut command = watched.fwctl().command(["monitor"].iter().chain(arguments));
        let mut process = Process::start(command.stdout(Stdio::piped()).stderr(Stdio::piped())).unwrap();
        let (out, err) = (process.child().stdout.take().unwrap(), process.child().stderr.take().unwrap());
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(out).lines() {
                let Ok(line) = line else { return };
                if sender.send(line).is_err() {
                    // Closes the pipe.
                    return;
                }
            }
        });
        let complaints = thread::spawn(move || std::io::read_to_string(err).unwrap());
        Self { process, lines, complaints }
    }

    /// The same; it is listening when this returns, and has told of nothing but our probes.
    fn listening(watched: &Watched, arguments: &[&str]) -> Self {
        let monitor = Self::start(watched, arguments);
        let start = Instant::now();
        loop {
            watched.flood(1);
            if let Ok(line) = monitor.lines.recv_timeout(Duration::from_millis(50))
                && line.contains('9')
            {
                return monitor;
            }
            assert!(start.elapsed() < PATIENCE, "the monitor says nothing");
        }
    }

    /// JSON up to one that is so, this included.
    fn until(&self, last: impl Fn(&Value) -> bool) -> Vec<Value> {
        let mut seen = Vec::new();
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            let Ok(line) = self.lines.recv_timeout(Duration::from_millis(100)) else { continue };
            let event: Value = serde_json::from_str(&line).unwrap();
            let is_last = last(&event);
            seen.push(event);
            if is_last {
                return seen;
            }
        }
        panic!("not among {seen:#?}");
    }

    fn signal(&self, signal: i32) {
        self.process.signal(signal).unwrap();
    }

    fn end(mut self) -> (ExitStatus, Vec<String>, String) {
        let status = wait(self.process.child());
        (status, self.lines.iter().collect(), self.complaints.join().unwrap())
    }
}

fn wait(child: &mut Child) -> ExitStatus {
    let start = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        assert!(start.elapsed() < PATIENCE, "it does not end");
        thread::sleep(Duration::from_millis(10));
    }
}

fn is_to(port: u16) -> impl Fn(&Value) -> bool {
    move |event| event["destination_port"] == port
}

#[test]
fn what_passes_and_what_is_dropped_is_told_of_by_name() {
    let watched = Watched::new();
    let Rig { client, server, .. } = &watched.rig;
    let _web = Echo::tcp(server, (server.v4, 80)).unwrap();
    let monitor = Monitor::listening(&watched, &["--json"]);

    tcp_connect(client, (client.v4, 0), (server.v4, 80)).unwrap();
    let opened = monitor.until(is_to(80)).pop().unwrap();
    let client_address = client.v4.to_string();
    let expected = json!({
        "interface": "server", "device": "eth0", "direction": "ingress", "verdict": "allow", "layer": "security_group",
        "reason": "rule", "protocol": "tcp", "source": client_address, "destination": server.v4.to_string(),
        "tcp_flags": "SYN", "later_fragment": false, "ethertype": null, "icmp_type": null,
        "network_acl": { "kind": "network_acl", "id": "acl", "direction": "ingress", "rule": "100" },
        "security_group": { "kind": "security_group", "id": "web", "direction": "ingress", "rule": "http" }
    });
    for (key, value) in expected.as_object().unwrap() {
        assert_eq!(&opened[key], value, "{key}: {opened:#}");
    }
    assert!(opened["bytes"].as_u64().unwrap() > 60, "{opened:#}");
    let age = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64
        - opened["time_ns"].as_u64().unwrap();
    assert!(age < 10_000_000_000, "{age} ns ago");
    let answer = monitor.until(|event| event["source_port"] == 80).pop().unwrap();
    assert_eq!(answer["direction"], "egress");
    assert_eq!((&answer["reason"], &answer["tcp_flags"]), (&json!("established"), &json!("SYN,ACK")));

    tcp_connect(client, (client.v4, 0), (server.v4, 81)).unwrap();
    let refused = monitor.until(is_to(81)).pop().unwrap();
    assert_eq!((&refused["verdict"], &refused["reason"]), (&json!("deny"), &json!("no_group_rule")));
    assert_eq!(refused["security_group"], Value::Null);
    tcp_connect(client, (client.v4, 0), (server.v4, 23)).unwrap();
    let denied = monitor.until(is_to(23)).pop().unwrap();
    assert_eq!((&denied["layer"], &denied["network_acl"]["rule"]), (&json!("network_acl"), &json!("90")));
    ping(client, server.v4).unwrap();
    let asked = monitor.until(|event| event["icmp_type"] == 8).pop().unwrap();
    assert_eq!((&asked["protocol"], &asked["source_port"]), (&json!("icmp"), &Value::Null));

    // The names of the rules that are loaded meanwhile, and what would be denied.
    watched.load(false);
    let start = Instant::now();
    loop {
        watched.flood(1);
        let event = monitor.until(is_to(CLOSED)).pop().unwrap();
        if event["verdict"] == "would_deny" {
            break;
        }
        assert!(start.elapsed() < PATIENCE, "{event:#}");
    }
}

#[test]
fn only_drops_and_only_one_interface_if_asked() {
    let watched = Watched::new();
    let Rig { client, server, .. } = &watched.rig;
    let _web = Echo::tcp(server, (server.v4, 80)).unwrap();
    let monitor = Monitor::listening(&watched, &["--json", "--drops", "--interface", "server"]);
    tcp_connect(client, (client.v4, 0), (server.v4, 80)).unwrap();
    tcp_connect(client, (client.v4, 0), (server.v4, 81)).unwrap();
    let seen = monitor.until(is_to(81));
    assert!(seen.iter().all(|event| event["verdict"] == "deny"), "{seen:#?}");
    drop(monitor);

    let unknown = watched.fwctl().run(["monitor", "--interface", "servre"]).unwrap();
    assert_eq!(unknown.code(), 2, "{}", unknown.said());
    assert!(unknown.stderr.contains("\"server\""), "{}", unknown.said());
}

#[test]
fn text_has_a_line_for_each_packet() {
    let watched = Watched::new();
    let monitor = Monitor::listening(&watched, &["--drops", "--count", "3"]);
    watched.flood(2);
    let (status, lines, complaints) = monitor.end();
    assert_eq!((status.code(), complaints.as_str()), (Some(0), ""), "{lines:?}");
    for line in &lines {
        for part in
            ["  eth0 ", "  server ", "  ingress ", "  deny ", "  security_group ", "  no_group_rule ", ":9"]
        {
            assert!(line.contains(part), "{part:?} is not in {line:?}");
        }
    }
}

/// More than the allowance is counted, not told.
#[test]
fn a_flood_is_bounded_and_what_is_suppressed_is_counted() {
    const SENT: u32 = 60_000;
    let watched = Watched::new();
    let monitor = Monitor::listening(&watched, &["--drops", "--json"]);
    while monitor.lines.try_recv().is_ok() {}
    let start = Instant::now();
    watched.flood(SENT);
    let cpus = thread::available_parallelism().unwrap().get() as u64;
    thread::sleep(Duration::from_millis(1500));
    let bound = cpus * (u64::from(Allowance::MOST_AT_ONCE) + 1000 * (start.elapsed().as_secs() + 1));
    monitor.signal(libc::SIGINT);
    let (status, lines, complaints) = monitor.end();
    assert_eq!(status.code(), Some(0), "{complaints}");
    let (mut told, mut suppressed) = (0, 0);
    for line in lines {
        let event: Value = serde_json::from_str(&line).unwrap();
        told += u64::from(is_to(CLOSED)(&event));
        suppressed += event["suppressed"].as_u64().unwrap_or(0);
    }
    assert!((1..=bound).contains(&told), "{told} were told of, at most {bound} may be");
    assert_eq!(told + suppressed, u64::from(SENT), "{told} and {suppressed}: {complaints}");
    assert!(complaints.contains("more packets, too many to tell of each"), "{complaints}");
}

#[test]
fn one_reader_at_a_time_and_nothing_is_told_after_it() {
    let watched = Watched::new();
    let mut monitor = Monitor::listening(&watched, &["--drops"]);
    let second = watched.fwctl().run(["monitor"]).unwrap();
    assert_eq!(second.code(), 1, "{}", second.said());
    assert!(second.stderr.contains("reads the events already"), "{}", second.said());
    let id = monitor.process.child().id();
    assert!(second.stderr.contains(&format!("process {id} ")), "{}", second.said());

    // One that was killed is heeded for a while.
    monitor.signal(libc::SIGKILL);
    let (status, ..) = monitor.end();
    assert_eq!(status.code(), None);
    let mut ring = watched.ring();
    assert!(watched.is_told(&mut ring), "it was to last");
    thread::sleep(Duration::from_millis(3100));
    assert!(!watched.is_told(&mut ring), "nobody listens any more");
    drop(ring);

    // One that ends puts everything back.
    for signal in [libc::SIGINT, libc::SIGTERM] {
        let monitor = Monitor::listening(&watched, &["--drops"]);
        monitor.signal(signal);
        let (status, _, complaints) = monitor.end();
        assert_eq!((status.code(), complaints.as_str()), (Some(0), ""));
        assert!(!watched.is_told(&mut watched.ring()));
    }
}

#[test]
fn a_reader_that_goes_away_and_rules_that_do_end_it() {
    let watched = Watched::new();
    // Without a packet: it hears of the pipe itself.
    let mut command = watched.fwctl().command(["monitor", "--drops"]);
    let mut process = Process::start(command.stdout(Stdio::piped()).stderr(Stdio::piped())).unwrap();
    let mut out = BufReader::new(process.child().stdout.take().unwrap());
    let mut heading = String::new();
    out.read_line(&mut heading).unwrap();
    assert!(heading.starts_with("TIME (UTC)"), "{heading}");
    drop(out);
    assert_eq!(wait(process.child()).code(), Some(0));
    let err = process.child().stderr.take().unwrap();
    assert_eq!(std::io::read_to_string(err).unwrap(), "");

    let monitor = Monitor::listening(&watched, &["--drops"]);
    assert!(watched.fwctl().run(["unload"]).unwrap().status.success());
    let (status, _, complaints) = monitor.end();
    assert_eq!(status.code(), Some(1), "{complaints}");
    assert!(complaints.contains("were unloaded"), "{complaints}");

    let nothing = watched.fwctl().run(["monitor"]).unwrap();
    assert_eq!(nothing.code(), 1, "{}", nothing.said());
    assert!(nothing.stderr.contains("nothing is loaded"), "{}", nothing.said());
}

/// Rules that need larger maps move the word that events are switched on by.
#[test]
fn it_goes_on_when_the_maps_are_replaced() {
    let watched = Watched::new();
    let monitor = Monitor::listening(&watched, &["--drops", "--json"]);
    let scattered = |number: u32| Ipv4Addr::from(0x6000_0000 | number.wrapping_mul(0x9e37_79b1) >> 4);
    let blocks: Vec<String> = (0..150_000).map(|number| format!("{}/32", scattered(number))).collect();
    let rules = json!({
        "version": 1,
        "prefix_lists": { "many": { "max_entries": blocks.len(), "entries": blocks } },
        "security_groups": { "web": { "egress": [], "ingress": [
            { "id": "many", "protocol": "tcp", "from_port": 80, "to_port": 80, "prefix_lists": ["many"] } ] } },
        "interfaces": { "server": { "device": "eth0", "security_groups": ["web"] } }
    });
    let policy = || MapInfo::from_pin(watched.pin("POLICY")).unwrap().id();
    let before = policy();
    let loaded = watched.fwctl().run_with(["load", RULES], rules.to_string().as_bytes()).unwrap();
    assert!(loaded.status.success(), "{}", loaded.said());
    assert_ne!(policy(), before, "the rules were to need a larger array");
    // Longer than what was wanted before lasts.
    thread::sleep(Duration::from_millis(3500));
    while monitor.lines.try_recv().is_ok() {}
    watched.flood(1);
    assert_eq!(monitor.until(is_to(CLOSED)).pop().unwrap()["interface"], "server");
}

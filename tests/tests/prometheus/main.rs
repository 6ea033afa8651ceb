//! A real Prometheus that scrapes `fwctl serve` while real packets come. Needs root.

mod examples;

use std::cell::Cell;
use std::io::{self, BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use fw_tests::fwctl::Fwctl;
use fw_tests::netns::{BpffsDir, Host, Rig};
use fw_tests::programs::skip;
use fw_tests::prometheus::Prometheus;
use fw_tests::served::{Folder, PATIENCE, Served};
use fw_tests::traffic::{Echo, Outcome, udp_ask_within};
use serde_json::{Value, json};

const METRICS: &str = "127.0.0.1:9798";
/// A way to the same that asks for Prometheus' own format.
const AS_TEXT: &str = "127.0.0.1:9799";
const OPEN: u16 = 4000;
const CLOSED: u16 = 4001;

/// A server that filters its own `eth0`, and a client.
struct Scene {
    rig: Rig,
    bpffs: BpffsDir,
    folder: Folder,
    echo: Echo,
    next_port: Cell<u16>,
}

impl Scene {
    fn new() -> Self {
        let rig = Rig::direct().unwrap();
        let echo = Echo::udp(&rig.server, (rig.server.v4, OPEN)).unwrap();
        let scene = Self {
            rig,
            bpffs: BpffsDir::new().unwrap(),
            folder: Folder::new("scraped").unwrap(),
            echo,
            next_port: Cell::new(20_000),
        };
        scene.write(&rules());
        scene
    }

    fn write(&self, rules: &Value) {
        self.folder.replace("rules.json", rules.to_string()).unwrap();
    }

    fn serve(&self) -> Served {
        let file = self.folder.path().join("rules.json");
        let fwctl = Fwctl::new(&self.rig.server, &self.bpffs).unwrap();
        Served::start(&fwctl, &[file.to_str().unwrap(), "--listen", METRICS]).unwrap()
    }

    /// So many datagrams each.
    fn send(&self, times: u64) {
        self.ask(times);
        self.knock(times);
    }

    /// Asks where it is allowed, and is answered; a connection each.
    fn ask(&self, times: u64) {
        let Rig { client, server, .. } = &self.rig;
        for _ in 0..times {
            let port = self.next_port.replace(self.next_port.get() + 1);
            let asked = udp_ask_within(client, (client.v4, port), (server.v4, OPEN), PATIENCE);
            assert_eq!(asked.unwrap(), Outcome::Reached);
        }
    }

    /// Sends where it is not allowed.
    fn knock(&self, times: u64) {
        let Rig { client, server, .. } = &self.rig;
        let socket = client.run(|| UdpSocket::bind((client.v4, 0)).unwrap());
        for _ in 0..times {
            socket.send_to(b"knock", (server.v4, CLOSED)).unwrap();
        }
    }
}

fn rules() -> Value {
    json!({
        "version": 1,
        "security_groups": { "sg": { "egress": [], "ingress": [
            { "id": "open", "protocol": "udp", "from_port": OPEN, "to_port": OPEN, "cidr_blocks": ["10.77.1.0/24"] } ] } },
        "interfaces": { "eni": { "device": "eth0", "security_groups": ["sg"] } },
        "settings": { "adopt_seconds": 0, "conntrack_max": 4096 }
    })
}

fn judged(job: &str, direction: &str, verdict: &str) -> String {
    format!(
        "sum(fwctl_packets_total{{job={job:?},direction={direction:?},verdict={verdict:?},layer!=\"exempt\"}})"
    )
}

/// Passes requests on, but for what they accept; what the answers are said to be.
fn pass_on_as_text(listener: &TcpListener, server: &Host, over: &AtomicBool, types: &Mutex<Vec<String>>) {
    let pass_on = |client: TcpStream| -> io::Result<()> {
        let mut asked = BufReader::new(client);
        let mut line = String::new();
        while asked.read_line(&mut line)? > 2 {
            line.clear();
        }
        let mut upstream = server.run(|| TcpStream::connect(METRICS))?;
        upstream.write_all(
            b"GET /metrics HTTP/1.1\r\nHost: fwctl\r\nAccept: text/plain;version=0.0.4\r\nConnection: close\r\n\r\n",
        )?;
        let mut answer = Vec::new();
        io::copy(&mut upstream, &mut answer)?;
        let head = String::from_utf8_lossy(&answer);
        let kind = head.lines().find(|line| line.to_ascii_lowercase().starts_with("content-type:"));
        types.lock().unwrap().extend(kind.map(str::to_owned));
        asked.get_mut().write_all(&answer)
    };
    while !over.load(Ordering::Relaxed) {
        if let Ok((client, _)) = listener.accept() {
            // A scrape that fails is Prometheus' to tell.
            let _ = pass_on(client);
        }
    }
}

#[test]
fn both_formats_are_understood_and_say_what_was_sent() {
    if Prometheus::program().is_none() {
        return skip("both_formats_are_understood_and_say_what_was_sent", "there is no prometheus");
    }
    let scene = Scene::new();
    let served = scene.serve();
    let server = &scene.rig.server;
    let listener = server.run(|| TcpListener::bind(AS_TEXT).unwrap());
    let (over, types) = (AtomicBool::new(false), Mutex::default());
    thread::scope(|scope| {
        let _over = Over(&over, server);
        scope.spawn(|| pass_on_as_text(&listener, server, &over, &types));
        let targets = [("openmetrics", METRICS), ("text", AS_TEXT)];
        let prometheus = Prometheus::start(server, "250ms", &targets).unwrap();
        prometheus.becomes("sum(up)", 2).unwrap();

        let (asked, mut knocked) = (40, 0);
        scene.ask(asked);
        for job in ["openmetrics", "text"] {
            let rate = format!("sum(rate(fwctl_dropped_packets_total{{job={job:?}}}[5s]))");
            prometheus
                .until_meanwhile(
                    &rate,
                    |rate| rate > 1.0,
                    || {
                        scene.knock(10);
                        knocked += 10;
                    },
                )
                .unwrap();
        }
        for job in ["openmetrics", "text"] {
            prometheus.becomes(&judged(job, "ingress", "deny"), knocked).unwrap();
            prometheus.becomes(&judged(job, "ingress", "allow"), asked).unwrap();
            prometheus.becomes(&judged(job, "egress", "allow"), asked).unwrap();
            let reason = format!(
                "fwctl_dropped_packets_total{{job={job:?},interface=\"eni\",direction=\"ingress\",reason=\"no_group_rule\"}}"
            );
            prometheus.becomes(&reason, knocked).unwrap();
            let rule = format!(
                "fwctl_rule_packets_total{{job={job:?},kind=\"security_group\",id=\"sg\",rule=\"open\"}}"
            );
            prometheus.becomes(&rule, asked).unwrap();
        }
        assert_eq!(scene.echo.served(), asked);
        // One format has a type for it, the other has not.
        assert_eq!(prometheus.kind("openmetrics", "fwctl_build").unwrap().as_deref(), Some("info"));
        assert_eq!(prometheus.kind("text", "fwctl_build_info").unwrap().as_deref(), Some("gauge"));
        assert!(types.lock().unwrap().iter().all(|kind| kind.contains("text/plain")), "{types:?}");

        assert_eq!(prometheus.complaints().unwrap(), [""; 0], "{}", served.said());
    });
}

/// Says it is over when it goes, to whom waits for a connection as well.
struct Over<'a>(&'a AtomicBool, &'a Host);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
        let _ = self.1.run(|| TcpStream::connect(AS_TEXT));
    }
}

#[test]
fn counters_go_on_over_reloads_and_restarts() {
    if Prometheus::program().is_none() {
        return skip("counters_go_on_over_reloads_and_restarts", "there is no prometheus");
    }
    let scene = Scene::new();
    let mut served = scene.serve();
    let prometheus = Prometheus::start(&scene.rig.server, "200ms", &[("fwctl", METRICS)]).unwrap();
    let counted = |sent: u64| {
        prometheus.becomes(&judged("fwctl", "ingress", "deny"), sent).unwrap();
        prometheus.becomes(&judged("fwctl", "ingress", "allow"), sent).unwrap();
        prometheus.becomes("fwctl_rule_packets_total{id=\"sg\",rule=\"open\"}", sent).unwrap();
    };
    scene.send(10);
    counted(10);
    served.signal(libc::SIGHUP).unwrap();
    served.wait_for("loaded").unwrap();
    scene.send(10);
    counted(20);
    let mut more = rules();
    let before = json!({ "id": "another", "protocol": "tcp", "from_port": 22, "to_port": 22, "cidr_blocks": ["10.0.0.0/8"] });
    more["security_groups"]["sg"]["ingress"].as_array_mut().unwrap().insert(0, before);
    scene.write(&more);
    served.wait_for("loaded").unwrap();
    prometheus.becomes("fwctl_ruleset_rules", 2).unwrap();
    prometheus.becomes("fwctl_reloads_total{result=\"ok\"}", 3).unwrap();
    scene.send(10);
    counted(30);
    for (signal, sent) in [(libc::SIGTERM, 40), (libc::SIGKILL, 50)] {
        served.signal(signal).unwrap();
        served.ends().unwrap();
        prometheus.becomes("up", 0).unwrap();
        // By the kernel alone.
        scene.send(10);
        served = scene.serve();
        counted(sent);
    }
    // The same series all the while, though the process was another one twice.
    prometheus.becomes("changes(process_start_time_seconds[1h])", 2).unwrap();
    assert_eq!(prometheus.resets().unwrap(), 0);
    prometheus.becomes("sum(resets(fwctl_reloads_total[1h]))", 1).unwrap();
}

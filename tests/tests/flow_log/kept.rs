//! A server that filters its own NIC behind a router, and a flow log that is kept of it.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Read};
use std::net::{IpAddr, Ipv4Addr, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use aya::programs::{SchedClassifier, TestRun as _, TestRunOptions};
use fw_common::flow_log::RECORDING;
use fw_common::layout::head;
use fw_tests::fwctl::Fwctl;
use fw_tests::netns::{BpffsDir, Process, Rig};
use fw_tests::packet::udp;
use fw_tests::served::Folder;
use fw_tests::traffic::LiveTcp;
use fw_userspace::datapath::{PolicyArray, Store};
use serde_json::{Value, json};

/// A port that no rule names.
pub(super) const CLOSED: u16 = 9;
/// Of the server, beside its own.
pub(super) const SECONDARY: Ipv4Addr = Ipv4Addr::new(10, 77, 2, 11);
const PATIENCE: Duration = Duration::from_secs(40);

pub(super) struct Kept {
    pub rig: Rig,
    bpffs: BpffsDir,
}

impl Kept {
    pub(super) fn routed() -> Self {
        let kept = Self { rig: Rig::routed().unwrap(), bpffs: BpffsDir::new().unwrap() };
        kept.load("datagrams", true);
        kept
    }

    /// Rules whose rule for UDP has this id.
    pub(super) fn load(&self, udp_rule: &str, enforce: bool) {
        let anybody = json!(["0.0.0.0/0"]);
        let rules = json!({
            "version": 1,
            "vpcs": { "vpc-a": { "cidr_blocks": ["10.77.0.0/16"], "region": "eu-west-1" } },
            "security_groups": { "web": { "vpc": "vpc-a", "egress": [], "ingress": [
                { "id": "http", "protocol": "tcp", "from_port": 80, "to_port": 80, "cidr_blocks": anybody,
                  "description": "the web" },
                { "id": udp_rule, "protocol": "udp", "from_port": 80, "to_port": 80, "cidr_blocks": anybody },
                { "id": "ping", "protocol": "icmp", "icmp_type": 8, "icmp_code": -1, "cidr_blocks": anybody } ] } },
            "network_acls": { "acl": { "vpc": "vpc-a",
                "ingress": [
                    { "rule_number": 90, "action": "deny", "protocol": "tcp", "from_port": 23, "to_port": 23,
                      "cidr_block": "0.0.0.0/0", "description": "no telnet" },
                    { "rule_number": 100, "action": "allow", "protocol": "all", "cidr_block": "0.0.0.0/0" } ],
                "egress": [
                    { "rule_number": 90, "action": "deny", "protocol": "icmp", "icmp_type": -1, "icmp_code": -1,
                      "cidr_block": "0.0.0.0/0" },
                    { "rule_number": 100, "action": "allow", "protocol": "all", "cidr_block": "0.0.0.0/0" } ] } },
            "subnets": { "net": { "vpc": "vpc-a", "cidr_blocks": ["10.77.2.0/24"], "network_acl": "acl" } },
            "interfaces": { "server": { "device": "eth0", "enforce": enforce, "subnet": "net",
                                        "addresses": [self.rig.server.v4, SECONDARY], "security_groups": ["web"] } },
            "settings": { "adopt_seconds": 0 }
        });
        self.fwctl().load(&rules).unwrap();
    }

    pub(super) fn fwctl(&self) -> Fwctl<'_> {
        Fwctl::new(&self.rig.server, &self.bpffs).unwrap()
    }

    /// A connection of the client to port 80.
    pub(super) fn open(&self) -> LiveTcp {
        let Rig { client, server, .. } = &self.rig;
        LiveTcp::open(client, (client.v4, 0), server, (server.v4, 80)).unwrap()
    }

    /// Datagrams of one flow.
    pub(super) fn send(&self, port: u16, count: u32) {
        self.send_to(self.rig.server.v4.into(), port, count);
    }

    pub(super) fn send_to(&self, address: IpAddr, port: u16, count: u32) {
        self.rig.client.run(|| {
            let socket = UdpSocket::bind(("0.0.0.0", 0)).unwrap();
            for _ in 0..count {
                // Not connected: an ICMP error would else be told of here.
                socket.send_to(b"datagram", (address, port)).unwrap();
            }
        });
    }

    /// Datagrams to a closed port, from as many ports as there are flows.
    pub(super) fn send_flows(&self, flows: u32, packets: u32) {
        for _ in 0..flows {
            self.send(CLOSED, packets);
        }
    }

    /// Has the attached program judge packets of flows from port 10000 on, the even ones to a port that is open. They are
    /// 48 bytes long.
    pub(super) fn judge_flows(&self, flows: u16, packets: u32) {
        let ifindex = self.rig.server.index("eth0").unwrap();
        let (from, to) = (self.rig.client.v4, self.rig.server.v4);
        let pin = self.store().programs().join("tc_received");
        self.rig.server.run(|| {
            let program = SchedClassifier::from_pin(pin).unwrap();
            let mut context = [0u32; 48];
            context[10] = ifindex;
            let context: Vec<u8> = context.iter().flat_map(|word| word.to_ne_bytes()).collect();
            for flow in 0..flows {
                let port = if flow % 2 == 0 { 80 } else { CLOSED };
                let frame = udp((from, 10_000 + flow), (to, port)).payload(&[0; 20]).build();
                let options = TestRunOptions {
                    data_in: Some(&frame),
                    ctx_in: Some(&context),
                    repeat: packets,
                    ..TestRunOptions::default()
                };
                program.test_run(options).unwrap();
            }
        });
    }

    /// What is pinned of the log.
    pub(super) fn windows(&self) -> Vec<String> {
        let directory = self.bpffs.path().join("schema-5/flows");
        let names = fs::read_dir(directory).into_iter().flatten().flatten();
        names.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }

    /// Whether the programs are told to.
    pub(super) fn is_recording(&self) -> bool {
        self.head(head::EVENTS) & RECORDING != 0
    }

    /// All files of a directory, unpacked by `zcat`.
    pub(super) fn zcat(&self, directory: &Path) -> BTreeMap<String, String> {
        let files = fs::read_dir(directory).unwrap().flatten();
        let unpack = |path: PathBuf| {
            let output = Command::new("zcat").arg(&path).output().unwrap();
            assert!(output.status.success(), "{path:?}: {}", String::from_utf8_lossy(&output.stderr));
            (
                path.file_name().unwrap().to_string_lossy().into_owned(),
                String::from_utf8(output.stdout).unwrap(),
            )
        };
        files.map(|entry| unpack(entry.path())).collect()
    }

    fn head(&self, word: u32) -> u32 {
        PolicyArray::open(&self.store().maps().join("POLICY")).unwrap().line(0).unwrap().word(word)
    }

    fn store(&self) -> Store {
        Store::open(self.bpffs.path()).unwrap().unwrap()
    }
}

/// A `fwctl flow-log` that runs.
pub(super) struct Log {
    process: Process,
    lines: Receiver<String>,
    complaints: Receiver<String>,
    seen: std::cell::RefCell<Vec<String>>,
}

impl Log {
    /// Starts one; it records when this returns.
    pub(super) fn begin(kept: &Kept, arguments: &[&str]) -> Self {
        let before = kept.head(head::FLOWS_UNTIL);
        let mut command = kept.fwctl().command(["flow-log"].iter().chain(arguments));
        let mut process = Process::start(command.stdout(Stdio::piped()).stderr(Stdio::piped())).unwrap();
        let lines = lines(process.child().stdout.take().unwrap());
        let complaints = lines_of_errors(&mut process);
        let start = Instant::now();
        while kept.head(head::FLOWS_UNTIL) == before || !kept.is_recording() {
            if let Some(status) = process.child().try_wait().unwrap() {
                panic!("it ended: {status}, {:?}", complaints.iter().collect::<Vec<_>>());
            }
            assert!(start.elapsed() < PATIENCE, "it does not record");
            thread::sleep(Duration::from_millis(5));
        }
        Self { process, lines, complaints, seen: std::cell::RefCell::default() }
    }

    /// Waits for a record.
    pub(super) fn lines_until(&self, is_last: impl Fn(&Value) -> bool) {
        let start = Instant::now();
        loop {
            let left = PATIENCE.saturating_sub(start.elapsed());
            let line = self.lines.recv_timeout(left).expect("it is not among the records");
            let record: Value = serde_json::from_str(&line).unwrap();
            self.seen.borrow_mut().push(line);
            if is_last(&record) {
                return;
            }
        }
    }

    /// The next line on standard error.
    pub(super) fn complaint(&self) -> String {
        self.complaints.recv_timeout(PATIENCE).expect("it was to complain")
    }

    pub(super) fn kill(self) {
        self.process.signal(libc::SIGKILL).unwrap();
        let (status, ..) = self.wait();
        assert_eq!(status.code(), None);
    }

    /// Ends it; its records.
    pub(super) fn end(self) -> Vec<Value> {
        records(&self.end_text())
    }

    /// The same as text.
    pub(super) fn end_text(self) -> String {
        self.process.signal(libc::SIGINT).unwrap();
        let (status, text, complaints) = self.wait_text();
        assert_eq!((status.code(), complaints.as_str()), (Some(0), ""), "{text}");
        text
    }

    /// The same, whatever it has complained of before.
    pub(super) fn end_quietly(self) {
        while self.complaints.try_recv().is_ok() {}
        self.process.signal(libc::SIGTERM).unwrap();
        let (status, text, complaints) = self.wait_text();
        assert_eq!((status.code(), text.as_str()), (Some(0), ""), "{complaints}");
    }

    /// Waits for its end.
    pub(super) fn wait(self) -> (ExitStatus, Vec<Value>, String) {
        let (status, text, complaints) = self.wait_text();
        (status, records(&text), complaints)
    }

    fn wait_text(mut self) -> (ExitStatus, String, String) {
        let mut status = None;
        until(
            || {
                status = self.process.child().try_wait().unwrap();
                status.is_some()
            },
            "it ends",
        );
        let text = self.seen.take().into_iter().chain(self.lines.iter()).map(|line| line + "\n").collect();
        (status.unwrap(), text, self.complaints.iter().collect::<Vec<_>>().join("\n"))
    }
}

fn lines_of_errors(process: &mut Process) -> Receiver<String> {
    lines(process.child().stderr.take().unwrap())
}

fn lines(pipe: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, lines) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(pipe).lines() {
            let Ok(line) = line else { return };
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

/// Waits.
pub(super) fn until(mut is_so: impl FnMut() -> bool, what: &str) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "not so: {what}");
        thread::sleep(Duration::from_millis(50));
    }
}

/// Records of JSON lines.
pub(super) fn records(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect()
}

/// How many packets records have together.
pub(super) fn packets<'a>(records: impl IntoIterator<Item = &'a Value>) -> u64 {
    records.into_iter().filter_map(|record| record["packets"].as_u64()).sum()
}

/// The same of text with the fields `dstport packets log-status`, to a port.
pub(super) fn text_packets(text: &str, port: u16) -> u64 {
    let start = format!("{port} ");
    let counts =
        text.lines().filter_map(|line| line.strip_prefix(&start)?.strip_suffix(" OK")?.parse::<u64>().ok());
    counts.sum()
}

/// The same of text with the default fields; every line is whole.
pub(super) fn default_packets(text: &str) -> u64 {
    let fields = text.lines().skip(1).map(|line| line.split(' ').collect::<Vec<_>>());
    fields
        .map(|fields| {
            assert_eq!(fields.len(), 14, "{fields:?}");
            fields[8].parse::<u64>().unwrap_or(0)
        })
        .sum()
}

/// A directory that goes with the value.
pub(super) struct Directory {
    folder: Folder,
    is_mount: bool,
}

impl Directory {
    pub(super) fn new() -> Self {
        Self { folder: Folder::new("flows").unwrap(), is_mount: false }
    }

    /// With no room for more.
    pub(super) fn of_bytes(bytes: u32) -> Self {
        let mut directory = Self::new();
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={bytes}"), "fwctl-flows"])
            .arg(directory.path())
            .status();
        directory.is_mount = mount.unwrap().success();
        assert!(directory.is_mount, "a small file system is mounted");
        directory
    }

    pub(super) fn path(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        if self.is_mount {
            let _ = Command::new("umount").arg("--lazy").arg(self.path()).status();
        }
    }
}

//! The person at the keyboard: ways back, ways out, refusals that change nothing. Needs root.

use std::fs::File;
use std::io;
use std::ops::Deref;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use aya::programs::{SchedClassifier, TcAttachType};
use aya::util::KernelVersion;
use fw_tests::fwctl::{self, Fwctl, Output, RULES};
use fw_tests::netns::{BpffsDir, Namespace};
use fw_tests::server::{self, ONLY_80, ONLY_81, PASSES};
use fw_tests::traffic::Outcome;
use serde_json::{Value, json};

struct Server(server::Server);

impl Deref for Server {
    type Target = server::Server;

    fn deref(&self) -> &server::Server {
        &self.0
    }
}

impl Server {
    fn new() -> Self {
        Self(server::Server::new())
    }

    /// Waits until TCP 80 and 81 come to this; how long it took.
    fn becomes(&self, wanted: [Outcome; 2]) -> Duration {
        let start = Instant::now();
        while self.tcp() != wanted {
            assert!(start.elapsed() < Duration::from_secs(6), "still {:?}, not {wanted:?}", self.tcp());
        }
        start.elapsed()
    }

    /// No pin is left, and no program: the kernel ends a link a moment after its last pin.
    fn is_free(&self) {
        assert_eq!(entries(self.bpffs.path()), 0);
        self.becomes(PASSES);
        assert_eq!(programs(&self.rig.server, "eth0"), 0);
    }
}

#[test]
fn a_load_notes_vrrp_that_it_stops() {
    let server = Server::new();
    // As keepalived does it.
    server.rig.server.ip("address add 224.0.0.18/32 dev eth0 autojoin").unwrap();
    let notes = |rules: &Value| -> Vec<String> {
        let report = server.fwctl().load(rules).unwrap();
        let notes = report["notes"].as_array().unwrap().iter();
        notes.filter_map(Value::as_str).filter(|note| note.contains("VRRP")).map(str::to_owned).collect()
    };
    let mut with_vrrp = rules(&[80]);
    let said = notes(&with_vrrp);
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].starts_with("\"eth0\" has joined 224.0.0.18, "), "{said:?}");
    let vrrp = json!({ "protocol": 112, "cidr_blocks": ["10.0.0.0/8"] });
    with_vrrp["security_groups"]["sg"]["ingress"].as_array_mut().unwrap().push(vrrp);
    assert_eq!(notes(&with_vrrp), [""; 0]);
}

/// Lets in these TCP ports, one rule each, and everything out.
fn rules(ports: &[u16]) -> Value {
    let ingress: Vec<Value> = ports.iter().map(|port| tcp(*port)).collect();
    json!({ "version": 1,
            "security_groups": { "sg": { "ingress": ingress } },
            "interfaces": { "server": { "device": "eth0", "mode": "tc", "security_groups": ["sg"] } } })
}

fn tcp(port: u16) -> Value {
    json!({ "protocol": "tcp", "from_port": port, "to_port": port, "cidr_blocks": ["10.77.0.0/16"] })
}

/// What was refused: the status, one message, and no sign of a crash.
fn refused(output: &Output, code: i32, saying: &[&str]) {
    assert_eq!(output.code(), code, "{}", output.said());
    for word in saying {
        assert!(output.stderr.contains(word), "\"{word}\" is missing: {}", output.said());
    }
    for word in ["panicked", "backtrace", "RUST_BACKTRACE"] {
        assert!(!output.stderr.contains(word), "{}", output.said());
    }
}

/// Programs at TC on both sides of a device: at TCX, or below Linux 6.6 in filters of its clsact qdisc.
fn programs(namespace: &Namespace, device: &str) -> usize {
    if KernelVersion::current().unwrap() < KernelVersion::new(6, 6, 0) {
        let filters = |side| {
            namespace
                .output("tc", ["filter", "show", "dev", device, side])
                .unwrap()
                .matches(" handle ")
                .count()
        };
        return ["ingress", "egress"].map(filters).iter().sum();
    }
    namespace.run(|| {
        let sides = [TcAttachType::Ingress, TcAttachType::Egress];
        sides.iter().map(|side| SchedClassifier::query_tcx(device, *side).unwrap().1.len()).sum()
    })
}

fn entries(directory: &Path) -> usize {
    std::fs::read_dir(directory).map_or(0, Iterator::count)
}

#[test]
fn without_confirmation_the_rules_before_come_back_by_themselves() {
    let server = Server::new();
    server.fwctl().load(&rules(&[80])).unwrap();
    let report = server.fwctl().load_with(&rules(&[81]), &["--confirm", "2"]).unwrap();
    assert_eq!(report["confirm_within_s"], json!(2), "{report}");
    assert_eq!(server.tcp(), ONLY_81);
    assert!(server.fwctl().status().unwrap()["confirm_within_s"].is_u64());
    let waited = server.becomes(ONLY_80);
    assert!(waited > Duration::from_millis(700), "back after {waited:?} already");
    let status = server.fwctl().status().unwrap();
    assert_eq!(status["reverted"], json!(true), "{status}");
}

#[test]
fn without_confirmation_and_without_rules_before_everything_passes_again() {
    let server = Server::new();
    server.fwctl().load_with(&rules(&[80]), &["--confirm", "2"]).unwrap();
    assert_eq!(server.tcp(), ONLY_80);
    server.becomes(PASSES);
}

#[test]
fn confirmed_rules_stay() {
    let server = Server::new();
    server.fwctl().load(&rules(&[80])).unwrap();
    server.fwctl().load_with(&rules(&[81]), &["--confirm", "1"]).unwrap();
    server.do_it(&["confirm"]);
    thread::sleep(Duration::from_millis(1500));
    assert_eq!(server.tcp(), ONLY_81);
    let status = server.fwctl().status().unwrap();
    assert_eq!((&status["confirm_within_s"], &status["reverted"]), (&Value::Null, &json!(false)), "{status}");
}

#[test]
fn a_load_after_an_unconfirmed_one_that_ran_out_is_in_force() {
    let server = Server::new();
    server.fwctl().load(&rules(&[80])).unwrap();
    server.fwctl().load_with(&rules(&[80, 81]), &["--confirm", "1"]).unwrap();
    assert_eq!(server.tcp(), PASSES);
    server.becomes(ONLY_80);
    server.fwctl().load(&rules(&[81])).unwrap();
    assert_eq!(server.tcp(), ONLY_81);
    server.do_it(&["rollback"]);
    assert_eq!(server.tcp(), ONLY_80, "the rules that were in force before, not those that ran out");
}

#[test]
fn rollback_brings_the_rules_before() {
    let server = Server::new();
    server.fwctl().load(&rules(&[80])).unwrap();
    server.fwctl().load(&rules(&[81])).unwrap();
    assert_eq!(server.tcp(), ONLY_81);
    server.do_it(&["rollback"]);
    assert_eq!(server.tcp(), ONLY_80);
}

#[test]
fn rollback_within_the_time_of_confirmation_brings_the_rules_before_for_good() {
    let server = Server::new();
    server.fwctl().load(&rules(&[80])).unwrap();
    server.fwctl().load_with(&rules(&[81]), &["--confirm", "1"]).unwrap();
    server.do_it(&["rollback"]);
    assert_eq!(server.tcp(), ONLY_80);
    thread::sleep(Duration::from_millis(1200));
    assert_eq!(server.tcp(), ONLY_80);
}

#[test]
fn unload_leaves_no_program_and_no_pin() {
    let server = Server::new();
    server.fwctl().load(&rules(&[80])).unwrap();
    assert_eq!(server.tcp(), ONLY_80);
    assert!(entries(server.bpffs.path()) > 0);
    server.do_it(&["unload"]);
    server.is_free();
    // And once more from the start.
    server.fwctl().load(&rules(&[81])).unwrap();
    assert_eq!(server.tcp(), ONLY_81);
}

#[test]
fn unload_with_force_leaves_nothing_of_a_state_that_cannot_be_read() {
    let server = Server::new();
    server.fwctl().load(&rules(&[80])).unwrap();
    let removed = remove_a_map(server.bpffs.path());
    assert_ne!(removed, 0);
    let output = server.fwctl().run(["status"]).unwrap();
    assert_ne!(output.code(), 0, "{}", output.said());
    server.do_it(&["unload", "--force"]);
    server.is_free();
}

/// Removes the pins of all maps, and leaves those of links and programs: how many.
fn remove_a_map(directory: &Path) -> usize {
    let mut removed = 0;
    for entry in std::fs::read_dir(directory).unwrap().flatten() {
        let path = entry.path();
        if path.is_dir() {
            removed += remove_a_map(&path);
        } else if aya::maps::MapData::from_pin(&path).is_ok() {
            std::fs::remove_file(&path).unwrap();
            removed += 1;
        }
    }
    removed
}

#[test]
fn two_loads_at_the_same_time_succeed_one_after_the_other() {
    let server = Server::new();
    server.fwctl().load(&rules(&[80])).unwrap();
    let generations = thread::scope(|scope| {
        let load = || {
            (0..5)
                .map(|_| server.fwctl().load(&rules(&[81])).unwrap()["generation"].as_u64().unwrap())
                .collect::<Vec<_>>()
        };
        let threads = [scope.spawn(load), scope.spawn(load)];
        threads.map(|thread| thread.join().unwrap()).concat()
    });
    let mut unique = generations.clone();
    unique.sort_unstable();
    unique.dedup();
    assert_eq!(unique.len(), 10, "every load is a generation of its own: {generations:?}");
    assert_eq!(server.tcp(), ONLY_81);
}

/// The lock is `flock` on the pin directory.
#[test]
fn a_load_waits_for_the_lock_and_after_ten_seconds_names_its_holder() {
    let server = Server::new();
    server.fwctl().load(&rules(&[80])).unwrap();
    let lock = File::open(server.bpffs.path()).unwrap();
    lock.lock().unwrap();
    thread::scope(|scope| {
        let start = Instant::now();
        let load = scope.spawn(|| server.fwctl().load(&rules(&[81])));
        thread::sleep(Duration::from_millis(500));
        assert!(!load.is_finished(), "did not wait");
        lock.unlock().unwrap();
        load.join().unwrap().unwrap();
        assert!(start.elapsed() < Duration::from_secs(9));
    });
    assert_eq!(server.tcp(), ONLY_81);

    lock.lock().unwrap();
    let output = server.fwctl().try_load(&rules(&[80]), &[]).unwrap();
    refused(&output, 1, &[&std::process::id().to_string()]);
    assert_eq!(server.tcp(), ONLY_81);
}

#[test]
fn ten_mistakes_are_ten_errors_and_the_rules_before_stay_enforced() {
    let server = Server::new();
    server.fwctl().load(&rules(&[80])).unwrap();
    let mut wrong = rules(&[]);
    wrong["security_groups"]["sg"]["ingress"] = json!([
        { "protocol": "tpc", "cidr_blocks": ["10.0.0.0/8"] },
        { "protocol": "tcp", "from_port": 1, "to_port": 70_000, "cidr_blocks": ["10.0.0.0/8"] },
        { "protocol": "tcp", "from_port": 2, "to_port": 1, "cidr_blocks": ["10.0.0.0/8"] },
        { "protocol": "udp", "from_port": 53, "to_port": 53, "cidr_blocks": ["10.0.0.0/33"] },
        { "protocol": "udp", "from_port": 53, "to_port": 53, "cidr_block": ["10.0.0.0/8"] },
        { "protocol": "icmp", "icmp_type": -1, "icmp_code": 3, "cidr_blocks": ["10.0.0.0/8"] }
    ]);
    wrong["interfaces"]["server"]["faces"] = json!("sideways");
    wrong["interfaces"]["server"]["security_groups"] = json!(["sg", "gone"]);
    wrong["interfaces"]["server"]["mode"] = json!("fast");
    wrong["settings"] = json!({ "adopt_seconds": 4000 });
    let output = server.fwctl().try_load(&wrong, &[]).unwrap();
    refused(
        &output,
        2,
        &[
            "ingress[0].protocol",
            "ingress[1].to_port",
            "ingress[2]",
            "ingress[3].cidr_blocks",
            "ingress[4]",
            "ingress[5]",
            "interfaces.server.faces",
            "interfaces.server.security_groups",
            "interfaces.server.mode",
            "settings.adopt_seconds",
        ],
    );
    assert_eq!(server.tcp(), ONLY_80);
}

#[test]
fn files_that_are_no_rules_are_refused_with_a_message() {
    let server = Server::new();
    server.fwctl().load(&rules(&[80])).unwrap();
    let deep = "[".repeat(1_000_000);
    let twice = r#"{ "version": 1, "version": 1 }"#;
    let garbage = vec![b'x'; 50 << 20];
    for text in [deep.as_bytes(), twice.as_bytes(), &garbage, &[0xff, 0xfe, 0], b""] {
        let output = server.fwctl().run_with(["load", RULES], text).unwrap();
        refused(&output, 2, &[]);
        assert!((1..4096).contains(&output.stderr.len()), "{} bytes of messages", output.stderr.len());
    }
    let missing = server.fwctl().run(["load", "/nowhere/rules.json"]).unwrap();
    refused(&missing, 2, &["/nowhere/rules.json"]);
    assert_eq!(server.tcp(), ONLY_80);
}

#[test]
fn lo_is_refused() {
    let server = Server::new();
    let mut wrong = rules(&[80]);
    wrong["interfaces"]["server"]["device"] = json!("lo");
    refused(&server.fwctl().try_load(&wrong, &[]).unwrap(), 2, &["lo", "interfaces.server.device"]);
    assert_eq!(programs(&server.rig.server, "lo"), 0);
}

#[test]
fn a_missing_device_is_refused_where_devices_are_required_and_nothing_changes() {
    let server = Server::new();
    server.fwctl().load(&rules(&[80])).unwrap();
    let mut other = rules(&[81]);
    other["interfaces"]["other"] = json!({ "device": "missing0", "security_groups": ["sg"] });
    let output = server.fwctl().try_load(&other, &["--require-devices"]).unwrap();
    assert!([1, 2].contains(&output.code()), "{}", output.said());
    refused(&output, output.code(), &["missing0"]);
    assert_eq!(server.tcp(), ONLY_80);
    assert_eq!(programs(&server.rig.server, "eth0"), 2);
    // Without the option it waits for the device.
    let report = server.fwctl().load(&other).unwrap();
    assert_eq!(report["pending"][0]["device"], json!("missing0"), "{report}");
    assert_eq!(server.tcp(), ONLY_81);
}

/// Somebody else is an fwctl with another pin directory.
#[test]
fn a_taken_xdp_hook_is_an_error_for_mode_xdp_and_a_note_for_auto() {
    let (server, other) = (Server::new(), BpffsDir::new().unwrap());
    let holder = Fwctl::new(&server.rig.server, &other).unwrap();
    let mode = |mode: &str, ports: &[u16]| {
        let mut rules = rules(ports);
        rules["interfaces"]["server"]["mode"] = json!(mode);
        rules
    };
    holder.load(&mode("xdp", &[80, 81])).unwrap();
    let before = programs(&server.rig.server, "eth0");

    let output = server.fwctl().try_load(&mode("xdp", &[80]), &[]).unwrap();
    refused(&output, 1, &["eth0", "xdp_received"]);
    assert_eq!(programs(&server.rig.server, "eth0"), before, "half attached");
    assert_eq!(server.tcp(), PASSES);

    let report = server.fwctl().load(&mode("auto", &[80])).unwrap();
    let hooks = report["hooks"].as_array().unwrap();
    assert!(hooks.iter().all(|hook| hook["hook"] != "xdp"), "{report}");
    assert!(hooks.iter().any(|hook| !hook["why"].as_str().unwrap().is_empty()), "{report}");
    assert_eq!(server.tcp(), ONLY_80);
    assert_eq!(holder.run(["status"]).unwrap().code(), 0, "its hook was left alone");
}

#[test]
fn without_root_there_is_one_line() {
    let server = Server::new();
    for verb in [["load", RULES].as_slice(), &["unload"], &["status"], &["stats"], &["serve"], &["flow-log"]]
    {
        let output = as_nobody(&server, verb);
        refused(&output, 1, &["root"]);
        assert_eq!(output.stderr.trim_end().lines().count(), 1, "{verb:?}: {}", output.said());
    }
    assert_eq!(entries(server.bpffs.path()), 0);
}

/// Runs a command as user and group 65534 without capabilities. The program is opened before: it may lie
/// where only root may look.
fn as_nobody(server: &Server, arguments: &[&str]) -> Output {
    let program = File::open(fwctl::binary().unwrap()).unwrap();
    let descriptor = program.as_raw_fd();
    let mut command = server.rig.server.command(format!("/proc/self/fd/{descriptor}"), ["--bpffs"]);
    let file = fwctl::memory_file(rules(&[80]).to_string().as_bytes()).unwrap();
    command.arg(server.bpffs.path()).args(arguments).stdin(file);
    let become_nobody = move || {
        // SAFETY: takes three numbers; `program` is open for as long as the command runs.
        check(unsafe { libc::fcntl(descriptor, libc::F_SETFD, 0) })?;
        // SAFETY: no groups, so nothing is read from the pointer.
        check(unsafe { libc::setgroups(0, std::ptr::null()) })?;
        // SAFETY: takes a number.
        check(unsafe { libc::setgid(65_534) })?;
        // SAFETY: takes a number.
        check(unsafe { libc::setuid(65_534) })
    };
    // SAFETY: the closure makes async-signal-safe calls only.
    unsafe { command.pre_exec(become_nobody) };
    Fwctl::finish(command).unwrap()
}

fn check(result: libc::c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

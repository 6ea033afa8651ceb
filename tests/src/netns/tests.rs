//! Namespaces come, work and go. Needs root.

use super::*;
use crate::traffic::{self, Outcome};

#[test]
fn a_namespace_has_its_own_network_and_goes_with_the_value() {
    let namespace = Namespace::new("own").unwrap();
    let path = namespace.path();
    assert!(path.exists());
    let devices = namespace.run(|| std::fs::read_to_string("/proc/thread-self/net/dev").unwrap());
    assert!(devices.contains("lo:") && !devices.contains("eth0"), "{devices}");
    assert!(namespace.ip("link show dev eth0").unwrap_err().to_string().contains("eth0"));
    drop(namespace);
    assert!(!path.exists());
}

#[test]
fn a_panic_inside_reaches_the_caller_and_leaves_nothing() {
    let namespace = Namespace::new("panic").unwrap();
    let path = namespace.path();
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
        namespace.run(|| panic!("on purpose"));
    }));
    assert!(caught.is_err() && !path.exists());
}

#[test]
fn a_program_inside_is_killed_with_its_handle() {
    let namespace = Namespace::new("process").unwrap();
    let mut process = namespace.spawn("sleep", ["60"]).unwrap();
    let path = PathBuf::from(format!("/proc/{}", process.child().id()));
    assert!(path.exists());
    drop(process);
    assert!(!path.exists());
}

#[test]
fn what_a_dead_process_left_is_swept_and_what_a_living_one_has_is_not() {
    let mine = Namespace::new("alive").unwrap();
    // Above the largest process number that Linux gives (PID_MAX_LIMIT, 2^22).
    let name = "fwctl-4194305-0-dead";
    finish(Command::new("ip").args(["netns", "add", name])).unwrap();
    let swept = sweep();
    // A test next to us may have been faster.
    assert!(swept.is_empty() || swept == [name], "{swept:?}");
    assert!(!registry::netns_path(name).exists() && mine.path().exists());
}

#[test]
fn both_rigs_connect_in_both_families() {
    for rig in [Rig::direct().unwrap(), Rig::routed().unwrap()] {
        assert_eq!(traffic::ping(&rig.client, rig.server.v4).unwrap(), Outcome::Reached);
        assert_eq!(traffic::ping(&rig.client, rig.server.v6).unwrap(), Outcome::Reached);
        assert_eq!(rig.client.mac("eth0").unwrap()[0] & 1, 0);
        assert!(rig.client.index("eth0").unwrap() > 1);
    }
}

#[test]
fn a_bpffs_directory_is_seen_inside_a_namespace_and_goes_with_its_content() {
    let directory = BpffsDir::new().unwrap();
    let path = directory.path().to_owned();
    std::fs::create_dir_all(path.join("a/b")).unwrap();
    let namespace = Namespace::new("bpffs").unwrap();
    assert!(namespace.run(|| path.join("a/b").is_dir()));
    drop(directory);
    assert!(!path.exists());
}

/// Statics are never dropped: a rig in one must go all the same.
#[test]
fn a_process_that_exits_leaves_nothing() {
    const CHILD: &str = "FWCTL_TEST_EXIT";
    if std::env::var_os(CHILD).is_some() {
        let namespace = std::mem::ManuallyDrop::new(Namespace::new("exit").unwrap());
        println!("\nmade {}", namespace.path().display());
        std::process::exit(3);
    }
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["netns::tests::a_process_that_exits_leaves_nothing", "--exact", "--nocapture"]);
    let output = command.env(CHILD, "1").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let made = text.lines().find_map(|line| line.strip_prefix("made ")).unwrap();
    assert_eq!((output.status.code(), PathBuf::from(made).exists()), (Some(3), false));
}

/// Runs this very test again in a process of its own, and interrupts it.
#[test]
fn an_interrupted_process_leaves_nothing() {
    const CHILD: &str = "FWCTL_TEST_INTERRUPT";
    if std::env::var_os(CHILD).is_some() {
        let namespace = Namespace::new("interrupt").unwrap();
        let directory = BpffsDir::new().unwrap();
        let _sleeper = namespace.spawn("sleep", ["60"]).unwrap();
        println!("\nready {} {}", namespace.path().display(), directory.path().display());
        thread::sleep(std::time::Duration::from_secs(20));
        return;
    }
    let name = "netns::tests::an_interrupted_process_leaves_nothing";
    for signal in [libc::SIGINT, libc::SIGTERM] {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args([name, "--exact", "--nocapture"]).env(CHILD, "1").stdout(Stdio::piped());
        let mut process = Process::start(&mut command).unwrap();
        let lines = io::BufRead::lines(io::BufReader::new(process.child().stdout.take().unwrap()));
        let ready = lines.map_while(Result::ok).find(|line| line.starts_with("ready ")).unwrap();
        let paths: Vec<PathBuf> = ready.split_whitespace().skip(1).map(PathBuf::from).collect();
        assert!(paths.len() == 2 && paths.iter().all(|path| path.exists()), "{paths:?}");
        process.signal(signal).unwrap();
        let status = process.child().wait().unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&status), Some(signal));
        assert!(!paths.iter().any(|path| path.exists()), "{paths:?}");
    }
}

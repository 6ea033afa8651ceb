//! What `fwctl serve` does for those around it: systemd, the next boot, whoever reads its events. Needs root.

use std::fs;
use std::net::{TcpListener, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

use fw_tests::served::{PATIENCE, Scene, Served, rules};
use fw_userspace::datapath::Store;
use serde_json::Value;

#[test]
fn systemd_hears_that_it_is_ready_alive_reloading_and_stopping() {
    let scene = Scene::new();
    scene.write(&rules(&[80]));
    let path = scene.folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    let hears = |wanted: &str| {
        let end = Instant::now() + PATIENCE;
        let mut buffer = [0; 256];
        while Instant::now() < end {
            let length = socket.recv(&mut buffer).unwrap_or_else(|error| panic!("no {wanted}: {error}"));
            let said = String::from_utf8_lossy(&buffer[..length]).into_owned();
            if said.lines().any(|line| line == wanted) {
                return said;
            }
        }
        panic!("no {wanted}")
    };
    let fwctl = scene.fwctl();
    let mut command = fwctl.command(["serve", &scene.file(), "--listen", "127.0.0.1:0"]);
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "1000000");
    let mut served = Served::of(command).unwrap();
    hears("READY=1");
    assert_eq!(scene.open(), [80], "ready before the rules are in force");
    hears("WATCHDOG=1");
    hears("WATCHDOG=1");
    served.signal(libc::SIGHUP).unwrap();
    let said = hears("RELOADING=1");
    assert!(said.contains("MONOTONIC_USEC="), "{said}");
    hears("READY=1");
    served.signal(libc::SIGTERM).unwrap();
    hears("STOPPING=1");
    assert!(served.ends().unwrap().success());
}

#[test]
fn what_was_loaded_is_kept_for_the_next_boot_and_what_was_refused_is_not() {
    let scene = Scene::new();
    scene.write(&rules(&[80]));
    let kept = scene.folder.path().join("kept.json");
    let file = scene.file();
    let arguments = [&*file, "--listen", "127.0.0.1:0", "--last-good", kept.to_str().unwrap()];
    let served = Served::start(&scene.fwctl(), &arguments).unwrap();
    assert_eq!(fs::read(&kept).unwrap(), fs::read(&file).unwrap());
    scene.folder.replace("rules.json", "{}").unwrap();
    served.wait_for("was not loaded").unwrap();
    assert_eq!(fs::read_to_string(&kept).unwrap(), rules(&[80]).to_string());
    // A file that cannot be kept is no reason not to enforce it.
    fs::remove_file(&kept).unwrap();
    fs::create_dir(&kept).unwrap();
    scene.write(&rules(&[81]));
    served.wait_for("could not be kept").unwrap();
    assert_eq!(scene.open(), [81]);
}

#[test]
fn dropped_packets_are_written_down_and_the_file_may_be_rotated() {
    let scene = Scene::new();
    scene.write(&rules(&[80]));
    let (file, events) = (scene.file(), scene.folder.path().join("events"));
    let arguments = [&*file, "--listen", "127.0.0.1:0", "--events", events.to_str().unwrap()];
    let mut served = Served::start(&scene.fwctl(), &arguments).unwrap();
    let socket = scene.rig.client.run(|| UdpSocket::bind(("0.0.0.0", 0)).unwrap());
    let is_written = |port: u16| {
        let end = Instant::now() + PATIENCE;
        loop {
            // Until the listener is there.
            socket.send_to(b"x", (scene.rig.server.v4, port)).unwrap();
            let text = fs::read_to_string(&events).unwrap_or_default();
            let lines = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
            let found = lines.into_iter().find(|line| line["destination_port"] == port);
            if let Some(line) = found {
                assert_eq!(line["reason"], "no_group_rule", "{line}");
                return;
            }
            assert!(Instant::now() < end, "{text}: {}", served.said());
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    is_written(1001);
    fs::rename(&events, scene.folder.path().join("events.1")).unwrap();
    is_written(1002);
    let monitor = scene.fwctl().run(["monitor", "--count", "1"]).unwrap();
    assert_eq!(monitor.code(), 1, "{}", monitor.said());
    assert!(monitor.stderr.contains("reads the events already"), "{}", monitor.said());
    served.signal(libc::SIGTERM).unwrap();
    assert!(served.ends().unwrap().success());
}

#[test]
fn an_address_that_is_taken_is_said_before_anything_is_loaded() {
    let scene = Scene::new();
    scene.write(&rules(&[80]));
    let taken = scene.rig.server.run(|| TcpListener::bind("127.0.0.1:0").unwrap());
    let address = taken.local_addr().unwrap().to_string();
    let mut served = Served::begin(&scene.fwctl(), &[&scene.file(), "--listen", &address]).unwrap();
    assert_eq!(served.ends().unwrap().code(), Some(1));
    let said = served.wait_for("cannot listen on").unwrap();
    assert!(said.contains(&address) && said.contains("choose another with --listen"), "{said}");
    assert!(Store::open(scene.bpffs.path()).unwrap().is_none());
}

#[test]
fn a_flow_log_that_cannot_be_kept_is_said_once_and_counted_and_all_else_goes_on() {
    let scene = Scene::new();
    scene.write(&rules(&[80]));
    let file = scene.file();
    let nowhere = scene.folder.path().join("none").join("flows.log").display().to_string();
    let served =
        Served::start(&scene.fwctl(), &[&file, "--listen", "127.0.0.1:0", "--flow-log", &nowhere]).unwrap();
    served.wait_for("no flow log is kept").unwrap();
    // Longer than until it is tried again.
    std::thread::sleep(Duration::from_secs(6));
    assert_eq!(served.said().matches("no flow log is kept").count(), 1, "{}", served.said());
    fs::create_dir(scene.folder.path().join("none")).unwrap();
    let end = Instant::now() + PATIENCE;
    scene.write(&rules(&[81]));
    served.wait_for("loaded").unwrap();
    while !fs::read_to_string(&nowhere).unwrap_or_default().contains("NODATA") {
        assert!(Instant::now() < end, "no record: {}", served.said());
        // Ends the window of the log.
        scene.write(&rules(&[80]));
        served.wait_for("loaded").unwrap();
        scene.write(&rules(&[81]));
        served.wait_for("loaded").unwrap();
    }
    assert_eq!(scene.open(), [81]);
}

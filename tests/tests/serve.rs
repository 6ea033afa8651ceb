//! `fwctl serve` beside real traffic: the rules file, the devices and the hooks that it follows. Needs root.

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use fw_tests::netns::{Rig, join};
use fw_tests::served::{PATIENCE, PORTS, Scene, Served, rules};
use fw_userspace::datapath::Store;
use serde_json::json;

#[test]
fn a_changed_file_is_in_force_a_moment_later_and_a_bad_one_changes_nothing() {
    let scene = Scene::new();
    scene.write(&rules(&[80]));
    let served = scene.serve();
    assert_eq!(scene.open(), [80]);
    scene.write(&rules(&[81]));
    served.wait_for("loaded").unwrap();
    assert_eq!(scene.open(), [81]);

    scene.folder.replace("rules.json", "{ \"version\": 1, ").unwrap();
    served.wait_for("was not loaded, what was in force still is").unwrap();
    assert_eq!(scene.open(), [81]);
    fs::remove_file(scene.file()).unwrap();
    let line = served.wait_for("was not loaded").unwrap();
    assert!(line.contains("does not exist"), "{line}");
    fs::create_dir(scene.file()).unwrap();
    let line = served.wait_for("was not loaded").unwrap();
    assert!(line.contains("is a directory"), "{line}");
    assert_eq!(scene.open(), [81]);
    fs::remove_dir(scene.file()).unwrap();
    scene.write(&rules(&[80, 81]));
    served.wait_for("loaded").unwrap();
    assert_eq!(scene.open(), PORTS);
}

#[test]
fn a_signal_loads_again_and_the_end_leaves_the_filter() {
    let scene = Scene::new();
    scene.write(&rules(&[80]));
    let mut served = scene.serve();
    // Somebody else's rules are not overruled by a file that did not change.
    scene.fwctl().load(&rules(&[81])).unwrap();
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(scene.open(), [81]);
    served.signal(libc::SIGHUP).unwrap();
    served.wait_for("loaded").unwrap();
    assert_eq!(scene.open(), [80]);

    served.signal(libc::SIGTERM).unwrap();
    assert!(served.ends().unwrap().success(), "{}", served.said());
    assert_eq!(scene.open(), [80]);
    // What is in force is not loaded anew.
    let before = scene.fwctl().status().unwrap();
    let again = scene.serve();
    assert!(again.said().contains("in force already"), "{}", again.said());
    assert_eq!(scene.fwctl().status().unwrap()["generation"], before["generation"]);
}

#[test]
fn killed_it_leaves_the_filter_and_starts_again_at_once() {
    let scene = Scene::new();
    scene.write(&rules(&[80]));
    let served = scene.serve();
    served.signal(libc::SIGKILL).unwrap();
    assert_eq!(scene.open(), [80]);
    drop(served);
    scene.serve();
    assert_eq!(scene.open(), [80]);
}

#[test]
fn a_bad_file_at_the_start_ends_it_where_nothing_is_in_force_and_not_where_something_is() {
    let scene = Scene::new();
    scene.folder.replace("rules.json", "[]").unwrap();
    let arguments = [&*scene.file(), "--listen", "127.0.0.1:0"];
    let mut served = Served::begin(&scene.fwctl(), &arguments).unwrap();
    assert_eq!(served.ends().unwrap().code(), Some(2), "{}", served.said());
    assert!(Store::open(scene.bpffs.path()).unwrap().is_none());

    scene.fwctl().load(&rules(&[81])).unwrap();
    let served = Served::start(&scene.fwctl(), &arguments).unwrap();
    assert!(served.said().contains("what was in force still is"), "{}", served.said());
    assert_eq!(scene.open(), [81]);
}

#[test]
fn devices_are_filtered_as_they_come_and_forgotten_as_they_go() {
    let scene = Scene::new();
    let mut both = rules(&[80]);
    both["interfaces"]["late"] = json!({ "device": "late*", "security_groups": ["sg"] });
    scene.write(&both);
    let served = scene.serve();
    let Rig { client, server, .. } = &scene.rig;
    for _ in 0..2 {
        join(client, "far0", server, "late0").unwrap();
        served.wait_for("\"late0\" came and carries \"late\"").unwrap();
        served.wait_for("put in order").unwrap();
        let status = scene.fwctl().status().unwrap();
        assert_eq!(status["healthy"], true, "{status:#}");
        assert!(
            status["hooks"].as_array().unwrap().iter().any(|hook| hook["device"] == "late0"),
            "{status:#}"
        );
        server.ip("link del late0").unwrap();
        served.wait_for("\"late0\" went").unwrap();
        served.wait_for("put in order").unwrap();
        assert_eq!(scene.fwctl().status().unwrap()["healthy"], true);
    }
}

#[test]
fn a_hook_that_somebody_took_away_is_attached_again() {
    let scene = Scene::new();
    scene.write(&rules(&[80]));
    let served = scene.serve();
    let links = Store::open(scene.bpffs.path()).unwrap().unwrap().links();
    let pins: Vec<PathBuf> = fs::read_dir(links).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert_eq!(pins.len(), 2);
    for pin in pins {
        fs::remove_file(&pin).unwrap();
        served.wait_for("\"eth0\" was not filtered").unwrap();
        served.wait_for("put in order").unwrap();
        assert_eq!(scene.fwctl().status().unwrap()["healthy"], true);
        scene.becomes(&[80]);
    }
}

#[test]
fn addresses_of_devices_are_followed_where_the_rules_leave_them_out() {
    let scene = Scene::new();
    let Rig { client, server, .. } = &scene.rig;
    join(client, "far0", server, "member0").unwrap();
    let mut by_group = rules(&[]);
    by_group["security_groups"]["members"] = json!({ "ingress": [], "egress": [] });
    by_group["security_groups"]["sg"]["ingress"] = json!([{ "id": "members", "protocol": "udp", "from_port": 53, "to_port": 53, "security_groups": ["members"] }]);
    by_group["interfaces"]["member"] = json!({ "device": "member0", "security_groups": ["members"] });
    scene.write(&by_group);
    let served = scene.serve();
    let to = format!("{}:53", server.v4);
    let verdict = || {
        let packet = ["explain", "--interface", "server", "--ingress", "udp", "10.9.9.9:1053", &to, "--json"];
        scene.fwctl().run(packet).unwrap().success().unwrap()["verdict"].clone()
    };
    // The device's link-local address may come at any time too.
    let becomes = |wanted: &str| {
        let end = Instant::now() + PATIENCE;
        while verdict() != wanted {
            assert!(Instant::now() < end, "not {wanted}: {}", served.said());
        }
    };
    assert_eq!(verdict(), "deny");
    for _ in 0..3 {
        server.address("member0", "10.9.9.9/32").unwrap();
        becomes("allow");
        server.ip("address del 10.9.9.9/32 dev member0").unwrap();
        becomes("deny");
    }
    assert!(
        served.said().contains("\"member0\" has other addresses, so has \"member\""),
        "{}",
        served.said()
    );
    assert_eq!(scene.fwctl().status().unwrap()["healthy"], true);
}

#[test]
fn a_file_that_changes_a_hundred_times_a_second_is_followed_and_the_last_one_holds() {
    let scene = Scene::new();
    scene.write(&rules(&[80]));
    let served = scene.serve();
    let end = Instant::now() + Duration::from_secs(5);
    let mut changes = 0;
    while Instant::now() < end {
        let text = rules(&PORTS[changes % 2..=changes % 2]).to_string();
        if changes % 3 == 0 {
            // As a writer does that is not done yet.
            fs::write(scene.file(), &text[..text.len() / 2]).unwrap();
        } else {
            fs::write(scene.file(), text).unwrap();
        }
        changes += 1;
        std::thread::sleep(Duration::from_millis(10));
    }
    scene.write(&rules(&[80, 81]));
    scene.becomes(&[80, 81]);
    let loads = served.said().lines().filter(|line| line.contains("loaded")).count();
    assert!((2..20).contains(&loads), "{loads} for {changes} changes: {}", served.said());
}

#[test]
fn what_was_unloaded_stays_so_until_the_file_changes() {
    let scene = Scene::new();
    scene.write(&rules(&[80]));
    let served = scene.serve();
    let unloaded = scene.fwctl().run(["unload"]).unwrap();
    assert!(unloaded.status.success(), "{}", unloaded.said());
    // Longer than it takes until all hooks are looked at.
    std::thread::sleep(Duration::from_secs(6));
    assert_eq!(scene.open(), PORTS);
    scene.write(&rules(&[81]));
    served.wait_for("loaded").unwrap();
    assert_eq!(scene.open(), [81]);
}

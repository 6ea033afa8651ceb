//! `fwctl serve` is killed (SIGKILL), again and again, while packets come: each is judged as if nothing had happened, and no
//! counter goes back. Needs root.

use std::io::ErrorKind;
use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fw_tests::netns::{Host, Rig};
use fw_tests::random::Random;
use fw_tests::samples::Samples;
use fw_tests::served::{PATIENCE, Scene};
use fw_tests::traffic::Echo;
use serde_json::{Value, json};

/// `FWCTL_TEST_KILLS` says another number.
const KILLS: usize = 25;
const ALLOWED: u16 = 4000;
const DENIED: u16 = 4001;
const OF_A_CONNECTION: usize = 50;
const EVERY: Duration = Duration::from_micros(200);

fn rules() -> Value {
    json!({
        "version": 1,
        "security_groups": { "sg": { "egress": [], "ingress": [
            { "id": "allowed", "protocol": "udp", "from_port": ALLOWED, "to_port": ALLOWED,
              "cidr_blocks": ["10.77.1.0/24"] } ] } },
        "interfaces": { "server": { "device": "eth0", "security_groups": ["sg"] } },
        "settings": { "adopt_seconds": 0, "conntrack_max": 4096 }
    })
}

/// Asks and is answered until the end, a new connection every so often, and knocks where it is denied; how often.
fn ask(client: &Host, server: &Host, over: &AtomicBool) -> u64 {
    let mut asked = 0;
    while !over.load(Ordering::Relaxed) {
        let socket = client.run(|| UdpSocket::bind((client.v4, 0)).unwrap());
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        for _ in 0..OF_A_CONNECTION {
            socket.send_to(b"knock", (server.v4, DENIED)).unwrap();
            socket.send_to(&u64::to_be_bytes(asked), (server.v4, ALLOWED)).unwrap();
            let mut answer = [0; 8];
            let received = socket.recv(&mut answer);
            assert!(
                received.is_ok() && u64::from_be_bytes(answer) == asked,
                "{asked}: {received:?}, {answer:?}"
            );
            asked += 1;
            thread::sleep(EVERY);
        }
    }
    asked
}

/// Says it is over when it goes, also with a panic.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What packets have counted.
fn counters(scene: &Scene) -> Samples {
    Samples::of(&scene.rig.server, &scene.bpffs).unwrap().of_packets()
}

#[test]
fn killed_under_load_again_and_again_no_packet_is_misjudged_and_no_counter_goes_back() {
    let kills = std::env::var("FWCTL_TEST_KILLS").ok().map_or(KILLS, |kills| kills.parse().unwrap());
    let scene = Scene::new();
    scene.write(&rules());
    let mut served = scene.serve();
    let Rig { client, server, .. } = &scene.rig;
    let echo = Echo::udp(server, (server.v4, ALLOWED)).unwrap();
    let denied = server.run(|| UdpSocket::bind((server.v4, DENIED)).unwrap());
    denied.set_nonblocking(true).unwrap();
    let over = AtomicBool::new(false);
    let mut slowest = Duration::ZERO;
    let asked: u64 = thread::scope(|scope| {
        let guard = Over(&over);
        let asking = [(); 2].map(|()| scope.spawn(|| ask(client, server, &over)));
        let mut random = Random(1);
        let mut before = counters(&scene);
        for round in 0..kills {
            // In its rest, amid its chores, or while it loads.
            if round % 2 == 1 {
                served.signal(libc::SIGHUP).unwrap();
            }
            thread::sleep(Duration::from_millis(random.below(200) as u64));
            served.signal(libc::SIGKILL).unwrap();
            served.ends().unwrap();
            let start = Instant::now();
            served = scene.serve();
            slowest = slowest.max(start.elapsed());
            let now = counters(&scene);
            now.none_went_back(&before).unwrap_or_else(|error| panic!("round {round}: {error}"));
            before = now;
        }
        drop(guard);
        asking.map(|asking| asking.join().unwrap()).into_iter().sum()
    });
    println!("killed {kills} times under {asked} questions and as many knocks, slowest start {slowest:?}");
    assert_eq!(echo.served(), asked);
    assert_eq!(denied.recv(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
    let now = Samples::of(server, &scene.bpffs).unwrap();
    let dropped = [("direction", "ingress"), ("reason", "no_group_rule")];
    assert_eq!(now.sum("fwctl_dropped_packets_total", &dropped), asked, "{}", served.said());
}

//! Addresses of devices that come and go, told to a process that has the rules in memory: real sockets see the groups
//! follow. Needs root.

use std::net::IpAddr;
use std::time::Duration;

use fw_tests::fwctl::Fwctl;
use fw_tests::netns::{BpffsDir, Rig};
use fw_tests::traffic::Outcome::{Blocked, Reached};
use fw_tests::traffic::{Echo, udp_ask_within};
use fw_userspace::datapath::{Published, Resident};
use serde_json::json;

const PATIENCE: Duration = Duration::from_millis(300);

#[test]
fn a_device_that_gets_an_address_makes_it_a_members_and_its_flow_needs_nothing_more() {
    let (rig, bpffs) = (Rig::direct().unwrap(), BpffsDir::new().unwrap());
    let (client, server) = (&rig.client, &rig.server);
    server.ip("link add late0 type veth peer name late1").unwrap();
    let echo = Echo::udp(server, (server.v4, 53)).unwrap();
    let fwctl = Fwctl::new(server, &bpffs).unwrap();
    let file = |other: &str| {
        json!({ "version": 1,
            "security_groups": {
                "server": { "ingress": [ { "id": "members", "protocol": "udp", "from_port": 53, "to_port": 53,
                    "security_groups": ["members"] } ], "egress": [] },
                "members": { "ingress": [] } },
            "interfaces": {
                "server": { "device": "eth0", "security_groups": ["server"] },
                "late": { "device": "late0", "security_groups": ["members"] },
                "far": { "addresses": [other], "security_groups": ["members"] } } })
    };
    fwctl.load(&file("10.77.1.99")).unwrap();
    let mut port = 10_000;
    let mut asks = || {
        port += 1;
        udp_ask_within(client, (client.v4, port), (server.v4, 53), PATIENCE).unwrap()
    };
    assert_eq!(asks(), Blocked);

    let mut resident = server.run(|| Resident::open(bpffs.path())).unwrap();
    let late = server.index("late0").unwrap();
    let mut tell = |addresses: &[IpAddr]| server.run(|| resident.set_addresses(late, addresses)).unwrap();
    assert_eq!(asks(), Blocked);
    let address = [IpAddr::from(client.v4)];
    for _ in 0..3 {
        let Published::Lines(lines) = tell(&address) else { panic!("compiled anew") };
        assert!((1..100).contains(&lines), "{lines} lines for one address");
        assert_eq!(asks(), Reached);
        assert_eq!(tell(&address), Published::Nothing);
        assert!(matches!(tell(&[]), Published::Lines(_)));
        assert_eq!(asks(), Blocked);
    }

    // A member like no other: inside of no CIDR that the rules know as a member's.
    assert_eq!(tell(&["fd77:1::2".parse().unwrap()]), Published::Everything);
    assert_eq!(asks(), Blocked);

    // Somebody else loads meanwhile: his rules hold, and are followed from then on.
    fwctl.load(&file("10.77.1.98")).unwrap();
    assert_eq!(tell(&address), Published::Everything);
    assert_eq!(fwctl.status().unwrap()["healthy"], true);
    assert!(echo.served() >= 3);
}

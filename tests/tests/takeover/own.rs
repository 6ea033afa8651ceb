//! TCP connections of the host that filters its own NIC.

use std::io::Read;
use std::net::{IpAddr, Ipv6Addr, Shutdown, SocketAddr, SocketAddrV6};
use std::thread;
use std::time::Duration;

use fw_tests::netns::{Host, Rig, join};
use fw_tests::traffic::LiveTcp;
use serde_json::{Value, json};

use super::{Live, Served, carries, notes, rule, rules};

/// The address of `eth0` that the kernel made.
fn link_local(host: &Host) -> Ipv6Addr {
    let said = host.ip("-json -6 address show dev eth0 scope link").unwrap();
    let said: Value = serde_json::from_str(&said).unwrap();
    let addresses = said[0]["addr_info"].as_array().unwrap().iter();
    let address = addresses.filter_map(|address| address["local"].as_str()).next_back();
    address.unwrap_or_else(|| panic!("{said}")).parse().unwrap()
}

fn own_connections_in_mode(mode: &str) {
    let live = Live::new();
    let (client, server) = (&live.rig.client, &live.rig.server);
    let mut connections = [
        live.inbound(22),
        LiveTcp::open(client, (client.v6, 0), server, (server.v6, 22)).unwrap(),
        LiveTcp::open(server, (server.v4, 0), client, (client.v4, 443)).unwrap(),
        LiveTcp::open(server, (server.v6, 0), client, (client.v6, 443)).unwrap(),
    ];
    let everywhere = IpAddr::from(Ipv6Addr::UNSPECIFIED);
    let mapped = SocketAddr::new(IpAddr::from(server.v4), 24);
    let scoped = SocketAddrV6::new(link_local(server), 25, 0, client.index("eth0").unwrap());
    let mut served = [
        Served::open(client, server, SocketAddr::new(everywhere, 24), mapped),
        Served::open(client, server, SocketAddr::new(everywhere, 25), scoped.into()),
    ];
    let ingress = [rule("ssh", 22), rule("mapped", 24), rule("link-local", 25)];
    let mut rules = rules(&ingress, &[rule("https", 443)]);
    rules["interfaces"]["server"]["mode"] = json!(mode);
    let report = live.fwctl().load(&rules).unwrap();
    assert_eq!((&report["taken_over"], &report["adopt_s"]), (&json!(6), &json!(0)), "{report}");

    let listed = live.listed();
    for (local_port, remote_port, opened_by, rule, count) in [
        (Some(22), None, "remote", "ssh", 2),
        (None, Some(443), "local", "https", 2),
        (Some(24), None, "remote", "mapped", 1),
        (Some(25), None, "remote", "link-local", 1),
    ] {
        let is_meant = |row: &&Value| {
            (local_port.is_none() || row["local_port"].as_u64() == local_port)
                && (remote_port.is_none() || row["remote_port"].as_u64() == remote_port)
                && (&row["state"], &row["class"]) == (&json!("established"), &json!("confirmed"))
                && (&row["opened_by"], &row["rule"]["rule"]) == (&json!(opened_by), &json!(rule))
                && (&row["packets"], &row["bytes"]) == (&json!(0), &json!(0))
        };
        assert_eq!(listed.iter().filter(is_meant).count(), count, "{rule}: {listed:?}");
    }
    // Whoever speaks first.
    for (number, connection) in connections.iter_mut().enumerate() {
        assert!(connection.exchange_from_server() && connection.exchange(), "connection {number}");
    }
    for (number, connection) in served.iter_mut().enumerate() {
        assert!(connection.exchange(), "served {number}");
    }
    let stats = live.fwctl().stats().unwrap();
    assert_eq!((stats.packets("allow", "adopted"), stats.verdict("deny")), (0, 0), "{}", stats.0);
    assert!(stats.packets("allow", "established") >= 24, "{}", stats.0);
    // Their sequence numbers were learnt from what they sent since.
    for connection in connections {
        connection.close().unwrap();
    }
    drop(served);
    let listed = live.listed();
    assert!(listed.iter().all(|row| row["state"] == "closed"), "{listed:?}");
}

#[test]
fn own_connections_of_both_families_and_directions_go_on_at_tc() {
    own_connections_in_mode("tc");
}

#[test]
fn own_connections_of_both_families_and_directions_go_on_at_xdp() {
    own_connections_in_mode("xdp");
}

#[test]
fn what_either_layer_drops_is_cut_and_named() {
    // Traffic within a subnet crosses no network ACL.
    let live = Live::on(Rig::routed().unwrap());
    let (mut ssh, mut telnet) = (live.inbound(22), live.inbound(23));
    let mut with_acl = rules(&[rule("ssh", 22), rule("telnet", 23)], &[]);
    let entry = |number: u16, protocol: &str, action: &str, ports: Value| {
        let mut entry = json!({ "rule_number": number, "protocol": protocol, "action": action, "cidr_block": "0.0.0.0/0" });
        entry.as_object_mut().unwrap().extend(ports.as_object().unwrap().clone());
        entry
    };
    let everything = entry(100, "all", "allow", json!({}));
    with_acl["network_acls"] = json!({ "acl": {
        "ingress": [everything],
        // What the server sends from port 23 goes to the client's port.
        "egress": [
            entry(90, "tcp", "deny", json!({ "from_port": telnet.client_address().unwrap().port(),
                                             "to_port": telnet.client_address().unwrap().port() })),
            everything
        ]
    } });
    with_acl["subnets"] = json!({ "subnet": { "cidr_blocks": ["10.77.2.0/24"], "network_acl": "acl" } });
    with_acl["interfaces"]["server"]["subnet"] = json!("subnet");
    with_acl["interfaces"]["server"]["addresses"] = json!([live.rig.server.v4.to_string()]);
    let report = live.fwctl().load(&with_acl).unwrap();
    assert_eq!(report["taken_over"], 1, "{report}");
    let named = format!(
        "the rules do not allow 1 established connection of this host: {}:23 with {}",
        live.rig.server.v4,
        telnet.client_address().unwrap()
    );
    assert!(notes(&report).contains(&named), "{report}");
    assert!(ssh.exchange_from_server() && ssh.exchange());
    assert!(!telnet.exchange(), "the network ACL denies what the server sends");

    let other = Live::new();
    let mut foreign = other.inbound(23);
    let report = other.fwctl().load(&rules(&[rule("ssh", 22)], &[])).unwrap();
    assert_eq!(report["taken_over"], 0, "{report}");
    assert!(notes(&report).contains(":23 with"), "{report}");
    assert!(!foreign.exchange(), "no group rule allows it");
    assert!(other.listed().is_empty());
}

#[test]
fn what_one_side_has_closed_is_half_closed() {
    let live = Live::new();
    let Rig { client, server, .. } = &live.rig;
    let at = SocketAddr::new(IpAddr::from(server.v4), 22);
    let mut by_remote = Served::open(client, server, at, at);
    let at = SocketAddr::new(IpAddr::from(server.v4), 23);
    let mut by_local = Served::open(client, server, at, at);
    by_remote.client.shutdown(Shutdown::Write).unwrap();
    by_local.server.shutdown(Shutdown::Write).unwrap();
    assert_eq!(by_remote.server.read(&mut [0; 4]).unwrap(), 0);
    assert_eq!(by_local.client.read(&mut [0; 4]).unwrap(), 0);
    let report = live.fwctl().load(&rules(&[rule("ssh", 22), rule("telnet", 23)], &[])).unwrap();
    assert_eq!(report["taken_over"], 2, "{report}");
    let states = || live.listed().iter().map(|row| row["state"].clone()).collect::<Vec<_>>();
    assert_eq!(states(), ["half_closed", "half_closed"]);
    assert!(live.listed().iter().all(|row| row["expires_s"].as_u64() <= Some(120)));
    assert!(carries(&mut by_remote.server, &mut by_remote.client));
    assert!(carries(&mut by_local.client, &mut by_local.server));
    by_remote.server.shutdown(Shutdown::Write).unwrap();
    by_local.client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(by_remote.client.read(&mut [0; 4]).unwrap(), 0);
    assert_eq!(by_local.server.read(&mut [0; 4]).unwrap(), 0);
    assert_eq!(states(), ["closed", "closed"]);
}

#[test]
fn an_open_rule_needs_no_entry() {
    let live = Live::new();
    let mut connection = live.inbound(22);
    let everything = json!({ "id": "all", "protocol": "all", "cidr_blocks": ["0.0.0.0/0"] });
    let everything = std::slice::from_ref(&everything);
    let mut rules = rules(everything, everything);
    let report = live.fwctl().load(&rules).unwrap();
    assert_eq!((&report["taken_over"], &report["notes"]), (&json!(0), &json!([])), "{report}");
    assert!(connection.exchange_from_server() && live.listed().is_empty());
    // Nor does a device that only a network ACL filters.
    live.fwctl().run(["unload"]).unwrap();
    rules["interfaces"]["server"]["security_groups"] = json!([]);
    let report = live.fwctl().load(&rules).unwrap();
    assert_eq!((&report["taken_over"], &report["notes"]), (&json!(0), &json!([])), "{report}");
}

/// All rigs have the same addresses, and the kernel has the sockets of all namespaces in one table.
#[test]
fn sockets_of_another_namespace_are_none_of_ours() {
    let (live, other) = (Live::new(), Live::new());
    let _foreign = other.inbound(22);
    let report = live.fwctl().load(&rules(&[rule("ssh", 22)], &[])).unwrap();
    assert_eq!(report["taken_over"], 0, "{report}");
}

#[test]
fn a_reload_takes_over_nothing_and_a_further_device_what_it_has() {
    let live = Live::new();
    let Rig { client, server, .. } = &live.rig;
    join(client, "eth1", server, "eth1").unwrap();
    client.address("eth1", "10.77.3.2/24").unwrap();
    server.address("eth1", "10.77.3.3/24").unwrap();
    let other = |port| {
        let to: SocketAddr = format!("10.77.3.3:{port}").parse().unwrap();
        Served::open(client, server, to, to)
    };
    let (mut ssh, mut telnet) = (live.inbound(22), live.inbound(23));
    let mut on_other = other(26);
    let fwctl = live.fwctl();
    let report = fwctl.load(&rules(&[rule("ssh", 22)], &[])).unwrap();
    assert_eq!(report["taken_over"], 1, "{report}");

    let wide = json!({ "id": "other", "protocol": "tcp", "from_port": 26, "to_port": 26, "cidr_blocks": ["10.77.3.0/24"] });
    let report = fwctl.load(&rules(&[rule("ssh", 22), rule("telnet", 23), wide], &[])).unwrap();
    assert_eq!(report["taken_over"], 0, "{report}");
    assert!(ssh.exchange() && !telnet.exchange(), "it was cut by the rules before");

    let attached =
        fwctl.run(["attach", "eth1", "--interface", "server", "--json"]).unwrap().success().unwrap();
    assert_eq!(attached["taken_over"], 1, "{attached}");
    assert!(on_other.exchange() && ssh.exchange());
    assert_eq!(live.used(), 2);
    // What the table has of a device that was let alone meanwhile does not keep it from beginning anew.
    fwctl.run(["detach", "eth1"]).unwrap();
    let again = fwctl.run(["attach", "eth1", "--interface", "server"]).unwrap();
    let said = "taken over, as sockets of this host: 1 tcp\n";
    assert!(again.code() == 0 && again.stdout.contains(said), "{}", again.said());
    assert!(on_other.exchange() && live.used() == 2);
}

/// Rules that were not confirmed in time filter nothing any more; what comes after them is a first load.
#[test]
fn after_rules_that_were_not_confirmed_the_next_are_the_first() {
    let live = Live::new();
    let fwctl = live.fwctl();
    fwctl.load_with(&rules(&[], &[]), &["--confirm", "1"]).unwrap();
    thread::sleep(Duration::from_millis(1200));
    let mut session = live.inbound(22);
    let report = fwctl.load(&rules(&[rule("ssh", 22)], &[])).unwrap();
    assert_eq!(report["taken_over"], 1, "{report}");
    assert!(session.exchange_from_server());
}

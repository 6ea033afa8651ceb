//! Who opened a connection decides whose rules it needs.

use std::net::{IpAddr, SocketAddr};

use fw_tests::traffic::LiveTcp;
use serde_json::json;

use super::{Live, Served, notes, rule, rules};

/// The default egress lets everything out, also what answers at a port that no rule ever opened.
#[test]
fn a_session_at_a_port_that_was_never_opened_is_no_connection_of_this_side() {
    let live = Live::new();
    let (client, server) = (&live.rig.client, &live.rig.server);
    let at = SocketAddr::new(IpAddr::from(server.v4), 23);
    let mut session = Served::open(client, server, at, at);
    let mut own = LiveTcp::open(server, (server.v4, 0), client, (client.v4, 443)).unwrap();
    let everything = json!({ "id": "out", "protocol": "all", "cidr_blocks": ["0.0.0.0/0"] });
    let report = live.fwctl().load(&rules(&[], &[everything])).unwrap();
    assert_eq!(report["taken_over"], 1, "{report}");
    let said = "the rules do not allow 1 established connection of this host: 10.77.1.3:23 with 10.77.1.2:";
    assert!(notes(&report).contains(said), "{report}");
    let listed = live.listed();
    assert!(listed.len() == 1 && listed[0]["remote_port"] == 443, "{listed:?}");
    assert!(own.exchange() && own.exchange_from_server());
    assert!(!session.exchange());
}

/// Where nobody listens any more, whoever is allowed to have opened it has.
#[test]
fn a_session_whose_listener_has_gone_may_have_been_opened_by_either_side() {
    let live = Live::new();
    let mut ssh = live.inbound(22);
    let report = live.fwctl().load(&rules(&[rule("ssh", 22)], &[])).unwrap();
    assert_eq!(report["taken_over"], 1, "{report}");
    assert_eq!(live.listed()[0]["opened_by"], "remote");
    assert!(ssh.exchange_from_server());
}

/// Nor does the window make it one: what answers from a port that somebody serves was opened by the other side.
#[test]
fn in_the_window_too_a_port_that_was_never_opened_is_cut() {
    let live = Live::new();
    let (client, server) = (&live.rig.client, &live.rig.server);
    let at = SocketAddr::new(IpAddr::from(server.v4), 23);
    let mut session = Served::open(client, server, at, at);
    let everything = json!({ "id": "out", "protocol": "all", "cidr_blocks": ["0.0.0.0/0"] });
    let mut rules = rules(&[], &[everything]);
    rules["settings"]["adopt_seconds"] = json!(120);
    let report = live.fwctl().load(&rules).unwrap();
    assert_eq!((&report["taken_over"], &report["adopt_s"]), (&json!(0), &json!(120)), "{report}");
    assert!(!session.exchange_from_server() && !session.exchange());
    assert!(live.listed().is_empty());
}

//! Instances as real containers behind the host's ends of their veth pairs, a real Prometheus beside. Needs root.

use fw_tests::containers::{Container, Engine};
use fw_tests::fwctl::Fwctl;
use fw_tests::netns::{BpffsDir, Namespace, join};
use fw_tests::programs::skip;
use fw_tests::prometheus::Prometheus;
use fw_tests::served::{Folder, Served};
use fw_tests::traffic::{Outcome, tcp_connect};
use serde_json::{Value, json};

const CLIENT: &str = "10.88.9.10";
const WEB: &str = "10.88.1.10";
const DB: &str = "10.88.2.10";
const METRICS: &str = "127.0.0.1:9798";

/// The host of the containers, and a client on a wire to it.
struct Hosts {
    host: Namespace,
    client: Namespace,
}

impl Hosts {
    fn new() -> Self {
        let (host, client) = (Namespace::new("host").unwrap(), Namespace::new("client").unwrap());
        host.forward().unwrap();
        join(&client, "eth0", &host, "client0").unwrap();
        client.address("eth0", &format!("{CLIENT}/24")).unwrap();
        host.address("client0", "10.88.9.1/24").unwrap();
        client.route("default", "10.88.9.1").unwrap();
        Self { host, client }
    }

    fn web<'a>(&self, engine: &'a Engine) -> Container<'a> {
        let web = engine.run("web", &["httpd", "-f", "-p", "80"]).unwrap();
        web.plug(&self.host, "veth-web", WEB, "10.88.1.1").unwrap();
        web
    }

    fn db<'a>(&self, engine: &'a Engine) -> Container<'a> {
        let db = engine.run("db", &["nc", "-ll", "-p", "5432", "-e", "/bin/busybox", "cat"]).unwrap();
        db.plug(&self.host, "veth-db", DB, "10.88.2.1").unwrap();
        db
    }

    fn client_to(&self, address: &str, port: u16) -> Outcome {
        tcp_connect(&self.client, (CLIENT, 0), (address, port)).unwrap()
    }
}

/// Everybody may come to the web server, only the web server may come to the database, which opens nothing.
fn rules() -> Value {
    json!({
        "version": 1,
        "security_groups": {
            "web": {
                "ingress": [ { "id": "http", "protocol": "tcp", "from_port": 80, "to_port": 80, "cidr_blocks": ["0.0.0.0/0"] } ],
                "egress": [ { "id": "to-db", "protocol": "tcp", "from_port": 5432, "to_port": 5432, "security_groups": ["db"] } ]
            },
            "db": {
                "ingress": [ { "id": "from-web", "protocol": "tcp", "from_port": 5432, "to_port": 5432, "security_groups": ["web"] } ],
                "egress": []
            }
        },
        "interfaces": {
            "web": { "device": "veth-web", "faces": "instance", "addresses": [WEB], "security_groups": ["web"] },
            "db": { "device": "veth-db", "faces": "instance", "addresses": [DB], "security_groups": ["db"] }
        },
        "settings": { "adopt_seconds": 0, "conntrack_max": 4096 }
    })
}

#[test]
fn containers_reach_what_their_groups_allow_and_a_new_one_is_filtered_at_once() {
    const TEST: &str = "containers_reach_what_their_groups_allow_and_a_new_one_is_filtered_at_once";
    let engine = match Engine::new() {
        Ok(engine) => engine,
        Err(error) => return skip(TEST, &format!("no containers here: {error:#}")),
    };
    if Prometheus::program().is_none() {
        return skip(TEST, "there is no prometheus");
    }
    let hosts = Hosts::new();
    let (web, db) = (hosts.web(&engine), hosts.db(&engine));
    // What is blocked below is blocked by rules.
    assert_eq!(hosts.client_to(WEB, 80), Outcome::Reached);
    assert_eq!(hosts.client_to(DB, 5432), Outcome::Reached);
    assert_eq!(web.says("unfiltered", DB, 5432).unwrap(), "unfiltered");

    let (bpffs, folder) = (BpffsDir::new().unwrap(), Folder::new("containers").unwrap());
    let file = folder.replace("rules.json", rules().to_string()).unwrap();
    let fwctl = Fwctl::new(&hosts.host, &bpffs).unwrap();
    let served = Served::start(&fwctl, &[file.to_str().unwrap(), "--listen", METRICS]).unwrap();
    let prometheus = Prometheus::start(&hosts.host, "200ms", &[("fwctl", METRICS)]).unwrap();
    prometheus.becomes("sum(fwctl_hook_attached)", 4).unwrap();

    assert_eq!(hosts.client_to(WEB, 80), Outcome::Reached);
    assert_eq!(hosts.client_to(DB, 5432), Outcome::Blocked);
    assert_eq!(web.says("a row", DB, 5432).unwrap(), "a row");
    assert_eq!(db.says("get out", WEB, 80).unwrap(), "");

    let rule = |id: &str, rule: &str| format!("fwctl_rule_packets_total{{id={id:?},rule={rule:?}}}");
    prometheus.becomes(&rule("web", "http"), 1).unwrap();
    // The web server's connection was judged where it left the one container and where it came to the other.
    prometheus.becomes(&rule("web", "to-db"), 1).unwrap();
    prometheus.becomes(&rule("db", "from-web"), 1).unwrap();
    let refused = |direction: &str| {
        format!(
            "fwctl_dropped_packets_total{{interface=\"db\",direction={direction:?},reason=\"no_group_rule\"}}"
        )
    };
    prometheus.becomes(&refused("ingress"), 1).unwrap();
    // A SYN, and maybe a second one a second later.
    prometheus.until(&refused("egress"), |packets| packets >= 1.0).unwrap();

    // The same instance again, as an orchestrator does it: another process, another veth pair, the same name.
    drop(web);
    served.wait_for("\"veth-web\" went").unwrap();
    prometheus.becomes("sum(fwctl_hook_attached)", 2).unwrap();
    prometheus.becomes("fwctl_devices_pending", 1).unwrap();
    let web = hosts.web(&engine);
    served.wait_for("\"veth-web\" came and carries \"web\"").unwrap();
    served.wait_for("put in order").unwrap();
    assert_eq!(hosts.client_to(WEB, 80), Outcome::Reached);
    assert_eq!(hosts.client_to(WEB, 81), Outcome::Blocked);
    assert_eq!(web.says("another row", DB, 5432).unwrap(), "another row");
    prometheus.becomes(&rule("web", "http"), 2).unwrap();
    prometheus.becomes(&rule("db", "from-web"), 2).unwrap();
    prometheus.becomes("sum(fwctl_hook_attached)", 4).unwrap();
    assert_eq!(prometheus.resets().unwrap(), 0);
    assert_eq!(prometheus.complaints().unwrap(), [""; 0], "{}", served.said());
}

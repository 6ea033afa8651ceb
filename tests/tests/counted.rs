//! What the counters of rules count, and that `fwctl stats` says so. Needs root.

use fw_tests::filtered::Filtered;
use serde_json::json;

#[test]
fn a_group_counts_what_opens_and_an_acl_every_packet() {
    let entry =
        json!({ "rule_number": 100, "action": "allow", "protocol": "all", "cidr_block": "0.0.0.0/0" });
    let mut rules = json!({
        "version": 1,
        "subnets": { "subnet": { "cidr_blocks": ["10.77.1.3/32"], "network_acl": "acl" } },
        "network_acls": { "acl": { "ingress": [entry], "egress": [entry] } },
        "security_groups": { "sg": { "egress": [], "ingress": [
            { "id": "web", "protocol": "tcp", "from_port": 80, "to_port": 80, "cidr_blocks": ["10.0.0.0/8"] }
        ] } },
        "interfaces": { "eni": { "device": "eth0", "subnet": "subnet", "security_groups": ["sg"] } },
        "settings": { "adopt_seconds": 0 }
    });
    let filtered = Filtered::new(&rules);
    let mut web = filtered.open(80).unwrap();
    assert!(web.exchange() && web.exchange());
    // The groups refuse it: it did not pass.
    assert!(filtered.open(81).is_err());
    let stats = || filtered.fwctl().run(["stats"]).unwrap().stdout;
    let counted = |list: &str, rule: &str| filtered.fwctl().rule_packets(list, rule).unwrap();
    let all: u64 = filtered.fwctl().connections(&["--port", "80"]).unwrap()[0]["packets"].as_u64().unwrap();
    assert_eq!(counted("sg", "web"), 1);
    assert_eq!(counted("acl", "100"), all, "both directions: {}", stats());
    assert!(
        stats().contains("of network ACLs every packet that an entry denies, or lets on and that passes\n")
    );
    for key in ["subnets", "network_acls"] {
        rules[key] = json!({});
    }
    rules["interfaces"]["eni"].as_object_mut().unwrap().remove("subnet");
    filtered.fwctl().load(&rules).unwrap();
    let first = "\nrules: first packets of connections, and packets no connection answered for\n";
    assert!(stats().contains(first), "{}", stats());
}

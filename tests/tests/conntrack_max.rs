//! `settings.conntrack_max` below what is there, and what it cannot be. Needs root.

use fw_common::store::Store;
use fw_tests::filtered::Filtered;
use fw_tests::soundness;
use serde_json::{Value, json};

fn counted(loaded: &Filtered) -> u64 {
    Store(&loaded.table()).counted()
}

fn rules(conntrack_max: &Value) -> Value {
    let rule = |port: u16, reserved: bool| {
        json!({ "protocol": "tcp", "from_port": port, "to_port": port, "cidr_blocks": ["0.0.0.0/0"],
                "reserved": reserved })
    };
    json!({
        "version": 1,
        "security_groups": { "sg": { "egress": [], "ingress": [rule(80, false), rule(22, true)] } },
        "interfaces": { "server": { "device": "eth0", "security_groups": ["sg"] } },
        "settings": { "adopt_seconds": 0, "conntrack_max": conntrack_max }
    })
}

#[test]
fn a_limit_below_what_is_there_refuses_new_connections_and_loses_none() {
    const OTHERS: u32 = 5000;
    let loaded = Filtered::new(&rules(&json!(20_000)));
    let mut live = [loaded.open(80).unwrap(), loaded.open(22).unwrap()];
    loaded.fill(OTHERS);
    loaded.fwctl().load(&rules(&json!(1024))).unwrap();
    assert_eq!(counted(&loaded), u64::from(OTHERS) + 2, "all of them moved");
    soundness::check(&loaded.table()).unwrap();
    for live in &mut live {
        assert!(live.exchange() && live.exchange_from_server());
    }
    assert!(loaded.open(80).is_err(), "no room");
    assert!(loaded.open(22).is_err(), "the limit holds for the administrator too");
    let flush = |block: &str| {
        loaded.fwctl().run(["conntrack", "flush", "--address", block]).unwrap();
        counted(&loaded)
    };
    // 11.0.0.0 to 11.0.15.255 are 4096 of them, and 906 are left: below 1024 and what is kept, 64.
    assert_eq!(flush("11.0.0.0/20"), 906);
    assert!(loaded.open(80).unwrap().exchange(), "below the limit again");
    for live in &mut live {
        assert!(live.exchange() && live.exchange_from_server());
    }
}

#[test]
fn what_conntrack_max_cannot_be_is_refused_and_changes_nothing() {
    let loaded = Filtered::new(&rules(&json!(20_000)));
    let mut live = loaded.open(80).unwrap();
    let before = loaded.fwctl().status().unwrap();
    for wrong in
        [json!(0), json!(1023), json!(16_777_217), json!(4_294_967_296_u64), json!(-1), json!("many")]
    {
        let output = loaded.fwctl().try_load(&rules(&wrong), &[]).unwrap();
        assert_eq!(output.code(), 2, "{wrong}: {}", output.said());
        let said = output.said();
        assert!(said.contains("settings.conntrack_max") && said.contains("1024"), "{wrong}: {said}");
    }
    assert_eq!(loaded.fwctl().status().unwrap()["generation"], before["generation"]);
    assert!(live.exchange());
}

//! One client that opens and resets the same connection again and again takes no more room than one connection.

use fw_common::{Hook, Reason};
use fw_tests::kernel::Received;
use fw_tests::packet;
use fw_tests::workload::kernel_with;

const RULES: &str = r#"{
  "version": 1,
  "security_groups": { "g": { "egress": [], "ingress": [
    { "id": "https", "protocol": "tcp", "from_port": 443, "to_port": 443, "cidr_blocks": ["10.0.0.0/8"] }
  ] } },
  "interfaces": { "nic": { "device": "nic0", "security_groups": ["g"] } }
}"#;

#[test]
fn a_connection_that_is_opened_again_and_again_takes_one_place() {
    let (mut kernel, compiled) = kernel_with(RULES.as_bytes()).unwrap();
    let zone = compiled.zones[0].0;

    let frame = |text: &str| packet::parse(text).unwrap();
    let syn = frame("tcp 10.1.0.1:4000 > 10.99.0.2:443 syn seq=100");
    let syn_ack = frame("tcp 10.99.0.2:443 > 10.1.0.1:4000 syn+ack seq=500 ack=101");
    let ack = frame("tcp 10.1.0.1:4000 > 10.99.0.2:443 ack seq=101 ack=501");
    let rst = frame("tcp 10.1.0.1:4000 > 10.99.0.2:443 rst seq=101");
    // The table has room for 1024.
    for _ in 0..4000 {
        kernel.time("xdp_received", &syn, 1).unwrap();
        kernel.time("tc_sent", &syn_ack, 1).unwrap();
        kernel.time("xdp_received", &ack, 1).unwrap();
        kernel.time("xdp_received", &rst, 1).unwrap();
    }
    for client in 1..=100 {
        let at = |text: &str| frame(&text.replace("10.1.0.1", &format!("10.2.0.{client}")));
        let mut judge = |frame: &[u8], hook| kernel.judge(frame, hook, Received::Xdp, zone).unwrap().reason;
        let syn = at("tcp 10.1.0.1:4000 > 10.99.0.2:443 syn seq=100");
        assert_eq!(judge(&syn, Hook::Received), Reason::GroupRule, "client {client}");
        let syn_ack = at("tcp 10.99.0.2:443 > 10.1.0.1:4000 syn+ack seq=500 ack=101");
        assert_eq!(judge(&syn_ack, Hook::Sent), Reason::Established, "client {client}");
        let ack = at("tcp 10.1.0.1:4000 > 10.99.0.2:443 ack seq=101 ack=501");
        assert_eq!(judge(&ack, Hook::Received), Reason::Established, "client {client}");
    }
}

//! A full connection table, in the bytecode: refused are new flows, at their first packet; everything else goes on.

use anyhow::Result;
use fw_common::{Hook, Reason, Verdict};
use fw_tests::kernel::{Kernel, Received};
use fw_tests::packet;
use fw_tests::workload::kernel_with;

/// The table of the object as it is built, and what it keeps for `reserved` rules.
const MAX: u16 = 1024;
const RESERVED: u16 = 64;

const RULES: &str = r#"{
  "version": 1,
  "security_groups": { "g": { "egress": [], "ingress": [
    { "id": "app", "protocol": "udp", "from_port": 9000, "to_port": 9000, "cidr_blocks": ["10.0.0.0/8"] },
    { "id": "admin", "protocol": "udp", "from_port": 22, "to_port": 22, "cidr_blocks": ["10.0.0.0/8"], "reserved": true }
  ] } },
  "interfaces": { "nic": { "device": "nic0", "security_groups": ["g"] } }
}"#;

#[test]
fn a_full_table_refuses_new_flows_keeps_the_reserved_slice_and_recovers() {
    let mut table = Table::new().unwrap();
    for client in 0..MAX - RESERVED {
        assert_eq!(table.ask(client, 9000), Reason::GroupRule, "flow {client}");
        assert_eq!(table.answer(client, 9000), Reason::Established, "flow {client}");
    }
    assert_eq!(table.ask(5000, 9000), Reason::AllowanceExceeded, "one too many");
    assert_eq!(table.ask(5000, 9000), Reason::AllowanceExceeded, "nor the second time");
    assert_eq!(table.ask(17, 9000), Reason::Established, "a flow that was there before");

    assert_eq!(table.ask(6000, 22), Reason::GroupRule, "the administrator");
    assert_eq!(table.answer(6000, 22), Reason::Established);

    table.kernel.wait(200).unwrap();
    assert_eq!(table.ask(5000, 9000), Reason::GroupRule, "all others have expired, and nobody swept them");
    assert_eq!(table.answer(5000, 9000), Reason::Established);
}

struct Table {
    kernel: Kernel,
    zone: u32,
}

impl Table {
    fn new() -> Result<Self> {
        let (kernel, compiled) = kernel_with(RULES.as_bytes())?;
        Ok(Self { kernel, zone: compiled.zones[0].0 })
    }

    /// A datagram of a client to a port here.
    fn ask(&mut self, client: u16, port: u16) -> Reason {
        let frame = packet::udp((address(client), 4000), ("10.99.0.2", port)).build();
        self.judge(&frame, Hook::Received)
    }

    /// The answer.
    fn answer(&mut self, client: u16, port: u16) -> Reason {
        let frame = packet::udp(("10.99.0.2", port), (address(client), 4000)).build();
        self.judge(&frame, Hook::Sent)
    }

    fn judge(&mut self, frame: &[u8], hook: Hook) -> Reason {
        let seen = self.kernel.judge(frame, hook, Received::Xdp, self.zone).unwrap();
        assert_eq!(seen.verdict == Verdict::Pass, seen.reason.verdict() == Verdict::Pass);
        seen.reason
    }
}

fn address(client: u16) -> std::net::Ipv4Addr {
    let [high, low] = client.to_be_bytes();
    [10, 1, high, low].into()
}

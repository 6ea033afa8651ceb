//! A full connection table, in the bytecode: refused are new flows, at their first packet; everything else goes on.

use anyhow::Result;
use fw_common::{Hook, Reason, Verdict};
use fw_tests::kernel::{Kernel, Received};
use fw_tests::packet::{self, flag};
use fw_tests::workload::kernel_with;

/// The table of the object as it is built, and what it keeps for `reserved` rules.
const MAX: u16 = 1024;
const RESERVED: u16 = 64;

const RULES: &str = r#"{
  "version": 1,
  "security_groups": { "g": { "egress": [], "ingress": [
    { "id": "app", "protocol": "tcp", "from_port": 9000, "to_port": 9000, "cidr_blocks": ["10.0.0.0/8"] },
    { "id": "admin", "protocol": "tcp", "from_port": 22, "to_port": 22, "cidr_blocks": ["10.0.0.0/8"], "reserved": true }
  ] } },
  "interfaces": { "nic": { "device": "nic0", "security_groups": ["g"] } }
}"#;

#[test]
fn a_full_table_refuses_new_flows_keeps_the_reserved_slice_and_recovers() {
    let mut table = Table::new().unwrap();
    for client in 0..MAX - RESERVED {
        assert_eq!(
            table.connect(client, 9000),
            [Reason::GroupRule, Reason::Established, Reason::Established]
        );
    }
    assert_eq!(table.ask(5000, 9000), Reason::AllowanceExceeded, "one too many");
    assert_eq!(table.ask(5000, 9000), Reason::AllowanceExceeded, "nor the second time");
    assert_eq!(table.done(17, 9000), Reason::Established, "a connection that was there before");

    let administrator = table.connect(6000, 22);
    assert_eq!(administrator, [Reason::GroupRule, Reason::Established, Reason::Established]);

    table.kernel.wait(432_100).unwrap();
    let again = table.connect(5000, 9000);
    assert_eq!(again[2], Reason::Established, "all others have expired, and nobody swept them");
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

    /// A handshake: what becomes of its three segments.
    fn connect(&mut self, client: u16, port: u16) -> [Reason; 3] {
        [self.ask(client, port), self.answer(client, port), self.done(client, port)]
    }

    /// The first segment of a client to a port here.
    fn ask(&mut self, client: u16, port: u16) -> Reason {
        let syn = packet::tcp((address(client), 4000), ("10.99.0.2", port)).flags(flag::SYN).seq(100);
        self.judge(&syn.build(), Hook::Received)
    }

    /// The answer.
    fn answer(&mut self, client: u16, port: u16) -> Reason {
        let flags = flag::SYN | flag::ACK;
        let answer = packet::tcp(("10.99.0.2", port), (address(client), 4000)).flags(flags).seq(500).ack(101);
        self.judge(&answer.build(), Hook::Sent)
    }

    /// The last segment, or any later one.
    fn done(&mut self, client: u16, port: u16) -> Reason {
        let ack = packet::tcp((address(client), 4000), ("10.99.0.2", port)).flags(flag::ACK);
        self.judge(&ack.seq(101).ack(501).build(), Hook::Received)
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

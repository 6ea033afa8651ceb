//! A CPU that begins more flows than it can serve: what is beyond is refused and counted, and nothing else notices.

use fw_common::memory::{MemoryTables, SliceFrame};
use fw_common::openings::MOST_AT_ONCE;
use fw_common::{Hook, Reason, Scratch, Sighting, judge};
use fw_tests::packet;
use fw_userspace::compile::{self, Numbering};
use fw_userspace::document;

const RULES: &str = r#"{
  "version": 1,
  "security_groups": { "g": {
    "ingress": [
      { "id": "app", "protocol": "tcp", "from_port": 443, "to_port": 443, "cidr_blocks": ["10.0.0.0/8"] },
      { "id": "admin", "protocol": "tcp", "from_port": 22, "to_port": 22, "cidr_blocks": ["10.0.0.0/8"], "reserved": true },
      { "id": "open", "protocol": "udp", "from_port": 53, "to_port": 53, "cidr_blocks": ["0.0.0.0/0", "::/0"] }
    ],
    "egress": [{ "id": "out", "protocol": "all", "cidr_blocks": ["0.0.0.0/0", "::/0"] }]
  } },
  "interfaces": { "nic": { "device": "nic0", "security_groups": ["g"] } }
}"#;

const TICK_NS: u64 = 1 << 24;

struct Cpu {
    tables: MemoryTables,
    scratch: Scratch,
    ifindex: u32,
}

impl Cpu {
    fn new() -> Self {
        let policy = document::read(RULES.as_bytes()).policy.expect("the rules are right");
        let bindings = compile::pretend_bindings(&policy);
        let compiled = compile::compile(&policy, &bindings, Numbering::default(), 1).unwrap();
        let mut tables = MemoryTables::new(policy.settings.conntrack_max as usize);
        tables.publish(&compiled.patch.image());
        tables.now_ns.set(1_000 * TICK_NS);
        Self { tables, scratch: Scratch::EMPTY, ifindex: bindings[0].ifindex }
    }

    fn received(&mut self, text: &str) -> Reason {
        self.judge(text, Hook::Received)
    }

    fn judge(&mut self, text: &str, hook: Hook) -> Reason {
        let frame = packet::parse(text).unwrap();
        let seen = Sighting { ifindex: self.ifindex, hook, vlan_tags: 0 };
        judge(&SliceFrame::new(&frame), &self.tables, seen, &mut self.scratch).reason
    }

    /// So many SYNs to a port that a rule with tracking allows, none the same; how many opened a flow.
    fn flood(&mut self, first: u32, count: u32) -> u32 {
        let mut opened = 0;
        for number in first..first + count {
            let [_, a, b, c] = number.to_be_bytes();
            match self.received(&format!("tcp 10.{a}.{b}.{c}:4000 > 10.99.0.2:443 syn")) {
                Reason::GroupRule => opened += 1,
                reason => assert_eq!(reason, Reason::OpeningsExceeded),
            }
        }
        opened
    }
}

#[test]
fn what_one_cpu_begins_beyond_its_allowance_is_refused_and_nothing_else() {
    let mut cpu = Cpu::new();
    assert_eq!(cpu.received("tcp 10.200.0.1:4000 > 10.99.0.2:443 syn seq=100"), Reason::GroupRule);
    let answer = "tcp 10.99.0.2:443 > 10.200.0.1:4000 syn+ack seq=500 ack=101";
    assert_eq!(cpu.judge(answer, Hook::Sent), Reason::Established);

    assert_eq!(cpu.flood(0, MOST_AT_ONCE + 1000), MOST_AT_ONCE - 1);
    let done = "tcp 10.200.0.1:4000 > 10.99.0.2:443 ack seq=101 ack=501";
    assert_eq!(cpu.received(done), Reason::Established, "what was begun before goes on");
    assert_eq!(
        cpu.received("tcp 10.200.0.2:4000 > 10.99.0.2:22 syn"),
        Reason::GroupRule,
        "the administrator"
    );
    assert_eq!(cpu.received("udp 10.200.0.3:4000 > 10.99.0.2:53"), Reason::GroupRule, "untracked");
    assert_eq!(cpu.received("udp 10.200.0.3:4000 > 10.99.0.2:54"), Reason::NoGroupRule);

    cpu.tables.now_ns.set(1_001 * TICK_NS);
    assert_eq!(cpu.flood(MOST_AT_ONCE + 1000, MOST_AT_ONCE / 8), MOST_AT_ONCE / 16, "a tick later");
}

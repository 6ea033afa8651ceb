//! A client on a wire with a server that filters its own `eth0`, as `fwctl load` leaves it. What fails here fails the test.

use anyhow::Result;
use fw_common::conntrack::Class;
use fw_common::flow_log::RECORDING;
use fw_common::layout::head;
use fw_common::{Address, FlowKey, store};
use fw_userspace::datapath::{ConnectionTable, PolicyArray, Store};
use serde_json::{Value, json};

use crate::fwctl::Fwctl;
use crate::netns::{BpffsDir, Rig};
use crate::soundness;
use crate::traffic::LiveTcp;

/// Both hosts, and where the server's state is pinned.
#[derive(Debug)]
pub struct Filtered {
    /// The hosts.
    pub rig: Rig,
    /// The state.
    pub bpffs: BpffsDir,
}

impl Filtered {
    /// By these rules.
    pub fn new(rules: &Value) -> Self {
        let rig = Rig::direct().expect("two hosts on a wire");
        let filtered = Self { rig, bpffs: BpffsDir::new().expect("a directory for pins") };
        filtered.fwctl().load(rules).expect("the rules are in force");
        filtered
    }

    /// The server's.
    pub fn fwctl(&self) -> Fwctl<'_> {
        Fwctl::new(&self.rig.server.namespace, &self.bpffs).expect("fwctl is built")
    }

    /// A connection of the client to a port of the server.
    pub fn open(&self, port: u16) -> Result<LiveTcp> {
        let Rig { client, server, .. } = &self.rig;
        LiveTcp::open(client, (client.v4, 0), server, (server.v4, port))
    }

    /// The connections of what is loaded.
    pub fn table(&self) -> ConnectionTable {
        soundness::table(self.bpffs.path()).expect("rules are loaded")
    }

    /// Whether the programs add up flows for a flow log.
    pub fn is_recording(&self) -> bool {
        let store = Store::open(self.bpffs.path()).expect("the state can be read").expect("rules are loaded");
        let policy = PolicyArray::open(&store.maps().join("POLICY")).expect("the policy can be read");
        let word = policy.line(0).map(|line| line.word(head::EVENTS));
        word.expect("the policy has a head") & RECORDING != 0
    }

    /// So many others like a confirmed one to port 80 that is there, from 11.0.0.0 on.
    pub fn fill(&self, connections: u32) {
        let table = self.table();
        let is_web = |(key, _, class): &(FlowKey, _, Class)| class.is_kept() && key.local_port == 80;
        let (like, connection, _) = table.iter().find(is_web).expect("one to be like");
        for number in 0..connections {
            let remote = Address::from_ipv4((0x0b00_0000 + number).to_be_bytes());
            let inserted =
                store::Store(&table).insert(&FlowKey { remote, ..like }, &connection, Class::Assured);
            inserted.expect("the table has room");
        }
    }
}

/// Rules that let anybody open connections to port 80. Nothing but its entry keeps one: none is taken over by its
/// segments.
#[must_use]
pub fn web_rules(conntrack_max: u32) -> Value {
    json!({
        "version": 1,
        "security_groups": { "sg": { "egress": [], "ingress": [
            { "id": "web", "protocol": "tcp", "from_port": 80, "to_port": 80, "cidr_blocks": ["0.0.0.0/0"] }
        ] } },
        "interfaces": { "server": { "device": "eth0", "security_groups": ["sg"] } },
        "settings": { "adopt_seconds": 0, "conntrack_max": conntrack_max }
    })
}

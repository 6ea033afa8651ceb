//! The first load on a live host: what its kernel knows of flows that are older than the rules goes on at once, if the rules
//! allow it. Needs root.

mod forwarded;
mod instance;
mod limits;
mod openers;
mod own;
mod udp;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use fw_tests::fwctl::Fwctl;
use fw_tests::netns::{BpffsDir, Host, Rig};
use fw_tests::traffic::{LiveTcp, timeout};
use serde_json::{Value, json};

/// The server filters its own NIC, and nothing is adopted but what the kernel knows.
struct Live {
    rig: Rig,
    bpffs: BpffsDir,
}

const CLIENTS: [&str; 3] = ["10.77.1.0/24", "fd77:1::/64", "fe80::/10"];

impl Live {
    fn new() -> Self {
        Self::on(Rig::direct().unwrap())
    }

    fn on(rig: Rig) -> Self {
        Self { rig, bpffs: BpffsDir::new().unwrap() }
    }

    fn fwctl(&self) -> Fwctl<'_> {
        Fwctl::new(&self.rig.server.namespace, &self.bpffs).unwrap()
    }

    /// A connection to this port of the server.
    fn inbound(&self, port: u16) -> LiveTcp {
        let Rig { client, server, .. } = &self.rig;
        LiveTcp::open(client, (client.v4, 0), server, (server.v4, port)).unwrap()
    }

    fn listed(&self) -> Vec<Value> {
        self.fwctl().connections(&[]).unwrap()
    }

    fn used(&self) -> u64 {
        self.fwctl().run(["conntrack", "count", "--json"]).unwrap().success().unwrap()["confirmed"]
            .as_u64()
            .unwrap()
    }
}

fn rule(id: &str, port: u16) -> Value {
    json!({ "id": id, "protocol": "tcp", "from_port": port, "to_port": port, "cidr_blocks": CLIENTS })
}

fn rules(ingress: &[Value], egress: &[Value]) -> Value {
    json!({
        "version": 1,
        "security_groups": { "sg": { "ingress": ingress, "egress": egress } },
        "interfaces": { "server": { "device": "eth0", "security_groups": ["sg"] } },
        "settings": { "adopt_seconds": 0 }
    })
}

fn notes(report: &Value) -> String {
    report["notes"].to_string()
}

/// A connection whose listener stays.
struct Served {
    client: TcpStream,
    server: TcpStream,
    _listener: TcpListener,
}

impl Served {
    fn open(client: &Host, server: &Host, at: SocketAddr, to: SocketAddr) -> Self {
        let listener = server.run(|| TcpListener::bind(at)).unwrap();
        let stream = client.run(|| TcpStream::connect_timeout(&to, timeout())).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        for end in [&stream, &accepted] {
            end.set_read_timeout(Some(timeout())).unwrap();
            end.set_nodelay(true).unwrap();
        }
        Self { client: stream, server: accepted, _listener: listener }
    }

    fn exchange(&mut self) -> bool {
        self.exchange_from_server() && carries(&mut self.client, &mut self.server)
    }

    fn exchange_from_server(&mut self) -> bool {
        carries(&mut self.server, &mut self.client)
    }
}

fn carries(from: &mut TcpStream, to: &mut TcpStream) -> bool {
    let mut read = [0; 4];
    from.write_all(b"word").is_ok() && to.read_exact(&mut read).is_ok() && read == *b"word"
}

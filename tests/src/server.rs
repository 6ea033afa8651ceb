//! A server that filters its own NIC and serves TCP 80 and 81. What fails here fails the test.

use crate::fwctl::{Fwctl, Output};
use crate::netns::{BpffsDir, Rig};
use crate::traffic::Outcome::{self, Blocked, Reached};
use crate::traffic::{Echo, tcp_connect};

/// Of TCP 80 and 81.
pub const PASSES: [Outcome; 2] = [Reached, Reached];
/// Of TCP 80 and 81.
pub const ONLY_80: [Outcome; 2] = [Reached, Blocked];
/// Of TCP 80 and 81.
pub const ONLY_81: [Outcome; 2] = [Blocked, Reached];

/// The server, a client on its wire, and where its state is pinned.
#[derive(Debug)]
pub struct Server {
    /// Both hosts.
    pub rig: Rig,
    /// The state.
    pub bpffs: BpffsDir,
    _services: [Echo; 2],
}

impl Server {
    /// Nothing is loaded yet.
    #[expect(clippy::new_without_default, reason = "it makes namespaces")]
    pub fn new() -> Self {
        let rig = Rig::direct().expect("two hosts on a wire");
        let serve = |port: u16| Echo::tcp(&rig.server, ("0.0.0.0", port)).expect("the port is free");
        let services = [80, 81].map(serve);
        Self { rig, bpffs: BpffsDir::new().expect("a directory for pins"), _services: services }
    }

    /// The server's.
    pub fn fwctl(&self) -> Fwctl<'_> {
        Fwctl::new(&self.rig.server, &self.bpffs).expect("fwctl is built")
    }

    /// What becomes of TCP 80 and TCP 81.
    pub fn tcp(&self) -> [Outcome; 2] {
        self.tcp_to(&self.rig.server.v4.to_string())
    }

    /// The same at another address of the server.
    pub fn tcp_to(&self, address: &str) -> [Outcome; 2] {
        let connect = |port: u16| tcp_connect(&self.rig.client, ("0.0.0.0", 0), (address, port));
        [80, 81].map(|port| connect(port).expect("the client can try"))
    }

    /// A command that has to succeed.
    pub fn do_it(&self, arguments: &[&str]) -> Output {
        let output = self.fwctl().run(arguments).expect("fwctl runs");
        assert_eq!(output.code(), 0, "{arguments:?}: {}", output.said());
        output
    }
}

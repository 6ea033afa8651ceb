//! The two topologies that most tests need: two hosts on one wire, and two hosts with a router between them.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::ops::Deref;

use anyhow::Result;

use super::{Namespace, join};

/// Two hosts that reach each other in both families over their `eth0`.
///
/// On one wire: `client` 10.77.1.2 and fd77:1::2, `server` 10.77.1.3 and fd77:1::3. Routed: the server is
/// 10.77.2.2 and fd77:2::2, and `router` has `client0` (10.77.1.1) and `server0` (10.77.2.1).
#[derive(Debug)]
pub struct Rig {
    /// The host that asks.
    pub client: Host,
    /// The host that answers.
    pub server: Host,
    /// Between them, if they are routed.
    pub router: Option<Namespace>,
}

/// A namespace and the addresses of its `eth0`.
#[derive(Debug)]
pub struct Host {
    /// The namespace; the host derefs to it.
    pub namespace: Namespace,
    /// Its IPv4 address.
    pub v4: Ipv4Addr,
    /// Its IPv6 address.
    pub v6: Ipv6Addr,
}

impl Deref for Host {
    type Target = Namespace;

    fn deref(&self) -> &Namespace {
        &self.namespace
    }
}

impl Rig {
    /// Client and server on one wire.
    pub fn direct() -> Result<Self> {
        let (client, server) = (Namespace::new("client")?, Namespace::new("server")?);
        join(&client, "eth0", &server, "eth0")?;
        Ok(Self { client: host(client, 1, 2)?, server: host(server, 1, 3)?, router: None })
    }

    /// Client, router and server.
    pub fn routed() -> Result<Self> {
        let (client, server) = (Namespace::new("client")?, Namespace::new("server")?);
        let router = Namespace::new("router")?;
        router.forward()?;
        join(&client, "eth0", &router, "client0")?;
        join(&server, "eth0", &router, "server0")?;
        for (net, leg) in [(1, "client0"), (2, "server0")] {
            router.address(leg, &format!("10.77.{net}.1/24"))?;
            router.address(leg, &format!("fd77:{net}::1/64"))?;
        }
        let (client, server) = (host(client, 1, 2)?, host(server, 2, 2)?);
        for (net, end) in [(1, &client), (2, &server)] {
            end.route("default", &format!("10.77.{net}.1"))?;
            end.route("default", &format!("fd77:{net}::1"))?;
        }
        Ok(Self { client, server, router: Some(router) })
    }
}

fn host(namespace: Namespace, net: u8, number: u8) -> Result<Host> {
    let v4 = Ipv4Addr::new(10, 77, net, number);
    let v6 = Ipv6Addr::new(0xfd77, net.into(), 0, 0, 0, 0, 0, number.into());
    namespace.address("eth0", &format!("{v4}/24"))?;
    namespace.address("eth0", &format!("{v6}/64"))?;
    Ok(Host { namespace, v4, v6 })
}

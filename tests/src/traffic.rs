//! Real traffic between namespaces: TCP, UDP and ping by sockets, anything else by raw frames.
//!
//! Probes tell what a user would notice, not what a rule decided. An error is a fault of the rig (an address
//! that is not there, no route), never the answer of a filter.

mod echo;
mod live;
mod ping;
mod raw;
#[cfg(test)]
mod tests;
mod torrent;

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::OnceLock;
use std::time::Duration;

use anyhow::{Context, Result};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use crate::netns::Namespace;
use crate::packet::Peer;

pub use echo::Echo;
pub use live::{LiveTcp, talk};
pub use ping::{ping, ping_from};
pub use raw::{Capture, Captured, Sender, capture, listen, send_frame, sender};
pub use torrent::{Torrent, send_all};

/// What became of a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It got there and the answer came back.
    Reached,
    /// Somebody said no: a reset, or an ICMP error.
    Refused,
    /// Nothing came back in time.
    Blocked,
}

/// How long silence lasts until it means "blocked": 600 ms, or `FWCTL_TEST_TIMEOUT_MS` on a slow machine.
///
/// It is below the first retransmission of a SYN (1 s), so a probe is one packet each way.
#[must_use]
pub fn timeout() -> Duration {
    static TIMEOUT: OnceLock<Duration> = OnceLock::new();
    *TIMEOUT.get_or_init(|| {
        let set = std::env::var("FWCTL_TEST_TIMEOUT_MS").ok().and_then(|ms| ms.parse().ok());
        Duration::from_millis(set.unwrap_or(600))
    })
}

/// Connects from an address and port (port 0: any; address 0.0.0.0 or ::: any) and hangs up with a reset, so
/// that the same ports can be used again at once.
pub fn tcp_connect(namespace: &Namespace, from: impl Peer, to: impl Peer) -> Result<Outcome> {
    let (from, to) = (from.peer(), to.peer());
    let socket = bound(namespace, Type::STREAM, Protocol::TCP, from)?;
    let outcome = outcome(socket.connect_timeout(&to.into(), timeout()));
    let _ = socket.set_linger(Some(Duration::ZERO));
    outcome.with_context(|| format!("cannot connect from {from} to {to}"))
}

/// Sends one datagram to an [`Echo`] and waits for it to come back.
pub fn udp_ask(namespace: &Namespace, from: impl Peer, to: impl Peer) -> Result<Outcome> {
    udp_ask_within(namespace, from, to, timeout())
}

/// The same with patience of one's own: where an answer is certain and the machine may be busy.
pub fn udp_ask_within(
    namespace: &Namespace,
    from: impl Peer,
    to: impl Peer,
    patience: Duration,
) -> Result<Outcome> {
    let (from, to) = (from.peer(), to.peer());
    let socket = bound(namespace, Type::DGRAM, Protocol::UDP, from)?;
    socket.set_read_timeout(Some(patience))?;
    let asked = || {
        socket.connect(&to.into())?;
        socket.send(b"fwctl asks")?;
        let mut room = [std::mem::MaybeUninit::uninit(); 64];
        socket.recv(&mut room)
    };
    outcome(asked()).with_context(|| format!("cannot ask {to} from {from}"))
}

/// A socket of a namespace, bound to an address.
fn bound(namespace: &Namespace, kind: Type, protocol: Protocol, address: SocketAddr) -> Result<Socket> {
    let make = || {
        let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
        socket.set_reuse_address(true)?;
        socket.bind(&SockAddr::from(address))?;
        Ok::<_, io::Error>(socket)
    };
    namespace.run(make).with_context(|| format!("cannot bind to {address} in {}", namespace.name()))
}

/// Silence and refusals are answers; what remains is a fault of the rig.
fn outcome<T>(result: io::Result<T>) -> io::Result<Outcome> {
    let Err(error) = result else { return Ok(Outcome::Reached) };
    match error.kind() {
        ErrorKind::TimedOut | ErrorKind::WouldBlock => Ok(Outcome::Blocked),
        ErrorKind::ConnectionRefused | ErrorKind::ConnectionReset | ErrorKind::HostUnreachable => {
            Ok(Outcome::Refused)
        }
        // A program at TC that drops what a socket sends makes the send itself fail, with this error.
        _ if error.raw_os_error() == Some(libc::ENOBUFS) => Ok(Outcome::Blocked),
        // "Administratively prohibited", over IPv6.
        _ if error.raw_os_error() == Some(libc::EACCES) => Ok(Outcome::Refused),
        _ => Err(error),
    }
}

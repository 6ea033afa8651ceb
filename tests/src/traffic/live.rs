//! A TCP connection that stays open while the rules change under it.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use socket2::{Protocol, Type};

use super::{bound, timeout};
use crate::netns::Namespace;
use crate::packet::Peer;

/// An established connection, both ends in our hands.
#[derive(Debug)]
pub struct LiveTcp {
    client: TcpStream,
    server: TcpStream,
    sent: u64,
}

impl LiveTcp {
    /// Listens in one namespace, connects from another. An error if the connection does not come about.
    pub fn open(client: &Namespace, from: impl Peer, server: &Namespace, to: impl Peer) -> Result<Self> {
        let to = to.peer();
        let listening = bound(server, Type::STREAM, Protocol::TCP, to)?;
        listening.listen(1)?;
        let listener = TcpListener::from(listening);
        let to = listener.local_addr()?;
        let socket = bound(client, Type::STREAM, Protocol::TCP, from.peer())?;
        let connected = socket.connect_timeout(&to.into(), timeout());
        connected.with_context(|| format!("no connection to {to}"))?;
        let (accepted, _) = accept(&listener)?;
        let live = Self { client: socket.into(), server: accepted, sent: 0 };
        for end in [&live.client, &live.server] {
            end.set_nodelay(true)?;
            end.set_nonblocking(false)?;
        }
        Ok(live)
    }

    /// The client's address and port.
    pub fn client_address(&self) -> Result<SocketAddr> {
        Ok(self.client.local_addr()?)
    }

    /// The client says something new and the server answers: whether both arrived in time.
    ///
    /// After an exchange that failed the kernel repeats what is outstanding, ever more slowly; when the way
    /// is free again, the next exchange may have to wait for that: see [`Self::exchange_within`].
    pub fn exchange(&mut self) -> bool {
        self.exchange_within(timeout())
    }

    /// The same with patience of one's own.
    pub fn exchange_within(&mut self, patience: Duration) -> bool {
        let token = self.token();
        send(&mut self.client, &mut self.server, token, patience)
            && send(&mut self.server, &mut self.client, token, patience)
    }

    /// The server speaks first.
    pub fn exchange_from_server(&mut self) -> bool {
        let token = self.token();
        send(&mut self.server, &mut self.client, token, timeout())
            && send(&mut self.client, &mut self.server, token, timeout())
    }

    /// Hangs up in order: the client first.
    pub fn close(self) -> Result<()> {
        self.client.shutdown(Shutdown::Write)?;
        self.server.shutdown(Shutdown::Write)?;
        Ok(())
    }

    fn token(&mut self) -> u64 {
        self.sent += 1;
        self.sent
    }
}

/// Sends a token and reads until that very token comes: late ones of failed exchanges come before it.
fn send(from: &mut TcpStream, to: &mut TcpStream, token: u64, patience: Duration) -> bool {
    if from.write_all(&token.to_be_bytes()).is_err() {
        return false;
    }
    let end = Instant::now() + patience;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() || to.set_read_timeout(Some(left)).is_err() {
            return false;
        }
        // Eight bytes are one segment: they come whole or not at all.
        let mut read = [0; 8];
        match to.read_exact(&mut read) {
            Ok(()) if u64::from_be_bytes(read) == token => return true,
            Ok(()) => {}
            Err(_) => return false,
        }
    }
}

/// The last packet of the handshake may still be on its way when the client is connected.
fn accept(listener: &TcpListener) -> Result<(TcpStream, SocketAddr)> {
    listener.set_nonblocking(true)?;
    let end = Instant::now() + timeout();
    loop {
        match listener.accept() {
            Err(error) if error.kind() == ErrorKind::WouldBlock && Instant::now() < end => {
                std::thread::sleep(Duration::from_millis(1));
            }
            done => return done.context("the server did not see the end of the handshake"),
        }
    }
}

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
        Self::open_within(client, from, server, to, timeout())
    }

    /// The same with patience of one's own for each end.
    pub fn open_within(
        client: &Namespace,
        from: impl Peer,
        server: &Namespace,
        to: impl Peer,
        patience: Duration,
    ) -> Result<Self> {
        let to = to.peer();
        let listening = bound(server, Type::STREAM, Protocol::TCP, to)?;
        listening.listen(1)?;
        let listener = TcpListener::from(listening);
        let to = listener.local_addr()?;
        let socket = bound(client, Type::STREAM, Protocol::TCP, from.peer())?;
        let connected = socket.connect_timeout(&to.into(), patience);
        connected.with_context(|| format!("no connection to {to}"))?;
        let (accepted, _) = accept(&listener, patience)?;
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

    /// The server's address and port.
    pub fn server_address(&self) -> Result<SocketAddr> {
        Ok(self.client.peer_addr()?)
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

    /// The client has nothing more to say.
    pub fn client_ends(&self) -> Result<()> {
        Ok(self.client.shutdown(Shutdown::Write)?)
    }

    /// The server says something new: whether the client hears it in time.
    pub fn server_says(&mut self, patience: Duration) -> bool {
        let token = self.token();
        send(&mut self.server, &mut self.client, token, patience)
    }

    fn token(&mut self) -> u64 {
        self.sent += 1;
        self.sent
    }
}

/// On all of them at once, both ends say something new: of which both heard it in time.
#[must_use]
pub fn talk(all: &mut [LiveTcp], patience: Duration) -> Vec<bool> {
    for live in all.iter_mut() {
        let token = live.token().to_be_bytes();
        // Who cannot say it is not heard.
        let _ = live.client.write_all(&token).and_then(|()| live.server.write_all(&token));
    }
    let end = Instant::now() + patience;
    let mut heard = vec![[None; 2]; all.len()];
    loop {
        let is_over = Instant::now() >= end;
        for (live, heard) in all.iter_mut().zip(&mut heard) {
            for (end, heard) in [&mut live.client, &mut live.server].into_iter().zip(heard) {
                *heard = heard.or_else(|| hears(end, live.sent));
            }
        }
        if is_over || heard.iter().flatten().all(Option::is_some) {
            return heard.into_iter().map(|heard| heard == [Some(true); 2]).collect();
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Reads what is there: whether the token is among it, or the end of all; `None` if it may yet come.
fn hears(end: &mut TcpStream, token: u64) -> Option<bool> {
    end.set_nonblocking(true).ok()?;
    let heard = loop {
        let mut read = [0; 8];
        match end.read(&mut read) {
            Ok(0) => break Some(false),
            Ok(_) if u64::from_be_bytes(read) == token => break Some(true),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => break None,
            Err(_) => break Some(false),
        }
    };
    end.set_nonblocking(false).ok()?;
    heard
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
fn accept(listener: &TcpListener, patience: Duration) -> Result<(TcpStream, SocketAddr)> {
    listener.set_nonblocking(true)?;
    let end = Instant::now() + patience;
    loop {
        match listener.accept() {
            Err(error) if error.kind() == ErrorKind::WouldBlock && Instant::now() < end => {
                std::thread::sleep(Duration::from_millis(1));
            }
            done => return done.context("the server did not see the end of the handshake"),
        }
    }
}

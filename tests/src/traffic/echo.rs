//! Servers that send back what they get.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::Result;
use socket2::{Protocol, Type};

use super::bound;
use crate::netns::Namespace;
use crate::packet::Peer;

/// How often a server looks whether it shall stop.
const LOOK: Duration = Duration::from_millis(20);

/// A TCP or UDP echo server on threads of ours; it stops with the value.
#[derive(Debug)]
pub struct Echo {
    address: SocketAddr,
    state: Arc<State>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct State {
    stop: AtomicBool,
    served: AtomicU64,
}

impl Echo {
    /// Serves TCP on an address and port (0: any).
    pub fn tcp(namespace: &Namespace, at: impl Peer) -> Result<Self> {
        let socket = bound(namespace, Type::STREAM, Protocol::TCP, at.peer())?;
        socket.listen(64)?;
        let listener = TcpListener::from(socket);
        listener.set_nonblocking(true)?;
        Ok(Self::start(listener.local_addr()?, move |state| accept(&listener, state)))
    }

    /// Serves UDP on an address and port (0: any).
    pub fn udp(namespace: &Namespace, at: impl Peer) -> Result<Self> {
        let socket = UdpSocket::from(bound(namespace, Type::DGRAM, Protocol::UDP, at.peer())?);
        socket.set_read_timeout(Some(LOOK))?;
        Ok(Self::start(socket.local_addr()?, move |state| answer(&socket, state)))
    }

    fn start(address: SocketAddr, serve: impl FnOnce(&Arc<State>) + Send + 'static) -> Self {
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        Self { address, state, thread: Some(thread::spawn(move || serve(&shared))) }
    }

    /// Where it serves.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections were accepted, or datagrams received.
    #[must_use]
    pub fn served(&self) -> u64 {
        self.state.served.load(Ordering::Relaxed)
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.state.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn accept(listener: &TcpListener, state: &Arc<State>) {
    while !state.stop.load(Ordering::Relaxed) {
        match listener.accept() {
            Ok((stream, _)) => {
                state.served.fetch_add(1, Ordering::Relaxed);
                let state = Arc::clone(state);
                thread::spawn(move || echo(stream, &state));
            }
            Err(_) => thread::sleep(LOOK),
        }
    }
}

fn echo(mut stream: TcpStream, state: &State) {
    let mut room = [0; 4096];
    // An accepted socket does not inherit O_NONBLOCK on Linux (accept(2)).
    if stream.set_read_timeout(Some(LOOK)).is_err() {
        return;
    }
    while !state.stop.load(Ordering::Relaxed) {
        match stream.read(&mut room) {
            Ok(0) => return,
            Ok(len) if stream.write_all(&room[..len]).is_err() => return,
            Err(error) if !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => return,
            _ => {}
        }
    }
}

fn answer(socket: &UdpSocket, state: &Arc<State>) {
    let mut room = [0; 65_536];
    while !state.stop.load(Ordering::Relaxed) {
        if let Ok((len, from)) = socket.recv_from(&mut room) {
            state.served.fetch_add(1, Ordering::Relaxed);
            let _ = socket.send_to(&room[..len], from);
        }
    }
}

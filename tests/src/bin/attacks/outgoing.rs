//! Handshakes that the server begins over a path of a second: its sockets are real, who answers is played by hand.

use std::collections::HashMap;
use std::io::Read as _;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use fw_tests::packet::{self, flag};
use fw_tests::traffic::Torrent;
use socket2::{Domain, Protocol, Socket, Type};

use crate::target::{FAR, Target};

/// From a SYN to its answer. The server repeats its SYN after a second, which would begin anew what was lost.
pub(crate) const PATH: Duration = Duration::from_millis(950);
/// Where the far ones serve.
pub(crate) const FAR_PORT: u16 = 8443;
/// An answer is sent twice: what a full queue loses is not the filter's doing.
const AGAIN: Duration = Duration::from_millis(10);
const WORD: &[u8; 8] = b"far away";
/// Hosts of the network.
const HOSTS: usize = 250;

/// One of them.
pub(crate) struct Outgoing {
    socket: Option<TcpStream>,
    /// What the server's socket is bound to, and whom it connects to.
    pub(crate) local: SocketAddr,
    /// See there.
    pub(crate) remote: SocketAddr,
    /// When its SYN was heard, and its number.
    heard: Option<(Instant, u32)>,
    answers: u32,
    words: u32,
    is_done: bool,
}

/// Begins so many over some time, and sees them through to a word of the other side that the server's socket reads; how
/// many came to nothing. `meanwhile` is called once with each whose SYN was heard.
pub(crate) fn lost(
    target: &Target,
    count: usize,
    spread: Duration,
    mut meanwhile: impl FnMut(&Torrent, &Outgoing) -> Result<()>,
) -> Result<u64> {
    let (hears, far) = (target.hears_for(FAR[1])?, target.strangers()?);
    let (start, mut all, mut by_port) = (Instant::now(), Vec::new(), HashMap::new());
    while start.elapsed() < spread + 2 * PATH
        && all.iter().filter(|one: &&Outgoing| one.is_done).count() < count
    {
        while all.len() < count && start.elapsed() >= spread * all.len() as u32 / count as u32 {
            let one = Outgoing::begin(target, all.len())?;
            by_port.insert(one.local.port(), all.len());
            all.push(one);
        }
        for frame in hears.so_far()? {
            let Some((port, flags, seq)) = read(&frame) else { continue };
            let Some(one) = by_port.get(&port).and_then(|number: &usize| all.get_mut(*number)) else {
                continue;
            };
            if flags & (flag::SYN | flag::ACK | flag::RST) == flag::SYN && one.heard.is_none() {
                one.heard = Some((Instant::now(), seq));
                meanwhile(&far, one)?;
            }
        }
        for one in &mut all {
            one.go_on(&far)?;
        }
        thread::sleep(Duration::from_millis(1));
    }
    Ok((count - all.iter().filter(|one| one.is_done).count()) as u64)
}

impl Outgoing {
    fn begin(target: &Target, number: usize) -> Result<Self> {
        let [a, b, c] = FAR[1];
        let remote = SocketAddr::new(Ipv4Addr::new(a, b, c, 1 + (number % HOSTS) as u8).into(), FAR_PORT);
        let server = &target.rig.server;
        let begin = || {
            let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
            socket.bind(&SocketAddr::new(server.v4.into(), 0).into())?;
            socket.set_nonblocking(true)?;
            // It is under way, which is called an error.
            let _ = socket.connect(&remote.into());
            socket.set_linger(Some(Duration::ZERO))?;
            Ok::<TcpStream, std::io::Error>(socket.into())
        };
        let socket = server.run(begin).context("cannot begin to connect")?;
        let local = socket.local_addr()?;
        Ok(Self { socket: Some(socket), local, remote, heard: None, answers: 0, words: 0, is_done: false })
    }

    /// What is due by now.
    fn go_on(&mut self, far: &Torrent) -> Result<()> {
        let Some((when, seq)) = self.heard.filter(|_| !self.is_done) else { return Ok(()) };
        let ours = u32::from(self.local.port()) << 8;
        if self.answers < 2 && when.elapsed() >= PATH + self.answers * AGAIN {
            self.answers += 1;
            far.send(&[self.segment(flag::SYN | flag::ACK, ours, seq.wrapping_add(1), b"")])?;
        }
        let Some(socket) = self.socket.as_mut().filter(|socket| socket.peer_addr().is_ok()) else {
            return Ok(());
        };
        let mut room = [0; WORD.len()];
        if socket.read_exact(&mut room).is_ok() {
            self.is_done = room == *WORD;
            self.socket = None;
        } else if self.words < 3 && when.elapsed() >= PATH + (1 + self.words) * 2 * AGAIN {
            self.words += 1;
            far.send(&[self.segment(flag::PSH | flag::ACK, ours + 1, seq.wrapping_add(1), WORD)])?;
        }
        Ok(())
    }

    fn segment(&self, flags: u8, seq: u32, ack: u32, data: &[u8]) -> Vec<u8> {
        packet::tcp(self.remote, self.local).flags(flags).seq(seq).ack(ack).payload(data).build()
    }
}

/// The sender's port, the flags and the sequence number of a TCP segment over IPv4 without options.
fn read(frame: &[u8]) -> Option<(u16, u8, u32)> {
    let is_tcp = *frame.get(23)? == 6;
    let port = u16::from_be_bytes(frame.get(34..36)?.try_into().ok()?);
    let seq = u32::from_be_bytes(frame.get(38..42)?.try_into().ok()?);
    is_tcp.then_some((port, *frame.get(47)?, seq))
}

//! Handshakes of administrators, whom the `reserved` rule admits, over a path of a second: they are played by hand, the
//! server's socket is real.

use std::io::{ErrorKind, Read as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use fw_tests::packet::{self, flag};
use fw_tests::traffic::Torrent;
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use crate::target::{FAR, RESERVED_PORT, Target};

/// From the server's answer to the third segment.
const PATH: Duration = Duration::from_secs(1);
/// A SYN without an answer is sent again, as all hosts do; the third segment too: what a full queue loses is not the
/// filter's doing.
const SYN_AGAIN: Duration = Duration::from_millis(300);
const AGAIN: Duration = Duration::from_millis(10);
const WORD: &[u8; 9] = b"let me in";
/// The first of their ports, and their number in the network.
const PORT: u16 = 20_000;
const HOSTS: usize = 250;

/// One of them.
struct Administrator {
    from: SocketAddr,
    began: Instant,
    syns: u32,
    /// When the server's answer was heard, and its number.
    answered: Option<(Instant, u32)>,
    words: u32,
    is_done: bool,
}

/// Begins so many over some time, and sees them through to a word that the server's socket reads; how many came to nothing.
pub(crate) fn lost(target: &Target, count: usize, spread: Duration) -> Result<u64> {
    let (hears, far, listener) = (target.hears_for(FAR[0])?, target.strangers()?, listener(target)?);
    let (start, mut all, mut accepted) = (Instant::now(), Vec::<Administrator>::new(), Vec::new());
    while start.elapsed() < spread + 2 * PATH && all.iter().filter(|one| one.is_done).count() < count {
        while all.len() < count && start.elapsed() >= spread * all.len() as u32 / count as u32 {
            all.push(Administrator::new(all.len()));
        }
        for frame in hears.so_far()? {
            let Some((port, flags, seq)) = read(&frame) else { continue };
            let number = usize::from(port.wrapping_sub(PORT));
            let Some(one) = all.get_mut(number) else { continue };
            if flags & (flag::SYN | flag::ACK) == flag::SYN | flag::ACK && one.answered.is_none() {
                one.answered = Some((Instant::now(), seq));
            }
        }
        for one in &mut all {
            one.go_on(target, &far)?;
        }
        accept(&listener, &mut accepted)?;
        accepted.retain_mut(|stream| match heard(stream) {
            Some(number) => {
                all.get_mut(number).into_iter().for_each(|one| one.is_done = true);
                false
            }
            None => true,
        });
        thread::sleep(Duration::from_millis(1));
    }
    Ok((count - all.iter().filter(|one| one.is_done).count()) as u64)
}

impl Administrator {
    fn new(number: usize) -> Self {
        let [a, b, c] = FAR[0];
        let address = Ipv4Addr::new(a, b, c, 1 + (number % HOSTS) as u8);
        let from = SocketAddr::new(address.into(), PORT + number as u16);
        Self { from, began: Instant::now(), syns: 0, answered: None, words: 0, is_done: false }
    }

    /// What is due by now.
    fn go_on(&mut self, target: &Target, far: &Torrent) -> Result<()> {
        let seq = u32::from(self.from.port()) << 12;
        let segment = |flags, seq, ack, data: &[u8]| {
            let to = (target.rig.server.v4, RESERVED_PORT);
            packet::tcp(self.from, to).flags(flags).seq(seq).ack(ack).payload(data).build()
        };
        match self.answered {
            None if self.syns < 3 && self.began.elapsed() >= self.syns * SYN_AGAIN => {
                far.send(&[segment(flag::SYN, seq, 0, b"")])?;
                self.syns += 1;
            }
            Some((when, theirs))
                if !self.is_done && self.words < 2 && when.elapsed() >= PATH + self.words * AGAIN =>
            {
                far.send(&[segment(flag::PSH | flag::ACK, seq + 1, theirs.wrapping_add(1), WORD)])?;
                self.words += 1;
            }
            _ => {}
        }
        Ok(())
    }
}

fn listener(target: &Target) -> Result<TcpListener> {
    let server = &target.rig.server;
    let listen = || {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.bind(&SocketAddr::new(server.v4.into(), RESERVED_PORT).into())?;
        socket.listen(4096)?;
        socket.set_nonblocking(true)?;
        Ok::<TcpListener, std::io::Error>(socket.into())
    };
    server.run(listen).context("cannot listen")
}

fn accept(listener: &TcpListener, accepted: &mut Vec<TcpStream>) -> Result<()> {
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(true)?;
                // The other end will never answer a FIN.
                SockRef::from(&stream).set_linger(Some(Duration::ZERO))?;
                accepted.push(stream);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error).context("cannot accept"),
        }
    }
}

/// The number of the administrator whose word is there.
fn heard(stream: &mut TcpStream) -> Option<usize> {
    let mut room = [0; WORD.len()];
    stream.read_exact(&mut room).ok()?;
    let port = stream.peer_addr().ok()?.port();
    (room == *WORD).then(|| usize::from(port.wrapping_sub(PORT)))
}

/// The receiver's port, the flags and the sequence number of a TCP segment over IPv4 without options.
fn read(frame: &[u8]) -> Option<(u16, u8, u32)> {
    let is_tcp = *frame.get(23)? == 6;
    let port = u16::from_be_bytes(frame.get(36..38)?.try_into().ok()?);
    let seq = u32::from_be_bytes(frame.get(38..42)?.try_into().ok()?);
    is_tcp.then_some((port, *frame.get(47)?, seq))
}

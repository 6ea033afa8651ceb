//! Attacks on connections that begin, and on what would begin one.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use fw_tests::netns::Rig;
use fw_tests::packet::flag::{ACK, PSH, RST, SYN};
use socket2::SockRef;

use super::{Scene, Seen, none};
use crate::live::{Ends, PATIENCE};
use crate::outgoing;
use crate::sequences::{error, segment};
use crate::target::{ADMITTED, WEB_PORT};

/// Handshakes of the server.
const OUTGOING: usize = 40;
/// Senders that are nobody.
const STRANGERS: u32 = 500;
/// Connections that are closed.
const CLOSED: usize = 20;
const SPREAD: Duration = Duration::from_millis(500);
/// What the server has to answer.
const PAUSE: Duration = Duration::from_millis(20);
/// TCP Fast Open with a cookie of eight bytes that the server never gave, and two NOPs.
const COOKIE: [u8; 12] = [34, 10, 1, 2, 3, 4, 5, 6, 7, 8, 1, 1];

/// A SYN of whom the server calls would be half of another handshake; an ACK would be its end.
pub(super) fn simultaneous_open(scene: &mut Scene) -> Result<Seen> {
    let mut random = scene.random;
    let lost = outgoing::lost(&scene.target, OUTGOING, SPREAD, |strangers, one| {
        let ends = Ends { local: one.local, remote: one.remote };
        for _ in 0..8 {
            let (seq, ack) = (random.next() as u32, random.next() as u32);
            let next = seq.wrapping_add(1);
            let crossing = [
                segment(ends, SYN, seq, 0),
                segment(ends, ACK, next, ack),
                segment(ends, SYN | ACK, seq, ack),
                segment(ends, RST, next, 0),
            ];
            strangers.send(&crossing.map(|packet| packet.build()))?;
        }
        Ok(())
    })?;
    scene.any();
    Ok(none(lost, OUTGOING))
}

/// The right answer acknowledges a number that strangers do not know.
pub(super) fn blind_answers(scene: &mut Scene) -> Result<Seen> {
    let mut random = scene.random;
    let lost = outgoing::lost(&scene.target, OUTGOING, SPREAD, |strangers, one| {
        let ends = Ends { local: one.local, remote: one.remote };
        for number in 0..16_usize {
            let (seq, ack) = (random.next() as u32, (number as u32) << 28);
            let answers = [
                segment(ends, SYN | ACK, seq, ack),
                segment(ends, RST | ACK, 0, ack),
                segment(ends, RST, ack, 0),
                segment(ends, ACK, seq, ack),
                error(ends, number, ack),
            ];
            strangers.send(&answers.map(|packet| packet.build()))?;
        }
        Ok(())
    })?;
    scene.any();
    Ok(none(lost, OUTGOING))
}

/// The server takes the data of a SYN and answers before anybody has shown that he hears it.
pub(super) fn fast_open(scene: &mut Scene) -> Result<Seen> {
    let server = &scene.target.rig.server;
    // Clients, servers, no cookie, every listener; and no SYN cookies, which would forget the data.
    server.sysctl("ipv4/tcp_fastopen", "1539")?;
    server.sysctl("ipv4/tcp_syncookies", "1")?;
    let listener = listen(scene)?;
    let mut acks = Vec::new();
    for number in 0..STRANGERS {
        let address = Ipv4Addr::from(ADMITTED + 0x1_0000 + number);
        let remote = SocketAddr::new(address.into(), 4000);
        let ends = Ends { local: (scene.target.rig.server.v4, WEB_PORT).into(), remote };
        let (seq, ack) = (scene.any(), scene.any());
        let syn = segment(ends, SYN, seq, 0).tcp_options(&COOKIE).payload(&[b'x'; 1200]);
        scene.strangers.send(&[syn.build()])?;
        let next = seq.wrapping_add(1201);
        acks.push(segment(ends, ACK, next, ack).build());
        acks.push(segment(ends, PSH | ACK, next, ack.wrapping_add(1 << 31)).payload(b"more").build());
    }
    thread::sleep(PAUSE);
    scene.strangers.send(&acks)?;
    let [kept, _] = scene.target.count("198.19.", "198.19.0.0/16")?;
    drop(listener);
    let server = &scene.target.rig.server;
    server.sysctl("ipv4/tcp_fastopen", "1")?;
    server.sysctl("ipv4/tcp_syncookies", "2")?;
    Ok(none(kept, STRANGERS as usize))
}

/// After the close a SYN begins a new connection at the filter; strangers send one, and what would complete it.
pub(super) fn begun_again(scene: &mut Scene) -> Result<Seen> {
    let listener = listen(scene)?;
    let mut closed = Vec::new();
    for _ in 0..CLOSED {
        let (client, server) = connect(scene, &listener)?;
        closed.push(Ends { local: server.local_addr()?, remote: client.local_addr()? });
        drop(client);
        thread::sleep(Duration::from_millis(2));
        drop(server);
    }
    thread::sleep(PAUSE);
    for ends in &closed {
        for _ in 0..4 {
            let (seq, ack) = (scene.any(), scene.any());
            let next = seq.wrapping_add(1);
            scene.strangers.send(&[segment(*ends, SYN, seq, 0).build()])?;
            thread::sleep(Duration::from_millis(2));
            let rest =
                [segment(*ends, ACK, next, ack), segment(*ends, PSH | ACK, next, ack).payload(b"again")];
            scene.strangers.send(&rest.map(|packet| packet.build()))?;
        }
    }
    let entries = scene.target.entries()?;
    let is_kept = |ends: &&Ends| {
        let mut those =
            entries.iter().filter(|entry| entry.local == ends.local && entry.remote == ends.remote);
        // What is left of the connection itself is closed, or waits for its end.
        those.any(|entry| entry.is_kept && entry.state == crate::entries::ESTABLISHED)
    };
    Ok(none(closed.iter().filter(is_kept).count() as u64, CLOSED))
}

fn listen(scene: &Scene) -> Result<TcpListener> {
    let server = &scene.target.rig.server;
    let listener = server.run(|| TcpListener::bind((server.v4, WEB_PORT))).context("cannot listen")?;
    SockRef::from(&listener).set_read_timeout(Some(PATIENCE))?;
    Ok(listener)
}

/// Both ends of a new connection.
fn connect(scene: &Scene, listener: &TcpListener) -> Result<(TcpStream, TcpStream)> {
    let (Rig { client, .. }, to) = (&scene.target.rig, listener.local_addr()?);
    let ours = client.run(|| TcpStream::connect_timeout(&to, PATIENCE)).context("no connection")?;
    loop {
        let (theirs, from) = listener.accept().context("nobody comes")?;
        if from == ours.local_addr()? {
            return Ok((ours, theirs));
        }
    }
}

//! Ping over the kernel's own echo sockets, so that no program has to be installed.

use std::mem::MaybeUninit;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::time::Instant;
use std::{io, ptr};

use anyhow::{Context, Result};
use socket2::{Protocol, Socket, Type};

use super::{Outcome, bound, outcome, timeout};
use crate::netns::Namespace;
use crate::packet::Host;

/// One echo request, and whether its reply comes.
pub fn ping(namespace: &Namespace, to: impl Host) -> Result<Outcome> {
    let to = to.host();
    let any: IpAddr = if to.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    ping_from(namespace, any, to)
}

/// The same from a certain address.
pub fn ping_from(namespace: &Namespace, from: impl Host, to: impl Host) -> Result<Outcome> {
    let (from, to) = (from.host(), to.host());
    let protocol = if to.is_ipv4() { Protocol::ICMPV4 } else { Protocol::ICMPV6 };
    let socket = bound(namespace, Type::DGRAM, protocol, SocketAddr::new(from, 0))?;
    report_errors(&socket, to).context("cannot ask for ICMP errors")?;
    let asked = || {
        socket.connect(&SocketAddr::new(to, 0).into())?;
        // Type, code, checksum, identifier, sequence; the kernel fills in checksum and identifier.
        let kind = if to.is_ipv4() { 8 } else { 128 };
        socket.send(&[kind, 0, 0, 0, 0, 0, 0, 1, b'f', b'w', b'c', b't', b'l'])?;
        reply(&socket, if to.is_ipv4() { 0 } else { 129 })
    };
    outcome(asked()).with_context(|| format!("cannot ping {to} from {from}"))
}

/// The kernel gives an echo socket only the replies that have its identifier.
fn reply(socket: &Socket, kind: u8) -> io::Result<()> {
    let end = Instant::now() + timeout();
    loop {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        socket.set_read_timeout(Some(left))?;
        let mut first = [0];
        // SAFETY: `MaybeUninit<u8>` has the layout of `u8`, and the receiver only ever writes bytes into it.
        let room = unsafe { &mut *ptr::from_mut(&mut first).cast::<[MaybeUninit<u8>; 1]>() };
        if socket.recv(room)? == 1 && first[0] == kind {
            return Ok(());
        }
    }
}

/// Without it only a few ICMP errors reach a socket.
fn report_errors(socket: &Socket, to: IpAddr) -> io::Result<()> {
    let (level, option) = match to {
        IpAddr::V4(_) => (libc::SOL_IP, libc::IP_RECVERR),
        IpAddr::V6(_) => (libc::SOL_IPV6, libc::IPV6_RECVERR),
    };
    let on: libc::c_int = 1;
    let size = size_of_val(&on) as libc::socklen_t;
    // SAFETY: points to an int of the size given, which outlives the call.
    match unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, (&raw const on).cast(), size) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

//! Frames as they are: sent byte for byte, and seen on a device.

use std::io;
use std::mem::{self, MaybeUninit};
use std::os::fd::AsRawFd;
use std::ptr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use socket2::{Domain, SockFilter, Socket, Type};

use super::timeout;
use crate::netns::Namespace;

/// What the kernel is asked for: every ethertype, or (to send only) none.
const ALL: u16 = libc::ETH_P_ALL as u16;
pub(super) const NONE: u16 = 0;

/// Sends a frame out of a device: its peer receives it. A drop by a program at TC on that device is no error.
pub fn send_frame(namespace: &Namespace, device: &str, frame: &[u8]) -> Result<()> {
    sender(namespace, device)?.send(frame)
}

/// The way to send many frames out of a device.
pub fn sender(namespace: &Namespace, device: &str) -> Result<Sender> {
    Ok(Sender { socket: open(namespace, device, NONE)? })
}

/// See [`sender`].
#[derive(Debug)]
pub struct Sender {
    socket: Socket,
}

impl Sender {
    /// As [`send_frame`].
    pub fn send(&self, frame: &[u8]) -> Result<()> {
        match self.socket.send(frame) {
            Ok(len) => {
                ensure!(len == frame.len(), "{len} of {} bytes were sent", frame.len());
                Ok(())
            }
            Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => Ok(()),
            Err(error) => Err(error).with_context(|| format!("cannot send {} bytes", frame.len())),
        }
    }
}

/// Begins to record what crosses a device.
///
/// Where it looks matters: what arrives is seen after XDP but before TC, what leaves after TC. To prove that
/// a program at TC let something in, look further inside, at a socket or the next device.
pub fn capture(namespace: &Namespace, device: &str) -> Result<Capture> {
    Ok(Capture { socket: open(namespace, device, ALL)? })
}

/// Begins to record what a device receives with this protocol, as the kernel reads it off the frame: the ethertype
/// behind the first VLAN tag. It looks behind TC, where the kernel hands a frame to those that asked for its protocol.
/// With 0 it hears nothing: to send only.
pub fn listen(namespace: &Namespace, device: &str, protocol: u16) -> Result<Capture> {
    Ok(Capture { socket: open(namespace, device, protocol)? })
}

/// The frames seen since it began, in order.
#[derive(Debug)]
pub struct Capture {
    socket: Socket,
}

/// One frame seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Captured {
    /// It left the device; otherwise it came in.
    pub outgoing: bool,
    /// All of it, VLAN tags included. Checksums of what sockets sent over veth are unfinished.
    pub frame: Vec<u8>,
}

impl Capture {
    /// Sends a frame out of the device.
    pub fn send(&self, frame: &[u8]) -> io::Result<usize> {
        self.socket.send(frame)
    }

    /// From now on only frames for IPv4 addresses that begin with these three bytes: the kernel leaves out all others before
    /// they take room, which is what makes a flood bearable.
    pub fn only_for(&self, network: [u8; 3]) -> Result<()> {
        let step = |code: u32, jt, jf, k| SockFilter::new(code as u16, jt, jf, k);
        let [a, b, c] = network;
        let program = [
            step(libc::BPF_LD | libc::BPF_H | libc::BPF_ABS, 0, 0, 12),
            step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 4, libc::ETH_P_IP as u32),
            step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0, 0, 30),
            step(libc::BPF_ALU | libc::BPF_AND | libc::BPF_K, 0, 0, 0xffff_ff00),
            step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, 0, 1, u32::from_be_bytes([a, b, c, 0])),
            step(libc::BPF_RET | libc::BPF_K, 0, 0, u32::MAX),
            step(libc::BPF_RET | libc::BPF_K, 0, 0, 0),
        ];
        self.socket.attach_filter(&program).context("cannot choose among frames")
    }

    /// What has come in by now, without waiting.
    pub fn so_far(&self) -> Result<Vec<Vec<u8>>> {
        let mut frames = Vec::new();
        loop {
            match receive(&self.socket, libc::MSG_DONTWAIT) {
                Ok(seen) if seen.outgoing => {}
                Ok(seen) => frames.push(seen.frame),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(frames),
                Err(error) => return Err(error).context("cannot receive frames"),
            }
        }
    }

    /// The next frame that comes in; `None` if none does in time.
    pub fn next_in(&self, patience: Duration) -> Result<Option<Vec<u8>>> {
        let end = Instant::now() + patience;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match self.next_within(left.max(Duration::from_micros(1)))? {
                Some(seen) if !seen.outgoing => return Ok(Some(seen.frame)),
                Some(_) if !left.is_zero() => {}
                _ => return Ok(None),
            }
        }
    }

    /// The next frame, if one comes in time.
    pub fn next(&self) -> Result<Option<Captured>> {
        self.next_within(timeout())
    }

    /// The next frame that came in and answers to the description.
    pub fn find(&self, wanted: impl Fn(&[u8]) -> bool) -> Result<Option<Vec<u8>>> {
        let end = Instant::now() + timeout();
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match self.next_within(left.max(Duration::from_micros(1)))? {
                Some(seen) if !seen.outgoing && wanted(&seen.frame) => return Ok(Some(seen.frame)),
                Some(_) if !left.is_zero() => {}
                _ => return Ok(None),
            }
        }
    }

    /// The frames that come in, up to and with this one; an error if it does not come.
    pub fn until(&self, last: &[u8]) -> Result<Vec<Vec<u8>>> {
        let mut frames = Vec::new();
        while frames.last().is_none_or(|frame| frame != last) {
            let next = self.find(|_| true)?;
            frames.push(next.with_context(|| format!("only {} frames came, not the last", frames.len()))?);
        }
        Ok(frames)
    }

    /// Whether this very frame comes in.
    pub fn sees(&self, frame: &[u8]) -> Result<bool> {
        Ok(self.find(|seen| seen == frame)?.is_some())
    }

    fn next_within(&self, patience: Duration) -> Result<Option<Captured>> {
        self.socket.set_read_timeout(Some(patience))?;
        match receive(&self.socket, 0) {
            Ok(seen) => Ok(Some(seen)),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                Ok(None)
            }
            Err(error) => Err(error).context("cannot receive frames"),
        }
    }
}

pub(super) fn open(namespace: &Namespace, device: &str, ethertype: u16) -> Result<Socket> {
    let index = namespace.index(device)?;
    let make = || {
        // It hears nothing until it is bound: no frame of another device slips in.
        let socket = Socket::new(Domain::PACKET, Type::RAW, None)?;
        set_auxdata(&socket)?;
        bind(&socket, index, ethertype)?;
        Ok::<_, io::Error>(socket)
    };
    namespace.run(make).with_context(|| format!("cannot open {device} in {}", namespace.name()))
}

fn bind(socket: &Socket, index: u32, ethertype: u16) -> io::Result<()> {
    let address = libc::sockaddr_ll {
        sll_family: libc::AF_PACKET as u16,
        sll_protocol: ethertype.to_be(),
        sll_ifindex: index as i32,
        sll_hatype: 0,
        sll_pkttype: 0,
        sll_halen: 0,
        sll_addr: [0; 8],
    };
    let size = size_of_val(&address) as libc::socklen_t;
    // SAFETY: an address of the size given, which outlives the call.
    match unsafe { libc::bind(socket.as_raw_fd(), (&raw const address).cast(), size) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn set_auxdata(socket: &Socket) -> io::Result<()> {
    let on: libc::c_int = 1;
    let (value, size) = ((&raw const on).cast(), size_of_val(&on) as libc::socklen_t);
    // SAFETY: points to an int of the size given, which outlives the call.
    match unsafe { libc::setsockopt(socket.as_raw_fd(), libc::SOL_PACKET, libc::PACKET_AUXDATA, value, size) }
    {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn receive(socket: &Socket, flags: libc::c_int) -> io::Result<Captured> {
    let mut room = vec![0_u8; 1 << 17];
    // Room for one control message, aligned as its header asks.
    let mut control = [0_u64; 16];
    let mut from = MaybeUninit::<libc::sockaddr_ll>::zeroed();
    let mut part = libc::iovec { iov_base: room.as_mut_ptr().cast(), iov_len: room.len() };
    // SAFETY: all zero is a message header without address, parts and control data.
    let mut message: libc::msghdr = unsafe { mem::zeroed() };
    message.msg_name = from.as_mut_ptr().cast();
    message.msg_namelen = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(&control) as _;

    // SAFETY: every pointer in the header is to a live buffer of the size beside it.
    let len = unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut message, flags) };
    let len = usize::try_from(len).map_err(|_| io::Error::last_os_error())?;
    room.truncate(len);
    // SAFETY: began as zeros, of which the kernel replaced some; any bytes are such an address.
    let from = unsafe { from.assume_init() };
    restore_tag(&mut room, &message);
    Ok(Captured { outgoing: from.sll_pkttype == libc::PACKET_OUTGOING, frame: room })
}

/// The kernel takes the outermost tag off what comes in, before anybody sees it, and tells it beside.
fn restore_tag(frame: &mut Vec<u8>, message: &libc::msghdr) {
    // SAFETY: the kernel filled in the header; its control buffer is still alive.
    let header = unsafe { libc::CMSG_FIRSTHDR(message) };
    if header.is_null() {
        return;
    }
    // SAFETY: not null, so a whole header stands there.
    let kind = unsafe { ptr::read_unaligned(header) };
    if (kind.cmsg_level, kind.cmsg_type) != (libc::SOL_PACKET, libc::PACKET_AUXDATA) {
        return;
    }
    // SAFETY: a valid header.
    let data = unsafe { libc::CMSG_DATA(header) }.cast::<libc::tpacket_auxdata>();
    // SAFETY: messages of this type hold this structure; the buffer had room for it.
    let aux = unsafe { ptr::read_unaligned(data) };
    if aux.tp_status & libc::TP_STATUS_VLAN_VALID != 0 && frame.len() >= 12 {
        let [a, b] = aux.tp_vlan_tpid.to_be_bytes();
        let [c, d] = aux.tp_vlan_tci.to_be_bytes();
        frame.splice(12..12, [a, b, c, d]);
    }
}

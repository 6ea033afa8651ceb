//! Devices whose other end is a file: what is written there comes in, what the host sends is read there.
//!
//! Unlike a veth pair they bring in any bytes whatever: packets without an Ethernet header, and skbs whose headers lie
//! wherever one likes.

use std::fs::{File, OpenOptions};
use std::io::{self, IoSlice, Read, Write};
use std::mem;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use socket2::{Domain, Socket, Type};

use crate::netns::Namespace;
use crate::traffic::timeout;

/// What is written and read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carries {
    /// IP packets.
    Packets,
    /// Packets behind four bytes: two of flags, then the ethertype that they are announced with, true or not.
    AnnouncedPackets,
    /// Ethernet frames. What is written in pieces becomes an skb of them: the first piece is its linear part.
    Frames,
}

/// Not in libc.
const ETHTOOL_SGRO: u32 = 0x2c;

/// A tun or tap device, up; it goes with the value.
#[derive(Debug)]
pub struct Tun {
    file: File,
}

impl Tun {
    /// Makes a device in a namespace.
    pub fn new(namespace: &Namespace, name: &str, carries: Carries) -> Result<Self> {
        let flags = match carries {
            Carries::Packets => libc::IFF_TUN | libc::IFF_NO_PI,
            Carries::AnnouncedPackets => libc::IFF_TUN,
            Carries::Frames => libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_NAPI | libc::IFF_NAPI_FRAGS,
        };
        let make = || {
            let mut options = OpenOptions::new();
            let file = options.read(true).write(true).custom_flags(libc::O_NONBLOCK).open("/dev/net/tun")?;
            let mut request = request(name);
            request.ifr_ifru.ifru_flags = flags as i16;
            // SAFETY: the request reads a structure of this type, which outlives the call.
            let made = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
            if made != 0 {
                return Err(io::Error::last_os_error());
            }
            if carries == Carries::Frames {
                // GRO would copy headers into the linear part.
                gro_off(name)?;
            }
            Ok(Self { file })
        };
        let tun = namespace.run(make).with_context(|| format!("cannot make the device {name}"))?;
        namespace.ip(&format!("link set {name} up"))?;
        Ok(tun)
    }

    /// Lets something come in. Without an error the kernel took it, and has done with it.
    pub fn write(&self, bytes: &[u8]) -> io::Result<()> {
        self.write_pieces(&[bytes])
    }

    /// The same in pieces, of a page at most. Empty ones do not count.
    pub fn write_pieces(&self, pieces: &[&[u8]]) -> io::Result<()> {
        let parts = pieces.iter().filter(|piece| !piece.is_empty());
        let parts: Vec<IoSlice<'_>> = parts.map(|piece| IoSlice::new(piece)).collect();
        let written = (&self.file).write_vectored(&parts)?;
        if written == pieces.iter().map(|piece| piece.len()).sum::<usize>() {
            return Ok(());
        }
        Err(io::Error::other(format!("only {written} bytes were taken")))
    }

    /// Whether something goes out in time that answers to the description.
    pub fn sends(&self, wanted: impl Fn(&[u8]) -> bool) -> Result<bool> {
        let end = Instant::now() + timeout();
        let mut room = vec![0; 1 << 16];
        while Instant::now() < end {
            match (&self.file).read(&mut room) {
                Ok(len) if wanted(&room[..len]) => return Ok(true),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    std::thread::sleep(Duration::from_millis(1));
                }
                Err(error) => return Err(error).context("cannot read what the device sends"),
            }
        }
        Ok(false)
    }
}

fn gro_off(name: &str) -> io::Result<()> {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None)?;
    let mut value = [ETHTOOL_SGRO, 0];
    let mut request = request(name);
    request.ifr_ifru.ifru_data = (&raw mut value).cast();
    // SAFETY: the request reads a structure of this type and the two words it points to, both of which outlive the call.
    match unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCETHTOOL, &raw mut request) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn request(name: &str) -> libc::ifreq {
    // SAFETY: all zero is a request with an empty name and nothing asked.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    // One byte less than there is room: the name ends in a zero.
    for (to, from) in request.ifr_name.iter_mut().take(libc::IFNAMSIZ - 1).zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    request
}

//! Very many frames, of which none is lost on its way to the filter.

use std::io;
use std::mem;
use std::os::fd::AsRawFd;

use anyhow::{Context as _, Result};
use socket2::Socket;

use super::raw::{NONE, open};
use crate::netns::Namespace;

/// Frames of one system call.
const BATCH: usize = 64;
/// What a socket may have under way, in bytes that the kernel doubles and of which a short frame takes some 800. It waits
/// then, and so no queue is ever full: the shortest is the ring of a veth with XDP, 256 frames.
const UNDER_WAY: usize = 64 << 10;

/// Sends all frames out of a device, again and again, as fast as one CPU does; how many that were. Each was received by the
/// device at the other end when this returns, or is about to be.
pub fn send_all(namespace: &Namespace, device: &str, frames: &[Vec<u8>], rounds: usize) -> Result<u64> {
    let torrent = Torrent::open(namespace, device)?;
    let mut sent = 0;
    for _ in 0..rounds {
        sent += torrent.send(frames).with_context(|| format!("{sent} frames were sent"))?;
    }
    Ok(sent)
}

/// The way to send frames as [`send_all`] does, which are made up as one goes.
#[derive(Debug)]
pub struct Torrent {
    socket: Socket,
}

impl Torrent {
    /// Out of a device.
    pub fn open(namespace: &Namespace, device: &str) -> Result<Self> {
        let socket = open(namespace, device, NONE)?;
        socket.set_send_buffer_size(UNDER_WAY).context("cannot shorten the queue of a socket")?;
        Ok(Self { socket })
    }

    /// Sends them once, in order; how many they were.
    pub fn send<F: AsRef<[u8]>>(&self, frames: &[F]) -> Result<u64> {
        let mut sent = 0;
        for batch in frames.chunks(BATCH) {
            sent += send_batch(&self.socket, batch).context("cannot send frames")?;
        }
        Ok(sent)
    }
}

fn send_batch<F: AsRef<[u8]>>(socket: &Socket, frames: &[F]) -> io::Result<u64> {
    let mut parts: Vec<libc::iovec> = frames
        .iter()
        .map(AsRef::as_ref)
        .map(|frame| libc::iovec { iov_base: frame.as_ptr().cast_mut().cast(), iov_len: frame.len() })
        .collect();
    let header = |part: &mut libc::iovec| {
        // SAFETY: all zero is a message header without address, parts and control data.
        let mut header: libc::mmsghdr = unsafe { mem::zeroed() };
        header.msg_hdr.msg_iov = part;
        header.msg_hdr.msg_iovlen = 1;
        header
    };
    let mut headers: Vec<libc::mmsghdr> = parts.iter_mut().map(header).collect();
    let mut done = 0;
    while done < headers.len() {
        let left = &mut headers[done..];
        // SAFETY: as many headers as are said, each with one part that is a frame, all of which outlive the call.
        let sent = unsafe { libc::sendmmsg(socket.as_raw_fd(), left.as_mut_ptr(), left.len() as u32, 0) };
        done += usize::try_from(sent).map_err(|_| io::Error::last_os_error())?;
    }
    Ok(done as u64)
}

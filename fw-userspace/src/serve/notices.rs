//! What the kernel tells of devices, addresses and hooks that change.

use std::thread;

use netlink_sys::protocols::NETLINK_ROUTE;
use netlink_sys::{Socket, SocketAddr};

use crate::error::{Error, Result};

/// `enum rtnetlink_groups` of include/uapi/linux/rtnetlink.h: links (XDP programs are among what is told), qdiscs with
/// their filters, addresses.
const GROUPS: [u32; 4] = [1, 4, 5, 9];

/// Calls `stirs`, by a thread of its own, when something changed. What is not told: a TCX link that is taken away.
pub(super) fn follow(stirs: impl Fn() + Send + 'static) -> Result<()> {
    let failed = |error: std::io::Error| {
        Error::system(format!(
            "cannot follow the devices of this host: {error}; they are looked at every few seconds"
        ))
    };
    let mut socket = Socket::new(NETLINK_ROUTE).map_err(failed)?;
    socket.bind(&SocketAddr::new(0, 0)).map_err(failed)?;
    for group in GROUPS {
        socket.add_membership(group).map_err(failed)?;
    }
    thread::Builder::new()
        .name("notices".to_owned())
        .spawn(move || {
            // Cut messages will do: what changed is looked at, not read here.
            let mut buffer = [0u8; 64];
            loop {
                match socket.recv(&mut &mut buffer[..], 0) {
                    // Too many at once for the socket (ENOBUFS): something did change.
                    Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => stirs(),
                    Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                    Err(_) => return,
                    Ok(_) => stirs(),
                }
            }
        })
        .map_err(failed)?;
    Ok(())
}

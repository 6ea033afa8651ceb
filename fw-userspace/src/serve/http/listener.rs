//! Addresses to listen on, and what comes there.

use std::fmt;
use std::fs::{self, Permissions};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::str::FromStr;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::time::timeout;

use crate::error::{Error, Result};
use crate::leading_zeros;

/// Where to listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// An address and a port.
    Tcp(SocketAddr),
    /// A Unix socket of mode 0660.
    Unix(PathBuf),
}

impl FromStr for Listen {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        leading_zeros::refuse(text)?;
        let unix = text.strip_prefix("unix:").map(Path::new).filter(|path| path.is_absolute());
        match (unix, text.parse()) {
            (Some(path), _) => Ok(Self::Unix(path.to_owned())),
            (None, Ok(address)) => Ok(Self::Tcp(address)),
            (None, Err(_)) => Err(
                "must be an IP address and a port like \"127.0.0.1:9798\" or \"[::1]:9798\", or a socket like \
                 \"unix:/run/fwctl/metrics.sock\""
                    .to_owned(),
            ),
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A listener that has its address.
pub(super) struct Listener {
    listen: Listen,
    socket: Socket,
    /// To be removed with it.
    _file: Option<SocketFile>,
}

enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

/// The file of a Unix socket; it goes with the value.
struct SocketFile {
    path: PathBuf,
    inode: (u64, u64),
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Another process may have taken the name since.
        if inode(&self.path).is_ok_and(|inode| inode == self.inode) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn inode(path: &Path) -> io::Result<(u64, u64)> {
    fs::symlink_metadata(path).map(|metadata| (metadata.dev(), metadata.ino()))
}

/// A connection that was accepted.
pub(super) struct Accepted {
    pub(super) stream: Stream,
    /// Who it is, for people.
    pub(super) name: String,
    /// `None` of a local process.
    pub(super) address: Option<IpAddr>,
}

impl Listener {
    pub(super) async fn bind(listen: &Listen) -> Result<Self> {
        let failed = |error: &io::Error, help: &str| {
            Error::system(format!("cannot listen on \"{listen}\": {}{help}", said(error)))
        };
        match listen {
            Listen::Tcp(address) => {
                let socket = TcpListener::bind(address).await.map_err(|error| {
                    failed(
                        &error,
                        match error.kind() {
                            ErrorKind::AddrInUse => {
                                "; another process listens there, choose another with --listen"
                            }
                            ErrorKind::AddrNotAvailable => {
                                "; no device of this host has that address, choose another with --listen"
                            }
                            _ => "",
                        },
                    )
                })?;
                let address = socket.local_addr().map_err(|error| failed(&error, ""))?;
                Ok(Self { listen: Listen::Tcp(address), socket: Socket::Tcp(socket), _file: None })
            }
            Listen::Unix(path) => {
                make_room(listen, path).await?;
                let socket = UnixListener::bind(path).map_err(|error| {
                    failed(
                        &error,
                        match error.kind() {
                            ErrorKind::NotFound => "; make its directory first",
                            _ => "",
                        },
                    )
                })?;
                fs::set_permissions(path, Permissions::from_mode(0o660))
                    .map_err(|error| failed(&error, ""))?;
                let inode = inode(path).map_err(|error| failed(&error, ""))?;
                let file = SocketFile { path: path.clone(), inode };
                Ok(Self { listen: listen.clone(), socket: Socket::Unix(socket), _file: Some(file) })
            }
        }
    }

    pub(super) fn listen(&self) -> &Listen {
        &self.listen
    }

    pub(super) async fn accept(&self) -> io::Result<Accepted> {
        match &self.socket {
            Socket::Tcp(socket) => {
                let (stream, address) = socket.accept().await?;
                // An answer is written in few large pieces.
                let _ = stream.set_nodelay(true);
                Ok(Accepted {
                    stream: Stream::Tcp(stream),
                    name: address.to_string(),
                    address: Some(address.ip()),
                })
            }
            Socket::Unix(socket) => {
                let (stream, _) = socket.accept().await?;
                let pid = stream.peer_cred().ok().and_then(|peer| peer.pid());
                let name = pid.map_or_else(|| "a local process".to_owned(), |pid| format!("process {pid}"));
                Ok(Accepted { stream: Stream::Unix(stream), name, address: None })
            }
        }
    }
}

/// Removes a socket that a dead process left; one that somebody answers on, and what is no socket, stays.
async fn make_room(listen: &Listen, path: &Path) -> Result<()> {
    const PATIENCE: Duration = Duration::from_secs(1);
    let Ok(metadata) = fs::symlink_metadata(path) else { return Ok(()) };
    let refused = |why: &str| Error::system(format!("cannot listen on \"{listen}\": {why}"));
    if !metadata.file_type().is_socket() {
        return Err(refused("there is a file that is no socket; remove it, or choose another with --listen"));
    }
    match timeout(PATIENCE, UnixStream::connect(path)).await {
        Ok(Err(error)) if error.kind() == ErrorKind::ConnectionRefused => {
            fs::remove_file(path).map_err(|error| refused(&said(&error)))
        }
        Ok(Err(error)) if error.kind() == ErrorKind::PermissionDenied => Err(refused(&said(&error))),
        _ => Err(refused("another process answers there; choose another with --listen")),
    }
}

/// Without the number.
fn said(error: &io::Error) -> String {
    let text = error.to_string().to_lowercase();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}

/// Either kind of connection.
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    /// What fits at once, or nothing.
    pub(super) fn try_write(&self, bytes: &[u8]) {
        let _ = match self {
            Self::Tcp(stream) => stream.try_write(bytes),
            Self::Unix(stream) => stream.try_write(bytes),
        };
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(context, buffer),
            Self::Unix(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Unix(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(context),
            Self::Unix(stream) => Pin::new(stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Unix(stream) => Pin::new(stream).poll_shutdown(context),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_ports_and_sockets() {
        for text in ["127.0.0.1:9798", "[::1]:9798", "0.0.0.0:0", "unix:/run/fwctl/metrics.sock"] {
            assert_eq!(text.parse::<Listen>().map(|listen| listen.to_string()), Ok(text.to_owned()));
        }
        for text in
            ["", "9798", ":9798", "localhost:9798", "127.0.0.1", "::1:9798", "unix:", "unix:metrics.sock"]
        {
            let said = text.parse::<Listen>().expect_err(text);
            assert!(said.starts_with("must be"), "{said}");
        }
    }
}

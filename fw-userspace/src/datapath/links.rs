//! Links of BPF programs to devices, by descriptor: what aya does not tell of them, and their names do not.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::state::Side;

/// Commands of bpf(2), include/uapi/linux/bpf.h.
const BPF_OBJ_PIN: libc::c_int = 6;
const BPF_OBJ_GET: libc::c_int = 7;
const BPF_OBJ_GET_INFO_BY_FD: libc::c_int = 15;
/// Linux 5.7.
const BPF_LINK_CREATE: libc::c_int = 28;
/// Linux 5.9.
const BPF_LINK_DETACH: libc::c_int = 34;

/// `enum bpf_link_type`.
const BPF_LINK_TYPE_XDP: u32 = 6;
const BPF_LINK_TYPE_TCX: u32 = 11;
/// `enum bpf_attach_type`.
const BPF_XDP: u32 = 37;
const BPF_TCX_INGRESS: u32 = 46;
const BPF_TCX_EGRESS: u32 = 47;
/// Before, or after, all others where no other is named.
const BPF_F_BEFORE: u32 = 1 << 3;
const BPF_F_AFTER: u32 = 1 << 4;
/// include/uapi/linux/if_link.h: by the driver, or not at all.
const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;

/// Where a link is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hook {
    Xdp,
    Tcx(Side),
}

/// What the kernel says of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Info {
    pub(super) program: u32,
    pub(super) hook: Hook,
    /// 0 once the device has gone. In the namespace where the device is, which may be another than ours by now.
    pub(super) ifindex: u32,
}

/// A link and the pin that holds it.
#[derive(Debug)]
pub(super) struct Pinned {
    pub(super) path: PathBuf,
    pub(super) info: Info,
}

impl Pinned {
    /// All in a directory; what is no link of a device is left out.
    pub(super) fn all(directory: &Path) -> Vec<Self> {
        let entries = fs::read_dir(directory).into_iter().flatten().flatten();
        let of = |path: PathBuf| Some(Self { info: info(open(&path)?.as_fd()).ok()?, path });
        entries.filter_map(|entry| of(entry.path())).collect()
    }
}

/// Attaches a program to a device, nearest to the wire: first of all on the way in, last of all on the way out. By index:
/// the device of a name may be another one a moment later.
pub(super) fn attach(program: BorrowedFd<'_>, ifindex: u32, hook: Hook) -> io::Result<OwnedFd> {
    #[repr(C)]
    struct Attributes {
        program: u32,
        ifindex: u32,
        attach_type: u32,
        flags: u32,
        relative: u32,
        padding: u32,
        expected_revision: u64,
    }
    let (attach_type, flags) = match hook {
        Hook::Xdp => (BPF_XDP, XDP_FLAGS_DRV_MODE),
        Hook::Tcx(Side::Received) => (BPF_TCX_INGRESS, BPF_F_BEFORE),
        Hook::Tcx(Side::Sent) => (BPF_TCX_EGRESS, BPF_F_AFTER),
    };
    let mut attributes = Attributes {
        program: program.as_raw_fd().cast_unsigned(),
        ifindex,
        attach_type,
        flags,
        relative: 0,
        padding: 0,
        expected_revision: 0,
    };
    descriptor(BPF_LINK_CREATE, &mut attributes)
}

/// Holds a link by a name; one that held another link there lets go of it.
pub(super) fn pin(link: BorrowedFd<'_>, path: &Path) -> io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push("-new");
    let beside = PathBuf::from(beside);
    // Left by a command that was killed here.
    let _ = fs::remove_file(&beside);
    let name = CString::new(beside.as_os_str().as_bytes())?;
    let mut attributes = PathAttributes {
        pathname: name.as_ptr() as u64,
        descriptor: link.as_raw_fd().cast_unsigned(),
        flags: 0,
    };
    call(BPF_OBJ_PIN, &mut attributes)?;
    fs::rename(&beside, path)
}

/// The link that is pinned here.
pub(super) fn open(path: &Path) -> Option<OwnedFd> {
    let name = CString::new(path.as_os_str().as_bytes()).ok()?;
    let mut attributes = PathAttributes { pathname: name.as_ptr() as u64, descriptor: 0, flags: 0 };
    descriptor(BPF_OBJ_GET, &mut attributes).ok()
}

/// Ends a pinned link at once, and its pin. Removing the pin alone ends it when the kernel comes to it: a moment later.
pub(super) fn detach(path: &Path) {
    #[repr(C)]
    struct Attributes {
        link: u32,
    }
    if let Some(link) = open(path) {
        // Refused where the device has gone, and the link with it.
        let _ = call(BPF_LINK_DETACH, &mut Attributes { link: link.as_raw_fd().cast_unsigned() });
    }
    let _ = fs::remove_file(path);
}

/// What the kernel says of a link to a device; an error for any other object.
pub(super) fn info(link: BorrowedFd<'_>) -> io::Result<Info> {
    /// The beginning of `struct bpf_link_info`, as far as both kinds have it.
    #[repr(C)]
    #[derive(Default)]
    struct LinkInfo {
        kind: u32,
        id: u32,
        program: u32,
        padding: u32,
        ifindex: u32,
        attach_type: u32,
    }
    #[repr(C)]
    struct Attributes {
        descriptor: u32,
        length: u32,
        info: u64,
    }
    let mut found = LinkInfo::default();
    let mut attributes = Attributes {
        descriptor: link.as_raw_fd().cast_unsigned(),
        length: size_of::<LinkInfo>() as u32,
        info: (&raw mut found) as u64,
    };
    call(BPF_OBJ_GET_INFO_BY_FD, &mut attributes)?;
    let hook = match (found.kind, found.attach_type) {
        (BPF_LINK_TYPE_XDP, _) => Hook::Xdp,
        (BPF_LINK_TYPE_TCX, BPF_TCX_INGRESS) => Hook::Tcx(Side::Received),
        (BPF_LINK_TYPE_TCX, BPF_TCX_EGRESS) => Hook::Tcx(Side::Sent),
        _ => return Err(io::ErrorKind::InvalidData.into()),
    };
    Ok(Info { program: found.program, hook, ifindex: found.ifindex })
}

/// What pinning and opening pins is told, part of `union bpf_attr`.
#[repr(C)]
struct PathAttributes {
    pathname: u64,
    descriptor: u32,
    flags: u32,
}

fn descriptor<T>(command: libc::c_int, attributes: &mut T) -> io::Result<OwnedFd> {
    let descriptor = call(command, attributes)?;
    // SAFETY: the kernel has just given it to us, and nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// Callers keep what their attributes point to alive, and attributes are as `union bpf_attr` has them for the command.
fn call<T>(command: libc::c_int, attributes: &mut T) -> io::Result<i32> {
    // SAFETY: the kernel reads and writes as many bytes as it is told, and follows pointers that callers keep alive.
    let answer =
        unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attributes), size_of::<T>()) };
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(answer as i32) }
}

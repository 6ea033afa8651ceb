//! A directory for pins that goes with its test.

use std::ffi::CStr;
use std::fs::DirBuilder;
use std::io;
use std::mem::MaybeUninit;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::{fmt, process, ptr};

use anyhow::{Context, Result};

use super::registry::{self, BPFFS, DIRECTORY_PREFIX, Thing};

const BPFFS_C: &CStr = c"/sys/fs/bpf";

/// A directory of our own in the bpf file system, `/sys/fs/bpf/fwctl-test-<pid>-<n>`. With it go the pins in
/// it: a link that is pinned nowhere else detaches its program.
pub struct BpffsDir {
    path: PathBuf,
}

impl BpffsDir {
    /// Makes it, and mounts the bpf file system if nobody has; that mount stays, others may use it by then.
    pub fn new() -> Result<Self> {
        let path =
            Path::new(BPFFS).join(format!("{DIRECTORY_PREFIX}{}-{}", process::id(), registry::number()));
        registry::create(Thing::Directory(path.clone()), || {
            if !is_bpffs().with_context(|| format!("cannot look at {BPFFS}"))? {
                mount().with_context(|| format!("cannot mount a bpf file system at {BPFFS}"))?;
            }
            let made = DirBuilder::new().mode(0o700).create(&path);
            made.with_context(|| format!("cannot make {}", path.display()))
        })?;
        Ok(Self { path })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl fmt::Debug for BpffsDir {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "BpffsDir({})", self.path.display())
    }
}

impl Drop for BpffsDir {
    fn drop(&mut self) {
        registry::remove(&Thing::Directory(self.path.clone()));
    }
}

fn is_bpffs() -> io::Result<bool> {
    let mut stat = MaybeUninit::<libc::statfs>::uninit();
    // SAFETY: a NUL-terminated path, and room for what is written.
    if unsafe { libc::statfs(BPFFS_C.as_ptr(), stat.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call succeeded, so all of it was written.
    let stat = unsafe { stat.assume_init() };
    Ok(stat.f_type == libc::BPF_FS_MAGIC)
}

fn mount() -> io::Result<()> {
    // SAFETY: three NUL-terminated strings that live for ever, and no data.
    match unsafe { libc::mount(c"bpf".as_ptr(), BPFFS_C.as_ptr(), c"bpf".as_ptr(), 0, ptr::null()) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

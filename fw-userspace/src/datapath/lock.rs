//! One command at a time may change what is pinned under a directory.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::guard;
use crate::error::{Error, Result};
use crate::same_file::has_its_name;

const PATIENCE: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(50);

/// Holds the lock until dropped, or until the process ends in whatever way.
pub(super) struct Lock(File);

impl Lock {
    /// Waits up to ten seconds for `flock` on the directory itself.
    pub(super) fn take(directory: &Path) -> Result<Self> {
        let open = || {
            guard::make_directory(directory)?;
            // A lock that others could have would hold us up.
            guard::close(directory)?;
            File::open(directory).map_err(|error| cannot_open(directory, &error))
        };
        let mut file = open()?;
        let start = Instant::now();
        loop {
            if is_taken(&file) {
                if has_its_name(&file, directory) {
                    return Ok(Self(file));
                }
                // Whoever held it before us removed the directory: ours is the lock of a thing of the past.
                file = open()?;
                continue;
            }
            if start.elapsed() > PATIENCE {
                return Err(Error::system(format!(
                    "another fwctl command is changing \"{}\": {}; try again when it is done",
                    directory.display(),
                    holder(&file)
                )));
            }
            sleep(PAUSE);
        }
    }

    /// Of a directory that is there, at once; whoever else has it is told of as "process N (NAME) DOES".
    pub(super) fn alone(directory: &Path, does: &str) -> Result<Self> {
        let file = File::open(directory).map_err(|error| cannot_open(directory, &error))?;
        if is_taken(&file) { Ok(Self(file)) } else { Err(Error::system(format!("{} {does}", holder(&file)))) }
    }

    /// Whether this is the lock of what the directory is now.
    pub(super) fn is_of(&self, directory: &Path) -> bool {
        has_its_name(&self.0, directory)
    }
}

fn is_taken(file: &File) -> bool {
    // SAFETY: the descriptor is open; flock touches no memory of ours.
    unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) == 0 }
}

fn cannot_open(directory: &Path, error: &std::io::Error) -> Error {
    Error::system(format!("cannot open \"{}\": {error}", directory.display()))
}

/// Who holds it, by `/proc/locks`.
fn holder(file: &File) -> String {
    let inode = file.metadata().map(|metadata| metadata.ino()).unwrap_or(0);
    let locks = std::fs::read_to_string("/proc/locks").unwrap_or_default();
    let suffix = format!(":{inode}");
    let pid = locks.lines().filter(|line| !line.contains("->")).find_map(|line| {
        let mut words = line.split_whitespace();
        let kind = words.nth(1)?;
        let pid = words.nth(2)?;
        let place = words.next()?;
        (kind == "FLOCK" && place.ends_with(&suffix)).then(|| pid.to_owned())
    });
    match pid {
        Some(pid) => {
            let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default();
            format!("process {pid} ({})", name.trim())
        }
        None => "held by a process that cannot be named".to_owned(),
    }
}

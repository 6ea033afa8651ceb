//! Reads rules files, and says in one line why one cannot be read.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use fw_userspace::error::{Error, Result};

/// The bytes of a rules file; `-` is standard input.
pub(crate) fn read(path: &Path) -> Result<Vec<u8>> {
    if path == Path::new("-") {
        return limited(io::stdin().lock(), path);
    }
    let file = File::open(path).map_err(|error| unreadable(path, &error))?;
    let metadata = file.metadata().map_err(|error| unreadable(path, &error))?;
    if metadata.is_dir() {
        return Err(Error::input(format!("{:?} is a directory, name a rules file in it", path.display())));
    }
    limited(file, path)
}

/// How messages call a rules file.
pub(crate) fn name(path: &Path) -> String {
    if path == Path::new("-") { "<stdin>".to_owned() } else { path.display().to_string() }
}

fn limited(source: impl Read, path: &Path) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    source.take(LIMIT_BYTES + 1).read_to_end(&mut bytes).map_err(|error| unreadable(path, &error))?;
    if bytes.len() as u64 > LIMIT_BYTES {
        let (name, limit) = (name(path), LIMIT_BYTES >> 20);
        return Err(Error::input(format!("{name:?} is larger than {limit} MiB, that is no rules file")));
    }
    Ok(bytes)
}

fn unreadable(path: &Path, error: &io::Error) -> Error {
    let name = name(path);
    match error.kind() {
        io::ErrorKind::NotFound => {
            Error::input(format!("{name:?} does not exist, name a rules file or \"-\" for standard input"))
        }
        io::ErrorKind::PermissionDenied => {
            Error::system(format!("cannot read {name:?}: permission denied, run as a user that may read it"))
        }
        _ => Error::system(format!("cannot read {name:?}: {error}")),
    }
}

/// The largest file that AWS's quotas allow is far below; this keeps `fwctl check /dev/zero` finite.
const LIMIT_BYTES: u64 = 64 << 20;

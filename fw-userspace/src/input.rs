//! Reads rules files, and says in one line why one cannot be read.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

/// The bytes of a rules file; `-` is standard input. `max_memory` is what its rules may take.
pub fn read(path: &Path, max_memory: u64) -> Result<Vec<u8>> {
    if path == Path::new("-") {
        return limited(io::stdin().lock(), path, max_memory);
    }
    let file = File::open(path).map_err(|error| unreadable(path, &error))?;
    let metadata = file.metadata().map_err(|error| unreadable(path, &error))?;
    if metadata.is_dir() {
        return Err(Error::input(format!("{:?} is a directory, name a rules file in it", path.display())));
    }
    limited(file, path, max_memory)
}

/// Standard input can be read only once.
pub fn refuse_stdin_twice<'p>(files: impl IntoIterator<Item = &'p PathBuf>) -> Result<()> {
    if files.into_iter().filter(|file| *file == Path::new("-")).count() > 1 {
        return Err(Error::input("\"-\" is named twice, standard input can be read only once"));
    }
    Ok(())
}

/// How messages call a rules file.
pub fn name(path: &Path) -> String {
    if path == Path::new("-") { "<stdin>".to_owned() } else { path.display().to_string() }
}

/// Also keeps `fwctl check /dev/zero` finite.
fn limited(source: impl Read, path: &Path, max_memory: u64) -> Result<Vec<u8>> {
    let limit = max_memory / MEMORY_PER_BYTE;
    let mut bytes = Vec::new();
    source.take(limit + 1).read_to_end(&mut bytes).map_err(|error| unreadable(path, &error))?;
    if bytes.len() as u64 > limit {
        let (name, limit, memory) = (name(path), limit >> 10, max_memory >> 20);
        return Err(Error::input(format!(
            "{name:?} is larger than {limit} KiB, the most that is read where rules may take {memory} MiB; allow more with \
             --max-memory"
        )));
    }
    Ok(bytes)
}

/// Why a file cannot be read.
pub fn unreadable(path: &Path, error: &io::Error) -> Error {
    let name = name(path);
    match error.kind() {
        io::ErrorKind::NotFound => {
            Error::input(format!("{name:?} does not exist, name another file, or \"-\" for standard input"))
        }
        io::ErrorKind::PermissionDenied => {
            Error::system(format!("cannot read {name:?}: permission denied, run as a user that may read it"))
        }
        _ => Error::system(format!("cannot read {name:?}: {error}")),
    }
}

/// A CIDR takes about twenty bytes in a file, a rule a hundred; in the tables each takes one or two lines of 64.
const MEMORY_PER_BYTE: u64 = 4;

//! Whether a file was changed or replaced, without reading it.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// What tells a file's contents from those before without reading them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stamp {
    /// There is none.
    Missing,
    /// What the file system says of it; times in seconds and nanoseconds.
    There { device: u64, inode: u64, size: u64, modified: (i64, i64), changed: (i64, i64) },
}

impl Stamp {
    /// Of what a path leads to now.
    pub(super) fn of(path: &Path) -> Self {
        let of = |metadata: Metadata| Self::There {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        };
        fs::metadata(path).map_or(Self::Missing, of)
    }
}

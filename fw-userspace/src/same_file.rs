//! Whether a file is still the one that has its name.

use std::fs::{self, File, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// False once it was moved away, removed or replaced, whatever has the name now.
pub(crate) fn has_its_name(file: &File, path: &Path) -> bool {
    let identity =
        |metadata: io::Result<Metadata>| metadata.ok().map(|metadata| (metadata.dev(), metadata.ino()));
    identity(file.metadata()) == identity(fs::metadata(path))
}

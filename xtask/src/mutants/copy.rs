//! The copy of the workspace in which faults are made.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};

/// Makes `copy` equal to `source`, but for what the cases do not need. Files that are the same already are left alone,
/// so that cargo does not build them again.
pub(super) fn sync(source: &Path, copy: &Path) -> Result<()> {
    sync_folder(source, copy, Path::new(""))
}

fn sync_folder(source: &Path, copy: &Path, folder: &Path) -> Result<()> {
    let context = || format!("cannot copy {}", source.join(folder).display());
    fs::create_dir_all(copy.join(folder)).with_context(context)?;
    let mut names = BTreeSet::new();
    for entry in fs::read_dir(source.join(folder)).with_context(context)? {
        let entry = entry.with_context(context)?;
        let path = folder.join(entry.file_name());
        if !is_needed(&path) {
            continue;
        }
        names.insert(entry.file_name());
        if entry.file_type().with_context(context)?.is_dir() {
            sync_folder(source, copy, &path)?;
            continue;
        }
        let text = fs::read(entry.path()).with_context(context)?;
        if fs::read(copy.join(&path)).ok().as_ref() != Some(&text) {
            fs::write(copy.join(&path), text).with_context(context)?;
        }
    }
    for entry in fs::read_dir(copy.join(folder)).with_context(context)? {
        let entry = entry.with_context(context)?;
        if names.contains(&entry.file_name()) {
            continue;
        }
        let is_folder = entry.file_type().with_context(context)?.is_dir();
        let removed =
            if is_folder { fs::remove_dir_all(entry.path()) } else { fs::remove_file(entry.path()) };
        removed.with_context(context)?;
    }
    Ok(())
}

/// cargo would build the programs of the tests with every fault.
fn is_needed(path: &Path) -> bool {
    let unneeded = [".git", "target", "tests/fuzz/target", "tests/src/bin"];
    !unneeded.iter().any(|unneeded| path == Path::new(unneeded))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_follows_its_source() {
        let place = std::env::temp_dir().join(format!("fwctl-copy-{}", std::process::id()));
        let (source, copy) = (place.join("source"), place.join("copy"));
        for folder in [source.join("a/target"), source.join("target"), copy.join("gone"), copy.join("a")] {
            fs::create_dir_all(folder).expect("a folder");
        }
        for file in ["a/one", "a/target/two", "target/three"] {
            fs::write(source.join(file), file).expect("a file");
        }
        fs::write(copy.join("gone/file"), "old").expect("a file");
        fs::write(copy.join("a/one"), "old").expect("a file");
        sync(&source, &copy).expect("a copy");
        let text = |file: &str| fs::read_to_string(copy.join(file)).ok();
        assert_eq!(text("a/one").as_deref(), Some("a/one"));
        assert_eq!(text("a/target/two").as_deref(), Some("a/target/two"));
        assert_eq!(text("target/three"), None);
        assert_eq!(text("gone/file"), None);
        fs::remove_dir_all(place).expect("removed");
    }
}

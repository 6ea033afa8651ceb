//! Nobody but root may hold up, move or write what is pinned. The kernel mounts BPF file systems open to all.

use std::fs::{self, DirBuilder, Metadata, Permissions};
use std::io::ErrorKind;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::Path;

use crate::error::{Error, Result};

const ROOT: u32 = 0;
/// Whoever can open a directory can lock it.
const OURS_ALONE: u32 = 0o700;
const OTHERS_WRITE: u32 = 0o022;
const STICKY: u32 = 0o1000;

/// Makes a directory, and those that it lies in, for its owner alone.
pub(super) fn make_directory(path: &Path) -> Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(OURS_ALONE)
        .create(path)
        .map_err(|error| Error::system(format!("cannot create \"{}\": {error}", path.display())))
}

/// Refuses a directory that somebody else owns, writes to or can rename. One that is not there is no reason.
pub(super) fn refuse_strangers(directory: &Path) -> Result<()> {
    refuse_all_but(ROOT, directory)
}

/// Keeps everybody else from opening a directory of root's.
pub(super) fn close(directory: &Path) -> Result<()> {
    refuse_strangers(directory)?;
    close_to_all_but(ROOT, directory)
}

fn refuse_all_but(owner: u32, directory: &Path) -> Result<()> {
    let Some(metadata) = looked_at(directory)? else { return Ok(()) };
    let name = directory.display();
    if metadata.is_symlink() {
        return Err(Error::system(format!(
            "\"{name}\" is a symbolic link; name the directory that it leads to with --bpffs"
        )));
    }
    if metadata.uid() != owner {
        return Err(Error::system(format!(
            "\"{name}\" belongs to user {}, who could take away what is pinned there; remove it, or give it to root with \
             `chown root \"{name}\"` and `chmod 0700 \"{name}\"`, or name another directory with --bpffs",
            metadata.uid()
        )));
    }
    if metadata.mode() & OTHERS_WRITE != 0 {
        return Err(Error::system(format!(
            "\"{name}\" is root's, but others may write there (mode {:04o}); close it with `chmod 0700 \"{name}\"`, or name \
             another directory with --bpffs",
            metadata.mode() & 0o7777
        )));
    }
    refuse_parent(owner, directory)
}

/// Whoever owns the directory around it can rename it, and whoever writes there unless it is sticky.
fn refuse_parent(owner: u32, directory: &Path) -> Result<()> {
    let Some(parent) = directory.parent() else { return Ok(()) };
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    let (name, around) = (directory.display(), parent.display());
    let metadata = fs::metadata(parent)
        .map_err(|error| Error::system(format!("cannot look at \"{around}\": {error}")))?;
    if ![ROOT, owner].contains(&metadata.uid()) {
        return Err(Error::system(format!(
            "\"{around}\" belongs to user {}, who could rename \"{name}\"; give it to root with `chown root \"{around}\"`, or \
             name another directory with --bpffs",
            metadata.uid()
        )));
    }
    if metadata.mode() & OTHERS_WRITE != 0 && metadata.mode() & STICKY == 0 {
        return Err(Error::system(format!(
            "others than root may write to \"{around}\" and could rename \"{name}\" (mode {:04o}); close it with `chmod 0700 \
             \"{around}\"`, or name another directory with --bpffs",
            metadata.mode() & 0o7777
        )));
    }
    Ok(())
}

fn close_to_all_but(owner: u32, directory: &Path) -> Result<()> {
    let Some(metadata) = looked_at(directory)? else { return Ok(()) };
    if metadata.uid() != owner || metadata.mode() & 0o077 == 0 {
        return Ok(());
    }
    let name = directory.display();
    fs::set_permissions(directory, Permissions::from_mode(OURS_ALONE)).map_err(|error| {
        Error::system(format!("cannot close \"{name}\" to others with `chmod 0700 \"{name}\"`: {error}"))
    })
}

fn looked_at(path: &Path) -> Result<Option<Metadata>> {
    match fs::symlink_metadata(path) {
        Ok(metadata) => Ok(Some(metadata)),
        // A user who may not look is told to be root where it matters.
        Err(error) if [ErrorKind::NotFound, ErrorKind::PermissionDenied].contains(&error.kind()) => Ok(None),
        Err(error) => Err(Error::system(format!("cannot look at \"{}\": {error}", path.display()))),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    use super::*;

    /// Removed with its test.
    struct Around(PathBuf);

    impl Around {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("fwctl-guard-{}-{name}", std::process::id()));
            make_directory(&path).unwrap();
            Self(path)
        }

        fn pins(&self, mode: u32) -> PathBuf {
            let pins = self.0.join(format!("{mode:o}"));
            make_directory(&pins).unwrap();
            set_mode(&pins, mode);
            pins
        }
    }

    impl Drop for Around {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    fn me() -> u32 {
        fs::metadata("/proc/self").unwrap().uid()
    }

    fn refused(owner: u32, directory: &Path) -> String {
        refuse_all_but(owner, directory).unwrap_err().to_string()
    }

    #[test]
    fn a_directory_of_others_is_refused_with_what_helps() {
        let around = Around::new("others");
        let pins = around.pins(0o700);
        assert_eq!(refuse_all_but(me(), &pins), Ok(()));
        assert_eq!(refuse_all_but(me(), &around.0.join("none")), Ok(()));
        let said = refused(me() + 1, &pins);
        assert!(
            said.contains(&format!("belongs to user {}", me())) && said.contains("`chown root"),
            "{said}"
        );
        for open in [0o770, 0o707, 0o1777] {
            let said = refused(me(), &around.pins(open));
            assert!(said.contains(&format!("mode {open:04o}")) && said.contains("`chmod 0700"), "{said}");
        }
        let link = around.0.join("link");
        symlink(&pins, &link).unwrap();
        assert!(refused(me(), &link).contains("symbolic link"));
    }

    #[test]
    fn so_is_one_that_others_can_rename() {
        let around = Around::new("rename");
        let pins = around.pins(0o700);
        for (open, is_refused) in [(0o1777, false), (0o755, false), (0o777, true), (0o770, true)] {
            set_mode(&around.0, open);
            assert_eq!(refuse_all_but(me(), &pins).is_err(), is_refused, "{open:o}");
        }
    }

    #[test]
    fn what_is_ours_is_closed_to_others() {
        let around = Around::new("close");
        assert_eq!(mode(&around.0), 0o700);
        let pins = around.pins(0o755);
        close_to_all_but(me() + 1, &pins).unwrap();
        assert_eq!(mode(&pins), 0o755);
        close_to_all_but(me(), &pins).unwrap();
        assert_eq!(mode(&pins), 0o700);
    }
}

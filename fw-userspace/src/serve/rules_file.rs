//! The rules file, watched: written in place, replaced by an editor or by `mv`, or behind symbolic links that are swapped
//! as those of mounted configuration are.
//!
//! Whether it changed is asked of the file itself; that something stirred near it only says when to ask. So nothing
//! depends on which events a file system or an editor makes.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use notify::{RecommendedWatcher, RecursiveMode, Watcher};

use super::stamp::Stamp;
use crate::error::{Error, Result};
use crate::input;

/// A file that is being written is read once it has been left alone for so long,
const SETTLES_IN: Duration = Duration::from_millis(150);
/// or, if it never is, after so long.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often to ask where nobody says that something stirred.
const ASKED_EVERY: Duration = Duration::from_secs(2);
const ASKED_WHILE_UNSETTLED: Duration = Duration::from_millis(50);
/// As many links as the kernel follows (path_resolution(7)).
const MOST_LINKS: usize = 40;

/// A file and what is known of it.
pub(super) struct RulesFile {
    path: PathBuf,
    seen: Stamp,
    unsettled: Option<Unsettled>,
    watcher: Option<RecommendedWatcher>,
    watched: BTreeSet<PathBuf>,
}

/// It changed and was not read since.
#[derive(Clone, Copy)]
struct Unsettled {
    first: Instant,
    last: Instant,
}

impl RulesFile {
    /// `stirs` is called, by another thread, when something happened near the file. An error where nothing can be
    /// watched: the file is then asked now and then, which takes a little longer.
    pub(super) fn new(path: &Path, stirs: impl Fn() + Send + 'static) -> (Self, Result<()>) {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let watcher = notify::recommended_watcher(move |_| stirs());
        let result = watcher.as_ref().map(|_| ()).map_err(|error| cannot_watch(&path, error));
        let seen = Stamp::of(&path);
        let watched = BTreeSet::new();
        let mut file = Self { path, seen, unsettled: None, watcher: watcher.ok(), watched };
        let watches = file.watch();
        (file, result.and(watches))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the file changed since this said so last, or since the beginning, and is to be read now.
    pub(super) fn has_changed(&mut self, now: Instant) -> bool {
        let stamp = Stamp::of(&self.path);
        if stamp != self.seen {
            self.seen = stamp;
            let first = self.unsettled.map_or(now, |unsettled| unsettled.first);
            self.unsettled = Some(Unsettled { first, last: now });
            // What it is a link to may lie elsewhere now.
            let _ = self.watch();
        }
        let is_settled = |Unsettled { first, last }: Unsettled| {
            now.duration_since(last) >= SETTLES_IN || now.duration_since(first) >= PATIENCE
        };
        self.unsettled.take_if(|unsettled| is_settled(*unsettled)).is_some()
    }

    /// When to ask again, at the latest.
    pub(super) fn ask_in(&self) -> Duration {
        if self.unsettled.is_some() { ASKED_WHILE_UNSETTLED } else { ASKED_EVERY }
    }

    /// The bytes. A pipe or a device in its place is refused: reading it might never end.
    pub(super) fn read(&self, max_memory: u64) -> Result<Vec<u8>> {
        if let Ok(metadata) = fs::metadata(&self.path)
            && !metadata.is_file()
            && !metadata.is_dir()
        {
            return Err(Error::input(format!(
                "{:?} is no regular file, and only such are watched; put one in its place",
                self.path.display()
            )));
        }
        input::read(&self.path, max_memory)
    }

    /// Watches the directories in which a change can give the path other contents.
    fn watch(&mut self) -> Result<()> {
        let Some(watcher) = &mut self.watcher else { return Ok(()) };
        let directories = directories(&self.path);
        for gone in self.watched.difference(&directories) {
            let _ = watcher.unwatch(gone);
        }
        let mut result = Ok(());
        let mut watched = BTreeSet::new();
        for directory in directories {
            // Also those that are watched: another directory may have their name now.
            let _ = watcher.unwatch(&directory);
            match watcher.watch(&directory, RecursiveMode::NonRecursive) {
                Ok(()) => drop(watched.insert(directory)),
                Err(error) => result = Err(cannot_watch(&self.path, &error)),
            }
        }
        self.watched = watched;
        result
    }
}

/// The directory of a path, and those of what it is a link to.
fn directories(path: &Path) -> BTreeSet<PathBuf> {
    let mut directories = BTreeSet::new();
    let mut path = path.to_owned();
    for _ in 0..MOST_LINKS {
        let Some(directory) = path.parent().map(Path::to_owned) else { break };
        let target = fs::read_link(&path);
        directories.insert(directory.clone());
        match target {
            Ok(target) => path = directory.join(target),
            Err(_) => break,
        }
    }
    directories
}

fn cannot_watch(path: &Path, error: &notify::Error) -> Error {
    Error::system(format!(
        "cannot watch {:?}: {error}; a change of it will be found within {} s",
        path.display(),
        ASKED_EVERY.as_secs()
    ))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;
    use std::sync::mpsc::{Receiver, channel};

    use super::*;

    struct Directory(PathBuf);

    impl Directory {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("fwctl-{name}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            fs::create_dir(&path).unwrap();
            Self(path)
        }

        fn file(&self, name: &str, text: &str) -> PathBuf {
            let path = self.0.join(name);
            fs::write(&path, text).unwrap();
            path
        }
    }

    impl Drop for Directory {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn watched(path: &Path) -> (RulesFile, Receiver<()>) {
        let (tell, stirred) = channel();
        let (file, result) = RulesFile::new(path, move || {
            let _ = tell.send(());
        });
        result.unwrap();
        (file, stirred)
    }

    /// Whether it is found to have changed, woken by what stirs.
    fn changes(file: &mut RulesFile, stirred: &Receiver<()>) -> bool {
        let end = Instant::now() + ASKED_EVERY / 2;
        while Instant::now() < end {
            let wait = if file.unsettled.is_some() { ASKED_WHILE_UNSETTLED } else { ASKED_EVERY / 4 };
            let _ = stirred.recv_timeout(wait);
            if file.has_changed(Instant::now()) {
                return true;
            }
        }
        false
    }

    #[test]
    fn writing_and_replacing_are_changes_and_reading_is_none() {
        let directory = Directory::new("watch-replaced");
        let path = directory.file("rules.json", "1");
        let (mut file, stirred) = watched(&path);
        fs::read(&path).unwrap();
        assert!(!changes(&mut file, &stirred));
        fs::write(&path, "22").unwrap();
        assert!(changes(&mut file, &stirred), "written in place");
        let new = directory.file("rules.json.new", "333");
        fs::rename(&new, &path).unwrap();
        assert!(changes(&mut file, &stirred), "replaced");
        assert_eq!(file.read(1 << 20).unwrap(), b"333");
        fs::rename(&path, directory.0.join("rules.json~")).unwrap();
        fs::write(&path, "4444").unwrap();
        assert!(changes(&mut file, &stirred), "written anew, as editors do that keep the former one");
        fs::remove_file(&path).unwrap();
        assert!(changes(&mut file, &stirred), "removed");
        assert!(file.read(1 << 20).is_err());
    }

    #[test]
    fn links_that_are_swapped_are_changes() {
        let directory = Directory::new("watch-swapped");
        for (version, text) in [("..1", "one"), ("..2", "two and more")] {
            fs::create_dir(directory.0.join(version)).unwrap();
            fs::write(directory.0.join(version).join("rules.json"), text).unwrap();
        }
        symlink("..1", directory.0.join("..data")).unwrap();
        symlink("..data/rules.json", directory.0.join("rules.json")).unwrap();
        let (mut file, stirred) = watched(&directory.0.join("rules.json"));
        for (version, text) in [("..2", "two and more"), ("..1", "one")] {
            symlink(version, directory.0.join("..next")).unwrap();
            fs::rename(directory.0.join("..next"), directory.0.join("..data")).unwrap();
            assert!(changes(&mut file, &stirred), "{version}");
            assert_eq!(file.read(1 << 20).unwrap(), text.as_bytes());
        }
    }

    #[test]
    fn a_file_that_never_rests_is_read_all_the_same() {
        let directory = Directory::new("watch-restless");
        let path = directory.file("rules.json", "");
        let (mut file, _stirred) = watched(&path);
        let (begin, mut at, mut read) = (Instant::now(), Duration::ZERO, None);
        // The clock is ours, and each look finds another file.
        for size in 1..300 {
            fs::write(&path, vec![b' '; size]).unwrap();
            at += Duration::from_millis(10);
            if file.has_changed(begin + at) {
                read = Some(at);
                break;
            }
        }
        let read = read.expect("read");
        assert!((PATIENCE..PATIENCE + Duration::from_millis(50)).contains(&read), "{read:?}");
    }

    #[test]
    fn a_pipe_is_not_read() {
        let directory = Directory::new("watch-pipe");
        let path = directory.0.join("rules.json");
        let made = std::process::Command::new("mkfifo").arg(&path).status().unwrap();
        assert!(made.success());
        let (file, _stirred) = watched(&path);
        let error = file.read(1 << 20).unwrap_err().to_string();
        assert!(error.contains("is no regular file"), "{error}");
    }
}

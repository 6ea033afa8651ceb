//! The pin directory: where things are, and how state is written and read.

use std::fs;
use std::io::ErrorKind;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::blob;
use super::guard::{self, make_directory};
use super::policy_array::PolicyArray;
use super::programs::POLICY;
use super::state::{Hook, NumberedRules, State};
use crate::compile::{Numbering, RuleInfo};
use crate::error::{Error, Result};

/// Changes whenever a later fwctl could misread what an earlier one pinned.
const SCHEMA: &str = "schema-5";

/// `BPF_FS_MAGIC`, include/uapi/linux/magic.h.
const BPF_FS_MAGIC: u32 = 0xcafe_4a11;

/// What is kept of a generation, each in a map of its own, pinned as `WHAT-GENERATION`.
const STATE: &str = "state";
const RULES: &str = "rules";
const SOURCE: &str = "source";

/// How far the hooks are turned to what is in [`Store::next`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    /// Some may be.
    Turning,
    /// All are, and the table of connections there is complete: it only has to be pinned in its place.
    Turned,
}

/// An open pin directory.
#[derive(Debug, Clone)]
pub struct Store {
    bpffs: PathBuf,
    root: PathBuf,
}

impl Store {
    /// Opens what is pinned under `bpffs`; `None` if nothing is. What strangers may have made is refused.
    pub fn open(bpffs: &Path) -> Result<Option<Self>> {
        let root = bpffs.join(SCHEMA);
        guard::refuse_strangers(bpffs)?;
        guard::refuse_strangers(&root)?;
        if root.is_dir() {
            return Ok(Some(Self { bpffs: bpffs.to_owned(), root }));
        }
        match other_schema(bpffs) {
            Some(other) => Err(Error::system(format!(
                "\"{}\" holds {other}, this fwctl reads {SCHEMA}; remove it with `fwctl unload --force` and load again",
                bpffs.display()
            ))),
            None => Ok(None),
        }
    }

    /// Makes the directory, mounting the BPF file system where it belongs if need be.
    pub fn create(bpffs: &Path) -> Result<Self> {
        if let Some(store) = Self::open(bpffs)? {
            guard::close(bpffs)?;
            return Ok(store);
        }
        mount_if_missing(bpffs)?;
        let root = bpffs.join(SCHEMA);
        make_directory(bpffs)?;
        guard::refuse_strangers(bpffs)?;
        if !is_bpffs(bpffs) {
            let _ = fs::remove_dir(bpffs);
            return Err(Error::system(format!(
                "\"{}\" is not on a BPF file system; mount one with `mount -t bpf bpf /sys/fs/bpf` or name another \
                 directory with --bpffs",
                bpffs.display()
            )));
        }
        guard::close(bpffs)?;
        let store = Self { bpffs: bpffs.to_owned(), root };
        for directory in [store.root.clone(), store.maps(), store.programs(), store.links()] {
            make_directory(&directory)?;
        }
        Ok(store)
    }

    /// Where things would be pinned, whether or not anything is.
    pub(super) fn at(bpffs: &Path) -> Self {
        Self { bpffs: bpffs.to_owned(), root: bpffs.join(SCHEMA) }
    }

    /// The directory that the user named.
    pub fn bpffs(&self) -> &Path {
        &self.bpffs
    }

    /// Where maps are pinned.
    pub fn maps(&self) -> PathBuf {
        self.root.join("maps")
    }

    /// Where maps and programs are pinned that will replace the ones in force.
    pub(super) fn next(&self) -> PathBuf {
        self.root.join("next")
    }

    /// A directory that is there at this stage: BPF file systems hold nothing but pins and directories.
    pub(super) fn stage(&self, stage: Stage) -> PathBuf {
        self.next().join(match stage {
            Stage::Turning => "turning",
            Stage::Turned => "turned",
        })
    }

    /// How far a replacement is that is under way, or was when its command was killed; `None` if no hook follows it.
    pub(super) fn reached(&self) -> Option<Stage> {
        [Stage::Turning, Stage::Turned].into_iter().find(|stage| self.stage(*stage).is_dir())
    }

    /// Removes what a load left that was cut off before it took effect.
    pub(super) fn clear(&self) -> Result<()> {
        let all = [self.links(), self.maps(), self.programs(), self.next()];
        for directory in &all {
            for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
                let path = entry.path();
                if directory == &self.links() {
                    super::links::detach(&path);
                    continue;
                }
                let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
                removed.map_err(|error| {
                    Error::system(format!("cannot remove \"{}\": {error}", path.display()))
                })?;
            }
        }
        Ok(())
    }

    /// The pinned policy array.
    pub(super) fn policy_array(&self) -> Result<PolicyArray> {
        PolicyArray::open(&self.maps().join(POLICY))
    }

    /// Where programs are pinned.
    pub fn programs(&self) -> PathBuf {
        self.root.join("programs")
    }

    /// Where links are pinned.
    pub fn links(&self) -> PathBuf {
        self.root.join("links")
    }

    /// Where the windows of a flow log are pinned.
    pub(super) fn flows(&self) -> PathBuf {
        self.root.join("flows")
    }

    /// The pin of one link. Names of devices may hold dots, which BPF file systems refuse.
    pub(super) fn link(&self, hook: &Hook) -> PathBuf {
        self.links().join(format!("{}-{}-{}", hook.ifindex, hook.side.name(), hook.via.name()))
    }

    fn kept(&self, what: &str, generation: u32) -> PathBuf {
        self.root.join(format!("{what}-{generation}"))
    }

    /// Remembers a generation, before it is in force.
    pub(super) fn write_state(&self, state: &State, rules: &NumberedRules, source: &[u8]) -> Result<()> {
        self.keep(SOURCE, state.generation, source)?;
        self.keep(RULES, state.generation, &encoded(rules)?)?;
        self.keep(STATE, state.generation, &encoded(state)?)
    }

    /// Remembers a generation that differs from an earlier one in nothing but its state, before it is in force.
    pub(super) fn write_state_alone(&self, state: &State, like: u32) -> Result<()> {
        for what in [SOURCE, RULES] {
            let (from, to) = (self.kept(what, like), self.kept(what, state.generation));
            let _ = fs::remove_file(&to);
            fs::hard_link(&from, &to).map_err(|error| {
                Error::system(format!("cannot pin \"{}\" again: {error}", from.display()))
            })?;
        }
        self.keep(STATE, state.generation, &encoded(state)?)
    }

    fn keep(&self, what: &str, generation: u32, bytes: &[u8]) -> Result<()> {
        blob::write(&self.kept(what, generation), bytes).map_err(|error| {
            let kib = bytes.len().div_ceil(1024);
            Error::system(format!("the kernel does not take {kib} KiB to remember what is loaded: {error}"))
        })
    }

    /// What was remembered of a generation; `None` if it is no longer kept.
    pub fn read_state(&self, generation: u32) -> Result<Option<State>> {
        let path = self.kept(STATE, generation);
        if !path.exists() {
            return Ok(None);
        }
        decoded(&path).map(Some)
    }

    /// The rules of a generation that is kept, in the order of the file.
    pub fn read_rules(&self, generation: u32) -> Result<Vec<RuleInfo>> {
        decoded::<NumberedRules>(&self.kept(RULES, generation)).map(|rules| rules.rules())
    }

    /// The numbers that a generation that is kept has given out.
    pub(super) fn read_numbering(&self, generation: u32) -> Result<Numbering> {
        decoded::<NumberedRules>(&self.kept(RULES, generation)).map(|rules| rules.numbering)
    }

    /// The rules file of a generation that is kept, byte for byte.
    pub(super) fn read_source(&self, generation: u32) -> Result<Vec<u8>> {
        let path = self.kept(SOURCE, generation);
        blob::read(&path).map_err(|error| damaged(&path, &error))
    }

    /// Forgets all generations but these.
    pub(super) fn keep_states(&self, kept: &[u32]) {
        let Ok(entries) = fs::read_dir(&self.root) else { return };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let generation = name.to_str().and_then(|name| {
                let (what, generation) = name.split_once('-')?;
                [STATE, RULES, SOURCE].contains(&what).then(|| generation.parse::<u32>().ok())?
            });
            if generation.is_some_and(|generation| !kept.contains(&generation)) {
                let _ = fs::remove_file(entry.path());
            }
        }
    }

    /// Removes every pin: links, so that hooks end, then the rest.
    pub(super) fn remove(&self) -> Result<()> {
        detach_links(&self.links());
        remove_tree(&self.root)?;
        // Only if it is ours alone: others may have put something beside it, or it is the mount point.
        let _ = fs::remove_dir(&self.bpffs);
        Ok(())
    }
}

fn encoded(value: &impl Serialize) -> Result<Vec<u8>> {
    postcard::to_stdvec(value)
        .map_err(|error| Error::system(format!("cannot write down what is loaded: {error}")))
}

fn decoded<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let bytes = blob::read(path).map_err(|error| damaged(path, &error))?;
    postcard::from_bytes(&bytes).map_err(|error| damaged(path, &error))
}

fn damaged(path: &Path, error: &dyn std::fmt::Display) -> Error {
    Error::system(format!(
        "the state in \"{}\" cannot be read: {error}; remove everything with `fwctl unload --force`",
        path.display()
    ))
}

/// Removes whatever any version of fwctl pinned under `bpffs`; says how much.
pub(super) fn remove_everything(bpffs: &Path) -> Result<usize> {
    let mut removed = 0;
    let Ok(entries) = fs::read_dir(bpffs) else { return Ok(0) };
    for entry in entries.flatten() {
        if entry.file_name().as_bytes().starts_with(b"schema-") {
            detach_links(&entry.path().join("links"));
            remove_tree(&entry.path())?;
            removed += 1;
        }
    }
    let _ = fs::remove_dir(bpffs);
    Ok(removed)
}

fn detach_links(directory: &Path) {
    for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
        super::links::detach(&entry.path());
    }
}

fn other_schema(bpffs: &Path) -> Option<String> {
    let entries = fs::read_dir(bpffs).ok()?;
    let mut names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
    names.find(|name| name.starts_with("schema-"))
}

fn remove_tree(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(Error::system(format!("cannot remove \"{}\": {error}", path.display())))
        }
        _ => Ok(()),
    }
}

fn is_bpffs(path: &Path) -> bool {
    let Ok(path) = std::ffi::CString::new(path.as_os_str().as_bytes()) else { return false };
    let mut info = std::mem::MaybeUninit::<libc::statfs>::uninit();
    // SAFETY: the path is a C string, and `info` has room for what the call writes.
    if unsafe { libc::statfs(path.as_ptr(), info.as_mut_ptr()) } != 0 {
        return false;
    }
    // SAFETY: the call succeeded, so all of `info` was written.
    let info = unsafe { info.assume_init() };
    // Its type differs between C libraries, its 32 bits do not.
    info.f_type as u32 == BPF_FS_MAGIC
}

fn mount_namespace(process: &str) -> Option<u64> {
    fs::metadata(format!("/proc/{process}/ns/mnt")).ok().map(|metadata| metadata.ino())
}

/// Systems without systemd may not have mounted it.
fn mount_if_missing(bpffs: &Path) -> Result<()> {
    let usual = Path::new("/sys/fs/bpf");
    if !bpffs.starts_with(usual) || is_bpffs(usual) {
        return Ok(());
    }
    if !usual.is_dir() {
        return Err(Error::system(
            "\"/sys/fs/bpf\" does not exist: this kernel is built without CONFIG_BPF_SYSCALL, or /sys is not mounted",
        ));
    }
    // What is pinned on a mount of ours ends with our mount namespace: `ip netns exec` makes one for its command only,
    // and filtering would end a moment after we said that it began.
    if mount_namespace("thread-self") != mount_namespace("1") {
        return Err(Error::system(
            "no BPF file system is mounted on \"/sys/fs/bpf\" here, and one that is mounted in this process's own mount \
             namespace would end with it; under `ip netns exec` use `nsenter --net=/run/netns/NAME fwctl ...` instead, in a \
             container mount the host's /sys/fs/bpf",
        ));
    }
    // For root alone: the kernel's own default is open to all.
    // SAFETY: four C strings; the kernel copies them.
    let failed = unsafe {
        libc::mount(
            c"bpf".as_ptr(),
            c"/sys/fs/bpf".as_ptr(),
            c"bpf".as_ptr(),
            0,
            c"mode=0700".as_ptr().cast(),
        )
    };
    if failed != 0 {
        let error = std::io::Error::last_os_error();
        return Err(Error::system(format!("cannot mount the BPF file system on \"/sys/fs/bpf\": {error}")));
    }
    Ok(())
}

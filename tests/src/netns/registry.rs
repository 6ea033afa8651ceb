//! What must go when we go: by drop, by `exit`, by Ctrl-C; and what a killed process left, swept by the next.
//!
//! A thing is entered before it is made and struck out after it is gone, so that there is no moment at which
//! an interruption loses it.

use std::collections::BTreeSet;
use std::ffi::{CString, c_int};
use std::io::{self, Read};
use std::os::fd::IntoRawFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicI32, AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, Once, PoisonError};
use std::{env, fs, mem, process, thread};

use anyhow::{Result, ensure};

use crate::containers;

/// Where iproute2 keeps the names.
const NAMESPACES: &str = "/run/netns";
const NAMESPACE_PREFIX: &str = "fwctl-";
pub(super) const BPFFS: &str = "/sys/fs/bpf";
pub(super) const DIRECTORY_PREFIX: &str = "fwctl-test-";

/// Something that outlives a process unless it is removed; in the order of removal.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Thing {
    Process(u32),
    Containers(PathBuf),
    Directory(PathBuf),
    Namespace(String),
}

static THINGS: Mutex<BTreeSet<Thing>> = Mutex::new(BTreeSet::new());
static NEXT: AtomicU32 = AtomicU32::new(0);
static SIGNAL_PIPE: AtomicI32 = AtomicI32::new(-1);

fn things() -> MutexGuard<'static, BTreeSet<Thing>> {
    THINGS.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn number() -> u32 {
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// `fwctl-<pid>-<n>-<label>`.
pub(super) fn unique(label: &str) -> Result<String> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    ensure!(
        !label.is_empty() && label.chars().all(plain),
        "\"{label}\" is no label: a-z, 0-9 and - make one"
    );
    Ok(format!("{NAMESPACE_PREFIX}{}-{}-{label}", process::id(), number()))
}

pub(super) fn netns_path(name: &str) -> PathBuf {
    Path::new(NAMESPACES).join(name)
}

/// Makes a thing that will be removed. The lock is held meanwhile: an interruption waits for it.
pub(crate) fn create<T>(thing: Thing, make: impl FnOnce() -> Result<T>) -> Result<T> {
    prepare();
    let mut things = things();
    things.insert(thing.clone());
    let made = make();
    if made.is_err() {
        thing.destroy();
        things.remove(&thing);
    }
    made
}

pub(super) fn start(command: &mut Command) -> io::Result<Child> {
    prepare();
    let mut things = things();
    let child = command.spawn()?;
    things.insert(Thing::Process(child.id()));
    Ok(child)
}

pub(crate) fn remove(thing: &Thing) {
    thing.destroy();
    forget(thing);
}

pub(crate) fn forget(thing: &Thing) {
    things().remove(thing);
}

impl Thing {
    /// Idempotent: an interruption may remove what a drop is about to remove.
    fn destroy(&self) {
        match self {
            Self::Process(id) => {
                // SAFETY: takes two numbers; the process is ours and not yet reaped: the number is its own.
                unsafe { libc::kill(*id as i32, libc::SIGKILL) };
            }
            Self::Containers(store) => containers::remove_store(store),
            Self::Directory(path) => {
                let _ = fs::remove_dir_all(path);
            }
            Self::Namespace(name) => {
                let path = netns_path(name);
                let c_path = CString::new(path.as_os_str().as_encoded_bytes()).expect("names have no NUL");
                // SAFETY: a NUL-terminated path that outlives the call.
                unsafe { libc::umount2(c_path.as_ptr(), libc::MNT_DETACH) };
                let _ = fs::remove_file(path);
            }
        }
    }
}

/// Once per process: sweeps, and sees to the ends that no drop sees.
fn prepare() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        sweep();
        watch_signals().expect("signals can be watched");
        // SAFETY: registers a function that never unwinds. Statics are not dropped at exit: this is for them.
        unsafe { libc::atexit(at_exit) };
    });
}

extern "C" fn at_exit() {
    // Not `lock`: the thread that exits may hold it.
    if let Ok(things) = THINGS.try_lock() {
        things.iter().for_each(Thing::destroy);
    }
}

extern "C" fn on_signal(signal: c_int) {
    let byte = signal as u8;
    // SAFETY: one byte that outlives the call, to a pipe that is never closed; `write` is async-signal-safe.
    unsafe { libc::write(SIGNAL_PIPE.load(Ordering::Relaxed), (&raw const byte).cast(), 1) };
}

/// A handler may hardly do anything, so it only wakes a thread that removes everything and then lets the
/// signal have its way. Signals that somebody ignores or handles stay theirs.
fn watch_signals() -> io::Result<()> {
    let (mut reader, writer) = io::pipe()?;
    SIGNAL_PIPE.store(writer.into_raw_fd(), Ordering::Relaxed);
    thread::Builder::new().name("fwctl-signals".into()).spawn(move || {
        let mut byte = [0];
        if reader.read_exact(&mut byte).is_ok() {
            let things = things();
            things.iter().for_each(Thing::destroy);
            // Never unlocked: nobody makes anything any more.
            mem::forget(things);
            let signal = c_int::from(byte[0]);
            // SAFETY: takes two numbers.
            unsafe { libc::signal(signal, libc::SIG_DFL) };
            // SAFETY: takes two numbers; to the process, as the signal came.
            unsafe { libc::kill(process::id() as i32, signal) };
        }
    })?;
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        let handler: extern "C" fn(c_int) = on_signal;
        // SAFETY: installs a handler that makes one async-signal-safe call.
        let before = unsafe { libc::signal(signal, handler as libc::sighandler_t) };
        if before != libc::SIG_DFL {
            // SAFETY: gives back what was there.
            unsafe { libc::signal(signal, before) };
        }
    }
    Ok(())
}

/// Removes what processes left that were killed: namespaces, bpffs directories and containers of our names whose process
/// is gone. Returns their names. Runs by itself before the first thing that a process makes.
pub fn sweep() -> Vec<String> {
    let mut swept = Vec::new();
    let mut collect = |directory: &str, prefix: &str, thing: &dyn Fn(PathBuf, String) -> Thing| {
        for entry in fs::read_dir(directory).into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if is_orphan(&name, prefix) {
                thing(entry.path(), name.clone()).destroy();
                swept.push(name);
            }
        }
    };
    collect(NAMESPACES, NAMESPACE_PREFIX, &|_, name| Thing::Namespace(name));
    collect(BPFFS, DIRECTORY_PREFIX, &|path, _| Thing::Directory(path));
    let temporary = env::temp_dir();
    collect(&temporary.to_string_lossy(), containers::STORE_PREFIX, &|path, _| Thing::Containers(path));
    swept
}

fn is_orphan(name: &str, prefix: &str) -> bool {
    let id = name.strip_prefix(prefix).and_then(|rest| rest.split('-').next());
    let id: Option<u32> = id.and_then(|id| id.parse().ok());
    id.is_some_and(|id| !Path::new("/proc").join(id.to_string()).exists())
}

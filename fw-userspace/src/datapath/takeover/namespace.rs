//! The network namespace of an instance: found by the number that the kernel gives it beside ours, entered by a thread
//! that ends there.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;

use futures_util::StreamExt;
use netlink_packet_core::{NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::nsid::{NsidAttribute, NsidMessage};
use rtnetlink::Handle;
use rustc_hash::{FxHashMap, FxHashSet};

use super::super::devices;

/// Where namespaces have names: those of iproute2 and of container engines.
const NAMED: [&str; 2] = ["/run/netns", "/run/docker/netns"];

/// One that can be entered.
#[derive(Debug)]
pub(in super::super) struct Namespace {
    handle: File,
    /// The root directory of a process in it.
    pub(super) root: Option<PathBuf>,
}

impl Namespace {
    /// Does something inside, on a thread of its own.
    pub(super) fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        thread::scope(|scope| {
            let inside = || {
                // SAFETY: takes a descriptor that `handle` keeps open, and no memory.
                match unsafe { libc::setns(self.handle.as_raw_fd(), libc::CLONE_NEWNET) } {
                    0 => Ok(work()),
                    _ => Err(io::Error::last_os_error()),
                }
            };
            let thread = thread::Builder::new().spawn_scoped(scope, inside)?;
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }
}

/// The namespaces with these numbers, as far as they have a name or a process.
pub(super) fn find(mut wanted: FxHashSet<i32>) -> BTreeMap<i32, Namespace> {
    let mut found = BTreeMap::new();
    if wanted.is_empty() {
        return found;
    }
    let mut candidates = Candidates::default();
    for folder in NAMED {
        candidates.add(entries(Path::new(folder)).map(|path| (path, None)));
    }
    candidates.add(processes());
    let files = candidates.open();
    let numbers = numbers(files.values().map(|(file, _)| file.as_raw_fd()));
    for (file, root) in files.into_values() {
        if let Some(number) = numbers.get(&file.as_raw_fd())
            && wanted.remove(number)
        {
            found.insert(*number, Namespace { handle: file, root });
        }
    }
    found
}

/// A path and a root directory by the number of the namespace's file.
#[derive(Default)]
struct Candidates(FxHashMap<(u64, u64), (PathBuf, Option<PathBuf>)>);

impl Candidates {
    fn add(&mut self, paths: impl Iterator<Item = (PathBuf, Option<PathBuf>)>) {
        for (path, root) in paths {
            let Ok(metadata) = fs::metadata(&path) else { continue };
            let (_, known) = self.0.entry((metadata.dev(), metadata.ino())).or_insert((path, None));
            if known.is_none() {
                *known = root;
            }
        }
    }

    fn open(self) -> BTreeMap<PathBuf, (File, Option<PathBuf>)> {
        let open =
            |(path, root): (PathBuf, Option<PathBuf>)| Some((path.clone(), (File::open(path).ok()?, root)));
        self.0.into_values().filter_map(open).collect()
    }
}

fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> + use<> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path())
}

fn processes() -> impl Iterator<Item = (PathBuf, Option<PathBuf>)> {
    let is_process = |path: &PathBuf| {
        path.file_name().is_some_and(|name| name.as_encoded_bytes().iter().all(u8::is_ascii_digit))
    };
    entries(Path::new("/proc")).filter(is_process).map(|path| (path.join("ns/net"), Some(path.join("root"))))
}

/// By descriptor, the number that the kernel gives a namespace beside ours. What is no namespace has none.
fn numbers(handles: impl Iterator<Item = RawFd>) -> FxHashMap<RawFd, i32> {
    let handles: Vec<RawFd> = handles.collect();
    let asked = devices::ask("name network namespaces", async |handle| {
        let mut numbers = FxHashMap::default();
        for fd in handles {
            if let Some(number) = number(handle.clone(), fd).await {
                numbers.insert(fd, number);
            }
        }
        Ok(numbers)
    });
    asked.unwrap_or_default()
}

async fn number(mut handle: Handle, fd: RawFd) -> Option<i32> {
    let mut question = NsidMessage::default();
    question.attributes.push(NsidAttribute::Fd(fd.cast_unsigned()));
    let mut header = NetlinkHeader::default();
    header.flags = NLM_F_REQUEST;
    let message = NetlinkMessage::new(header, RouteNetlinkMessage::GetNsId(question).into());
    let mut answers = handle.request(message).ok()?;
    while let Some(message) = answers.next().await {
        if let NetlinkPayload::InnerMessage(RouteNetlinkMessage::NewNsId(answer)) = message.payload {
            return answer.attributes.iter().find_map(|attribute| match attribute {
                NsidAttribute::Id(number) if *number >= 0 => Some(*number),
                _ => None,
            });
        }
    }
    None
}

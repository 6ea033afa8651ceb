//! Hosts for tests: network namespaces and the veth pairs between them, gone when the test is over, however
//! it ends.
//!
//! Only the network namespace changes: the mount namespace stays, so a bpffs is seen from inside as well
//! (`ip netns exec` would hide it behind a fresh /sys). Nothing outside the namespaces is touched, except
//! that [`BpffsDir`] mounts /sys/fs/bpf where nobody has.
//!
//! Two things about veth that surprise: a packet sent by a socket keeps an unfinished checksum all the way
//! (the far end trusts it, a capture shows it, XDP and TC see it), and TCP comes in segments of up to 64 KiB.
//! `namespace.command("ethtool", ["-K", "eth0", "tx", "off"])` finishes them where ethtool is installed;
//! frames sent with [`crate::traffic::send_frame`] arrive byte for byte.

mod bpffs;
pub(crate) mod registry;
mod rig;
#[cfg(test)]
mod tests;

use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::panic::resume_unwind;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;

use anyhow::{Context, Result, ensure};

pub use bpffs::BpffsDir;
pub use registry::sweep;
pub use rig::{Host, Rig};

use registry::Thing;

/// A network namespace of our own, with `lo` up. It goes with the value.
#[derive(Debug)]
pub struct Namespace {
    name: String,
    handle: File,
}

impl Namespace {
    /// A fresh namespace `fwctl-<pid>-<n>-<label>`; the first one of a process sweeps up behind dead ones.
    ///
    /// Inside there is no duplicate address detection (addresses work at once), no reverse-path filter (only
    /// fwctl filters), no limit on ICMP errors (a refusal is never silent), no router solicitation, and
    /// everybody may ping.
    pub fn new(label: &str) -> Result<Self> {
        let name = registry::unique(label)?;
        registry::create(Thing::Namespace(name.clone()), || {
            finish(Command::new("ip").args(["netns", "add", &name])).map(drop)
        })?;
        let made = File::open(registry::netns_path(&name)).context("cannot open the namespace just made");
        let namespace = match made {
            Ok(handle) => Self { name, handle },
            Err(error) => {
                registry::remove(&Thing::Namespace(name));
                return Err(error);
            }
        };
        for (key, value) in [
            ("ipv6/conf/all/accept_dad", "0"),
            ("ipv6/conf/default/accept_dad", "0"),
            ("ipv6/conf/default/router_solicitations", "0"),
            ("ipv4/conf/all/rp_filter", "0"),
            ("ipv4/conf/default/rp_filter", "0"),
            ("ipv4/icmp_ratelimit", "0"),
            ("ipv6/icmp/ratelimit", "0"),
            ("ipv4/ping_group_range", "0 2147483647"),
        ] {
            namespace.sysctl(key, value)?;
        }
        namespace.ip("link set lo up")?;
        Ok(namespace)
    }

    /// Its name, as `ip netns` lists it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The file to enter it by: `nsenter --net=PATH`.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        registry::netns_path(&self.name)
    }

    /// Runs the closure inside, on a thread of its own that ends with it; a panic goes on in the caller.
    ///
    /// Sockets belong for ever to the namespace they were made in, so they may leave the closure. Inside,
    /// `/proc/sys/net` is that of the namespace; `/proc/net` is not (it follows the process's first thread:
    /// read `/proc/thread-self/net`), and `/sys/class/net` shows whoever mounted /sys.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        thread::scope(|scope| {
            let inside = || {
                enter(&self.handle).unwrap_or_else(|error| panic!("cannot enter {}: {error}", self.name));
                work()
            };
            scope.spawn(inside).join().unwrap_or_else(|panic| resume_unwind(panic))
        })
    }

    /// A program to be run inside.
    #[must_use]
    pub fn command<A: AsRef<OsStr>>(
        &self,
        program: impl AsRef<OsStr>,
        arguments: impl IntoIterator<Item = A>,
    ) -> Command {
        let mut command = Command::new(program);
        command.args(arguments);
        let handle = self.handle.try_clone().expect("a file handle can be duplicated");
        // SAFETY: between fork and exec only async-signal-safe calls are allowed; `enter` is one system call.
        unsafe { command.pre_exec(move || enter(&handle)) };
        command
    }

    /// Starts a program inside, without input; it is killed when the handle goes.
    pub fn spawn<A: AsRef<OsStr>>(
        &self,
        program: impl AsRef<OsStr>,
        arguments: impl IntoIterator<Item = A>,
    ) -> Result<Process> {
        Process::start(self.command(program, arguments).stdin(Stdio::null()))
    }

    /// Runs a program inside to its end: its output, or an error with what it said.
    pub fn output<A: AsRef<OsStr>>(
        &self,
        program: impl AsRef<OsStr>,
        arguments: impl IntoIterator<Item = A>,
    ) -> Result<String> {
        finish(&mut self.command(program, arguments))
    }

    /// `ip ARGUMENTS` inside, split at spaces.
    pub fn ip(&self, arguments: &str) -> Result<String> {
        self.output("ip", arguments.split_whitespace())
    }

    /// Gives a device an address with prefix length, usable at once.
    pub fn address(&self, device: &str, address: &str) -> Result<()> {
        let nodad = if address.contains(':') { "nodad" } else { "" };
        self.ip(&format!("address add {address} dev {device} {nodad}")).map(drop)
    }

    /// Routes a destination (`default` too) over a gateway of the same family.
    pub fn route(&self, destination: &str, gateway: &str) -> Result<()> {
        let family = if gateway.contains(':') { "-6" } else { "-4" };
        self.ip(&format!("{family} route replace {destination} via {gateway}")).map(drop)
    }

    /// Makes it a router for both families.
    pub fn forward(&self) -> Result<()> {
        self.sysctl("ipv4/ip_forward", "1")?;
        self.sysctl("ipv6/conf/all/forwarding", "1")
    }

    /// Sets `/proc/sys/net/KEY` of the namespace.
    pub fn sysctl(&self, key: &str, value: &str) -> Result<()> {
        let path = format!("/proc/sys/net/{key}");
        self.run(|| std::fs::write(&path, value))
            .with_context(|| format!("cannot write \"{value}\" to {path}"))
    }

    /// The index of a device.
    pub fn index(&self, device: &str) -> Result<u32> {
        let name = CString::new(device).with_context(|| format!("\"{device}\" is no name of a device"))?;
        let found = self.run(|| {
            // SAFETY: a NUL-terminated name that outlives the call.
            match unsafe { libc::if_nametoindex(name.as_ptr()) } {
                0 => Err(io::Error::last_os_error()),
                index => Ok(index),
            }
        });
        found.with_context(|| format!("there is no device \"{device}\" in {}", self.name))
    }

    /// The hardware address of a device.
    pub fn mac(&self, device: &str) -> Result<[u8; 6]> {
        let link = self.link(device)?;
        let text = link["address"].as_str().context("`ip` told no hardware address")?;
        let bytes: Result<Vec<u8>, _> = text.split(':').map(|byte| u8::from_str_radix(byte, 16)).collect();
        bytes
            .ok()
            .and_then(|bytes| bytes.try_into().ok())
            .with_context(|| format!("\"{text}\" has not six bytes"))
    }

    fn link(&self, device: &str) -> Result<serde_json::Value> {
        let text = self.ip(&format!("-json link show dev {device}"))?;
        Ok(serde_json::from_str::<serde_json::Value>(&text)?[0].take())
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        registry::remove(&Thing::Namespace(self.name.clone()));
    }
}

/// Joins two namespaces by a veth pair, both ends up. The devices are made inside: the host never sees them.
pub fn join(a: &Namespace, device_a: &str, b: &Namespace, device_b: &str) -> Result<()> {
    let to = b.name();
    a.ip(&format!("link add {device_a} type veth peer name {device_b} netns {to}"))?;
    a.ip(&format!("link set {device_a} up"))?;
    b.ip(&format!("link set {device_b} up")).map(drop)
}

/// A running program, killed and reaped when the value goes, and killed when we are interrupted.
#[derive(Debug)]
pub struct Process {
    child: Child,
    thing: Thing,
}

impl Process {
    /// Starts a command, inside a namespace or not.
    pub fn start(command: &mut Command) -> Result<Self> {
        let child = registry::start(command).with_context(|| format!("cannot start {command:?}"))?;
        let thing = Thing::Process(child.id());
        Ok(Self { child, thing })
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: i32) -> io::Result<()> {
        // SAFETY: takes two numbers; the process is ours, and its number is nobody else's before it is reaped.
        match unsafe { libc::kill(self.child.id() as i32, signal) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }

    /// The program: its pipes, its number, its end.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        // Before the wait: afterwards the number may be somebody else's.
        registry::forget(&self.thing);
        let _ = self.child.wait();
    }
}

fn enter(handle: &File) -> io::Result<()> {
    // SAFETY: takes a descriptor that `handle` keeps open, and no memory.
    match unsafe { libc::setns(handle.as_raw_fd(), libc::CLONE_NEWNET) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

fn finish(command: &mut Command) -> Result<String> {
    let output =
        command.stdin(Stdio::null()).output().with_context(|| format!("cannot start {command:?}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{command:?}: {}: {}", output.status, said.trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

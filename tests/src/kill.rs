//! Commands that are killed at a chosen moment: between two of their system calls, or after some time.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};
use std::ptr;
use std::time::Duration;

use anyhow::{Result, ensure};

use crate::netns::Process;

#[cfg(target_arch = "x86_64")]
const FILES: [libc::c_long; 5] =
    [libc::SYS_mkdir, libc::SYS_rmdir, libc::SYS_rename, libc::SYS_unlink, libc::SYS_link];
/// Newer architectures have none of these.
#[cfg(not(target_arch = "x86_64"))]
const FILES: [libc::c_long; 5] = [-1; 5];

/// Whether a call makes a directory.
#[must_use]
pub fn is_mkdir(call: libc::c_long) -> bool {
    [libc::SYS_mkdirat, FILES[0]].contains(&call)
}

/// Whether a call removes something from a directory.
#[must_use]
pub fn is_removal(call: libc::c_long) -> bool {
    [libc::SYS_unlinkat, FILES[1], FILES[3]].contains(&call)
}

/// Whether a call changes what other processes see.
fn is_change(call: libc::c_long) -> bool {
    let newer = [libc::SYS_mkdirat, libc::SYS_unlinkat, libc::SYS_renameat2, libc::SYS_linkat];
    [libc::SYS_bpf, libc::SYS_membarrier].contains(&call) || newer.contains(&call) || FILES.contains(&call)
}

/// Runs a command up to its call number `at` of those that change something, counted from 0, and kills it there, before
/// the kernel does what is asked; the numbers of the calls before that one, all of them if there were fewer.
pub fn before_change(command: &mut Command, at: usize) -> Result<Vec<libc::c_long>> {
    // SAFETY: one system call without pointers, between fork and exec.
    unsafe { command.pre_exec(|| trace(libc::PTRACE_TRACEME, 0, 0, 0).map(drop)) };
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let pid = libc::pid_t::try_from(child.id())?;
    ensure!(libc::WIFSTOPPED(wait(pid)?), "the command has ended before it began");
    // It dies with us.
    let options = libc::PTRACE_O_TRACESYSGOOD | libc::PTRACE_O_EXITKILL;
    trace(libc::PTRACE_SETOPTIONS, pid, 0, options as usize)?;
    let mut calls = Vec::new();
    let mut signal = 0;
    loop {
        trace(libc::PTRACE_SYSCALL, pid, 0, signal)?;
        let status = wait(pid)?;
        if !libc::WIFSTOPPED(status) {
            return Ok(calls);
        }
        signal = 0;
        if libc::WSTOPSIG(status) != libc::SIGTRAP | 0x80 {
            signal = libc::WSTOPSIG(status) as usize;
            continue;
        }
        let Some(call) = entered(pid)?.filter(|call| is_change(*call)) else { continue };
        if calls.len() == at {
            // SAFETY: a signal to a child that nobody has waited for to its end.
            unsafe { libc::kill(pid, libc::SIGKILL) };
            while !libc::WIFSIGNALED(wait(pid)?) {}
            return Ok(calls);
        }
        calls.push(call);
    }
}

/// Runs a command for some time and kills it.
pub fn after(mut command: Command, time: Duration) -> Result<()> {
    let process = Process::start(command.stdout(Stdio::null()).stderr(Stdio::null()))?;
    std::thread::sleep(time);
    drop(process);
    Ok(())
}

/// The call that a stopped process is about to make; `None` if it has just made one.
fn entered(pid: libc::pid_t) -> Result<Option<libc::c_long>> {
    // SAFETY: integers only, for which zeroes are values.
    let mut info: libc::ptrace_syscall_info = unsafe { std::mem::zeroed() };
    let size = size_of_val(&info);
    trace(libc::PTRACE_GET_SYSCALL_INFO, pid, size, (&raw mut info) as usize)?;
    if info.op != libc::PTRACE_SYSCALL_INFO_ENTRY {
        return Ok(None);
    }
    // SAFETY: this is the part that the kernel has filled for an entry.
    Ok(Some(libc::c_long::try_from(unsafe { info.u.entry.nr })?))
}

fn trace(request: libc::c_uint, pid: libc::pid_t, address: usize, data: usize) -> io::Result<()> {
    // SAFETY: addresses that are given are those of values that outlive the call.
    let failed = unsafe { libc::ptrace(request, pid, address, data) };
    if failed < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn wait(pid: libc::pid_t) -> io::Result<libc::c_int> {
    let mut status = 0;
    // SAFETY: writes to `status`.
    if unsafe { libc::waitpid(pid, ptr::from_mut(&mut status), 0) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(status)
}

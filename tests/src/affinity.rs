//! Which CPU a thread runs on.

use std::{io, mem};

use anyhow::{Context as _, Result, ensure};

/// Keeps this thread on the n-th CPU that it may use, or the last if there are fewer.
pub fn pin(number: usize) -> Result<()> {
    let size = size_of::<libc::cpu_set_t>();
    // SAFETY: a plain array of bits, for which all zero is the empty set.
    let mut allowed: libc::cpu_set_t = unsafe { mem::zeroed() };
    // SAFETY: 0 is this thread, and there is room for a set of the size given.
    let result = unsafe { libc::sched_getaffinity(0, size, &raw mut allowed) };
    ensure!(result == 0, "cannot ask for the CPUs of a thread: {}", io::Error::last_os_error());
    let all = libc::CPU_SETSIZE as usize;
    // SAFETY: indexes are below the size of the set.
    let cpus: Vec<usize> = (0..all).filter(|cpu| unsafe { libc::CPU_ISSET(*cpu, &allowed) }).collect();
    let cpu = *cpus.get(number).or(cpus.last()).context("a thread without a CPU")?;
    // SAFETY: as above.
    let mut one: libc::cpu_set_t = unsafe { mem::zeroed() };
    // SAFETY: it was in such a set, so it is below its size.
    unsafe { libc::CPU_SET(cpu, &mut one) };
    // SAFETY: 0 is this thread; the set is of the size given and only read.
    let result = unsafe { libc::sched_setaffinity(0, size, &raw const one) };
    ensure!(result == 0, "cannot keep a thread on CPU {cpu}: {}", io::Error::last_os_error());
    Ok(())
}

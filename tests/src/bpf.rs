//! The system call `bpf(2)`, for the few commands that aya does not offer.

use std::io;

/// Gives the kernel a command; the kernel takes a shorter attribute than its own, and reads the rest as zeros.
///
/// # Safety
///
/// `attributes` must be those of the command, and whatever they point to valid for it.
pub unsafe fn command<T>(number: u32, attributes: *mut T) -> io::Result<i32> {
    // SAFETY: the caller's promise, with the true size.
    match unsafe { libc::syscall(libc::SYS_bpf, number, attributes, size_of::<T>()) } {
        result if result < 0 => Err(io::Error::last_os_error()),
        result => Ok(result as i32),
    }
}

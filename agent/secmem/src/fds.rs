//! The descriptors that a process was started with.

use std::os::fd::{BorrowedFd, RawFd};

use rustix::fs::{Dir, Mode, OFlags, open};
use rustix::io::{Errno, FdFlags, fcntl_getfd, fcntl_setfd};

/// Marks every open descriptor but the standard ones to be closed by exec.
pub(crate) fn close_on_exec() -> std::io::Result<()> {
    // The kernel's list of our own descriptors, not a file: the ground floor has no business with the file system.
    let list = open("/proc/self/fd", OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    for entry in Dir::read_from(&list)? {
        let Some(number) = entry?.file_name().to_str().ok().and_then(|name| name.parse::<RawFd>().ok())
        else {
            continue;
        };
        if number <= 2 {
            continue;
        }
        // SAFETY: the number is not negative, and it is borrowed for these two calls only, which change nothing but
        // a flag. Were the descriptor closed meanwhile, they would say EBADF.
        let descriptor = unsafe { BorrowedFd::borrow_raw(number) };
        let marked =
            fcntl_getfd(descriptor).and_then(|flags| fcntl_setfd(descriptor, flags | FdFlags::CLOEXEC));
        if let Err(error) = marked
            && error != Errno::BADF
        {
            return Err(error.into());
        }
    }
    Ok(())
}

//! Attempts by system calls that the standard library does not make.
//!
//! Where several calls do the same all are made: one that succeeds counts.

use std::ffi::CString;
use std::io;
use std::net::SocketAddr;
use std::ptr::null;

use libc::{AT_FDCWD, AT_SYMLINK_NOFOLLOW, c_long};

pub(crate) fn signal(process: i32) -> io::Result<()> {
    // SAFETY: no pointers; signal 0 is only looked at.
    told(unsafe { libc::syscall(libc::SYS_kill, process, 0) })
}

/// A child that does nothing, for long; its process.
pub(crate) fn fork() -> io::Result<i32> {
    // SAFETY: the child makes calls alone that are safe after a fork, and never comes back from here.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => loop {
            // SAFETY: no pointers.
            unsafe { libc::pause() };
        },
        child => Ok(child),
    }
}

pub(crate) fn mptcp(to: SocketAddr) -> io::Result<()> {
    let socket = stream(libc::IPPROTO_MPTCP)?;
    let (address, length) = ipv4(to)?;
    // SAFETY: the address lives as long as the call.
    let done = told(unsafe { libc::syscall(libc::SYS_connect, socket, &raw const address, length) });
    close(socket);
    done
}

/// Data in the first packet of a connection, without a connect.
pub(crate) fn fast_open(to: SocketAddr) -> io::Result<()> {
    let socket = stream(0)?;
    let (address, length) = ipv4(to)?;
    let data = b"x".as_ptr();
    // SAFETY: data and address live as long as the call.
    let done = told(unsafe {
        libc::syscall(libc::SYS_sendto, socket, data, 1_usize, libc::MSG_FASTOPEN, &raw const address, length)
    });
    close(socket);
    done
}

pub(crate) fn mode(path: &str) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt as _;
    let bits = std::fs::metadata(path)?.mode() & 0o7777;
    let name = CString::new(path)?;
    let path = name.as_ptr();
    // SAFETY: the path lives as long as the calls.
    let made = unsafe {
        [
            told(libc::chmod(path, bits).into()),
            told(libc::syscall(libc::SYS_fchmodat, AT_FDCWD, path, bits)),
            told(libc::syscall(FCHMODAT2, AT_FDCWD, path, bits, 0)),
        ]
    };
    any(made)
}

pub(crate) fn owner(path: &str) -> io::Result<()> {
    use std::os::unix::fs::MetadataExt as _;
    let meta = std::fs::metadata(path)?;
    let (uid, gid) = (meta.uid(), meta.gid());
    let name = CString::new(path)?;
    let path = name.as_ptr();
    // SAFETY: the path lives as long as the calls.
    let made = unsafe {
        [
            told(libc::chown(path, uid, gid).into()),
            told(libc::lchown(path, uid, gid).into()),
            told(libc::syscall(libc::SYS_fchownat, AT_FDCWD, path, uid, gid, AT_SYMLINK_NOFOLLOW)),
        ]
    };
    any(made)
}

pub(crate) fn times(path: &str) -> io::Result<()> {
    let name = CString::new(path)?;
    let path = name.as_ptr();
    // SAFETY: the path lives as long as the calls; no times means now.
    let made = unsafe {
        [
            told(libc::utimes(path, null()).into()),
            told(libc::syscall(libc::SYS_utimensat, AT_FDCWD, path, null::<u8>(), 0)),
        ]
    };
    any(made)
}

pub(crate) fn xattr(path: &str) -> io::Result<()> {
    let name = CString::new(path)?;
    let (path, attribute) = (name.as_ptr(), c"user.tufagent-test".as_ptr());
    // SAFETY: path and name live as long as the calls, and the value is empty.
    let made = unsafe {
        [
            told(libc::setxattr(path, attribute, null(), 0, 0).into()),
            told(libc::lsetxattr(path, attribute, null(), 0, 0).into()),
            told(libc::removexattr(path, attribute).into()),
        ]
    };
    any(made)
}

/// How the kernel's keyrings are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keyring {
    Get,
    Add,
    Request,
}

impl Keyring {
    pub(crate) fn parse(word: &str) -> Option<Self> {
        Some(match word {
            "get" => Self::Get,
            "add" => Self::Add,
            "request" => Self::Request,
            _ => return None,
        })
    }

    pub(crate) fn ask(self) -> io::Result<()> {
        let (kind, name) = (c"user".as_ptr(), c"tufagent-test".as_ptr());
        // SAFETY: texts of the program.
        let asked = told(unsafe {
            match self {
                Self::Get => libc::syscall(libc::SYS_keyctl, GET_KEYRING_ID, OF_THE_USER, 0),
                Self::Add => libc::syscall(libc::SYS_add_key, kind, name, name, 1_usize, OF_THE_PROCESS),
                Self::Request => libc::syscall(libc::SYS_request_key, kind, name, null::<u8>(), 0),
            }
        });
        match asked {
            Err(error) if error.raw_os_error() == Some(libc::ENOKEY) => Ok(()),
            asked => asked,
        }
    }
}

/// A call with arguments that do nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Call(c_long);

impl Call {
    pub(crate) fn parse(name: &str) -> Option<Self> {
        Some(Self(match name {
            "io_uring_setup" => libc::SYS_io_uring_setup,
            "open_by_handle_at" => libc::SYS_open_by_handle_at,
            "kcmp" => libc::SYS_kcmp,
            "personality" => libc::SYS_personality,
            "pidfd_getfd" => libc::SYS_pidfd_getfd,
            "process_vm_writev" => libc::SYS_process_vm_writev,
            "ptrace" => libc::SYS_ptrace,
            "setns" => libc::SYS_setns,
            "unshare" => libc::SYS_unshare,
            _ => return None,
        }))
    }

    /// Done as far as it was not forbidden: that the arguments mean nothing counts as done.
    pub(crate) fn make(self) -> io::Result<()> {
        // All ones ask what personality it is. Others want flags, descriptors or processes that nobody has.
        let first: c_long = if self.0 == libc::SYS_unshare { 0 } else { -1 };
        // SAFETY: no call of these writes to a null pointer.
        match told(unsafe { libc::syscall(self.0, first, 0, 0, 0, 0, 0) }) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Err(error),
            _ => Ok(()),
        }
    }
}

fn stream(protocol: i32) -> io::Result<i32> {
    // SAFETY: no pointers.
    let socket = unsafe { libc::socket(libc::AF_INET, libc::SOCK_STREAM, protocol) };
    told(socket.into()).map(|()| socket)
}

fn close(socket: i32) {
    // SAFETY: opened by who calls.
    unsafe { libc::close(socket) };
}

fn ipv4(address: SocketAddr) -> io::Result<(libc::sockaddr_in, usize)> {
    let SocketAddr::V4(address) = address else { return Err(io::ErrorKind::InvalidInput.into()) };
    let address = libc::sockaddr_in {
        sin_family: libc::AF_INET.try_into().unwrap_or_default(),
        sin_port: address.port().to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from(*address.ip()).to_be() },
        sin_zero: [0; 8],
    };
    Ok((address, size_of::<libc::sockaddr_in>()))
}

fn told(result: c_long) -> io::Result<()> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// One that succeeded, or else how the last failed that the kernel knows.
fn any<const N: usize>(made: [io::Result<()>; N]) -> io::Result<()> {
    let mut failed = io::ErrorKind::Unsupported.into();
    for one in made {
        match one {
            Ok(()) => return Ok(()),
            Err(error) if error.raw_os_error() == Some(libc::ENOSYS) => {}
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

const FCHMODAT2: c_long = 452;
const GET_KEYRING_ID: c_long = 0;
const OF_THE_PROCESS: c_long = -2;
const OF_THE_USER: c_long = -4;

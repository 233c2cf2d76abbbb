//! Connections into a network of pcscd's own, in which vpcd listens where nobody else can reach it.
//!
//! A card lives outside of that. A program inside, which [`serve`]s, connects for whoever asks at a socket with a path, which
//! all networks share, and hands the connection over.

use std::io::{self, IoSlice, IoSliceMut, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, TcpStream};
use std::os::fd::AsFd as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::thread;

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketType,
};

/// Connects for others, for ever. A network that was made just now is of use then.
///
/// # Errors
/// When the socket cannot be made, or the network's own address cannot be used.
pub fn serve(socket: &Path) -> io::Result<()> {
    switch_loopback_on()?;
    for stream in UnixListener::bind(socket)?.incoming().flatten() {
        thread::spawn(move || {
            // Whoever asked may have gone, or nothing listens there yet: the other side asks again.
            let _ = connect_for(stream);
        });
    }
    Ok(())
}

fn connect_for(mut stream: UnixStream) -> io::Result<()> {
    let mut port = [0; 2];
    stream.read_exact(&mut port)?;
    let made = TcpStream::connect((Ipv4Addr::LOCALHOST, u16::from_be_bytes(port)))?;
    let fds = [made.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(&fds));
    rustix::net::sendmsg(&stream, &[IoSlice::new(&[1])], &mut control, SendFlags::NOSIGNAL)?;
    Ok(())
}

/// A connection to a port in the network of whoever serves at `socket`.
pub(crate) fn dial(socket: &Path, port: u16) -> io::Result<TcpStream> {
    let mut stream = UnixStream::connect(socket)?;
    stream.write_all(&port.to_be_bytes())?;
    let mut byte = [0];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    rustix::net::recvmsg(&stream, &mut [IoSliceMut::new(&mut byte)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let given = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut fds) => fds.next(),
        _ => None,
    });
    given.map(TcpStream::from).ok_or_else(|| io::ErrorKind::ConnectionRefused.into())
}

/// What `ip link set lo up` does: rtnetlink(7). Where it is on already, nothing changes.
fn switch_loopback_on() -> io::Result<()> {
    const REQUEST_WITH_ACK: u16 = 0x5;
    const NEW_LINK: u16 = 16;
    const ERROR: u16 = 2;
    const LOOPBACK: i32 = 1;
    const UP: u32 = 1;
    let mut request = 32_u32.to_ne_bytes().to_vec();
    request.extend(NEW_LINK.to_ne_bytes());
    request.extend(REQUEST_WITH_ACK.to_ne_bytes());
    // Number and sender of the request.
    request.extend([1_u32.to_ne_bytes(), [0; 4]].concat());
    // Any family, any type.
    request.extend([0; 4]);
    request.extend(LOOPBACK.to_ne_bytes());
    request.extend([UP.to_ne_bytes(), UP.to_ne_bytes()].concat());
    let route = rustix::net::socket(AddressFamily::NETLINK, SocketType::RAW, None)?;
    rustix::net::sendto(&route, &request, SendFlags::empty(), &SocketAddrNetlink::new(0, 0))?;
    let mut answer = [0; 128];
    rustix::net::recv(&route, &mut answer, RecvFlags::empty())?;
    let (kind, code) = ([answer[4], answer[5]], [answer[16], answer[17], answer[18], answer[19]]);
    match (u16::from_ne_bytes(kind), i32::from_ne_bytes(code)) {
        (ERROR, 0) => Ok(()),
        (ERROR, code) => Err(io::Error::from_raw_os_error(code.saturating_neg())),
        _ => Err(io::Error::other("the network answered what was not asked")),
    }
}

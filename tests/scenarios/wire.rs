//! HTTP/2 by hand, as a hostile client speaks it: frames as bytes, right or wrong.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// What a client says first (RFC 9113 section 3.4), with empty settings.
pub(crate) const HELLO: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
/// Types of frames.
pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RESET: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const WINDOW: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;
/// Flags.
pub(crate) const END: u8 = 1;
pub(crate) const HEADERS_END: u8 = 4;

/// One frame (RFC 9113 section 4.1).
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A header as a literal that is not indexed (RFC 7541 section 6.2.2); texts of less than 127 bytes.
pub(crate) fn header(name: &str, value: &str) -> Vec<u8> {
    let text = |text: &str| [&[u8::try_from(text.len()).unwrap()], text.as_bytes()].concat();
    [&[0], text(name).as_slice(), &text(value)].concat()
}

/// The headers of a gRPC call.
pub(crate) fn call(path: &str) -> Vec<u8> {
    let headers = [
        (":method", "POST"),
        (":scheme", "http"),
        (":authority", "agent"),
        (":path", path),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ];
    headers.iter().flat_map(|(name, value)| header(name, value)).collect()
}

/// A gRPC message, not compressed.
pub(crate) fn message(bytes: &[u8]) -> Vec<u8> {
    [&[0], u32::try_from(bytes.len()).unwrap().to_be_bytes().as_slice(), bytes].concat()
}

pub(crate) const STATUS: &str = "/tufagent.v1.Agent/Status";
pub(crate) const SIGN: &str = "/tufagent.v1.Signing/Sign";

/// A client's end.
pub(crate) struct Wire(pub(crate) UnixStream);

impl Wire {
    /// Connects, and says nothing yet.
    pub(crate) fn connect(socket: &Path) -> io::Result<Self> {
        let stream = UnixStream::connect(socket)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        stream.set_write_timeout(Some(Duration::from_secs(60)))?;
        Ok(Self(stream))
    }

    /// Connects and says hello.
    pub(crate) fn hello(socket: &Path) -> Self {
        let mut wire = Self::connect(socket).unwrap();
        wire.send(HELLO).unwrap();
        wire
    }

    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    /// Type, flags, stream and payload of the next frame.
    pub(crate) fn next(&mut self) -> io::Result<(u8, u8, u32, Vec<u8>)> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head)?;
        let mut payload =
            vec![0; usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2])];
        self.0.read_exact(&mut payload)?;
        Ok((head[3], head[4], u32::from_be_bytes([head[5], head[6], head[7], head[8]]), payload))
    }

    /// Asks for the agent's status on this stream; an answer has data, a refusal has none.
    pub(crate) fn status(&mut self, stream: u32) -> io::Result<bool> {
        self.send(&frame(HEADERS, HEADERS_END, stream, &call(STATUS)))?;
        self.send(&frame(DATA, END, stream, &message(&[])))?;
        let mut answered = false;
        loop {
            let (kind, flags, of, payload) = self.next()?;
            match kind {
                SETTINGS if flags & END == 0 => self.send(&frame(SETTINGS, END, 0, &[]))?,
                PING if flags & END == 0 => self.send(&frame(PING, END, 0, &payload))?,
                DATA if of == stream => {
                    answered = true;
                    let room = u32::try_from(payload.len()).unwrap().max(1).to_be_bytes();
                    self.send(&frame(WINDOW, 0, 0, &room))?;
                }
                RESET if of == stream => return Ok(false),
                _ => {}
            }
            if of == stream && flags & END != 0 && (kind == DATA || kind == HEADERS) {
                return Ok(answered);
            }
        }
    }

    /// Reads until the other end closes, for at most this long.
    pub(crate) fn is_cut_off_within(&mut self, limit: Duration) -> bool {
        let end = Instant::now() + limit;
        self.0.set_read_timeout(Some(Duration::from_millis(200))).unwrap();
        let mut buffer = [0; 4096];
        while Instant::now() < end {
            match self.0.read(&mut buffer) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                }
                Err(_) => return true,
            }
        }
        false
    }
}

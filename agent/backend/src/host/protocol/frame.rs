//! How messages between the agent and a helper travel.
//!
//! A frame is a header of 16 bytes (length of the head, length of the tail: u32, big endian; id of
//! the request: u64), the head (JSON, one [`Request`](super::Request) or [`Reply`](super::Reply)) and the tail (bytes: a PIN, a
//! message, a signature, a private key). Lengths are checked against [`Caps`] before memory is
//! taken, so a helper gone mad costs an error and nothing else (FAULTS B6). All buffers are
//! wiped when they are dropped, because a tail may be a secret.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

/// One message.
pub(crate) struct Frame {
    /// Counts requests; a reply carries that of its request.
    pub(crate) id: u64,
    /// JSON.
    pub(crate) head: Zeroizing<Vec<u8>>,
    /// Bytes, a secret perhaps.
    pub(crate) tail: Zeroizing<Vec<u8>>,
}

/// The longest parts that a side takes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Caps {
    pub(crate) head: usize,
    pub(crate) tail: usize,
}

impl Caps {
    /// What a helper takes: metadata is at most 64 MiB.
    pub(crate) const REQUEST: Self = Self { head: 1 << 16, tail: 80 << 20 };
    /// What the agent takes: lists of keys, signatures.
    pub(crate) const REPLY: Self = Self { head: 8 << 20, tail: 1 << 16 };
}

/// Why no frame came or went.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WireError {
    /// The other side closed the connection.
    #[error("the connection was closed")]
    Closed,
    /// The deadline passed.
    #[error("the deadline passed")]
    Deadline,
    /// A frame with a part that is longer than it may be.
    #[error("a message of {0} bytes is too long")]
    TooLong(usize),
    /// A head that is not what is expected.
    #[error("a message that cannot be read: {0}")]
    Garbage(String),
    /// Anything else.
    #[error("the connection failed: {0}")]
    Io(io::Error),
}

/// Writes one frame, in one piece where it is short: each piece may wake the other side. Of a long one the parts of the
/// tail follow each other without being copied together.
pub(crate) fn write_frame<T: Serialize>(
    stream: &UnixStream,
    id: u64,
    head: &T,
    tail: &[&[u8]],
    deadline: Option<Instant>,
) -> Result<(), WireError> {
    let head = serde_json::to_vec(head).map_err(|e| WireError::Garbage(e.to_string()))?;
    let tail_len: usize = tail.iter().map(|part| part.len()).sum();
    let mut start = Vec::with_capacity(HEADER + head.len());
    start.extend_from_slice(&length(head.len())?.to_be_bytes());
    start.extend_from_slice(&length(tail_len)?.to_be_bytes());
    start.extend_from_slice(&id.to_be_bytes());
    start.extend_from_slice(&head);
    if tail_len > SHORT {
        write_all(stream, &start, deadline)?;
        return tail.iter().try_for_each(|part| write_all(stream, part, deadline));
    }
    // It may hold a secret.
    let mut whole = Zeroizing::new(Vec::with_capacity(start.len() + tail_len));
    whole.extend_from_slice(&start);
    tail.iter().for_each(|part| whole.extend_from_slice(part));
    write_all(stream, &whole, deadline)
}

/// Reads one frame. Without a deadline it waits for ever.
pub(crate) fn read_frame(
    stream: &UnixStream,
    caps: Caps,
    deadline: Option<Instant>,
) -> Result<Frame, WireError> {
    let mut start = [0; HEADER];
    read_exact(stream, &mut start, deadline)?;
    let [a, b, c, d, e, f, g, h, id @ ..] = start;
    let (head_len, tail_len) = ([a, b, c, d], [e, f, g, h]);
    let head = read_part(stream, u32::from_be_bytes(head_len), caps.head, deadline)?;
    let tail = read_part(stream, u32::from_be_bytes(tail_len), caps.tail, deadline)?;
    Ok(Frame { id: u64::from_be_bytes(id), head, tail })
}

/// The value in a head.
pub(crate) fn parse_head<'a, T: Deserialize<'a>>(head: &'a [u8]) -> Result<T, WireError> {
    serde_json::from_slice(head).map_err(|e| WireError::Garbage(e.to_string()))
}

fn length(len: usize) -> Result<u32, WireError> {
    u32::try_from(len).map_err(|_| WireError::TooLong(len))
}

fn read_part(
    stream: &UnixStream,
    len: u32,
    cap: usize,
    deadline: Option<Instant>,
) -> Result<Zeroizing<Vec<u8>>, WireError> {
    let len = usize::try_from(len).unwrap_or(usize::MAX);
    if len > cap {
        return Err(WireError::TooLong(len));
    }
    let mut part = Zeroizing::new(vec![0; len]);
    read_exact(stream, &mut part, deadline)?;
    Ok(part)
}

/// A stream is read and written with deadlines always, or never.
fn read_exact(mut stream: &UnixStream, buf: &mut [u8], deadline: Option<Instant>) -> Result<(), WireError> {
    let mut rest = buf;
    while !rest.is_empty() {
        if let Some(left) = remaining(deadline)? {
            stream.set_read_timeout(Some(left)).map_err(WireError::Io)?;
        }
        match stream.read(rest) {
            Ok(0) => return Err(WireError::Closed),
            Ok(n) => rest = rest.get_mut(n..).unwrap_or_default(),
            Err(e) => transient(e)?,
        }
    }
    Ok(())
}

fn write_all(mut stream: &UnixStream, buf: &[u8], deadline: Option<Instant>) -> Result<(), WireError> {
    let mut rest = buf;
    while !rest.is_empty() {
        if let Some(left) = remaining(deadline)? {
            stream.set_write_timeout(Some(left)).map_err(WireError::Io)?;
        }
        match stream.write(rest) {
            Ok(0) => return Err(WireError::Closed),
            Ok(n) => rest = rest.get(n..).unwrap_or_default(),
            Err(e) => transient(e)?,
        }
    }
    Ok(())
}

/// A time-out of the socket is looked at again by [`remaining`], which decides.
fn transient(error: io::Error) -> Result<(), WireError> {
    match error.kind() {
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted => Ok(()),
        io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset => Err(WireError::Closed),
        _ => Err(WireError::Io(error)),
    }
}

fn remaining(deadline: Option<Instant>) -> Result<Option<Duration>, WireError> {
    let Some(deadline) = deadline else { return Ok(None) };
    match deadline.checked_duration_since(Instant::now()) {
        Some(left) if !left.is_zero() => Ok(Some(left)),
        _ => Err(WireError::Deadline),
    }
}

const HEADER: usize = 16;
/// A tail of so many bytes is sent in one piece with what stands before it.
const SHORT: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::How;
    use crate::host::protocol::{Reply, Request, TokenStatus, Wanted};
    use proptest::prelude::*;

    fn pair() -> (UnixStream, UnixStream) {
        UnixStream::pair().unwrap()
    }

    #[test]
    fn a_frame_arrives_as_it_was_sent() {
        let (a, b) = pair();
        let change = Request::ChangePin { old_len: 3, last_try: false, meant: Wanted::default() };
        write_frame(&a, 7, &change, &[b"old", b"newer"], None).unwrap();
        let frame = read_frame(&b, Caps::REQUEST, None).unwrap();
        assert_eq!(frame.id, 7);
        assert_eq!(parse_head::<Request>(&frame.head).unwrap(), change);
        assert_eq!(&**frame.tail, b"oldnewer");
    }

    #[test]
    fn four_gibibytes_are_refused_before_memory_is_taken() {
        let (a, b) = pair();
        (&a).write_all(&[0xff; 16]).unwrap();
        assert!(matches!(read_frame(&b, Caps::REPLY, None), Err(WireError::TooLong(0xffff_ffff))));
    }

    #[test]
    fn a_message_of_ten_megabytes_passes_a_small_socket_buffer() {
        let (a, b) = pair();
        let message: Vec<u8> = (0..10_000_000_u32).map(|n| u8::try_from(n % 251).unwrap()).collect();
        let copy = message.clone();
        let writer = std::thread::spawn(move || {
            write_frame(
                &a,
                1,
                &Request::Sign {
                    public: String::new(),
                    scheme: String::new(),
                    pin_len: None,
                    how: How::InOrder,
                    login_before: false,
                    meant: Wanted::default(),
                },
                &[&copy],
                None,
            )
            .unwrap();
        });
        assert!(*read_frame(&b, Caps::REQUEST, None).unwrap().tail == message);
        writer.join().unwrap();
    }

    #[test]
    fn silence_ends_at_the_deadline_and_a_closed_end_at_once() {
        let (a, b) = pair();
        let soon = Some(Instant::now() + Duration::from_millis(20));
        assert!(matches!(read_frame(&b, Caps::REPLY, soon), Err(WireError::Deadline)));
        (&a).write_all(&[0; 5]).unwrap();
        drop(a);
        assert!(matches!(read_frame(&b, Caps::REPLY, None), Err(WireError::Closed)));
    }

    proptest! {
        /// Whatever comes, from a module that has written over its helper's memory, say, the reader ends with an answer.
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400), head in 0_u8..64, tail in 0_u8..64) {
            // Lengths that may be, too: noise alone is too long nearly always.
            let mut likely = bytes.clone();
            for (place, byte) in likely.iter_mut().zip([0, 0, 0, head, 0, 0, 0, tail]) {
                *place = byte;
            }
            for bytes in [bytes, likely] {
                let (a, b) = pair();
                (&a).write_all(&bytes).unwrap();
                drop(a);
                while let Ok(frame) = read_frame(&b, Caps::REPLY, None) {
                    prop_assert!(frame.head.len() + frame.tail.len() <= bytes.len());
                    let _ = parse_head::<Reply>(&frame.head);
                    let _ = parse_head::<Request>(&frame.head);
                }
            }
        }

        /// The same of heads that are nearly right.
        #[test]
        fn no_head_makes_the_parser_panic(at in 0_usize..400, byte: u8, cut in 0_usize..400) {
            let key = crate::host::protocol::WireKey {
                label: "k".to_owned(), public: "00".to_owned(), origin: crate::Origin::Unknown, place: None,
            };
            for reply in [Reply::Keys { keys: vec![key], all: false, odd: None, unfit: None, of: Some(Box::default()) }, Reply::Status(TokenStatus::default()), Reply::AsksSlot { slot: Some(1) }] {
                let mut head = serde_json::to_vec(&reply).unwrap();
                prop_assert_eq!(parse_head::<Reply>(&head).unwrap(), reply);
                if let Some(place) = head.get_mut(at) {
                    *place = byte;
                }
                let _ = parse_head::<Reply>(&head);
                head.truncate(cut);
                let _ = parse_head::<Reply>(&head);
            }
        }
    }

    #[test]
    fn a_head_that_is_no_reply_is_garbage() {
        assert!(matches!(parse_head::<Reply>(b"{\"is\":\"king\"}"), Err(WireError::Garbage(_))));
        assert!(matches!(parse_head::<Reply>(b"\xff"), Err(WireError::Garbage(_))));
    }
}

//! The second connection of agent and helper, for small signatures that need no PIN.
//!
//! One request is one message of a SOCK_SEQPACKET socket, and so is its answer: nothing to put together, one system call
//! each. Several requests may lie in the socket, so that the token has the next one while the agent deals with the answer.
//! They are begun in their order, one at a time or as many as [`super::crew`] may; whatever comes over the other connection
//! goes first.

use std::os::fd::OwnedFd;

use rustix::io::Errno;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType};

use super::protocol::HostError;

/// A request: sign `data` with the private key of `key` (SPKI, DER) by `scheme`.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Ask<'a> {
    pub(crate) id: u64,
    pub(crate) scheme: &'a str,
    pub(crate) key: &'a [u8],
    pub(crate) data: &'a [u8],
}

/// An answer: the signature as the token gave it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) id: u64,
    pub(crate) outcome: Result<Vec<u8>, HostError>,
}

/// Both ends.
pub(crate) fn pair() -> std::io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

/// Sends one message. Without `wait` it fails with [`Errno::AGAIN`] where there is no room.
pub(crate) fn send(lane: &OwnedFd, message: &[u8], wait: bool) -> Result<(), Errno> {
    let flags = if wait { SendFlags::NOSIGNAL } else { SendFlags::NOSIGNAL | SendFlags::DONTWAIT };
    loop {
        match rustix::net::send(lane, message, flags) {
            Err(Errno::INTR) => {}
            Ok(sent) if sent == message.len() => return Ok(()),
            Ok(_) => return Err(Errno::MSGSIZE),
            Err(error) => return Err(error),
        }
    }
}

/// The next message that is there, of at most `buf`'s length; empty at the end. [`Errno::AGAIN`]: none yet.
pub(crate) fn receive<'a>(lane: &OwnedFd, buf: &'a mut [u8]) -> Result<&'a [u8], Errno> {
    loop {
        match rustix::net::recv(lane, &mut *buf, RecvFlags::DONTWAIT | RecvFlags::TRUNC) {
            // A side that ended with unread questions says so once, before what it had answered can be read.
            Err(Errno::INTR | Errno::CONNRESET) => {}
            Err(error) => return Err(error),
            // With the flag, the length that it had.
            Ok((_, len)) => return buf.get(..len).ok_or(Errno::MSGSIZE),
        }
    }
}

impl<'a> Ask<'a> {
    /// None for a part that is too long to be one.
    pub(crate) fn encode(&self) -> Option<Vec<u8>> {
        let scheme_len = u8::try_from(self.scheme.len()).ok()?;
        let key_len = u16::try_from(self.key.len()).ok()?;
        if self.data.len() > DATA_MAX {
            return None;
        }
        let id = self.id.to_be_bytes();
        let parts: [&[u8]; 6] =
            [&id, &[scheme_len], self.scheme.as_bytes(), &key_len.to_be_bytes(), self.key, self.data];
        Some(parts.concat())
    }

    pub(crate) fn decode(message: &'a [u8]) -> Option<Self> {
        let (id, rest) = message.split_first_chunk::<8>()?;
        let ([scheme_len], rest) = rest.split_first_chunk::<1>()?;
        let (scheme, rest) = rest.split_at_checked(usize::from(*scheme_len))?;
        let (key_len, rest) = rest.split_first_chunk::<2>()?;
        let (key, data) = rest.split_at_checked(usize::from(u16::from_be_bytes(*key_len)))?;
        Some(Self { id: u64::from_be_bytes(*id), scheme: std::str::from_utf8(scheme).ok()?, key, data })
    }
}

impl Told {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let (word, body) = match &self.outcome {
            Ok(signature) => (MADE, signature.clone()),
            // What cannot be written down is told as nothing at all.
            Err(error) => (REFUSED, serde_json::to_vec(error).unwrap_or_default()),
        };
        [&self.id.to_be_bytes()[..], &[word], &body].concat()
    }

    pub(crate) fn decode(message: &[u8]) -> Option<Self> {
        let (id, rest) = message.split_first_chunk::<8>()?;
        let (word, body) = rest.split_first()?;
        let outcome = match *word {
            MADE => Ok(body.to_vec()),
            REFUSED => Err(serde_json::from_slice(body).ok()?),
            _ => return None,
        };
        Some(Self { id: u64::from_be_bytes(*id), outcome })
    }
}

const MADE: u8 = 0;
const REFUSED: u8 = 1;
/// What is signed may be so long; anything longer goes the other way.
pub(crate) const DATA_MAX: usize = 32 << 10;
/// A whole request is no longer.
pub(crate) const ASK_MAX: usize = DATA_MAX + (4 << 10);
/// A whole answer is no longer: a signature, or an error in words.
pub(crate) const TOLD_MAX: usize = 16 << 10;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::protocol::HostErrorKind;
    use proptest::prelude::*;

    #[test]
    fn messages_arrive_one_by_one_as_they_were_sent_and_the_end_is_seen() {
        let (a, b) = pair().unwrap();
        let mut buf = [0; ASK_MAX];
        assert_eq!(receive(&b, &mut buf), Err(Errno::AGAIN));
        let ask = |id| Ask { id, scheme: "ed25519", key: b"key", data: b"data" };
        for id in [1, 2] {
            send(&a, &ask(id).encode().unwrap(), false).unwrap();
        }
        assert_eq!(Ask::decode(receive(&b, &mut buf).unwrap()), Some(ask(1)));
        assert_eq!(Ask::decode(receive(&b, &mut buf).unwrap()), Some(ask(2)));
        for outcome in [Ok(vec![7; 64]), Err(HostError::new(HostErrorKind::Absent, "gone"))] {
            let told = Told { id: 9, outcome };
            send(&b, &told.encode(), true).unwrap();
            assert_eq!(Told::decode(receive(&a, &mut buf).unwrap()), Some(told));
        }
        send(&b, b"answered", true).unwrap();
        send(&a, b"never read", true).unwrap();
        drop(b);
        assert_eq!(receive(&a, &mut buf), Ok(&b"answered"[..]));
        assert_eq!(receive(&a, &mut buf), Ok(&[][..]));
        assert!(send(&a, b"x", false).is_err());
    }

    #[test]
    fn what_is_too_long_is_not_sent_and_not_cut() {
        let long = vec![0; DATA_MAX + 1];
        assert_eq!(Ask { id: 1, scheme: "s", key: b"k", data: &long }.encode(), None);
        let (a, b) = pair().unwrap();
        send(&a, &[1; 100], true).unwrap();
        assert_eq!(receive(&b, &mut [0; 99]), Err(Errno::MSGSIZE));
        let full = (0..10_000).find_map(|_| send(&a, &[0; 1000], false).err());
        assert_eq!(full, Some(Errno::AGAIN));
    }

    proptest! {
        #[test]
        fn no_message_makes_a_side_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Some(ask) = Ask::decode(&bytes) {
                prop_assert_eq!(ask.encode().unwrap(), bytes.clone());
            }
            let _ = Told::decode(&bytes);
        }
    }
}

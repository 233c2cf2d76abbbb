//! What the agent and a token's helper say to each other, over one socket pair.
//!
//! A frame is a header of 16 bytes (length of the head, length of the tail: u32, big endian; id of
//! the request: u64), the head (JSON, one [`Request`] or [`Reply`]) and the tail (bytes: a PIN, a
//! message, a signature, a private key). Lengths are checked against [`Caps`] before memory is
//! taken, so a helper gone mad costs an error and nothing else (FAULTS B6). All buffers are
//! wiped when they are dropped, because a tail may be a secret.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::confine::{Confinement, Limits};
use super::doctor::Probe;
use crate::Origin;
use crate::card::{CardFacts, CardOptions, SlotFacts};
use crate::doctor::{Facts, How, OriginFacts, Place};

/// What the agent asks. Answers are in the comments; [`Reply::Error`] is possible for all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "kebab-case")]
pub(crate) enum Request {
    /// Check, open and hash the module's file, load nothing yet. [`Reply::Opened`]
    Open(Setup),
    /// From here on touch nothing but this. [`Reply::Confined`]
    Confine(Limits),
    /// Load the file that was opened and initialise the module. [`Reply::Loaded`]
    Load,
    /// Host the YubiKey of this serial number, for the token of this name. [`Reply::Done`]
    OpenCard { serial: u32, token: String },
    /// Look whether the token is there. [`Reply::Status`]
    Poll,
    /// The same, and what it tells of its tries now. [`Reply::Status`]
    Look,
    /// One C_Login; the tail is the PIN. [`Reply::Status`]
    Login {
        /// Also when the token says that this is the final try.
        last_try: bool,
        /// The token that the PIN is for: another one is not asked.
        serial: Option<String>,
    },
    /// C_Logout. [`Reply::Done`]
    Logout,
    /// Public keys. [`Reply::Keys`]
    List,
    /// Make a key pair. [`Reply::Key`]
    Generate {
        name: String,
        kind: String,
        /// The curve's name, for a module that was measured to take no OID.
        curve_name: Option<String>,
        /// Of a YubiKey; the tail is then its management key, or empty.
        #[serde(default)]
        card: CardOptions,
    },
    /// Store the private key in the tail: seed, scalar or PKCS#1 DER. For a YubiKey its management key comes first, of
    /// so many bytes. [`Reply::Key`]
    Import {
        name: String,
        public: String,
        #[serde(default)]
        card: CardOptions,
        #[serde(default)]
        management_len: usize,
    },
    /// Destroy the objects of a public key (SPKI, DER, hexadecimal). For a YubiKey the tail is its management key, or
    /// empty. [`Reply::Done`]
    Remove { public: String },
    /// The certificate by which a YubiKey says where a key was made, of so many bytes, and that of the key which signed
    /// it. [`Reply::Certificates`]
    Attest { public: String },
    /// What a YubiKey says of itself and of its PIN, PUK and management key. [`Reply::Card`]
    CardFacts,
    /// One attempt with the PUK, of so many bytes, and then a new one. [`Reply::Done`]
    ChangePuk { old_len: usize, serial: Option<String> },
    /// One attempt with the PUK, of so many bytes, and then a new PIN. [`Reply::Done`]
    Unblock { puk_len: usize, serial: Option<String> },
    /// The management key, of so many bytes (none: the one that the PIN protects), and then a new one; none: the card's
    /// is made at random, and protected by the PIN. [`Reply::Done`]
    ChangeManagementKey { old_len: usize, protect: bool },
    /// C_SetPIN; the tail is the old PIN, of that many bytes, then the new one. [`Reply::Done`]
    ChangePin { old_len: usize, last_try: bool, serial: Option<String> },
    /// Sign the tail, a digest for ECDSA and the whole message otherwise, with the private key of
    /// a public key (SPKI, DER, hexadecimal), by a scheme of metadata. Where `pin_len` is given, so many bytes of the
    /// tail come first: the PIN, for a key that takes it for each signature. [`Reply::Signature`]
    Sign {
        public: String,
        scheme: String,
        pin_len: Option<usize>,
        /// What the module was measured to want; the tail is then that.
        how: How,
        /// The PIN of one signature goes into a login before it, because the module was measured to know no other.
        login_before: bool,
    },
    /// What the token says of where a private key comes from and can go. [`Reply::Origin`]
    Origin { public: String },
    /// Whether a private key takes the PIN for each signature. [`Reply::EachUse`]
    EachUse { public: String },
    /// One probe of `token doctor`; the tail is a PIN that the token took, or empty. [`Reply::Facts`]
    Probe {
        probe: Probe,
        /// Where keys can lie that are made to measure.
        place: Option<Place>,
        /// The module has so few sessions that none is kept beside.
        alone: bool,
    },
}

impl Request {
    /// Whether a PIN is presented to the token.
    pub(crate) const fn presents_pin(&self) -> bool {
        matches!(
            self,
            Self::Login { .. }
                | Self::ChangePin { .. }
                | Self::ChangePuk { .. }
                | Self::Unblock { .. }
                | Self::Sign { pin_len: Some(_), .. }
        )
    }

    /// Whether a PIN or a private key is in its tail.
    pub(crate) const fn carries_secret(&self) -> bool {
        self.presents_pin()
            || matches!(
                self,
                Self::Generate { .. }
                    | Self::Import { .. }
                    | Self::Remove { .. }
                    | Self::ChangeManagementKey { .. }
                    | Self::Probe { .. }
            )
    }
}

/// What the helper answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "is", rename_all = "kebab-case")]
pub(crate) enum Reply {
    /// The module's file: where it really lies and its SHA-256 in hexadecimal.
    Opened { path: String, sha256: String },
    /// What it keeps to.
    Confined(Confinement),
    /// The module's own name for itself.
    Loaded { library: String },
    /// What the token says about itself.
    Status(TokenStatus),
    /// The keys.
    Keys { keys: Vec<WireKey> },
    /// The key that was made.
    Key { key: WireKey },
    /// The tail is the signature as the token gave it.
    Signature,
    /// What the token says of a private key.
    Origin { facts: OriginFacts },
    /// Whether the private key takes the PIN for each signature.
    EachUse { pin: bool },
    /// The tail is two certificates, DER; the first has so many bytes.
    Certificates { first_len: usize },
    /// What a YubiKey says of itself.
    Card { facts: CardFacts },
    /// What a probe found.
    Facts { facts: Box<Facts> },
    /// It was done.
    Done,
    /// It was not done.
    Error(HostError),
}

/// What the helper must know to find module and token.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Setup {
    /// Absolute path of the module.
    pub(crate) module: String,
    /// C_Initialize's reserved string (NSS).
    pub(crate) reserved: Option<String>,
    /// Which of the module's tokens it is.
    pub(crate) wanted: Wanted,
    /// So many signatures may be made at once.
    pub(crate) sessions: usize,
}

/// Which token; what is given must all be equal.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Wanted {
    pub(crate) label: Option<String>,
    pub(crate) serial: Option<String>,
    pub(crate) manufacturer: Option<String>,
    pub(crate) model: Option<String>,
}

/// What the token says about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TokenStatus {
    pub(crate) label: String,
    pub(crate) serial: String,
    /// Some tries are gone; some modules say so for ever after the first wrong PIN.
    pub(crate) count_low: bool,
    /// One try is left before the PIN is blocked.
    pub(crate) final_try: bool,
    /// The PIN is blocked.
    pub(crate) blocked: bool,
    /// The helper is logged in.
    pub(crate) logged_in: bool,
    /// In the answer to a login: the token has looked at the PIN and accepted it.
    #[serde(default)]
    pub(crate) proven: bool,
    /// Tries that are left, where the token tells.
    #[serde(default)]
    pub(crate) tries_left: Option<u32>,
}

/// A key as the helper found it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct WireKey {
    /// The label, as it stands on the token.
    pub(crate) label: String,
    /// SPKI, DER, hexadecimal.
    pub(crate) public: String,
    /// Where it was made.
    pub(crate) origin: Origin,
    /// Where it lies on a YubiKey, and what it wants.
    #[serde(default)]
    pub(crate) place: Option<SlotFacts>,
}

/// Why the helper did not do it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct HostError {
    pub(crate) kind: HostErrorKind,
    pub(crate) message: String,
    /// What to do, where that is not plain from the kind.
    #[serde(default)]
    pub(crate) remedy: Option<String>,
    /// Tries that are left, where the token tells.
    #[serde(default)]
    pub(crate) tries_left: Option<u32>,
}

impl HostError {
    pub(crate) fn new(kind: HostErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), remedy: None, tries_left: None }
    }

    pub(crate) fn remedy(self, remedy: impl Into<String>) -> Self {
        Self { remedy: Some(remedy.into()), ..self }
    }

    pub(crate) fn tries_left(self, tries: Option<u32>) -> Self {
        Self { tries_left: tries, ..self }
    }
}

/// The kinds that the agent tells apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum HostErrorKind {
    /// The module cannot be trusted, opened or loaded.
    Module,
    /// Others could replace the module.
    Insecure,
    /// The module cannot be confined as its entry says.
    Confinement,
    /// The token is not there.
    Absent,
    /// More than one token could be meant.
    Several,
    /// The token wants a login first.
    NotLoggedIn,
    /// Not tried: the key takes the PIN for each signature, and there was none.
    PinEachUse,
    /// Not tried: somebody traces the helper.
    Traced,
    /// A wrong PIN.
    PinIncorrect,
    /// A wrong PIN, and one try is left.
    PinIncorrectFinalTry,
    /// The PIN was presented, and what the module answered does not say whether it was counted as wrong.
    PinUnclear,
    /// Not tried: it would be the final try.
    FinalTry,
    /// The PIN is blocked.
    PinLocked,
    /// Not tried: another token is in the place of the one that is meant.
    Swapped,
    /// The new PIN is not one that the token takes.
    PinRefused,
    /// A wrong PUK.
    PukIncorrect,
    /// The PUK is blocked.
    PukLocked,
    /// The management key was not given, or the card does not take it.
    ManagementKey,
    /// Nobody touched the card.
    TouchTimeout,
    /// The slot holds a key.
    SlotOccupied,
    /// The reader, the smart card service or another program keeps the card from answering.
    Reader,
    /// No private key belongs to that public key.
    KeyNotFound,
    /// More than one private key could be meant.
    Ambiguous,
    /// The label is in use.
    NameTaken,
    /// The public key is there already.
    Duplicate,
    /// The token cannot do that.
    Unsupported,
    /// Anything else that the module said.
    Device,
    /// The request made no sense.
    Protocol,
}

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

    fn pair() -> (UnixStream, UnixStream) {
        UnixStream::pair().unwrap()
    }

    #[test]
    fn a_frame_arrives_as_it_was_sent() {
        let (a, b) = pair();
        let change = Request::ChangePin { old_len: 3, last_try: false, serial: None };
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

    #[test]
    fn a_head_that_is_no_reply_is_garbage() {
        assert!(matches!(parse_head::<Reply>(b"{\"is\":\"king\"}"), Err(WireError::Garbage(_))));
        assert!(matches!(parse_head::<Reply>(b"\xff"), Err(WireError::Garbage(_))));
    }
}

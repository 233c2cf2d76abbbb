//! Commands and answers of the PIV application, within one transaction.

use zeroize::Zeroizing;

use crate::host::protocol::{HostError, HostErrorKind};

/// A status word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Status(pub(super) u16);

impl Status {
    pub(super) const DONE: Self = Self(0x9000);
    /// No PIN, no management key, or no touch.
    pub(super) const NOT_ALLOWED: Self = Self(0x6982);
    pub(super) const BLOCKED: Self = Self(0x6983);
    pub(super) const NOT_THERE: Self = Self(0x6a88);
    pub(super) const NO_OBJECT: Self = Self(0x6a82);

    /// Tries that are left, when that is what it says.
    pub(super) fn tries(self) -> Option<u32> {
        match self {
            Self::BLOCKED => Some(0),
            Self(word) => (word & 0xfff0 == 0x63c0).then(|| u32::from(word & 0xf)),
        }
    }

    /// As an error, after `doing`.
    pub(super) fn refused(self, doing: &str) -> Fault {
        Fault::Host(HostError::new(
            HostErrorKind::Device,
            format!("the card answered {:04X} while it was {doing}", self.0),
        ))
    }
}

/// Why a card did not do it.
#[derive(Debug)]
pub(super) enum Fault {
    /// It was not asked, or its answer did not come.
    Pcsc(pcsc::Error),
    /// It was asked, and this is what came of it.
    Host(HostError),
}

impl From<pcsc::Error> for Fault {
    fn from(error: pcsc::Error) -> Self {
        Self::Pcsc(error)
    }
}

impl From<HostError> for Fault {
    fn from(error: HostError) -> Self {
        Self::Host(error)
    }
}

/// An answer of the card that makes no sense.
pub(super) fn nonsense(doing: &str) -> Fault {
    let message = format!("the card gave an answer that makes no sense while it was {doing}");
    Fault::Host(HostError::new(HostErrorKind::Device, message))
}

/// What an answer holds; a secret, perhaps.
pub(super) type Data = Zeroizing<Vec<u8>>;

/// A transaction with a card, in which the PIV application is selected.
pub(super) struct Session<'a> {
    transaction: pcsc::Transaction<'a>,
}

impl<'a> Session<'a> {
    pub(super) const fn new(transaction: pcsc::Transaction<'a>) -> Self {
        Self { transaction }
    }

    /// One command of any length, and its whole answer. Long ones go in parts of 255 bytes.
    pub(super) fn command(&self, [ins, p1, p2]: [u8; 3], data: &[u8]) -> Result<(Data, Status), pcsc::Error> {
        let mut rest = data;
        while let Some((part, more)) = rest.split_at_checked(PART).filter(|(_, more)| !more.is_empty()) {
            let (answer, status) = self.exchange([CHAINED, ins, p1, p2], part)?;
            if status != Status::DONE {
                return Ok((answer, status));
            }
            rest = more;
        }
        let (mut whole, mut status) = self.exchange([0, ins, p1, p2], rest)?;
        while status.0 & 0xff00 == MORE {
            let (part, next) = self.exchange([0, GET_RESPONSE, 0, 0], &[])?;
            if whole.len() > ANSWER_MAX {
                return Err(pcsc::Error::Other(0));
            }
            // Grown into new memory: the old is wiped.
            whole = Zeroizing::new([whole.as_slice(), part.as_slice()].concat());
            status = next;
        }
        Ok((whole, status))
    }

    /// The same, for what either is done or fails.
    pub(super) fn done(&self, command: [u8; 3], data: &[u8], doing: &str) -> Result<Data, Fault> {
        match self.command(command, data)? {
            (answer, Status::DONE) => Ok(answer),
            (_, status) => Err(status.refused(doing)),
        }
    }

    fn exchange(&self, head: [u8; 4], data: &[u8]) -> Result<(Data, Status), pcsc::Error> {
        let mut command = Zeroizing::new(Vec::with_capacity(head.len() + 1 + data.len()));
        command.extend_from_slice(&head);
        command.push(u8::try_from(data.len()).map_err(|_| pcsc::Error::Other(0))?);
        command.extend_from_slice(data);
        let mut buffer = Zeroizing::new([0; PART + 3 + 2]);
        let answer = self.transaction.transmit(&command, buffer.as_mut_slice())?;
        // As from a card that was pulled while it waited.
        let (data, status) = answer.split_last_chunk::<2>().ok_or(pcsc::Error::NoAnswer)?;
        Ok((Zeroizing::new(data.to_vec()), Status(u16::from_be_bytes(*status))))
    }
}

const PART: usize = 255;
const CHAINED: u8 = 0x10;
const MORE: u16 = 0x6100;
const GET_RESPONSE: u8 = 0xc0;
/// Longer than any object of a card.
const ANSWER_MAX: usize = 8192;

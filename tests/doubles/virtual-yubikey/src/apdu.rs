//! Commands and answers as ISO 7816-4 writes them, and what stretches over several.

/// A status word.
pub(crate) type Sw = u16;

pub(crate) const OK: Sw = 0x9000;
pub(crate) const WRONG_LENGTH: Sw = 0x6700;
pub(crate) const NOT_SATISFIED: Sw = 0x6982;
pub(crate) const BLOCKED: Sw = 0x6983;
pub(crate) const CONDITIONS: Sw = 0x6985;
pub(crate) const WRONG_DATA: Sw = 0x6a80;
pub(crate) const NOT_SUPPORTED: Sw = 0x6a81;
pub(crate) const NOT_FOUND: Sw = 0x6a82;
pub(crate) const WRONG_PARAMETERS: Sw = 0x6a86;
pub(crate) const NO_SUCH_KEY: Sw = 0x6a88;
pub(crate) const NO_SUCH_INSTRUCTION: Sw = 0x6d00;
pub(crate) const FAILED: Sw = 0x6f00;

/// Why a command has no answer (yet).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    /// It is refused.
    Sw(Sw),
    /// Somebody has to touch the card first; then the same command comes again.
    Touch,
}

impl From<Sw> for Stop {
    fn from(sw: Sw) -> Self {
        Self::Sw(sw)
    }
}

/// What a command gives: data to follow with 9000, or why not.
pub(crate) type Answer = Result<Vec<u8>, Stop>;

/// A command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Command {
    pub(crate) cla: u8,
    pub(crate) ins: u8,
    pub(crate) p1: u8,
    pub(crate) p2: u8,
    pub(crate) data: Vec<u8>,
    /// How much may come back in one answer.
    pub(crate) room: usize,
}

impl Command {
    /// Short or extended, with or without data and length of the answer.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let (&[cla, ins, p1, p2], body) = bytes.split_first_chunk::<4>()?;
        let with = |data: &[u8], room| Some(Self { cla, ins, p1, p2, data: data.to_vec(), room });
        let length = |[high, low]: [u8; 2]| usize::from(u16::from_be_bytes([high, low]));
        match body {
            [] | [_] => with(&[], SHORT_ROOM),
            // No data.
            &[0, high, low] => with(&[], extended_room(length([high, low]))),
            &[0, high, low, ref rest @ ..] => {
                let (data, le) = rest.split_at_checked(length([high, low]))?;
                match *le {
                    [] => with(data, EXTENDED_ROOM),
                    [high, low] => with(data, extended_room(length([high, low]))),
                    _ => None,
                }
            }
            &[lc, ref rest @ ..] => {
                let (data, le) = rest.split_at_checked(usize::from(lc))?;
                (le.len() < 2).then(|| with(data, SHORT_ROOM))?
            }
        }
    }
}

const SHORT_ROOM: usize = 0x100;
const EXTENDED_ROOM: usize = 0x1_0000;

fn extended_room(le: usize) -> usize {
    if le == 0 { EXTENDED_ROOM } else { le }
}

/// Puts commands together that come in parts, and gives long answers away in parts.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    coming: Vec<u8>,
    going: Vec<u8>,
}

impl Parts {
    /// The whole command; `None` when this was a part of one, or asked for the next part of an answer.
    pub(crate) fn whole(&mut self, mut command: Command) -> Result<Command, Vec<u8>> {
        if command.ins == GET_RESPONSE {
            return Err(self.next(command.room));
        }
        self.going.clear();
        if command.cla & CHAINED != 0 {
            self.coming.append(&mut command.data);
            return Err(OK.to_be_bytes().to_vec());
        }
        if !self.coming.is_empty() {
            self.coming.append(&mut command.data);
            command.data = std::mem::take(&mut self.coming);
        }
        Ok(command)
    }

    /// The first part of an answer, or all of it.
    pub(crate) fn answer(&mut self, data: Vec<u8>, room: usize) -> Vec<u8> {
        self.going = data;
        self.next(room)
    }

    fn next(&mut self, room: usize) -> Vec<u8> {
        let rest = self.going.split_off(self.going.len().min(room));
        let mut part = std::mem::replace(&mut self.going, rest);
        let left = u8::try_from(self.going.len()).unwrap_or(0);
        let sw = if self.going.is_empty() { OK.to_be_bytes() } else { [0x61, left] };
        part.extend(sw);
        part
    }
}

const CHAINED: u8 = 0x10;
pub(crate) const GET_RESPONSE: u8 = 0xc0;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_of_every_case_are_read() {
        let parsed = |hex: &str| Command::parse(&hex::decode(hex).unwrap());
        assert!(parsed("00fd0000").unwrap().data.is_empty());
        assert_eq!(parsed("00fd000000").unwrap().room, 256);
        assert_eq!(parsed("00a4040005a000000308").unwrap().data, hex::decode("a000000308").unwrap());
        assert_eq!(parsed("00a4040005a00000030800").unwrap().data.len(), 5);
        assert_eq!(parsed("00cb3fff0000020102").unwrap().data, [1, 2]);
        assert_eq!(parsed("00cb3fff00000201020400").unwrap().room, 1024);
        assert_eq!(parsed("00cb3fff000000").unwrap().room, 0x1_0000);
        assert!(parsed("00a4").is_none() && parsed("00a40400050102").is_none());
    }

    #[test]
    fn parts_make_a_whole_and_a_whole_is_given_in_parts() {
        let mut parts = Parts::default();
        let part =
            |cla, data: &[u8]| Command { cla, ins: 0xdb, p1: 0, p2: 0, data: data.to_vec(), room: 256 };
        assert_eq!(parts.whole(part(0x10, &[1; 255])), Err(vec![0x90, 0]));
        assert_eq!(parts.whole(part(0, &[2])).unwrap().data.len(), 256);
        assert_eq!(parts.answer(vec![7; 300], 256)[256..], [0x61, 44]);
        let more = Command { ins: GET_RESPONSE, ..part(0, &[]) };
        let rest = parts.whole(more).unwrap_err();
        assert_eq!((rest.len(), &rest[44..]), (46, &[0x90, 0][..]));
    }
}

//! Files on their way to the agent: a header, then chunks of at most 1 MiB; of a large file that the agent has at hand in
//! another version only what is new.

use tuf::digest::Sha256Digest;
use tuf::json::Text;
use tuf::pieces::{Piece, pieces};
use tufagent_proto::v1::{self, file_header::Purpose};

use crate::error::{Failure, reason};

/// One metadata file for the agent.
#[derive(Debug, Clone)]
pub(crate) struct WireFile {
    /// The role whose metadata it is.
    pub(crate) role: String,
    /// The file, as it is.
    pub(crate) bytes: Text,
    /// To be signed or noted, or only saying which keys a role has.
    pub(crate) authority: bool,
    /// The digest of the bytes of a file that the agent has at hand, and this one as pieces of it.
    base: Option<(Sha256Digest, Vec<Piece>)>,
}

impl WireFile {
    /// A file to be signed or taken note of.
    pub(crate) fn subject(role: impl Into<String>, bytes: impl Into<Text>) -> Self {
        Self { role: role.into(), bytes: bytes.into(), authority: false, base: None }
    }

    /// A staged root or parent that says which keys the subject's role has.
    pub(crate) fn authority(role: impl Into<String>, bytes: impl Into<Text>) -> Self {
        Self { authority: true, ..Self::subject(role, bytes) }
    }

    /// The same file, of which only that is sent which is not in `base`.
    #[must_use]
    pub(crate) fn against(mut self, base: &Text, sha256: Sha256Digest) -> Self {
        self.base = Some((sha256, pieces(base, &self.bytes)));
        self
    }

    /// The same file, all of which is sent.
    pub(super) fn whole(self) -> Self {
        Self { base: None, ..self }
    }

    /// Header, chunks and copies; chunks are made one by one while they are sent.
    pub(super) fn parts(self) -> impl Iterator<Item = Part> {
        let purpose = if self.authority { Purpose::Authority } else { Purpose::Subject };
        let length = self.bytes.len();
        let (digest, all) = self.base.unzip();
        let header = v1::FileHeader {
            role: self.role,
            size: wide(length),
            purpose: purpose.into(),
            base_sha256: digest.map(|digest| digest.to_string()).unwrap_or_default(),
        };
        let all = all.unwrap_or_else(|| vec![Piece::New(0..length)]);
        let bytes = self.bytes;
        let part = move |piece: Piece| {
            let bytes = bytes.clone();
            let (copy, new) = match piece {
                Piece::Old(range) => {
                    let (offset, length) = (wide(range.start), wide(range.len()));
                    (Some(Part::Copy(v1::FileCopy { offset, length })), 0..0)
                }
                Piece::New(range) => (None, range),
            };
            let chunks = new.clone().step_by(CHUNK).filter_map(move |at| {
                let chunk = bytes.get(at..at.saturating_add(CHUNK).min(new.end))?;
                Some(Part::Chunk(chunk.to_vec()))
            });
            copy.into_iter().chain(chunks)
        };
        std::iter::once(Part::Header(header)).chain(all.into_iter().flat_map(part))
    }
}

/// A piece of an upload, before it is wrapped into the request of its call.
#[derive(Debug, PartialEq)]
pub(super) enum Part {
    Header(v1::FileHeader),
    Chunk(Vec<u8>),
    Copy(v1::FileCopy),
}

/// Whether the agent has a base no more that it had a moment ago, so that all must be sent.
pub(super) fn needs_whole(failure: &Failure, files: &[WireFile]) -> bool {
    failure.reason() == reason::BASE_UNKNOWN && files.iter().any(|file| file.base.is_some())
}

fn wide(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

const CHUNK: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use tuf::digest::Sha256Digest;
    use tuf::json::Text;

    use super::{CHUNK, Part, WireFile};

    #[test]
    fn a_file_is_cut_into_chunks_of_one_mebibyte() {
        let sizes = |length: usize| -> Vec<usize> {
            WireFile::subject("targets", vec![7; length])
                .parts()
                .map(|part| match part {
                    Part::Header(header) => usize::try_from(header.size).unwrap(),
                    Part::Chunk(chunk) => chunk.len(),
                    Part::Copy(_) => unreachable!("there is nothing to copy from"),
                })
                .collect()
        };
        assert_eq!(sizes(0), [0]);
        assert_eq!(sizes(3), [3, 3]);
        assert_eq!(sizes(CHUNK), [CHUNK, CHUNK]);
        assert_eq!(sizes(CHUNK + 1), [CHUNK + 1, CHUNK, 1]);
    }

    #[test]
    fn of_what_the_agent_has_only_the_change_is_sent() {
        let old: Vec<u8> = (0..300_000_u32).flat_map(u32::to_le_bytes).collect();
        let mut new = old.clone();
        new[700_000] ^= 1;
        new.extend_from_slice(b"more");
        let base = Text::from(old);
        let digest = Sha256Digest::of(&base);
        let (mut made, mut sent) = (Vec::new(), 0);
        for part in WireFile::subject("targets", new.clone()).against(&base, digest).parts() {
            match part {
                Part::Header(header) => {
                    assert_eq!(
                        (header.size, header.base_sha256),
                        (super::wide(new.len()), digest.to_string())
                    );
                }
                Part::Chunk(chunk) => {
                    sent += chunk.len();
                    made.extend_from_slice(&chunk);
                }
                Part::Copy(copy) => {
                    let from = usize::try_from(copy.offset).unwrap();
                    made.extend_from_slice(&base[from..from + usize::try_from(copy.length).unwrap()]);
                }
            }
        }
        assert_eq!(made, new);
        assert!(sent < 100, "{sent}");
    }
}

//! Files on their way to the agent: a header, then chunks of at most 1 MiB.

use std::sync::Arc;

use tufagent_proto::v1::{self, file_header::Purpose};

/// One metadata file for the agent.
#[derive(Debug, Clone)]
pub(crate) struct WireFile {
    /// The role whose metadata it is.
    pub(crate) role: String,
    /// The file, as it is.
    pub(crate) bytes: Arc<[u8]>,
    /// To be signed or noted, or only saying which keys a role has.
    pub(crate) authority: bool,
}

impl WireFile {
    /// A file to be signed or taken note of.
    pub(crate) fn subject(role: impl Into<String>, bytes: impl Into<Arc<[u8]>>) -> Self {
        Self { role: role.into(), bytes: bytes.into(), authority: false }
    }

    /// A staged root or parent that says which keys the subject's role has.
    pub(crate) fn authority(role: impl Into<String>, bytes: impl Into<Arc<[u8]>>) -> Self {
        Self { role: role.into(), bytes: bytes.into(), authority: true }
    }

    /// Header and chunks, made one by one while they are sent.
    pub(super) fn parts(self) -> impl Iterator<Item = Part> {
        let purpose = if self.authority { Purpose::Authority } else { Purpose::Subject };
        let header = v1::FileHeader {
            role: self.role,
            size: u64::try_from(self.bytes.len()).unwrap_or(u64::MAX),
            purpose: purpose.into(),
        };
        let bytes = self.bytes;
        let mut at = 0_usize;
        let chunks = std::iter::from_fn(move || {
            let rest = bytes.get(at..)?;
            let chunk = rest.get(..CHUNK).unwrap_or(rest);
            at = at.saturating_add(chunk.len());
            (!chunk.is_empty()).then(|| Part::Chunk(chunk.to_vec()))
        });
        std::iter::once(Part::Header(header)).chain(chunks)
    }
}

/// A piece of an upload, before it is wrapped into the request of its call.
#[derive(Debug, PartialEq)]
pub(super) enum Part {
    Header(v1::FileHeader),
    Chunk(Vec<u8>),
}

const CHUNK: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::{CHUNK, Part, WireFile};

    #[test]
    fn a_file_is_cut_into_chunks_of_one_mebibyte() {
        let sizes = |length: usize| -> Vec<usize> {
            WireFile::subject("targets", vec![7; length])
                .parts()
                .map(|part| match part {
                    Part::Header(header) => usize::try_from(header.size).unwrap(),
                    Part::Chunk(chunk) => chunk.len(),
                })
                .collect()
        };
        assert_eq!(sizes(0), [0]);
        assert_eq!(sizes(3), [3, 3]);
        assert_eq!(sizes(CHUNK), [CHUNK, CHUNK]);
        assert_eq!(sizes(CHUNK + 1), [CHUNK + 1, CHUNK, 1]);
    }
}

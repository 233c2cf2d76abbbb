//! Files as they come over a stream: a header, then chunks, or copies out of a file that is at hand. Limits are checked
//! before memory is taken, and a copy counts as what it makes.

use policy::Reason;
use tuf::metadata::Metadata;
use tufagent_proto::v1::file_header::Purpose;
use tufagent_proto::v1::{FileCopy, FileHeader};

use crate::door::HeldBytes;
use crate::limits::{CALL_BYTES, CHUNK, FILE, FILES, OF_FILE, ROLE_NAME};
use crate::refusal::Refusal;

/// One whole file as it was received.
#[derive(Debug)]
pub struct ReceivedFile {
    /// The role that the client says it is.
    pub role: String,
    /// What it is for.
    pub purpose: Purpose,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Another version of it, which it was made from.
    pub near: Option<Metadata>,
}

/// Collects the files of one call.
#[derive(Debug)]
pub struct Intake {
    whole: Vec<ReceivedFile>,
    open: Option<Open>,
    /// What the headers said.
    total: u64,
    /// What came.
    received: u64,
    held: HeldBytes,
}

#[derive(Debug)]
struct Open {
    file: ReceivedFile,
    size: usize,
}

impl Intake {
    /// Nothing received yet; the room for it is taken from `held` as it comes.
    #[must_use]
    pub fn new(held: HeldBytes) -> Self {
        Self { whole: Vec::new(), open: None, total: 0, received: 0, held }
    }

    /// Bytes of all files so far.
    #[must_use]
    pub fn received(&self) -> u64 {
        self.received
    }

    /// A file begins; `base` is the one that its header names.
    ///
    /// # Errors
    /// `LIMIT` for a file or call that is too large, `USAGE` when the file before is not whole.
    pub fn header(&mut self, header: FileHeader, base: Option<Metadata>) -> Result<(), Refusal> {
        self.close_open()?;
        let purpose = header.purpose();
        self.total = self.total.saturating_add(header.size);
        if self.whole.len() >= FILES {
            return Err(too_many(&header.role));
        }
        if header.size > FILE || self.total > CALL_BYTES {
            return Err(limit(&header.role, header.size));
        }
        if header.role.len() > ROLE_NAME {
            return Err(Refusal::new(Reason::Limit, "a file's role has a name that is too long")
                .remedy("name a role of the repository"));
        }
        self.held.grow(OF_FILE)?;
        let size = usize::try_from(header.size).map_err(|_| limit(&header.role, header.size))?;
        // Room is taken as bytes come, so that a header alone costs nothing.
        let file = ReceivedFile { role: header.role, purpose, bytes: Vec::new(), near: base };
        self.open = Some(Open { file, size });
        Ok(())
    }

    /// The next bytes of the file that is open.
    ///
    /// # Errors
    /// `LIMIT` for a chunk over 1 MiB or where the agent has no room for it, `USAGE` for more bytes than the header said or no header.
    pub fn chunk(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        if bytes.len() > CHUNK {
            return Err(Refusal::new(
                Reason::Limit,
                format!("a chunk of {} bytes is over 1 MiB", bytes.len()),
            )
            .remedy("send chunks of at most 1 MiB"));
        }
        self.append(bytes)
    }

    /// The next bytes of the file that is open, out of its base.
    ///
    /// # Errors
    /// `USAGE` for a file without a base, for a place that is not in it, and as [`Self::chunk`]; `LIMIT` where the agent has
    /// no room.
    pub fn copy(&mut self, copy: FileCopy) -> Result<(), Refusal> {
        let base = self.open.as_ref().and_then(|open| open.file.near.clone());
        let base = base.ok_or_else(|| usage("a copy came for a file whose header names no base"))?;
        let place = |at: u64| usize::try_from(at).ok();
        let range = place(copy.offset).zip(copy.offset.checked_add(copy.length).and_then(place));
        let bytes = range.and_then(|(from, to)| base.bytes().get(from..to));
        self.append(bytes.ok_or_else(|| usage("a copy names a place that is not in the base"))?)
    }

    fn append(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        let open = self.open.as_mut().ok_or_else(|| usage("a chunk came before any file header"))?;
        if bytes.len() > open.size.saturating_sub(open.file.bytes.len()) {
            return Err(usage("a file is longer than its header said"));
        }
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.held.grow(length)?;
        self.received = self.received.saturating_add(length);
        open.file.bytes.extend_from_slice(bytes);
        Ok(())
    }

    /// All files, in the order they came, and the room that they take.
    ///
    /// # Errors
    /// `USAGE` when the last file is not whole.
    pub fn finish(mut self) -> Result<(Vec<ReceivedFile>, HeldBytes), Refusal> {
        self.close_open()?;
        Ok((self.whole, self.held))
    }

    /// True when no byte of the open file is missing.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.open.as_ref().is_none_or(|open| open.file.bytes.len() == open.size)
    }

    fn close_open(&mut self) -> Result<(), Refusal> {
        if !self.is_whole() {
            return Err(usage("a file is shorter than its header said"));
        }
        self.whole.extend(self.open.take().map(|open| open.file));
        Ok(())
    }
}

fn usage(message: &str) -> Refusal {
    Refusal::new(Reason::Usage, message).remedy("send a header, then exactly its bytes in chunks")
}

fn limit(role: &str, size: u64) -> Refusal {
    let message = format!("the file of {size} bytes for {role:?} is too large, or the call with it");
    Refusal::new(Reason::Limit, message)
        .remedy("one file has at most 64 MiB, all files of one call 256 MiB")
        .detail("size", size)
        .detail("limit", if size > FILE { FILE } else { CALL_BYTES })
}

fn too_many(role: &str) -> Refusal {
    let message =
        format!("{role:?} comes after {FILES} files: a call, and so a repository, has no more of them");
    Refusal::new(Reason::Limit, message)
        .remedy(format!(
            "a repository of more than {FILES} files of metadata (roots, roles and bins) is not served by this version; fewer \
             and larger bins fit"
        ))
        .detail("limit", FILES)
}

#[cfg(test)]
mod tests {
    use tuf::edit::new_targets;
    use tuf::metadata::Limits;
    use tuf::role::Version;
    use tuf::time::UtcTime;

    use super::*;

    fn header(size: u64) -> FileHeader {
        FileHeader { role: "targets".into(), size, purpose: 0, base_sha256: String::new() }
    }

    #[test]
    fn files_come_out_as_they_went_in() {
        let mut intake = Intake::new(HeldBytes::uncounted());
        intake.header(header(3), None).unwrap();
        intake.chunk(b"ab").unwrap();
        intake.chunk(b"c").unwrap();
        intake.header(header(0), None).unwrap();
        let (files, _held) = intake.finish().unwrap();
        assert_eq!(files.len(), 2);
        assert_eq!(files[0].bytes, b"abc");
    }

    #[test]
    fn a_file_over_64_mib_is_refused_by_its_header() {
        assert_eq!(
            Intake::new(HeldBytes::uncounted()).header(header(FILE + 1), None).unwrap_err().reason,
            Reason::Limit
        );
    }

    #[test]
    fn a_short_or_long_file_and_a_large_chunk_are_refused() {
        let mut intake = Intake::new(HeldBytes::uncounted());
        intake.header(header(3), None).unwrap();
        assert_eq!(intake.chunk(b"abcd").unwrap_err().reason, Reason::Usage);
        assert_eq!(intake.header(header(1), None).unwrap_err().reason, Reason::Usage);
        let mut intake = Intake::new(HeldBytes::uncounted());
        intake.header(header(FILE), None).unwrap();
        assert_eq!(intake.chunk(&vec![0; CHUNK + 1]).unwrap_err().reason, Reason::Limit);
    }

    #[test]
    fn copies_come_out_of_the_base_and_out_of_nothing_else() {
        let copy = |offset, length| FileCopy { offset, length };
        let mut intake = Intake::new(HeldBytes::uncounted());
        assert_eq!(intake.copy(copy(0, 1)).unwrap_err().reason, Reason::Usage);
        intake.header(header(1), None).unwrap();
        assert_eq!(intake.copy(copy(0, 1)).unwrap_err().reason, Reason::Usage);
        intake.chunk(b"x").unwrap();
        let base =
            Metadata::parse(new_targets(Version::FIRST, UtcTime::from_unix(0)), &Limits::agent()).unwrap();
        let all = base.bytes().clone();
        let end = u64::try_from(all.len()).unwrap();
        intake.header(header(7), Some(base)).unwrap();
        for (offset, length) in [(0, end + 1), (end + 1, 0), (u64::MAX, 1), (1, u64::MAX), (end, 1), (0, 8)] {
            assert_eq!(intake.copy(copy(offset, length)).unwrap_err().reason, Reason::Usage);
        }
        intake.copy(copy(end - 2, 2)).unwrap();
        intake.chunk(b"-").unwrap();
        intake.copy(copy(0, 4)).unwrap();
        assert_eq!(intake.received(), 8, "a copy counts as what it makes");
        assert_eq!(intake.copy(copy(0, 1)).unwrap_err().reason, Reason::Usage);
        let (files, _held) = intake.finish().unwrap();
        assert_eq!(files[1].bytes, [&all[all.len() - 2..], b"-", &all[..4]].concat());
    }

    #[test]
    fn a_file_too_many_is_told_of_with_the_most_that_there_may_be() {
        let mut intake = Intake::new(HeldBytes::uncounted());
        for _ in 0..FILES {
            intake.header(header(0), None).unwrap();
        }
        let refused = intake.header(header(0), None).unwrap_err();
        assert_eq!(refused.reason, Reason::Limit);
        assert!(refused.message.contains("131072") && refused.remedy.contains("fewer"), "{refused:?}");
    }
}

//! Files as they come over a stream: a header, then chunks. Limits are checked before memory is taken.

use policy::Reason;
use tufagent_proto::v1::FileHeader;
use tufagent_proto::v1::file_header::Purpose;

use crate::refusal::Refusal;

/// The largest file, bytes.
pub const MAX_FILE: u64 = 64 << 20;
/// The largest chunk, bytes.
pub const MAX_CHUNK: usize = 1 << 20;
/// The largest sum of all files of one call, bytes.
pub const MAX_CALL: u64 = 256 << 20;
/// The most files in one call; a root chain and every bin of a large repository fit.
pub const MAX_FILES: usize = 4096;

/// One whole file as it was received.
#[derive(Debug)]
pub struct ReceivedFile {
    /// The role that the client says it is.
    pub role: String,
    /// What it is for.
    pub purpose: Purpose,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// Collects the files of one call.
#[derive(Debug, Default)]
pub struct Intake {
    whole: Vec<ReceivedFile>,
    open: Option<Open>,
    total: u64,
}

#[derive(Debug)]
struct Open {
    file: ReceivedFile,
    size: usize,
}

impl Intake {
    /// Nothing received yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A file begins.
    ///
    /// # Errors
    /// `LIMIT` for a file or call that is too large, `USAGE` when the file before is not whole.
    pub fn header(&mut self, header: FileHeader) -> Result<(), Refusal> {
        self.close_open()?;
        let purpose = header.purpose();
        self.total = self.total.saturating_add(header.size);
        if header.size > MAX_FILE || self.total > MAX_CALL || self.whole.len() >= MAX_FILES {
            return Err(limit(&header.role, header.size));
        }
        let size = usize::try_from(header.size).map_err(|_| limit(&header.role, header.size))?;
        // Room is taken as bytes come, so that a header alone costs nothing.
        let file = ReceivedFile { role: header.role, purpose, bytes: Vec::new() };
        self.open = Some(Open { file, size });
        Ok(())
    }

    /// The next bytes of the file that is open.
    ///
    /// # Errors
    /// `LIMIT` for a chunk over 1 MiB, `USAGE` for more bytes than the header said or no header.
    pub fn chunk(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        let open = self.open.as_mut().ok_or_else(|| usage("a chunk came before any file header"))?;
        if bytes.len() > MAX_CHUNK {
            return Err(Refusal::new(
                Reason::Limit,
                format!("a chunk of {} bytes is over 1 MiB", bytes.len()),
            )
            .remedy("send chunks of at most 1 MiB"));
        }
        if open.file.bytes.len() + bytes.len() > open.size {
            return Err(usage("a file is longer than its header said"));
        }
        open.file.bytes.extend_from_slice(bytes);
        Ok(())
    }

    /// All files, in the order they came.
    ///
    /// # Errors
    /// `USAGE` when the last file is not whole.
    pub fn finish(mut self) -> Result<Vec<ReceivedFile>, Refusal> {
        self.close_open()?;
        Ok(self.whole)
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
    Refusal::new(
        Reason::Limit,
        format!("the file of {} bytes for {role:?} is too large, or one too many", size),
    )
    .remedy("one file has at most 64 MiB, one call 256 MiB in 4096 files")
    .detail("size", size)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(size: u64) -> FileHeader {
        FileHeader { role: "targets".into(), size, purpose: 0 }
    }

    #[test]
    fn files_come_out_as_they_went_in() {
        let mut intake = Intake::new();
        intake.header(header(3)).unwrap();
        intake.chunk(b"ab").unwrap();
        intake.chunk(b"c").unwrap();
        intake.header(header(0)).unwrap();
        let files = intake.finish().unwrap();
        assert_eq!(files.len(), 2);
        assert_eq!(files[0].bytes, b"abc");
    }

    #[test]
    fn a_file_over_64_mib_is_refused_by_its_header() {
        assert_eq!(Intake::new().header(header(MAX_FILE + 1)).unwrap_err().reason, Reason::Limit);
    }

    #[test]
    fn a_short_or_long_file_and_a_large_chunk_are_refused() {
        let mut intake = Intake::new();
        intake.header(header(3)).unwrap();
        assert_eq!(intake.chunk(b"abcd").unwrap_err().reason, Reason::Usage);
        assert_eq!(intake.header(header(1)).unwrap_err().reason, Reason::Usage);
        let mut intake = Intake::new();
        intake.header(header(MAX_FILE)).unwrap();
        assert_eq!(intake.chunk(&vec![0; MAX_CHUNK + 1]).unwrap_err().reason, Reason::Limit);
    }
}

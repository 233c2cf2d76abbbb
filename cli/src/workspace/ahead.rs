//! Large roles, where time goes into reading, hashing and the disk: what can be done at the same time is.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread::{JoinHandle, available_parallelism};

use tuf::key::{KeyId, KeyType};
use tuf::metadata::{Metadata, SignatureEntry};
use tuf::preimage::Preimage;
use tuf::role::{RoleKind, RoleName};

use super::read::{MOST_BYTES, parse};
use super::staged::together;
use super::{Workspace, files, layout};
use crate::error::{Failure, reason};

/// A file that is to be read.
struct Job {
    role: RoleName,
    path: PathBuf,
    published: bool,
}

impl Job {
    /// What fails is found out again where it is needed.
    fn read(&self) -> Option<Metadata> {
        let bytes = files::read(&self.path, MOST_BYTES).ok()??;
        parse(&self.role, &self.path, bytes).ok()
    }
}

impl Workspace {
    /// Reads the staged and the published version of every large role that is staged, side by side.
    pub(crate) fn read_large(&self) -> Result<(), Failure> {
        let mut jobs = Vec::new();
        for role in self.staged_files()?.into_iter().filter(|role| role.kind() == RoleKind::Targets) {
            let path = self.staged_path(&role);
            if !is_large(&path) {
                continue;
            }
            if let Some(path) = self.published_path(&role)?.filter(|path| is_large(path)) {
                jobs.push(Job { role: role.clone(), path, published: true });
            }
            jobs.push(Job { role, path, published: false });
        }
        if jobs.len() < 2 {
            return Ok(());
        }
        let (next, found) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
        let work = || {
            while let Some(job) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                if let Some(metadata) = job.read() {
                    found.lock().unwrap_or_else(PoisonError::into_inner).push((job, metadata));
                }
            }
        };
        let threads = available_parallelism().map_or(1, usize::from).min(jobs.len());
        std::thread::scope(|scope| {
            for _ in 1..threads {
                scope.spawn(work);
            }
            work();
        });
        for (job, metadata) in found.into_inner().unwrap_or_else(PoisonError::into_inner) {
            if job.published {
                // The agent is asked by its bytes; whoever wants the digest before it is there waits for it.
                let published = metadata.clone();
                std::thread::spawn(move || published.file_digest());
            }
            let known = if job.published { &self.published } else { &self.staged };
            known.borrow_mut().insert(job.role.clone(), Some(metadata));
        }
        Ok(())
    }

    /// Where the published version of a targets role lies, by the published snapshot.
    fn published_path(&self, role: &RoleName) -> Result<Option<PathBuf>, Failure> {
        let snapshot = self.published(&RoleKind::Snapshot.role())?;
        let listed = snapshot.as_ref().and_then(Metadata::as_snapshot).and_then(|s| s.meta.get(role));
        let Some(version) = listed.map(|file| file.version) else { return Ok(None) };
        let name = layout::file_name(role, version, self.published_consistently()?);
        Ok(Some(self.metadata_folder().join(name)))
    }

    /// Begins to write a large staged role as it will be with signatures of these keys: with something as long in their
    /// place, under a name that nobody reads. Flushing it takes as long as signing.
    pub(crate) fn write_ahead(&mut self, role: &RoleName, keyids: &[KeyId]) -> Result<(), Failure> {
        let Some(staged) = self.staged(role)?.filter(|staged| staged.bytes().len() >= LARGE) else {
            return Ok(());
        };
        let authorities = self.authorities(role)?;
        let place = |keyid: &KeyId| {
            let key = authorities.iter().find_map(|authority| authority.key(keyid))?;
            let digits = usual_length(key.public_key().ok()?.key_type())?;
            Some(SignatureEntry { keyid: keyid.clone(), sig: "0".repeat(digits) })
        };
        let Some(places) = keyids.iter().map(place).collect::<Option<Vec<_>>>() else { return Ok(()) };
        let entries = together(staged.signatures(), &places);
        let path = self.staged_folder().join(format!("{AHEAD}.{}", self.ahead.len()));
        self.ahead.insert(role.clone(), Ahead::begin(path, staged, entries));
        Ok(())
    }

    /// The staged file with these signatures, out of what was made ahead of them; `None` where nothing was, or of another
    /// file.
    pub(super) fn signed_ahead(
        &mut self,
        role: &RoleName,
        staged: &Metadata,
        entries: &[SignatureEntry],
    ) -> Option<Metadata> {
        let ahead = self.ahead.get_mut(role).filter(|ahead| ahead.staged.is(staged))?;
        ahead.signed(entries)
    }

    /// Writes a staged role with its signatures, on what was written ahead, and calls `beside` meanwhile if it is large;
    /// durable after [`Workspace::settle_staged`].
    pub(super) fn write_signed(
        &mut self,
        role: &RoleName,
        metadata: &Metadata,
        beside: impl FnOnce(&Self) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let (path, mut ahead) = (self.staged_path(role), self.ahead.remove(role));
        // Whoever verifies the signatures looks at what was signed.
        let _preimage = ahead.as_mut().and_then(|ahead| ahead.made()?.preimage.take());
        let before = self.staged.borrow_mut().insert(role.clone(), Some(metadata.clone()));
        let write = || {
            let written = match ahead {
                Some(ahead) => {
                    ahead.finish(metadata.bytes(), &path).map_err(|e| Failure::io("write", &path, &e))
                }
                None => files::write_unsettled(&path, metadata.bytes()),
            };
            // Giving so much memory back takes a while, too.
            drop(before);
            written
        };
        let (written, end) = if metadata.bytes().len() < LARGE {
            (write(), beside(self))
        } else {
            std::thread::scope(|scope| {
                let writing = scope.spawn(write);
                let end = beside(self);
                (writing.join().unwrap_or_else(|_| Err(panicked())), end)
            })
        };
        if written.is_err() {
            // What lies there is read again.
            self.staged.borrow_mut().remove(role);
        }
        written.and(end)
    }
}

fn panicked() -> Failure {
    Failure::new(reason::INTERNAL, "a thread has panicked")
}

/// A file that is written and flushed while its signatures are made. Dropped, it goes.
pub(super) struct Ahead {
    path: PathBuf,
    staged: Metadata,
    making: Option<JoinHandle<Made>>,
    made: Option<Made>,
}

/// What is written, the same as metadata, and what is signed in it.
struct Made {
    written: io::Result<Written>,
    metadata: Option<Metadata>,
    preimage: Option<Preimage>,
}

/// What was written: the text before the signatures, what stands in their place, and the text after them.
struct Written {
    file: File,
    before: usize,
    places: usize,
    after: usize,
}

impl Ahead {
    fn begin(path: PathBuf, staged: Metadata, places: Vec<SignatureEntry>) -> Self {
        let (to, from) = (path.clone(), staged.clone());
        let write = move |from: &Metadata, places: &[SignatureEntry]| {
            let nothing = || io::Error::other("it is no file with signatures");
            let (before, places, after) = from.around_signatures(places).ok_or_else(nothing)?;
            match fs::remove_file(&to) {
                Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                _ => {}
            }
            let mut file = OpenOptions::new().write(true).create_new(true).open(&to)?;
            for part in [before, &places, after] {
                file.write_all(part)?;
            }
            file.sync_data()?;
            Ok(Written { file, before: before.len(), places: places.len(), after: after.len() })
        };
        let make = move || {
            let written = write(&from, &places);
            let preimage = Some(from.preimage());
            Made { written, metadata: from.resigned(&places).ok(), preimage }
        };
        Self { path, staged, making: Some(std::thread::spawn(make)), made: None }
    }

    fn made(&mut self) -> Option<&mut Made> {
        if let Some(making) = self.making.take() {
            self.made = making.join().ok();
        }
        self.made.as_mut()
    }

    /// The file with these signatures: mostly they are as long as what stands in their places.
    fn signed(&mut self, entries: &[SignatureEntry]) -> Option<Metadata> {
        let made = self.made()?.metadata.take()?;
        made.resigned_in_place(entries).ok()
    }

    /// Makes the file these bytes, flushes it and moves it to its place: mostly only the signatures are other ones.
    fn finish(mut self, bytes: &[u8], to: &Path) -> io::Result<()> {
        self.made();
        let made = self.made.take().ok_or_else(|| io::Error::other("a thread has panicked"))?;
        let written = made.written?;
        match written.new_places(self.staged.bytes(), bytes) {
            Some(places) => {
                let at = u64::try_from(written.before).map_err(io::Error::other)?;
                written.file.write_all_at(places, at)?;
            }
            None => {
                written.file.set_len(0)?;
                written.file.write_all_at(bytes, 0)?;
            }
        }
        written.file.sync_all()?;
        fs::rename(&self.path, to)
    }
}

impl Written {
    /// What has to stand in the places, if these bytes are what was written but for them.
    fn new_places<'b>(&self, staged: &[u8], bytes: &'b [u8]) -> Option<&'b [u8]> {
        let before = staged.get(..self.before)?;
        let after = staged.get(staged.len().checked_sub(self.after)?..)?;
        let places = bytes.strip_prefix(before)?.strip_suffix(after)?;
        (places.len() == self.places).then_some(places)
    }
}

impl Drop for Ahead {
    fn drop(&mut self) {
        self.made();
        let _ = fs::remove_file(&self.path);
    }
}

/// Hexadecimal digits that a signature of such a key mostly has.
fn usual_length(kind: KeyType) -> Option<usize> {
    match kind {
        KeyType::Ed25519 => Some(128),
        KeyType::EcdsaP256 => Some(142),
        KeyType::EcdsaP384 => Some(206),
        KeyType::Rsa2048 => Some(512),
        KeyType::Rsa3072 => Some(768),
        KeyType::Rsa4096 => Some(1024),
        _ => None,
    }
}

pub(super) fn is_large(path: &Path) -> bool {
    let least = u64::try_from(LARGE).unwrap_or(u64::MAX);
    fs::metadata(path).is_ok_and(|about| about.is_file() && about.len() >= least)
}

/// From this size on, bytes, a role is worth another thread.
const LARGE: usize = 1 << 20;
/// What is written ahead lies under such a name in `staged/`; the next one takes what a crash left.
const AHEAD: &str = ".tufctl.ahead";

#[cfg(test)]
mod tests {
    use tuf::edit::new_targets;
    use tuf::key::KeyId;
    use tuf::metadata::{Limits, Metadata, SignatureEntry};
    use tuf::role::Version;
    use tuf::time::UtcTime;

    use super::Ahead;

    #[test]
    fn what_was_written_ahead_becomes_the_file_whatever_its_signatures_are() {
        let folder = tempfile::tempdir().unwrap();
        let (early, place) = (folder.path().join("early"), folder.path().join("place"));
        let staged = |version| {
            let bytes = new_targets(Version::new(version).unwrap(), UtcTime::from_unix(0));
            Metadata::parse(bytes, &Limits::agent()).unwrap()
        };
        let by = |sig: &str| {
            let keyid = KeyId::parse(&"ab".repeat(32)).unwrap();
            vec![SignatureEntry { keyid, sig: sig.to_owned() }]
        };
        for sig in ["0000", "1234", "0230", "", "123456", "1111"] {
            // What a crash left is nobody's.
            std::fs::write(&early, "left").unwrap();
            let signed = staged(1).with_signatures(&by(sig));
            Ahead::begin(early.clone(), staged(1), by("0000")).finish(&signed, &place).unwrap();
            assert_eq!(std::fs::read(&place).unwrap(), signed);
            assert!(!early.exists());
        }
        let other = staged(2).with_signatures(&by("2222"));
        Ahead::begin(early.clone(), staged(1), by("0000")).finish(&other, &place).unwrap();
        assert_eq!(std::fs::read(&place).unwrap(), other);
        drop(Ahead::begin(early.clone(), staged(1), by("0000")));
        assert!(!early.exists(), "what is not needed goes");
        let nowhere = Ahead::begin(folder.path().join("no/where"), staged(1), by("0000"));
        assert!(nowhere.finish(b"", &place).is_err());
        assert_eq!(std::fs::read(&place).unwrap(), other, "the file is the old one");
    }
}

//! What was measured of a token of a module, kept under the digest of the module's file and what the token says of itself:
//! the agent signs by it.
//!
//! One file a token, `SHA256-TOKEN.profile` (earlier versions: one a module, `SHA256.profile`): a first line with the
//! format's version and the SHA-256 of the rest, then JSON. Invariants: what is damaged is refused and never passed over; a
//! profile of another digest is another module's; one of another token says nothing, as one library may speak to devices
//! of many kinds.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tuf::digest::Sha256Digest;

use super::Pkcs11Token;
use super::keep::keep;
use super::link::Shared;
use super::seen::Measured;
use super::trouble::Trouble;
use crate::BackendError;
use crate::doctor::{Diagnosis, Facts, Hints, TokenFacts};

/// What is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Profile {
    /// The module's digest, in hexadecimal.
    pub sha256: String,
    /// Where it lay when it was measured.
    pub module: String,
    /// What was measured.
    pub facts: Facts,
}

impl Profile {
    /// The profile of this token of the module with this digest; none when it was not measured. Without a token the one that
    /// an earlier version kept, of whichever token was measured last.
    ///
    /// # Errors
    /// [`BackendError::Corrupt`] for a file that is damaged or another module's, [`BackendError::NewerFormat`],
    /// [`BackendError::Io`].
    pub fn read(
        folder: &Path,
        sha256: Sha256Digest,
        token: Option<&TokenFacts>,
    ) -> Result<Option<Self>, BackendError> {
        Self::read_file(path(folder, sha256, token.map(mark).as_deref()), sha256)
    }

    fn read_file(path: PathBuf, sha256: Sha256Digest) -> Result<Option<Self>, BackendError> {
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
            Err(e) if e.kind() == ErrorKind::InvalidData => return Err(damaged(&path, "it is not text")),
            Err(e) => return Err(BackendError::io(&path, "read", e)),
        };
        let (head, body) = text.split_once('\n').ok_or_else(|| damaged(&path, "it was cut off"))?;
        let (version, digest) = head
            .strip_prefix(MAGIC)
            .and_then(|head| head.trim_start().split_once(' '))
            .ok_or_else(|| damaged(&path, "its first line is not that of a profile"))?;
        match version.parse::<u64>() {
            Ok(VERSION) => {}
            Ok(found) if found > VERSION => {
                return Err(BackendError::NewerFormat { path, found, supported: VERSION });
            }
            _ => return Err(damaged(&path, "its version cannot be read")),
        }
        if digest != Sha256Digest::of(body.as_bytes()).to_string() {
            return Err(damaged(&path, "its checksum does not fit"));
        }
        let profile: Self = serde_json::from_str(body).map_err(|e| damaged(&path, &e.to_string()))?;
        if profile.sha256 != sha256.to_string() {
            return Err(damaged(&path, "it is that of another module"));
        }
        Ok(Some(profile))
    }

    fn write(&self, folder: &Path, sha256: Sha256Digest) -> Result<(), BackendError> {
        let path = path(folder, sha256, self.facts.token.as_ref().map(mark).as_deref());
        let body = serde_json::to_string(self)
            .map_err(|e| BackendError::io(&path, "written", std::io::Error::from(e)))?
            + "\n";
        keep(&path, format!("{MAGIC} {VERSION} {}\n{body}", Sha256Digest::of(body.as_bytes())).as_bytes())
    }
}

/// What is kept of one token of a module.
#[derive(Clone, Debug)]
pub(crate) struct Kept {
    /// Of which; none: it is in the facts, as far as these can be read.
    mark: Option<String>,
    /// Or why it cannot be read, and what to do.
    pub(crate) hints: Result<Arc<Hints>, Trouble>,
}

impl Kept {
    /// Whether it is of the token that says this of itself. What an earlier version kept and cannot be read may be.
    pub(crate) fn is_of(&self, mark: &str) -> bool {
        match (&self.mark, &self.hints) {
            (Some(own), _) => own == mark,
            (None, Ok(hints)) => hints.token().is_some_and(|token| mark == self::mark(token)),
            (None, Err(_)) => true,
        }
    }

    /// Kept by an earlier version.
    pub(crate) const fn is_old(&self) -> bool {
        self.mark.is_none()
    }
}

/// What a token is told from others by: maker, model and serial number; its label, where it has no such number.
fn mark(token: &TokenFacts) -> String {
    mark_of(&token.manufacturer, &token.model, &token.serial, &token.label)
}

/// The same of a token as it was seen.
pub(crate) fn mark_of(manufacturer: &str, model: &str, serial: &str, label: &str) -> String {
    let blank = serial.chars().all(|c| matches!(c, '0' | ' '));
    let label = if blank { label } else { "" };
    let all = format!("{manufacturer:?} {model:?} {serial:?} {label:?}");
    Sha256Digest::of(all.as_bytes()).to_string().chars().take(MARK_LEN).collect()
}

impl Shared {
    /// What was measured of tokens of the module with this digest, which lies at `path`. What was kept of this one and cannot
    /// be read is not passed over: nothing is signed until it is mended.
    pub(super) fn measured(&self, path: &str, sha256: Sha256Digest) -> Measured {
        let Some(folder) = self.config.module().ok().and_then(|module| module.profiles.as_ref()) else {
            return Measured::Never;
        };
        let files = files(folder);
        let of_module = files.iter().filter(|file| file.sha256 == sha256);
        let kept: Vec<Kept> = of_module.filter_map(|file| self.kept(file)).collect();
        match kept.is_empty() {
            false => Measured::Now(Arc::new(kept)),
            true if files.iter().any(|file| file.lay_at(path)) => Measured::Before,
            true => Measured::Never,
        }
    }

    fn kept(&self, file: &KeptFile) -> Option<Kept> {
        let hints = match Profile::read_file(file.path.clone(), file.sha256) {
            Ok(profile) => Ok(Arc::new(Hints::of(profile?.facts))),
            // Told with its way out, wherever it is told.
            Err(error) => {
                let remedy = error.remedy().replace("NAME", self.config.name.as_str());
                Err(Trouble::Failed { why: format!("{error}; {remedy}"), remedy })
            }
        };
        Some(Kept { mark: file.mark.clone(), hints })
    }
}

/// A file in the folder of profiles, by its name.
struct KeptFile {
    path: PathBuf,
    sha256: Sha256Digest,
    mark: Option<String>,
}

impl KeptFile {
    /// Whether it is of a module that lay there.
    fn lay_at(&self, path: &str) -> bool {
        let profile = Profile::read_file(self.path.clone(), self.sha256);
        profile.ok().flatten().is_some_and(|profile| profile.module == path)
    }
}

fn files(folder: &Path) -> Vec<KeptFile> {
    let files = fs::read_dir(folder).into_iter().flatten().filter_map(|entry| {
        let path = entry.ok()?.path();
        let name = path.file_name()?.to_str()?.strip_suffix(SUFFIX)?;
        let (sha256, mark) = match name.split_once('-') {
            Some((sha256, mark)) => (sha256, Some(mark.to_owned())),
            None => (name, None),
        };
        let sha256 = sha256.parse().ok()?;
        Some(KeptFile { path, sha256, mark })
    });
    files.collect()
}

impl Pkcs11Token {
    /// Keeps what was measured as the module's profile, in place of an older or damaged one. False: there was no login, so
    /// nothing is known that the agent could sign by, and nothing is kept.
    ///
    /// # Errors
    /// [`BackendError::Io`]; [`BackendError::NewerFormat`] for one that a newer version of this program has kept.
    pub fn save_profile(&self, diagnosis: &Diagnosis) -> Result<bool, BackendError> {
        let Some(folder) = &self.shared.config.module()?.profiles else { return Ok(false) };
        if !diagnosis.facts.logged_in {
            return Ok(false);
        }
        let token = diagnosis.facts.token.as_ref();
        match Profile::read(folder, diagnosis.sha256, token) {
            // This is how it is repaired.
            Ok(_) | Err(BackendError::Corrupt { .. }) => {}
            Err(error) => return Err(error),
        }
        let profile = Profile {
            sha256: diagnosis.sha256.to_string(),
            module: diagnosis.module.clone(),
            facts: diagnosis.facts.clone(),
        };
        profile.write(folder, diagnosis.sha256)?;
        self.drop_old(folder, diagnosis.sha256, token);
        // By the helper that runs, too, if it has this module: whatever it has is asked for again at its next start.
        let measured = self.shared.measured(&diagnosis.module, diagnosis.sha256);
        self.shared.note(|seen| seen.measured = measured);
        Ok(true)
    }

    /// What an earlier version kept of this token, or cannot be read any more, is replaced.
    fn drop_old(&self, folder: &Path, sha256: Sha256Digest, token: Option<&TokenFacts>) {
        let replaced = match Profile::read(folder, sha256, None) {
            Ok(Some(old)) => token.is_some() && old.facts.token.as_ref().map(mark) == token.map(mark),
            Err(BackendError::Corrupt { .. }) => token.is_some(),
            _ => false,
        };
        // One that stays is asked for again; it changes nothing for this token.
        if replaced && let Err(error) = fs::remove_file(path(folder, sha256, None)) {
            tracing::warn!(token = %self.shared.config.name, "an old profile stays: {error}");
        }
    }
}

fn path(folder: &Path, sha256: Sha256Digest, mark: Option<&str>) -> PathBuf {
    folder.join(match mark {
        Some(mark) => format!("{sha256}-{mark}{SUFFIX}"),
        None => format!("{sha256}{SUFFIX}"),
    })
}

fn damaged(path: &Path, why: &str) -> BackendError {
    BackendError::Corrupt {
        path: path.to_owned(),
        why: why.to_owned(),
        remedy: "measure the module again: tufctl token doctor NAME --pin-file FILE (or remove the file)"
            .to_owned(),
    }
}

const SUFFIX: &str = ".profile";
const MAGIC: &str = "tuf-agent-module-profile";
const VERSION: u64 = 1;
const MARK_LEN: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::Place;

    fn profile(sha256: Sha256Digest) -> Profile {
        let facts = Facts { place: Some(Place::Session), ..Facts::default() };
        Profile { sha256: sha256.to_string(), module: "/m.so".to_owned(), facts }
    }

    #[test]
    fn a_profile_comes_back_as_it_was_kept_and_for_its_own_module_alone() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("profiles");
        let (one, two) = (Sha256Digest::of(b"one"), Sha256Digest::of(b"two"));
        assert_eq!(Profile::read(&folder, one, None).unwrap(), None);
        profile(one).write(&folder, one).unwrap();
        assert_eq!(Profile::read(&folder, one, None).unwrap(), Some(profile(one)));
        assert_eq!(Profile::read(&folder, two, None).unwrap(), None);
        fs::copy(path(&folder, one, None), path(&folder, two, None)).unwrap();
        let error = Profile::read(&folder, two, None).unwrap_err();
        assert!(matches!(error, BackendError::Corrupt { .. }), "{error}");
    }

    #[test]
    fn a_damaged_profile_is_refused_with_the_way_to_repair_it() {
        let dir = tempfile::tempdir().unwrap();
        let sha256 = Sha256Digest::of(b"m");
        profile(sha256).write(dir.path(), sha256).unwrap();
        let path = path(dir.path(), sha256, None);
        let good = fs::read(&path).unwrap();
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            fs::write(&path, &bad).unwrap();
            assert!(Profile::read(dir.path(), sha256, None).is_err(), "a flipped bit at {at} was not seen");
        }
        for bad in [&good[..0], &good[..good.len() / 2], &[0; 400][..]] {
            fs::write(&path, bad).unwrap();
            let error = Profile::read(dir.path(), sha256, None).unwrap_err();
            assert_eq!(error.reason(), "STATE_CORRUPT");
            assert!(error.remedy().contains("tufctl token doctor"), "{}", error.remedy());
        }
        let newer = String::from_utf8(good).unwrap().replacen(" 1 ", " 2 ", 1);
        fs::write(&path, newer).unwrap();
        let error = Profile::read(dir.path(), sha256, None).unwrap_err();
        assert!(matches!(error, BackendError::NewerFormat { found: 2, .. }), "{error}");
    }
}

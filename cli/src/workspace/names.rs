//! What keys are called: noted when they are named on the command line, so that people read `bob` and not a keyid.
//!
//! The names travel in `staged/repository.json` with what is staged, and stay in a file of their own once it is
//! published. They are for the eye: nothing is decided by them, and a name of a key that we hold ourselves is never
//! taken from there.

use std::collections::BTreeMap;
use std::path::Path;

use tuf::key::KeyId;

use super::read::MOST_BYTES;
use super::{Workspace, files, layout};
use crate::error::{Failure, reason};

impl Workspace {
    /// What keys are called by those who staged them, by keyid.
    pub(crate) fn key_labels(&self) -> &BTreeMap<String, String> {
        &self.record.names
    }

    /// Notes what keys are called; with what is staged already, or with the next thing that is.
    pub(crate) fn note_key_names(
        &mut self,
        names: impl IntoIterator<Item = (KeyId, String)>,
    ) -> Result<(), Failure> {
        let before = self.record.names.clone();
        self.record.names.extend(names.into_iter().map(|(keyid, name)| (keyid.to_string(), name)));
        if self.record.names == before || !self.has_staged() { Ok(()) } else { self.write_record() }
    }

    /// Keeps the names where they outlive `staged/`.
    pub(super) fn keep_key_names(&self) -> Result<(), Failure> {
        let path = self.dir.join(layout::NAMES);
        if self.record.names == read(&path)? {
            return Ok(());
        }
        let mut text = serde_json::to_vec_pretty(&self.record.names)
            .map_err(|e| Failure::new(reason::INTERNAL, format!("cannot write {}: {e}", path.display())))?;
        text.push(b'\n');
        files::write(&path, &text)
    }
}

/// The names that were kept. A file that cannot be read is not written over: what people noted would be lost unseen.
pub(super) fn read(path: &Path) -> Result<BTreeMap<String, String>, Failure> {
    let Some(bytes) = files::read(path, MOST_BYTES)? else { return Ok(BTreeMap::new()) };
    serde_json::from_slice(&bytes).map_err(|e| {
        Failure::new(reason::REPOSITORY_INVALID, format!("{}: {e}", path.display()))
            .remedy("restore the file, or remove it: it only holds what keys are called")
            .detail("file", path.display().to_string())
    })
}

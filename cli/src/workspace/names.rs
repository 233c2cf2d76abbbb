//! What keys are called: noted when they are named on the command line, so that people read `bob` and not a keyid.
//!
//! The names travel in `staged/repository.json` with what is staged, and stay in a file of their own once it is
//! published. They are for the eye: nothing is decided by them, and a name of a key that we hold ourselves is never
//! taken from there. What comes in `staged/` is what somebody else may have written: it fills what we have no note of,
//! changes none, and gives no key a name that another one has.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use tuf::key::KeyId;

use super::read::MOST_BYTES;
use super::{Workspace, files, layout};
use crate::error::{Failure, reason};

type Names = BTreeMap<String, String>;

/// What keys are called, by keyid.
#[derive(Debug, Default)]
pub(super) struct Labels {
    /// As they were kept.
    kept: Names,
    /// With those that came in `staged/`, where they may be believed.
    shown: Names,
}

impl Labels {
    /// `staged` are the names of `staged/repository.json`.
    pub(super) fn read(dir: &Path, staged: &Names) -> Result<Self, Failure> {
        let kept = read(&dir.join(layout::NAMES))?;
        Ok(Self { shown: shown(&kept, staged), kept })
    }

    /// What is to be staged of them: what came, and our own notes instead where there are any.
    pub(super) fn over(&self, mut staged: Names) -> Names {
        staged.extend(self.kept.clone());
        staged
    }
}

impl Workspace {
    /// What keys are called by those who staged them, by keyid.
    pub(crate) fn key_labels(&self) -> &BTreeMap<String, String> {
        &self.labels.shown
    }

    /// Notes what keys are called; with what is staged already, or with the next thing that is.
    pub(crate) fn note_key_names(
        &mut self,
        names: impl IntoIterator<Item = (KeyId, String)>,
    ) -> Result<(), Failure> {
        let before = self.record.names.clone();
        let names: Names = names.into_iter().map(|(keyid, name)| (keyid.to_string(), name)).collect();
        let kept = &self.labels.kept;
        let is_renamed = |keyid: &String, name: &String| kept.get(keyid).is_some_and(|was| was != name);
        let mut renamed = names.clone();
        renamed.retain(|keyid, name| is_renamed(keyid, name));
        if !renamed.is_empty() {
            self.keep(kept.clone().into_iter().chain(renamed).collect())?;
        }
        self.record.names.extend(names);
        self.labels.shown = shown(&self.labels.kept, &self.record.names);
        if self.record.names == before || !self.has_staged() { Ok(()) } else { self.write_record() }
    }

    /// Keeps the names where they outlive `staged/`.
    pub(super) fn keep_key_names(&mut self) -> Result<(), Failure> {
        self.keep(self.labels.shown.clone())
    }

    fn keep(&mut self, names: Names) -> Result<(), Failure> {
        if self.labels.kept == names {
            return Ok(());
        }
        let path = self.dir.join(layout::NAMES);
        let mut text = serde_json::to_vec_pretty(&names)
            .map_err(|e| Failure::new(reason::INTERNAL, format!("cannot write {}: {e}", path.display())))?;
        text.push(b'\n');
        files::write(&path, &text)?;
        self.labels.kept = names;
        Ok(())
    }
}

/// What was kept, and of what is staged the names that no other key has.
fn shown(kept: &Names, staged: &Names) -> Names {
    let mut bearers: HashMap<String, usize> = HashMap::new();
    let added = staged.iter().filter(|(keyid, _)| !kept.contains_key(*keyid));
    for name in kept.values().chain(added.clone().map(|(_, name)| name)) {
        let number = bearers.entry(name.to_lowercase()).or_default();
        *number = number.saturating_add(1);
    }
    let is_alone = |name: &str| bearers.get(&name.to_lowercase()) == Some(&1);
    let added = added.filter(|(_, name)| is_alone(name) && !mixes_alphabets(name));
    kept.iter().chain(added).map(|(keyid, name)| (keyid.clone(), name.clone())).collect()
}

/// Whether a name has letters of another alphabet beside Latin ones that pass for Latin, such as a Cyrillic `е`.
fn mixes_alphabets(name: &str) -> bool {
    let passes = |c| matches!(c, '\u{370}'..='\u{58f}' | '\u{13a0}'..='\u{13ff}' | '\u{ff21}'..='\u{ff5a}');
    name.chars().any(|c| c.is_ascii_alphanumeric()) && name.chars().any(passes)
}

/// The names that were kept. A file that cannot be read is not written over: what people noted would be lost unseen.
fn read(path: &Path) -> Result<Names, Failure> {
    let Some(bytes) = files::read(path, MOST_BYTES)? else { return Ok(BTreeMap::new()) };
    serde_json::from_slice(&bytes).map_err(|e| {
        Failure::new(reason::REPOSITORY_INVALID, format!("{}: {e}", path.display()))
            .remedy("restore the file, or remove it: it only holds what keys are called")
            .detail("file", path.display().to_string())
    })
}

#[cfg(test)]
mod tests {
    use super::{Names, shown};

    fn names(pairs: &[(&str, &str)]) -> Names {
        pairs.iter().map(|(keyid, name)| ((*keyid).to_owned(), (*name).to_owned())).collect()
    }

    #[test]
    fn what_is_staged_fills_gaps_and_gives_no_key_the_name_of_another() {
        let kept = names(&[("01", "bob"), ("02", "carol")]);
        let staged = names(&[
            ("01", "carol"),
            ("03", "Bob"),
            ("04", "dave"),
            ("05", "erin"),
            ("06", "ERIN"),
            ("07", "rel\u{435}ase"),
            ("08", "андрей"),
            ("09", "jörg"),
        ]);
        let right =
            names(&[("01", "bob"), ("02", "carol"), ("04", "dave"), ("08", "андрей"), ("09", "jörg")]);
        assert_eq!(shown(&kept, &staged), right);
        let twice = names(&[("01", "bob"), ("03", "bob")]);
        assert_eq!(shown(&twice, &names(&[])), twice, "one's own notes stand");
    }
}
